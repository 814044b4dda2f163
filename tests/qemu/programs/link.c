// Sends and receives on every interface all the time, says when its link comes or goes, and when frames come again
// after that; ends when each link has changed CHANGES times, and carries frames if it is up.
#include <lib.h>

INGOT_NEEDS(shutdown);

#define PORTS 8
#define CHANGES 4
#define ROUND_US 1000
#define ROUNDS 60000

struct port {
	struct ingot_net_info info;
	uint32_t changes, quiet; // quiet: no frame since the link changed
};

static void send(uint32_t net)
{
	struct ingot_pool *pool = ingot->net_pool(net, 0);
	struct ingot_frame *frame = pool ? ingot_frame_get(pool) : NULL;
	if (!frame)
		return;
	for (int i = 0; i < 64; i++)
		frame->data[i] = i < 6 ? 0xFF : (uint8_t)i;
	frame->length = 64;
	frame->flags = 0;
	if (!ingot->net_tx(net, 0, &frame, 1))
		ingot_frame_put(frame);
}

static void receive(uint32_t net, struct port *port)
{
	struct ingot_frame *got[16];
	uint32_t count = ingot->net_rx(net, 0, got, 16);
	if (count && port->quiet && port->info.link) {
		port->quiet = 0;
		print("%s frames come\n", port->info.name);
	}
	while (count--)
		ingot_frame_put(got[count]);
}

static void look(uint32_t net, struct port *port)
{
	uint8_t last = port->info.link;
	port->info.size = sizeof(port->info);
	ingot->net_info(net, &port->info);
	if (port->changes && port->info.link == last)
		return;
	port->changes++;
	port->quiet = 1;
	print("%s link: %s\n", port->info.name, port->info.link ? "up" : "down");
}

int main(void)
{
	static struct port ports[PORTS];
	uint32_t nets = ingot->net_count(), left = nets;
	for (uint32_t i = 0; i < ROUNDS && left; i++) {
		left = 0;
		for (uint32_t net = 0; net < nets && net < PORTS; net++) {
			look(net, &ports[net]);
			send(net);
			receive(net, &ports[net]);
			left += ports[net].changes < CHANGES || (ports[net].info.link && ports[net].quiet);
		}
		ingot->delay_us(ROUND_US);
	}
	print(nets ? "link: done\n" : "no interface\n");
	ingot->shutdown();
	return 0;
}
