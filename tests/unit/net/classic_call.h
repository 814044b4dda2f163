// b_net_tx and b_net_rx as core/entry.S does them.
#pragma once
#include <net.h>
#include <program.h>

static void b_net_tx(const void *data, uint64_t len, uint32_t index)
{
	struct classic_net *net = classic_net[index];
	if (net && net->send(net, data, index, len))
		return;
	if (net)
		net->refill(net);
	if (!net || !net->send(net, data, index, len))
		net_classic_tx(data, len, index);
}

static uint64_t b_net_rx(uint32_t index, void **data)
{
	struct classic_net *net = classic_net[index];
	uint64_t frame = net ? net->receive(net) : 1;
	if (frame == 1)
		return net_classic_rx(index, data);
	*data = (void *)frame;
	return frame ? net->length : 0;
}

// The frames that b_net_tx has at hand: none twice.
static uint32_t copies_left(void)
{
	const struct ingot_pool *copies = &container_of(classic_net[0], struct net_queue, classic)->copies;
	uint32_t count = 0;
	for (struct ingot_frame *frame = copies->free; frame; frame = frame->next)
		assert_in_range(++count, 1, NET_COPY_FRAMES);
	return count;
}

// b_net_tx, now and then beside net_tx, to a device that sends a few frames at a time: they leave in order, and each
// comes back once.  `leave` has the device send the oldest one and returns its first byte.
static void classic_sends(uint8_t (*leave)(void))
{
	uint8_t data[64] = { 0 }, sent = 0, left = 0;
	for (uint32_t round = 0; round < 20000; round++) {
		for (uint32_t i = round * 7 % 5; i; i--) {
			while ((uint8_t)(sent - left) >= NET_COPY_FRAMES)
				assert_int_equal(leave(), left++);
			data[0] = sent++;
			b_net_tx(data, sizeof(data), 0);
		}
		if (round % 301 < 3) {
			struct ingot_frame *frame = ingot_frame_get(net_pool(0, 0));
			frame->data[0] = sent++;
			frame->length = 64;
			frame->flags = 0;
			assert_int_equal(net_tx(0, 0, &frame, 1), 1);
		}
		for (uint32_t i = round * 11 % 6 + (round % 50 == 0 ? 40 : 0); i && left != sent; i--)
			assert_int_equal(leave(), left++);
		if (round % 3 == 0)
			net_tx(0, 0, NULL, 0);
		copies_left();
	}
	while (left != sent)
		assert_int_equal(leave(), left++);
	net_tx(0, 0, NULL, 0);
	assert_int_equal(copies_left(), NET_COPY_FRAMES);
}

// b_net_rx and net_rx of one queue: the frame of b_net_rx stays as it is until the next one, and none is lost.
static void classic_mixed(void (*arrive)(uint32_t len, uint8_t fill))
{
	struct ingot_frame *frames[16];
	uint8_t come = 0, seen = 0, mine = 0, *at = NULL;
	for (uint32_t round = 0; round < 20000; round++) {
		for (uint32_t i = round * 7 % 5; i; i--, come++)
			arrive(60 + come % 9, come);
		uint32_t got = round * 11 % 13 < 4 ? net_rx(0, 0, frames, 1 + round % 16) : 0;
		if (at)
			assert_true(at[0] == mine && at[59] == mine); // nobody has written there
		for (uint32_t i = 0; i < got; i++, seen++) {
			assert_int_equal(frames[i]->data[0], seen);
			assert_int_equal(frames[i]->length, 60 + seen % 9);
			assert_ptr_not_equal(frames[i]->data, at);
			ingot_frame_put(frames[i]);
		}
		for (uint32_t i = round % 4; i; i--) {
			uint64_t len = b_net_rx(0, (void **)&at);
			if (!len)
				break;
			mine = *at;
			assert_int_equal(mine, seen);
			assert_int_equal(len, 60 + seen++ % 9);
		}
	}
	while (b_net_rx(0, (void **)&at))
		seen++;
	assert_int_equal(seen, come);
	assert_int_equal(net_rx(0, 0, frames, 16), 0);
	for (uint32_t round = 0; round < 3; round++) { // while others go round the ring several times
		arrive(64, 200);
		assert_int_equal(b_net_rx(0, (void **)&at), 64);
		for (uint32_t i = 0; i < 600; i++) {
			arrive(64, i % 100);
			assert_int_equal(net_rx(0, 0, frames, 16), 1);
			assert_int_equal(frames[0]->data[0], i % 100);
			assert_true(at[0] == 200 && at[59] == 200);
			ingot_frame_put(frames[0]);
		}
	}
	// Without spare frames the device doesn't get its descriptors back; with them it goes on, and nothing is lost.
	struct ingot_frame *spare[64];
	uint32_t have = 0, taken = 0;
	while ((spare[have] = ingot_frame_get(net_pool(0, 0))))
		have++;
	for (uint32_t i = 0; i < 100; i++)
		arrive(64, i);
	while (b_net_rx(0, (void **)&at))
		assert_int_equal(*at, taken++);
	assert_in_range(taken, 1, 99);
	while (have)
		ingot_frame_put(spare[--have]);
	while (b_net_rx(0, (void **)&at))
		assert_int_equal(*at, taken++);
	assert_int_equal(taken, 100);
	for (uint32_t i = 0; i < 300; i++) {
		arrive(64, i % 100);
		assert_int_equal(b_net_rx(0, (void **)&at), 64);
		assert_int_equal(*at, i % 100);
	}
}
