// READS random reads of 4 KiB, 32 at a time, from each drive, which was filled by patterns.py (its first 16 MiB): each
// must bring the sector that was asked for.  Argument: reads=N.
#include <lib.h>
#include <pattern.h>

INGOT_NEEDS(shutdown);

#define DEPTH 32
#define SECTORS (PATTERN_HEAD / 4096)
#define UNITS (4096 / PATTERN_UNIT)

static _Alignas(4096) uint8_t buffer[DEPTH][4096];
static uint64_t sector[DEPTH], state;

static int submit(uint32_t drive, const struct ingot_blk_info *info, uint64_t slot)
{
	uint32_t blocks = 4096 / info->block_bytes;
	sector[slot] = random_next(&state) % SECTORS;
	pattern_store(buffer[slot] + 8, ~0ull);
	struct ingot_blk_req req = { sector[slot] * blocks, blocks, INGOT_READ, buffer[slot], slot };
	return ingot->blk_submit(drive, 0, &req);
}

static const char *reads(uint32_t drive, const struct ingot_blk_info *info, uint64_t count)
{
	struct ingot_blk_done done[DEPTH];
	uint64_t submitted = 0, completed = 0;
	while (submitted < DEPTH)
		if (submit(drive, info, submitted++))
			return "refused";
	while (completed < count) {
		uint32_t got = ingot->blk_poll(drive, 0, done, DEPTH);
		for (uint32_t i = 0; i < got; i++, completed++) {
			uint64_t slot = done[i].tag;
			if (slot >= DEPTH || done[i].status)
				return "failed";
			if (pattern_load(buffer[slot] + 8) != sector[slot] * UNITS)
				return "the wrong sector";
			if (submitted++ < count && submit(drive, info, slot))
				return "refused";
		}
	}
	return "all there";
}

int main(int argc, char **argv)
{
	uint64_t count = argument(argc, argv, "reads", 1000);
	for (uint32_t drive = 0; drive < ingot->blk_count(); drive++) {
		struct ingot_blk_info info = { .size = sizeof(info) };
		ingot->blk_info(drive, &info);
		uint64_t start = ingot->time_ns();
		const char *result = reads(drive, &info, count);
		print("%s %s: %s, %lu reads a second\n", info.name, info.driver, result,
			count * 1000000 / ((ingot->time_ns() - start) / 1000 + 1));
	}
	verdict("million", NULL);
	return 0;
}
