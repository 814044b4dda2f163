// A drive that stops answering: its requests end in an error, other drives go on, and it is back when it answers again.
#include <ingot.h>

INGOT_NEEDS(shutdown);

#define TRIES 40

static _Alignas(4096) uint8_t buffer[4096];

static int read_first(uint32_t drive)
{
	struct ingot_blk_info info = { .size = sizeof(info) };
	ingot->blk_info(drive, &info);
	struct ingot_blk_req req = { .count = 4096 / info.block_bytes, .op = INGOT_READ, .data = buffer };
	return ingot->blk_run(drive, &req);
}

static void say(const char *what, int rc)
{
	char text[] = "-0\n";
	ingot_print(what);
	text[1] += -rc;
	ingot_print(text);
}

int main(void)
{
	int rc = 0;
	for (int i = 0; rc == 0 && i < TRIES; i++)
		rc = read_first(0);
	say("deadline: ", rc);
	say("other drive: ", read_first(1));
	for (int i = 0; rc && i < TRIES; i++)
		rc = read_first(0);
	say("back: ", rc);
	ingot->shutdown();
	return 0;
}
