// Checks the register interface call by call: every register, vector register, the direction flag and MXCSR are set
// before each call and compared behind it, once in peace and once with a timer callback that leaves no register alone.
// Zero counts, ends of drives, absent devices, unused numbers, both address maps, any alignment.  What it writes
// to the first drive is what it has read there.
#include "lib.h"
#include "packet.h"
#include "registers.h"
#include <baremetal.h>
#include <cpuid.h>

#define BIT(reg) (1u << (reg))
#define CARRY 1u
#define ZERO 0x40u
#define DIRECTION 0x400u
#define MXCSR_DEFAULT 0x1F80 // Intel SDM vol. 1, 11.6.4

static char failure[160];
static uint64_t have_avx, calls, characters, frames;

static void fail(const char *format, ...)
{
	va_list list;
	if (failure[0])
		return; // the first cause counts
	va_start(list, format);
	format_text(failure, sizeof(failure) - 1, format, list);
	va_end(list);
}

// Calls through the table with RAX, RCX, RDX, RSI, RDI as given and noise everywhere else.  Registers not in `outputs`
// must come back.
static struct registers call(const char *name, uint32_t slot, uint32_t outputs, uint64_t rax, uint64_t rcx,
	uint64_t rdx, uint64_t rsi, uint64_t rdi)
{
	static const char *const names[] = { "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "R8", "R9", "R10", "R11",
		"R12", "R13", "R14", "R15" };
	static struct registers in, out;
	uint64_t state = ++calls;
	for (uint32_t i = 0; i < GENERAL; i++)
		in.general[i] = random_next(&state);
	for (uint32_t i = 0; i < 64; i++)
		in.vector[i / 4][i % 4] = random_next(&state);
	in.general[RAX] = rax;
	in.general[RCX] = rcx;
	in.general[RDX] = rdx;
	in.general[RSI] = rsi;
	in.general[RDI] = rdi;
	registers_call((void *const *)(uintptr_t)slot, &in, &out, have_avx);
	for (uint32_t i = 0; i < GENERAL; i++)
		if (!(outputs & BIT(i)) && in.general[i] != out.general[i])
			fail("%s changes %s from %lx to %lx", name, names[i], in.general[i], out.general[i]);
	for (uint32_t i = 0; i < 64; i++)
		if (i % 4 < (have_avx ? 4 : 2) && in.vector[i / 4][i % 4] != out.vector[i / 4][i % 4])
			fail("%s changes vector register %u", name, i / 4);
	if (out.flags & DIRECTION)
		fail("%s sets the direction flag", name);
	if ((uint32_t)out.mxcsr != MXCSR_DEFAULT)
		fail("MXCSR is %lx behind %s", out.mxcsr, name);
	return out;
}

static uint64_t address(const void *ptr)
{
	return (uint64_t)(uintptr_t)ptr;
}

// b_system with its result alone.
static uint64_t function(const char *name, uint64_t number, uint64_t rax, uint64_t rdx)
{
	return call(name, SYSTEM, BIT(RAX), rax, number, rdx, 1, 2).general[RAX];
}

// One that returns nothing.
static void silent(const char *name, uint64_t number, uint64_t rax, uint64_t rdx)
{
	call(name, SYSTEM, 0, rax, number, rdx, 1, 2);
}

static void expect(const char *what, uint64_t found, uint64_t wanted)
{
	if (found != wanted)
		fail("%s is %lx, not %lx", what, found, wanted);
}

// The physical address of something of ours, where the kernel tells it.
static uint64_t physical(const void *ptr, size_t bytes)
{
	size_t run = 0;
	uint64_t phys = ingot ? ingot->phys(ptr, bytes, &run) : 0;
	return run == bytes ? phys : 0;
}

// ---- Input and output -------------------------------------------------------------------------------------------

static void check_input(void)
{
	struct registers out = call("b_input", INPUT, BIT(RAX), 0x1122334455667788, 1, 2, 3, 4);
	if (!(out.flags & ZERO) != ((out.general[RAX] & 255) != 0))
		fail("b_input's zero flag doesn't tell if AL is 0");
	if (out.general[RAX] >> 8 != 0x11223344556677)
		fail("b_input changes RAX above AL");
	characters += (out.general[RAX] & 255) != 0;
}

static void check_output(void)
{
	static const char text[] = "callcheck: output, ";
	static const char low[] __attribute__((aligned(64))) = "and from the identity map\n";
	uint64_t phys = physical(low, sizeof(low));
	call("b_output", OUTPUT, 0, 5, sizeof(text) - 1, 6, address(text), 7);
	call("b_output", OUTPUT, 0, 5, sizeof(low) - 1, 6, phys ? phys : address(low), 7);
	call("b_output of nothing", OUTPUT, 0, 5, 0, 6, address(text), 7);
	call("b_output of nothing at 0", OUTPUT, 0, 5, 0, 6, 0, 7);
}

static void check_stdout(void)
{
	static const char text[] = "captured";
	uint64_t own = address((void *)registers_capture), before = function("STDOUT_GET", B_STDOUT_GET, 0, 0);
	expect("the pointer at 0x100018", *(volatile uint64_t *)OUTPUT, before);
	silent("STDOUT_SET", B_STDOUT_SET, own, 0);
	uint64_t now = function("STDOUT_GET", B_STDOUT_GET, 0, 0);
	captured_bytes = 0;
	call("b_output, replaced", OUTPUT, 0, 5, sizeof(text) - 1, 6, address(text), 7);
	*(volatile uint64_t *)OUTPUT = before; // a program may write the pointer itself, too
	expect("STDOUT_GET behind STDOUT_SET", now, own);
	expect("length that the replaced routine sees", captured_bytes, sizeof(text) - 1);
	for (uint32_t i = 0; i < sizeof(text) - 1; i++)
		if (captured[i] != text[i])
			fail("the replaced output routine sees another text");
	expect("STDOUT_GET behind a write to 0x100018", function("STDOUT_GET", B_STDOUT_GET, 0, 0), before);
}

static void check_debug(void)
{
	static const uint8_t bytes[20] = { 0, 1, 2, 3, 0xFF };
	silent("DUMP_RAX", B_DUMP_RAX, 0x0123456789ABCDEF, 0);
	print("\n");
	silent("DUMP_MEM", B_DUMP_MEM, address(bytes), sizeof(bytes));
	print("\n");
	silent("DUMP_MEM of nothing", B_DUMP_MEM, address(bytes), 0);
}

// ---- Network ----------------------------------------------------------------------------------------------------

static void check_receive(uint64_t net, int present)
{
	struct registers out = call("b_net_rx", NET_RX, BIT(RDI) | BIT(RCX), 1, 2, net, 3, 4);
	uint64_t length = out.general[RCX];
	if (!(out.flags & ZERO) != (length != 0))
		fail("b_net_rx's zero flag doesn't tell if RCX is 0");
	if (length && (!present || length < 14 || length > 9018))
		fail("b_net_rx on interface %lx: %lu bytes", net, length);
	frames += length != 0;
}

// The gateway of QEMU's user network answers; elsewhere nobody may.
static void check_answer(uint64_t mac)
{
	static uint8_t frame[64];
	struct host self = { .ip = 0x0A00020F }, gateway = { .ip = 0x0A000202 };
	for (int i = 0; i < 6; i++)
		self.mac[i] = (uint8_t)(mac >> (40 - 8 * i));
	call("b_net_tx", NET_TX, 0, 1, packet_arp(frame, &self, &gateway, 0), 0, address(frame), 2);
	uint64_t before = frames;
	for (uint32_t i = 0; i < 100 && frames == before; i++) {
		silent("DELAY", B_DELAY, 1000, 0);
		check_receive(0, 1);
	}
}

static void check_net(void)
{
	static uint8_t frame[2048 + 64] __attribute__((aligned(64)));
	uint64_t mac = function("NET_STATUS", B_NET_STATUS, 0, 0), phys = physical(frame, sizeof(frame));
	for (int i = 0; i < 12; i++) // an experimental type (IEEE 802, 88B5), to ourselves
		frame[i] = (uint8_t)(mac >> (40 - 8 * (i % 6)));
	frame[12] = 0x88;
	frame[13] = 0xB5;
	for (uint32_t i = 14; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	static const uint64_t lengths[] = { 60, 14, 61, 1514, 0, 1, 13, 1u << 20, ~0ull }; // the last five: dropped
	for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		call("b_net_tx", NET_TX, 0, 1, lengths[i], 0, address(frame), 2);
		if (phys)
			call("b_net_tx", NET_TX, 0, 1, lengths[i], 0, phys, 2);
		call("b_net_tx on no interface", NET_TX, 0, 1, lengths[i], 200, address(frame), 2);
	}
	for (uint32_t i = 0; i < 300; i++) // more than any ring holds
		call("b_net_tx", NET_TX, 0, 1, 60 + i, 0xFF00, address(frame) + i % 64, 2);
	for (uint32_t i = 0; i < 10; i++)
		check_receive(0xABCDEF00, mac != 0);
	check_receive(200, 0);
	if (mac)
		check_answer(mac);
	expect("NET_STATUS of no interface", function("NET_STATUS", B_NET_STATUS, 0, 200), 0);
	expect("NET_STATUS of interface 256", function("NET_STATUS", B_NET_STATUS, 0, 256), mac);
	silent("NET_CONFIG", B_NET_CONFIG, 0, 0);
	silent("NET_CONFIG of no interface", B_NET_CONFIG, 0, 200);
}

// ---- Drives -----------------------------------------------------------------------------------------------------

static uint64_t sectors_of_drive(void)
{
	struct ingot_blk_info info = { .size = sizeof(info) };
	if (!ingot || ingot->blk_info(0, &info))
		return 0;
	return info.blocks * info.block_bytes / B_SECTOR;
}

static uint64_t nvs(uint32_t slot, uint64_t sector, uint64_t count, uint64_t drive, uint64_t data)
{
	const char *name = slot == NVS_READ ? "b_nvs_read" : "b_nvs_write";
	return call(name, slot, BIT(RCX), sector, count, drive, slot == NVS_READ ? 1 : data, slot == NVS_READ ? data : 1)
		.general[RCX];
}

static void check_drives(void)
{
	static uint8_t data[3 * B_SECTOR + 64] __attribute__((aligned(4096)));
	static uint8_t same[3 * B_SECTOR + 64] __attribute__((aligned(4096)));
	uint64_t sectors = sectors_of_drive(), at = address(data);
	for (uint32_t slot = NVS_READ; slot <= NVS_WRITE; slot += 8) {
		expect("sectors done of none", nvs(slot, 0, 0, 0, at), 0);
		expect("sectors done on no drive", nvs(slot, 0, 1, 200, at), 0);
		expect("sectors done beyond any drive", nvs(slot, 1ull << 52, 1, 0, at), 0);
		expect("sectors done at the end of numbers", nvs(slot, ~0ull, 2, 0, at), 0);
		expect("sectors done of too many", nvs(slot, 0, 1ull << 60, 0, at), 0);
		if (sectors) {
			expect("sectors done past the end", nvs(slot, sectors, 1, 0, at), 0);
			expect("sectors done across the end", nvs(slot, sectors - 1, 2, 0, at), 0);
		}
	}
	if (!sectors)
		return;
	uint64_t count = sectors < 3 ? sectors : 3, phys = physical(same, sizeof(same));
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = same[i] = 0xDB;
	expect("sectors read", nvs(NVS_READ, 0, count, 0x4500, at), count);
	expect("sectors read", nvs(NVS_READ, 0, count, 0, phys ? phys : address(same)), count);
	for (uint32_t i = 0; i < sizeof(data); i++)
		if (data[i] != same[i] || (i >= count * B_SECTOR && data[i] != 0xDB))
			fail("b_nvs_read through both maps: byte %u is %x and %x", i, data[i], same[i]);
	expect("sectors read at an odd address", nvs(NVS_READ, 0, 1, 0, address(same) + 7), 1);
	for (uint32_t i = 0; i < B_SECTOR; i++)
		if (same[i + 7] != data[i])
			fail("b_nvs_read to an odd address: byte %u", i);
	expect("sectors written", nvs(NVS_WRITE, 0, count, 0, at), count);
	expect("sectors written from an odd address", nvs(NVS_WRITE, 0, 1, 0, address(same) + 7), 1);
	expect("last sector read", nvs(NVS_READ, sectors - 1, 1, 0, at), 1);
	expect("last sector written", nvs(NVS_WRITE, sectors - 1, 1, 0, phys ? physical(data, sizeof(data)) : at), 1);
}

// ---- b_system ---------------------------------------------------------------------------------------------------

static void check_time(void)
{
	uint64_t before = function("TIMECOUNTER", B_TIMECOUNTER, 0, 0), ticks = function("TSC", B_TSC, 0, 0);
	silent("DELAY", B_DELAY, 2000, 0);
	silent("DELAY of nothing", B_DELAY, 0, 0);
	uint64_t passed_ns = function("TIMECOUNTER", B_TIMECOUNTER, 0, 0) - before;
	if (passed_ns < 1990000 || passed_ns > 3000000000)
		fail("DELAY of 2 ms takes %lu ns", passed_ns);
	if (function("TSC", B_TSC, 0, 0) <= ticks)
		fail("TSC doesn't grow");
}

static void check_memory_and_screen(void)
{
	uint64_t mib = function("FREE_MEMORY", B_FREE_MEMORY, 0, 0);
	if (mib < 1 || mib > 1 << 24)
		fail("FREE_MEMORY tells %lu MiB", mib);
	uint64_t lfb = function("SCREEN_LFB_GET", B_SCREEN_LFB_GET, 0, 0);
	uint64_t x = function("SCREEN_X_GET", B_SCREEN_X_GET, 0, 0), y = function("SCREEN_Y_GET", B_SCREEN_Y_GET, 0, 0);
	uint64_t line = function("SCREEN_PPSL_GET", B_SCREEN_PPSL_GET, 0, 0);
	uint64_t bits = function("SCREEN_BPP_GET", B_SCREEN_BPP_GET, 0, 0);
	if (lfb && (!x || !y || line < x || bits != 32))
		fail("a screen of %lu x %lu, %lu in a line, %lu bits", x, y, line, bits);
}

static volatile uint32_t hold;

__attribute__((aligned(16))) static void work(void)
{
	while (hold)
		ingot_relax();
}

static void wait_idle(void)
{
	for (uint32_t i = 0; i < 20000 && function("SMP_BUSY", B_SMP_BUSY, 0, 0); i++)
		silent("DELAY", B_DELAY, 1000, 0);
	expect("SMP_BUSY behind all work", function("SMP_BUSY", B_SMP_BUSY, 0, 0), 0);
}

// Work for every id that takes it.
static uint64_t set_all(void)
{
	uint64_t taken = 0;
	for (uint32_t id = 0; id < 256; id++)
		taken += !(call("SMP_SET", SYSTEM, 0, address((void *)work), B_SMP_SET, id, 1, 2).flags & CARRY);
	return taken;
}

static void check_work(uint64_t cores)
{
	hold = 1;
	expect("cores that take work", set_all(), cores - 1);
	expect("SMP_BUSY with work", function("SMP_BUSY", B_SMP_BUSY, 0, 0), cores > 1);
	expect("busy cores that take work", set_all(), 0);
	hold = 0;
	wait_idle();
	hold = 1;
	expect("idle cores that take work", set_all(), cores - 1);
	call("RESET", SYSTEM, 0, 3, B_RESET, 4, 1, 2);
	wait_idle();
	hold = 0;
}

static void check_cores(void)
{
	static uint16_t lock = 0x1110;
	uint64_t self = function("SMP_ID", B_SMP_ID, 0, 0), cores = function("SMP_NUMCORES", B_SMP_NUMCORES, 0, 0);
	uint64_t code = address((void *)work);
	if (!cores || cores > 256)
		fail("%lu cores", cores);
	expect("flags of SMP_GET", function("SMP_GET", B_SMP_GET, 0, 0) & 1, 1);
	expect("SMP_BUSY", function("SMP_BUSY", B_SMP_BUSY, 0, 0), 0);
	silent("SMP_LOCK", B_SMP_LOCK, address(&lock), 0);
	expect("a taken lock", *(volatile uint16_t *)&lock, 0x1111);
	silent("SMP_UNLOCK", B_SMP_UNLOCK, address(&lock), 0);
	expect("a free lock", *(volatile uint16_t *)&lock, 0x1110);
	struct registers own = call("SMP_SET of ourselves", SYSTEM, 0, code, B_SMP_SET, self, 1, 2);
	struct registers odd = call("SMP_SET of an odd address", SYSTEM, 0, code + 8, B_SMP_SET, self + 1, 1, 2);
	struct registers none = call("SMP_SET of no core", SYSTEM, 0, code, B_SMP_SET, 0xFFFFFF, 1, 2);
	if (!(own.flags & odd.flags & none.flags & CARRY))
		fail("SMP_SET doesn't report a refusal by the carry flag");
	check_work(cores);
}

// Register 0 of the host bridge is vendor and device; register 15's lowest byte is the interrupt line, which is
// software's alone (PCI 3.0, 6.2.4).
static void check_bus(void)
{
	uint64_t ids = function("BUS_READ", B_BUS_READ, 0, 0), line = function("BUS_READ", B_BUS_READ, 0, 15);
	if (ids >> 32 || line >> 32)
		fail("BUS_READ gives more than 32 bits: %lx", ids);
	if ((uint32_t)ids != 0xFFFFFFFF && ids)
		silent("BUS_WRITE", B_BUS_WRITE, line, 15);
	expect("BUS_READ of no device", (uint32_t)function("BUS_READ", B_BUS_READ, 0, 0xFFFF00000000ull), 0xFFFFFFFF);
}

static void check_callbacks(void)
{
	for (uint64_t number = B_CALLBACK_TIMER; number <= B_CALLBACK_KEYBOARD; number++)
		silent("CALLBACK with none", number, 0, 0);
	silent("CALLBACK_NETWORK of no interface", B_CALLBACK_NETWORK, 0, 200);
}

static void check_unused(void)
{
	static const struct {
		uint64_t first, last;
	} unused[] = { { 0x02, 0x0F }, { 0x17, 0x1E }, { 0x25, 0x2F }, { 0x32, 0x4F }, { 0x54, 0x5F }, { 0x63, 0x6F },
		{ 0x73, 0x7C }, { 0x80, 0x17F }, { 0x100000011, 0x100000011 }, { ~0ul, ~0ul } };
	for (uint32_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++)
		for (uint64_t number = unused[i].last; number - unused[i].first < 0x100; number--)
			silent("an unused function", number, 0x1122334455667788, 0x99AABBCCDDEEFF00);
	call("b_user", USER, 0, 1, 2, 3, 4, 5);
}

static uint64_t find_avx(void)
{
	uint32_t a, b, c, d, low = 0, high;
	if (!__get_cpuid(1, &a, &b, &c, &d) || (c >> 27 & 3) != 3) // OSXSAVE, AVX
		return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (low & 6) == 6;
}

int main(void)
{
	static void (*const checks[])(void) = { check_input, check_output, check_stdout, check_debug, check_net,
		check_drives, check_time, check_memory_and_screen, check_cores, check_bus, check_callbacks, check_unused };
	have_avx = find_avx();
	for (uint32_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && !failure[0]; i++)
		checks[i]();
	for (uint32_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && !failure[0]; i++) {
		if (checks[i] == check_callbacks)
			continue; // would switch it off
		b_system(B_CALLBACK_TIMER, address((void *)registers_clobber), 200);
		checks[i]();
	}
	b_system(B_CALLBACK_TIMER, address((void *)registers_clobber), 200);
	uint64_t before = clobbered;
	for (uint32_t i = 0; i < 100 && clobbered == before; i++) // an emulator's timer may be late
		silent("DELAY under a timer", B_DELAY, 20000, 0);
	silent("CALLBACK_TIMER off", B_CALLBACK_TIMER, 0, 0);
	if (clobbered == before)
		fail("CALLBACK_TIMER's routine is never called");
	print("callcheck: %lu calls, %lu timer callbacks, %lu frames, %lu characters, avx=%lu\n", calls, clobbered, frames,
		characters, have_avx);
	verdict("callcheck", failure[0] ? failure : NULL);
	return 0;
}
