// Receives on queue 0 of every interface what a peer (tests/qemu/frames.py, Flood) sends as fast as it can, with pauses
// in which rings and whatever lies behind them fill up: frames may be missing, and are counted; those that come are
// whole and in order.  Ends when a frame of flow END has come on each interface, and says what there was.
#include <lib.h>

INGOT_NEEDS(shutdown);

#define PORTS 8
#define HEAD 50 // as in frames.c: flow, length, sequence number in front of it, and what follows
#define END 0xFFFF
#define PAUSE_EVERY_US 300000
#define PAUSE_US 30000

struct port {
	uint32_t next, received, missing, wrong, ended;
};

static struct port ports[PORTS];
static uint32_t ended;

static void check(struct port *port, const struct ingot_frame *frame)
{
	const uint8_t *data = frame->data;
	uint32_t flow = *(const uint16_t *)(data + 42), length = *(const uint16_t *)(data + 44), at = HEAD;
	uint32_t seq = *(const uint32_t *)(data + 46);
	if (flow == END) {
		ended += !port->ended;
		port->ended = 1;
		return;
	}
	while (at < frame->length && data[at] == (uint8_t)(seq + at - HEAD))
		at++;
	if (flow || length != frame->length || at != length || seq < port->next) {
		port->wrong++;
		return;
	}
	port->missing += seq - port->next;
	port->next = seq + 1;
	port->received++;
}

int main(void)
{
	struct ingot_frame *frames[32];
	uint32_t nets = ingot->net_count();
	uint64_t pause = deadline(PAUSE_EVERY_US);
	print("flood: ready\n");
	while (ended < nets) {
		for (uint32_t net = 0; net < nets && net < PORTS; net++) {
			uint32_t count = ingot->net_rx(net, 0, frames, 32);
			for (uint32_t i = 0; i < count; i++) {
				check(&ports[net], frames[i]);
				ingot_frame_put(frames[i]);
			}
		}
		if (!passed(pause))
			continue;
		ingot->delay_us(PAUSE_US);
		pause = deadline(PAUSE_EVERY_US);
	}
	for (uint32_t net = 0; net < nets && net < PORTS; net++) {
		struct ingot_net_info info = { .size = sizeof(info) };
		struct ingot_net_stats stats;
		ingot->net_info(net, &info);
		ingot->net_stats(net, &stats);
		print("%s %s: received %u missing %u wrong %u dropped %lu errors %lu\n", info.name, info.driver,
			ports[net].received, ports[net].missing, ports[net].wrong, stats.rx_dropped, stats.rx_errors);
	}
	verdict("flood", nets ? NULL : "no interface");
	return 0;
}
