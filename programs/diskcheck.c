// Checks every drive: patterns that name their place and time (pattern.h), written and read back in several sizes and
// depths, at random and on all queues; flush, discard, refusals, and the register interface's calls.  Leaves a known
// pattern behind, which tests/qemu/patterns.py looks at in the image file.
//
// It writes to the first 16 MiB and the last MiB of a drive, so it takes only drives whose first 128 KiB are blank or
// its own pattern; a read-only drive is read, and must refuse to be written.  disk=N: only that one, whatever is on it.
#include "lib.h"
#include "pattern.h"
#include <baremetal.h>

INGOT_NEEDS(shutdown);

#define JOBS 128
#define WORKERS 8
#define BLANK_BYTES (128 << 10)
#define BUFFER_MAX (16u << 20) // of all workers together
#define REQUEST_US 20000000    // the kernel gives up on a request after 5 s
#define SWEEP_UNITS 2048       // written by one combination of size and depth
#define RANDOM_ROUNDS 60
#define SCRUB 0xDB // what a buffer holds before it is read into

struct drive {
	uint32_t blk, scale; // units of 512 bytes in a block
	struct ingot_blk_info info;
	uint64_t head_blocks, tail_first; // tail_first: blocks, if the head is all there is
	uint16_t *generation;             // of each block of the head; 0: unknown
};

struct job {
	struct ingot_blk_req req;
	uint32_t done;
};

// What one core uses: its queue, its part of the head, its buffers.
struct worker {
	struct drive *drive;
	uint32_t queue;
	uint64_t first, blocks;
	uint8_t *buffer;
	size_t buffer_bytes;
	uint64_t random, requests, units;
	uint16_t generation;
	int rc;
	struct job jobs[JOBS];
	char failure[128];
};

static int fail(struct worker *worker, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	size_t len = format_text(worker->failure, sizeof(worker->failure) - 1, format, list);
	va_end(list);
	worker->failure[len] = 0;
	return -1;
}

// ---- Requests ---------------------------------------------------------------------------------------------------

static int take_completions(struct worker *worker, uint32_t count, uint32_t *completed)
{
	struct ingot_blk_done done[16];
	uint32_t got = ingot->blk_poll(worker->drive->blk, worker->queue, done, 16);
	if (got > 16)
		return fail(worker, "blk_poll returns %u completions, 16 were asked for", got);
	for (uint32_t i = 0; i < got; i++) {
		uint64_t tag = done[i].tag - 0x1000;
		if (tag >= count || worker->jobs[tag].done)
			return fail(worker, "a completion of no request: tag %lx", done[i].tag);
		struct job *job = &worker->jobs[tag];
		job->done = 1;
		if (done[i].status)
			return fail(worker, "operation %u on %u blocks at %lu: error %d", job->req.op, job->req.count,
				job->req.block, done[i].status);
	}
	*completed += got;
	return 0;
}

// Submits jobs 0 to count - 1, as many at once as the queue takes, and waits for all.
static int run(struct worker *worker, uint32_t count)
{
	uint32_t submitted = 0, completed = 0;
	uint64_t end = deadline(REQUEST_US);
	while (completed < count) {
		int rc = INGOT_EAGAIN;
		if (submitted < count) {
			struct job *job = &worker->jobs[submitted];
			job->req.tag = 0x1000 + submitted;
			job->done = 0;
			rc = ingot->blk_submit(worker->drive->blk, worker->queue, &job->req);
			if (rc >= 0) {
				submitted++;
				worker->requests++;
				worker->units += (uint64_t)job->req.count * worker->drive->scale;
				continue;
			}
		}
		if (rc != INGOT_EAGAIN)
			return fail(worker, "operation %u on %u blocks at %lu refused: error %d", worker->jobs[submitted].req.op,
				worker->jobs[submitted].req.count, worker->jobs[submitted].req.block, rc);
		if (take_completions(worker, submitted, &completed) < 0)
			return -1;
		if (passed(end))
			return fail(worker, "%u of %u requests never complete", submitted - completed, submitted);
	}
	return 0;
}

static void fill(struct worker *worker, const struct ingot_blk_req *req, uint32_t generation)
{
	uint32_t scale = worker->drive->scale;
	uint8_t *at = req->data;
	for (uint64_t unit = req->block * scale; unit < (req->block + req->count) * scale; unit++, at += PATTERN_UNIT)
		pattern_fill(at, unit, generation);
}

static int check(struct worker *worker, const struct ingot_blk_req *req, uint32_t generation)
{
	uint32_t scale = worker->drive->scale;
	const uint8_t *at = req->data;
	for (uint64_t unit = req->block * scale; unit < (req->block + req->count) * scale; unit++, at += PATTERN_UNIT) {
		uint32_t word = pattern_check(at, unit, generation);
		if (word < PATTERN_WORDS)
			return fail(worker, "unit %lu (generation %u, %u blocks at %lu): word %u reads %lx", unit, generation,
				req->count, req->block, word, pattern_load(at + word * 8));
	}
	return 0;
}

// The bytes in front of a buffer and behind it belong to somebody else.
static void guard(uint8_t *data, size_t bytes, uint8_t value)
{
	for (int i = 1; i <= 16; i++)
		data[-i] = data[bytes + (size_t)i - 1] = value;
}

static int guarded(const uint8_t *data, size_t bytes, uint8_t value)
{
	for (int i = 1; i <= 16; i++)
		if (data[-i] != value || data[bytes + (size_t)i - 1] != value)
			return 0;
	return 1;
}

static void scrub(struct worker *worker, const struct ingot_blk_req *req)
{
	size_t bytes = (size_t)req->count * worker->drive->info.block_bytes;
	for (size_t i = 0; i < bytes; i += 8)
		pattern_store((uint8_t *)req->data + i, SCRUB);
	guard(req->data, bytes, SCRUB);
}

// An address in slot `index` of the worker's buffers, as odd as the device allows.
static uint8_t *slot(struct worker *worker, uint32_t index, size_t slot_bytes)
{
	uint32_t align = worker->drive->info.align ? worker->drive->info.align : 1;
	uint32_t offset = (uint32_t)(random_next(&worker->random) % 4000) / align * align;
	return worker->buffer + index * slot_bytes + 64 + offset;
}

static size_t slot_bytes(struct worker *worker, uint32_t count)
{
	return ((size_t)count * worker->drive->info.block_bytes + 4096 + 128 + 63) & ~(size_t)63;
}

// ---- Sizes and depths -------------------------------------------------------------------------------------------

// Writes `depth` extents of `count` blocks with a new generation, reads them in the opposite order, compares.
static int sweep_round(struct worker *worker, uint64_t block, uint32_t count, uint32_t depth)
{
	size_t bytes = slot_bytes(worker, count);
	uint32_t generation = ++worker->generation;
	for (uint32_t i = 0; i < depth; i++) {
		uint64_t at = worker->first + (block + (uint64_t)i * count) % (worker->blocks / count * count);
		worker->jobs[i].req = (struct ingot_blk_req){ at, count, INGOT_WRITE, slot(worker, i, bytes), 0 };
		fill(worker, &worker->jobs[i].req, generation);
		for (uint32_t b = 0; b < count; b++)
			worker->drive->generation[at + b] = (uint16_t)generation;
	}
	if (run(worker, depth) < 0)
		return -1;
	for (uint32_t i = 0; i < depth / 2; i++) {
		struct ingot_blk_req swap = worker->jobs[i].req;
		worker->jobs[i].req = worker->jobs[depth - 1 - i].req;
		worker->jobs[depth - 1 - i].req = swap;
	}
	for (uint32_t i = 0; i < depth; i++) {
		worker->jobs[i].req.op = INGOT_READ;
		worker->jobs[i].req.data = slot(worker, i, bytes);
		scrub(worker, &worker->jobs[i].req);
	}
	if (run(worker, depth) < 0)
		return -1;
	for (uint32_t i = 0; i < depth; i++) {
		struct ingot_blk_req *req = &worker->jobs[i].req;
		if (check(worker, req, generation) < 0)
			return -1;
		if (!guarded(req->data, (size_t)count * worker->drive->info.block_bytes, SCRUB))
			return fail(worker, "a read of %u blocks writes beside its buffer", count);
	}
	return 0;
}

static int sweep(struct worker *worker, uint32_t count, uint32_t depth)
{
	size_t fit = worker->buffer_bytes / slot_bytes(worker, count);
	uint64_t extents = worker->blocks / count;
	if (depth > fit)
		depth = (uint32_t)fit;
	if (depth > extents)
		depth = (uint32_t)extents;
	if (!depth)
		return 0; // no memory for as much, or no such drive
	uint64_t block = random_next(&worker->random) % worker->blocks / count * count, units = 0;
	do {
		if (sweep_round(worker, block, count, depth) < 0)
			return -1;
		block += (uint64_t)depth * count;
		units += (uint64_t)depth * count * worker->drive->scale;
	} while (units < SWEEP_UNITS && block / count < 64);
	return 0;
}

static int sweeps(struct worker *worker)
{
	static const uint32_t depths[] = { 1, 4, 32, 128 }, sizes[] = { 0, 4096, 12288, 65536, 1 << 20 };
	uint32_t block_bytes = worker->drive->info.block_bytes, most = worker->drive->info.max_blocks;
	for (uint32_t s = 0; s < 5; s++) {
		uint32_t count = sizes[s] > block_bytes ? sizes[s] / block_bytes : 1;
		if (most && count > most)
			count = most;
		for (uint32_t d = 0; d < 4; d++)
			if (sweep(worker, count, depths[d]) < 0)
				return -1;
	}
	return 0;
}

// ---- Random extents, reads beside writes ------------------------------------------------------------------------

static int overlaps(struct worker *worker, uint32_t jobs, uint64_t block, uint32_t count)
{
	for (uint32_t i = 0; i < jobs; i++) {
		const struct ingot_blk_req *req = &worker->jobs[i].req;
		if (block < req->block + req->count && req->block < block + count)
			return 1;
	}
	return 0;
}

static int check_read(struct worker *worker, const struct ingot_blk_req *req)
{
	for (uint32_t b = 0; b < req->count; b++) {
		struct ingot_blk_req one = *req;
		one.block += b;
		one.count = 1;
		one.data = (uint8_t *)req->data + (size_t)b * worker->drive->info.block_bytes;
		uint32_t generation = worker->drive->generation[one.block];
		if (generation && check(worker, &one, generation) < 0)
			return -1;
	}
	return 0;
}

static int random_round(struct worker *worker, uint32_t most, uint32_t depth)
{
	size_t bytes = slot_bytes(worker, most);
	uint32_t jobs = 0, generation = ++worker->generation;
	for (uint32_t i = 0; i < depth; i++) {
		uint32_t count = 1 + (uint32_t)(random_next(&worker->random) % most);
		uint64_t block = worker->first + random_next(&worker->random) % (worker->blocks - count + 1);
		if (overlaps(worker, jobs, block, count))
			continue;
		struct ingot_blk_req *req = &worker->jobs[jobs].req;
		*req = (struct ingot_blk_req){ block, count, random_next(&worker->random) >> 63 ? INGOT_WRITE : INGOT_READ,
			slot(worker, jobs, bytes), 0 };
		jobs++;
		if (req->op == INGOT_READ) {
			scrub(worker, req);
			continue;
		}
		fill(worker, req, generation);
		for (uint32_t b = 0; b < count; b++)
			worker->drive->generation[block + b] = (uint16_t)generation;
	}
	if (run(worker, jobs) < 0)
		return -1;
	for (uint32_t i = 0; i < jobs; i++)
		if (worker->jobs[i].req.op == INGOT_READ && check_read(worker, &worker->jobs[i].req) < 0)
			return -1;
	return 0;
}

static int randoms(struct worker *worker)
{
	uint32_t most = 128 / worker->drive->scale;
	if (most > worker->drive->info.max_blocks)
		most = worker->drive->info.max_blocks;
	while (most > 1 && (slot_bytes(worker, most) * 4 > worker->buffer_bytes || most > worker->blocks / 4))
		most /= 2;
	size_t depth = worker->buffer_bytes / slot_bytes(worker, most);
	for (uint32_t i = 0; depth && i < RANDOM_ROUNDS; i++)
		if (random_round(worker, most, depth > 48 ? 48 : (uint32_t)depth) < 0)
			return -1;
	return 0;
}

// ---- A whole region, in steps of 64 KiB or what fits ------------------------------------------------------------

static int region(struct worker *worker, uint32_t op, uint64_t first, uint64_t blocks, uint32_t generation)
{
	uint32_t step = 65536 / worker->drive->info.block_bytes;
	while (step > 1 && (step > worker->drive->info.max_blocks || slot_bytes(worker, step) > worker->buffer_bytes))
		step /= 2;
	size_t bytes = slot_bytes(worker, step), depth = worker->buffer_bytes / bytes;
	for (uint64_t at = 0; at < blocks;) {
		uint32_t jobs = 0;
		for (; at < blocks && jobs < 16 && jobs < depth; jobs++, at += worker->jobs[jobs - 1].req.count) {
			uint32_t count = blocks - at < step ? (uint32_t)(blocks - at) : step;
			worker->jobs[jobs].req = (struct ingot_blk_req){ first + at, count, op, slot(worker, jobs, bytes), 0 };
			if (op == INGOT_WRITE)
				fill(worker, &worker->jobs[jobs].req, generation);
			else
				scrub(worker, &worker->jobs[jobs].req);
		}
		if (run(worker, jobs) < 0)
			return -1;
		for (uint32_t i = 0; op == INGOT_READ && i < jobs; i++) {
			const struct ingot_blk_req *req = &worker->jobs[i].req;
			if ((generation ? check(worker, req, generation) : check_read(worker, req)) < 0)
				return -1;
		}
	}
	return 0;
}

static int final_pattern(struct worker *worker, uint32_t op)
{
	struct drive *drive = worker->drive;
	if (region(worker, op, 0, drive->head_blocks, PATTERN_FINAL) < 0)
		return -1;
	return region(worker, op, drive->tail_first, drive->info.blocks - drive->tail_first, PATTERN_FINAL);
}

// ---- Single requests: what must work, what must be refused ------------------------------------------------------

static int one(struct worker *worker, uint32_t op, uint64_t block, uint32_t count, void *data)
{
	struct ingot_blk_req req = { block, count, op, data, 1 };
	return ingot->blk_run(worker->drive->blk, &req);
}

static int refused(struct worker *worker, uint32_t op, uint64_t block, uint32_t count, void *data, int expected)
{
	struct ingot_blk_req req = { block, count, op, data, 1 };
	int rc = ingot->blk_submit(worker->drive->blk, worker->queue, &req);
	int again = ingot->blk_run(worker->drive->blk, &req);
	if (rc >= 0 || again >= 0 || (expected && (rc != expected || again != expected)))
		return fail(worker, "operation %u on %u blocks at %lx: %d and %d instead of %d", op, count, block, rc, again,
			expected);
	return 0;
}

static int refusals(struct worker *worker)
{
	struct drive *drive = worker->drive;
	struct ingot_blk_info info = { .size = sizeof(info) };
	struct ingot_blk_req req = { 0, 1, INGOT_READ, worker->buffer, 1 };
	uint64_t blocks = drive->info.blocks;
	if (ingot->blk_info(ingot->blk_count(), &info) != INGOT_ENODEV ||
		ingot->blk_submit(ingot->blk_count(), 0, &req) != INGOT_ENODEV ||
		ingot->blk_submit(drive->blk, drive->info.queues, &req) != INGOT_ENODEV ||
		ingot->blk_run(ingot->blk_count(), &req) != INGOT_ENODEV)
		return fail(worker, "a drive or queue that isn't there answers");
	for (uint32_t op = INGOT_READ; op <= INGOT_WRITE; op++) {
		int range = op == INGOT_WRITE && drive->info.features & INGOT_BLK_READONLY ? 0 : INGOT_ERANGE;
		if (refused(worker, op, blocks, 1, worker->buffer, range) < 0 ||
			refused(worker, op, blocks - 1, 2, worker->buffer, range) < 0 ||
			refused(worker, op, ~0ull, 1, worker->buffer, range) < 0 ||
			refused(worker, op, ~0ull, 2, worker->buffer, range) < 0 ||
			refused(worker, op, 1ull << 63, 1, worker->buffer, range) < 0)
			return -1;
	}
	if (refused(worker, INGOT_READ, 0, 0, worker->buffer, 0) < 0 || refused(worker, 9, 0, 1, worker->buffer, 0) < 0 ||
		refused(worker, INGOT_READ, 0, 1, NULL, 0) < 0)
		return -1;
	req.count = drive->info.max_blocks + 1; // blk_run may cut it into pieces
	if (blocks > drive->info.max_blocks && ingot->blk_submit(drive->blk, worker->queue, &req) >= 0)
		return fail(worker, "blk_submit takes %u blocks, max_blocks is %u", req.count, drive->info.max_blocks);
	if (drive->info.align == 1)
		return 0;
	// A queue takes aligned data alone; blk_run and the register interface bring other data into place.
	req = (struct ingot_blk_req){ 0, 1, INGOT_READ, worker->buffer + 1, 1 };
	if (ingot->blk_submit(drive->blk, worker->queue, &req) != INGOT_EINVAL)
		return fail(worker, "blk_submit takes data that isn't aligned");
	if (ingot->blk_run(drive->blk, &req) < 0)
		return fail(worker, "blk_run refuses data that isn't aligned");
	return 0;
}

static int flush_and_discard(struct worker *worker)
{
	struct drive *drive = worker->drive;
	uint32_t count = drive->head_blocks < 32 ? 1 : 16;
	uint64_t first = drive->head_blocks / 2;
	int rc = one(worker, INGOT_FLUSH, 0, 0, NULL);
	if (rc && (rc != INGOT_ENOTSUP || drive->info.features & INGOT_BLK_FLUSH))
		return fail(worker, "flush: error %d", rc);
	if (!(drive->info.features & INGOT_BLK_DISCARD)) {
		rc = one(worker, INGOT_DISCARD, first, count, NULL);
		return rc == INGOT_ENOTSUP ? 0 : fail(worker, "discard isn't offered, yet returns %d", rc);
	}
	rc = one(worker, INGOT_DISCARD, first, count, NULL);
	if (rc)
		return fail(worker, "discard: error %d", rc);
	if (refused(worker, INGOT_DISCARD, drive->info.blocks - 1, 2, NULL, INGOT_ERANGE) < 0)
		return -1;
	for (uint32_t b = 0; b < count; b++)
		drive->generation[first + b] = 0; // may read as anything
	return region(worker, INGOT_READ, first > 64 ? first - 64 : 0, 64 + count, 0);
}

// The register interface: sectors of 4 KiB on every drive.
static int classic_write(struct worker *worker, uint64_t sector, uint32_t sectors)
{
	uint32_t per_sector = B_SECTOR / worker->drive->info.block_bytes;
	uint64_t block = sector * per_sector;
	struct ingot_blk_req req = { block, sectors * per_sector, INGOT_WRITE, slot(worker, 0, 0), 0 };
	uint32_t generation = ++worker->generation;
	fill(worker, &req, generation);
	if (b_nvs_write(req.data, sector, sectors, worker->drive->blk) != sectors)
		return fail(worker, "b_nvs_write of %u sectors at %lu fails", sectors, sector);
	for (uint32_t b = 0; b < req.count && block + b < worker->drive->head_blocks; b++)
		worker->drive->generation[block + b] = (uint16_t)generation;
	scrub(worker, &req);
	if (b_nvs_read(req.data, sector, sectors, worker->drive->blk + 0x100) != sectors)
		return fail(worker, "b_nvs_read of %u sectors at %lu fails", sectors, sector);
	if (!guarded(req.data, (size_t)sectors * B_SECTOR, SCRUB))
		return fail(worker, "b_nvs_read writes beside its buffer");
	return check(worker, &req, generation);
}

static int classic(struct worker *worker)
{
	struct drive *drive = worker->drive;
	uint64_t sectors = drive->info.blocks * drive->info.block_bytes / B_SECTOR, drives = ingot->blk_count();
	static const uint32_t counts[] = { 1, 2, 3, 16, 33, 128 };
	for (uint32_t i = 0; !(drive->info.features & INGOT_BLK_READONLY) && i < 6; i++) {
		uint64_t last = drive->head_blocks * drive->info.block_bytes / B_SECTOR;
		if (counts[i] + 1 > last || ((size_t)counts[i] + 2) * B_SECTOR > worker->buffer_bytes)
			break;
		if (classic_write(worker, i, counts[i]) < 0)
			return -1;
	}
	uint8_t *data = worker->buffer + 64;
	if (b_nvs_read(data, sectors - 1, 1, drive->blk) != 1)
		return fail(worker, "b_nvs_read can't read the last sector");
	if (b_nvs_read(data, sectors, 1, drive->blk) || b_nvs_read(data, sectors - 1, 2, drive->blk) ||
		b_nvs_read(data, 1ull << 61, 1, drive->blk) || b_nvs_read(data, ~0ull, 1, drive->blk) ||
		b_nvs_read(data, ~0ull, 2, drive->blk) || b_nvs_write(data, sectors, 1, drive->blk) ||
		b_nvs_write(data, ~0ull, 1, drive->blk))
		return fail(worker, "b_nvs calls past the end return success");
	if (b_nvs_read(data, 0, 0, drive->blk) || b_nvs_write(data, 0, 0, drive->blk) || b_nvs_read(data, 0, 1, drives) ||
		b_nvs_write(data, 0, 1, drives) || b_nvs_read(data, 0, 1, 255))
		return fail(worker, "b_nvs calls of no sectors or on no drive return success");
	return 0;
}

// ---- One drive --------------------------------------------------------------------------------------------------

static int read_only(struct worker *worker)
{
	struct drive *drive = worker->drive;
	uint8_t *data = worker->buffer + 64;
	if (refused(worker, INGOT_WRITE, 0, 1, data, INGOT_ERDONLY) < 0)
		return -1;
	if (one(worker, INGOT_DISCARD, 0, 1, NULL) >= 0 || b_nvs_write(data, 0, 1, drive->blk))
		return fail(worker, "a read-only drive takes a discard or b_nvs_write");
	if (one(worker, INGOT_READ, 0, 1, data))
		return fail(worker, "block 0 can't be read");
	if (pattern_load(data) == PATTERN_MAGIC)
		return final_pattern(worker, INGOT_READ);
	return region(worker, INGOT_READ, 0, drive->head_blocks, 0); // with every generation unknown
}

static void parallel_work(void *arg)
{
	struct worker *worker = arg;
	worker->rc = sweeps(worker);
	if (!worker->rc)
		worker->rc = randoms(worker);
}

// Every queue from a core of its own, each in its part of the head; then their first failure.
static int parallel(struct worker *workers, uint32_t count)
{
	struct drive *drive = workers[0].drive;
	size_t buffer_bytes = workers[0].buffer_bytes;
	uint32_t started = 1;
	for (uint32_t i = 0; i < count; i++) {
		struct worker *worker = &workers[i];
		worker->drive = drive;
		worker->queue = i;
		worker->blocks = drive->head_blocks / count;
		worker->first = worker->blocks * i;
		worker->generation = (uint16_t)(0x1000 * (i + 1));
		worker->random = i;
		worker->buffer_bytes = buffer_bytes / count & ~(size_t)63;
		worker->buffer = workers[0].buffer + worker->buffer_bytes * i;
		worker->requests = i ? 0 : worker->requests;
		worker->units = i ? 0 : worker->units;
		worker->failure[0] = 0;
	}
	while (started < count && !ingot->core_start(started, parallel_work, &workers[started]))
		started++;
	parallel_work(&workers[0]);
	uint64_t end = deadline(120000000);
	for (uint32_t i = 1; i < started; i++)
		while (ingot->core_busy(i) && !passed(end))
			ingot_relax();
	workers[0].buffer_bytes = buffer_bytes;
	workers[0].first = workers[0].queue = 0;
	workers[0].blocks = drive->head_blocks;
	if (workers[0].rc)
		return -1;
	if (started < count)
		return fail(&workers[0], "core %u can't be started", started);
	for (uint32_t i = 1; i < count; i++) {
		workers[0].requests += workers[i].requests;
		workers[0].units += workers[i].units;
		if (workers[i].rc)
			return fail(&workers[0], "queue %u: %s", i, workers[i].failure);
	}
	return passed(end) ? fail(&workers[0], "a core doesn't return") : 0;
}

// Queues beyond the cores, from this core.
static int every_queue(struct worker *worker)
{
	int rc = 0;
	for (uint32_t q = 0; !rc && q < worker->drive->info.queues; q++) {
		worker->queue = q;
		rc = sweep(worker, 1, 4);
	}
	worker->queue = 0;
	return rc;
}

static int writable(struct worker *workers)
{
	struct drive *drive = workers[0].drive;
	uint32_t cores = ingot->core_count(), count = drive->info.queues;
	count = count < cores ? count : cores;
	count = count < WORKERS ? count : WORKERS;
	if (drive->head_blocks < 64 * count || workers[0].buffer_bytes / count < 128 << 10)
		count = 1;
	if (parallel(workers, count) < 0 || every_queue(workers) < 0)
		return -1;
	workers[0].generation = 0xE000;
	if (sweeps(workers) < 0 || flush_and_discard(workers) < 0 || classic(workers) < 0 ||
		region(workers, INGOT_READ, 0, drive->head_blocks, 0) < 0)
		return -1;
	if (final_pattern(workers, INGOT_WRITE) < 0 || final_pattern(workers, INGOT_READ) < 0)
		return -1;
	int rc = one(workers, INGOT_FLUSH, 0, 0, NULL);
	return rc && rc != INGOT_ENOTSUP ? fail(workers, "flush: error %d", rc) : 0;
}

// 1: blank or ours, 0: somebody's.
static int scratch(struct worker *worker)
{
	uint32_t count = BLANK_BYTES / worker->drive->info.block_bytes;
	if (count > worker->drive->head_blocks)
		count = (uint32_t)worker->drive->head_blocks;
	for (uint32_t block = 0; block < count; block++) {
		if (one(worker, INGOT_READ, block, 1, worker->buffer))
			return fail(worker, "block %u can't be read", block);
		if (pattern_load(worker->buffer) == PATTERN_MAGIC && !block)
			return 1;
		for (uint32_t i = 0; i < worker->drive->info.block_bytes; i++)
			if (worker->buffer[i])
				return 0;
	}
	return 1;
}

static int plausible(struct worker *worker)
{
	const struct ingot_blk_info *info = &worker->drive->info;
	if ((info->block_bytes != 512 && info->block_bytes != 4096) || !info->blocks || !info->max_blocks ||
		!info->queues || !info->depth)
		return fail(worker, "the drive's properties make no sense");
	return 0;
}

// 1: checked, 0: left alone, -1: failed.
static int check_drive(struct worker *workers, struct drive *drive, int forced)
{
	drive->info.size = sizeof(drive->info);
	if (ingot->blk_info(drive->blk, &drive->info) < 0)
		return fail(workers, "no information");
	if (plausible(workers) < 0)
		return -1;
	uint64_t bytes = drive->info.blocks * drive->info.block_bytes;
	drive->scale = drive->info.block_bytes / PATTERN_UNIT;
	drive->head_blocks = (bytes < PATTERN_HEAD ? bytes : PATTERN_HEAD) / drive->info.block_bytes;
	drive->tail_first =
		drive->info.blocks - (bytes > PATTERN_HEAD + PATTERN_TAIL ? PATTERN_TAIL / drive->info.block_bytes : 0);
	workers[0].blocks = drive->head_blocks;
	for (uint64_t i = 0; i < drive->head_blocks; i++)
		drive->generation[i] = 0;
	int ours = drive->info.features & INGOT_BLK_READONLY ? 1 : forced ? 1 : scratch(workers);
	if (ours <= 0) {
		if (!ours)
			print("%s: not blank, left alone\n", drive->info.name);
		return ours;
	}
	if (refusals(workers) < 0)
		return -1;
	if (!(drive->info.features & INGOT_BLK_READONLY))
		return writable(workers) < 0 ? -1 : 1;
	return read_only(workers) < 0 || classic(workers) < 0 ? -1 : 1;
}

// The memory: workers, generations of the head's blocks, buffers.
static struct worker *set_up(struct drive *drive)
{
	size_t bytes, table = PATTERN_HEAD / PATTERN_UNIT * sizeof(uint16_t);
	size_t fixed = (sizeof(struct worker) * WORKERS + table + 63) & ~(size_t)63;
	uint8_t *memory = free_memory(&bytes);
	if (!memory || bytes < fixed + (256 << 10))
		return NULL;
	struct worker *workers = (struct worker *)memory;
	drive->generation = (uint16_t *)(memory + sizeof(struct worker) * WORKERS);
	workers[0] = (struct worker){ .drive = drive };
	workers[0].buffer = memory + fixed;
	workers[0].buffer_bytes = bytes - fixed < BUFFER_MAX ? bytes - fixed : BUFFER_MAX;
	return workers;
}

int main(int argc, char **argv)
{
	uint64_t only = argument(argc, argv, "disk", ~0ul), requests = 0, units = 0;
	uint32_t count = ingot->blk_count(), checked = 0;
	for (uint32_t blk = 0; blk < count; blk++) {
		static struct drive drive;
		if (only != ~0ul && only != blk)
			continue;
		drive.blk = blk;
		struct worker *workers = set_up(&drive);
		if (!workers) {
			verdict("diskcheck", "too little memory");
			return 1;
		}
		int rc = check_drive(workers, &drive, only == blk);
		if (rc < 0) {
			print("disk%u: ", blk);
			verdict("diskcheck", workers[0].failure);
			return 1;
		}
		if (!rc)
			continue;
		print("%s %s: %lu blocks of %u bytes, %u queues of %u, %s: %lu requests, %lu KiB: fine\n", drive.info.name,
			drive.info.driver, drive.info.blocks, drive.info.block_bytes, drive.info.queues, drive.info.depth,
			drive.info.features & INGOT_BLK_READONLY ? "read-only" : "writable", workers[0].requests,
			workers[0].units / 2);
		checked++;
		requests += workers[0].requests;
		units += workers[0].units;
	}
	print("diskcheck: drives=%u requests=%lu KiB=%lu\n", checked, requests, units / 2);
	verdict("diskcheck", checked ? NULL : "no drive that may be written, and none that is read-only");
	return 0;
}
