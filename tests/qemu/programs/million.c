// READS random reads of 4 KiB, 32 at a time, from a drive that was filled by patterns.py (its first 16 MiB): each must
// bring the sector that was asked for.
#include <ingot.h>

INGOT_NEEDS(shutdown);

#ifndef READS
#define READS 1000000
#endif
#define DEPTH 32
#define SECTORS 4096

static _Alignas(4096) uint8_t buffer[DEPTH][4096];
static uint64_t sector[DEPTH], state = 1;
static struct ingot_blk_info info = { .size = sizeof(info) };

static int submit(uint64_t slot)
{
	uint32_t scale = 4096 / info.block_bytes;
	state = state * 6364136223846793005u + 1442695040888963407u;
	sector[slot] = (state >> 33) % SECTORS;
	*(uint64_t *)(buffer[slot] + 8) = ~0ull;
	struct ingot_blk_req req = { sector[slot] * scale, scale, INGOT_READ, buffer[slot], slot };
	return ingot->blk_submit(0, 0, &req);
}

static const char *reads(void)
{
	struct ingot_blk_done done[DEPTH];
	uint32_t submitted = 0, completed = 0;
	while (submitted < DEPTH)
		if (submit(submitted++))
			return "refused";
	while (completed < READS) {
		uint32_t count = ingot->blk_poll(0, 0, done, DEPTH);
		for (uint32_t i = 0; i < count; i++, completed++) {
			uint64_t slot = done[i].tag;
			if (slot >= DEPTH || done[i].status)
				return "failed";
			if (*(uint64_t *)(buffer[slot] + 8) != sector[slot] * 8)
				return "the wrong sector";
			if (submitted++ < READS && submit(slot))
				return "refused";
		}
	}
	return "all there";
}

int main(void)
{
	ingot->blk_info(0, &info);
	ingot_print("million: ");
	ingot_print(reads());
	ingot_print("\n");
	ingot->shutdown();
	return 0;
}
