// Does one forbidden thing, named by FAULT.
#include <ingot.h>

INGOT_NEEDS(shutdown);

#define NULL_READ 1
#define KERNEL_WRITE 2
#define CONSTANT_WRITE 3
#define EXECUTE_DATA 4
#define DIVIDE 5
#define ILLEGAL 6
#define STACK 7
#define UNMAPPED 8
#define ON_OTHER_CORE 9

static const char *const constant = "constant";
static uint8_t data[64] = { 0xC3 };

__attribute__((noinline)) static uint64_t deeper(uint64_t n)
{
	volatile uint64_t room[64];
	room[n & 63] = n;
	return n ? deeper(n - 1) + room[n & 63] : 0;
}

__attribute__((noipa)) static void null_read(void *arg)
{
	(void)*(volatile uint8_t *)arg;
}

int main(void)
{
	ingot_print("about to fault\n");
	switch (FAULT) {
	case NULL_READ:
		null_read((void *)16);
		break;
	case KERNEL_WRITE:
		*(volatile uint8_t *)0x101000 = 0; // the kernel's code begins on its second page
		break;
	case CONSTANT_WRITE:
		*(volatile char *)constant = 0;
		break;
	case EXECUTE_DATA:
		((void (*)(void))data)();
		break;
	case DIVIDE:
		__asm__ volatile("xor %%eax, %%eax; cltd; div %%eax" : : : "eax", "edx");
		break;
	case ILLEGAL:
		__asm__ volatile("ud2");
		break;
	case STACK:
		deeper(1000000);
		break;
	case UNMAPPED:
		null_read((void *)0x0000700000000000);
		break;
	case ON_OTHER_CORE:
		ingot->core_start(1, null_read, (void *)16);
		ingot->delay_us(1000000);
		break;
	}
	ingot_print("survived\n");
	ingot->shutdown();
	return 0;
}
