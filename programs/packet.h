// As much of ARP, IPv4, ICMP, UDP and DHCP as netcheck speaks: building and taking apart frames, without any state
// but the addresses.  Numbers are in host order, frames in network order.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define PACKET_FRAME_MAX 1514
#define PACKET_UDP_MAX 1472 // bytes of data in an unfragmented datagram
#define PACKET_UDP_DATA 42  // where a datagram's data begins in its frame
#define PACKET_UDP_HEADER 34
#define PACKET_UDP_SUM 6 // the checksum's offset in the header
#define PACKET_ICMP_DATA 42

struct host {
	uint8_t mac[6];
	uint32_t ip;
};

enum packet_kind {
	PACKET_OTHER,       // nothing that we understand
	PACKET_BROKEN,      // for us, but with a wrong length or checksum
	PACKET_ARP_REQUEST, // who has `target`?  from `from`
	PACKET_ARP_REPLY,
	PACKET_PONG, // ICMP echo reply: id, sequence, data
	PACKET_UDP,  // from_port, to_port, data
};

struct packet {
	enum packet_kind kind;
	struct host from;
	uint32_t target;
	uint16_t from_port, to_port, id, sequence;
	const uint8_t *data;
	uint32_t bytes;
};

// Takes a received frame apart.  `trusted`: the device has verified the UDP checksum.
void packet_parse(const uint8_t *frame, uint32_t length, int trusted, struct packet *out);

// Each builds a frame and returns its length.  The data of ping and udp is already in its place in the frame.
uint32_t packet_arp(uint8_t *frame, const struct host *self, const struct host *peer, int reply);
uint32_t packet_ping(uint8_t *frame, const struct host *self, const struct host *peer, uint16_t id, uint16_t sequence,
	uint32_t bytes);
// `offload`: leaves the checksum to the device: the field holds the pseudo-header's sum, as that wants it.
uint32_t packet_udp(uint8_t *frame, const struct host *self, const struct host *peer, uint16_t from_port,
	uint16_t to_port, uint32_t bytes, int offload);

// What a DHCP server says.
struct lease {
	uint8_t type; // DHCP_OFFER, DHCP_ACK, ...
	uint32_t ip, mask, router, server;
	const char *file; // boot file name, 128 bytes in the frame, may not be terminated
};
enum { DHCP_DISCOVER = 1, DHCP_OFFER = 2, DHCP_REQUEST = 3, DHCP_ACK = 5, DHCP_NAK = 6 };
#define DHCP_CLIENT 68
#define DHCP_SERVER 67

// DISCOVER if offer is NULL, else REQUEST of it.
uint32_t packet_dhcp(uint8_t *frame, const struct host *self, uint32_t xid, const struct lease *offer);
// 1 if the datagram is an answer to `xid`, 0 if not.
int packet_lease(const struct packet *packet, uint32_t xid, struct lease *out);
