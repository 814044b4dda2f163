// Keeps every drive's first queue full with reads, then with writes, of 4 KiB each, one beside the other from the
// drive's start on, and says of each request that failed which it was: tests of errors and of drives that hang.
#include <ingot.h>

INGOT_NEEDS(shutdown);

#ifndef REQUESTS
#define REQUESTS 64
#endif
#define BYTES 4096
#define PATIENCE_US 30000000

static _Alignas(4096) uint8_t buffer[REQUESTS][BYTES];

static void say(const char *what, uint32_t drive, uint32_t number, uint32_t value)
{
	char text[] = " 0 00: 00\n";
	ingot_print(what);
	text[1] += drive;
	text[3] += number / 10;
	text[4] += number % 10;
	text[7] += value / 10;
	text[8] += value % 10;
	ingot_print(text);
}

static void run(uint32_t drive, uint32_t op, uint32_t blocks)
{
	static const char *const names[] = { "read", "write" };
	uint8_t state[REQUESTS] = { 0 };
	uint32_t submitted = 0, completed = 0, good = 0;
	uint64_t end = ingot->time_ns() + PATIENCE_US * 1000ul;
	while (completed < REQUESTS && ingot->time_ns() < end) {
		struct ingot_blk_done done[8];
		struct ingot_blk_req req = { submitted * blocks, blocks, op, buffer[submitted], submitted };
		int rc = submitted < REQUESTS ? ingot->blk_submit(drive, 0, &req) : INGOT_EAGAIN;
		if (rc == INGOT_OK) {
			submitted++;
			continue;
		}
		if (rc != INGOT_EAGAIN) {
			say("refused", drive, submitted, -rc);
			return;
		}
		uint32_t count = ingot->blk_poll(drive, 0, done, 8);
		for (uint32_t i = 0; i < count; i++, completed++) {
			uint32_t tag = done[i].tag;
			if (tag >= submitted || state[tag]++)
				say("twice", drive, tag % 100, 0);
			else if (done[i].status)
				say(names[op], drive, tag, -done[i].status);
			else
				good++;
		}
	}
	say(op ? "good writes" : "good reads", drive, good, completed);
}

int main(void)
{
	for (uint32_t drive = 0; drive < ingot->blk_count(); drive++) {
		struct ingot_blk_info info = { .size = sizeof(info) };
		ingot->blk_info(drive, &info);
		for (uint32_t op = INGOT_READ; op <= INGOT_WRITE; op++) {
			run(drive, op, BYTES / info.block_bytes);
			run(drive, op, BYTES / info.block_bytes);	// the drive works on
		}
	}
	ingot_print("deep: done\n");
	ingot->shutdown();
	return 0;
}
