// core/heap.c: what is given never overlaps, is aligned and zeroed, and comes back whole.
#include <fake.h>
#include <sys/mman.h>
#include <core/core.h>

#define ARENA (1u << 20)
#define BLOCKS 200

struct memory_state memory;
static uint8_t *arena;

void memory_remove(uint64_t base, uint64_t end)
{
	struct range *last = memory.free_end - 1;
	assert_true(base >= last->base && end == last->end);
	last->end = base;
}

static void *below_4_gib(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	assert_true(at != MAP_FAILED);
	return at;
}

static bool blank(const uint8_t *at, size_t bytes)
{
	while (bytes--)
		if (*at++)
			return false;
	return true;
}

static void random_use(void **state)
{
	struct {
		uint8_t *at;
		size_t bytes;
	} block[BLOCKS] = { { NULL, 0 } };
	uint64_t random = 88172645463325252;
	(void)state;
	arena = below_4_gib(ARENA);
	heap_add((uint64_t)arena, (uint64_t)arena + ARENA);
	for (uint32_t round = 0; round < 20000; round++) {
		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		uint32_t i = random % BLOCKS;
		if (block[i].at) {
			for (size_t byte = 0; byte < block[i].bytes; byte++)
				assert_int_equal(block[i].at[byte], (uint8_t)(i + 1));
			mem_free(block[i].at, block[i].bytes);
			block[i].at = NULL;
			continue;
		}
		size_t bytes = 1 + (random >> 16) % 9000, align = 1ul << (random >> 32) % 13;
		uint8_t *at = mem_alloc(bytes, align);
		if (!at)
			continue; // full: also a case
		assert_true(at >= arena && at + bytes <= arena + ARENA);
		assert_int_equal((uintptr_t)at & (align - 1), 0);
		assert_int_equal((uintptr_t)at & 63, 0);
		assert_true(blank(at, bytes));
		memset(at, i + 1, bytes);
		block[i].at = at;
		block[i].bytes = bytes;
	}
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (block[i].at)
			mem_free(block[i].at, block[i].bytes);
	assert_int_equal(heap_used, 0);
	// All neighbours were joined: the whole arena is one piece again.
	void *whole = mem_alloc(ARENA, 64);
	assert_ptr_equal(whole, arena);
	mem_free(whole, ARENA);
}

static void refusals(void **state)
{
	(void)state;
	assert_null(mem_alloc(ARENA + 64, 64));
	assert_null(mem_alloc(~0ul, 64));
	assert_null(mem_alloc(~0ul - 62, 64));
	mem_free(NULL, 100);
	assert_int_equal(heap_used, 0);
}

static void grows_from_free_memory(void **state)
{
	uint8_t *ram = below_4_gib(4 << 20), *at;
	(void)state;
	memory.free[0] = (struct range){ (uint64_t)ram, (uint64_t)ram + (4 << 20) };
	memory.free[1] = (struct range){ 1ul << 32, 2ul << 32 }; // devices can't all reach it
	memory.free_end = memory.free + 1;
	at = mem_alloc(2 << 20, 4096);
	assert_non_null(at);
	assert_true(at >= ram && at + (2 << 20) <= ram + (4 << 20));
	mem_free(at, 2 << 20);
	munmap(ram, memory.free[0].base - (uint64_t)ram); // what was not taken is not touched any more
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(random_use),
		FAKE_TEST(refusals),
		FAKE_TEST(grows_from_free_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
