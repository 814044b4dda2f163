// What calls cost, in ticks of the time-stamp counter: under QEMU's -icount shift=0 a tick is an instruction, so that
// the figures are exact and the same on every machine.  Each is the least of many runs, without the cost of reading the
// counter; of the register interface from the call to the return, with what a program in assembly spends.  Writes to
// port 0x80 tell scripts/bench.py, which counts accesses of devices, when to look.  The arguments
// choose among calls, net and blk; without any it is all of them.  Drives are only read.
#include "lib.h"
#include "packet.h"
#include "registers.h"
#include <baremetal.h>
#include <stdbool.h>

#define RUNS 16
#define BURST 32
#define MEAN 16 // calls in a row
#define MEAN_SENT 64
#define SENT_US 200
#define SETTLE_US 2000
#define LINK_US 4000000
#define LINK_TRIES 40
#define POLLS 100000 // until a request counts as lost
#define SMALL 64     // bytes of a frame
#define LARGE 1514
#define ROOM (1 << 20) // bytes that frames or data of drives may fill

INGOT_NEEDS(shutdown);

enum marker { BEGIN = 1, END = 2, GOOD = 3, DUD = 4, ROW = 5 }; // the same in scripts/bench.py

static bool dud;             // this run has not done what is measured
static uint64_t began, took; // when the counter was read last; what this run has taken up to its last pause

static uint64_t now(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

static void mark(enum marker what)
{
	__asm__ volatile("outb %b0, $0x80" ::"a"(what) : "memory");
}

// What a run does between pause and resume isn't counted.
static void resume(void)
{
	mark(BEGIN);
	began = now();
}

static void pause(void)
{
	took += now() - began;
	mark(END);
}

static uint64_t base, gap; // what measuring costs: a run that calls nothing, and a rest in it
static bool measuring;     // none of that

static __attribute__((noinline)) void rest(uint64_t us)
{
	pause();
	ingot->delay_us(us);
	took -= gap;
	resume();
}

static void rest_only(void)
{
	for (uint32_t i = 0; i < MEAN_SENT; i++)
		rest(0);
}

static void settle(void) // the device gets time to finish what it was given
{
	ingot->delay_us(SETTLE_US);
}

static void nothing(void)
{
}

static uint64_t least(void (*before)(void), void (*fn)(void), void (*after)(void))
{
	uint64_t best = UINT64_MAX;
	for (uint32_t i = 0; i < RUNS; i++) {
		if (before)
			before();
		dud = false;
		took = 0;
		resume();
		fn();
		pause();
		mark(dud || !measuring ? DUD : GOOD);
		if (!dud && took < best)
			best = took;
		if (after)
			after();
	}
	return best;
}

static uint32_t frame_bytes; // length of the frames that the rows are about
static uint8_t *data;        // free memory

static void report_above(uint64_t cost, const char *what, uint32_t each, void (*before)(void), void (*fn)(void),
	void (*after)(void))
{
	uint64_t best = least(before, fn, after);
	mark(ROW);
	if (best == UINT64_MAX) {
		print("bench: %s: never done\n", what);
		return;
	}
	uint64_t tenths = (best - cost) * 10 / each;
	print("bench: %s%s: %lu.%lu in %u\n", what, frame_bytes == LARGE ? ", 1514 bytes" : "", tenths / 10, tenths % 10,
		each);
}

static void report(const char *what, uint32_t each, void (*before)(void), void (*fn)(void), void (*after)(void))
{
	report_above(base, what, each, before, fn, after);
}

// ---- The register interface: fn makes calls of what is in `given` -----------------------------------------------

#define USER_COST 2 // b_user: the call, the return

static uint32_t slot;
static struct registers given, got;

static void prepare(uint32_t of, uint64_t rax, uint64_t rcx, uint64_t rdx, uint64_t rsi)
{
	slot = of;
	given.general[RAX] = rax;
	given.general[RCX] = rcx;
	given.general[RDX] = rdx;
	given.general[RSI] = rsi;
	given.mxcsr = 0x1F80;
}

static void call(void)
{
	registers_call((void *const *)(uintptr_t)slot, &given, &got, 0);
}

// What measuring costs is what calls of b_user leave.
static void report_calls(const char *what, uint32_t each, void (*before)(void), void (*fn)(void), void (*after)(void))
{
	uint32_t of = slot;
	slot = USER;
	measuring = false;
	uint64_t cost = least(NULL, fn, NULL) - USER_COST * each;
	measuring = true;
	slot = of;
	report_above(cost, what, each, before, fn, after);
}

// ---- Calls ------------------------------------------------------------------------------------------------------

static uint16_t lock;

static void system_lock(void)
{
	b_smp_lock(&lock);
}

static void system_unlock(void)
{
	b_smp_unlock(&lock);
}

__attribute__((aligned(16))) static void work(void)
{
}

static void system_set(void)
{
	call();
	dud = got.flags & 1; // refused
}

static void others_idle(void)
{
	while (b_system(B_SMP_BUSY, 0, 0))
		ingot_relax();
}

static void native_cores(void)
{
	ingot->core_count();
}

static void native_time(void)
{
	ingot->time_ns();
}

static void all_calls(void)
{
	static const struct {
		const char *name;
		uint32_t number;
	} plain[] = { { "b_system, unused number", 0x6F }, { "b_system SMP_NUMCORES", B_SMP_NUMCORES },
		{ "b_system SMP_ID", B_SMP_ID }, { "b_system SMP_BUSY", B_SMP_BUSY },
		{ "b_system TIMECOUNTER", B_TIMECOUNTER } };
	for (uint32_t i = 0; i < sizeof(plain) / sizeof(*plain); i++) {
		prepare(SYSTEM, 0, plain[i].number, 0, 0);
		report_calls(plain[i].name, 1, NULL, call, NULL);
	}
	prepare(SYSTEM, (uintptr_t)&lock, B_SMP_LOCK, 0, 0);
	report_calls("b_system SMP_LOCK", 1, NULL, call, system_unlock);
	prepare(SYSTEM, (uintptr_t)&lock, B_SMP_UNLOCK, 0, 0);
	report_calls("b_system SMP_UNLOCK", 1, system_lock, call, NULL);
	if (ingot->core_count() > 1) {
		prepare(SYSTEM, (uintptr_t)work, B_SMP_SET, ingot->core_apic_id(1), 0);
		report_calls("b_system SMP_SET", 1, others_idle, system_set, others_idle);
	}
	prepare(INPUT, 0, 0, 0, 0);
	report_calls("b_input, no key", 1, NULL, call, NULL);
	prepare(OUTPUT, 0, 32, 0, (uintptr_t) "................................");
	report_calls("b_output of 32 characters", 1, NULL, call, NULL);
	print("\n");
	report("core_count", 1, NULL, native_cores, NULL);
	report("time_ns", 1, NULL, native_time, NULL);
}

// ---- Network: the gateway of QEMU's user network answers every frame that is sent -------------------------------

static struct ingot_pool *pool;
static struct ingot_frame *frames[BURST];
static uint32_t have;        // in frames[]
static uint8_t frame[LARGE]; // a ping

static void give_back(uint32_t from)
{
	while (have > from)
		ingot_frame_put(frames[--have]);
}

static void receive(void)
{
	have = ingot->net_rx(0, 0, frames, BURST);
}

static void empty(void) // all that has come
{
	for (receive(); have; receive())
		give_back(0);
}

static void settle_empty(void)
{
	settle();
	empty();
}

static void tick(void *arg)
{
	(void)arg;
}

// Sends frames of this length until one is answered: a link may be seconds on its way after net_open.  Asleep, since
// QEMU's clock leaps then.
static void choose_frame(uint32_t bytes)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	struct host self = { .ip = 0x0A00020F }, gateway = { { 0x52, 0x55, 10, 0, 2, 2 }, 0x0A000202 };
	ingot->net_info(0, &info);
	for (int i = 0; i < 6; i++)
		self.mac[i] = info.mac[i];
	pool = ingot->net_pool(0, 0);
	ingot->on_timer(LINK_US / LINK_TRIES, tick, NULL);
	for (uint32_t i = 0; i < LINK_TRIES && !have; i++) {
		ingot_sleep();
		frame_bytes = packet_arp(frame, &self, &gateway, 0); // it has to know where to send its answers
		b_net_tx(frame, frame_bytes, 0);
		frame_bytes = packet_ping(frame, &self, &gateway, 1, 1, bytes - PACKET_ICMP_DATA);
		b_net_tx(frame, frame_bytes, 0);
		settle();
		receive();
	}
	ingot->on_timer(0, NULL, NULL);
	give_back(0);
	empty();
}

// A burst to be sent, without a look at those that have been.
static void fill(void)
{
	for (have = 0; have < BURST && (frames[have] = ingot_frame_get(pool)); have++) {
		for (uint32_t byte = 0; byte < frame_bytes; byte++)
			frames[have]->data[byte] = frame[byte];
		frames[have]->length = frame_bytes;
		frames[have]->flags = 0;
	}
}

static void fill_clean(void) // the same, when all that were sent are back
{
	ingot->net_pool(0, 0);
	fill();
}

static void send_1(void)
{
	ingot->net_tx(0, 0, frames, 1);
}

static void send_burst(void)
{
	dud = ingot->net_tx(0, 0, frames, have) < BURST;
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

static void sent_waits(void) // a burst is sent and not taken back
{
	fill_clean();
	send_burst();
	have = 0;
	settle();
}

static void sent_waits_fill(void) // the same, and another one is ready
{
	sent_waits();
	fill();
}

static void take_back(void)
{
	dud = ingot->net_pool(0, 0)->available < BURST;
}

static void received(void) // a burst of answers waits
{
	empty();
	fill_clean();
	send_burst();
	have = 0;
	settle();
	ingot->net_pool(0, 0);
}

static void received_done(void)
{
	give_back(0);
	empty();
}

static void receive_1(void)
{
	have = ingot->net_rx(0, 0, frames, 1);
	dud = !have;
}

static void receive_burst(void)
{
	receive();
	dud = have < BURST;
}

// More than b_net_tx has buffers for, so that taking them back is in it; each is sent before the next.
static void classic_tx_mean(void)
{
	for (uint32_t i = 0; i < MEAN_SENT; i++) {
		call();
		rest(SENT_US);
	}
}

static void classic_rx_1(void)
{
	call();
	dud |= !got.general[RCX];
}

static void classic_rx_mean(void)
{
	for (uint32_t i = 0; i < MEAN; i++)
		classic_rx_1();
}

static void classic_sending(void)
{
	prepare(NET_TX, 0, frame_bytes, 0, (uintptr_t)frame);
	report_calls("b_net_tx", 1, NULL, call, settle_empty);
	report_calls("b_net_tx, mean of 64", MEAN_SENT, NULL, classic_tx_mean, settle_empty);
}

static void bursts(void)
{
	report("net_tx, a frame of 32", BURST, sent_waits_fill, send_burst, sent_burst);
	report("net_rx, a frame of 32", BURST, received, receive_burst, received_done);
}

static void classic_receiving(void)
{
	prepare(NET_RX, 0, 1, 0, 0);
	report_calls("b_net_rx, a frame", 1, received, classic_rx_1, received_done);
	report_calls("b_net_rx, a frame, mean of 16", MEAN, received, classic_rx_mean, received_done);
}

static void all_net(void)
{
	choose_frame(SMALL);
	classic_sending();
	choose_frame(LARGE);
	classic_sending();
	// With frames enough for a burst in the program's hands and one in the device's.
	if (ingot->net_open(0, 1, data, ROOM, 2048) != INGOT_OK)
		print("bench: net_open: never done\n");
	choose_frame(SMALL);
	bursts();
	report("net_tx, a frame of 32, none to take back", BURST, fill_clean, send_burst, sent_burst);
	report("net_pool, a frame taken back of 32", BURST, sent_waits, take_back, settle_empty);
	report("net_tx, 1 frame", 1, fill_clean, send_1, sent_1);
	report("net_rx, empty", 1, NULL, receive, NULL);
	report("net_rx, 1 frame", 1, received, receive_1, received_done);
	choose_frame(LARGE);
	bursts();
	ingot->net_close(0);
	choose_frame(SMALL);
	classic_receiving();
	report_calls("b_net_rx, empty", 1, NULL, call, NULL);
	choose_frame(LARGE);
	classic_receiving();
}

// ---- Drives -----------------------------------------------------------------------------------------------------

static uint32_t flying;
static struct ingot_blk_req requests[BURST];
static struct ingot_blk_done done[BURST];

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

static void submit_burst(void) // and ring the doorbell
{
	submit(BURST);
	ingot->blk_poll(0, 0, done, 0);
}

static void submitted(void)
{
	submit_burst();
	settle();
}

static void read_burst(void) // both, without the time between them
{
	submit_burst();
	rest(SETTLE_US);
	poll_burst();
}

static void drain(void) // all completions, so that the next run begins with an empty queue
{
	for (uint32_t i = 0; flying && i < POLLS; i++)
		poll();
}

static void nvs_1(void)
{
	dud = b_nvs_read(data, 0, 1, 0) != 1;
}

static void nvs_256(void)
{
	dud = b_nvs_read(data, 0, 256, 0) != 256;
}

static void all_blk(void)
{
	frame_bytes = 0;
	struct ingot_blk_info drive = { .size = sizeof(drive) };
	ingot->blk_info(0, &drive);
	uint32_t count = 4096 / drive.block_bytes;
	for (uint32_t i = 0; i < BURST; i++)
		requests[i] = (struct ingot_blk_req){ i * count, count, INGOT_READ, data + i * 4096, 0 };
	report("blk_submit, 4 KiB", 1, NULL, submit_1, drain);
	report("blk_submit, 4 KiB, each of 32", BURST, NULL, submit_burst, drain);
	report("blk_poll, empty", 1, NULL, poll, NULL);
	report("blk_poll, each of 32", BURST, submitted, poll_burst, drain);
	report("4 KiB read, each of 32", BURST, NULL, read_burst, drain);
	report("b_nvs_read, 4 KiB, with waiting", 1, NULL, nvs_1, NULL);
	report("b_nvs_read, 1 MiB, with waiting", 1, NULL, nvs_256, NULL);
}

static bool chosen(int argc, char **argv, const char *part)
{
	for (int i = 1; i < argc; i++)
		if (text_equal(argv[i], part))
			return true;
	return argc < 2;
}

int main(int argc, char **argv)
{
	size_t room;
	data = free_memory(&room);
	if (room < ROOM) {
		print("bench: it needs a MiB: never done\n");
		return 1;
	}
	base = least(NULL, nothing, NULL);
	gap = (least(NULL, rest_only, NULL) - base) / MEAN_SENT;
	measuring = true;
	if (chosen(argc, argv, "calls"))
		all_calls();
	if (ingot->net_count() && chosen(argc, argv, "net"))
		all_net();
	if (ingot->blk_count() && chosen(argc, argv, "blk"))
		all_blk();
	ingot->shutdown();
	return 0;
}
