// virtio-net and the network class above it, against a device that keeps its rings (virtio_device.h).
#include "../bus/virtio_device.h"
#include "classic_call.h"

#define BIT(n) (1ul << (n))
#define EVENT BIT(VIRTIO_F_EVENT_IDX)
#define FULL (EVENT | BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(16) | BIT(17) | BIT(18) | BIT(22) | BIT(63))
#define HEADER 12

static const struct driver *drv;
static struct far *far;
static uint8_t ack;       // of the control queue
static uint32_t commands; // seen; the last one:
static uint8_t command[8];
static bool mute; // the control queue doesn't answer
static uint32_t callbacks;

// The control queue answers at once.
static void control(struct far *dev, uint32_t index)
{
	struct far_queue *q = &dev->queue[index];
	if (index != (dev->accepted & BIT(22) ? 8 : 2))
		return;
	while (!mute && far_waiting(q)) {
		uint32_t id = far_take(q);
		const struct virtq_desc *desc = far_desc(q, id), *next = far_desc(q, desc->next);
		assert_true(desc->flags == VIRTQ_DESC_NEXT && next->flags == VIRTQ_DESC_WRITE && next->len == 1);
		memcpy(command, (const void *)desc->phys, desc->len);
		assert_int_equal(desc->len, command[0] == 4 ? 4 : 3);
		*(uint8_t *)next->phys = ack;
		commands++;
		far_give(q, id, 1);
		far_event(q, q->taken);
	}
}

static void plug(uint64_t features)
{
	drv = fake_driver("virtio", "virtio-net");
	far = far_new(true, 1, features);
	far->on_notify = control;
	memcpy(far->config, "\x52\x54\0\x12\x34\x56\1\0\4\0\xD0\x07\xE8\x03\0\0", 16); // 4 pairs, MTU 2000, 1000 Mbit/s
	far->vdev.id.driver = drv;
	ack = mute = 0;
	commands = callbacks = 0;
}

static void start(uint64_t features)
{
	plug(features);
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_OK);
}

static void end(void)
{
	drv->remove(&far->vdev.id);
	assert_int_equal(far->status, 0);
}

static uint8_t *buffer(struct far_queue *q, uint32_t id)
{
	return (uint8_t *)far_desc(q, id)->phys;
}

// A frame of `len` bytes, all of them `fill`, arrives on pair `index`; with a header of these flags.
static void arrive(uint32_t index, uint32_t len, uint8_t fill, uint8_t flags)
{
	struct far_queue *q = &far->queue[2 * index];
	uint32_t id = far_take(q);
	const struct virtq_desc *desc = far_desc(q, id);
	assert_int_equal(desc->flags, VIRTQ_DESC_WRITE);
	assert_true(HEADER + len <= desc->len);
	memset(buffer(q, id), 0, HEADER);
	buffer(q, id)[0] = flags;
	memset(buffer(q, id) + HEADER, fill, len);
	far_give(q, id, HEADER + len);
}

static struct ingot_net_stats stats(void)
{
	struct ingot_net_stats now;
	assert_int_equal(net_stats(0, &now), E_OK);
	return now;
}

// Every frame of the pool is in the pool, in the ring or in the program's hands; one of the ring the device doesn't
// have, and one is b_net_rx's.
static void count_frames(uint32_t index, uint32_t out)
{
	struct ingot_pool *pool = net_pool(0, index);
	uint32_t count = 0;
	for (struct ingot_frame *frame = pool->free; frame; frame = frame->next)
		count++;
	assert_int_equal(count, pool->available);
	assert_int_equal(pool->available + far_waiting(&far->queue[2 * index]) + 1 + !index + out, pool->total);
}

// ---- The device ----------------------------------------------------------------------------------------------

static void probes(void **state)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	fake_cores = 3;
	start(FULL);
	assert_int_equal(far->accepted, (FULL & ~BIT(1)) | BIT(VIRTIO_F_VERSION_1)); // whole checksums only
	assert_int_equal(net_count(), 1);
	assert_int_equal(net_info(0, &info), E_OK);
	assert_memory_equal(info.mac, "\x52\x54\0\x12\x34\x56", 6);
	assert_int_equal(info.mtu, 1500);
	assert_int_equal(info.queues, 3);
	assert_int_equal(info.queues_open, 1);
	assert_int_equal(info.speed, 1000);
	assert_int_equal(info.link, 1);
	assert_int_equal(info.features, INGOT_NET_CSUM);
	assert_string_equal(info.name, "net0");
	assert_string_equal(info.driver, "virtio-net");
	assert_string_equal(info.address, "far");
	assert_int_equal(net_classic_status(0), 0x525400123456);
	assert_int_equal(commands, 2); // promiscuous off, all multicast on
	assert_memory_equal(command, "\0\1\1", 3);
	far->config[6] = 0;
	info.size = offsetof(struct ingot_net_info, speed); // an older program's
	info.speed = 77;
	assert_int_equal(net_info(0, &info), E_OK);
	assert_int_equal(info.link, 0);
	assert_int_equal(info.speed, 77);
	assert_int_equal(net_info(1, &info), E_NODEV);
	assert_int_equal(net_info(1000, &info), E_NODEV);
	assert_int_equal(net_classic_status(1), 0);
	end();
	assert_int_equal(net_count(), 0);
}

static void probes_the_least(void **state)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	start(0);
	assert_int_equal(net_info(0, &info), E_OK);
	assert_int_equal(info.mac[0], 2); // locally administered
	assert_int_equal(info.link, 1);
	assert_int_equal(info.speed, 0);
	assert_int_equal(info.features, 0);
	assert_int_equal(net_promiscuous(0, 1), E_NOTSUP);
	end();
}

static void probe_fails_cleanly(void **state)
{
	uint32_t allocations;
	(void)state;
	start(FULL);
	allocations = fake_alloc_count;
	end();
	for (uint32_t i = 1; i <= allocations; i++) {
		plug(FULL);
		fake_alloc_fail_at = fake_alloc_count + i;
		assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_NOMEM);
		assert_int_equal(fake_alloc_live, 0);
		assert_int_equal(far->status, i == 1 ? 0x0F : 0); // not touched, or silent
		assert_int_equal(net_count(), 0);
	}
	plug(FULL);
	far->stuck = true;
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_TIMEOUT);
	plug(FULL);
	far->queue[1].max = 0;
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_NODEV);
}

static void many_interfaces(void **state)
{
	static struct far *fars[12];
	(void)state;
	for (uint32_t i = 0; i < 12; i++) {
		start(BIT(5));
		fars[i] = far;
	}
	assert_int_equal(net_count(), 12);
	assert_string_equal(fars[11]->vdev.id.unit, "net11");
	far = fars[4]; // unplugged: the others keep their numbers
	end();
	assert_int_equal(net_count(), 12);
	assert_int_equal(net_classic_status(4), 0);
	start(BIT(5)); // the next one takes the free number
	assert_string_equal(far->vdev.id.unit, "net4");
	fars[4] = far;
	for (uint32_t i = 0; i < 12; i++) {
		far = fars[i];
		end();
	}
}

// ---- Reception -----------------------------------------------------------------------------------------------

static void receives(void **state)
{
	struct ingot_frame *frames[64];
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[0];
	assert_int_equal(far_waiting(q), 127);
	assert_int_equal(net_rx(0, 0, frames, 64), 0);
	for (uint32_t round = 0; round < 3000; round++) { // more than 65536 frames
		uint32_t burst = round % 40;
		for (uint32_t i = 0; i < burst; i++)
			arrive(0, 60 + i, i, i % 3);
		assert_int_equal(net_rx(0, 0, frames, 64), burst < 32 ? burst : 32); // as many as the pool replaces
		for (uint32_t i = 0; i < burst; i++) {
			if (i == 32) {
				for (uint32_t n = 0; n < 32; n++)
					ingot_frame_put(frames[n]);
				assert_int_equal(net_rx(0, 0, frames + 32, 32), burst - 32);
			}
			assert_int_equal(frames[i]->length, 60 + i);
			assert_int_equal(frames[i]->data[0], i);
			assert_int_equal(frames[i]->data[59 + i], i);
			assert_int_equal(frames[i]->flags, i % 3 ? INGOT_RX_CSUM_GOOD : 0);
			assert_int_equal(frames[i]->phys, (uintptr_t)frames[i]->data);
		}
		for (uint32_t i = burst <= 32 ? 0 : 32; i < burst; i++)
			ingot_frame_put(frames[i]);
		count_frames(0, 0);
	}
	assert_int_equal(stats().rx_frames, 3000 / 40 * (39 * 40 / 2));
	assert_true(stats().rx_bytes > 60 * 3000 / 40 * (39 * 40 / 2));
	end();
}

// Hours without a poll: everything waits, nothing is lost or reordered, and it goes on.
static void full_ring(void **state)
{
	struct ingot_frame *frames[64], *kept[64];
	uint32_t next = 0, got, held = 0;
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[0];
	for (uint32_t i = 0; i < 127; i++)
		arrive(0, 64, i, 0);
	assert_int_equal(far_waiting(q), 0);
	while ((got = net_rx(0, 0, frames, 7))) {
		for (uint32_t i = 0; i < got; i++) {
			assert_int_equal(frames[i]->data[13], next++);
			ingot_frame_put(frames[i]);
		}
	}
	assert_int_equal(next, 127);
	assert_int_equal(far_waiting(q), 127);
	for (uint32_t i = 0; i < 127; i++) // a program that keeps what it gets
		arrive(0, 64, i, 0);
	while ((got = net_rx(0, 0, kept + held, 64 - held)))
		held += got;
	assert_int_equal(held, 32);
	count_frames(0, 32 + 127 - 32);
	ingot_frame_put(kept[--held]);
	assert_int_equal(net_rx(0, 0, frames, 64), 1);
	assert_int_equal(frames[0]->data[0], 32);
	kept[held++] = frames[0];
	end();
}

static void bad_lengths(void **state)
{
	static const uint32_t lengths[] = { 0, 1, HEADER, HEADER + 13, 1920 + HEADER + 1, 0x7FFFFFFF, 0xFFFFFFFF };
	struct ingot_frame *frames[16];
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[0];
	for (uint32_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		arrive(0, 100, 1, 0);
		far_give(q, far_take(q), lengths[i]);
		arrive(0, 100, 2, 0);
		uint32_t got = net_rx(0, 0, frames, 16);
		while (got < 2) {
			uint32_t more = net_rx(0, 0, frames + got, 16);
			assert_true(more);
			got += more;
		}
		assert_int_equal(got, 2);
		assert_int_equal(frames[0]->data[20], 1);
		assert_int_equal(frames[1]->data[20], 2);
		ingot_frame_put(frames[0]);
		ingot_frame_put(frames[1]);
		assert_int_equal(stats().rx_dropped, i + 1);
		count_frames(0, 0);
	}
	far_give(q, far_take(q), HEADER + 1920); // the most
	far_give(q, far_take(q), HEADER + 14);   // the least
	assert_int_equal(net_rx(0, 0, frames, 16), 2);
	assert_int_equal(frames[0]->length, 1920);
	end();
}

static void out_of_order_and_hostile(void **state)
{
	struct ingot_frame *frames[128];
	uint32_t ids[128];
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[0];
	for (uint32_t round = 0; round < 50; round++) {
		for (uint32_t i = 0; i < 30; i++)
			ids[i] = far_take(q);
		for (uint32_t i = 0; i < 30; i++) {
			uint32_t id = ids[i * 7 % 30];
			memset(buffer(q, id), 0, HEADER);
			buffer(q, id)[HEADER] = i;
			far_give(q, id, HEADER + 64);
		}
		for (uint32_t got = 0; got < 30;) {
			uint32_t more = net_rx(0, 0, frames, 30);
			assert_true(more);
			for (uint32_t i = 0; i < more; i++) {
				assert_int_equal(frames[i]->data[0], got++);
				ingot_frame_put(frames[i]);
			}
		}
		count_frames(0, 0);
	}
	uint32_t id = far_take(q);
	far_give(q, id, HEADER + 64);
	far_give(q, 4000, HEADER + 64);
	assert_int_equal(net_rx(0, 0, frames, 30), 1);
	ingot_frame_put(frames[0]);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(net_rx(0, 0, frames, 30), 0);
	end(); // and still all frames come back
}

// ---- Transmission --------------------------------------------------------------------------------------------

static uint32_t send(uint32_t count, uint8_t fill)
{
	struct ingot_frame *frames[256];
	struct ingot_pool *pool = net_pool(0, 0);
	uint32_t have = 0;
	while (have < count && (frames[have] = ingot_frame_get(pool))) {
		memset(frames[have]->data, fill + have, 60);
		frames[have]->length = 60 + have;
		frames[have++]->flags = 0;
	}
	uint32_t sent = net_tx(0, 0, frames, have);
	for (uint32_t i = sent; i < have; i++)
		ingot_frame_put(frames[i]);
	return sent;
}

static void transmits(void **state)
{
	static const uint8_t zero[HEADER];
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[1];
	for (uint32_t round = 0; round < 5000; round++) { // more than 65536 frames
		uint32_t burst = round % 32;
		far_event(q, q->taken);
		uint32_t before = q->notified;
		assert_int_equal(send(burst, round), burst);
		assert_int_equal(q->notified, before + (burst != 0)); // one doorbell
		assert_int_equal(far_waiting(q), burst);
		for (uint32_t i = 0; i < burst; i++) {
			uint32_t id = far_take(q);
			assert_int_equal(far_desc(q, id)->len, HEADER + 60 + i);
			assert_int_equal(far_desc(q, id)->flags, 0);
			assert_memory_equal(buffer(q, id), zero, HEADER);
			assert_int_equal(buffer(q, id)[HEADER + 59], (uint8_t)(round + i));
			far_give(q, id, 0);
		}
		count_frames(0, 0);
	}
	assert_int_equal(FAR_AVAIL(q)[2 + q->size], 0xFFFF); // no interrupts asked for
	assert_int_equal(stats().tx_frames, (5000 / 32 * 496) + (5000 % 32) * (5000 % 32 - 1) / 2);
	end();
}

static void transmit_ring_full(void **state)
{
	static uint8_t memory[512 * 2048] __attribute__((aligned(64)));
	struct ingot_frame *frames[400];
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[1];
	assert_int_equal(net_open(0, 1, memory, sizeof(memory), 1024), E_OK);
	struct ingot_pool *pool = net_pool(0, 0);
	for (uint32_t i = 0; i < 400; i++) {
		frames[i] = ingot_frame_get(pool);
		frames[i]->length = 60;
		frames[i]->flags = 0;
	}
	assert_int_equal(net_tx(0, 0, frames, 200), 200);
	assert_int_equal(net_tx(0, 0, frames + 200, 200), 24); // 32 entries are left to b_net_tx
	assert_int_equal(net_tx(0, 0, frames + 224, 176), 0);
	uint32_t free = pool->available, first = far_take(q), second = far_take(q);
	far_give(q, first, 0);
	assert_int_equal(net_tx(0, 0, NULL, 0), 0);
	assert_int_equal(pool->available, free); // the first 200 go back together
	for (uint32_t i = 2; i < 200; i++)
		far_give(q, far_take(q), 0);
	assert_int_equal(net_tx(0, 0, NULL, 0), 0);
	assert_int_equal(pool->available, free);
	far_give(q, second, 0); // out of order: they wait for the others
	assert_int_equal(net_tx(0, 0, NULL, 0), 0);
	assert_int_equal(pool->available, free);
	for (uint32_t i = 0; i < 24; i++)
		far_give(q, far_take(q), 0);
	assert_int_equal(net_tx(0, 0, NULL, 0), 0);
	assert_int_equal(pool->available, free + 224);
	assert_int_equal(net_tx(0, 0, frames + 224, 100), 100);
	assert_int_equal(net_tx(0, 0, frames + 324, 50), 50);
	for (uint32_t i = 0; i < 120; i++)
		far_give(q, far_take(q), 0);
	assert_int_equal(net_tx(0, 0, NULL, 0), 0);
	assert_int_equal(pool->available, free + 324); // in order: what is complete
	assert_int_equal(net_tx(0, 0, frames + 374, 26), 26);
	q->given += 57; // finished more than there was
	FAR_USED(q)[1] = q->given;
	assert_int_equal(net_tx(0, 0, NULL, 0), 0);
	assert_int_equal(pool->available, free + 324);
	end();
}

// The frames of a burst go back to the pools that they came from.
static void transmit_from_many_pools(void **state)
{
	static uint8_t memory[3 * 128 * 2048] __attribute__((aligned(64)));
	struct ingot_frame *frames[60];
	struct ingot_pool *pools[3];
	(void)state;
	fake_cores = 3;
	start(FULL);
	assert_int_equal(net_open(0, 3, memory, sizeof(memory), 2048), E_OK);
	struct far_queue *q = &far->queue[1];
	for (uint32_t i = 0; i < 3; i++)
		pools[i] = net_pool(0, i);
	uint32_t free[3] = { pools[0]->available, pools[1]->available, pools[2]->available };
	for (uint32_t round = 0; round < 40; round++) {
		for (uint32_t i = 0; i < 60; i++) {
			frames[i] = ingot_frame_get(pools[(i * (round + 1) / 7) % 3]);
			frames[i]->length = 60;
			frames[i]->flags = 0;
		}
		assert_int_equal(net_tx(0, 0, frames, 60), 60);
		b_net_tx(memory, 64, 0); // between them
		for (uint32_t i = 0; i < 61; i++)
			far_give(q, far_take(q), 0);
		assert_int_equal(net_tx(0, 0, NULL, 0), 0);
		for (uint32_t i = 0; i < 3; i++)
			assert_int_equal(pools[i]->available, free[i]);
	}
	assert_int_equal(stats().tx_errors, 0);
	end();
}

static void transmit_checksum(void **state)
{
	struct ingot_frame *frame;
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[1];
	frame = ingot_frame_get(net_pool(0, 0));
	frame->length = 100;
	frame->flags = INGOT_TX_CSUM;
	frame->csum_start = 34;
	frame->csum_offset = 6;
	assert_int_equal(net_tx(0, 0, &frame, 1), 1);
	assert_memory_equal(buffer(q, far_take(q)), "\1\0\0\0\0\0\x22\0\6\0\0\0", HEADER);
	end();
}

// With all frames on their way out, reception takes back those that are sent.
static void pool_of_sent_frames(void **state)
{
	struct ingot_frame *frame;
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[1];
	assert_int_equal(send(1, 0), 1);
	assert_int_equal(send(31, 0), 31);
	arrive(0, 64, 9, 0);
	assert_int_equal(net_rx(0, 0, &frame, 1), 0);
	far_give(q, far_take(q), 0);
	assert_int_equal(net_rx(0, 0, &frame, 1), 1);
	assert_int_equal(frame->data[0], 9);
	end();
}

// ---- Control -------------------------------------------------------------------------------------------------

static void opens_queues(void **state)
{
	static uint8_t memory[3 * 128 * 2048 + 64] __attribute__((aligned(64)));
	struct ingot_frame *frame;
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	fake_cores = 3;
	start(FULL);
	commands = 0;
	assert_int_equal(net_open(0, 3, memory, sizeof(memory), 2048), E_OK);
	assert_int_equal(commands, 3);
	assert_memory_equal(command, "\4\0\3\0", 4);
	assert_int_equal(far->accepted, FULL | BIT(VIRTIO_F_VERSION_1));
	for (uint32_t i = 0; i < 3; i++) {
		struct ingot_pool *pool = net_pool(0, i);
		assert_int_equal(pool->total, 128);
		assert_int_equal(far_waiting(&far->queue[2 * i]), 63);
		arrive(i, 80, 40 + i, 0);
		assert_int_equal(net_rx(0, i, &frame, 1), 1);
		assert_int_equal(frame->data[3], 40 + i);
		assert_in_range((uintptr_t)frame, (uintptr_t)memory, (uintptr_t)memory + sizeof(memory));
		assert_int_equal(net_tx(0, i, &frame, 1), 1); // straight out again
		far_give(&far->queue[2 * i + 1], far_take(&far->queue[2 * i + 1]), 0);
		count_frames(i, 0);
	}
	assert_null(net_pool(0, 3));
	assert_int_equal(net_rx(0, 3, &frame, 1), 0);
	assert_int_equal(net_open(0, 4, memory, sizeof(memory), 2048), E_INVAL);
	assert_int_equal(net_open(0, 0, memory, sizeof(memory), 2048), E_INVAL);
	assert_int_equal(net_open(0, 1, memory + 8, sizeof(memory) - 8, 2048), E_INVAL);
	assert_int_equal(net_open(0, 1, memory, sizeof(memory), 192), E_INVAL);
	assert_int_equal(net_open(0, 1, memory, sizeof(memory), 2000), E_INVAL);
	assert_int_equal(net_open(9, 1, memory, sizeof(memory), 2048), E_NODEV);
	net_info(0, &info);
	assert_int_equal(info.queues_open, 3);
	assert_int_equal(net_open(0, 3, memory, 100 * 2048, 2048), E_INVAL); // too few frames: back to our own
	assert_ptr_not_equal(net_pool(0, 0), NULL);
	assert_null(net_pool(0, 1));
	count_frames(0, 0);
	ack = 1; // the device doesn't want several
	assert_int_equal(net_open(0, 3, memory, sizeof(memory), 2048), E_IO);
	assert_false(far->accepted & BIT(1));
	mute = true; // or says nothing at all
	assert_int_equal(net_open(0, 3, memory, sizeof(memory), 2048), E_TIMEOUT);
	mute = false;
	count_frames(0, 0);
	net_close(0);
	far->stuck = true; // dead: nothing works, nothing crashes
	net_close(0);
	assert_null(net_pool(0, 0));
	assert_int_equal(net_classic_rx(0, (void **)&frame), 0);
	net_classic_tx(memory, 64, 0);
	far->stuck = false;
	end();
}

static void jumbo_frames(void **state)
{
	static uint8_t memory[64 * 9216] __attribute__((aligned(64)));
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	start(FULL);
	assert_int_equal(net_open(0, 1, memory, sizeof(memory), 9216), E_OK);
	net_info(0, &info);
	assert_int_equal(info.mtu, 2000); // the device's
	assert_int_equal(far_waiting(&far->queue[0]), 31);
	end();
	start(FULL & ~BIT(3));
	assert_int_equal(net_open(0, 1, memory, sizeof(memory), 9216), E_OK);
	net_info(0, &info);
	assert_int_equal(info.mtu, 9216 - 128 - 18);
	end();
}

// Memory in physical pieces: frames that would straddle a border are left out.
static void scattered_memory(void **state)
{
	static uint8_t memory[128 * 2048] __attribute__((aligned(4096)));
	(void)state;
	start(FULL);
	fake_mem_pages = true;
	assert_int_equal(net_open(0, 1, memory + 1024, sizeof(memory) - 1024, 2048), E_OK);
	assert_int_equal(net_pool(0, 0)->total, 64); // every other one
	assert_int_equal(net_open(0, 1, memory, sizeof(memory), 2048), E_OK);
	assert_int_equal(net_pool(0, 0)->total, 128);
	end();
}

static void promiscuous(void **state)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	start(FULL);
	assert_int_equal(net_promiscuous(0, 1), E_OK);
	assert_memory_equal(command, "\0\0\1", 3);
	commands = 0;
	net_close(0); // stays
	assert_int_equal(commands, 2);
	net_info(0, &info);
	assert_int_equal(info.promiscuous, 1);
	ack = 1;
	assert_int_equal(net_promiscuous(0, 0), E_IO);
	net_info(0, &info);
	assert_int_equal(info.promiscuous, 1);
	assert_int_equal(net_promiscuous(3, 0), E_NODEV);
	end();
}

static int connect_fake(struct virtio_dev *vdev, uint32_t queue, uint32_t cpu)
{
	if (queue == VIRTIO_OFF) {
		irq_free(vdev->vector);
		return E_OK;
	}
	assert_int_equal(queue, 0);
	return irq_alloc(virtio_interrupt, vdev, cpu);
}

static void take_all(void *arg)
{
	struct ingot_frame *frame;
	callbacks++;
	while (net_rx(0, 0, &frame, 1)) {
		++*(uint32_t *)arg;
		ingot_frame_put(frame);
	}
}

static void callbacks_on_receive(void **state)
{
	uint32_t frames = 0;
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[0];
	far->vdev.connect = connect_fake;
	assert_int_equal(net_on_receive(0, take_all, &frames), E_OK);
	for (uint32_t i = 0; i < 300; i++) {
		uint16_t event = FAR_AVAIL(q)[2 + q->size], before = q->given;
		arrive(0, i % 5 ? 64 : 9, i, 0); // now and then one that is no frame
		assert_int_equal(event, before); // so this one interrupts
		fake_irq_fire(far->vdev.vector);
	}
	assert_int_equal(frames, 240);
	assert_int_equal(net_on_receive(0, NULL, NULL), E_OK);
	assert_int_equal(fake_irq_live(), 0);
	assert_int_equal(net_on_receive(0, take_all, &frames), E_OK);
	net_close(0); // ends it
	assert_int_equal(fake_irq_live(), 0);
	assert_int_equal(net_on_receive(5, take_all, &frames), E_NODEV);
	end();
}

// ---- The register interface ----------------------------------------------------------------------------------

static void classic_frames(void **state)
{
	static uint8_t data[2048], memory[256 * 2048] __attribute__((aligned(64)));
	void *at, *before = NULL;
	(void)state;
	start(FULL);
	struct far_queue *tx = &far->queue[1];
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = i * 7;
	for (uint32_t len = 0; len < 1600; len++) {
		b_net_tx(data + 1, len, 0);
		if (len < 14 || len > 1522) {
			assert_int_equal(far_waiting(tx), 0);
			continue;
		}
		uint32_t id = far_take(tx);
		assert_int_equal(far_desc(tx, id)->len, HEADER + len);
		assert_memory_equal(buffer(tx, id) + HEADER, data + 1, len);
		far_give(tx, id, 0);
	}
	assert_int_equal(stats().tx_errors, 14 + 1600 - 1523);
	b_net_tx(data, 64, 1); // nobody
	assert_int_equal(b_net_rx(1, &at), 0);
	assert_int_equal(b_net_rx(0, &at), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		arrive(0, 60 + i % 100, i, 0);
		assert_int_equal(b_net_rx(0, &at), 60 + i % 100);
		assert_int_equal(*(uint8_t *)at, (uint8_t)i);
		if (before)
			assert_int_equal(*(uint8_t *)before, (uint8_t)(i - 1)); // may be gone, is not given out again yet
		before = at;
		if (i % 2)
			assert_int_equal(b_net_rx(0, &at), 0);
		assert_int_equal(*(uint8_t *)before, (uint8_t)i);
	}
	net_classic_config(memory, 0);
	assert_false(far->accepted & BIT(1));
	assert_int_equal(far_waiting(&far->queue[0]), 127);
	arrive(0, 100, 3, 0);
	assert_int_equal(b_net_rx(0, &at), 100);
	assert_in_range((uintptr_t)at, (uintptr_t)memory, (uintptr_t)memory + sizeof(memory));
	b_net_tx(data, 64, 0);
	far_give(tx, far_take(tx), 0);
	net_classic_config(NULL, 0);
	arrive(0, 100, 3, 0);
	assert_int_equal(b_net_rx(0, &at), 100);
	assert_false((uint8_t *)at >= memory && (uint8_t *)at < memory + sizeof(memory));
	end();
}

static void arrive_plain(uint32_t len, uint8_t fill)
{
	arrive(0, len, fill, 0);
}

static void classic_and_bursts(void **state)
{
	(void)state;
	start(FULL);
	classic_mixed(arrive_plain);
	end();
}

// One that works out of order, or with interrupts on, gets its buffers back all the same.
static void classic_out_of_order(void **state)
{
	uint32_t frames = 0;
	void *at;
	(void)state;
	start(FULL);
	far->vdev.connect = connect_fake;
	struct far_queue *q = &far->queue[0];
	for (uint32_t round = 0; round < 300; round++) {
		uint32_t first = far_take(q), second = far_take(q);
		memset(buffer(q, first), 1, HEADER + 60);
		memset(buffer(q, second), 2, HEADER + 60);
		far_give(q, second, HEADER + 60);
		far_give(q, first, HEADER + 60);
		arrive(0, 64, 3, 0);
		for (uint8_t i = 0; i < 3; i++) {
			assert_int_equal(b_net_rx(0, &at), i == 2 ? 64 : 60);
			assert_int_equal(*(uint8_t *)at, "\2\1\3"[i]);
		}
	}
	assert_int_equal(net_on_receive(0, take_all, &frames), E_OK);
	for (uint32_t round = 0; round < 300; round++) {
		arrive(0, 64, round, 0);
		assert_int_equal(b_net_rx(0, &at), 64);
		assert_int_equal(FAR_AVAIL(q)[2 + q->size], q->given); // so the next one interrupts
	}
	assert_int_equal(net_on_receive(0, NULL, NULL), E_OK);
	end();
}

static uint8_t leave(void)
{
	struct far_queue *q = &far->queue[1];
	uint32_t id = far_take(q);
	uint8_t first = ((const uint8_t *)buffer(q, id))[HEADER];
	far_give(q, id, 0);
	return first;
}

static void classic_and_a_slow_device(void **state)
{
	(void)state;
	start(FULL);
	classic_sends(leave);
	assert_int_equal(stats().tx_errors, 0);
	end();
}

static void classic_tx_waits_a_little(void **state)
{
	static uint8_t data[64];
	uint64_t before;
	(void)state;
	start(FULL);
	for (uint32_t i = 0; i < NET_COPY_FRAMES; i++)
		b_net_tx(data, 64, 0);
	assert_int_equal(stats().tx_errors, 0);
	before = fake_now_ns;
	b_net_tx(data, 64, 0);
	assert_int_equal(stats().tx_errors, 1);
	assert_in_range(fake_now_ns - before, 1000000, 20000000);
	far_give(&far->queue[1], far_take(&far->queue[1]), 0);
	b_net_tx(data, 64, 0);
	assert_int_equal(stats().tx_errors, 1);
	end();
}

// The device has asked for a doorbell when it was too late for that, and both wait: with no room for b_net_tx it is
// rung, and not if the device has not asked.
static void lost_doorbell(void **state)
{
	static uint8_t data[64];
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[1];
	far_event(q, 0xFF00);
	for (uint32_t i = 0; i < NET_COPY_FRAMES; i++)
		b_net_tx(data, 64, 0);
	uint32_t before = q->notified;
	b_net_tx(data, 64, 0);
	assert_int_equal(q->notified, before);
	far_give(q, far_take(q), 0);
	b_net_tx(data, 64, 0); // there is room
	assert_int_equal(q->notified, before);
	far_event(q, 2);
	b_net_tx(data, 64, 0);
	assert_int_equal(q->notified, before + 1);
	end();
}

// The same with net_tx, which finds nothing sent however often it looks: rung again, now and then.
static void lost_doorbell_burst(void **state)
{
	(void)state;
	start(FULL);
	struct far_queue *q = &far->queue[1];
	far_event(q, 0xFF00);
	assert_int_equal(send(5, 1), 5);
	for (uint32_t i = 0; i < 20000; i++)
		net_tx(0, 0, NULL, 0);
	assert_int_equal(q->notified, 0); // the device is at work
	far_event(q, 3);
	for (uint32_t i = 0; i < 100000; i++)
		net_tx(0, 0, NULL, 0);
	assert_in_range(q->notified, 1, 100);
	while (far_waiting(q))
		far_give(q, far_take(q), 0);
	uint32_t before = q->notified;
	for (uint32_t i = 0; i < 20000; i++)
		net_pool(0, 0);
	assert_int_equal(q->notified, before);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(probes),
		FAKE_TEST(probes_the_least),
		FAKE_TEST(probe_fails_cleanly),
		FAKE_TEST(many_interfaces),
		FAKE_TEST(receives),
		FAKE_TEST(full_ring),
		FAKE_TEST(bad_lengths),
		FAKE_TEST(out_of_order_and_hostile),
		FAKE_TEST(transmits),
		FAKE_TEST(transmit_ring_full),
		FAKE_TEST(transmit_checksum),
		FAKE_TEST(transmit_from_many_pools),
		FAKE_TEST(pool_of_sent_frames),
		FAKE_TEST(opens_queues),
		FAKE_TEST(jumbo_frames),
		FAKE_TEST(scattered_memory),
		FAKE_TEST(promiscuous),
		FAKE_TEST(callbacks_on_receive),
		FAKE_TEST(classic_frames),
		FAKE_TEST(classic_tx_waits_a_little),
		FAKE_TEST(classic_and_bursts),
		FAKE_TEST(classic_and_a_slow_device),
		FAKE_TEST(classic_out_of_order),
		FAKE_TEST(lost_doorbell),
		FAKE_TEST(lost_doorbell_burst),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
