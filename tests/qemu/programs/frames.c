// Sends COUNT frames on every queue of every interface and receives COUNT on each interface, every byte of them
// checked; the far sides are tests/qemu/frames.py, where the format is.  Arguments: count=N, queues=N (at most, on one
// interface), most=BYTES (longest frame).
// With mirror=1 the far side is tests/models/vhost_user_net.c: each queue receives what it has sent.  queues=N,N,...:
// the interfaces are opened with each of these numbers in turn, and fill=1: between two of them closed with all rings
// full.
#include <lib.h>

INGOT_NEEDS(shutdown);

#define FLOWS 64
#define HEAD 50
#define LEAST 60
#define BURST 32
#define PORTS 8
#define WORKERS 32
#define WINDOW 2000 // what one side may be ahead of the other: QEMU drops frames when it has to keep 10,000
#define FULL 400    // more than a ring holds, less than two
#define IDLE_US 20000000

struct port {
	uint8_t mac[6];
	uint32_t first, queues;                                // its workers
	volatile uint32_t flow_next[FLOWS], flow_queue[FLOWS]; // queue + 1
};

struct worker {
	struct port *port;
	uint32_t net, queue, next;
	volatile uint32_t received, sent, done;
	const char *volatile wrong;
	volatile uint32_t detail;
};

static uint8_t pattern[256 + 16384];
static struct port ports[PORTS];
static struct worker workers[WORKERS];
static uint32_t worker_count, count, most, mirror;
static volatile uint32_t stop;

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
	struct port *port = worker->port;
	const uint8_t *data = frame->data;
	uint32_t flow = *(const uint16_t *)(data + 42), length = *(const uint16_t *)(data + 44);
	uint32_t seq = *(const uint32_t *)(data + 46);
	if (frame->length < LEAST || flow >= FLOWS || data[12] != 8)
		return wrong(worker, "not ours, or cut", frame->length);
	if (frame->length != length)
		return wrong(worker, "length", frame->length);
	if (!same(data + HEAD, pattern + ((seq + flow * 31) & 255), length - HEAD))
		return wrong(worker, "content", seq);
	if (mirror && (flow != worker->queue || data[11] != worker->queue))
		return wrong(worker, "of another queue", data[11]);
	if (!port->flow_queue[flow])
		port->flow_queue[flow] = worker->queue + 1;
	if (port->flow_queue[flow] != worker->queue + 1)
		return wrong(worker, "one flow on two queues", flow);
	if (port->flow_next[flow] != seq)
		return wrong(worker, "out of order, or lost", seq);
	// The peer sends one frame of each flow after the other, and no queue may let one overtake another.
	if (seq * FLOWS + flow < worker->next)
		return wrong(worker, "out of order in its queue", flow);
	worker->next = seq * FLOWS + flow + 1;
	port->flow_next[flow]++;
	worker->received++;
}

static void build(struct worker *worker, struct ingot_frame *frame, uint32_t seq)
{
	static const uint8_t ip[] = { 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2 };
	uint32_t length = LEAST + seq * 7 % (most - LEAST + 1);
	uint8_t *data = frame->data;
	for (uint32_t i = 0; i < 6; i++) {
		data[i] = (uint8_t)(i ? i : 2);
		data[6 + i] = worker->port->mac[i];
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

static uint32_t port_received(const struct port *port)
{
	uint32_t received = 0;
	for (uint32_t i = 0; i < port->queues; i++)
		received += workers[port->first + i].received;
	return received;
}

static void run(void *arg)
{
	struct worker *worker = arg;
	struct ingot_frame *out[BURST], *in[BURST];
	uint32_t have = 0, sent = 0;
	while (!stop) {
		uint32_t received = ingot->net_rx(worker->net, worker->queue, in, BURST);
		for (uint32_t i = 0; i < received; i++) {
			check(worker, in[i]);
			ingot_frame_put(in[i]);
		}
		struct ingot_pool *pool = ingot->net_pool(worker->net, worker->queue);
		uint32_t end = port_received(worker->port) + WINDOW;
		if (end > count)
			end = count;
		while (have < BURST && sent + have < end && pool->available > BURST) { // reception needs some, too
			out[have] = ingot_frame_get(pool);
			build(worker, out[have], sent + have);
			have++;
		}
		if (!have)
			continue;
		uint32_t taken = ingot->net_tx(worker->net, worker->queue, out, have);
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

// Sends without receiving: the reception ring fills up, and the rest waits in the other one.
static void fill(void *arg)
{
	struct worker *worker = arg;
	uint64_t end = deadline(IDLE_US);
	while (worker->sent < FULL && !passed(end)) {
		struct ingot_frame *frame = ingot_frame_get(ingot->net_pool(worker->net, worker->queue));
		if (!frame)
			continue;
		build(worker, frame, worker->sent);
		if (ingot->net_tx(worker->net, worker->queue, &frame, 1))
			worker->sent++;
		else
			ingot_frame_put(frame);
	}
	if (worker->sent < FULL)
		wrong(worker, "can't be filled", worker->sent);
}

// Until all is sent and received, something is wrong, or nothing moves any more.
static void watch(uint64_t all)
{
	uint64_t last = 0, end = deadline(IDLE_US);
	while (!stop) {
		uint64_t moved = 0;
		for (uint32_t i = 0; i < worker_count; i++)
			moved += workers[i].received + workers[i].sent;
		if (moved == all) {
			ingot->delay_us(300000); // the last ones are on their way
			stop = 1;
		}
		if (moved != last) {
			last = moved;
			end = deadline(IDLE_US);
		} else if (passed(end)) {
			wrong(&workers[0], "nothing moves", (uint32_t)moved);
		}
		ingot->delay_us(1000);
	}
}

// Opens the queues of an interface, with frames of its own out of `memory`; returns what is left of that.
static uint8_t *open_port(uint32_t net, uint32_t queues, uint8_t *memory)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	struct port *port = &ports[net];
	uint32_t frame_bytes = (most + 18 + 128 + 63) / 64 * 64;
	if (frame_bytes < 2048)
		frame_bytes = 2048;
	ingot->net_info(net, &info);
	for (uint64_t end = deadline(IDLE_US); !info.link && !passed(end);)
		ingot->net_info(net, &info);
	*port = (struct port){ .first = worker_count };
	port->queues = info.queues < queues ? info.queues : queues;
	size_t bytes = (size_t)port->queues * 512 * frame_bytes;
	for (uint32_t i = 0; i < 6; i++)
		port->mac[i] = info.mac[i];
	if (ingot->net_open(net, port->queues, memory, bytes, frame_bytes) < 0)
		verdict("frames", "net_open fails");
	for (uint32_t i = 0; i < port->queues && worker_count < WORKERS; i++)
		workers[worker_count++] = (struct worker){ .port = port, .net = net, .queue = i };
	return memory + bytes;
}

static void report(const struct worker *worker)
{
	struct ingot_net_stats stats;
	struct ingot_net_info info = { .size = sizeof(info) };
	ingot->net_info(worker->net, &info);
	ingot->net_stats(worker->net, &stats);
	print("%s queue %u: sent %u, received %u\n", info.name, worker->queue, worker->sent, worker->received);
	if (worker->wrong)
		print("%s: %s: %u\n", info.name, worker->wrong, worker->detail);
	if (worker->queue + 1 == worker->port->queues)
		print("%s %s %s: rx %lu, tx %lu, dropped %lu, errors %lu\n", info.name, info.driver, info.address,
			stats.rx_frames, stats.tx_frames, stats.rx_dropped, stats.rx_errors + stats.tx_errors);
}

static void start(void (*work)(void *arg))
{
	for (uint32_t i = 0; i < worker_count; i++)
		ingot->core_start(i + 1, work, &workers[i]);
}

// All interfaces with at most so many queues: what is wrong, or NULL.
static const char *traffic(uint32_t nets, uint32_t queues, uint8_t *memory)
{
	const char *failure = NULL;
	worker_count = stop = 0;
	for (uint32_t net = 0; net < nets; net++)
		memory = open_port(net, queues, memory);
	if (ingot->core_count() <= worker_count)
		return "too few cores";
	start(run);
	print("frames: ready\n");
	watch((uint64_t)count * (worker_count + (mirror ? worker_count : nets)));
	for (uint32_t i = 0; i < worker_count; i++) {
		for (uint64_t end = deadline(IDLE_US); !workers[i].done && !passed(end);)
			ingot_relax();
		report(&workers[i]);
		if (workers[i].wrong)
			failure = workers[i].wrong;
	}
	return failure;
}

// Closes the interfaces with full rings.
static const char *fill_and_close(uint32_t nets, uint32_t queues, uint8_t *memory)
{
	const char *failure = NULL;
	worker_count = 0;
	for (uint32_t net = 0; net < nets; net++)
		memory = open_port(net, queues, memory);
	start(fill);
	for (uint32_t i = 0; i < worker_count; i++) {
		ingot_core_wait(i + 1);
		if (workers[i].wrong)
			failure = workers[i].wrong;
	}
	for (uint32_t net = 0; net < nets; net++)
		ingot->net_close(net);
	return failure;
}

int main(int argc, char **argv)
{
	uint32_t nets = ingot->net_count();
	const char *failure = nets && nets <= PORTS ? NULL : "no interface, or too many", *list = "1";
	size_t bytes;
	uint8_t *memory = free_memory(&bytes);
	count = (uint32_t)argument(argc, argv, "count", 1000);
	most = (uint32_t)argument(argc, argv, "most", 1514);
	mirror = (uint32_t)argument(argc, argv, "mirror", 0);
	for (uint32_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)i;
	for (int i = 1; i < argc; i++)
		if (text_after(argv[i], "queues="))
			list = text_after(argv[i], "queues=");
	for (uint64_t queues; !failure && list && (list = parse_number(list, &queues));) {
		failure = traffic(nets, (uint32_t)queues, memory);
		if (*list++ != ',')
			break;
		if (!failure && argument(argc, argv, "fill", 0))
			failure = fill_and_close(nets, (uint32_t)queues, memory);
	}
	verdict("frames", failure);
	return 0;
}
