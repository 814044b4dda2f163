// netcheck's frames: what is built is taken apart again, known frames are right to the byte, and no damage goes unseen.
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include <programs/packet.h>

static const struct host us = { { 0x52, 0x54, 0, 0x12, 0x34, 0x56 }, 0x0A00020F };
static const struct host them = { { 0x52, 0x55, 0x0A, 0, 2, 2 }, 0x0A000202 };

static void arp(void **state)
{
	static const uint8_t request[] =
		"\xFF\xFF\xFF\xFF\xFF\xFF\x52\x54\x00\x12\x34\x56\x08\x06\x00\x01\x08\x00\x06\x04"
		"\x00\x01\x52\x54\x00\x12\x34\x56\x0A\x00\x02\x0F\x00\x00\x00\x00\x00\x00\x0A\x00\x02\x02";
	uint8_t frame[PACKET_FRAME_MAX];
	struct packet packet;
	(void)state;
	memset(frame, 0xEE, sizeof(frame));
	assert_int_equal(packet_arp(frame, &us, &them, 0), 60);
	assert_memory_equal(frame, request, 42);
	packet_parse(frame, 60, 0, &packet);
	assert_int_equal(packet.kind, PACKET_ARP_REQUEST);
	assert_int_equal(packet.target, them.ip);
	packet_arp(frame, &them, &us, 1);
	packet_parse(frame, 60, 0, &packet);
	assert_int_equal(packet.kind, PACKET_ARP_REPLY);
	assert_int_equal(packet.from.ip, them.ip);
	assert_memory_equal(packet.from.mac, them.mac, 6);
	assert_memory_equal(frame, us.mac, 6);
}

// Every size; each byte damaged in turn must be noticed, or lie in front of what the checksums cover.
static void udp(void **state)
{
	uint8_t frame[PACKET_FRAME_MAX];
	struct packet packet;
	(void)state;
	for (uint32_t size = 0; size <= PACKET_UDP_MAX; size += size < 40 ? 1 : 119) {
		memset(frame, 0xEE, sizeof(frame));
		for (uint32_t i = 0; i < size; i++)
			frame[PACKET_UDP_DATA + i] = (uint8_t)(i * 7);
		uint32_t length = packet_udp(frame, &us, &them, 5000, 7777, size, 0);
		assert_int_equal(length, PACKET_UDP_DATA + size);
		packet_parse(frame, length, 0, &packet);
		assert_int_equal(packet.kind, PACKET_UDP);
		assert_int_equal(packet.from_port, 5000);
		assert_int_equal(packet.to_port, 7777);
		assert_int_equal(packet.bytes, size);
		assert_ptr_equal(packet.data, frame + PACKET_UDP_DATA);
		for (uint32_t i = 14; i < length; i++) {
			frame[i] ^= 0x10;
			packet_parse(frame, length, 0, &packet);
			assert_int_not_equal(packet.kind, PACKET_UDP);
			frame[i] ^= 0x10;
		}
		for (uint32_t cut = 0; cut < length; cut += 1 + cut / 50) {
			packet_parse(frame, cut, 0, &packet);
			assert_int_not_equal(packet.kind, PACKET_UDP);
		}
	}
}

// RFC 768: a checksum that comes out as 0 is sent as 0xFFFF; one that is left to the device is the pseudo-header's.
static void udp_checksum(void **state)
{
	uint8_t frame[PACKET_FRAME_MAX];
	struct packet packet;
	uint32_t length;
	(void)state;
	for (uint32_t word = 0; word < 65536; word++) {
		frame[PACKET_UDP_DATA] = (uint8_t)(word >> 8);
		frame[PACKET_UDP_DATA + 1] = (uint8_t)word;
		length = packet_udp(frame, &us, &them, 5000, 7777, 2, 0);
		assert_true(frame[40] || frame[41]);
		packet_parse(frame, length, 0, &packet);
		assert_int_equal(packet.kind, PACKET_UDP);
	}
	length = packet_udp(frame, &us, &them, 5000, 7777, 2, 1);
	uint32_t sum = 0x0A00 + 0x020F + 0x0A00 + 0x0202 + 17 + 10;
	assert_int_equal(frame[40] << 8 | frame[41], sum);
	packet_parse(frame, length, 1, &packet);
	assert_int_equal(packet.kind, PACKET_UDP);
	packet_parse(frame, length, 0, &packet);
	assert_int_equal(packet.kind, PACKET_BROKEN);
}

static void ping(void **state)
{
	uint8_t frame[PACKET_FRAME_MAX] = { 0 };
	struct packet packet;
	(void)state;
	memset(frame + PACKET_ICMP_DATA, 0x77, 33);
	uint32_t length = packet_ping(frame, &us, &them, 0x1234, 9, 33);
	assert_int_equal(length, 42 + 33);
	packet_parse(frame, length, 0, &packet);
	assert_int_equal(packet.kind, PACKET_OTHER); // a request, not a reply
	frame[34] = 0;                               // turned into a reply: type 8 less is 0x0800 more in the checksum
	uint32_t sum = (uint32_t)(frame[36] << 8 | frame[37]) + 0x0800;
	sum = (sum & 0xFFFF) + (sum >> 16);
	frame[36] = (uint8_t)(sum >> 8);
	frame[37] = (uint8_t)sum;
	packet_parse(frame, length, 0, &packet);
	assert_int_equal(packet.kind, PACKET_PONG);
	assert_int_equal(packet.id, 0x1234);
	assert_int_equal(packet.sequence, 9);
	assert_int_equal(packet.bytes, 33);
	frame[50] ^= 1;
	packet_parse(frame, length, 0, &packet);
	assert_int_equal(packet.kind, PACKET_BROKEN);
}

static void dhcp(void **state)
{
	static const uint8_t options[] = { 53, 1, DHCP_OFFER, 0, 0, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 54, 4, 10, 0,
		2, 2, 255, 53, 1, 9 };
	uint8_t frame[PACKET_FRAME_MAX] = { 0 }, *body = frame + PACKET_UDP_DATA;
	struct packet packet;
	struct lease lease, cut;
	(void)state;
	uint32_t length = packet_dhcp(frame, &us, 0xCAFEBABE, NULL);
	packet_parse(frame, length, 0, &packet);
	assert_int_equal(packet.kind, PACKET_UDP);
	assert_int_equal(packet.to_port, DHCP_SERVER);
	assert_int_equal(packet.from.ip, 0);
	assert_int_equal(packet.bytes, 300);
	assert_int_equal(packet.data[242], DHCP_DISCOVER);
	body[0] = 2; // as the server answers
	memcpy(body + 16, "\x0A\x00\x02\x0F", 4);
	memcpy(body + 108, "udp:12345", 10);
	memcpy(body + 240, options, sizeof(options));
	packet_udp(frame, &them, &us, DHCP_SERVER, DHCP_CLIENT, 300, 0);
	packet_parse(frame, length, 0, &packet);
	assert_true(packet_lease(&packet, 0xCAFEBABE, &lease));
	assert_int_equal(lease.type, DHCP_OFFER);
	assert_int_equal(lease.ip, us.ip);
	assert_int_equal(lease.router, them.ip);
	assert_int_equal(lease.server, them.ip);
	assert_string_equal(lease.file, "udp:12345");
	assert_false(packet_lease(&packet, 1, &lease));
	for (uint32_t bytes = 0; bytes < 270; bytes++) { // cut anywhere: nothing behind the end is read (ASan)
		uint8_t copy[300];
		memcpy(copy, packet.data, bytes);
		struct packet part = packet;
		part.data = copy;
		part.bytes = bytes;
		packet_lease(&part, 0xCAFEBABE, &cut);
	}
	packet_dhcp(frame, &us, 1, &lease);
	assert_int_equal(body[242], DHCP_REQUEST);
	assert_memory_equal(body + 243, "\x32\x04\x0A\x00\x02\x0F\x36\x04\x0A\x00\x02\x02", 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(arp), cmocka_unit_test(udp), cmocka_unit_test(udp_checksum),
		cmocka_unit_test(ping), cmocka_unit_test(dhcp) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
