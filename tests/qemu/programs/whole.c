// Receives on every interface and sends every frame back; counts those that are not whole.  A frame of the host's
// (tests/qemu/test_traffic.py) has its length (32 bits) behind the Ethernet header, 4 bytes, and from byte 22 on a byte
// i is (length + i) % 256; what is shorter than 60 bytes may come padded to that.  The first argument says how frames
// are taken: poll; classic (by b_net_rx); callback (in on_receive, and it waits).  The second may be: promiscuous.
// Ends when a frame of length 0 has come on each interface.
#include <lib.h>
#include <baremetal.h>

INGOT_NEEDS(shutdown);

#define PORTS 8
#define BURST 16
#define TOLD 18 // bytes that say the length
#define LEAST 60
#define MOST 1922 // what the driver's own buffers hold, and the Ethernet header

struct port {
	uint32_t net, good, as_short, padded, wrong, calls;
};

static struct port ports[PORTS];
static volatile uint32_t ended;
static int callback;

static void check(struct port *port, const uint8_t *data, uint32_t length)
{
	uint32_t said = *(const uint32_t *)(data + 14), from = 22;
	if (length < 14 || length > MOST) {
		port->wrong++;
		return;
	}
	if (data[12] != 0x88 || data[13] != 0xB5)
		return;
	if (length >= TOLD && !said && data[18] == 'E') {
		ended++;
		return;
	}
	if (length < TOLD || said < LEAST) {
		port->as_short += length < TOLD || length == said;
		port->padded += length == LEAST; // by whoever passed it on
		port->wrong += length >= TOLD && length != said && length != LEAST;
		return;
	}
	while (from < length && data[from] == (uint8_t)(length + from))
		from++;
	port->good += said == length && from == length;
	port->wrong += said != length || from != length;
}

static void receive(void *arg)
{
	struct port *port = arg;
	struct ingot_frame *frames[BURST];
	uint32_t count;
	port->calls++;
	while ((count = ingot->net_rx(port->net, 0, frames, BURST))) {
		for (uint32_t i = 0; i < count; i++)
			check(port, frames[i]->data, frames[i]->length);
		// A callback doesn't come again for what it leaves because all frames are on their way out: it keeps some.
		uint32_t sent = 0;
		if (!callback || ingot->net_pool(port->net, 0)->available >= BURST)
			sent = ingot->net_tx(port->net, 0, frames, count);
		while (sent < count)
			ingot_frame_put(frames[sent++]);
	}
}

static void receive_classic(struct port *port)
{
	void *frame;
	uint64_t length = b_net_rx(&frame, port->net);
	if (!length)
		return;
	check(port, frame, (uint32_t)length);
	b_net_tx(frame, length, port->net);
}

static void report(const struct port *port)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	struct ingot_net_stats stats = { 0 };
	ingot->net_info(port->net, &info);
	ingot->net_stats(port->net, &stats);
	print("%s %s: good %u short %u padded %u wrong %u calls %u dropped %lu errors %lu\n", info.name, info.driver,
		port->good, port->as_short, port->padded, port->wrong, port->calls, stats.rx_dropped, stats.rx_errors);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "poll";
	int classic = text_equal(mode, "classic");
	int promiscuous = argc > 2 && text_equal(argv[2], "promiscuous");
	uint32_t nets = ingot->net_count();
	callback = text_equal(mode, "callback");
	for (uint32_t net = 0; net < nets && net < PORTS; net++) {
		ports[net].net = net;
		if (promiscuous && ingot->net_promiscuous(net, 1) < 0)
			verdict("whole", "no promiscuous mode");
		if (callback && ingot->on_receive(net, receive, &ports[net]) < 0)
			verdict("whole", "no interrupt");
	}
	print("whole: ready\n");
	while (ended < nets) {
		if (callback) {
			ingot->delay_us(1000);
			continue;
		}
		for (uint32_t net = 0; net < nets && net < PORTS; net++)
			if (classic)
				receive_classic(&ports[net]);
			else
				receive(&ports[net]);
	}
	for (uint32_t net = 0; net < nets && net < PORTS; net++) {
		ingot->on_receive(net, NULL, NULL);
		report(&ports[net]);
	}
	verdict("whole", nets ? NULL : "no interface");
	return 0;
}
