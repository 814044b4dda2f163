// virtio-blk and the class of drives above it, against a device that keeps its rings (virtio_device.h) and a drive of
// memory behind them.
#include "../bus/virtio_device.h"
#include <program.h>

#define BIT(n) (1ul << (n))
#define EVENT BIT(VIRTIO_F_EVENT_IDX)
#define INDIRECT BIT(VIRTIO_F_INDIRECT_DESC)
#define FULL (EVENT | INDIRECT | BIT(1) | BIT(2) | BIT(6) | BIT(9) | BIT(12) | BIT(13))
#define DRIVE_BYTES (4 << 20)

static const struct driver *drv;
static struct far *far;
static uint8_t drive[DRIVE_BYTES], data[DRIVE_BYTES] __attribute__((aligned(4096)));
static uint8_t answer; // status of every request, 0xFF: writes none
static uint32_t requests, last_type, pieces, flushed, discarded;
static bool asleep;      // nothing is done at notifications
static uint32_t shuffle; // completions come in another order

// Does one request; returns its number.
static uint32_t serve(struct far_queue *q)
{
	uint32_t id = far_take(q), next = 0, bytes = 0;
	const struct virtq_desc *table = far_desc(q, 0), *desc = far_desc(q, id);
	if (desc->flags & VIRTQ_DESC_INDIRECT) {
		assert_true(far->accepted & INDIRECT && desc->flags == VIRTQ_DESC_INDIRECT && desc->len % 16 == 0);
		table = (const struct virtq_desc *)desc->phys;
		desc = table;
	}
	const uint32_t *header = (const uint32_t *)desc->phys;
	uint64_t at = *(const uint64_t *)(header + 2) * 512;
	assert_int_equal(desc->len, 16);
	assert_int_equal(header[1], 0);
	last_type = header[0];
	requests++;
	for (pieces = 0; next = desc->next, desc->flags & VIRTQ_DESC_NEXT; pieces++) {
		desc = &table[next];
		if (!(desc->flags & VIRTQ_DESC_NEXT))
			break;
		assert_int_equal(desc->flags & VIRTQ_DESC_WRITE, last_type == 0 ? VIRTQ_DESC_WRITE : 0);
		if (last_type <= 1)
			assert_true(at + desc->len <= DRIVE_BYTES);
		if (last_type == 0)
			memcpy((void *)desc->phys, drive + at, desc->len);
		else if (last_type == 1)
			memcpy(drive + at, (const void *)desc->phys, desc->len);
		else if (last_type == 11 && *(uint32_t *)(far->config + 36))
			assert_in_range(((const uint32_t *)desc->phys)[2], 1, *(uint32_t *)(far->config + 36));
		if (last_type == 11)
			memset(drive + *(const uint64_t *)desc->phys * 512, 0, ((const uint32_t *)desc->phys)[2] * 512);
		at += desc->len;
		bytes += desc->len;
	}
	flushed += last_type == 4;
	discarded += last_type == 11;
	assert_true(desc->flags == VIRTQ_DESC_WRITE && desc->len == 1);
	if (answer != 0xFF)
		*(uint8_t *)desc->phys = answer;
	return id;
}

static void work(struct far *dev, uint32_t index)
{
	struct far_queue *q = &dev->queue[index];
	uint32_t ids[256], count = 0;
	while (!asleep && far_waiting(q))
		ids[count++] = serve(q);
	for (uint32_t i = 0; i < count; i++)
		far_give(q, ids[shuffle && count % shuffle ? i * shuffle % count : i], 1);
	if (!asleep)
		far_event(q, q->taken);
}

static void plug(uint64_t features, uint32_t block)
{
	drv = fake_driver("virtio", "virtio-blk");
	far = far_new(true, 2, features);
	far->on_notify = work;
	far->vdev.id.driver = drv;
	*(uint64_t *)far->config = DRIVE_BYTES / 512;
	*(uint32_t *)(far->config + 8) = 0x10000; // SIZE_MAX
	*(uint32_t *)(far->config + 12) = 4;      // SEG_MAX
	*(uint32_t *)(far->config + 20) = block;
	*(uint16_t *)(far->config + 34) = 4; // queues
	answer = 0;
	asleep = false;
	shuffle = requests = flushed = discarded = 0;
	for (uint32_t i = 0; i < DRIVE_BYTES; i++)
		drive[i] = i * 13 + (i >> 9) + (i >> 17);
	memset(data, 0xEE, sizeof(data));
}

static void start(uint64_t features, uint32_t block)
{
	plug(features, block);
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_OK);
}

static void end(void)
{
	drv->remove(&far->vdev.id);
	assert_int_equal(far->status, 0);
}

static struct ingot_blk_info info(void)
{
	struct ingot_blk_info now = { .size = sizeof(now) };
	assert_int_equal(blk_info(0, &now), E_OK);
	return now;
}

// ---- The device ----------------------------------------------------------------------------------------------

static void probes(void **state)
{
	const char *identity = "x";
	(void)state;
	fake_cores = 3;
	start(FULL, 4096);
	struct ingot_blk_info now = info();
	assert_int_equal(now.blocks, DRIVE_BYTES / 4096);
	assert_int_equal(now.block_bytes, 4096);
	assert_int_equal(now.queues, 3);
	assert_int_equal(now.depth, 128);
	assert_int_equal(now.max_blocks, 4 * 0x10000 / 4096);
	assert_int_equal(now.features, INGOT_BLK_FLUSH | INGOT_BLK_DISCARD);
	assert_string_equal(now.name, "disk0");
	assert_string_equal(now.driver, "virtio-blk");
	assert_int_equal(blk_classic_kind(0, &identity), BLK_VIRTIO);
	assert_null(identity);
	assert_int_equal(blk_classic_kind(1, &identity), 0);
	assert_int_equal(blk_info(1, &now), E_NODEV);
	end();
	assert_int_equal(blk_count(), 0);
	start(BIT(5), 0); // read-only, plain
	now = info();
	assert_int_equal(now.block_bytes, 512);
	assert_int_equal(now.depth, 16);
	assert_int_equal(now.features, INGOT_BLK_READONLY);
	assert_int_equal(now.max_blocks, 16384);
	assert_true(fake_logged("disk0 4 MiB, 512-byte blocks, read-only"));
	end();
}

static void odd_configurations(void **state)
{
	static const uint32_t blocks[][2] = { { 0, 512 }, { 1, 512 }, { 513, 1024 }, { 4096, 4096 }, { 0xFFFFFFFF, 4096 } };
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		start(FULL, blocks[i][0]);
		assert_int_equal(info().block_bytes, blocks[i][1]);
		end();
	}
	plug(FULL, 512);
	memset(far->config + 8, 0, 8); // no bytes, no segments
	*(uint16_t *)(far->config + 34) = 0;
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_OK);
	assert_int_equal(info().max_blocks, 1);
	assert_int_equal(info().queues, 1);
	assert_int_equal(blk_classic_nvs(INGOT_READ, 3, 5, data, 0), 5);
	assert_memory_equal(data, drive + 3 * 4096, 5 * 4096);
	end();
}

static void probe_fails_cleanly(void **state)
{
	(void)state;
	fake_cores = 2;
	start(FULL, 512);
	uint32_t allocations = fake_alloc_count;
	end();
	for (uint32_t i = 1; i <= allocations; i++) {
		plug(FULL, 512);
		fake_alloc_fail_at = fake_alloc_count + i;
		assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_NOMEM);
		assert_int_equal(fake_alloc_live, 0);
		assert_int_equal(far->status, i == 1 ? 0x0F : 0);
		assert_int_equal(blk_count(), 0);
	}
	plug(FULL, 512);
	far->stuck = true;
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_TIMEOUT);
	plug(FULL, 512);
	far->queue[1].max = 0;
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_NODEV);
}

// ---- Requests ------------------------------------------------------------------------------------------------

static int submit(uint32_t queue, uint32_t op, uint64_t block, uint32_t count, void *to, uint64_t tag)
{
	const struct ingot_blk_req req = { block, count, op, to, tag };
	return blk_submit(0, queue, &req);
}

static void checks(void **state)
{
	(void)state;
	start(FULL & ~BIT(1), 512);
	const uint64_t blocks = info().blocks;
	assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 0), E_NODEV);
	assert_int_equal(submit(0, 4, 0, 1, data, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, 0, 0, data, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, 0, info().max_blocks + 1, data, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, blocks, 1, data, 0), E_RANGE);
	assert_int_equal(submit(0, INGOT_READ, blocks - 1, 2, data, 0), E_RANGE);
	assert_int_equal(submit(0, INGOT_WRITE, UINT64_MAX, 2, data, 0), E_RANGE);
	assert_int_equal(submit(0, INGOT_DISCARD, blocks, 1, NULL, 0), E_RANGE);
	assert_int_equal(requests, 0);
	end();
	start(BIT(5), 512);
	assert_int_equal(submit(0, INGOT_WRITE, 0, 1, data, 0), E_RDONLY);
	assert_int_equal(submit(0, INGOT_DISCARD, 0, 1, data, 0), E_RDONLY);
	assert_int_equal(submit(0, INGOT_FLUSH, 0, 0, NULL, 0), E_NOTSUP);
	assert_int_equal(blk_classic_nvs(INGOT_WRITE, 0, 1, data, 0), 0);
	assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 1, data, 0), 1);
	end();
	const struct ingot_blk_req req = { 0, 1, INGOT_READ, data, 0 };
	assert_int_equal(blk_submit(0, 0, &req), E_NODEV);
	assert_int_equal(blk_run(0, &req), E_NODEV);
	assert_int_equal(blk_poll(0, 0, NULL, 0), 0);
}

// Bursts at full depth, completions in any order, many times round the rings.
static void deep(uint64_t features, uint32_t depth)
{
	struct ingot_blk_done done[200];
	static bool seen[128];
	start(features, 512);
	struct far_queue *q = &far->queue[0];
	shuffle = 7;
	for (uint32_t round = 0; round < 1200; round++) {
		uint32_t burst = 1 + round % depth, got = 0, bells = q->notified;
		for (uint32_t i = 0; i < burst; i++)
			assert_int_equal(submit(0, INGOT_READ, (round + i * 3) % 8000, 2, data + i * 1024, i), E_OK);
		assert_int_equal(q->notified, bells);
		memset(seen, 0, sizeof(seen));
		while (got < burst) {
			uint32_t more = blk_poll(0, 0, done, 33);
			assert_true(more && more <= 33);
			for (uint32_t i = 0; i < more; i++) {
				assert_int_equal(done[i].status, E_OK);
				assert_false(seen[done[i].tag]);
				seen[done[i].tag] = true;
			}
			got += more;
		}
		assert_int_equal(q->notified, bells + 1); // one doorbell
		for (uint32_t i = 0; i < burst; i++)
			assert_memory_equal(data + i * 1024, drive + (round + i * 3) % 8000 * 512, 1024);
		assert_int_equal(blk_poll(0, 0, done, 200), 0);
	}
	asleep = true;
	for (uint32_t i = 0; i < depth; i++)
		assert_int_equal(submit(0, INGOT_READ, i, 1, data, i), E_OK);
	assert_int_equal(submit(0, INGOT_READ, 0, 1, data, 0), E_AGAIN);
	assert_int_equal(far_waiting(q), depth); // has been told
	end();                                   // with work in flight
}

static void deep_indirect(void **state)
{
	(void)state;
	deep(FULL, 128);
}

static void deep_direct(void **state)
{
	(void)state;
	deep(FULL & ~INDIRECT, 16);
}

static void operations(void **state)
{
	struct ingot_blk_req req = { .op = INGOT_FLUSH, .block = 99, .count = 7 };
	(void)state;
	start(FULL, 4096);
	assert_int_equal(blk_run(0, &req), E_OK);
	assert_int_equal(flushed, 1);
	assert_int_equal(pieces, 0);
	req = (struct ingot_blk_req){ .op = INGOT_DISCARD, .block = 3, .count = 600 }; // more than max_blocks
	assert_int_equal(blk_run(0, &req), E_OK);
	assert_int_equal(discarded, 1);
	assert_int_equal(drive[3 * 4096], 0);
	assert_int_equal(drive[603 * 4096 - 1], 0);
	assert_int_equal(drive[3 * 4096 - 1], (uint8_t)((3 * 4096 - 1) * 13 + ((3 * 4096 - 1) >> 9)));
	req = (struct ingot_blk_req){ .op = INGOT_WRITE, .block = 1, .count = 2, .data = data };
	assert_int_equal(blk_run(0, &req), E_OK);
	assert_int_equal(drive[3 * 4096 - 1], 0xEE);
	req.op = 9;
	assert_int_equal(blk_run(0, &req), E_INVAL);
	req = (struct ingot_blk_req){ .op = INGOT_READ, .block = 1, .count = 0, .data = data };
	assert_int_equal(blk_run(0, &req), E_INVAL);
	req = (struct ingot_blk_req){ .op = INGOT_DISCARD, .block = 1, .count = 5000 };
	assert_int_equal(blk_run(0, &req), E_RANGE);
	end();
}

// A device takes only so much at once.
static void discard_limit(void **state)
{
	struct ingot_blk_req req = { .op = INGOT_DISCARD, .block = 3, .count = 600 };
	(void)state;
	plug(FULL, 4096);
	*(uint32_t *)(far->config + 36) = 1000; // sectors
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_OK);
	assert_int_equal(submit(0, INGOT_DISCARD, 3, 126, NULL, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_DISCARD, 3, 125, NULL, 0), E_OK);
	struct ingot_blk_done done;
	assert_int_equal(blk_poll(0, 0, &done, 1), 1);
	assert_int_equal(blk_run(0, &req), E_OK);
	for (uint32_t i = 3 * 4096; i < 603 * 4096; i++)
		assert_int_equal(drive[i], 0);
	assert_int_equal(drive[603 * 4096], (uint8_t)(603 * 4096 * 13 + (603 * 4096 >> 9) + (603 * 4096 >> 17)));
	end();
}

static void errors(void **state)
{
	struct ingot_blk_req req = { .op = INGOT_READ, .count = 1, .data = data };
	(void)state;
	start(FULL, 512);
	answer = 1;
	assert_int_equal(blk_run(0, &req), E_IO);
	assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 100, data, 0), 0);
	answer = 2;
	assert_int_equal(blk_run(0, &req), E_NOTSUP);
	answer = 99;
	assert_int_equal(blk_run(0, &req), E_IO);
	answer = 0;
	assert_int_equal(blk_run(0, &req), E_OK);
	end();
}

static void hostile_completions(void **state)
{
	struct ingot_blk_done done[8];
	(void)state;
	start(FULL, 512);
	struct far_queue *q = &far->queue[0];
	asleep = true;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(submit(0, INGOT_READ, i, 1, data, i), E_OK);
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	uint32_t first = serve(q), second = serve(q);
	far_give(q, first, 1);
	far_give(q, first, 1);
	assert_int_equal(blk_poll(0, 0, done, 8), 1);
	assert_int_equal(done[0].tag, 0);
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	q->given--;
	far_give(q, 0xFFFFFFFF, 1);
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	FAR_USED(q)[1] = q->given + 100; // more than there are
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	q->given--;
	far_give(q, second, 1);
	assert_int_equal(blk_poll(0, 0, done, 8), 1);
	assert_int_equal(done[0].tag, 1);
	end();
}

// ---- The register interface ----------------------------------------------------------------------------------

static void sectors(void **state)
{
	static const uint32_t sizes[] = { 512, 1024, 4096 };
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (uint32_t pages = 0; pages < 2; pages++) {
			start(FULL, sizes[i]);
			fake_mem_pages = pages;
			assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 1024, data, 0), 1024); // all of it
			assert_memory_equal(data, drive, DRIVE_BYTES);
			assert_int_equal(requests, pages ? 1024 / 4 : 1024 / 64); // as many pieces as fit
			memset(data, 0x77, 20 * 4096);
			assert_int_equal(blk_classic_nvs(INGOT_WRITE, 1004, 20, data + 3, 0), 20); // any address
			assert_int_equal(drive[1004 * 4096], 0x77);
			assert_int_equal(drive[1024 * 4096 - 1], data[3 + 20 * 4096 - 1]);
			requests = 0;
			assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 0, data, 0), 0);
			assert_int_equal(blk_classic_nvs(INGOT_READ, 1024, 1, data, 0), 0);
			assert_int_equal(blk_classic_nvs(INGOT_READ, 1000, 25, data, 0), 0);
			assert_int_equal(blk_classic_nvs(INGOT_READ, UINT64_MAX, 2, data, 0), 0);
			assert_int_equal(blk_classic_nvs(INGOT_READ, 5, UINT64_MAX, data, 0), 0);
			assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 1, data, 1), 0);
			assert_int_equal(requests, 0);
			end();
		}
	}
	plug(FULL, 512);
	*(uint64_t *)far->config = 8 * 5 + 7; // the last seven blocks make no sector
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_OK);
	assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 5, data, 0), 5);
	assert_int_equal(blk_classic_nvs(INGOT_READ, 5, 1, data, 0), 0);
	end();
}

static uint64_t hole(const void *ptr, size_t len, size_t *run)
{
	*run = ptr == data + 8192 ? 0 : len > 4096 ? 4096 : len;
	return (uintptr_t)ptr;
}

static void memory_that_is_not_there(void **state)
{
	(void)state;
	start(FULL, 512);
	fake_mem_phys = hole;
	assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 8, data, 0), 0);
	assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 2, data, 0), 2);
	end();
}

static void device_that_hangs(void **state)
{
	struct ingot_blk_done done[8];
	struct ingot_blk_req req = { .op = INGOT_READ, .count = 1, .data = data };
	(void)state;
	fake_cores = 2;
	start(FULL, 512);
	asleep = true;
	assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 55), E_OK);
	assert_int_equal(blk_run(0, &req), E_TIMEOUT);
	assert_true(fake_logged("disk0: time-out\n"));
	assert_int_equal(far->status, 0);            // all memory is ours again
	assert_int_equal(blk_run(0, &req), E_AGAIN); // but for what the other core hasn't taken back
	assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 56), E_AGAIN);
	assert_int_equal(blk_poll(0, 1, done, 8), 1);
	assert_int_equal(done[0].tag, 55);
	assert_int_equal(done[0].status, E_TIMEOUT);
	assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 56), E_AGAIN);
	assert_int_equal(far->status, 0);
	assert_int_equal(blk_run(0, &req), E_TIMEOUT); // started anew, and still hanging
	uint32_t live = fake_alloc_live;
	asleep = false;
	for (uint32_t i = 0; i < 300; i++) {
		req.block = i;
		assert_int_equal(blk_run(0, &req), E_OK);
		assert_memory_equal(data, drive + i * 512, 512);
		assert_int_equal(submit(1, INGOT_READ, i, 1, data, i), E_OK);
		assert_int_equal(blk_poll(0, 1, done, 8), 1);
		assert_true(done[0].tag == i && done[0].status == E_OK);
	}
	assert_int_equal(fake_alloc_live, live);
	asleep = true;
	assert_int_equal(blk_run(0, &req), E_TIMEOUT);
	far->stuck = true; // it doesn't come back
	assert_int_equal(blk_run(0, &req), E_TIMEOUT);
	assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 8, data, 0), 0);
	far->stuck = false;
	end();
}

// A core that has queue 1 asks while queue 0's owner starts the device anew: not before it is ready.
static bool beside;

static void another_core(struct fake_mmio *regs, uint64_t offset, uint32_t width, uint64_t value)
{
	far_write(regs, offset, width, value);
	if (!beside || !far->queue[0].ready || far->status == 15)
		return;
	struct ingot_blk_done done;
	beside = false; // once at a time
	assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 7), E_AGAIN);
	assert_int_equal(blk_poll(0, 1, &done, 1), 0);
	beside = true;
}

static void restart_beside_others(void **state)
{
	struct ingot_blk_req req = { .op = INGOT_READ, .count = 1, .data = data };
	(void)state;
	fake_cores = 3; // queue 2 is set up behind it
	start(FULL, 512);
	far->regs.write = another_core;
	asleep = true;
	assert_int_equal(blk_run(0, &req), E_TIMEOUT);
	asleep = false;
	beside = true;
	assert_int_equal(blk_run(0, &req), E_OK);
	beside = false;
	assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 8), E_OK);
	end();
}

// A ring in which no chain has room.
static void shallow(void **state)
{
	(void)state;
	plug(FULL & ~INDIRECT, 512);
	far->queue[0].max = 4;
	assert_int_equal(drv->probe(&far->vdev.id, drv->ids), E_NOTSUP);
	assert_int_equal(far->status, 0);
}

// The device has asked for a doorbell when it was too late for that, and both wait: it is rung again, now and then.
static void lost_doorbell(void **state)
{
	struct ingot_blk_done done[8];
	(void)state;
	start(FULL, 512);
	struct far_queue *q = &far->queue[0];
	asleep = true;
	far_event(q, 0xFF00);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(submit(0, INGOT_READ, i, 1, data, i), E_OK);
	for (uint32_t i = 0; i < 20000; i++)
		assert_int_equal(blk_poll(0, 0, done, 8), 0);
	assert_int_equal(q->notified, 0); // it is at work
	far_event(q, 3);
	asleep = false;
	for (uint32_t i = 0; i < 20000 && far_waiting(q); i++)
		blk_poll(0, 0, done, 0);
	assert_int_equal(q->notified, 1); // once is enough
	assert_int_equal(blk_poll(0, 0, done, 8), 5);
	uint32_t before = q->notified;
	far_event(q, 4);
	for (uint32_t i = 0; i < 20000; i++)
		assert_int_equal(blk_poll(0, 0, done, 8), 0);
	assert_int_equal(q->notified, before); // nothing is asked of it
	end();
}

// ---- A drive that wants aligned data -------------------------------------------------------------------------

static struct ingot_blk_done plain_done[64];
static uint32_t plain_count;

static int plain_submit(void *queue, const struct ingot_blk_req *req)
{
	assert_ptr_equal(queue, drive);
	assert_int_equal((uintptr_t)req->data & 3, 0);
	if (plain_count == 4)
		return E_AGAIN;
	if (req->op == INGOT_WRITE)
		memcpy(drive + req->block * 512, req->data, req->count * 512);
	else
		memcpy(req->data, drive + req->block * 512, req->count * 512);
	plain_done[plain_count].tag = req->tag;
	plain_done[plain_count++].status = answer;
	return E_OK;
}

static uint32_t plain_poll(void *queue, struct ingot_blk_done *done, uint32_t max)
{
	uint32_t count = plain_count < max ? plain_count : max;
	(void)queue;
	memcpy(done, plain_done, count * sizeof(*done));
	plain_count -= count;
	return count;
}

static void aligned_only(void **state)
{
	static const struct driver plain = { .name = "plain" };
	struct device dev = { .name = "plain", .driver = &plain };
	struct blk_dev blk = { .submit = plain_submit, .poll = plain_poll, .dev = &dev, .queue = { drive } };
	(void)state;
	blk.info.blocks = DRIVE_BYTES / 512;
	blk.info.block_bytes = 512;
	blk.info.max_blocks = 16;
	blk.info.queues = 1;
	blk.info.align = 4;
	answer = 0;
	fake_alloc_fail_at = 1;
	assert_int_equal(blk_register(&blk), E_NOMEM);
	assert_int_equal(blk_register(&blk), E_OK);
	for (uint32_t i = 0; i < DRIVE_BYTES; i++)
		drive[i] = i * 3 + (i >> 8);
	for (uint32_t offset = 0; offset < 5; offset++) {
		memset(data, 0, 40 * 4096);
		assert_int_equal(blk_classic_nvs(INGOT_READ, 7, 33, data + offset, 0), 33);
		assert_memory_equal(data + offset, drive + 7 * 4096, 33 * 4096);
		assert_int_equal(data[offset + 33 * 4096], 0);
		memset(data, 0x40 + offset, 40 * 4096);
		assert_int_equal(blk_classic_nvs(INGOT_WRITE, 100, 33, data + offset, 0), 33);
		assert_memory_equal(data + offset, drive + 100 * 4096, 33 * 4096);
		assert_int_not_equal(drive[133 * 4096], 0x40 + offset);
	}
	assert_int_equal(submit(0, INGOT_READ, 0, 1, data + 2, 0), E_INVAL);
	answer = (uint8_t)E_IO;
	assert_int_equal(blk_classic_nvs(INGOT_READ, 7, 33, data + 1, 0), 0);
	blk_unregister(&blk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(probes),
		FAKE_TEST(odd_configurations),
		FAKE_TEST(probe_fails_cleanly),
		FAKE_TEST(checks),
		FAKE_TEST(deep_indirect),
		FAKE_TEST(deep_direct),
		FAKE_TEST(operations),
		FAKE_TEST(discard_limit),
		FAKE_TEST(errors),
		FAKE_TEST(hostile_completions),
		FAKE_TEST(sectors),
		FAKE_TEST(memory_that_is_not_there),
		FAKE_TEST(device_that_hangs),
		FAKE_TEST(restart_beside_others),
		FAKE_TEST(shallow),
		FAKE_TEST(lost_doorbell),
		FAKE_TEST(aligned_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
