// What calls cost, in ticks of the time-stamp counter: under QEMU's -icount shift=0 a tick is an instruction, so that
// the figures are exact and the same on every machine (scripts/bench.py).  Each is the least of many runs, without the
// cost of reading the counter.  It writes to the first drive: give it one without data.
#include "lib.h"
#include <baremetal.h>
#include <stdbool.h>

#define RUNS 64
#define BURST 32
#define SETTLE_US 1000
#define POLLS 100000		// until a request counts as lost
#define FRAME_BYTES 64
#define LOADER_TSC 0x5050	// information table: the counter when the loader started

INGOT_NEEDS(shutdown);

static struct ingot_frame *frames[BURST];
static uint32_t have;		// in frames[]
static bool dud;		// this run has not done what is measured
static struct ingot_blk_done done[BURST];
// An ARP request: who has 10.0.2.2, tell 10.0.2.15.
static const uint8_t frame[FRAME_BYTES] = {
	0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
	0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2,
};
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

// Frames for the next burst: requests to the gateway of QEMU's user network, which answers each.
static void fill(void)
{
	struct ingot_pool *pool = ingot->net_pool(0, 0);
	for (have = 0; have < BURST && (frames[have] = ingot_frame_get(pool)); have++) {
		for (uint32_t byte = 0; byte < FRAME_BYTES; byte += 8)
			*(uint64_t *)(frames[have]->data + byte) = *(const uint64_t *)(frame + byte);
		frames[have]->length = FRAME_BYTES;
		frames[have]->flags = 0;
	}
}

static void give_back(uint32_t from)
{
	while (have > from)
		ingot_frame_put(frames[--have]);
}

static void native_tx_1(void)
{
	ingot->net_tx(0, 0, frames, 1);
}

static void native_tx_burst(void)
{
	dud = ingot->net_tx(0, 0, frames, have) < BURST;
}

static void native_pool(void)
{
	dud = ingot->net_pool(0, 0)->available < BURST;
}

static void native_rx(void)
{
	have = ingot->net_rx(0, 0, frames, BURST);
}

static void native_rx_1(void)
{
	have = ingot->net_rx(0, 0, frames, 1);
	dud = !have;
}

static void native_rx_burst(void)
{
	native_rx();
	dud = have < BURST;
}

static void classic_tx_16(void)
{
	for (uint32_t i = 0; i < 16; i++)
		b_net_tx(frame, sizeof(frame), 0);
}

static void classic_rx_1(void)
{
	void *at;
	dud = !b_net_rx(&at, 0);
}

static void classic_rx_16(void)
{
	void *at;
	for (uint32_t i = 0; i < 16; i++)
		dud |= !b_net_rx(&at, 0);
}

static void settle(void)	// the device gets time to finish what it was given
{
	ingot->delay_us(SETTLE_US);
}

static void empty(void)	// all that has come
{
	for (native_rx(); have; native_rx())
		give_back(0);
}

static void settle_empty(void)
{
	settle();
	empty();
}

static void sent_1(void)
{
	give_back(1);
	have = 0;
	settle_empty();
}

static void sent_burst(void)
{
	have = 0;
	settle_empty();
}

static void received(void)	// a burst of answers waits
{
	empty();
	fill();
	native_tx_burst();
	have = 0;
	settle();
	ingot->net_pool(0, 0);
}

static void pool_waits(void)	// a burst is sent and not taken back
{
	fill();
	native_tx_burst();
	have = 0;
	settle();
}

static void received_done(void)
{
	give_back(0);
	empty();
}

static uint32_t flying;
static struct ingot_blk_req requests[BURST];

static void submit(uint32_t count)
{
	const struct ingot_api *api = ingot;
	for (uint32_t i = 0; i < count; i++)
		flying += api->blk_submit(0, 0, &requests[i]) == INGOT_OK;
}

static void submit_1(void)
{
	submit(1);
}

static void poll(void)
{
	flying -= ingot->blk_poll(0, 0, done, BURST);
}

static void poll_burst(void)
{
	poll();
	dud = flying;
}

static void submit_burst(void)	// and ring the doorbell
{
	submit(BURST);
	ingot->blk_poll(0, 0, done, 0);
}

static void drain(void)	// all completions, so that the next run begins with an empty queue
{
	for (uint32_t i = 0; flying && i < POLLS; i++)
		poll();
}

static void submitted(void)
{
	submit_burst();
	settle();
}

static void nvs_1(void)
{
	dud = b_nvs_read(data, 0, 1, 0) != 1;
}

static void nvs_256(void)
{
	dud = b_nvs_read(data, 0, 256, 0) != 256;
}

static uint64_t least(void (*before)(void), void (*fn)(void), void (*after)(void))
{
	uint64_t best = UINT64_MAX;
	for (uint32_t i = 0; i < RUNS; i++) {
		if (before)
			before();
		dud = false;
		uint64_t from = now();
		fn();
		uint64_t took = now() - from;
		if (!dud && took < best)
			best = took;
		if (after)
			after();
	}
	return best;
}

static uint64_t base;	// reading the counter twice and calling a function

static void report(const char *what, uint32_t each, void (*before)(void), void (*fn)(void), void (*after)(void))
{
	uint64_t took = (least(before, fn, after) - base) * 10 / each;
	print("bench: %s: %lu.%lu in %u\n", what, took / 10, took % 10, RUNS * each);
}

static void all_calls(void)
{
	report("b_system, unused number", 1, NULL, system_unused, NULL);
	report("b_system SMP_NUMCORES", 1, NULL, system_cores, NULL);
	report("b_system SMP_BUSY", 1, NULL, system_busy, NULL);
	report("core_count", 1, NULL, native_cores, NULL);
	report("time_ns", 1, NULL, native_time, NULL);
}

static void all_net(void)
{
	report("b_net_tx, 64 bytes", 1, NULL, classic_tx, settle_empty);
	report("b_net_tx, 64 bytes, mean of 16", 16, NULL, classic_tx_16, settle_empty);
	report("b_net_rx, empty", 1, NULL, classic_rx, NULL);
	report("net_tx, 1 frame", 1, fill, native_tx_1, sent_1);
	report("net_tx, a frame of 32", BURST, fill, native_tx_burst, sent_burst);
	report("net_pool, a frame sent of 32", BURST, pool_waits, native_pool, settle_empty);
	report("net_rx, empty", 1, NULL, native_rx, NULL);
	report("net_rx, 1 frame", 1, received, native_rx_1, received_done);
	report("net_rx, a frame of 32", BURST, received, native_rx_burst, received_done);
	// From here on one frame of the pool is b_net_rx's.
	report("b_net_rx, a frame", 1, received, classic_rx_1, received_done);
	report("b_net_rx, a frame, mean of 16", 16, received, classic_rx_16, received_done);
}

static void all_blk(void)
{
	uint32_t count = 4096 / drive.block_bytes;
	for (uint32_t i = 0; i < BURST; i++)
		requests[i] = (struct ingot_blk_req){ i * count, count, INGOT_READ, data + i * 4096, 0 };
	report("blk_submit, 4 KiB", 1, NULL, submit_1, drain);
	report("blk_submit, 4 KiB, each of 32", BURST, NULL, submit_burst, drain);
	report("blk_poll, empty", 1, NULL, poll, NULL);
	report("blk_poll, each of 32", BURST, submitted, poll_burst, drain);
	report("b_nvs_read, 4 KiB, with waiting", 1, NULL, nvs_1, NULL);
	report("b_nvs_read, 1 MiB, with waiting", 1, NULL, nvs_256, NULL);
}

int main(void)
{
	uint64_t start = *(volatile uint64_t *)LOADER_TSC;
	if (start)
		print("bench: loader to program: %lu\n", now() - start);
	size_t room;
	data = free_memory(&room);
	base = least(NULL, nothing, NULL);
	all_calls();
	if (ingot->net_count())
		all_net();
	if (ingot->blk_count() && ingot->blk_info(0, &drive) == INGOT_OK && data && room >= 1 << 20)
		all_blk();
	ingot->shutdown();
	return 0;
}
