// The monitor: a prompt on every console, with commands that show the machine and end its work.
#include "lib.h"

INGOT_NEEDS(shutdown);

// What b_input's documentation and docs/user-guide.md call keys and control characters.
enum { KEY_RIGHT = 0x02, KEY_LEFT = 0x03, KEY_UP = 0x04, KEY_DOWN = 0x05, KEY_BACKSPACE = 0x0E, KEY_ESCAPE = 0x1B,
	KEY_ENTER = 0x1C };
#define CLEAR "\x01"
#define CURSOR_RIGHT 0x02
#define CURSOR_LEFT 0x03

#define LINE 76		// with the prompt it stays on one row of the narrowest screen
#define HISTORY 16
#define WORDS 8

struct editor {
	char line[LINE + 1];
	uint32_t length, at;
	char history[HISTORY][LINE + 1];
	uint32_t lines;		// ever entered
	uint32_t back;		// lines back in the history that are shown; 0: none
};

// ---- Line editing -----------------------------------------------------------------------------------------------

static void put(char c)
{
	ingot->write(&c, 1);
}

static void put_many(char c, uint32_t count)
{
	while (count--)
		put(c);
}

// Shows the line from the cursor on, blanks what `gone` characters leave behind it, and goes back to the cursor.
static void redraw(struct editor *ed, uint32_t gone)
{
	ingot->write(ed->line + ed->at, ed->length - ed->at);
	put_many(' ', gone);
	put_many(CURSOR_LEFT, ed->length - ed->at + gone);
}

static void insert(struct editor *ed, char c)
{
	if (ed->length == LINE)
		return;
	for (uint32_t i = ed->length++; i > ed->at; i--)
		ed->line[i] = ed->line[i - 1];
	ed->line[ed->at++] = c;
	put(c);
	if (ed->at < ed->length)
		redraw(ed, 0);
}

static void erase(struct editor *ed)
{
	if (!ed->at)
		return;
	for (uint32_t i = ed->at--; i < ed->length; i++)
		ed->line[i - 1] = ed->line[i];
	ed->length--;
	put(CURSOR_LEFT);
	redraw(ed, 1);
}

static void replace(struct editor *ed, const char *text)
{
	uint32_t old = ed->length;
	put_many(CURSOR_LEFT, ed->at);
	ed->at = ed->length = 0;
	while (text[ed->length] && ed->length < LINE) {
		ed->line[ed->length] = text[ed->length];
		ed->length++;
	}
	redraw(ed, old > ed->length ? old - ed->length : 0);
	put_many(CURSOR_RIGHT, ed->length);
	ed->at = ed->length;
}

static void recall(struct editor *ed, int older)
{
	uint32_t kept = ed->lines < HISTORY ? ed->lines : HISTORY;
	if (older ? ed->back == kept : !ed->back)
		return;
	ed->back += older ? 1 : -1u;
	replace(ed, ed->back ? ed->history[(ed->lines - ed->back) % HISTORY] : "");
}

static void remember(struct editor *ed)
{
	ed->line[ed->length] = 0;
	ed->back = 0;
	if (!ed->length || (ed->lines && text_equal(ed->history[(ed->lines - 1) % HISTORY], ed->line)))
		return;
	for (uint32_t i = 0; i <= ed->length; i++)
		ed->history[ed->lines % HISTORY][i] = ed->line[i];
	ed->lines++;
}

static void move(struct editor *ed, int by)
{
	if (by < 0 ? !ed->at : ed->at == ed->length)
		return;
	ed->at += (uint32_t)by;
	put(by < 0 ? CURSOR_LEFT : CURSOR_RIGHT);
}

// One key; 1 when the line is complete.
static int edit(struct editor *ed, int key)
{
	if (key == KEY_ENTER) {
		put_many(CURSOR_RIGHT, ed->length - ed->at);
		put('\n');
		remember(ed);
		return 1;
	}
	if (key == KEY_BACKSPACE)
		erase(ed);
	else if (key == KEY_ESCAPE)
		replace(ed, "");
	else if (key == KEY_UP || key == KEY_DOWN)
		recall(ed, key == KEY_UP);
	else if (key == KEY_LEFT)
		move(ed, -1);
	else if (key == KEY_RIGHT)
		move(ed, 1);
	else if (key >= ' ' && key < 0x7F)
		insert(ed, (char)key);
	return 0;
}

// The next byte, if it comes within 20 ms: a terminal sends the bytes of one key together.
static int next_byte(void)
{
	int key = 0;
	for (uint64_t end = deadline(20000); !key && !passed(end); ingot_relax())
		key = ingot->read();
	return key;
}

// A key; the sequences that a terminal on the serial line sends for arrows (ECMA-48, 8.3: CSI A to D) are turned into
// what a keyboard gives.
static int read_key(void)
{
	static const char arrows[] = { KEY_UP, KEY_DOWN, KEY_RIGHT, KEY_LEFT };
	int key = ingot_wait_key();
	if (key != KEY_ESCAPE)
		return key;
	key = next_byte();
	if (key != '[' && key != 'O')
		return key ? key : KEY_ESCAPE;
	do
		key = next_byte();
	while (key && key < '@');	// parameters, up to the final byte
	return key >= 'A' && key <= 'D' ? arrows[key - 'A'] : 0;
}

static void read_line(struct editor *ed)
{
	ed->length = ed->at = 0;
	ingot_print("> ");
	while (!edit(ed, read_key()))
		;
}

// ---- Commands ---------------------------------------------------------------------------------------------------

static const char *reason(int status)
{
	static const char *const reasons[] = { "", "no driver", "no memory", "invalid", "out of range", "device error",
		"timeout", "try again", "busy", "read-only", "not supported" };
	return status <= 0 && status >= -10 ? reasons[-status] : "error";
}

static void show_devices(uint64_t *numbers, int count)
{
	struct ingot_device_info info;
	(void)numbers, (void)count;
	for (uint32_t i = 0; info.size = sizeof(info), !ingot->device_info(i, &info); i++) {
		print("%-13s %04x:%04x class %06x  ", info.address, info.vendor, info.device, info.class_code);
		if (info.status)
			print("%s%s%s\n", info.driver, info.driver[0] ? ": " : "", reason(info.status));
		else
			print("%s %s\n", info.driver, info.unit);
	}
}

static void show_drivers(uint64_t *numbers, int count)
{
	struct ingot_driver_info info;
	(void)numbers, (void)count;
	for (uint32_t i = 0; info.size = sizeof(info), !ingot->driver_info(i, &info); i++)
		print("%-8s %-16s %u device%s\n", info.bus, info.name, info.devices, info.devices == 1 ? "" : "s");
}

static void show_cores(uint64_t *numbers, int count)
{
	uint32_t cores = ingot->core_count();
	(void)numbers, (void)count;
	for (uint32_t core = 0; core < cores; core++)
		print("core %u: APIC id %u, %s\n", core, ingot->core_apic_id(core),
			core == ingot->core_self() ? "runs this program" : ingot->core_busy(core) ? "busy" : "idle");
}

static void show_memory(uint64_t *numbers, int count)
{
	struct ingot_memory memory = { .size = sizeof(memory) };
	(void)numbers, (void)count;
	ingot->memory(&memory);
	print("RAM      %u MiB\nkernel   %u KiB\ndrivers  %u KiB\nprogram  %lu KiB at %lx, free from %lx\n", memory.ram_mib,
		memory.kernel_kib, memory.driver_kib, memory.bytes >> 10, (uint64_t)(uintptr_t)memory.base,
		(uint64_t)(uintptr_t)memory.free);
}

static void show_net(uint64_t *numbers, int count)
{
	uint32_t nets = ingot->net_count();
	(void)numbers, (void)count;
	for (uint32_t net = 0; net < nets; net++) {
		struct ingot_net_info info = { .size = sizeof(info) };
		struct ingot_net_stats stats = { 0 };
		const uint8_t *mac = info.mac;
		if (ingot->net_info(net, &info))
			continue;
		ingot->net_stats(net, &stats);
		print("%s %s %s %02x:%02x:%02x:%02x:%02x:%02x %s", info.name, info.driver, info.address, mac[0], mac[1], mac[2],
			mac[3], mac[4], mac[5], info.link ? "up" : "down");
		if (info.link && info.speed > 1)
			print(" %u Mbit/s", info.speed);
		print(", queues %u/%u, rx %lu, tx %lu, dropped %lu, errors %lu\n", info.queues_open, info.queues,
			stats.rx_frames, stats.tx_frames, stats.rx_dropped, stats.rx_errors + stats.tx_errors);
	}
	if (!nets)
		ingot_print("no network interface\n");
}

static void show_disks(uint64_t *numbers, int count)
{
	uint32_t drives = ingot->blk_count();
	(void)numbers, (void)count;
	for (uint32_t blk = 0; blk < drives; blk++) {
		struct ingot_blk_info info = { .size = sizeof(info) };
		if (ingot->blk_info(blk, &info))
			continue;
		print("%s %s %s %lu blocks of %u bytes (%lu MiB), queues %u of %u%s%s%s\n", info.name, info.driver,
			info.address, info.blocks, info.block_bytes, (info.blocks >> 10) * info.block_bytes >> 10, info.queues,
			info.depth,
			info.features & INGOT_BLK_READONLY ? ", read-only" : "",
			info.features & INGOT_BLK_FLUSH ? ", flush" : "",
			info.features & INGOT_BLK_DISCARD ? ", discard" : "");
	}
	if (!drives)
		ingot_print("no drive\n");
}

static void show_log(uint64_t *numbers, int count)
{
	char text[256];
	uint64_t at = 0;
	size_t bytes;
	(void)numbers, (void)count;
	while ((bytes = ingot->log_read(at, text, sizeof(text), &at)))
		ingot->write(text, bytes);
}

static void show_time(uint64_t *numbers, int count)
{
	uint64_t ms = ingot->time_ns() / 1000000;
	(void)numbers, (void)count;
	print("%lu.%03lu s since the kernel's start\n", ms / 1000, ms % 1000);
}

static void clear(uint64_t *numbers, int count)
{
	(void)numbers, (void)count;
	ingot_print(CLEAR);
}

static void peek(uint64_t *numbers, int count)
{
	(void)count;
	print("%08x\n", *(volatile uint32_t *)(uintptr_t)numbers[0]);
}

static void poke(uint64_t *numbers, int count)
{
	(void)count;
	*(volatile uint32_t *)(uintptr_t)numbers[0] = (uint32_t)numbers[1];
}

static void hexdump(uint64_t *numbers, int count)
{
	uint64_t at = numbers[0], end = at + (count > 1 ? numbers[1] : 64);
	for (; at < end; at += 16) {
		print("%016lx ", at);
		for (uint64_t i = at; i < at + 16; i++)
			if (i < end)
				print(" %02x", *(volatile uint8_t *)(uintptr_t)i);
			else
				print("   ");
		print("  ");
		for (uint64_t i = at; i < at + 16 && i < end; i++) {
			uint8_t c = *(volatile uint8_t *)(uintptr_t)i;
			put(c >= ' ' && c < 0x7F ? (char)c : '.');
		}
		print("\n");
	}
}

static void reboot(uint64_t *numbers, int count)
{
	(void)numbers, (void)count;
	ingot->reboot();
}

static void shutdown(uint64_t *numbers, int count)
{
	(void)numbers, (void)count;
	ingot->shutdown();
}

static void help(uint64_t *numbers, int count);

static const struct command {
	const char *name, *arguments, *what;
	void (*run)(uint64_t *numbers, int count);
	int least, most;	// numbers behind it
} commands[] = {
	{ "help", "", "this list", help, 0, 0 },
	{ "devices", "", "what the buses have found, and who drives it", show_devices, 0, 0 },
	{ "drivers", "", "what this kernel was built with", show_drivers, 0, 0 },
	{ "cores", "", "processor cores", show_cores, 0, 0 },
	{ "mem", "", "memory", show_memory, 0, 0 },
	{ "net", "", "network interfaces", show_net, 0, 0 },
	{ "disks", "", "drives", show_disks, 0, 0 },
	{ "log", "", "the kernel's log", show_log, 0, 0 },
	{ "time", "", "time since the kernel's start", show_time, 0, 0 },
	{ "clear", "", "clear the screen", clear, 0, 0 },
	{ "peek", " ADDRESS", "read 32 bits of memory", peek, 1, 1 },
	{ "poke", " ADDRESS VALUE", "write 32 bits of memory", poke, 2, 2 },
	{ "hexdump", " ADDRESS [BYTES]", "show memory", hexdump, 1, 2 },
	{ "reboot", "", "start the machine anew", reboot, 0, 0 },
	{ "shutdown", "", "switch the machine off", shutdown, 0, 0 },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(uint64_t *numbers, int count)
{
	(void)numbers, (void)count;
	for (uint32_t i = 0; i < COMMANDS; i++) {
		uint32_t width = 0;
		while (commands[i].name[width])
			width++;
		print("%s%s", commands[i].name, commands[i].arguments);
		for (const char *text = commands[i].arguments; *text; text++)
			width++;
		put_many(' ', width < 24 ? 24 - width : 1);
		print("%s\n", commands[i].what);
	}
}

// Cuts the line into words; returns how many.
static int split(char *line, char **words)
{
	int count = 0;
	for (char *at = line; *at;) {
		while (*at == ' ')
			*at++ = 0;
		if (*at && count < WORDS)
			words[count++] = at;
		while (*at && *at != ' ')
			at++;
	}
	return count;
}

static void execute(char *line)
{
	char *words[WORDS];
	uint64_t numbers[WORDS];
	int count = split(line, words) - 1;
	if (count < 0)
		return;
	for (uint32_t i = 0; i < COMMANDS; i++) {
		const struct command *command = &commands[i];
		if (!text_equal(words[0], command->name))
			continue;
		int usable = count >= command->least && count <= command->most;
		for (int n = 0; n < count && usable; n++) {
			const char *end = parse_number(words[n + 1], &numbers[n]);
			usable = end && !*end;
		}
		if (usable)
			command->run(numbers, count);
		else
			print("usage: %s%s\n", command->name, command->arguments);
		return;
	}
	print("%s: no such command, try help\n", words[0]);
}

int main(void)
{
	static struct editor editor;
	uint32_t cores = ingot->core_count();
	print("%s monitor, %u core%s. Commands: help\n", ingot->kernel, cores, cores == 1 ? "" : "s");
	for (;;) {
		read_line(&editor);
		execute(editor.line);
	}
}
