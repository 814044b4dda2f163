// core/page.c: the loader's memory map becomes a list of free ranges, whatever firmware has written into it.
#define _GNU_SOURCE // names of registers
#include <core/page.c>
#include <fake.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

const struct fixed page_fixed[1], page_fixed_end[1];
struct boot_info boot;

void panic(const char *why)
{
	fail_msg("panic: %s", why);
	abort();
}

void cpu_paging(const uint64_t *root)
{
	(void)root;
}

#define MIB (1ul << 20)

static void map(uint32_t count, const struct boot_range *entries)
{
	memset(&memory, 0, sizeof(memory));
	boot.map_count = count;
	for (uint32_t i = 0; i < count; i++)
		boot.map[i] = entries[i];
}

static uint32_t free_count(void)
{
	return memory.free_end - memory.free;
}

static void check_sane(void)
{
	for (uint32_t i = 0; i < free_count(); i++) {
		const struct range *range = &memory.free[i];
		assert_true(range->base < range->end);
		assert_int_equal((range->base | range->end) & (PAGE - 1), 0);
		assert_true(range->base >= KERNEL_LIMIT);
		if (i)
			assert_true(range[-1].end <= range->base);
	}
}

static void plain(void **state)
{
	const struct boot_range entries[] = {
		{ 0, 0x9FC00, BOOT_RAM, 1 },
		{ 0x9FC00, 0x400, BOOT_RESERVED, 1 },
		{ 0xF0000, 0x10000, BOOT_RESERVED, 1 },
		{ MIB, 127 * MIB, BOOT_RAM, 1 },
		{ 4096 * MIB, 1024 * MIB, BOOT_RAM, 1 },
	};
	(void)state;
	map(ARRAY_SIZE(entries), entries);
	assert_int_equal(memory_init(), E_OK);
	check_sane();
	assert_int_equal(free_count(), 2);
	assert_int_equal(memory.free[0].base, 2 * MIB);
	assert_int_equal(memory.free[0].end, 128 * MIB);
	assert_int_equal(memory.free[1].base, 4096 * MIB);
	assert_int_equal(memory.ram_mib, 1152);
}

static void reserved_wins(void **state)
{
	const struct boot_range entries[] = {
		// unsorted, overlapping, not on pages
		{ 5 * MIB + 100, 200, BOOT_NVS, 1 },
		{ 8 * MIB, 16 * MIB, BOOT_RAM, 1 },
		{ 2 * MIB, 8 * MIB, BOOT_RAM, 1 },
		{ 9 * MIB, MIB, BOOT_RESERVED, 1 },
		{ 20 * MIB, 0, BOOT_RESERVED, 1 },
		{ 6 * MIB, MIB, BOOT_RAM, 1 },
	};
	(void)state;
	map(ARRAY_SIZE(entries), entries);
	assert_int_equal(memory_init(), E_OK);
	check_sane();
	uint64_t free = 0;
	for (uint32_t i = 0; i < free_count(); i++) {
		free += memory.free[i].end - memory.free[i].base;
		assert_true(memory.free[i].end <= 5 * MIB || memory.free[i].base >= 5 * MIB + PAGE);
		assert_true(memory.free[i].end <= 9 * MIB || memory.free[i].base >= 10 * MIB);
	}
	assert_int_equal(free, 22 * MIB - MIB - PAGE);
}

static void less_than_a_page(void **state)
{
	const struct boot_range entries[] = {
		{ 2 * MIB, 8 * MIB, BOOT_RAM, 1 },
		{ 3 * MIB + 0x800, 0x400, BOOT_RAM, 1 },
	};
	(void)state;
	map(ARRAY_SIZE(entries), entries);
	assert_int_equal(memory_init(), E_OK);
	check_sane();
}

static void nothing(void **state)
{
	const struct boot_range entries[] = { { 0, 2 * MIB, BOOT_RAM, 1 }, { 16 * MIB, 16 * MIB, BOOT_ACPI, 1 } };
	(void)state;
	map(ARRAY_SIZE(entries), entries);
	assert_int_equal(memory_init(), E_NOMEM);
}

static void too_many_pieces(void **state)
{
	struct boot_range entries[BOOT_MAP_MAX];
	(void)state;
	for (uint32_t i = 0; i < BOOT_MAP_MAX; i++)
		entries[i] = i ? (struct boot_range){ (i * 4 + 8) * MIB, MIB, BOOT_RESERVED, 1 } :
						 (struct boot_range){ 0, 4096 * MIB, BOOT_RAM, 1 };
	map(BOOT_MAP_MAX, entries);
	assert_int_equal(memory_init(), E_OK);
	check_sane();
	// Removing from the middle of a full list loses memory, but never gives out what is taken.
	for (uint32_t i = 0; i < free_count(); i++)
		for (uint32_t j = 1; j < BOOT_MAP_MAX; j++)
			assert_true(memory.free[i].end <= entries[j].base || memory.free[i].base >= entries[j].base + MIB);
}

static void at_the_end_of_addresses(void **state)
{
	const struct boot_range entries[] = {
		{ 2 * MIB, 8 * MIB, BOOT_RAM, 1 },
		{ ~0ul - 0xFFF, 0x1000, BOOT_RESERVED, 1 },
		{ ~0ul - 0x7FF, 0x10000, BOOT_RAM, 1 },
	};
	(void)state;
	map(ARRAY_SIZE(entries), entries);
	memory_init();
	check_sane();
}

// ---- Page tables ----------------------------------------------------------------------------------------------

static uint64_t entry, seen; // one that becomes a table; what it was when that was first written to
static void *table_page;

void *mem_alloc(size_t bytes, size_t align)
{
	assert_int_equal(bytes, PAGE);
	assert_int_equal(align, PAGE);
	return table_page;
}

static void first_write(int signal)
{
	(void)signal;
	seen = entry;
	mprotect(table_page, PAGE, PROT_READ | PROT_WRITE);
}

// Whoever looks at any time (another core, or this one for its stack) finds what was mapped.
static void a_table_is_full_before_it_is_used(void **state)
{
	const uint64_t old = 0x40000000 | LARGE | MAP_WRITE | NO_EXECUTE;
	const struct sigaction action = { .sa_handler = first_write };
	struct sigaction before;
	(void)state;
	table_page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	assert_true(table_page != MAP_FAILED);
	entry = old;
	seen = 0;
	sigaction(SIGSEGV, &action, &before);
	assert_true(split(&entry, 21));
	sigaction(SIGSEGV, &before, NULL);
	assert_int_equal(seen, old);
	assert_int_equal(entry, (uintptr_t)table_page | MAP_WRITE);
	for (uint32_t i = 0; i < 512; i++)
		assert_int_equal(((uint64_t *)table_page)[i], old + i * PAGE);
	munmap(table_page, PAGE);
}

static void skip_cr3(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 3;
}

static uint32_t address_bits;
static struct cpuid id_of(uint32_t leaf, uint32_t subleaf)
{
	(void)subleaf;
	return (struct cpuid){ .eax = leaf == 0x80000008 ? 0x3000 | address_bits : 0 };
}

// The identity map ends where program memory begins, however many bits the CPU has.
static void devices_beyond_47_bits(void **state)
{
	const struct sigaction action = { .sa_sigaction = skip_cr3, .sa_flags = SA_SIGINFO };
	struct sigaction before;
	(void)state;
	map(0, NULL);
	fake_cpuid = id_of;
	sigaction(SIGSEGV, &action, &before);
	address_bits = 40;
	page_init();
	assert_int_equal(page_limit, 1ul << 40);
	address_bits = 52;
	page_init();
	sigaction(SIGSEGV, &before, NULL);
	assert_null(mem_map_device(1ul << 47, PAGE));
	assert_null(mem_map_device((1ul << 47) - PAGE, 2 * PAGE));
	assert_null(mem_map_device(1ul << 51, PAGE));
	assert_int_equal(page_root[256], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(plain),
		FAKE_TEST(reserved_wins),
		FAKE_TEST(less_than_a_page),
		FAKE_TEST(nothing),
		FAKE_TEST(too_many_pieces),
		FAKE_TEST(at_the_end_of_addresses),
		FAKE_TEST(a_table_is_full_before_it_is_used),
		FAKE_TEST(devices_beyond_47_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
