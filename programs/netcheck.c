// Checks every network interface against a real far side: a lease by DHCP, ARP and ping of the gateway, and one UDP
// datagram of each size from 1 to 1472 bytes to a program that sends every one back (tests/qemu/udp_echo.py).  Three
// times: with the kernel's frames, with our own memory on all queues, and through the register interface.
//
// Arguments: net=N only that interface; udp=PORT of the echo program at the gateway's address, 0 for none.  Without
// it the port comes from the lease, as the boot file name "udp:PORT", else it is 7777.
#include "lib.h"
#include "packet.h"
#include <baremetal.h>

INGOT_NEEDS(shutdown);

#define BURST 32
#define FRAME_BYTES 2048
#define OWN_FRAMES 256 // a queue, where there is memory
#define OUR_PORT 5000
#define PING_MAX 1472
#define ANSWER_US 500000 // an answer that takes longer is lost
#define TRIES 12
#define LINK_US 5000000

enum pass { PASS_KERNEL_FRAMES, PASS_OWN_FRAMES, PASS_CLASSIC, PASSES };
static const char *const pass_names[] = { "kernel's frames", "own frames", "register calls" };

struct port {
	uint32_t net, queues, queue; // queue: the next burst goes out there
	enum pass pass;
	struct host self, gateway;
	uint32_t xid;
	uint16_t udp_port;
	int offload;
	struct ingot_frame *out[BURST], *in[BURST];
	uint32_t out_count, in_count, in_next;
	uint64_t sent, received, resent, broken;
	char failure[128];
};

static uint8_t classic_frame[FRAME_BYTES]; // one at a time, so it may be one for all

static int fail(struct port *port, const char *format, ...)
{
	va_list list;
	int at = 0;
	const char *name = pass_names[port->pass];
	port->failure[at++] = 'n';
	port->failure[at++] = 'e';
	port->failure[at++] = 't';
	port->failure[at++] = (char)('0' + port->net % 10);
	port->failure[at++] = ',';
	port->failure[at++] = ' ';
	while (*name)
		port->failure[at++] = *name++;
	port->failure[at++] = ':';
	port->failure[at++] = ' ';
	va_start(list, format);
	size_t len = format_text(port->failure + at, sizeof(port->failure) - (size_t)at - 1, format, list);
	va_end(list);
	port->failure[(size_t)at + len] = 0;
	return -1;
}

// ---- Frames out and in, the same for all passes ----------------------------------------------------------------

// Gives up what is being looked at, and the next received frame, or NULL.
static const uint8_t *port_receive(struct port *port, uint32_t *length, int *trusted)
{
	void *frame;
	*trusted = 0;
	if (port->pass == PASS_CLASSIC) {
		*length = (uint32_t)b_net_rx(&frame, port->net);
		port->received += *length != 0;
		return *length ? frame : NULL;
	}
	if (port->in_next)
		ingot_frame_put(port->in[port->in_next - 1]);
	if (port->in_next == port->in_count) {
		port->in_next = port->in_count = 0;
		for (uint32_t q = 0; q < port->queues && !port->in_count; q++)
			port->in_count = ingot->net_rx(port->net, q, port->in, BURST);
		if (!port->in_count)
			return NULL;
	}
	struct ingot_frame *in = port->in[port->in_next++];
	port->received++;
	*length = in->length;
	*trusted = in->flags & INGOT_RX_CSUM_GOOD;
	return in->data;
}

// Where to build the next frame; NULL if every frame is under way.
static uint8_t *port_build(struct port *port)
{
	if (port->pass == PASS_CLASSIC)
		return classic_frame;
	if (port->out_count == BURST)
		return NULL;
	struct ingot_frame *frame = ingot_frame_get(ingot->net_pool(port->net, port->queue));
	port->out[port->out_count] = frame;
	return frame ? frame->data : NULL;
}

// What was built goes out; native: with the burst.
static void port_queue(struct port *port, uint32_t length, int offload)
{
	port->sent++;
	if (port->pass == PASS_CLASSIC) {
		b_net_tx(classic_frame, length, port->net);
		return;
	}
	struct ingot_frame *frame = port->out[port->out_count++];
	frame->length = length;
	frame->flags = offload ? INGOT_TX_CSUM : 0;
	frame->csum_start = PACKET_UDP_HEADER;
	frame->csum_offset = PACKET_UDP_SUM;
}

static int port_flush(struct port *port)
{
	uint32_t done = 0;
	uint64_t end = deadline(ANSWER_US);
	while (done < port->out_count) {
		done += ingot->net_tx(port->net, port->queue, port->out + done, port->out_count - done);
		if (done < port->out_count && passed(end)) {
			while (done < port->out_count)
				ingot_frame_put(port->out[done++]);
			port->out_count = 0;
			return fail(port, "the transmit ring stays full");
		}
	}
	port->out_count = 0;
	port->queue = (port->queue + 1) % port->queues;
	return 0;
}

// The next packet; answers whoever asks for our address.
static int port_packet(struct port *port, struct packet *packet)
{
	uint32_t length;
	int trusted;
	const uint8_t *frame = port_receive(port, &length, &trusted);
	if (!frame)
		return 0;
	packet_parse(frame, length, trusted, packet);
	port->broken += packet->kind == PACKET_BROKEN;
	if (packet->kind == PACKET_ARP_REQUEST && port->self.ip && packet->target == port->self.ip) {
		uint8_t *out = port_build(port);
		if (out) {
			port_queue(port, packet_arp(out, &port->self, &packet->from, 1), 0);
			port_flush(port);
		}
	}
	return 1;
}

// ---- One exchange: send, wait for the answer, again ------------------------------------------------------------

struct exchange {
	uint32_t (*build)(struct port *port, struct exchange *with, uint8_t *frame);
	int (*answers)(struct port *port, struct exchange *with, const struct packet *packet);
	struct lease lease, offer;
	uint32_t size;
	int requesting;
};

static int exchange(struct port *port, struct exchange *with, const char *what)
{
	struct packet packet;
	for (uint32_t try = 0; try < TRIES; try++) {
		uint8_t *frame = port_build(port);
		port->resent += try != 0;
		if (frame) {
			port_queue(port, with->build(port, with, frame), 0);
			if (port_flush(port) < 0)
				return -1;
		}
		for (uint64_t end = deadline(ANSWER_US); !passed(end); ingot_relax())
			while (port_packet(port, &packet))
				if (with->answers(port, with, &packet))
					return 0;
	}
	return fail(port, "no answer to %s", what);
}

static uint32_t dhcp_build(struct port *port, struct exchange *with, uint8_t *frame)
{
	return packet_dhcp(frame, &port->self, port->xid, with->requesting ? &with->offer : NULL);
}

static int dhcp_answers(struct port *port, struct exchange *with, const struct packet *packet)
{
	if (!packet_lease(packet, port->xid, &with->lease))
		return 0;
	return with->requesting ? with->lease.type == DHCP_ACK || with->lease.type == DHCP_NAK :
							  with->lease.type == DHCP_OFFER;
}

// "udp:PORT" as the boot file's name says where the echo program listens.
static void take_udp_port(struct port *port, const char *file)
{
	char text[6];
	uint64_t number;
	for (int i = 0; i < 4; i++)
		if (file[i] != "udp:"[i])
			return;
	for (int i = 0; i < 5; i++)
		text[i] = file[4 + i];
	text[5] = 0;
	if (parse_number(text, &number) && number < 65536)
		port->udp_port = (uint16_t)number;
}

static int lease(struct port *port, int take_port)
{
	struct exchange with = { .build = dhcp_build, .answers = dhcp_answers };
	port->self.ip = 0;
	if (exchange(port, &with, "DHCP DISCOVER") < 0)
		return -1;
	with.offer = with.lease;
	with.requesting = 1;
	if (exchange(port, &with, "DHCP REQUEST") < 0)
		return -1;
	if (with.lease.type != DHCP_ACK || !with.lease.ip || !with.lease.router)
		return fail(port, "the DHCP server refuses, or gives no address or router");
	if (with.lease.ip != with.offer.ip)
		return fail(port, "leased %x, offered %x", with.lease.ip, with.offer.ip);
	port->self.ip = with.lease.ip;
	port->gateway.ip = with.lease.router;
	if (take_port)
		take_udp_port(port, with.lease.file);
	return 0;
}

static uint32_t arp_build(struct port *port, struct exchange *with, uint8_t *frame)
{
	(void)with;
	return packet_arp(frame, &port->self, &port->gateway, 0);
}

static int arp_answers(struct port *port, struct exchange *with, const struct packet *packet)
{
	(void)with;
	if (packet->kind != PACKET_ARP_REPLY || packet->from.ip != port->gateway.ip || packet->target != port->self.ip)
		return 0;
	port->gateway = packet->from;
	return 1;
}

// Bytes that differ from exchange to exchange and from position to position.
static void fill(struct port *port, uint8_t *data, uint32_t size)
{
	uint64_t state = (uint64_t)port->xid << 32 | size, word = 0;
	for (uint32_t i = 0; i < size; i++, word >>= 8) {
		if (i % 8 == 0)
			word = random_next(&state);
		data[i] = (uint8_t)word;
	}
}

static int filled(struct port *port, const struct packet *packet)
{
	uint64_t state = (uint64_t)port->xid << 32 | packet->bytes, word = 0;
	for (uint32_t i = 0; i < packet->bytes; i++, word >>= 8) {
		if (i % 8 == 0)
			word = random_next(&state);
		if (packet->data[i] != (uint8_t)word)
			return 0;
	}
	return 1;
}

static uint32_t ping_build(struct port *port, struct exchange *with, uint8_t *frame)
{
	fill(port, frame + PACKET_ICMP_DATA, with->size);
	return packet_ping(frame, &port->self, &port->gateway, (uint16_t)port->xid, (uint16_t)with->size, with->size);
}

static int ping_answers(struct port *port, struct exchange *with, const struct packet *packet)
{
	return packet->kind == PACKET_PONG && packet->id == (uint16_t)port->xid && packet->sequence == with->size &&
		packet->bytes == with->size && filled(port, packet);
}

// ---- The UDP exchange: a window of datagrams, each recognised by its size ---------------------------------------

// Sends what `wanted` says, as far as there are frames, and takes it out of `wanted`.
static int send_wanted(struct port *port, uint32_t first, uint32_t *wanted)
{
	for (uint32_t i = 0; i < 32; i++) {
		uint8_t *frame;
		uint32_t size = first + i;
		int offload = port->offload && size % 2;
		if (!(*wanted >> i & 1))
			continue;
		if (!(frame = port_build(port)))
			break;
		fill(port, frame + PACKET_UDP_DATA, size);
		port_queue(port, packet_udp(frame, &port->self, &port->gateway, OUR_PORT, port->udp_port, size, offload),
			offload);
		*wanted &= ~(1u << i);
	}
	return port_flush(port);
}

// Takes what has come; each echo of the window goes out of `missing`.
static int take_echoes(struct port *port, uint32_t first, uint32_t count, uint32_t *missing)
{
	struct packet packet;
	while (port_packet(port, &packet)) {
		uint32_t i = packet.bytes - first;
		if (packet.kind != PACKET_UDP || packet.from_port != port->udp_port || packet.to_port != OUR_PORT || i >= count)
			continue;
		if (!filled(port, &packet))
			return fail(port, "%u bytes came back with another content", packet.bytes);
		*missing &= ~(1u << i);
	}
	return 0;
}

// Sizes first to first + count - 1; every one must come back as it went out.
static int udp_window(struct port *port, uint32_t first, uint32_t count)
{
	uint32_t missing = count < 32 ? (1u << count) - 1 : 0xFFFFFFFF;
	for (uint32_t try = 0; try < TRIES; try++) {
		uint32_t wanted = missing;
		for (uint32_t i = 0; try && i < count; i++)
			port->resent += missing >> i & 1;
		for (uint64_t end = deadline(ANSWER_US); !passed(end); ingot_relax()) {
			if (wanted && send_wanted(port, first, &wanted) < 0)
				return -1;
			if (take_echoes(port, first, count, &missing) < 0)
				return -1;
			if (!missing)
				return 0;
		}
	}
	uint32_t size = first;
	while (!(missing & 1)) {
		missing >>= 1;
		size++;
	}
	return fail(port, "no echo of %u bytes from UDP port %u of the gateway", size, port->udp_port);
}

// ---- One interface ----------------------------------------------------------------------------------------------

static int converse(struct port *port, int take_port)
{
	struct exchange arp = { .build = arp_build, .answers = arp_answers };
	static const uint16_t sizes[] = { 0, 1, 2, 18, 56, 255, 1000, 1471, PING_MAX };
	port->xid = (uint32_t)ingot->time_ns() | 1;
	if (lease(port, take_port) < 0 || exchange(port, &arp, "ARP") < 0)
		return -1;
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct exchange ping = { .build = ping_build, .answers = ping_answers, .size = sizes[i] };
		if (exchange(port, &ping, "ping") < 0)
			return -1;
	}
	for (uint32_t size = 1; port->udp_port && size <= PACKET_UDP_MAX; size += BURST) {
		uint32_t left = PACKET_UDP_MAX + 1 - size;
		if (udp_window(port, size, left < BURST ? left : BURST) < 0)
			return -1;
	}
	return port->broken ? fail(port, "%lu frames with wrong checksums or lengths", port->broken) : 0;
}

// What the kernel must say no to.
static int refusals(struct port *port, const struct ingot_net_info *info, void *memory)
{
	struct ingot_net_info other = { .size = sizeof(other) };
	uint32_t none = ingot->net_count();
	if (ingot->net_info(none, &other) != INGOT_ENODEV || ingot->net_pool(port->net, info->queues_open) ||
		ingot->net_pool(none, 0))
		return fail(port, "an interface or queue that isn't there answers");
	if (memory &&
		(ingot->net_open(port->net, info->queues + 1u, memory, 1 << 20, FRAME_BYTES) >= 0 ||
			ingot->net_open(port->net, 1, (char *)memory + 8, 1 << 20, FRAME_BYTES) >= 0 ||
			ingot->net_open(port->net, 1, memory, 4096, FRAME_BYTES) >= 0 ||
			ingot->net_open(port->net, 1, memory, 1 << 20, 100) >= 0))
		return fail(port, "net_open accepts too many queues, or memory that doesn't do");
	return 0;
}

static int open_own(struct port *port, const struct ingot_net_info *info, void *memory, size_t bytes)
{
	uint32_t queues = info->queues;
	while (queues > 1 && (size_t)queues * OWN_FRAMES * FRAME_BYTES > bytes)
		queues--;
	size_t use = (size_t)queues * OWN_FRAMES * FRAME_BYTES;
	if (use > bytes)
		use = bytes;
	for (size_t i = 0; i < use; i++) // the kernel must not count on zeros
		((volatile uint8_t *)memory)[i] = 0xA5;
	int rc = ingot->net_open(port->net, queues, memory, use, FRAME_BYTES);
	if (rc < 0)
		return fail(port, "net_open: error %d", rc);
	port->queues = queues;
	for (uint32_t q = 0; q < queues; q++)
		if (!ingot->net_pool(port->net, q))
			return fail(port, "no pool for queue %u", q);
	return 0;
}

// The kernel's own count must be ours.
static int check_stats(struct port *port, const struct ingot_net_stats *before, uint64_t sent, uint64_t received)
{
	struct ingot_net_stats now;
	if (ingot->net_stats(port->net, &now) < 0)
		return fail(port, "no statistics");
	if (now.tx_frames - before->tx_frames != sent || now.rx_frames - before->rx_frames < received)
		return fail(port, "the kernel counts %lu sent and %lu received, we %lu and %lu",
			now.tx_frames - before->tx_frames, now.rx_frames - before->rx_frames, sent, received);
	if (now.rx_errors != before->rx_errors || now.tx_errors != before->tx_errors)
		return fail(port, "the device reports errors");
	return 0;
}

static int run_pass(struct port *port, const struct ingot_net_info *info, int take_port)
{
	struct ingot_net_stats before = { 0 };
	size_t bytes;
	void *memory = free_memory(&bytes);
	uint64_t sent = port->sent, received = port->received;
	port->queue = 0;
	port->queues = 1;
	if (port->pass == PASS_KERNEL_FRAMES && refusals(port, info, bytes >= 1 << 20 ? memory : NULL) < 0)
		return -1;
	if (port->pass == PASS_OWN_FRAMES) {
		if (bytes < 128 * FRAME_BYTES) {
			print("net%u: no memory for frames of our own, left out\n", port->net);
			return 0;
		}
		if (open_own(port, info, memory, bytes) < 0)
			return -1;
	}
	port->offload = port->pass != PASS_CLASSIC && info->features & INGOT_NET_CSUM;
	ingot->net_stats(port->net, &before);
	int rc = converse(port, take_port);
	if (!rc)
		rc = check_stats(port, &before, port->sent - sent, port->received - received);
	while (port->in_next || port->in_count) { // frames that we still hold
		uint32_t length;
		int trusted;
		if (!port_receive(port, &length, &trusted))
			break;
	}
	if (port->pass == PASS_OWN_FRAMES)
		ingot->net_close(port->net);
	return rc;
}

static int wait_link(struct port *port, struct ingot_net_info *info)
{
	for (uint64_t end = deadline(LINK_US); !passed(end); ingot->delay_us(1000)) {
		info->size = sizeof(*info);
		if (ingot->net_info(port->net, info) < 0)
			return fail(port, "no information");
		if (info->link)
			return 0;
	}
	return fail(port, "the link is down");
}

static int check_mac(struct port *port, const struct ingot_net_info *info)
{
	uint64_t mac = 0;
	for (int i = 0; i < 6; i++) {
		mac = mac << 8 | info->mac[i];
		port->self.mac[i] = info->mac[i];
	}
	if (b_system(B_NET_STATUS, 0, port->net) != mac || b_system(B_NET_STATUS, 0, ingot->net_count()))
		return fail(port, "NET_STATUS doesn't tell this interface's address");
	return 0;
}

static int check(struct port *port, int take_port)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	if (wait_link(port, &info) < 0 || check_mac(port, &info) < 0)
		return -1;
	for (int pass = 0; pass < PASSES; pass++) {
		uint64_t resent = port->resent;
		port->pass = (enum pass)pass;
		if (run_pass(port, &info, take_port) < 0)
			return -1;
		uint32_t ip = port->self.ip;
		print("%s %s: %s: address %u.%u.%u.%u, ping, UDP port %u: fine, resent %lu\n", info.name, info.driver,
			pass_names[pass], ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255, port->udp_port, port->resent - resent);
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t only = argument(argc, argv, "net", ~0ul), udp = argument(argc, argv, "udp", ~0ul);
	uint32_t count = ingot->net_count(), checked = 0;
	uint64_t sent = 0, received = 0, resent = 0;
	for (uint32_t net = 0; net < count; net++) {
		static struct port port;
		if (only != ~0ul && only != net)
			continue;
		port = (struct port){ .net = net, .udp_port = udp == ~0ul ? 7777 : (uint16_t)udp };
		if (check(&port, udp == ~0ul) < 0) {
			verdict("netcheck", port.failure);
			return 1;
		}
		checked++;
		sent += port.sent;
		received += port.received;
		resent += port.resent;
	}
	print("netcheck: interfaces=%u sent=%lu received=%lu resent=%lu\n", checked, sent, received, resent);
	verdict("netcheck", checked ? NULL : "no interface");
	return 0;
}
