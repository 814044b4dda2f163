// Frames of ARP (RFC 826), IPv4 (791), ICMP (792), UDP (768) and DHCP (2131, options 2132).
#include "packet.h"

enum { ETHER_IP = 0x0800, ETHER_ARP = 0x0806, IP_ICMP = 1, IP_UDP = 17, ICMP_REPLY = 0, ICMP_ECHO = 8 };
enum { ETHER_BYTES = 14, IP_BYTES = 20, UDP_BYTES = 8, ICMP_BYTES = 8, ARP_BYTES = 28, DHCP_BYTES = 240 };
#define DHCP_COOKIE 0x63825363

static const uint8_t everybody[6] = { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF };

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void copy(void *to, const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
}

static void clear(uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = 0;
}

// RFC 1071: the sum of 16-bit words, not yet folded.
static uint32_t sum(const uint8_t *at, uint32_t bytes, uint32_t total)
{
	for (; bytes > 1; bytes -= 2, at += 2)
		total += get16(at);
	return bytes ? total + (uint32_t)(at[0] << 8) : total;
}

static uint16_t fold(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xFFFF) + (total >> 16);
	return (uint16_t)total;
}

// UDP's checksum covers addresses, protocol and length of the datagram at `udp` too.
static uint32_t pseudo_sum(uint32_t from, uint32_t to, uint32_t bytes)
{
	return (from >> 16) + (from & 0xFFFF) + (to >> 16) + (to & 0xFFFF) + IP_UDP + bytes;
}

static void ether(uint8_t *frame, const uint8_t *to, const uint8_t *from, uint32_t type)
{
	copy(frame, to, 6);
	copy(frame + 6, from, 6);
	put16(frame + 12, type);
}

static uint32_t ip(uint8_t *frame, const struct host *self, const struct host *peer, uint8_t protocol, uint32_t bytes)
{
	uint8_t *header = frame + ETHER_BYTES;
	ether(frame, peer->mac, self->mac, ETHER_IP);
	clear(header, IP_BYTES);
	header[0] = 0x45;
	put16(header + 2, IP_BYTES + bytes);
	put16(header + 6, 0x4000); // don't fragment
	header[8] = 64;
	header[9] = protocol;
	put32(header + 12, self->ip);
	put32(header + 16, peer->ip);
	put16(header + 10, (uint16_t)~fold(sum(header, IP_BYTES, 0)));
	return ETHER_BYTES + IP_BYTES + bytes;
}

uint32_t packet_arp(uint8_t *frame, const struct host *self, const struct host *peer, int reply)
{
	uint8_t *arp = frame + ETHER_BYTES;
	ether(frame, reply ? peer->mac : everybody, self->mac, ETHER_ARP);
	put32(arp, 0x00010800); // Ethernet, IPv4
	put16(arp + 4, 0x0604); // lengths of their addresses
	put16(arp + 6, reply ? 2 : 1);
	copy(arp + 8, self->mac, 6);
	put32(arp + 14, self->ip);
	if (reply)
		copy(arp + 18, peer->mac, 6);
	else
		clear(arp + 18, 6);
	put32(arp + 24, peer->ip);
	clear(arp + ARP_BYTES, 60 - ETHER_BYTES - ARP_BYTES);
	return 60;
}

uint32_t packet_ping(uint8_t *frame, const struct host *self, const struct host *peer, uint16_t id, uint16_t sequence,
	uint32_t bytes)
{
	uint8_t *icmp = frame + ETHER_BYTES + IP_BYTES;
	icmp[0] = ICMP_ECHO;
	icmp[1] = 0;
	put16(icmp + 2, 0);
	put16(icmp + 4, id);
	put16(icmp + 6, sequence);
	put16(icmp + 2, (uint16_t)~fold(sum(icmp, ICMP_BYTES + bytes, 0)));
	return ip(frame, self, peer, IP_ICMP, ICMP_BYTES + bytes);
}

uint32_t packet_udp(uint8_t *frame, const struct host *self, const struct host *peer, uint16_t from_port,
	uint16_t to_port, uint32_t bytes, int offload)
{
	uint8_t *udp = frame + PACKET_UDP_HEADER;
	uint32_t length = UDP_BYTES + bytes, total = pseudo_sum(self->ip, peer->ip, length);
	put16(udp, from_port);
	put16(udp + 2, to_port);
	put16(udp + 4, length);
	put16(udp + PACKET_UDP_SUM, 0);
	uint16_t checksum = offload ? fold(total) : (uint16_t)~fold(sum(udp, length, total));
	put16(udp + PACKET_UDP_SUM, checksum || offload ? checksum : 0xFFFF); // 0 would say that there is none
	return ip(frame, self, peer, IP_UDP, length);
}

static void parse_arp(const uint8_t *arp, uint32_t bytes, struct packet *out)
{
	if (bytes < ARP_BYTES || get32(arp) != 0x00010800 || get16(arp + 4) != 0x0604)
		return;
	uint32_t operation = get16(arp + 6);
	copy(out->from.mac, arp + 8, 6);
	out->from.ip = get32(arp + 14);
	out->target = get32(arp + 24);
	if (operation == 1 || operation == 2)
		out->kind = operation == 1 ? PACKET_ARP_REQUEST : PACKET_ARP_REPLY;
}

static void parse_icmp(const uint8_t *icmp, uint32_t bytes, struct packet *out)
{
	if (bytes < ICMP_BYTES || fold(sum(icmp, bytes, 0)) != 0xFFFF) {
		out->kind = PACKET_BROKEN;
		return;
	}
	if (icmp[0] != ICMP_REPLY)
		return;
	out->kind = PACKET_PONG;
	out->id = get16(icmp + 4);
	out->sequence = get16(icmp + 6);
	out->data = icmp + ICMP_BYTES;
	out->bytes = bytes - ICMP_BYTES;
}

static void parse_udp(const uint8_t *udp, uint32_t bytes, int trusted, struct packet *out)
{
	uint32_t length = bytes < UDP_BYTES ? 0 : get16(udp + 4);
	out->kind = PACKET_BROKEN;
	if (length < UDP_BYTES || length > bytes)
		return;
	if (!trusted && get16(udp + PACKET_UDP_SUM) &&
		fold(sum(udp, length, pseudo_sum(out->from.ip, out->target, length))) != 0xFFFF)
		return;
	out->kind = PACKET_UDP;
	out->from_port = get16(udp);
	out->to_port = get16(udp + 2);
	out->data = udp + UDP_BYTES;
	out->bytes = length - UDP_BYTES;
}

void packet_parse(const uint8_t *frame, uint32_t length, int trusted, struct packet *out)
{
	*out = (struct packet){ .kind = PACKET_OTHER };
	if (length < ETHER_BYTES)
		return;
	copy(out->from.mac, frame + 6, 6);
	const uint8_t *inner = frame + ETHER_BYTES;
	length -= ETHER_BYTES;
	if (get16(frame + 12) == ETHER_ARP)
		parse_arp(inner, length, out);
	if (get16(frame + 12) != ETHER_IP)
		return;
	uint32_t header = length < IP_BYTES ? 0 : (inner[0] & 15u) * 4, total = header ? get16(inner + 2) : 0;
	if (header < IP_BYTES || inner[0] >> 4 != 4 || total < header || total > length ||
		fold(sum(inner, header, 0)) != 0xFFFF || get16(inner + 6) & 0x3FFF) { // we take no fragments
		out->kind = PACKET_BROKEN;
		return;
	}
	out->from.ip = get32(inner + 12);
	out->target = get32(inner + 16);
	if (inner[9] == IP_ICMP)
		parse_icmp(inner + header, total - header, out);
	else if (inner[9] == IP_UDP)
		parse_udp(inner + header, total - header, trusted, out);
}

static uint8_t *option32(uint8_t *at, uint8_t code, uint32_t value)
{
	at[0] = code;
	at[1] = 4;
	put32(at + 2, value);
	return at + 6;
}

uint32_t packet_dhcp(uint8_t *frame, const struct host *self, uint32_t xid, const struct lease *offer)
{
	static const struct host nobody = { { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF }, 0xFFFFFFFF };
	struct host unnamed = *self;
	uint8_t *dhcp = frame + PACKET_UDP_DATA, *at = dhcp + DHCP_BYTES;
	clear(dhcp, DHCP_BYTES);
	put32(dhcp, 0x01010600); // request, Ethernet, 6 bytes
	put32(dhcp + 4, xid);
	put16(dhcp + 10, 0x8000); // answer by broadcast
	copy(dhcp + 28, self->mac, 6);
	put32(dhcp + 236, DHCP_COOKIE);
	*at++ = 53;
	*at++ = 1;
	*at++ = offer ? DHCP_REQUEST : DHCP_DISCOVER;
	if (offer) {
		at = option32(at, 50, offer->ip);
		at = option32(at, 54, offer->server);
	}
	*at++ = 55; // wanted: mask, router
	*at++ = 2;
	*at++ = 1;
	*at++ = 3;
	*at++ = 255;
	while (at < dhcp + 300) // RFC 1542, 2.1: BOOTP's relays want that many
		*at++ = 0;
	unnamed.ip = 0;
	return packet_udp(frame, &unnamed, &nobody, DHCP_CLIENT, DHCP_SERVER, (uint32_t)(at - dhcp), 0);
}

static void take_option(struct lease *out, uint8_t code, const uint8_t *value, uint32_t bytes)
{
	uint32_t number = bytes >= 4 ? get32(value) : 0;
	if (code == 53 && bytes == 1)
		out->type = value[0];
	else if (code == 1)
		out->mask = number;
	else if (code == 3)
		out->router = number;
	else if (code == 54)
		out->server = number;
}

int packet_lease(const struct packet *packet, uint32_t xid, struct lease *out)
{
	const uint8_t *dhcp = packet->data;
	if (packet->kind != PACKET_UDP || packet->to_port != DHCP_CLIENT || packet->bytes < DHCP_BYTES || dhcp[0] != 2 ||
		get32(dhcp + 4) != xid || get32(dhcp + 236) != DHCP_COOKIE)
		return 0;
	*out = (struct lease){ .ip = get32(dhcp + 16), .file = (const char *)dhcp + 108 };
	for (uint32_t at = DHCP_BYTES; at + 1 < packet->bytes && dhcp[at] != 255;) {
		if (!dhcp[at]) { // padding has no length
			at++;
			continue;
		}
		uint32_t bytes = dhcp[at + 1];
		if (at + 2 + bytes > packet->bytes)
			return 0;
		take_option(out, dhcp[at], dhcp + at + 2, bytes);
		at += 2 + bytes;
	}
	return out->type != 0;
}
