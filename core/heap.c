// The one allocator: first fit over a sorted list of free chunks, whose headers lie in the chunks themselves.
#include "core.h"

#define UNIT 64ul // a cache line; sizes and addresses are multiples of it
#define GROW 0x10000ul

struct chunk {
	struct chunk *next;
	uint64_t bytes;
};

static struct chunk first; // of no bytes, before all others
static struct lock heap_lock;
uint32_t heap_used;

static __attribute__((noinline)) void join(struct chunk *chunk)
{
	const struct chunk *after = chunk->next;
	if ((char *)chunk + chunk->bytes == (const char *)after) {
		chunk->bytes += after->bytes;
		chunk->next = after->next;
	}
}

// Puts a free range into the list and joins it with its neighbours.
static void give(uint64_t base, uint64_t bytes)
{
	struct chunk *chunk = (struct chunk *)base, *before = &first, *after;
	if (!bytes)
		return;
	while ((after = before->next) && after < chunk)
		before = after;
	chunk->bytes = bytes;
	chunk->next = after;
	before->next = chunk;
	join(chunk);
	join(before);
}

void heap_add(uint64_t base, uint64_t end)
{
	give(base, end - base);
}

static void *take(size_t bytes, size_t align)
{
	for (struct chunk *before = &first, *chunk; (chunk = before->next); before = chunk) {
		uint64_t base = (uint64_t)chunk, end = base + chunk->bytes;
		uint64_t found = ALIGN_UP(base, align), behind = found + bytes;
		if (behind > end)
			continue;
		before->next = chunk->next;
		give(base, found - base);
		give(behind, end - behind);
		return (void *)found;
	}
	return NULL;
}

// Until the program has all that is free: more RAM from the top of the highest range below 4 GiB.
static int grow(size_t bytes)
{
	for (const struct range *range = memory.free_end; range > memory.free;) {
		uint64_t end = min_u64((--range)->end, 1ul << 32);
		if (end < range->base + bytes)
			continue;
		memory_remove(end - bytes, end);
		give(end - bytes, bytes);
		return E_OK;
	}
	return E_NOMEM;
}

void *mem_alloc(size_t bytes, size_t align)
{
	if (bytes > 1ul << 31)
		return NULL;
	bytes = ALIGN_UP(bytes, UNIT);
	if (align < UNIT)
		align = UNIT;
	uint64_t flags = irq_save();
	lock_take(&heap_lock);
	void *memory;
	uint64_t step = GROW;
	while (!(memory = take(bytes, align)) && step >= PAGE)
		if (grow(ALIGN_UP(bytes + align, step)) != E_OK)
			step /= GROW / PAGE; // the second try is for as little as will do
	if (memory)
		heap_used += bytes;
	lock_drop(&heap_lock);
	irq_restore(flags);
	return memory ? memset(memory, 0, bytes) : NULL;
}

void mem_free(void *memory, size_t bytes)
{
	if (!memory)
		return;
	bytes = ALIGN_UP(bytes, UNIT);
	uint64_t flags = irq_save();
	lock_take(&heap_lock);
	heap_used -= bytes;
	give((uint64_t)memory, bytes);
	lock_drop(&heap_lock);
	irq_restore(flags);
}
