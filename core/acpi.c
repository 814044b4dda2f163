// ACPI tables: found, mapped and verified once.  "a." = section of the ACPI Specification 6.4.
#include "core.h"

#define TABLES 64
#define RSDP_SIGNATURE 0x2052545020445352ul // "RSD PTR "
#define TABLE_LIMIT 0x1000000u              // longer than any table that there is: nonsense

static const struct acpi_header *tables[TABLES];
static uint32_t table_count;
struct acpi_fadt fadt;

static bool sum_is_zero(const void *from, size_t len)
{
	const uint8_t *byte = from;
	uint8_t sum = 0;
	while (len--)
		sum += *byte++;
	return !sum;
}

// 4 or 8 bytes.
static uint64_t load(uint64_t at, uint32_t bytes)
{
	return bytes == 8 ? *(const uint64_t *)at : *(const uint32_t *)at;
}

// Makes firmware memory readable where the memory map did not.
static bool map(uint64_t phys, uint32_t bytes)
{
	if (phys - 1 >= page_limit - bytes) // 0, or no address at all
		return false;
	for (uint64_t end = phys + bytes, run; phys < end; phys += run) {
		page_lookup(phys, &run);
		if (!run && !page_map(phys, phys, 1, MAP_READ))
			return false;
	}
	return true;
}

// Returns the table, or NULL.
static const struct acpi_header *add(uint64_t phys)
{
	const struct acpi_header *table = (const struct acpi_header *)phys;
	if (table_count == TABLES || !map(phys, sizeof(*table)))
		return NULL;
	uint32_t length = table->length;
	if (length - sizeof(*table) > TABLE_LIMIT || !map(phys, length) || !sum_is_zero(table, length)) {
		log("acpi: damaged table at %lx\n", phys);
		return NULL;
	}
	return tables[table_count++] = table;
}

// a.5.2.5.1: the RSDP lies in the first KiB of the EBDA or in the BIOS's ROM, on a 16-byte boundary.
static bool is_rsdp(uint64_t phys)
{
	return *(const uint64_t *)phys == RSDP_SIGNATURE && sum_is_zero((const void *)phys, 20);
}

static void find_rsdp(uint32_t from, uint32_t end)
{
	for (; !boot.rsdp && from < end; from += 16)
		if (is_rsdp(from))
			boot.rsdp = from;
}

// While the loader's page tables are on: later page 0 is gone, and with it the pointer to the EBDA.
void acpi_find(void)
{
	uint32_t bda = 0x40E;
	__asm__("" : "+r"(bda)); // an address that the compiler must not reason about
	uint32_t ebda = *(const uint16_t *)(uint64_t)bda << 4;
	find_rsdp(ebda, ebda + 1024);
	find_rsdp(0xE0000, 0x100000);
}

void acpi_init(void)
{
	uint64_t rsdp = boot.rsdp;
	if (!map(rsdp, 36) || !is_rsdp(rsdp)) {
		log("acpi: none\n");
		boot.rsdp = 0;
		return;
	}
	uint32_t width = *(const uint8_t *)(rsdp + 15) >= 2 && *(const uint64_t *)(rsdp + 24) ? 8 : 4; // revision, XSDT
	const struct acpi_header *root = add(load(rsdp + 8 + 2 * width, width));
	if (!root)
		return;
	for (uint32_t at = sizeof(*root); at + width <= root->length; at += width)
		add(load((uint64_t)root + at, width));
	const struct acpi_header *table = acpi_table("FACP", 0);
	if (table)
		memcpy(&fadt, table, min_u64(table->length, sizeof(fadt)));
	add(fadt.x_dsdt ? fadt.x_dsdt : fadt.dsdt);
}

const struct acpi_header *acpi_table(const char *signature, uint32_t index)
{
	for (uint32_t i = 0; i < table_count; i++)
		if (*(const uint32_t *)tables[i]->signature == *(const uint32_t *)signature && !index--)
			return tables[i];
	return NULL;
}

uint64_t acpi_field(const char *signature, uint32_t offset, uint32_t bytes)
{
	const struct acpi_header *table = acpi_table(signature, 0);
	return table && offset + bytes <= table->length ? load((uint64_t)table + offset, bytes) : 0;
}
