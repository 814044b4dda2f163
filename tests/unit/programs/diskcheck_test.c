// diskcheck itself, on a drive in memory: it passes on one that works, and finds each way in which one may not.
#define main diskcheck_main
#include <programs/diskcheck.c>
#undef main
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum fault {
	NONE,
	LOST_WRITE,
	MISPLACED_WRITE,
	REPEATED_READ,
	SHORT_WRITE,
	LONG_READ,
	LATE_READ,
	TWICE,
	SILENT_ERROR,
	PAST_END,
	READ_ONLY_IGNORED,
	BAD_FLUSH,
	NEVER,
	CLASSIC_PAST_END,
	CLASSIC_NOTHING,
	CLASSIC_HALF,
	EATS_NEIGHBOUR,
	QUEUE_MIXED,
	FAULTS
};

#define QUEUE_DEPTH 8
#define QUEUES 3
#define MEMORY (24u << 20)

char __bss_end[1];

static struct fake_drive {
	uint8_t *bytes;
	uint64_t blocks;
	uint32_t block_bytes, features;
	enum fault fault;
	struct ingot_blk_req pending[QUEUES][QUEUE_DEPTH], late;
	uint32_t count[QUEUES], writes, reads;
} disk;
static uint8_t *memory;
static uint64_t now;
static char said[4096];
static int shut_down;

static void perform_write(const struct ingot_blk_req *req)
{
	uint64_t block = req->block;
	size_t bytes = (size_t)req->count * disk.block_bytes;
	int chosen = ++disk.writes % 41 == 0;
	if (chosen && disk.fault == LOST_WRITE)
		return;
	if (chosen && disk.fault == MISPLACED_WRITE && block + req->count < disk.blocks)
		block++;
	if (req->count > 1 && disk.fault == SHORT_WRITE)
		bytes -= disk.block_bytes;
	memcpy(disk.bytes + block * disk.block_bytes, req->data, bytes);
	if (chosen && disk.fault == EATS_NEIGHBOUR && block)
		memset(disk.bytes + block * disk.block_bytes - 8, 0, 8);
}

static void perform_read(const struct ingot_blk_req *req)
{
	size_t bytes = (size_t)req->count * disk.block_bytes;
	memcpy(req->data, disk.bytes + req->block * disk.block_bytes, bytes);
	if (disk.fault == REPEATED_READ)
		for (uint32_t i = 1; i < req->count; i++)
			memcpy((uint8_t *)req->data + i * disk.block_bytes, req->data, disk.block_bytes);
	if (disk.fault == LONG_READ)
		((uint8_t *)req->data)[bytes] = 0;
}

static int perform(const struct ingot_blk_req *req)
{
	if (disk.late.data)
		perform_read(&disk.late);
	disk.late.data = NULL;
	if (req->op == INGOT_WRITE)
		perform_write(req);
	if (req->op == INGOT_READ && disk.fault == LATE_READ && ++disk.reads > 300)
		disk.late = *req;
	else if (req->op == INGOT_READ)
		perform_read(req);
	return req->op == INGOT_FLUSH && disk.fault == BAD_FLUSH ? INGOT_EIO : INGOT_OK;
}

static int refuse(uint32_t blk, uint32_t queue, const struct ingot_blk_req *req)
{
	if (blk || queue >= QUEUES)
		return INGOT_ENODEV;
	if (req->op > INGOT_DISCARD)
		return INGOT_EINVAL;
	if ((req->op == INGOT_WRITE || req->op == INGOT_DISCARD) && disk.features & INGOT_BLK_READONLY &&
		disk.fault != READ_ONLY_IGNORED)
		return INGOT_ERDONLY;
	if (req->op == INGOT_DISCARD && !(disk.features & INGOT_BLK_DISCARD))
		return INGOT_ENOTSUP;
	if (req->op == INGOT_FLUSH)
		return INGOT_OK;
	if (req->block >= disk.blocks || req->count > disk.blocks - req->block)
		return disk.fault == PAST_END && req->count == 1 ? 1 : INGOT_ERANGE;
	if (!req->count || req->count > 256 || (req->op != INGOT_DISCARD && !req->data))
		return INGOT_EINVAL;
	return INGOT_OK;
}

static int blk_submit(uint32_t blk, uint32_t queue, const struct ingot_blk_req *req)
{
	int rc = refuse(blk, queue, req);
	if (rc)
		return rc < 0 ? rc : INGOT_OK;
	if (disk.count[queue] == QUEUE_DEPTH)
		return INGOT_EAGAIN;
	disk.pending[queue][disk.count[queue]++] = *req;
	return INGOT_OK;
}

// Out of order: the last one first.
static uint32_t blk_poll(uint32_t blk, uint32_t queue, struct ingot_blk_done *done, uint32_t max)
{
	uint32_t got = 0;
	(void)blk;
	if (disk.fault == NEVER)
		now += 1000000000;
	while (got < max && disk.count[queue] && disk.fault != NEVER) {
		struct ingot_blk_req *req = &disk.pending[queue][--disk.count[queue]];
		int chosen = disk.writes > 300;
		done[got] = (struct ingot_blk_done){ .tag = req->tag };
		if (disk.fault == SILENT_ERROR && chosen)
			done[got].status = INGOT_EIO; // the caller must not pass it over
		if (disk.fault == QUEUE_MIXED && chosen && queue)
			req->block ^= 1;
		perform(req);
		got++;
		if (disk.fault == TWICE && chosen && got < max)
			done[got] = done[got - 1], got++;
	}
	return got;
}

static int blk_run(uint32_t blk, const struct ingot_blk_req *req)
{
	int rc = refuse(blk, 0, req);
	return rc < 0 ? rc : rc ? INGOT_OK : perform(req);
}

static uint64_t classic_call(uint32_t op, uint64_t sector, uint64_t count, const void *data, uint64_t drive)
{
	uint64_t sectors = disk.blocks * disk.block_bytes / B_SECTOR;
	uint64_t scale = B_SECTOR / disk.block_bytes;
	struct ingot_blk_req req = { sector * scale, (uint32_t)(count * scale), op, (void *)(uintptr_t)data, 0 };
	if (disk.fault == CLASSIC_NOTHING && !count)
		return 1;
	if (drive & 0xFF || !count)
		return 0;
	if (sector >= sectors || count > sectors - sector)
		return disk.fault == CLASSIC_PAST_END ? count : 0;
	if (op == INGOT_WRITE && disk.features & INGOT_BLK_READONLY)
		return 0;
	if (disk.fault == CLASSIC_HALF && count > 16)
		req.count /= 2;
	perform(&req);
	return count;
}

uint64_t b_nvs_read(void *data, uint64_t sector, uint64_t count, uint64_t drive)
{
	return classic_call(INGOT_READ, sector, count, data, drive);
}

uint64_t b_nvs_write(const void *data, uint64_t sector, uint64_t count, uint64_t drive)
{
	return classic_call(INGOT_WRITE, sector, count, data, drive);
}

static int blk_info(uint32_t blk, struct ingot_blk_info *out)
{
	if (blk)
		return INGOT_ENODEV;
	*out = (struct ingot_blk_info){
		.size = sizeof(*out),
		.block_bytes = disk.block_bytes,
		.blocks = disk.blocks,
		.max_blocks = 256,
		.queues = QUEUES,
		.depth = QUEUE_DEPTH,
		.features = (uint16_t)disk.features,
		.align = 1,
		.name = "disk0",
		.driver = "fake",
	};
	return INGOT_OK;
}

static void say(const char *text, size_t len)
{
	size_t used = strlen(said);
	if (used + len < sizeof(said))
		memcpy(said + used, text, len);
}

void b_output(const char *text, uint64_t length)
{
	say(text, length);
}

uint64_t b_system(uint64_t function, uint64_t rax, uint64_t rdx)
{
	(void)function, (void)rax, (void)rdx;
	return 0;
}

static uint64_t time_ns(void)
{
	return now += 1000;
}

static int get_memory(struct ingot_memory *out)
{
	out->base = out->free = memory;
	out->bytes = MEMORY;
	return INGOT_OK;
}

static uint32_t one_drive(void)
{
	return 1;
}

static uint32_t four_cores(void)
{
	return 4;
}

static int core_start(uint32_t core, void (*fn)(void *arg), void *arg)
{
	(void)core;
	fn(arg);
	return INGOT_OK;
}

static int core_busy(uint32_t core)
{
	(void)core;
	return 0;
}

static void power_off(void)
{
	shut_down++;
}

static const struct ingot_api api = {
	.version = 1,
	.size = sizeof(api),
	.kernel = "fake",
	.write = say,
	.time_ns = time_ns,
	.memory = get_memory,
	.core_count = four_cores,
	.core_start = core_start,
	.core_busy = core_busy,
	.blk_count = one_drive,
	.blk_info = blk_info,
	.blk_submit = blk_submit,
	.blk_poll = blk_poll,
	.blk_run = blk_run,
	.shutdown = power_off,
};
const struct ingot_api *ingot = &api;

// Runs diskcheck on a drive of this kind; returns if it passed.
static int passes(uint32_t block_bytes, uint64_t bytes, uint32_t features, enum fault fault, uint8_t content)
{
	char *argv[] = { (char *)"program", NULL };
	uint8_t *kept = disk.bytes;
	disk = (struct fake_drive){
		.block_bytes = block_bytes,
		.blocks = bytes / block_bytes,
		.features = features,
		.fault = fault,
	};
	disk.bytes = content == 'k' ? kept : malloc(bytes);
	assert_non_null(disk.bytes);
	if (content != 'k')
		memset(disk.bytes, content, bytes);
	memset(said, 0, sizeof(said));
	shut_down = 0;
	diskcheck_main(1, argv);
	assert_int_equal(shut_down, 1);
	int pass = strstr(said, "diskcheck: PASS") != NULL;
	assert_int_equal(pass, !strstr(said, "diskcheck: FAIL: "));
	return pass;
}

static void let_go(void)
{
	free(disk.bytes);
	disk.bytes = NULL;
}

static void works(void **state)
{
	static const struct {
		uint32_t block_bytes;
		uint64_t bytes;
	} kinds[] = { { 512, 2 << 20 }, { 4096, 2 << 20 }, { 512, 18 << 20 }, { 512, 64 << 10 } };
	(void)state;
	for (uint32_t i = 0; i < 4; i++) {
		uint64_t bytes = kinds[i].bytes, head = bytes < PATTERN_HEAD ? bytes : PATTERN_HEAD;
		if (!passes(kinds[i].block_bytes, bytes, INGOT_BLK_FLUSH | INGOT_BLK_DISCARD, NONE, 0))
			fail_msg("%s", said);
		for (uint64_t unit = 0; unit < head / PATTERN_UNIT; unit++)
			assert_int_equal(pattern_check(disk.bytes + unit * PATTERN_UNIT, unit, PATTERN_FINAL), PATTERN_WORDS);
		if (bytes > PATTERN_HEAD + PATTERN_TAIL)
			for (uint64_t unit = (bytes - PATTERN_TAIL) / PATTERN_UNIT; unit < bytes / PATTERN_UNIT; unit++)
				assert_int_equal(pattern_check(disk.bytes + unit * PATTERN_UNIT, unit, PATTERN_FINAL), PATTERN_WORDS);
		if (!passes(kinds[i].block_bytes, bytes, INGOT_BLK_READONLY, NONE, 'k')) // what it left, read-only
			fail_msg("%s", said);
		disk.bytes[head - 1] ^= 1;
		assert_false(passes(kinds[i].block_bytes, bytes, INGOT_BLK_READONLY, NONE, 'k'));
		let_go();
	}
}

// Somebody's data stays.
static void not_ours(void **state)
{
	(void)state;
	assert_false(passes(512, 1 << 20, 0, NONE, 0x55));
	assert_int_equal(disk.writes, 0);
	assert_non_null(strstr(said, "not blank"));
	let_go();
}

static void faults(void **state)
{
	(void)state;
	for (enum fault fault = NONE + 1; fault < FAULTS; fault++) {
		uint32_t features = fault == READ_ONLY_IGNORED ? INGOT_BLK_READONLY : INGOT_BLK_FLUSH | INGOT_BLK_DISCARD;
		if (passes(512, 2 << 20, features, fault, 0))
			fail_msg("fault %d goes unseen", fault);
		let_go();
	}
}

static int allocate(void **state)
{
	(void)state;
	memory = aligned_alloc(4096, MEMORY);
	return !memory;
}

static int release(void **state)
{
	(void)state;
	free(memory);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(works), cmocka_unit_test(not_ours), cmocka_unit_test(faults) };
	return cmocka_run_group_tests(tests, allocate, release);
}
