// Memory: what the loader's map leaves, the page tables with the rights that each range has, and program memory.
// Intel SDM vol. 3, chapter 4 ("Paging").
#include "core.h"
#include <mmio.h>

#define PRESENT 1ul
#define LARGE 0x80ul // or a page of 4 KiB
#define NO_EXECUTE (1ul << 63)
#define ADDRESS 0x000FFFFFFFFFF000ul

// Entry.S has them: what lies where below 2 MiB.
extern const struct fixed {
	uint32_t base, end, flags;
} page_fixed[], page_fixed_end[];

struct memory_state memory;
uint64_t page_root[PAGE / 8] __attribute__((aligned(PAGE)));
static uint8_t largest; // size of the largest pages, as a power of two
uint64_t page_limit;

// ---- The map --------------------------------------------------------------------------------------------------

// A range that nobody has yet.
static void range_add(uint64_t base, uint64_t end)
{
	struct range *at = memory.free_end;
	if (base >= end || at == memory.free + ARRAY_SIZE(memory.free))
		return;
	memory.free_end++;
	for (; at > memory.free && at[-1].base > base; at--)
		at[0] = at[-1];
	at->base = base;
	at->end = end;
}

void memory_remove(uint64_t base, uint64_t end)
{
	base = ALIGN_DOWN(base, PAGE);
	end = ALIGN_UP(end, PAGE);
	for (struct range *at = memory.free; at < memory.free_end;) {
		struct range old = *at;
		if (base >= end || old.end <= base || old.base >= end) {
			at++;
			continue;
		}
		memmove(at, at + 1, (char *)memory.free_end-- - (char *)(at + 1));
		range_add(old.base, base);
		range_add(end, old.end);
		at = memory.free; // the list has changed under us
	}
}

// Whole pages of RAM; what any other entry claims is not free, whatever order they come in.
int memory_init(void)
{
	uint64_t total = 0xFFFFF;
	memory.free_end = memory.free;
	for (uint32_t other = 0; other < 2; other++)
		for (const struct boot_range *entry = boot.map; entry < boot.map + boot.map_count; entry++) {
			uint64_t base = entry->base, end = base + entry->bytes;
			if ((entry->type != BOOT_RAM) != other || !entry->bytes)
				continue;
			memory_remove(base, end); // RAM as well: entries may overlap
			if (other)
				continue;
			total += entry->bytes;
			range_add(ALIGN_UP(base, PAGE), ALIGN_DOWN(end, PAGE));
		}
	memory.ram_mib = total >> 20;
	memory_remove(0, KERNEL_LIMIT);
	return memory.free_end > memory.free ? E_OK : E_NOMEM;
}

// ---- Page tables ------------------------------------------------------------------------------------------------

// An entry that is no table becomes one: of 512 smaller pages with the same rights, or of nothing.  `shift` is that of
// the entry's own size.
static bool split(uint64_t *entry, uint32_t shift)
{
	uint64_t old = *entry, *table = mem_alloc(PAGE, PAGE);
	if (!table)
		return false;
	for (uint32_t i = 0; old & PRESENT && i < 512; i++, old += 1ul << (shift - 9))
		table[i] = old;
	barrier(); // the entry may map this code's own stack and the table: it is never without what it has mapped
	*entry = (uint64_t)table | MAP_WRITE;
	return true;
}

// The pages that the range touches, as large as the alignment of both addresses allows; `flags` 0 takes it away.
// False: no memory left.
bool page_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t flags)
{
	uint64_t end = virt + bytes, size, leaf = ALIGN_DOWN(phys, PAGE) | flags | LARGE;
	virt = ALIGN_DOWN(virt, PAGE);
	if (!(flags & MAP_EXEC))
		leaf |= NO_EXECUTE;
	for (; virt < end; virt += size, leaf += size) {
		uint64_t *entry = page_root;
		uint32_t shift = 48;
		__asm__("" : "+r"(shift)); // or the first round is there twice
		for (;;) {
			shift -= 9;
			size = 1ul << shift;
			entry += virt >> shift & 511;
			if (shift == 12)
				break;
			if ((*entry & (PRESENT | LARGE)) != PRESENT) { // where there are smaller pages, go through them
				if (shift <= largest && !((virt | leaf) & (size - PAGE)) && end - virt >= size)
					break;
				if (!split(entry, shift))
					return false;
			}
			entry = (uint64_t *)(uint64_t)((uint32_t)*entry & ~0xFFFu); // tables lie below 4 GiB
		}
		if ((*entry & MAP_UC) != MAP_WC || !(leaf & (MAP_UC ^ MAP_WC))) // a frame buffer stays one in its BAR
			*entry = leaf;
	}
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
	return true;
}

void page_unmap(uint64_t virt, uint64_t bytes)
{
	page_map(virt, virt, bytes, 0);
}

uint64_t page_lookup(uint64_t virt, uint64_t *bytes)
{
	const uint64_t *entry = page_root;
	*bytes = 0;
	if ((virt - PROGRAM_BASE) >> 48) // not canonical
		return 0;
	for (uint32_t shift = 39;; shift -= 9) {
		uint64_t found = entry[virt >> shift & 511], size = 1ul << shift;
		__asm__("" : "+r"(size)); // or the shift is there twice
		if (!(found & PRESENT))
			return 0;
		if (found & LARGE) {
			virt &= size - 1;
			*bytes = size - virt;
			return (found & ADDRESS) + virt;
		}
		entry = (const uint64_t *)(uint64_t)((uint32_t)found & ~0xFFFu);
	}
}

// ---- The kernel's own tables ------------------------------------------------------------------------------------

void *must_alloc(size_t bytes, size_t align)
{
	void *memory = mem_alloc(bytes, align);
	if (!memory)
		panic("out of memory");
	return memory;
}

static void must_map(uint64_t virt, uint64_t phys, uint64_t end, uint32_t flags)
{
	if (!page_map(virt, phys, end - virt, flags))
		panic("no memory for page tables");
}

void page_init(void)
{
	largest = cpu_id(0x80000001, 0).edx >> 26 & 1 ? 30 : 21;
	page_limit = 1ul << min_u64(cpu_id(0x80000008, 0).eax & 0xFF, 47); // program memory begins behind 47 bits
	for (const struct fixed *fixed = page_fixed; fixed < page_fixed_end; fixed++)
		must_map(fixed->base, fixed->base, fixed->end, fixed->flags);
	for (const struct range *range = memory.free; range < memory.free_end; range++)
		must_map(range->base, range->base, range->end, MAP_WRITE);
	// A hypervisor may have put the module into what its firmware calls reserved.
	must_map(boot.program, boot.program, boot.program + boot.program_bytes, MAP_WRITE);
	cpu_paging(page_root);
}

static void *map_device(uint64_t phys, uint64_t bytes, uint32_t cache)
{
	uint64_t end = phys + bytes;
	if (end <= phys || end > page_limit || !page_map(phys, phys, bytes, cache | MAP_WRITE))
		return NULL;
	return (void *)phys;
}

void *mem_map_device(uint64_t phys, uint64_t bytes)
{
	return map_device(phys, bytes, MAP_UC);
}

void *mem_map_framebuffer(uint64_t phys, uint64_t bytes)
{
	return map_device(phys, bytes, MAP_WC);
}

// ---- Program memory ---------------------------------------------------------------------------------------------

static void extent_add(uint64_t phys, uint64_t bytes)
{
	uint64_t virt = PROGRAM_BASE + memory.program_bytes;
	struct extent *next = memory.extents + memory.extent_count;
	if (memory.extent_count && next[-1].offset == phys - virt) {
		next--;
	} else if (next == memory.extents + ARRAY_SIZE(memory.extents)) {
		return;
	} else {
		memory.extent_count++;
		next->virt = virt;
		next->offset = phys - virt;
	}
	memory.program_bytes += bytes;
	next->end = virt + bytes;
}

// The largest pages first, then smaller ones from what is left over: so the range is contiguous, and each part of it
// as coarse as it can be.  Page tables come out of what is free as well: room for all of them is set aside first.
void page_program(uint32_t flags)
{
	uint64_t tables = (4 + 3 * (memory.free_end - memory.free) + (memory.ram_mib >> 10)) * PAGE;
	mem_free(mem_alloc(tables, PAGE), tables); // the heap grows if it must, and keeps what it got
	for (uint32_t shift = largest; shift >= 12; shift -= 9)
		for (const struct range *range = memory.free; range < memory.free_end; range++) {
			uint64_t bytes = 1ul << shift;
			uint64_t base = ALIGN_UP(range->base, bytes), end = ALIGN_DOWN(range->end, bytes);
			if (base >= end)
				continue;
			extent_add(base, end - base);
			memory_remove(base, end);
			// cppcheck-suppress pointerOutOfBounds ; as above
			range = memory.free - 1;
		}
	for (const struct extent *extent = memory.extents; extent < memory.extents + memory.extent_count; extent++)
		must_map(extent->virt, extent->virt + extent->offset, extent->end, flags);
}

HOT uint64_t mem_phys(const void *ptr, size_t len, size_t *run)
{
	uint64_t virt = (uint64_t)ptr, bytes;
	if ((int64_t)virt < 0)
		for (const struct extent *extent = memory.extents; extent < memory.extents + memory.extent_count; extent++)
			if (virt >= extent->virt && virt < extent->end) {
				*run = min_u64(len, extent->end - virt);
				return virt + extent->offset;
			}
	uint64_t phys = page_lookup(virt, &bytes);
	*run = min_u64(len, bytes);
	return phys;
}
