// A program for the monitor's `run`: its first argument says how it behaves and how it ends.
#include <baremetal.h>
#include <ingot_pci.h>
#include <lib.h>

INGOT_NEEDS(device_claim);

#define OUTPUT_SLOT ((volatile uint64_t *)0x100018)
#define USER_SLOT ((volatile uint64_t *)0x100048)
#define READS 8

static volatile uint32_t spinning;

static void show_arguments(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		print("[%s]", argv[i]);
	print("\n");
}

// Everything from the program's end on.
static void look_and_dirty(void)
{
	struct ingot_memory memory = { .size = sizeof(memory) };
	ingot->memory(&memory);
	extern char __bss_end[] __attribute__((visibility("hidden")));
	uint64_t *at = (uint64_t *)(((uintptr_t)__bss_end + 4095) & ~4095ul), wrong = 0;
	uint64_t *end = (uint64_t *)((char *)memory.base + memory.bytes);
	for (; at < end; at++) {
		wrong |= *at;
		*at = 0xA5A5A5A5A5A5A5A5;
	}
	print("memory is %s\n", wrong ? "dirty" : "clean");
}

static void work(void *arg)
{
	(void)arg;
	ingot->delay_us(600000);
	print("work is done\n");
}

static void spin(void *arg)
{
	(void)arg;
	__asm__ volatile("cli");
	spinning = 1;
	for (;;)
		ingot_relax();
}

static void start_spinning(void)
{
	ingot->core_start(1, spin, NULL);
	while (!spinning)
		ingot_relax();
}

static void switch_off(void *arg)
{
	(void)arg;
	ingot->shutdown();
}

static void switch_off_in_a_callback(void *arg)
{
	ingot->on_timer(1000, switch_off, arg);
}

static void reset(void *arg)
{
	(void)arg;
	b_system(B_RESET, 0, 0);
	print("the others are idle: %u\n", ingot->core_self());
	ingot->delay_us(400000);
}

static void spin_for(void (*fn)(void *arg))
{
	ingot->core_start(1, fn, NULL);
	spin(NULL);
}

static void tick(void *arg)
{
	__atomic_add_fetch((uint64_t *)arg, 1, __ATOMIC_RELAXED);
}

static void start_ticking(void *arg)
{
	ingot->on_timer(1000, tick, arg);
}

static void swallow(void)
{
}

// All that a program may have taken, and doesn't give back.
static void leave_everything_behind(void)
{
	static uint8_t frames[1 << 20] __attribute__((aligned(4096)));
	static uint64_t ticks;
	struct ingot_memory memory = { .size = sizeof(memory) };
	ingot->memory(&memory);
	start_ticking(&ticks);
	ingot->core_start(1, start_ticking, &ticks);
	ingot->on_key(tick, &ticks);
	ingot->on_receive(0, tick, &ticks);
	ingot->net_promiscuous(0, 1);
	if (ingot->net_open(0, 1, frames, sizeof(frames), 2048))
		print("no frames\n");
	for (uint64_t i = 0; i < READS; i++) { // to the end of memory, scattered over the last drive, which is slow
		struct ingot_blk_req req = { i * 24, 4096 / 512, INGOT_READ,
			(char *)memory.base + memory.bytes - 4096 * (i + 1), i };
		if (ingot->blk_submit(ingot->blk_count() - 1, 0, &req))
			print("no read\n");
	}
	struct ingot_blk_done done;
	ingot->blk_poll(ingot->blk_count() - 1, 0, &done, 1); // now the device has them
	*USER_SLOT = *OUTPUT_SLOT = (uintptr_t)swallow;
	__asm__ volatile("cli; std; fldpi; ldmxcsr %0" : : "m"((uint32_t){ 0 }));
}

// Takes the first interface's device from its driver.
static void claim_interface(void)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	ingot->net_info(0, &info);
	print("claimed: %d\n", ingot->device_claim(ingot_pci_address(info.address), INGOT_CLAIM_UNBIND));
}

static void look_at_units(void)
{
	uint32_t mxcsr;
	uint16_t status;
	uint64_t flags;
	__asm__("stmxcsr %0; fnstsw %1; pushf; pop %2" : "=m"(mxcsr), "=m"(status), "=r"(flags));
	int fresh = mxcsr == 0x1F80 && !(status & 0x3800) && (flags & 0x600) == 0x200;
	print("units are %s\n", fresh ? "fresh" : "stale");
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	show_arguments(argc, argv);
	if (text_equal(how, "memory")) {
		look_and_dirty();
	} else if (text_equal(how, "units")) {
		look_at_units();
	} else if (text_equal(how, "claim")) {
		claim_interface();
	} else if (text_equal(how, "seven")) {
		return 7;
	} else if (text_equal(how, "work")) {
		ingot->core_start(1, work, NULL);
	} else if (text_equal(how, "spin")) {
		start_spinning();
	} else if (text_equal(how, "abandon")) {
		start_spinning();
		ingot->shutdown();
	} else if (text_equal(how, "callback")) {
		ingot->on_timer(1000, switch_off, NULL);
		for (;;)
			ingot_relax();
	} else if (text_equal(how, "behind")) {
		leave_everything_behind();
	} else if (text_equal(how, "elsewhere")) {
		spin_for(switch_off);
	} else if (text_equal(how, "ticking")) {
		spin_for(switch_off_in_a_callback);
	} else if (text_equal(how, "reset")) {
		spin_for(reset);
	}
	return 0;
}
