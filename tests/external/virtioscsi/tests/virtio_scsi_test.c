// The driver and the class of drives above it, against a controller that keeps its rings (virtio_device.h) and a few
// units of memory behind it: strict about the order of a request's pieces and about each command's bytes.
#include <bus/virtio_device.h>
#include "../virtio_scsi.c"

#define BIT(n) (1ul << (n))
#define FULL (BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_INDIRECT_DESC))
#define UNIT_BYTES (1 << 20)
#define PIECES_MOST 12

struct unit {
	uint8_t target;
	uint16_t lun;
	uint8_t type, flags; // of INQUIRY; of a capacity
	uint32_t block;
	bool readonly;
	uint32_t attention; // how many commands it still answers with what has happened to it
	uint8_t *data;
	uint32_t flushed;
};

// How the device answers a read, write, flush or discard, if not well.
struct answer {
	uint8_t status, response, format, key;
	uint32_t residual;
};

static uint8_t disks[3][UNIT_BYTES], data[UNIT_BYTES] __attribute__((aligned(4096)));
static struct unit units[5];
static uint32_t unit_count;
static struct far *far;
static struct answer answer;
static bool asleep, backwards, mute; // does nothing; answers the last one first; uses requests, writes nothing
static uint32_t requests;

static struct unit *unit_at(uint32_t target, uint32_t lun)
{
	for (uint32_t i = 0; i < unit_count; i++)
		if (units[i].target == target && (lun == ~0u || units[i].lun == lun))
			return &units[i];
	return NULL;
}

// Copies between the pieces of a request and memory.
struct transfer {
	const struct virtq_desc *piece[PIECES_MOST];
	uint32_t pieces;
	uint64_t bytes;
};

static void transfer(const struct transfer *list, void *memory, bool in)
{
	uint8_t *at = memory;
	for (uint32_t i = 0; i < list->pieces; at += list->piece[i++]->len) {
		if (in)
			memcpy((void *)list->piece[i]->phys, at, list->piece[i]->len);
		else
			memcpy(at, (void *)list->piece[i]->phys, list->piece[i]->len);
	}
}

static void sense(struct scsi_response *response, uint8_t format, uint8_t key)
{
	response->status = STATUS_CHECK_CONDITION;
	response->sense[0] = format;
	response->sense[(format & 0x7F) < SENSE_DESCRIPTOR ? 2 : 1] = key;
	response->sense_bytes = 18;
}

// What a target says about its units.
static void report(const struct transfer *in, struct scsi_response *response, uint32_t target)
{
	uint8_t list[512] = { 0 };
	uint32_t count = 1; // number 0 is always listed
	for (uint32_t i = 0; i < unit_count; i++)
		if (units[i].target == target && units[i].lun) {
			list[8 + 8 * count] = units[i].lun >> 8 | LUN_FLAT;
			list[9 + 8 * count++] = units[i].lun;
		}
	put32(list, count * 8);
	transfer(in, list, true);
	response->residual = in->bytes - 8 - 8 * count;
}

static void inquiry(const struct transfer *in, const struct unit *unit)
{
	uint8_t text[256] = { unit ? unit->type : 0x7F, 0, 6 };
	assert_int_equal(in->bytes, INQUIRY_BYTES);
	transfer(in, text, true);
}

static void capacity(const struct transfer *in, const struct unit *unit)
{
	uint8_t text[256] = { 0 };
	assert_int_equal(in->bytes, CAPACITY_BYTES);
	put64(text, UNIT_BYTES / (unit->block ? unit->block : 512) - 1);
	put32(text + 8, unit->block);
	text[14] = unit->flags;
	transfer(in, text, true);
}

static void move(const struct transfer *in, const struct transfer *out, const uint8_t *cdb, struct unit *unit)
{
	uint64_t block = (uint64_t)get32(cdb + 2) << 32 | get32(cdb + 6), bytes = (uint64_t)get32(cdb + 10) * unit->block;
	assert_true(block * unit->block + bytes <= UNIT_BYTES && bytes);
	assert_int_equal(cdb[1] | cdb[14] | cdb[15], 0);
	assert_int_equal(in->bytes, cdb[0] == READ ? bytes : 0);
	assert_int_equal(out->bytes, cdb[0] == READ ? 0 : bytes);
	transfer(cdb[0] == READ ? in : out, unit->data + block * unit->block, cdb[0] == READ);
}

static void unmap(const struct transfer *out, const uint8_t *cdb, struct unit *unit)
{
	static const uint8_t bytes[16] = { UNMAP, [8] = UNMAP_BYTES };
	uint8_t list[UNMAP_BYTES];
	assert_memory_equal(cdb, bytes, 16);
	assert_int_equal(out->bytes, UNMAP_BYTES);
	transfer(out, list, false);
	assert_int_equal(get32(list), (UNMAP_BYTES - 2) << 16 | (UNMAP_BYTES - 8));
	assert_int_equal(get32(list + 4) | get32(list + 20) | get32(list + 8), 0);
	memset(unit->data + get32(list + 12) * unit->block, 0, get32(list + 16) * unit->block);
}

static void execute(const struct scsi_request *request, const struct transfer *out, struct scsi_response *response,
	const struct transfer *in)
{
	static const uint8_t flush[16] = { SYNCHRONIZE_CACHE };
	const uint8_t *cdb = request->cdb;
	uint32_t lun = (request->lun[2] << 8 | request->lun[3]) & 0x3FFF;
	struct unit *unit = unit_at(request->lun[1], lun);
	assert_int_equal(request->lun[0], LUN_FIRST);
	assert_int_equal(request->lun[2] & LUN_METHOD, LUN_FLAT);
	memset(response, 0, sizeof(*response));
	requests++;
	if (!unit_at(request->lun[1], ~0u)) {
		response->response = RESPONSE_BAD_TARGET;
		return;
	}
	if (cdb[0] == REPORT_LUNS)
		return report(in, response, request->lun[1]);
	if (cdb[0] == INQUIRY)
		return inquiry(in, unit);
	assert_non_null(unit);
	if (unit->attention && unit->attention--)
		return sense(response, 0x70, KEY_UNIT_ATTENTION);
	if (cdb[0] == READ_CAPACITY)
		return capacity(in, unit);
	if (cdb[0] == MODE_SENSE)
		return transfer(in, (uint8_t[256]){ 3, 0, unit->readonly ? MODE_WRITE_PROTECT : 0 }, true);
	if (answer.format)
		return sense(response, answer.format, answer.key);
	response->status = answer.status;
	response->response = answer.response;
	response->residual = answer.residual;
	if (cdb[0] == READ || cdb[0] == WRITE) {
		move(in, out, cdb, unit);
	} else if (cdb[0] == UNMAP) {
		unmap(out, cdb, unit);
	} else {
		assert_memory_equal(cdb, flush, 16);
		unit->flushed++;
	}
}

// Does one request; returns its number.
static uint32_t serve(struct far_queue *q)
{
	uint32_t id = far_take(q);
	const struct virtq_desc *table = far_desc(q, 0), *desc = far_desc(q, id);
	const struct scsi_request *request = NULL;
	struct scsi_response *response = NULL;
	struct transfer out = { .pieces = 0 }, in = { .pieces = 0 };
	if (desc->flags & VIRTQ_DESC_INDIRECT) {
		assert_int_equal(desc->flags, VIRTQ_DESC_INDIRECT);
		desc = table = (const struct virtq_desc *)desc->phys;
	}
	for (;; desc = &table[desc->next]) {
		struct transfer *list = desc->flags & VIRTQ_DESC_WRITE ? &in : &out;
		if (!request) {
			assert_int_equal(desc->len, sizeof(*request));
			assert_false(desc->flags & VIRTQ_DESC_WRITE);
			request = (const struct scsi_request *)desc->phys;
		} else if (list == &in && !response) {
			assert_int_equal(desc->len, sizeof(*response));
			response = (struct scsi_response *)desc->phys;
		} else {
			assert_true(list == &in || !response); // what it reads comes before what it writes
			list->piece[list->pieces++] = desc;
			list->bytes += desc->len;
		}
		if (!(desc->flags & VIRTQ_DESC_NEXT))
			break;
	}
	if (!mute)
		execute(request, &out, response, &in);
	return id;
}

static void work(struct far *dev, uint32_t index)
{
	struct far_queue *q = &dev->queue[index];
	uint32_t ids[256], count = 0;
	assert_true(index >= QUEUE_REQUEST);
	while (!asleep && far_waiting(q))
		ids[count++] = serve(q);
	for (uint32_t i = 0; i < count; i++)
		far_give(q, ids[backwards ? count - 1 - i : i], 1);
	if (!asleep)
		far_event(q, q->taken);
}

// Three disks at two targets, and a DVD drive.
static void plug(uint64_t features, uint32_t queues)
{
	const struct unit there[] = {
		{ .target = 0, .lun = 0, .block = 512, .data = disks[0], .attention = 1 },
		{ .target = 2, .lun = 0, .type = 5, .block = 2048, .data = disks[0] },
		{ .target = 2, .lun = 1, .block = 4096, .data = disks[1], .flags = CAPACITY_LBPME },
		{ .target = 2, .lun = 300, .block = 512, .data = disks[2], .readonly = true },
	};
	memcpy(units, there, sizeof(there));
	unit_count = ARRAY_SIZE(there);
	far = far_new(true, TYPE_SCSI_HOST, features);
	far->on_notify = work;
	far->vdev.id.driver = &virtio_scsi;
	*(uint32_t *)far->config = queues;
	*(uint32_t *)(far->config + 4) = 4;      // SEG_MAX
	*(uint32_t *)(far->config + 8) = 0xFFFF; // MAX_SECTORS
	*(uint16_t *)(far->config + 30) = 7;     // MAX_TARGET
	answer = (struct answer){ 0 };
	asleep = backwards = mute = false;
	for (uint32_t i = 0; i < UNIT_BYTES; i++)
		for (uint32_t unit = 0; unit < 3; unit++)
			disks[unit][i] = i * 13 + (i >> 9) + unit;
	memset(data, 0xEE, sizeof(data));
}

static int probe(void)
{
	return virtio_scsi.probe(&far->vdev.id, virtio_scsi.ids);
}

static void start(uint64_t features, uint32_t queues)
{
	plug(features, queues);
	assert_int_equal(probe(), E_OK);
}

static void end(void)
{
	virtio_scsi.remove(&far->vdev.id);
	assert_int_equal(far->status, 0);
	assert_int_equal(blk_count(), 0);
}

static struct ingot_blk_info info(uint32_t disk)
{
	struct ingot_blk_info now = { .size = sizeof(now) };
	assert_int_equal(blk_info(disk, &now), E_OK);
	return now;
}

static int submit(uint32_t disk, uint32_t op, uint64_t block, uint32_t count, void *to, uint64_t tag)
{
	const struct ingot_blk_req req = { block, count, op, to, tag };
	return blk_submit(disk, 0, &req);
}

static int run(uint32_t disk, uint32_t op, uint64_t block, uint32_t count, void *to)
{
	const struct ingot_blk_req req = { block, count, op, to, 0 };
	return blk_run(disk, &req);
}

// ---- Probe ---------------------------------------------------------------------------------------------------

static void probes(void **state)
{
	const char *identity;
	(void)state;
	start(FULL, 4);
	assert_int_equal(blk_count(), 3);
	for (uint32_t i = 0; i < 3; i++) {
		uint32_t block = i == 1 ? 4096 : 512;
		assert_int_equal(info(i).block_bytes, block);
		assert_int_equal(info(i).blocks, UNIT_BYTES / block);
		assert_int_equal(info(i).queues, 1);
		assert_int_equal(info(i).depth, 128);
		assert_int_equal(info(i).max_blocks, MOST_BYTES / block);
		assert_int_equal(blk_classic_kind(i, &identity), BLK_VIRTIO_SCSI);
	}
	assert_int_equal(info(0).features, INGOT_BLK_FLUSH);
	assert_int_equal(info(1).features, INGOT_BLK_FLUSH | INGOT_BLK_DISCARD);
	assert_int_equal(info(2).features, INGOT_BLK_FLUSH | INGOT_BLK_READONLY);
	assert_true(fake_logged(" (target 2 unit 0 can't be a drive)"));
	assert_false(fake_logged("target 0"));
	end();
}

static void probe_fails_cleanly(void **state)
{
	(void)state;
	start(FULL, 2);
	uint32_t allocations = fake_alloc_count;
	end();
	for (uint32_t i = 1; i <= allocations; i++) {
		plug(FULL, 2);
		fake_alloc_fail_at = fake_alloc_count + i;
		assert_int_equal(probe(), E_NOMEM);
		assert_int_equal(fake_alloc_live, 0);
		assert_int_equal(far->status, i == 1 ? 0x0F : 0); // nothing was touched, or all is given back
		assert_int_equal(blk_count(), 0);
	}
	plug(FULL, 2);
	far->stuck = true;
	assert_int_equal(probe(), E_TIMEOUT);
	plug(FULL, 2);
	far->refuse = true;
	assert_int_equal(probe(), E_IO);
	plug(FULL, 2);
	far->queue[QUEUE_REQUEST + 1].max = 0;
	assert_int_equal(probe(), E_NODEV);
	plug(FULL, 2);
	asleep = true;
	assert_int_equal(probe(), E_TIMEOUT);
	assert_int_equal(far->status, 0);
	plug(FULL, 2);
	far->vdev.common = NULL; // legacy alone
	assert_int_equal(probe(), E_NOTSUP);
	assert_int_equal(fake_alloc_live, 0);
}

// Units that can't be drives don't keep the others from being some.
static void odd_units(void **state)
{
	static const uint32_t blocks[] = { 0, 256, 513, 8192, 0xFFFFFFFF };
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		plug(FULL, 1);
		units[0].block = blocks[i];
		units[2].attention = 100; // has always something to say
		assert_int_equal(probe(), E_OK);
		assert_int_equal(blk_count(), 1);
		assert_int_equal(info(0).features, INGOT_BLK_FLUSH | INGOT_BLK_READONLY);
		end();
	}
	plug(FULL, 0); // no queues, no targets, no sectors
	memset(far->config, 0, sizeof(far->config));
	assert_int_equal(probe(), E_OK);
	assert_int_equal(blk_count(), 1);
	assert_int_equal(info(0).max_blocks, 8);
	assert_int_equal(run(0, INGOT_READ, 5, 8, data), E_OK);
	assert_memory_equal(data, disks[0] + 5 * 512, 8 * 512);
	end();
	plug(FULL, 1);
	mute = true;
	assert_int_equal(probe(), E_TIMEOUT);
}

// ---- Requests ------------------------------------------------------------------------------------------------

static void operations(void **state)
{
	(void)state;
	for (uint32_t features = 0; features < 2; features++) {
		start(features ? FULL : 0, 1);
		assert_int_equal(run(1, INGOT_READ, 3, 50, data), E_OK);
		assert_memory_equal(data, disks[1] + 3 * 4096, 50 * 4096);
		assert_int_equal(data[50 * 4096], 0xEE);
		memset(data, 0x77, 4096);
		assert_int_equal(run(0, INGOT_WRITE, 100, 8, data), E_OK);
		assert_memory_equal(disks[0] + 100 * 512, data, 4096);
		assert_int_not_equal(disks[0][108 * 512], 0x77);
		assert_int_equal(run(0, INGOT_FLUSH, 7, 7, NULL), E_OK);
		assert_int_equal(units[0].flushed, 1);
		assert_int_equal(run(1, INGOT_DISCARD, 8, 2, NULL), E_OK);
		assert_int_equal(disks[1][8 * 4096], 0);
		assert_int_equal(disks[1][10 * 4096 - 1], 0);
		assert_int_not_equal(disks[1][8 * 4096 - 1] | disks[1][10 * 4096], 0);
		assert_int_equal(run(0, INGOT_DISCARD, 8, 2, NULL), E_NOTSUP);
		assert_int_equal(run(2, INGOT_WRITE, 0, 1, data), E_RDONLY);
		assert_int_equal(run(0, INGOT_READ, UNIT_BYTES / 512, 1, data), E_RANGE);
		end();
	}
}

// Pieces of a page: as many as the device takes in one request.
static void pieces(void **state)
{
	(void)state;
	start(FULL, 1);
	fake_mem_pages = true;
	assert_int_equal(submit(0, INGOT_READ, 0, 4 * 8, data, 0), E_OK);
	assert_int_equal(submit(0, INGOT_READ, 0, 4 * 8 + 1, data, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, 0, 4 * 8, data + 1, 0), E_INVAL);
	struct ingot_blk_done done;
	assert_int_equal(blk_poll(0, 0, &done, 1), 1);
	requests = 0;
	assert_int_equal(run(0, INGOT_READ, 0, 64, data), E_OK);
	assert_int_equal(requests, 2);
	assert_memory_equal(data, disks[0], 64 * 512);
	end();
}

static void errors(void **state)
{
	static const struct {
		struct answer answer;
		int error;
	} cases[] = {
		{ { .status = STATUS_BUSY }, E_AGAIN },
		{ { .status = STATUS_TASK_SET_FULL }, E_AGAIN },
		{ { .status = 0x18 }, E_IO },
		{ { .response = RESPONSE_BAD_TARGET }, E_NODEV },
		{ { .response = 9 }, E_IO },
		{ { .residual = 512 }, E_IO },
		{ { .format = 0x70, .key = 3 }, E_IO },
		{ { .format = 0x70, .key = KEY_DATA_PROTECT }, E_RDONLY },
		{ { .format = 0xF0, .key = KEY_ILLEGAL_REQUEST }, E_NOTSUP },
		{ { .format = 0x72, .key = KEY_UNIT_ATTENTION }, E_AGAIN },
		{ { 0 }, E_OK },
	};
	(void)state;
	start(FULL, 1);
	for (uint32_t i = 0; i < ARRAY_SIZE(cases); i++) {
		answer = cases[i].answer;
		assert_int_equal(run(0, INGOT_READ, 0, 1, data), cases[i].error);
		assert_int_equal(run(1, INGOT_WRITE, 0, 1, data), cases[i].error);
	}
	end();
}

// Bursts at full depth on drives that share a queue or don't, completions the last one first; none takes another's.
static void deep(uint64_t features, uint32_t queues, uint32_t depth)
{
	struct ingot_blk_done done[128];
	static bool seen[3][128];
	start(features, queues);
	backwards = true;
	assert_int_equal(info(0).depth, depth);
	for (uint32_t round = 0; round < 400; round++) {
		uint32_t burst = 1 + round % (queues == 3 ? depth : depth / 3), got[3] = { 0 };
		memset(seen, 0, sizeof(seen));
		for (uint32_t i = 0; i < burst; i++)
			for (uint32_t disk = 0; disk < 3; disk++)
				assert_int_equal(submit(disk, INGOT_READ, (round + i) % 200, 1, data, disk << 8 | i), E_OK);
		for (uint32_t disk = 0; disk < 3; disk++) {
			while (got[disk] < burst) {
				uint32_t more = blk_poll(disk, 0, done, 33);
				assert_true(more && more <= 33);
				got[disk] += more;
				while (more--) {
					assert_int_equal(done[more].status, E_OK);
					assert_int_equal(done[more].tag >> 8, disk);
					assert_false(seen[disk][done[more].tag & 0xFF]);
					seen[disk][done[more].tag & 0xFF] = true;
				}
			}
			assert_int_equal(blk_poll(disk, 0, done, 33), 0);
		}
	}
	asleep = true; // removed with work in flight
	uint32_t taken = 0;
	while (submit(0, INGOT_READ, taken, 1, data, 0) == E_OK)
		taken++;
	assert_int_equal(taken, depth);
	assert_int_equal(far_waiting(&far->queue[QUEUE_REQUEST]), depth); // it has been told
	assert_int_equal(submit(0, INGOT_READ, 0, 1, data, 0), E_AGAIN);
	end();
}

static void deep_shared(void **state)
{
	(void)state;
	deep(FULL, 1, 128);
}

static void deep_own(void **state)
{
	(void)state;
	deep(FULL, 3, 128);
}

static void deep_direct(void **state)
{
	(void)state;
	deep(0, 2, 16);
}

// One drive doesn't poll: the other's polls lay out its completions, and there is room for them.
static void lazy_neighbour(void **state)
{
	struct ingot_blk_done done[128];
	uint32_t count = 0;
	(void)state;
	start(FULL, 1);
	for (uint32_t round = 0; round < 10; round++) {
		while (submit(0, INGOT_READ, count, 1, data, count) == E_OK)
			count++;
		assert_int_equal(blk_poll(1, 0, done, 128), 0);
	}
	assert_int_equal(count, 128);
	assert_int_equal(run(1, INGOT_READ, 0, 1, data), E_OK);
	assert_int_equal(blk_poll(0, 0, done, 128), 128);
	assert_int_equal(submit(0, INGOT_READ, 0, 1, data, 0), E_OK);
	end();
}

static void hostile_completions(void **state)
{
	struct ingot_blk_done done[8];
	(void)state;
	start(FULL, 3);
	struct far_queue *q = &far->queue[QUEUE_REQUEST];
	asleep = true;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(submit(0, INGOT_READ, i, 1, data, i), E_OK);
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	uint32_t first = serve(q), second = serve(q);
	far_give(q, first, 1);
	far_give(q, first, 1); // twice
	assert_int_equal(blk_poll(0, 0, done, 8), 1);
	assert_int_equal(done[0].tag, 0);
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	q->given--;
	far_give(q, 0xFFFFFFFF, 1); // never heard of
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	FAR_USED(q)[1] = q->given + 100; // more than there are
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	q->given--;
	far_give(q, second, 1);
	assert_int_equal(blk_poll(0, 0, done, 8), 1);
	assert_int_equal(done[0].tag, 1);
	end();
}

static void device_that_hangs(void **state)
{
	struct ingot_blk_done done[8];
	(void)state;
	start(FULL, 2);
	asleep = true;
	assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 55), E_OK);
	assert_int_equal(run(0, INGOT_READ, 0, 1, data), E_TIMEOUT);
	assert_int_equal(far->status, 0); // all memory is ours again
	assert_int_equal(blk_poll(1, 0, done, 8), 1);
	assert_int_equal(done[0].tag, 55);
	assert_int_equal(done[0].status, E_TIMEOUT);
	assert_int_equal(run(0, INGOT_READ, 0, 1, data), E_IO);
	assert_int_equal(run(2, INGOT_READ, 0, 1, data), E_IO);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(probes),
		FAKE_TEST(probe_fails_cleanly),
		FAKE_TEST(odd_units),
		FAKE_TEST(operations),
		FAKE_TEST(pieces),
		FAKE_TEST(errors),
		FAKE_TEST(deep_shared),
		FAKE_TEST(deep_own),
		FAKE_TEST(deep_direct),
		FAKE_TEST(lazy_neighbour),
		FAKE_TEST(hostile_completions),
		FAKE_TEST(device_that_hangs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
