// Random extents on every drive: written, and read again while others are being written, 1 to 2048 units of 512 bytes
// each, 1 to 128 requests at once, by every queue on a core of its own.  Each unit says where it belongs and the how
// manieth write to it this was (programs/pattern.h); the program compares all that it reads, and tests/qemu/patterns.py
// what it leaves in the image: the numbers in the last line are the sums over all units that were written.
//
// Argument: mib=N, what is moved on each drive in all.
#include <lib.h>
#include <pattern.h>

INGOT_NEEDS(shutdown);

#define WORKERS 8
#define DEPTH 128
#define DEPTH_BITS 7
#define UNITS_BITS 11
#define BATCH_BYTES (4u << 20) // of one worker's requests that are under way
#define REQUEST_US 60000000

struct worker {
	uint32_t blk, queue, scale; // scale: units in a block
	uint32_t max_blocks;
	uint64_t first, blocks; // its part of the drive
	uint16_t *generation;   // of each of its blocks; 0: never written
	uint8_t *buffer;
	uint64_t random, left, requests; // left: bytes to be moved
	uint64_t written, seeds;         // units that are on the drive at the end, and the sum of their seeds
	const char *wrong;
	uint64_t where;
	struct ingot_blk_req reqs[DEPTH];
	uint8_t done[DEPTH];
};

static struct worker workers[WORKERS];

static uint32_t chance(struct worker *worker, uint32_t most)
{
	return 1 + (uint32_t)(random_next(&worker->random) % most);
}

// Small and large numbers alike: 1 to 2^bits.
static uint32_t skewed(struct worker *worker, uint32_t bits)
{
	return chance(worker, 1u << random_next(&worker->random) % (bits + 1));
}

static int wrong(struct worker *worker, const char *what, uint64_t where)
{
	worker->wrong = what;
	worker->where = where;
	return -1;
}

static int overlaps(const struct worker *worker, uint32_t count, uint64_t block, uint32_t blocks)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct ingot_blk_req *req = &worker->reqs[i];
		if (block < req->block + req->count && req->block < block + blocks)
			return 1;
	}
	return 0;
}

static void fill(struct worker *worker, const struct ingot_blk_req *req)
{
	uint8_t *at = req->data;
	for (uint32_t b = 0; b < req->count; b++) {
		uint16_t *generation = &worker->generation[req->block - worker->first + b];
		*generation += 1;
		for (uint32_t i = 0; i < worker->scale; i++, at += PATTERN_UNIT)
			pattern_fill(at, (req->block + b) * worker->scale + i, *generation);
	}
}

static int check(struct worker *worker, const struct ingot_blk_req *req)
{
	const uint8_t *at = req->data;
	for (uint32_t b = 0; b < req->count; b++) {
		uint16_t generation = worker->generation[req->block - worker->first + b];
		for (uint32_t i = 0; i < worker->scale; i++, at += PATTERN_UNIT) {
			uint64_t unit = (req->block + b) * worker->scale + i;
			if (generation ? pattern_check(at, unit, generation) < PATTERN_WORDS : pattern_load(at) != 0)
				return wrong(worker, "not what was written to unit", unit);
		}
	}
	return 0;
}

// Chooses requests that don't touch each other, or one that is longer than the queue takes, for blk_run.
static uint32_t choose(struct worker *worker)
{
	uint32_t depth = skewed(worker, DEPTH_BITS), count = 0, bytes = 0;
	for (uint32_t tries = 0; tries < depth; tries++) {
		uint32_t blocks = (skewed(worker, UNITS_BITS) + worker->scale - 1) / worker->scale;
		uint32_t room = blocks * worker->scale * PATTERN_UNIT;
		if (blocks > worker->max_blocks && (count || worker->queue))
			continue;
		if (blocks > worker->max_blocks)
			depth = 0;
		uint64_t block = worker->first + random_next(&worker->random) % (worker->blocks - blocks + 1);
		if (bytes + room > BATCH_BYTES || overlaps(worker, count, block, blocks))
			continue;
		uint32_t op = random_next(&worker->random) >> 62 ? INGOT_WRITE : INGOT_READ; // three of four
		worker->reqs[count] = (struct ingot_blk_req){ block, blocks, op, worker->buffer + bytes, count };
		worker->done[count] = 0;
		if (op == INGOT_WRITE)
			fill(worker, &worker->reqs[count]);
		bytes += room;
		count++;
	}
	worker->left -= worker->left < bytes ? worker->left : bytes;
	worker->requests += count;
	return count;
}

static int submit_all(struct worker *worker, uint32_t count)
{
	uint64_t end = deadline(REQUEST_US);
	if (count && worker->reqs[0].count > worker->max_blocks)
		return ingot->blk_run(worker->blk, &worker->reqs[0]) ?
			wrong(worker, "blk_run fails: block", worker->reqs[0].block) :
			0;
	for (uint32_t submitted = 0, completed = 0; completed < count;) {
		struct ingot_blk_done done[16];
		int rc =
			submitted < count ? ingot->blk_submit(worker->blk, worker->queue, &worker->reqs[submitted]) : INGOT_EAGAIN;
		if (rc == INGOT_OK) {
			submitted++;
			continue;
		}
		uint32_t got = ingot->blk_poll(worker->blk, worker->queue, done, 16);
		for (uint32_t i = 0; i < got; i++, completed++)
			if (done[i].tag >= submitted || worker->done[done[i].tag]++ || done[i].status)
				return wrong(worker, "a completion that is none, or an error: tag", done[i].tag);
		if (rc != INGOT_EAGAIN || passed(end))
			return wrong(worker, "refused, or never done: block", worker->reqs[submitted % DEPTH].block);
	}
	return 0;
}

static void sum_up(struct worker *worker)
{
	for (uint64_t b = 0; b < worker->blocks; b++)
		for (uint32_t i = 0; worker->generation[b] && i < worker->scale; i++) {
			worker->seeds += pattern_seed((worker->first + b) * worker->scale + i, worker->generation[b]);
			worker->written++;
		}
}

static void run(void *arg)
{
	struct worker *worker = arg;
	while (worker->left && !worker->wrong) {
		uint32_t count = choose(worker);
		if (submit_all(worker, count) < 0)
			return;
		for (uint32_t i = 0; i < count; i++)
			if (worker->reqs[i].op == INGOT_READ && check(worker, &worker->reqs[i]) < 0)
				return;
	}
	sum_up(worker);
}

// Every queue gets its part of the drive, `memory` for what it remembers and moves.
static uint32_t set_up(uint32_t blk, const struct ingot_blk_info *info, uint8_t *memory, uint64_t bytes)
{
	uint32_t cores = ingot->core_count(), count = info->queues < cores ? info->queues : cores;
	count = count < WORKERS ? count : WORKERS;
	for (uint32_t i = 0; i < count; i++) {
		struct worker *worker = &workers[i];
		uint64_t blocks = info->blocks / count;
		size_t table = (blocks * sizeof(uint16_t) + 4095) & ~4095ul;
		*worker = (struct worker){ .blk = blk,
			.queue = i,
			.scale = info->block_bytes / PATTERN_UNIT,
			.first = blocks * i,
			.blocks = blocks,
			.random = blk * WORKERS + i,
			.left = bytes / count };
		worker->max_blocks = info->max_blocks;
		worker->generation = (uint16_t *)memory;
		for (uint64_t b = 0; b < blocks; b++)
			worker->generation[b] = 0;
		worker->buffer = memory + table;
		memory += table + BATCH_BYTES;
	}
	return count;
}

static const char *check_drive(uint32_t blk, uint8_t *memory, size_t room, uint64_t bytes)
{
	struct ingot_blk_info info = { .size = sizeof(info) };
	ingot->blk_info(blk, &info);
	if (room < info.blocks * sizeof(uint16_t) + WORKERS * (BATCH_BYTES + 4096))
		return "too little memory";
	uint32_t count = set_up(blk, &info, memory, bytes);
	const char *failure = NULL;
	uint64_t written = 0, seeds = 0;
	for (uint32_t i = 1; i < count; i++)
		ingot->core_start(i, run, &workers[i]);
	run(&workers[0]);
	for (uint32_t i = 0; i < count; i++) {
		struct worker *worker = &workers[i];
		while (i && ingot->core_busy(i))
			ingot_relax();
		print("%s queue %u: %lu requests\n", info.name, i, worker->requests);
		if (worker->wrong)
			print("%s %s queue %u: %s %lu\n", info.name, info.driver, i, worker->wrong, worker->where);
		failure = failure ? failure : worker->wrong;
		written += worker->written;
		seeds += worker->seeds;
	}
	struct ingot_blk_req flush = { .op = INGOT_FLUSH };
	ingot->blk_run(blk, &flush);
	print("%s %s: %lu units, sum %lu\n", info.name, info.driver, written, seeds);
	return failure;
}

int main(int argc, char **argv)
{
	size_t room;
	uint8_t *memory = free_memory(&room);
	uint64_t mib = argument(argc, argv, "mib", 16);
	const char *failure = ingot->blk_count() ? NULL : "no drive";
	for (uint32_t blk = 0; blk < ingot->blk_count() && !failure; blk++)
		failure = check_drive(blk, memory, room, mib << 20);
	verdict("extents", failure);
	return 0;
}
