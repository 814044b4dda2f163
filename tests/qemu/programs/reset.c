// RESET while other cores are in the middle of the kernel: one reads a drive that takes half a second for each read,
// one waits for an hour.  Both are idle soon, and the drive can be read.
#include <baremetal.h>
#include <lib.h>

INGOT_NEEDS(shutdown);

#define MIDDLE_US 200000
#define USE_US 1000
#define HOUR_US 3600000000ul
#define LATE_US 20000000

static _Alignas(4096) uint8_t buffer[2][4096];
static volatile uint32_t reads, waiting;

static int read_into(void *data)
{
	struct ingot_blk_req req = { .count = 8, .op = INGOT_READ, .data = data };
	return ingot->blk_run(0, &req);
}

static void read_on(void *arg)
{
	while (!read_into(arg)) {
		reads++;
		for (uint64_t end = deadline(USE_US); !passed(end);) // does something with it
			for (int i = 0; i < 1000; i++)
				ingot_relax();
	}
}

static void wait_on(void *arg)
{
	(void)arg;
	waiting = 1;
	ingot->delay_us(HOUR_US);
	waiting = 2; // its work ends nowhere
	for (;;)
		ingot_relax();
}

int main(void)
{
	uint64_t end = deadline(LATE_US);
	if (ingot->core_start(1, read_on, buffer[0]) || ingot->core_start(2, wait_on, NULL))
		verdict("reset", "no cores");
	while (!reads || !waiting)
		ingot_relax();
	ingot->delay_us(MIDDLE_US);
	b_system(B_RESET, 0, 0);
	if (passed(end))
		verdict("reset", "late");
	if (ingot->core_busy(1) || ingot->core_busy(2))
		verdict("reset", "a core is still busy");
	if (read_into(buffer[1]))
		verdict("reset", "the drive can't be read");
	uint64_t start = ingot->time_ns();
	if (ingot->core_start(2, wait_on, NULL))
		verdict("reset", "no work behind RESET");
	ingot->delay_us(MIDDLE_US);
	verdict("reset", ingot->time_ns() - start < MIDDLE_US * 1000ul || waiting != 1 ? "DELAY is short" : NULL);
	return 0;
}
