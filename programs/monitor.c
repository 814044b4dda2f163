// The monitor: a prompt on every console, with commands that show the machine, run programs from its drives, and end
// its work.
#include "monitor.h"

INGOT_NEEDS(shutdown);

#define CLEAR "\x01"

int number(const char *word, uint64_t *value)
{
	const char *end = parse_number(word, value);
	return end && !*end;
}

// ---- The machine ------------------------------------------------------------------------------------------------

static const char *reason(int status)
{
	static const char *const reasons[] = { "", "no driver", "no memory", "invalid", "out of range", "device error",
		"timeout", "try again", "busy", "read-only", "not supported" };
	return status <= 0 && status >= -10 ? reasons[-status] : "error";
}

static int show_devices(struct request *request)
{
	struct ingot_device_info info;
	for (uint32_t i = 0; info.size = sizeof(info), !ingot->device_info(i, &info); i++) {
		if (request->count && !text_equal(info.driver, request->words[1]))
			continue;
		print("%-13s %04x:%04x class %06x  ", info.address, info.vendor, info.device, info.class_code);
		if (info.status)
			print("%s%s%s\n", info.driver, info.driver[0] ? ": " : "", reason(info.status));
		else
			print("%s %s\n", info.driver, info.unit);
	}
	return 0;
}

static int show_drivers(struct request *request)
{
	struct ingot_driver_info info;
	(void)request;
	for (uint32_t i = 0; info.size = sizeof(info), !ingot->driver_info(i, &info); i++)
		print("%-8s %-16s %u device%s\n", info.bus, info.name, info.devices, info.devices == 1 ? "" : "s");
	return 0;
}

static int show_cores(struct request *request)
{
	uint32_t cores = ingot->core_count();
	(void)request;
	for (uint32_t core = 0; core < cores; core++)
		print("core %u: APIC id %u, %s\n", core, ingot->core_apic_id(core),
			core == ingot->core_self() ? "runs this program" :
				ingot->core_busy(core) ? "busy" :
										 "idle");
	return 0;
}

static int show_memory(struct request *request)
{
	struct ingot_memory memory = { .size = sizeof(memory) };
	(void)request;
	ingot->memory(&memory);
	print("RAM      %u MiB\nkernel   %u KiB\ndrivers  %u KiB\nprogram  %lu KiB at %lx, free from %lx\n", memory.ram_mib,
		memory.kernel_kib, memory.driver_kib, memory.bytes >> 10, (uint64_t)(uintptr_t)memory.base,
		(uint64_t)(uintptr_t)memory.free);
	return 0;
}

// ---- Interfaces and drives ---------------------------------------------------------------------------------------

// The next interface of that name, or of any; `*net` begins at 0.  0: there are no more.
static int next_net(const char *name, uint32_t *net, struct ingot_net_info *info)
{
	while (*net < ingot->net_count()) {
		info->size = sizeof(*info);
		if (!ingot->net_info((*net)++, info) && (!name || text_equal(info->name, name)))
			return 1;
	}
	return 0;
}

static int next_drive(const char *name, uint32_t *blk, struct ingot_blk_info *info)
{
	while (*blk < ingot->blk_count()) {
		info->size = sizeof(*info);
		if (!ingot->blk_info((*blk)++, info) && (!name || text_equal(info->name, name)))
			return 1;
	}
	return 0;
}

static int show_net(struct request *request)
{
	struct ingot_net_info info;
	uint32_t net = 0, shown = 0;
	for (; next_net(request->words[1], &net, &info); shown++) {
		struct ingot_net_stats stats = { 0 };
		const uint8_t *mac = info.mac;
		ingot->net_stats(net - 1, &stats);
		print("%s %s %s %02x:%02x:%02x:%02x:%02x:%02x %s", info.name, info.driver, info.address, mac[0], mac[1], mac[2],
			mac[3], mac[4], mac[5], info.link ? "up" : "down");
		if (info.link && info.speed > 1)
			print(" %u Mbit/s", info.speed);
		print(", queues %u/%u, rx %lu, tx %lu, dropped %lu, errors %lu\n", info.queues_open, info.queues,
			stats.rx_frames, stats.tx_frames, stats.rx_dropped, stats.rx_errors + stats.tx_errors);
	}
	if (!shown)
		ingot_print("no such interface\n");
	return 0;
}

static int show_disks(struct request *request)
{
	struct ingot_blk_info info;
	uint32_t blk = 0, shown = 0;
	for (; next_drive(request->words[1], &blk, &info); shown++)
		print("%s %s %s %lu blocks of %u bytes (%lu MiB), queues %u of %u%s%s%s\n", info.name, info.driver,
			info.address, info.blocks, info.block_bytes, (info.blocks >> 10) * info.block_bytes >> 10, info.queues,
			info.depth, info.features & INGOT_BLK_READONLY ? ", read-only" : "",
			info.features & INGOT_BLK_FLUSH ? ", flush" : "", info.features & INGOT_BLK_DISCARD ? ", discard" : "");
	if (!shown)
		ingot_print("no such drive\n");
	return 0;
}

static uint32_t net_counters(const char *name)
{
	struct ingot_net_info info;
	uint32_t net = 0, shown = 0;
	for (; next_net(name, &net, &info); shown++) {
		struct ingot_net_stats stats = { 0 };
		ingot->net_stats(net - 1, &stats);
		print("%s: queues   %u of %u\n", info.name, info.queues_open, info.queues);
		print("%s: received %lu frames, %lu bytes; dropped %lu, errors %lu\n", info.name, stats.rx_frames,
			stats.rx_bytes, stats.rx_dropped, stats.rx_errors);
		print("%s: sent     %lu frames, %lu bytes; errors %lu\n", info.name, stats.tx_frames, stats.tx_bytes,
			stats.tx_errors);
	}
	return shown;
}

static uint32_t drive_counters(const char *name)
{
	struct ingot_blk_info info;
	uint32_t blk = 0, shown = 0;
	for (; next_drive(name, &blk, &info); shown++) {
		const struct drive_counts *counts = drive_counts(blk - 1);
		if (counts)
			print("%s: %lu reads, %lu bytes; %lu writes, %lu bytes; %lu others; errors %lu; queues %u\n", info.name,
				counts->reads, counts->read_bytes, counts->writes, counts->written_bytes, counts->others,
				counts->errors, info.queues);
	}
	return shown;
}

static int show_stats(struct request *request)
{
	if (!(net_counters(request->words[1]) + drive_counters(request->words[1])))
		ingot_print("no such interface or drive\n");
	return 0;
}

// ---- Programs -----------------------------------------------------------------------------------------------------

static struct file files[VOLUME_FILES];

static void list_files(uint32_t blk, const char *name)
{
	int count = volume_files(blk, files);
	if (count == INGOT_EINVAL)
		print("%s: no BMFS volume\n", name);
	else if (count < 0)
		print("%s: %s\n", name, reason(count));
	else if (!count)
		print("%s: no files\n", name);
	for (int i = 0; i < count; i++)
		if (files[i].damaged)
			print("%s %s: its record points outside the volume\n", name, files[i].name);
		else
			print("%s %10lu bytes  %s\n", name, files[i].bytes, files[i].name);
}

static int list(struct request *request)
{
	struct ingot_blk_info info;
	uint32_t blk = 0, shown = 0;
	for (; next_drive(request->words[1], &blk, &info); shown++)
		list_files(blk - 1, info.name);
	if (!shown)
		ingot_print("no such drive\n");
	return 0;
}

// [DRIVE:]NAME; without a drive the first one that has the file.
static const struct file *find_file(const char *name)
{
	struct ingot_blk_info info;
	for (uint32_t blk = 0; next_drive(NULL, &blk, &info);) {
		const char *wanted = name, *rest = text_after(name, info.name);
		if (rest && *rest == ':')
			wanted = rest + 1;
		int count = volume_files(blk - 1, files);
		for (int i = 0; i < count; i++)
			if (text_equal(files[i].name, wanted))
				return &files[i];
	}
	return NULL;
}

static int run(struct request *request)
{
	const struct file *file = find_file(request->words[1]);
	if (file)
		program_run(file, request->rest);
	else
		print("%s: on no drive, try ls\n", request->words[1]);
	return 0;
}

// ---- Others -------------------------------------------------------------------------------------------------------

static int show_time(struct request *request)
{
	uint64_t ms = ingot->time_ns() / 1000000;
	(void)request;
	print("%lu.%03lu s since the kernel's start\n", ms / 1000, ms % 1000);
	return 0;
}

static int clear(struct request *request)
{
	(void)request;
	ingot_print(CLEAR);
	return 0;
}

static int reboot(struct request *request)
{
	(void)request;
	ingot->reboot();
	return 0;
}

static int shutdown(struct request *request)
{
	(void)request;
	ingot->shutdown();
	return 0;
}

static int help(struct request *request);

// What Tab offers for a command's first argument.
enum choice { NOTHING, COMMAND, DRIVER, NET, DRIVE, NET_OR_DRIVE, PCI, LEVEL, FILE };

static const struct command {
	const char *name, *arguments, *what;
	int (*run)(struct request *request);
	int least, most; // arguments
	enum choice choice;
} commands[] = {
	{ "help", " [COMMAND]", "this list", help, 0, 1, COMMAND },
	{ "ls", " [DRIVE]", "files on the drives' volumes", list, 0, 1, DRIVE },
	{ "run", " [DRIVE:]FILE [ARGUMENTS]", "run a program and come back", run, 1, WORDS, FILE },
	{ "devices", " [DRIVER]", "what the buses have found, and who drives it", show_devices, 0, 1, DRIVER },
	{ "drivers", "", "what this kernel was built with", show_drivers, 0, 0, NOTHING },
	{ "pci", " [ADDRESS]", "PCI devices in words; all about one", command_pci, 0, 1, PCI },
	{ "cores", "", "processor cores", show_cores, 0, 0, NOTHING },
	{ "mem", "", "memory", show_memory, 0, 0, NOTHING },
	{ "net", " [INTERFACE]", "network interfaces", show_net, 0, 1, NET },
	{ "disks", " [DRIVE]", "drives", show_disks, 0, 1, DRIVE },
	{ "stats", " [NAME]", "counters of interfaces and drives", show_stats, 0, 1, NET_OR_DRIVE },
	{ "log", " [LEVEL]", "the kernel's log; error, warning: only those", command_log, 0, 1, LEVEL },
	{ "time", "", "time since the kernel's start", show_time, 0, 0, NOTHING },
	{ "clear", "", "clear the screen", clear, 0, 0, NOTHING },
	{ "peek", " ADDRESS [BITS]", "read memory: 8, 16, 32 or 64 bits", command_peek, 1, 2, NOTHING },
	{ "poke", " ADDRESS VALUE [BITS]", "write memory", command_poke, 2, 3, NOTHING },
	{ "hexdump", " ADDRESS [BYTES]", "show memory; Escape stops it", command_hexdump, 1, 2, NOTHING },
	{ "reboot", "", "start the machine anew", reboot, 0, 0, NOTHING },
	{ "shutdown", "", "switch the machine off", shutdown, 0, 0, NOTHING },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
	for (uint32_t i = 0; i < COMMANDS; i++)
		if (text_equal(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int help(struct request *request)
{
	for (uint32_t i = 0; i < COMMANDS; i++) {
		const struct command *command = &commands[i];
		uint32_t width = (uint32_t)(text_length(command->name) + text_length(command->arguments));
		if (request->count && !text_equal(command->name, request->words[1]))
			continue;
		print("%s%s", command->name, command->arguments);
		put_many(' ', width < 29 ? 30 - width : 1);
		print("%s\n", command->what);
	}
	return 0;
}

// ---- What Tab offers --------------------------------------------------------------------------------------------

// Of the files on all volumes; n counts up from 0.
static const char *file_choice(uint32_t n)
{
	static uint32_t blk, before;
	static int count;
	if (!n) {
		blk = before = 0;
		count = 0;
	}
	while (n - before >= (uint32_t)count) {
		before += (uint32_t)count;
		count = 0;
		if (blk == ingot->blk_count())
			return NULL;
		count = volume_files(blk++, files);
		if (count < 0)
			count = 0;
	}
	return files[n - before].name;
}

static const char *drive_choice(uint32_t n)
{
	static struct ingot_blk_info info;
	info.size = sizeof(info);
	return ingot->blk_info(n, &info) ? NULL : info.name;
}

static const char *net_choice(uint32_t n)
{
	static struct ingot_net_info info;
	info.size = sizeof(info);
	return ingot->net_info(n, &info) ? NULL : info.name;
}

static const char *driver_choice(uint32_t n)
{
	static struct ingot_driver_info info;
	info.size = sizeof(info);
	return ingot->driver_info(n, &info) ? NULL : info.name;
}

static const char *device_choice(uint32_t n)
{
	static struct ingot_device_info info;
	info.size = sizeof(info);
	return ingot->device_info(n, &info) ? NULL : info.address;
}

static const char *argument_choice(enum choice choice, uint32_t n)
{
	uint32_t nets = ingot->net_count();
	switch (choice) {
	case COMMAND:
		return n < COMMANDS ? commands[n].name : NULL;
	case DRIVER:
		return driver_choice(n);
	case NET:
		return net_choice(n);
	case DRIVE:
		return drive_choice(n);
	case NET_OR_DRIVE:
		return n < nets ? net_choice(n) : drive_choice(n - nets);
	case PCI:
		return device_choice(n);
	case LEVEL:
		return log_level(n);
	case FILE:
		return file_choice(n);
	default:
		return NULL;
	}
}

const char *line_choice(const char *line, uint32_t start, uint32_t n)
{
	uint32_t from = 0;
	while (from < start && line[from] == ' ')
		from++;
	if (from == start)
		return argument_choice(COMMAND, n);
	for (uint32_t i = 0; i < COMMANDS; i++) {
		const char *rest = text_after(line + from, commands[i].name);
		if (!rest || *rest != ' ')
			continue;
		while (*rest == ' ')
			rest++;
		return rest >= line + start ? argument_choice(commands[i].choice, n) : NULL;
	}
	return NULL;
}

// ---- The prompt ---------------------------------------------------------------------------------------------------

// Cuts the line into words.
static void split(const char *line, char *text, struct request *request)
{
	uint32_t i = 0;
	request->count = -1;
	request->rest = "";
	do
		text[i] = line[i];
	while (line[i++]);
	for (i = 0; text[i];) {
		while (text[i] == ' ')
			text[i++] = 0;
		if (!text[i])
			break;
		request->words[++request->count] = &text[i];
		if (request->count == 2)
			request->rest = line + i;
		while (text[i] && text[i] != ' ')
			i++;
	}
	for (int n = request->count + 1; n < WORDS; n++)
		request->words[n] = NULL;
}

static void execute(const char *line)
{
	char text[LINE + 1];
	struct request request;
	split(line, text, &request);
	if (request.count < 0)
		return;
	const struct command *command = find_command(request.words[0]);
	if (!command)
		print("%s: no such command, try help\n", request.words[0]);
	else if (request.count < command->least || request.count > command->most || command->run(&request) < 0)
		print("usage: %s%s\n", command->name, command->arguments);
}

void prompt(void)
{
	for (;;)
		execute(read_line());
}

int main(void)
{
	uint32_t cores = ingot->core_count();
	print("%s monitor, %u core%s. Commands: help\n", ingot->kernel, cores, cores == 1 ? "" : "s");
	prompt();
}
