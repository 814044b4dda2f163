// Drives that stop answering, each read on a core of its own until it fails, while the boot core goes on reading the
// one that is good.  When all have failed it says so, waits for a key, and tells what a further read of each gives.
// Argument: good=N.
#include <lib.h>

INGOT_NEEDS(shutdown);

#define DRIVES 8
#define TRIES 40

static struct drive {
	uint32_t number;
	int rc;
	struct ingot_blk_info info;
	_Alignas(4096) uint8_t buffer[4096];
} drives[DRIVES];

static void read_first(struct drive *drive)
{
	struct ingot_blk_req req = { .count = 4096 / drive->info.block_bytes, .op = INGOT_READ, .data = drive->buffer };
	drive->rc = ingot->blk_run(drive->number, &req);
}

static void read_until_it_fails(void *arg)
{
	struct drive *drive = arg;
	for (int i = 0; i < TRIES && !drive->rc; i++)
		read_first(drive);
}

static uint32_t busy(uint32_t count)
{
	uint32_t working = 0;
	for (uint32_t i = 1; i <= count; i++)
		working += (uint32_t)ingot->core_busy(i);
	return working;
}

int main(int argc, char **argv)
{
	uint32_t count = ingot->blk_count(), good = (uint32_t)argument(argc, argv, "good", 0), cores = 0, reads = 0;
	if (good >= count || count > DRIVES || ingot->core_count() < count)
		verdict("deadline", "no such drive, too many, or too few cores");
	for (uint32_t i = 0; i < count; i++) {
		drives[i].number = i;
		drives[i].info.size = sizeof(drives[i].info);
		ingot->blk_info(i, &drives[i].info);
		if (i != good)
			ingot->core_start(++cores, read_until_it_fails, &drives[i]);
	}
	do
		read_first(&drives[good]);
	while (reads++, !drives[good].rc && busy(cores));
	for (uint32_t i = 0; i < count; i++)
		print("disk%u %s: %d\n", i, drives[i].info.driver, drives[i].rc);
	print("deadline: %u reads beside them\n", reads);
	ingot_wait_key();
	for (uint32_t i = 0; i < count; i++) {
		read_first(&drives[i]);
		print("disk%u %s again: %d\n", i, drives[i].info.driver, drives[i].rc);
	}
	verdict("deadline", NULL);
	return 0;
}
