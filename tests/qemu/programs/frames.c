// Sends COUNT frames on every queue of net0 and receives COUNT in all, every byte of them checked; the far side is
// tests/qemu/frames.py, where the format is.  Arguments: count=N queues=N most=BYTES (longest frame) net=N.
#include <ingot.h>

INGOT_NEEDS(shutdown);

#define FLOWS 64
#define HEAD 50
#define LEAST 60
#define BURST 32
#define QUEUES 16
#define IDLE_NS 20000000000ull

struct worker {
	uint32_t queue;
	volatile uint32_t received, sent, done;
	const char *volatile wrong;
	volatile uint32_t detail;
};

static uint8_t pattern[256 + 16384];
static uint8_t mac[6];
static struct worker workers[QUEUES];
static uint32_t net, count = 1000, queues = 1, most = 1514;
static volatile uint32_t flow_next[FLOWS], flow_queue[FLOWS];	// queue + 1
static volatile uint32_t stop;

static uint32_t number(const char *text)
{
	uint32_t value = 0;
	while (*text >= '0' && *text <= '9')
		value = value * 10 + (uint32_t)(*text++ - '0');
	return value;
}

static void print_number(const char *what, uint64_t value)
{
	char text[24];
	int at = 23;
	text[at] = 0;
	do
		text[--at] = (char)('0' + value % 10);
	while (value /= 10);
	ingot_print(what);
	ingot_print(text + at);
}

static int same(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	for (; len >= 8; len -= 8, a += 8, b += 8)
		if (*(const uint64_t *)a != *(const uint64_t *)b)
			return 0;
	while (len--)
		if (*a++ != *b++)
			return 0;
	return 1;
}

static void copy(uint8_t *to, const uint8_t *from, uint32_t len)
{
	for (; len >= 8; len -= 8, to += 8, from += 8)
		*(uint64_t *)to = *(const uint64_t *)from;
	while (len--)
		*to++ = *from++;
}

static void wrong(struct worker *worker, const char *what, uint32_t detail)
{
	if (!worker->wrong) {
		worker->detail = detail;
		worker->wrong = what;
	}
	stop = 1;
}

static void check(struct worker *worker, const struct ingot_frame *frame)
{
	const uint8_t *data = frame->data;
	uint32_t flow = *(const uint16_t *)(data + 42), length = *(const uint16_t *)(data + 44);
	uint32_t seq = *(const uint32_t *)(data + 46);
	if (frame->length < LEAST || flow >= FLOWS || data[12] != 8)
		return wrong(worker, "not ours, or cut", frame->length);
	if (frame->length != length)
		return wrong(worker, "length", frame->length);
	if (!same(data + HEAD, pattern + ((seq + flow * 31) & 255), length - HEAD))
		return wrong(worker, "content", seq);
	if (!flow_queue[flow])
		flow_queue[flow] = worker->queue + 1;
	if (flow_queue[flow] != worker->queue + 1)
		return wrong(worker, "one flow on two queues", flow);
	if (flow_next[flow] != seq)
		return wrong(worker, "out of order, or lost", seq);
	flow_next[flow]++;
	worker->received++;
}

static void build(struct worker *worker, struct ingot_frame *frame, uint32_t seq)
{
	static const uint8_t ip[] = { 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2 };
	uint32_t length = LEAST + seq * 7 % (most - LEAST + 1);
	uint8_t *data = frame->data;
	for (uint32_t i = 0; i < 6; i++) {
		data[i] = (uint8_t)(i ? i : 2);
		data[6 + i] = mac[i];
	}
	copy(data + 12, ip, sizeof(ip));
	data[16] = (uint8_t)((length - 14) >> 8);
	data[17] = (uint8_t)(length - 14);
	*(uint64_t *)(data + 34) = 0;
	*(uint16_t *)(data + 42) = (uint16_t)worker->queue;
	*(uint16_t *)(data + 44) = (uint16_t)length;
	*(uint32_t *)(data + 46) = seq;
	copy(data + HEAD, pattern + ((seq + worker->queue * 31) & 255), length - HEAD);
	frame->length = length;
	frame->flags = 0;
}

static void run(void *arg)
{
	struct worker *worker = arg;
	struct ingot_frame *out[BURST], *in[BURST];
	uint32_t have = 0, sent = 0;
	while (!stop) {
		uint32_t received = ingot->net_rx(net, worker->queue, in, BURST);
		for (uint32_t i = 0; i < received; i++) {
			check(worker, in[i]);
			ingot_frame_put(in[i]);
		}
		struct ingot_pool *pool = ingot->net_pool(net, worker->queue);
		while (have < BURST && sent + have < count && pool->available > BURST) {	// reception needs some, too
			out[have] = ingot_frame_get(pool);
			build(worker, out[have], sent + have);
			have++;
		}
		if (!have)
			continue;
		uint32_t taken = ingot->net_tx(net, worker->queue, out, have);
		sent += taken;
		have -= taken;
		for (uint32_t i = 0; i < have; i++)
			out[i] = out[i + taken];
		worker->sent = sent;
	}
	for (uint32_t i = 0; i < have; i++)
		ingot_frame_put(out[i]);
	worker->done = 1;
}

static void watch(void *arg)
{
	uint64_t last = 0, end = ingot->time_ns() + IDLE_NS;
	(void)arg;
	while (!stop) {
		uint64_t received = 0, sent = 0;
		for (uint32_t i = 0; i < queues; i++) {
			received += workers[i].received;
			sent += workers[i].sent;
		}
		if (received == count && sent == (uint64_t)count * queues) {
			ingot->delay_us(300000);	// the last ones are on their way
			stop = 1;
		}
		if (received + sent != last) {
			last = received + sent;
			end = ingot->time_ns() + IDLE_NS;
		} else if (ingot->time_ns() > end) {
			wrong(&workers[0], "nothing moves", (uint32_t)received);
		}
		ingot->delay_us(1000);
	}
}

static int open_queues(const struct ingot_net_info *info)
{
	struct ingot_memory memory = { .size = sizeof(memory) };
	uint32_t frame_bytes = (most + 18 + 128 + 63) / 64 * 64;
	ingot->memory(&memory);
	uint8_t *from = (uint8_t *)(((uintptr_t)memory.free + 4095) & ~4095ul);
	if (frame_bytes < 2048)
		frame_bytes = 2048;
	if (info->queues < queues)
		return -100;
	return ingot->net_open(net, queues, from, (size_t)queues * 512 * frame_bytes, frame_bytes);
}

int main(int argc, char **argv)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	struct ingot_net_stats stats;
	const char *failure = NULL;
	uint32_t detail = 0, cores = ingot->core_count();
	static const char *const names[] = { "count=", "queues=", "most=", "net=" };
	uint32_t *const values[] = { &count, &queues, &most, &net };
	for (int i = 0; i < argc; i++)
		for (uint32_t n = 0; n < 4; n++) {
			const char *a = argv[i], *b = names[n];
			while (*b && *a == *b)
				a++, b++;
			if (!*b)
				*values[n] = number(a);
		}
	for (uint32_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)i;
	if (ingot->net_info(net, &info) < 0 || queues > QUEUES || cores < queues + 1) {
		ingot_print("frames: FAIL no interface, or too few cores\n");
		ingot->shutdown();
	}
	for (uint32_t i = 0; i < 6; i++)
		mac[i] = info.mac[i];
	int rc = open_queues(&info);
	if (rc < 0) {
		print_number("frames: FAIL net_open: -", (uint32_t)-rc);
		ingot_print("\n");
		ingot->shutdown();
	}
	for (uint64_t end = ingot->time_ns() + IDLE_NS; !info.link && ingot->time_ns() < end;)
		ingot->net_info(net, &info);
	for (uint32_t i = 0; i < queues; i++) {
		workers[i].queue = i;
		ingot->core_start(i + 1, run, &workers[i]);
	}
	ingot_print("frames: ready\n");
	watch(NULL);
	for (uint32_t i = 0; i < queues; i++) {
		for (uint64_t end = ingot->time_ns() + IDLE_NS; !workers[i].done && ingot->time_ns() < end;)
			ingot_relax();
		if (workers[i].wrong) {
			failure = workers[i].wrong;
			detail = workers[i].detail;
		}
		print_number("queue ", i);
		print_number(": sent ", workers[i].sent);
		print_number(", received ", workers[i].received);
		ingot_print("\n");
	}
	ingot->net_stats(net, &stats);
	print_number("stats: rx ", stats.rx_frames);
	print_number(", tx ", stats.tx_frames);
	print_number(", dropped ", stats.rx_dropped);
	print_number(", errors ", stats.rx_errors);
	ingot_print(failure ? "\nframes: FAIL " : "\nframes: PASS");
	if (failure) {
		ingot_print(failure);
		print_number(": ", detail);
	}
	ingot_print("\n");
	ingot->shutdown();
	return 0;
}
