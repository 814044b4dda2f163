// The drivers of Intel's gigabit controllers, the rings that they share and the network class above them.  With
// EXTENDED (e1000e_test.c) the device is an 82574, else an 82540.
#include "intel_device.h"
#include "classic_call.h"

#ifndef EXTENDED
#define EXTENDED 0
#define DRIVER "e1000"
#define DEVICE 0x100E
#endif

static const struct driver *drv;
static struct far *far;
static uint8_t memory[512 * 2048] __attribute__((aligned(64)));

static const struct dev_id *row(uint16_t device)
{
	for (uint32_t i = 0; i < drv->id_count; i++)
		if (drv->ids[i].device == device)
			return &drv->ids[i];
	fail_msg("no row for %x", device);
	return NULL;
}

static void plug(void)
{
	drv = fake_driver("pci", DRIVER);
	far = far_new(DEVICE, EXTENDED);
	far->card.pci.dev.driver = drv;
}

static int probe(void)
{
	return drv->probe(&far->card.pci.dev, row(far->card.pci.dev.device));
}

static void start(void)
{
	plug();
	assert_int_equal(probe(), E_OK);
}

static void end(void)
{
	drv->remove(&far->card.pci.dev);
	assert_false(far->card.enabled);
	assert_int_equal(*far_reg(far, RCTL) & RCTL_EN, 0);
	assert_int_equal(*far_reg(far, TCTL) & TCTL_EN, 0);
	assert_int_equal(*far_reg(far, IMS), 0);
	assert_int_equal(far->card.vectors, 0);
}

static struct ingot_net_stats stats(void)
{
	struct ingot_net_stats now;
	assert_int_equal(net_stats(0, &now), E_OK);
	return now;
}

// Every frame is in the pool, in a ring or in the program's hands, and one is b_net_rx's.
static void count_frames(uint32_t queue, uint32_t out)
{
	struct ingot_pool *pool = net_pool(0, queue);
	uint32_t count = 0;
	for (struct ingot_frame *frame = pool->free; frame; frame = frame->next)
		count++;
	assert_int_equal(count, pool->available);
	assert_int_equal(pool->available + *far_reg(far, RX_RINGS + queue * RING_STEP + RING_LEN) / 16 + !queue + out,
		pool->total);
}

// ---- Probe ---------------------------------------------------------------------------------------------------

static void probes(void **state)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	fake_cores = 3;
	start();
	assert_int_equal(net_info(0, &info), E_OK);
	assert_memory_equal(info.mac, "\x52\x54\0\x12\x34\x56", 6);
	assert_string_equal(info.driver, DRIVER);
	assert_int_equal(info.queues, EXTENDED ? 2 : 1);
	assert_int_equal(info.mtu, 1500);
	assert_int_equal(info.link, 1);
	assert_int_equal(info.speed, 1000);
	assert_int_equal(far_buffer(far), 2048);
	assert_int_equal(*far_reg(far, RCTL) & (RCTL_LPE | RCTL_UPE | RCTL_MPE | RCTL_BAM), RCTL_MPE | RCTL_BAM);
	assert_true(*far_reg(far, CTRL) & CTRL_SLU);
	*far_reg(far, STATUS) = STATUS_LU;
	net_info(0, &info);
	assert_int_equal(info.speed, 10);
	*far_reg(far, STATUS) = STATUS_LU | 1 << STATUS_SPEED_SHIFT;
	net_info(0, &info);
	assert_int_equal(info.speed, 100);
	*far_reg(far, STATUS) = 0;
	net_info(0, &info);
	assert_int_equal(info.link, 0);
	end();
}

static void address_from_the_eeprom(void **state)
{
	(void)state;
	plug();
	far->blank = true;
	assert_int_equal(probe(), E_OK);
	assert_int_equal(net_classic_status(0), 0x525400123456);
	assert_memory_equal(far_reg(far, RAL0), "\x52\x54\0\x12\x34\x56\0\x80", 8);
	end();
	plug();
	far->blank = far->deaf = true;
	assert_int_equal(probe(), E_IO);
	assert_true(fake_logged(" no address"));
	assert_false(far->card.enabled);
	plug();
	memcpy(far->eeprom, "\xFF\xFF\xFF\xFF\xFF\xFF", 6); // empty
	assert_int_equal(probe(), E_IO);
	plug();
	memset(far->eeprom, 0, 6);
	assert_int_equal(probe(), E_IO);
	assert_int_equal(fake_alloc_live, 0);
}

static void probe_fails_cleanly(void **state)
{
	(void)state;
	fake_cores = 3;
	start();
	uint32_t allocations = fake_alloc_count;
	end();
	for (uint32_t i = 1; i <= allocations; i++) {
		plug();
		fake_alloc_fail_at = fake_alloc_count + i;
		assert_int_equal(probe(), E_NOMEM);
		assert_int_equal(fake_alloc_live, 0);
		assert_false(far->card.enabled);
		assert_int_equal(net_count(), 0);
	}
	plug();
	far->stuck = true;
	assert_int_equal(probe(), E_TIMEOUT);
	assert_true(fake_now_ns < 1000000000);
	assert_true(fake_logged(" no reset"));
	assert_false(far->card.enabled);
	plug();
	far->card.pci.bar[0].phys = 0;
	assert_int_equal(probe(), E_INVAL);
	assert_int_equal(fake_alloc_live, 0);
}

static void several(void **state)
{
	struct far *fars[3];
	struct ingot_frame *frame;
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		start();
		fars[i] = far;
		far->eeprom[5] = i;
	}
	for (uint32_t i = 0; i < 3; i++) {
		assert_true(far_arrive(fars[i], 0, 60 + i, i, 0));
		assert_int_equal(net_rx((i + 1) % 3, 0, &frame, 1), i == 2); // the next one's is not there yet, or taken
		if (i == 2)
			ingot_frame_put(frame);
	}
	for (uint32_t i = 0; i < 3; i++) {
		far = fars[i];
		end();
	}
}

// ---- Reception -----------------------------------------------------------------------------------------------

static void receives(void **state)
{
	struct ingot_frame *frames[64];
	uint32_t total = 0;
	(void)state;
	start();
	assert_int_equal(far_waiting(far, RX_RINGS), 127);
	assert_int_equal(net_rx(0, 0, frames, 64), 0);
	uint32_t reads = far->reads;
	for (uint32_t round = 0; round < 5000; round++) { // many times round the ring
		uint32_t burst = round % 33;
		far->doorbells = 0;
		for (uint32_t i = 0; i < burst; i++)
			assert_true(far_arrive(far, 0, 60 + i * 40, i, 0));
		assert_int_equal(net_rx(0, 0, frames, 64), burst);
		assert_in_range(far->doorbells, 0, 1);
		for (uint32_t i = 0; i < burst; i++) {
			assert_int_equal(frames[i]->length, 60 + i * 40);
			assert_int_equal(frames[i]->data[0], i);
			assert_int_equal(frames[i]->data[59 + i * 40], i);
			assert_int_equal(frames[i]->flags, 0);
			assert_int_equal(frames[i]->phys, (uintptr_t)frames[i]->data);
			ingot_frame_put(frames[i]);
		}
		total += burst;
		count_frames(0, 0);
	}
	assert_int_equal(far->reads, reads); // not one register
	assert_int_equal(stats().rx_frames, total);
	end();
}

static void full_ring(void **state)
{
	struct ingot_frame *frames[160];
	uint32_t held = 0, got;
	(void)state;
	start();
	for (uint32_t i = 0; i < 127; i++)
		assert_true(far_arrive(far, 0, 64, i, 0));
	assert_false(far_arrive(far, 0, 64, 200, 0));
	for (uint32_t next = 0; next < 127; next++) { // nothing accepted is lost
		assert_int_equal(net_rx(0, 0, frames, 1), 1);
		assert_int_equal(frames[0]->data[13], next);
		ingot_frame_put(frames[0]);
	}
	assert_int_equal(net_rx(0, 0, frames, 1), 0);
	assert_int_equal(stats().rx_dropped, 1);
	assert_in_range(far_waiting(far, RX_RINGS), 120, 127);
	for (uint32_t i = 0; i < 100; i++) // a program that keeps what it gets
		assert_true(far_arrive(far, 0, 64, i, 0));
	while ((got = net_rx(0, 0, frames + held, 64)))
		held += got;
	assert_int_equal(held, 32);
	ingot_frame_put(frames[--held]);
	assert_int_equal(net_rx(0, 0, frames + held, 64), 1);
	assert_int_equal(frames[held]->data[0], 32);
	assert_int_equal(net_rx(0, 0, frames, 0), 0);
	end();
}

// What is not a whole good frame never comes out, and the next one does.
static void odd_frames(void **state)
{
	static const uint32_t lengths[] = { 0, 1, 13, 1921, 2048, 16384, 0xFFFF };
	struct ingot_frame *frame;
	uint32_t wrong = 0, bad = 0;
	(void)state;
	start();
	for (uint32_t round = 0; round < 200; round++) {
		uint32_t at = *far_reg(far, RX_RINGS + RING_HEAD);
		assert_true(far_arrive(far, 0, 100, 7, 0));
		switch (round % 4) {
		case 0:
			far_report(far, far_ring(far, RX_RINGS, at), lengths[round / 4 % ARRAY_SIZE(lengths)], 3, 0);
			wrong++;
			break;
		case 1:
			far_report(far, far_ring(far, RX_RINGS, at), 100, 3, 1 << (uint32_t[]){ 0, 1, 2, 4, 7 }[round / 4 % 5]);
			bad++;
			break;
		case 2: // three descriptors, the last with an error or not
			far_report(far, far_ring(far, RX_RINGS, at), 1920, 1, 0);
			for (uint32_t i = 1; i <= 2; i++) {
				assert_true(far_arrive(far, 0, 100, 8, 0));
				far_report(far, far_ring(far, RX_RINGS, (at + i) & 127), 100, i == 2 ? 3 : 1, 0);
			}
			wrong++;
			break;
		case 3: // checksums are nothing to the driver
			far_report(far, far_ring(far, RX_RINGS, at), 100, 3, 0x60);
			assert_int_equal(net_rx(0, 0, &frame, 1), 1);
			ingot_frame_put(frame);
			break;
		}
		if (round & 8) {
			assert_int_equal(net_rx(0, 0, &frame, 1), 0);
			assert_int_equal(net_rx(0, 0, &frame, 1), 0);
		}
		assert_true(far_arrive(far, 0, 61, 9, 0));
		assert_int_equal(net_rx(0, 0, &frame, 1), 1);
		assert_int_equal(frame->length, 61);
		assert_int_equal(frame->data[60], 9);
		ingot_frame_put(frame);
		count_frames(0, 0);
	}
	assert_int_equal(stats().rx_dropped, wrong);
	assert_int_equal(stats().rx_errors, bad);
	for (uint32_t i = 0; i < 127; i++) { // a ring full of them
		uint32_t at = *far_reg(far, RX_RINGS + RING_HEAD);
		if (far_waiting(far, RX_RINGS) && far_arrive(far, 0, 100, 7, 0))
			far_report(far, far_ring(far, RX_RINGS, at), 100, 1, 0);
	}
	assert_int_equal(net_rx(0, 0, &frame, 1), 0);
	assert_true(far_waiting(far, RX_RINGS) >= 119); // the device has its descriptors again
	end();
}

// ---- Transmission --------------------------------------------------------------------------------------------

static void transmits(void **state)
{
	struct ingot_frame *frames[64];
	uint64_t total = 0;
	uint32_t len;
	bool report = false;
	(void)state;
	start();
	struct ingot_pool *pool = net_pool(0, 0);
	uint32_t reads = far->reads;
	for (uint32_t round = 0; round < 5000; round++) {
		uint32_t burst = round % 33;
		for (uint32_t i = 0; i < burst; i++) {
			frames[i] = ingot_frame_get(pool);
			memset(frames[i]->data, round + i, 60);
			frames[i]->length = 60 + i;
		}
		far->doorbells = 0;
		assert_int_equal(net_tx(0, 0, frames, burst), burst);
		assert_int_equal(far->doorbells, burst != 0);
		assert_int_equal(far_waiting(far, TX_RINGS), burst);
		for (uint32_t i = 0; i < burst; i++) {
			assert_ptr_equal(far_send(far, 0, &len, &report), frames[i]->data);
			assert_int_equal(len, 60 + i);
			assert_int_equal(report, i == burst - 1);
		}
		count_frames(0, 0);
		total += burst;
	}
	assert_int_equal(far->reads, reads);
	assert_int_equal(stats().tx_frames, total);
	end();
}

static void transmit_ring_full(void **state)
{
	struct ingot_frame *frames[400];
	uint32_t len;
	bool report;
	(void)state;
	start();
	assert_int_equal(net_open(0, 1, memory, sizeof(memory), 1024 + 640), E_OK);
	struct ingot_pool *pool = net_pool(0, 0);
	uint32_t total = pool->available;
	for (uint32_t i = 0; i < 300; i++) {
		frames[i] = ingot_frame_get(pool);
		frames[i]->length = 60;
	}
	assert_int_equal(net_tx(0, 0, frames, 300), 223);
	assert_int_equal(net_tx(0, 0, frames + 223, 77), 0); // 32 entries are left to b_net_tx
	for (uint32_t i = 0; i < 222; i++)
		far_send(far, 0, &len, &report);
	assert_int_equal(net_tx(0, 0, frames + 223, 77), 0); // its last one is not sent
	far_send(far, 0, &len, &report);
	assert_true(report);
	assert_int_equal(net_tx(0, 0, frames + 223, 77), 77);
	assert_int_equal(pool->available, total - 77);
	assert_int_equal(net_tx(0, 0, frames, 0xFFFFFFFF), 146);
	net_close(0); // all come back, sent or not
	count_frames(0, 0);
	end();
}

// Frames of two pools in one call: each goes back where it came from.
static void pools_mixed(void **state)
{
	struct ingot_frame *frames[32];
	struct ingot_pool other = { 0 };
	uint32_t len;
	bool report;
	(void)state;
	start();
	struct ingot_pool *pools[] = { net_pool(0, 0), &other };
	for (uint32_t i = 0; i < 32; i++) {
		struct ingot_frame *frame = (struct ingot_frame *)(memory + 2048 * i);
		frame->data = (uint8_t *)frame + NET_DATA;
		frame->phys = (uintptr_t)frame->data;
		frame->pool = &other;
		ingot_frame_put(frame);
	}
	for (uint32_t round = 0; round < 300; round++) {
		for (uint32_t i = 0; i < 20; i++) {
			frames[i] = ingot_frame_get(pools[(i * round >> 2) & 1]);
			frames[i]->length = 64;
		}
		assert_int_equal(net_tx(0, 0, frames, 20), 20);
		for (uint32_t i = 0; i < 20; i++)
			assert_ptr_equal(far_send(far, 0, &len, &report), frames[i]->data);
		count_frames(0, 0);
		assert_int_equal(pools[1]->available, 32);
	}
	end();
}

static void short_frames_are_padded(void **state)
{
	struct ingot_frame *frame;
	uint32_t len;
	bool report;
	(void)state;
	start();
	for (uint32_t size = 14; size < 64; size++) {
		frame = ingot_frame_get(net_pool(0, 0));
		memset(frame->data, 0xAA, 80);
		frame->length = size;
		assert_int_equal(net_tx(0, 0, &frame, 1), 1);
		const uint8_t *data = far_send(far, 0, &len, &report);
		assert_int_equal(len, size < 60 ? 60 : size);
		for (uint32_t i = 0; i < len; i++)
			assert_int_equal(data[i], i < size ? 0xAA : 0);
		assert_int_equal(data[60 > size ? 60 : size], 0xAA);
	}
	end();
}

static void register_calls(void **state)
{
	uint8_t data[1600] = { 1, 2, 3 };
	void *at;
	uint32_t len;
	bool report;
	(void)state;
	start();
	for (uint32_t i = 0; i < 1000; i++) {
		b_net_tx(data, 14 + i, 0);
		assert_memory_equal(far_send(far, 0, &len, &report), data, 3);
		assert_int_equal(len, i + 14 < 60 ? 60 : i + 14);
		assert_true(far_arrive(far, 0, 64, i, 0));
		assert_int_equal(b_net_rx(0, &at), 64);
		assert_int_equal(*(uint8_t *)at, (uint8_t)i);
		assert_int_equal(b_net_rx(0, &at), 0);
	}
	for (uint32_t i = 0; i < 40; i++) // nobody takes them: dropped after a while
		b_net_tx(data, 64, 0);
	assert_int_equal(far_waiting(far, TX_RINGS), 32);
	assert_int_equal(stats().tx_errors, 8);
	end();
}

static void arrive_plain(uint32_t len, uint8_t fill)
{
	assert_true(far_arrive(far, 0, len, fill, 0));
}

static void classic_and_bursts(void **state)
{
	(void)state;
	start();
	classic_mixed(arrive_plain);
	assert_int_equal(stats().rx_dropped, 0);
	end();
}

static uint8_t leave(void)
{
	uint32_t len;
	bool report;
	return *far_send(far, 0, &len, &report);
}

static void classic_and_a_slow_device(void **state)
{
	(void)state;
	start();
	classic_sends(leave);
	assert_int_equal(stats().tx_errors, 0);
	end();
}

// With all frames on their way out, reception takes back those that are sent.
static void pool_of_sent_frames(void **state)
{
	struct ingot_frame *frames[64];
	uint32_t have = 0, len;
	bool report;
	(void)state;
	start();
	while ((frames[have] = ingot_frame_get(net_pool(0, 0))))
		frames[have++]->length = 60;
	assert_int_equal(net_tx(0, 0, frames, 1), 1);
	assert_int_equal(net_tx(0, 0, frames + 1, have - 1), have - 1);
	assert_true(far_arrive(far, 0, 64, 9, 0));
	assert_int_equal(net_rx(0, 0, frames, 1), 0);
	far_send(far, 0, &len, &report);
	assert_int_equal(net_rx(0, 0, frames, 1), 1);
	assert_int_equal(frames[0]->data[0], 9);
	end(); // with work in flight
}

// ---- Control -------------------------------------------------------------------------------------------------

// Buffers: the device never writes more than there is room for, and the MTU says what fits.
static void buffer_sizes(void **state)
{
	static const struct {
		uint32_t frame_bytes, mtu, mtu_flexible;
	} rows[] = {
		{ 384, 238, 238 },
		{ 448, 238, 238 },
		{ 640, 494, 494 },
		{ 1152, 1006, 1006 },
		{ 1600, 1006, 1006 },
		{ 1664, 1500, 1500 },
		{ 2048, 1500, 1500 },
		{ 2176, 2030, 2030 },
		{ 4096, 2030, 3054 },
		{ 4224, 4078, 4078 },
		{ 9344, 8174, 9198 },
		{ 16384, 8174, 9198 },
		{ 16512, 9198, 9198 },
	};
	struct ingot_net_info info = { .size = sizeof(info) };
	struct ingot_frame *frame;
	static uint8_t large[70 * 16512] __attribute__((aligned(64)));
	(void)state;
	start();
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t room = rows[i].frame_bytes - 128, mtu = EXTENDED ? rows[i].mtu_flexible : rows[i].mtu;
		assert_int_equal(net_open(0, 1, large, sizeof(large), rows[i].frame_bytes), E_OK);
		net_info(0, &info);
		assert_int_equal(info.mtu, mtu);
		bool longer = *far_reg(far, RCTL) & RCTL_LPE;
		assert_true(longer || room < 2048);
		assert_true(far_buffer(far) <= room || (!longer && room >= 1522));
		assert_true(longer || mtu <= 1500);
		assert_true(far_arrive(far, 0, mtu + 18, i, 0));
		assert_int_equal(net_rx(0, 0, &frame, 1), 1);
		assert_int_equal(frame->length, mtu + 18);
		ingot_frame_put(frame);
		if (longer || mtu < 1500) { // longer than a buffer: nothing comes out
			uint64_t dropped = stats().rx_dropped;
			assert_true(far_arrive(far, 0, far_buffer(far) + 20, i, 0));
			assert_true(far_arrive(far, 0, 60, 3, 0));
			assert_int_equal(net_rx(0, 0, &frame, 1), 1);
			assert_int_equal(frame->length, 60);
			ingot_frame_put(frame);
			assert_int_equal(stats().rx_dropped, dropped + 1);
		}
		count_frames(0, 0);
	}
	assert_int_equal(net_open(0, 1, large, sizeof(large), 320), E_INVAL); // no buffer size that small
	assert_non_null(net_pool(0, 0));
	count_frames(0, 0);
	end();
}

static void promiscuous(void **state)
{
	(void)state;
	start();
	uint32_t rctl = *far_reg(far, RCTL);
	assert_int_equal(net_promiscuous(0, 1), E_OK);
	assert_int_equal(*far_reg(far, RCTL), rctl | RCTL_UPE);
	net_close(0); // stays
	assert_int_equal(*far_reg(far, RCTL), rctl | RCTL_UPE);
	assert_int_equal(net_promiscuous(0, 0), E_OK);
	assert_int_equal(*far_reg(far, RCTL), rctl);
	end();
}

static void counts(void **state)
{
	(void)state;
	start();
	for (uint32_t i = 1; i <= 2; i++) {
		*far_reg(far, MPC) = 5;
		*far_reg(far, ROC) = 2;
		*far_reg(far, CRCERRS) = 3;
		*far_reg(far, LATECOL) = 4;
		assert_int_equal(stats().rx_dropped, 7 * i); // the registers clear themselves
		assert_int_equal(stats().rx_errors, 3 * i);
		assert_int_equal(stats().tx_errors, 4 * i);
	}
	net_close(0);
	assert_int_equal(stats().rx_dropped, 14);
	end();
}

static void take_all(void *arg)
{
	struct ingot_frame *frame;
	while (net_rx(0, 0, &frame, 1)) {
		++*(uint32_t *)arg;
		ingot_frame_put(frame);
	}
}

static int live_vector(void)
{
	for (int vector = 0; vector < 256; vector++)
		if (fake_irqs[vector].handler)
			return vector;
	return -1;
}

static void callbacks(void **state)
{
	uint32_t frames = 0;
	(void)state;
	for (uint32_t msix = 0; msix <= EXTENDED; msix++) {
		plug();
		far->card.pci.msix = msix ? 0xA0 : 0;
		assert_int_equal(probe(), E_OK);
		frames = 0;
		assert_int_equal(*far_reg(far, IMS), 0);
		assert_int_equal(net_on_receive(0, take_all, &frames), E_OK);
		for (uint32_t i = 0; i < 300; i++) {
			assert_true(far_arrive(far, 0, 64, i, 0));
			assert_true(*far_reg(far, ICR) & *far_reg(far, IMS));
			fake_irq_fire(live_vector());
			assert_int_equal(frames, i + 1);
			assert_int_equal(*far_reg(far, ICR), 0);
			fake_irq_fire(live_vector()); // another device on the line
			assert_int_equal(frames, i + 1);
		}
		assert_int_equal(net_on_receive(0, take_all, &frames), E_OK); // again: one vector
		assert_int_equal(fake_irq_live(), 1);
		net_close(0); // ends it
		assert_int_equal(fake_irq_live(), 0);
		assert_int_equal(*far_reg(far, IMS), 0);
		far->card.refuse_irq = E_NOTSUP;
		assert_int_equal(net_on_receive(0, take_all, &frames), E_NOTSUP);
		assert_int_equal(*far_reg(far, IMS), 0);
		far->card.refuse_irq = 0;
		assert_int_equal(net_on_receive(0, take_all, &frames), E_OK);
		end(); // with the interrupt on
	}
}

// A device that dies under a program: its frames come back, nothing hangs.
static void dies(void **state)
{
	struct ingot_frame *frame;
	uint8_t data[64] = { 0 };
	(void)state;
	start();
	far->stuck = true;
	net_close(0);
	assert_false(far->card.enabled);
	count_frames(0, 0);
	assert_int_equal(net_rx(0, 0, &frame, 1), 0);
	for (uint32_t i = 0; i < 40; i++)
		net_classic_tx(data, 64, 0);
	far->stuck = false;
	end();
}

// Fiber: the MAC negotiates; without a partner that does the link is forced, when its time has passed.
static void fiber(void **state)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	plug();
	far->card.pci.dev.device = EXTENDED ? 0x105F : 0x1011;
	uint64_t before = fake_now_ns;
	assert_int_equal(probe(), E_OK);
	assert_true(fake_now_ns - before < 200000000); // nobody waits for the link
	assert_int_equal(*far_reg(far, TXCW), TXCW_ANE | TXCW_FD);
	*far_reg(far, STATUS) &= ~STATUS_LU;
	net_info(0, &info);
	assert_int_equal(info.link, 0);
	assert_int_equal(*far_reg(far, TXCW), TXCW_ANE | TXCW_FD);
	fake_now_ns += 600000000;
	net_info(0, &info);
	assert_int_equal(*far_reg(far, TXCW), TXCW_FD);
	*far_reg(far, RXCW) = RXCW_C;
	fake_now_ns += 600000000;
	net_info(0, &info);
	assert_int_equal(*far_reg(far, TXCW), TXCW_ANE | TXCW_FD);
	end();
}

#if EXTENDED
static void queues(void **state)
{
	struct ingot_frame *frame;
	uint32_t len;
	bool report;
	(void)state;
	fake_cores = 4;
	start();
	assert_int_equal(*far_reg(far, MRQC), 0);
	assert_int_equal(net_open(0, 3, memory, sizeof(memory), 2048), E_INVAL);
	assert_int_equal(net_open(0, 2, memory, sizeof(memory), 2048), E_OK);
	assert_int_equal(*far_reg(far, MRQC) & 3, 1);
	assert_true(*far_reg(far, RXCSUM) & RXCSUM_PCSD);
	assert_true(*far_reg(far, RFCTL) & RFCTL_EXSTEN);
	assert_int_equal(*far_reg(far, RETA + 124), 0x80008000);
	assert_int_not_equal(*far_reg(far, RSSRK + 36), 0);
	for (uint32_t i = 0; i < 2; i++) {
		assert_true(far_arrive(far, i, 80, 40 + i, 0));
		assert_int_equal(net_rx(0, i, &frame, 1), 1);
		assert_int_equal(frame->data[3], 40 + i);
		assert_int_equal(net_tx(0, i, &frame, 1), 1); // straight out again
		assert_ptr_equal(far_send(far, i, &len, &report), frame->data);
		count_frames(i, 0);
	}
	net_close(0);
	assert_int_equal(*far_reg(far, MRQC), 0);
	end();
	plug();
	far->card.pci.dev.device = 0x150C; // 82583: one queue
	assert_int_equal(probe(), E_OK);
	assert_int_equal(net_open(0, 2, memory, sizeof(memory), 2048), E_INVAL);
	end();
}
#else
// Table 5-1 of the manual: each is driven.
static void listed_devices(void **state)
{
	static const uint16_t listed[] = { 0x100E, 0x100F, 0x1010, 0x1011, 0x1012, 0x1013, 0x1015, 0x1016, 0x1017, 0x1018,
		0x1019, 0x101A, 0x101D, 0x1026, 0x1027, 0x1028, 0x1076, 0x1077, 0x1078, 0x1079, 0x107A, 0x107B, 0x1107,
		0x1112 };
	(void)state;
	drv = fake_driver("pci", DRIVER);
	for (uint32_t i = 0; i < ARRAY_SIZE(listed); i++)
		assert_int_equal(row(listed[i])->vendor, 0x8086);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(probes),
		FAKE_TEST(address_from_the_eeprom),
		FAKE_TEST(probe_fails_cleanly),
		FAKE_TEST(several),
		FAKE_TEST(receives),
		FAKE_TEST(full_ring),
		FAKE_TEST(odd_frames),
		FAKE_TEST(transmits),
		FAKE_TEST(transmit_ring_full),
		FAKE_TEST(pools_mixed),
		FAKE_TEST(short_frames_are_padded),
		FAKE_TEST(register_calls),
		FAKE_TEST(classic_and_bursts),
		FAKE_TEST(classic_and_a_slow_device),
		FAKE_TEST(pool_of_sent_frames),
		FAKE_TEST(buffer_sizes),
		FAKE_TEST(promiscuous),
		FAKE_TEST(counts),
		FAKE_TEST(callbacks),
		FAKE_TEST(dies),
		FAKE_TEST(fiber),
#if EXTENDED
		FAKE_TEST(queues),
#else
		FAKE_TEST(listed_devices),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
