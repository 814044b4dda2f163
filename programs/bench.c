// What calls cost, in ticks of the time-stamp counter: under QEMU's -icount shift=0 a tick is an instruction, so that
// the figures are exact and the same on every machine (scripts/bench.py).  Each is the least of many runs, without the
// cost of reading the counter.  It writes to the first drive: give it one without data.
#include "lib.h"
#include <baremetal.h>

#define RUNS 64
#define BURST 32
#define POLLS 100000		// until a request counts as lost
#define FRAME_BYTES 64
#define LOADER_TSC 0x5050	// information table: the counter when the loader started

INGOT_NEEDS(shutdown);

static struct ingot_frame *frames[BURST];
static uint8_t frame[FRAME_BYTES] = { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, [12] = 0x88, [13] = 0xB5 };
static uint8_t *data;
static struct ingot_blk_info drive = { .size = sizeof(drive) };

static uint64_t now(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) :: "memory");
	return (uint64_t)high << 32 | low;
}

static void nothing(void)
{
}

static void system_unused(void)
{
	b_system(0x6F, 0, 0);
}

static void system_cores(void)
{
	b_system(B_SMP_NUMCORES, 0, 0);
}

static void system_busy(void)
{
	b_system(B_SMP_BUSY, 0, 0);
}

static void native_cores(void)
{
	ingot->core_count();
}

static void native_time(void)
{
	ingot->time_ns();
}

static void classic_tx(void)
{
	b_net_tx(frame, sizeof(frame), 0);
}

static void classic_rx(void)
{
	void *at;
	b_net_rx(&at, 0);
}

static void native_tx(uint32_t burst)
{
	struct ingot_pool *pool = ingot->net_pool(0, 0);
	for (uint32_t i = 0; i < burst; i++) {
		struct ingot_frame *one = ingot_frame_get(pool);
		if (!one)
			return;
		for (uint32_t byte = 0; byte < FRAME_BYTES; byte += 8)
			*(uint64_t *)(one->data + byte) = *(const uint64_t *)(frame + byte);
		one->length = FRAME_BYTES;
		one->flags = 0;
		frames[i] = one;
	}
	uint32_t sent = ingot->net_tx(0, 0, frames, burst);
	while (sent < burst)
		ingot_frame_put(frames[sent++]);
}

static void native_tx_1(void)
{
	native_tx(1);
}

static void native_tx_burst(void)
{
	native_tx(BURST);
}

static void native_rx(void)
{
	uint32_t count = ingot->net_rx(0, 0, frames, BURST);
	while (count)
		ingot_frame_put(frames[--count]);
}

// All completions, so that the next run begins with an empty queue.
static void drain(uint32_t outstanding)
{
	struct ingot_blk_done done[BURST];
	for (uint32_t i = 0; outstanding && i < POLLS; i++)
		outstanding -= ingot->blk_poll(0, 0, done, BURST);
}

static uint32_t submit(uint32_t count)
{
	uint32_t submitted = 0;
	struct ingot_blk_req req = { .count = 4096 / drive.block_bytes, .op = INGOT_READ };
	for (; submitted < count; submitted++) {
		req.block = submitted * req.count;
		req.data = data + submitted * 4096;
		if (ingot->blk_submit(0, 0, &req) != INGOT_OK)
			break;
	}
	return submitted;
}

static void poll_empty(void)
{
	struct ingot_blk_done done;
	ingot->blk_poll(0, 0, &done, 1);
}

static uint64_t least(void (*fn)(void), void (*after)(void))
{
	uint64_t best = UINT64_MAX;
	for (uint32_t i = 0; i < RUNS; i++) {
		uint64_t from = now();
		fn();
		uint64_t took = now() - from;
		if (took < best)
			best = took;
		if (after)
			after();
	}
	return best;
}

static uint64_t base;	// reading the counter twice and calling a function

static void report(const char *what, void (*fn)(void), void (*after)(void))
{
	print("bench: %s: %lu\n", what, least(fn, after) - base);
}

static void submit_1(void)
{
	submit(1);
}

static void drain_1(void)
{
	drain(1);
}

static void settle(void)	// the device gets time to finish what it was given
{
	ingot->delay_us(1000);
}

int main(void)
{
	uint64_t start = *(volatile uint64_t *)LOADER_TSC;
	if (start)
		print("bench: loader to program: %lu\n", now() - start);
	size_t room;
	data = free_memory(&room);
	base = least(nothing, NULL);
	report("b_system, unused number", system_unused, NULL);
	report("b_system SMP_NUMCORES", system_cores, NULL);
	report("b_system SMP_BUSY", system_busy, NULL);
	report("core_count", native_cores, NULL);
	report("time_ns", native_time, NULL);
	if (ingot->net_count()) {
		report("b_net_tx, 64 bytes", classic_tx, settle);
		report("b_net_rx, empty", classic_rx, NULL);
		report("net_tx, 1 frame of 64 bytes", native_tx_1, settle);
		report("net_tx, 32 frames", native_tx_burst, settle);
		report("net_rx, empty", native_rx, NULL);
	}
	if (ingot->blk_count() && ingot->blk_info(0, &drive) == INGOT_OK && data && room >= BURST * 4096) {
		report("blk_submit, 4 KiB", submit_1, drain_1);
		report("blk_poll, empty", poll_empty, NULL);
	}
	ingot->shutdown();
	return 0;
}
