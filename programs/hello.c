// The smallest program in C: a line about the machine that it runs on.
#include <ingot.h>

INGOT_NEEDS(shutdown);

static void print_number(uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);
	do
		digits[--at] = (char)('0' + value % 10);
	while (value /= 10);
	ingot->write(digits + at, sizeof(digits) - at);
}

static void print_count(uint64_t value, const char *what)
{
	ingot_print(", ");
	print_number(value);
	ingot_print(what);
	if (value != 1)
		ingot_print("s");
}

int main(void)
{
	struct ingot_memory memory = { .size = sizeof(memory) };
	ingot->memory(&memory);
	ingot_print("Hello from Ingot: C on ");
	ingot_print(ingot->kernel);
	print_count(ingot->core_count(), " core");
	ingot_print(", ");
	print_number(memory.bytes >> 20);
	ingot_print(" MiB");
	print_count(ingot->net_count(), " interface");
	print_count(ingot->blk_count(), " drive");
	ingot_print("\n");
	ingot->shutdown();
	return 0;
}
