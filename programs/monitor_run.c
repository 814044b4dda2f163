// Runs programs, one at a time, and takes everything back from them when they end.
//
// A program gets the kernel's interfaces with a few entries replaced: shutdown returns to the prompt, and what is asked
// of drives is counted, so that `stats` can tell and no request is under way any more when memory is used again.
#include "monitor.h"
#include "monitor_run.h"
#include <ingot_pci.h>

#define CALLS ((volatile uint64_t *)0x100010) // the call table, and behind it the native interface's address
enum { CALL_READ = 4, CALL_WRITE = 5, CALL_SYSTEM = 6, CALL_NATIVE = 8, CALL_COUNT = 9 };
#define TABLE_BYTES 2048 // room for the table of a later kernel
#define SAY_US 300000    // work on other cores that takes longer is talked about
#define DRAIN_US 6000000 // the kernel gives up on a request after 5 s

#define MSR_APIC_BASE 0x1B
#define APIC_BASE_X2APIC 0x400
#define MSR_X2APIC_EOI 0x80B
#define APIC_EOI ((volatile uint32_t *)0xFEE000B0)

uint64_t program_call(uintptr_t entry, const struct ingot_api *api, const char *arguments);
void program_leave(void) __attribute__((noreturn));
void program_again(void *arg);
void program_read(void), program_write(void), program_system(void);
void program_shutdown(void) __attribute__((noreturn));
void program_was_reset(void);
void program_dropped(void) __attribute__((noreturn));
extern uint64_t kernel_read, kernel_write, kernel_system;
struct drive_counts program_drives[COUNTED_DRIVES];
_Static_assert(sizeof(struct drive_counts) == COUNTS_BYTES && offsetof(struct drive_counts, reads) == COUNTS_READS &&
		offsetof(struct drive_counts, read_bytes) == COUNTS_READ_BYTES &&
		offsetof(struct drive_counts, writes) == COUNTS_WRITES &&
		offsetof(struct drive_counts, written_bytes) == COUNTS_WRITTEN_BYTES &&
		offsetof(struct drive_counts, errors) == COUNTS_ERRORS,
	"monitor_run.h");

static union {
	struct ingot_api api;
	char bytes[TABLE_BYTES];
} table;
static uint64_t calls[CALL_COUNT]; // the kernel's
static int was_shut_down;
static uint32_t shut_down_by; // core
static volatile int waits;    // for being stopped

// ---- Before ---------------------------------------------------------------------------------------------------------

// One core's share of program memory.  Only what isn't zero is written, so that a hypervisor need not find memory for
// all of it.
static void clear_share(const struct ingot_memory *memory, uint32_t core)
{
	uint64_t units = memory->bytes / 64, step = units / ingot->core_count() + 1;
	uint64_t first = core * step, last = first + step < units ? first + step : units;
	for (uint64_t *at = (uint64_t *)memory->base + first * 8; first < last; first++, at += 8)
		if (at[0] | at[1] | at[2] | at[3] | at[4] | at[5] | at[6] | at[7])
			at[0] = at[1] = at[2] = at[3] = at[4] = at[5] = at[6] = at[7] = 0;
}

static void clear_own_share(void *arg)
{
	clear_share(arg, ingot->core_self());
}

static void clear_memory(struct ingot_memory *memory)
{
	uint32_t cores = ingot->core_count();
	for (uint32_t core = cores; core--;)
		if (!core || ingot->core_start(core, clear_own_share, memory))
			clear_share(memory, core);
	for (uint32_t core = 1; core < cores; core++)
		while (ingot->core_busy(core))
			ingot_relax();
}

// ---- Drives: counted by whoever asks, on any core -------------------------------------------------------------------

static void add(uint64_t *counter, uint64_t value)
{
	__atomic_add_fetch(counter, value, __ATOMIC_RELAXED);
}

static void count_request(struct drive_counts *counts, const struct ingot_blk_req *req)
{
	add(req->op == INGOT_READ ? &counts->reads : req->op == INGOT_WRITE ? &counts->writes : &counts->others, 1);
	if (req->op <= INGOT_WRITE)
		add(req->op ? &counts->written_bytes : &counts->read_bytes, req->count * counts->block_bytes);
}

static void add_under_way(uint32_t blk, int64_t count)
{
	__atomic_add_fetch(&program_drives[blk].under_way, count, __ATOMIC_RELAXED);
}

static int counted_submit(uint32_t blk, uint32_t queue, const struct ingot_blk_req *req)
{
	int rc = ingot->blk_submit(blk, queue, req);
	if (rc == INGOT_OK && blk < COUNTED_DRIVES) {
		count_request(&program_drives[blk], req);
		add_under_way(blk, 1);
	}
	return rc;
}

static uint32_t counted_poll(uint32_t blk, uint32_t queue, struct ingot_blk_done *done, uint32_t max)
{
	uint32_t count = ingot->blk_poll(blk, queue, done, max);
	for (uint32_t i = 0; i < count && blk < COUNTED_DRIVES; i++)
		if (done[i].status)
			add(&program_drives[blk].errors, 1);
	if (count && blk < COUNTED_DRIVES)
		add_under_way(blk, -(int64_t)count);
	return count;
}

static int counted_run(uint32_t blk, const struct ingot_blk_req *req)
{
	int rc = ingot->blk_run(blk, req);
	if (blk >= COUNTED_DRIVES)
		return rc;
	if (rc == INGOT_OK)
		count_request(&program_drives[blk], req);
	else
		add(&program_drives[blk].errors, 1);
	return rc;
}

const struct drive_counts *drive_counts(uint32_t blk)
{
	return blk < COUNTED_DRIVES ? &program_drives[blk] : NULL;
}

// ---- What the program finds -----------------------------------------------------------------------------------------

static void make_table(void)
{
	uint32_t size = ingot->size < sizeof(table) ? ingot->size : sizeof(table);
	const char *from = (const char *)ingot;
	for (uint32_t i = 0; i < size; i++)
		table.bytes[i] = from[i];
	table.api.size = size;
	table.api.blk_submit = counted_submit;
	table.api.blk_poll = counted_poll;
	table.api.blk_run = counted_run;
	table.api.shutdown = program_shutdown;
	for (uint32_t blk = 0; blk < COUNTED_DRIVES; blk++) {
		struct ingot_blk_info info = { .size = sizeof(info) };
		if (!ingot->blk_info(blk, &info))
			program_drives[blk].block_bytes = info.block_bytes;
	}
}

static void replace_calls(void)
{
	for (uint32_t i = 0; i < CALL_COUNT; i++)
		calls[i] = CALLS[i];
	kernel_read = CALLS[CALL_READ];
	kernel_write = CALLS[CALL_WRITE];
	kernel_system = CALLS[CALL_SYSTEM];
	CALLS[CALL_READ] = (uintptr_t)program_read;
	CALLS[CALL_WRITE] = (uintptr_t)program_write;
	CALLS[CALL_SYSTEM] = (uintptr_t)program_system;
	CALLS[CALL_NATIVE] = (uintptr_t)&table;
}

// ---- The end --------------------------------------------------------------------------------------------------------

// A program that ends in a callback leaves an interrupt in service.  Without one this does nothing (Intel SDM vol. 3,
// 11.8.5).
static void end_interrupt(void)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_APIC_BASE));
	if (low & APIC_BASE_X2APIC)
		__asm__ volatile("wrmsr" : : "a"(0), "d"(0), "c"(MSR_X2APIC_EOI));
	else
		*APIC_EOI = 0;
}

// On the first core the way back is its stack; from another one it is RESET.
void program_shutdown(void)
{
	shut_down_by = ingot->core_self();
	was_shut_down = 1;
	if (shut_down_by) {
		b_system(B_RESET, 0, 0);
		waits = 1;
		for (;;)
			__asm__ volatile("cli; hlt"); // until the first one stops us
	}
	end_interrupt();
	program_leave();
}

// Behind RESET, on the core that called it: all others are idle, and the first one must not stay so.
void program_was_reset(void)
{
	if (ingot->core_self())
		ingot->core_start(0, program_again, NULL);
}

static uint32_t busy_core(void)
{
	uint32_t core = ingot->core_count();
	while (--core && !ingot->core_busy(core))
		;
	return core;
}

static void drop_work(void)
{
	uint32_t core = busy_core();
	while (shut_down_by && !waits) // where RESET finds it, though it may have been idle but for a callback
		ingot_relax();
	if (core && core != shut_down_by)
		print("core %u was still at work for it and is stopped\n", core);
	b_system(B_RESET, 0, 0); // and so are all others, and their callbacks
}

// Work on other cores goes on until it is done, or Escape is pressed; a program that switches off has no use for it.
static void finish_work(void)
{
	uint64_t end = deadline(SAY_US);
	for (int said = 0; !was_shut_down && busy_core(); ingot_relax()) {
		if (!said && passed(end)) {
			print("core %u still works for it; Escape stops it\n", busy_core());
			said = 1;
		}
		if (escape_pressed())
			break;
	}
	drop_work();
}

static void end_timer(void *arg)
{
	(void)arg;
	ingot->on_timer(0, NULL, NULL);
}

static void end_callbacks(void)
{
	uint32_t nets = ingot->net_count(), cores = ingot->core_count();
	ingot->on_key(NULL, NULL);
	for (uint32_t net = 0; net < nets; net++)
		ingot->on_receive(net, NULL, NULL);
	end_timer(NULL);
	for (uint32_t core = 1; core < cores; core++) {
		ingot->core_start(core, end_timer, NULL);
		while (ingot->core_busy(core))
			ingot_relax();
	}
}

// Interfaces go back to the kernel's own frames, and requests end before their memory is used again.
static void end_transfers(void)
{
	uint32_t nets = ingot->net_count(), drives = ingot->blk_count();
	uint64_t end = deadline(DRAIN_US);
	for (uint32_t net = 0; net < nets; net++) {
		ingot->net_promiscuous(net, 0);
		ingot->net_close(net);
	}
	for (uint32_t blk = 0; blk < drives && blk < COUNTED_DRIVES; blk++) {
		struct ingot_blk_info info = { .size = sizeof(info) };
		struct ingot_blk_done done[16];
		ingot->blk_info(blk, &info);
		while (program_drives[blk].under_way > 0 && !passed(end))
			for (uint32_t queue = 0; queue < info.queues; queue++)
				counted_poll(blk, queue, done, 16);
		program_drives[blk].under_way = 0;
	}
}

// What a program drove by itself goes back to the kernel's drivers.
static void end_claims(void)
{
	struct ingot_device_info info;
	for (uint32_t i = 0; info.size = sizeof(info), !ingot->device_info(i, &info); i++) {
		uint32_t device = ingot_pci_address(info.address);
		if (INGOT_HAS(device_release) && device != INGOT_PCI_NONE)
			ingot->device_release(device); // it knows which are claimed
	}
}

// Whatever the program has left behind.  It may still be at work on other cores when this begins.
static void program_end(void)
{
	ingot_print("\n");
	finish_work();
	for (uint32_t i = 0; i < CALL_COUNT; i++)
		CALLS[i] = calls[i];
	end_claims();
	end_callbacks();
	end_transfers();
}

void program_dropped(void)
{
	program_end();
	prompt();
}

static const char *load(const struct file *file, const char *arguments, uintptr_t *entry, int *is_elf)
{
	struct ingot_memory memory = { .size = sizeof(memory) };
	ingot->memory(&memory);
	clear_memory(&memory);
	const char *error = program_load(file, &memory, entry, is_elf);
	if (!error && !*is_elf && *arguments)
		error = "it is flat, and flat programs take no arguments";
	return error;
}

void program_run(const struct file *file, const char *arguments)
{
	uintptr_t entry;
	int is_elf;
	const char *error = load(file, arguments, &entry, &is_elf);
	if (error) {
		print("%s: %s\n", file->name, error);
		return;
	}
	make_table();
	replace_calls();
	was_shut_down = 0;
	shut_down_by = 0;
	waits = 0;
	int result = (int)program_call(entry, is_elf ? &table.api : NULL, is_elf ? arguments : NULL);
	if (is_elf && !was_shut_down && result)
		print("\n%s: returned %d", file->name, result);
	program_end();
}
