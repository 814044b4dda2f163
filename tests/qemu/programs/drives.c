// Reads and writes single blocks of every drive, through both interfaces, and says what came of each.
#include <baremetal.h>
#include <ingot.h>

INGOT_NEEDS(shutdown);

#define FAR 4096	// bytes into the drive where the second access goes

static _Alignas(4096) uint8_t buffer[4096];

static void say(const char *what, uint32_t drive, int64_t value)
{
	char text[] = "0: -00\n";
	ingot_print(what);
	text[0] += drive;
	if (value < 0)
		value = -value;
	else
		text[3] = '+';
	text[4] += value / 10;
	text[5] += value % 10;
	ingot_print(text);
}

int main(void)
{
	for (uint32_t drive = 0; drive < ingot->blk_count(); drive++) {
		struct ingot_blk_info info = { .size = sizeof(info) };
		ingot->blk_info(drive, &info);
		for (uint32_t op = INGOT_READ; op <= INGOT_WRITE; op++) {
			struct ingot_blk_req req = { .block = 0, .count = 1, .op = op, .data = buffer };
			say(op ? "write near " : "read near ", drive, ingot->blk_run(drive, &req));
			req.block = FAR / info.block_bytes;
			say(op ? "write far " : "read far ", drive, ingot->blk_run(drive, &req));
		}
		say("classic read near ", drive, b_nvs_read(buffer, 0, 1, drive));
		say("classic read far ", drive, b_nvs_read(buffer, FAR / 4096, 1, drive));
		say("classic write far ", drive, b_nvs_write(buffer, FAR / 4096, 1, drive));
	}
	ingot_print("drives: done\n");
	ingot->shutdown();
	return 0;
}
