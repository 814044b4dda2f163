// Keeps every drive's first queue full with reads, then with writes, of a sector of 4 KiB each, one beside the other
// from the drive's start on, and says of each request that failed which it was; then the same sectors one by one
// through the register interface.  For drives with bad blocks.
#include <lib.h>
#include <baremetal.h>

INGOT_NEEDS(shutdown);

#define REQUESTS 64
#define PATIENCE_US 30000000

static _Alignas(4096) uint8_t buffer[REQUESTS][B_SECTOR];
static const char *const names[] = { "read", "write" };

static void run(uint32_t drive, uint32_t op, uint32_t blocks)
{
	uint8_t state[REQUESTS] = { 0 };
	uint32_t submitted = 0, completed = 0, good = 0;
	uint64_t end = deadline(PATIENCE_US);
	while (completed < REQUESTS && !passed(end)) {
		struct ingot_blk_done done[8];
		struct ingot_blk_req req = { submitted * blocks, blocks, op, buffer[submitted % REQUESTS], submitted };
		int rc = submitted < REQUESTS ? ingot->blk_submit(drive, 0, &req) : INGOT_EAGAIN;
		if (rc == INGOT_OK) {
			submitted++;
			continue;
		}
		if (rc != INGOT_EAGAIN) {
			print("disk%u refuses %s %u: %d\n", drive, names[op], submitted, rc);
			return;
		}
		uint32_t count = ingot->blk_poll(drive, 0, done, 8);
		for (uint32_t i = 0; i < count; i++, completed++) {
			uint64_t tag = done[i].tag;
			if (tag >= submitted || state[tag]++)
				print("disk%u %s twice, or never asked for: %lu\n", drive, names[op], tag);
			else if (done[i].status)
				print("disk%u %s %lu: %d\n", drive, names[op], tag, done[i].status);
			else
				good++;
		}
	}
	print("disk%u %ss: %u good of %u\n", drive, names[op], good, completed);
}

static void classic(uint32_t drive, uint32_t op)
{
	uint32_t good = 0;
	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint64_t count = op ? b_nvs_write(buffer[i], i, 1, drive) : b_nvs_read(buffer[i], i, 1, drive);
		if (count != 1)
			print("disk%u b_nvs %s %u: %lu\n", drive, names[op], i, count);
		good += count == 1;
	}
	print("disk%u b_nvs %ss: %u good\n", drive, names[op], good);
}

int main(void)
{
	for (uint32_t drive = 0; drive < ingot->blk_count(); drive++) {
		struct ingot_blk_info info = { .size = sizeof(info) };
		ingot->blk_info(drive, &info);
		for (uint32_t op = INGOT_READ; op <= INGOT_WRITE; op++) {
			run(drive, op, B_SECTOR / info.block_bytes);
			run(drive, op, B_SECTOR / info.block_bytes); // the drive works on
			classic(drive, op);
		}
	}
	print("deep: done\n");
	ingot->shutdown();
	return 0;
}
