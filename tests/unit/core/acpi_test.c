// core/acpi.c: tables wherever their addresses say, and addresses that nothing lies at.
#include <core/acpi.c>
#include <fake.h>

#define LIMIT (1ul << 40) // of physical addresses

struct boot_info boot;
uint64_t page_limit = LIMIT;
static uint64_t mapped; // pages

static uint8_t rsdp[36] __attribute__((aligned(16)));
static struct {
	uint32_t pad; // so that the addresses lie where the sanitizer wants them
	struct acpi_header header;
	uint64_t at[8];
} __attribute__((packed, aligned(8))) xsdt;
static struct acpi_header good;

// What is in this program, low in memory, is there.
uint64_t page_lookup(uint64_t virt, uint64_t *bytes)
{
	*bytes = virt >= PAGE && virt < 32ul << 20 ? PAGE - virt % PAGE : 0;
	return virt;
}

// An entry with an address beyond the limit is a fault when it is used (SDM vol. 3, 4.7: reserved bits).
bool page_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t flags)
{
	assert_true(virt < LIMIT);
	assert_true(virt >= PAGE); // nobody has a table at 0
	assert_int_equal(virt, phys);
	(void)bytes, (void)flags;
	mapped++;
	return false; // nothing can be read there
}

static void sum(void *table, size_t bytes, uint8_t *to)
{
	uint8_t total = 0;
	*to = 0;
	for (size_t i = 0; i < bytes; i++)
		total -= ((uint8_t *)table)[i];
	*to = total;
}

static void start(const uint64_t *at, uint32_t count)
{
	table_count = 0;
	mapped = 0;
	memset(rsdp, 0, sizeof(rsdp));
	memcpy(rsdp, "RSD PTR ", 8);
	rsdp[15] = 2;
	*(uint64_t *)(rsdp + 24) = (uintptr_t)&xsdt.header;
	sum(rsdp, 20, rsdp + 8);
	memset(&xsdt, 0, sizeof(xsdt));
	memcpy(xsdt.header.signature, "XSDT", 4);
	xsdt.header.length = sizeof(xsdt.header) + 8 * count;
	memcpy(xsdt.at, at, 8 * count);
	sum(&xsdt.header, xsdt.header.length, &xsdt.header.checksum);
	memset(&good, 0, sizeof(good));
	memcpy(good.signature, "GOOD", 4);
	good.length = sizeof(good);
	sum(&good, sizeof(good), &good.checksum);
	boot.rsdp = (uintptr_t)rsdp;
	acpi_init();
}

static void bad_addresses(void **state)
{
	const uint64_t at[] = { 0, ~0ul, ~0ul - 20, LIMIT, LIMIT - 20, 1ul << 45, 0x8000000000000000, (uintptr_t)&good };
	(void)state;
	start(at, ARRAY_SIZE(at));
	assert_ptr_equal(acpi_table("GOOD", 0), &good);
	assert_int_equal(mapped, 0);
}

static void damaged_tables(void **state)
{
	struct acpi_header bad[3] = { good, good, good };
	static struct acpi_header kept[3];
	const uint64_t at[] = { (uintptr_t)&kept[0], (uintptr_t)&kept[1], (uintptr_t)&kept[2], (uintptr_t)&good };
	(void)state;
	bad[0].length = 35;
	bad[1].length = ~0u;
	bad[2].checksum++;
	memcpy(kept, bad, sizeof(kept));
	start(at, ARRAY_SIZE(at));
	assert_ptr_equal(acpi_table("GOOD", 0), &good);
	assert_null(acpi_table("GOOD", 1));
	assert_true(fake_logged("acpi: damaged table at "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(bad_addresses),
		FAKE_TEST(damaged_tables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
