// Memory: what the loader's map leaves, the page tables with the rights that each range has, and program memory.
// Intel SDM vol. 3, chapter 4 ("Paging").
#include "core.h"

#define PRESENT 1ul
#define LARGE 0x80ul
#define NO_EXECUTE (1ul << 63)
#define ADDRESS 0x000FFFFFFFFFF000ul

// Entry.S has them: what lies where below 2 MiB.
extern const struct fixed {
	uint32_t base, end, flags;
} page_fixed[], page_fixed_end[];

struct memory_state memory;
uint64_t page_root;
static uint8_t levels;		// of leaves: 2 without and 3 with pages of 1 GiB
static uint64_t phys_limit;

// ---- The map --------------------------------------------------------------------------------------------------

// A range that nobody has yet.
static void range_add(uint64_t base, uint64_t end)
{
	struct range *at = memory.free + memory.free_count;
	if (base >= end || at == memory.free + ARRAY_SIZE(memory.free))
		return;
	memory.free_count++;
	for (; at > memory.free && at[-1].base > base; at--)
		at[0] = at[-1];
	at->base = base;
	at->end = end;
}

void memory_remove(uint64_t base, uint64_t end)
{
	for (struct range *at = memory.free; at < memory.free + memory.free_count;) {
		struct range old = *at;
		if (base >= end || old.end <= base || old.base >= end) {	// a piece of a page is no page
			at++;
			continue;
		}
		memory.free_count--;
		memmove(at, at + 1, (char *)(memory.free + memory.free_count) - (char *)at);
		range_add(old.base, base);
		range_add(end, old.end);
		at = memory.free;	// the list has changed under us
	}
}

// Whole pages of RAM; what any other entry claims is not free, whatever order they come in.
int memory_init(void)
{
	uint64_t total = 0xFFFFF;
	for (uint32_t other = 0; other < 2; other++)
		for (const struct boot_range *entry = boot.map; entry < boot.map + boot.map_count; entry++) {
			uint64_t base = entry->base, end = base + entry->bytes;
			if ((entry->type != BOOT_RAM) != other || !entry->bytes)
				continue;
			if (other) {
				memory_remove(ALIGN_DOWN(base, PAGE), ALIGN_UP(end, PAGE));
				continue;
			}
			total += entry->bytes;
			base = ALIGN_UP(base, PAGE);
			end = ALIGN_DOWN(end, PAGE);
			memory_remove(base, end);	// entries may overlap
			range_add(base, end);
		}
	memory.ram_mib = total >> 20;
	memory_remove(0, KERNEL_LIMIT);
	return memory.free_count ? E_OK : E_NOMEM;
}

// ---- Page tables ------------------------------------------------------------------------------------------------

static uint64_t entry_bytes(uint32_t level)
{
	return PAGE << 9 * level;
}

// An entry that is no table becomes one: of 512 smaller pages with the same rights, or of nothing.
static uint64_t *table_of(uint64_t *entry, uint32_t level)
{
	uint64_t old = *entry, *table = (uint64_t *)(old & ADDRESS);
	if ((old & (PRESENT | LARGE)) == PRESENT)
		return table;
	table = mem_alloc(PAGE, PAGE);
	if (!table)
		return NULL;
	*entry = (uint64_t)table | MAP_WRITE | PRESENT;
	if (level == 1)
		old &= ~LARGE;
	for (uint32_t i = 0; old & PRESENT && i < 512; i++, old += entry_bytes(level - 1))
		table[i] = old;
	return table;
}

// Entries of `table` for virt to end, where `rights` has the physical address of virt in it; 0 takes the range away.
static bool map_level(uint64_t *table, uint32_t level, uint64_t virt, uint64_t end, uint64_t rights)
{
	uint64_t bytes = entry_bytes(level), next;
	for (; table && virt < end; virt = next) {
		uint64_t *entry = &table[virt >> (12 + 9 * level) & 511];
		next = min_u64(ALIGN_DOWN(virt, bytes) + bytes, end);
		if (level && (level > levels || next - virt < bytes || (rights & ADDRESS & (bytes - 1)) ||
			      (*entry & (PRESENT | LARGE)) == PRESENT)) {	// smaller pages, or they are there already
			if (!map_level(table_of(entry, level), level - 1, virt, next, rights))
				return false;
		} else {
			*entry = rights && level ? rights | LARGE : rights;
		}
		if (rights)
			rights += next - virt;
	}
	return table;
}

// Pages as large as the alignment of both addresses allows; `flags` 0 takes the range away.
bool page_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t flags)
{
	if (flags)
		phys |= flags | PRESENT | (flags & MAP_EXEC ? 0 : NO_EXECUTE);
	else
		phys = 0;
	bool done = map_level((uint64_t *)page_root, 3, virt, virt + bytes, phys);
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
	return done;
}

void page_unmap(uint64_t virt, uint64_t bytes)
{
	page_map(virt, virt, bytes, 0);
}

uint64_t page_lookup(uint64_t virt, uint64_t *bytes)
{
	const uint64_t *table = (const uint64_t *)page_root;
	*bytes = 0;
	if (((int64_t)virt >> 47) + 1ul > 1)	// not canonical
		return 0;
	for (uint32_t level = 3;; level--) {
		uint64_t entry = table[virt >> (12 + 9 * level) & 511], inside = virt & (entry_bytes(level) - 1);
		if (!(entry & PRESENT))
			return 0;
		if (!level || entry & LARGE) {
			*bytes = entry_bytes(level) - inside;
			return (entry & ADDRESS & ~(entry_bytes(level) - 1)) + inside;
		}
		table = (const uint64_t *)(entry & ADDRESS);
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
	levels = (cpu_id(0x80000001, 0).edx >> 26 & 1) + 1;
	phys_limit = 1ul << (cpu_id(0x80000008, 0).eax & 0xFF);
	page_root = (uint64_t)must_alloc(PAGE, PAGE);
	for (const struct fixed *fixed = page_fixed; fixed < page_fixed_end; fixed++)
		must_map(fixed->base, fixed->base, fixed->end, fixed->flags);
	for (const struct range *range = memory.free; range < memory.free + memory.free_count; range++)
		must_map(range->base, range->base, range->end, MAP_WRITE);
	// A hypervisor may have put the module into what its firmware calls reserved.
	must_map(ALIGN_DOWN(boot.program, PAGE), ALIGN_DOWN(boot.program, PAGE),
		 ALIGN_UP(boot.program + boot.program_bytes, PAGE), MAP_WRITE);
	cpu_paging(page_root);
}

static void *map_device(uint64_t phys, uint64_t bytes, uint32_t cache)
{
	uint64_t base = ALIGN_DOWN(phys, PAGE), end = ALIGN_UP(phys + bytes, PAGE);
	if (end <= base || end > phys_limit || !page_map(base, base, end - base, cache | MAP_WRITE))
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
	if (memory.extent_count && next[-1].phys + (virt - next[-1].virt) == phys) {
		next--;
	} else if (next == memory.extents + ARRAY_SIZE(memory.extents)) {
		return;
	} else {
		memory.extent_count++;
		next->virt = virt;
		next->phys = phys;
	}
	memory.program_bytes += bytes;
	next->end = virt + bytes;
}

// The largest pages first, then smaller ones from what is left over: so the range is contiguous, and each part of it
// as coarse as it can be.  Page tables come out of what is free as well: room for all of them is set aside first.
void page_program(uint32_t flags)
{
	uint64_t tables = (4 + 3 * memory.free_count + (memory.ram_mib >> 10)) * PAGE;
	mem_free(mem_alloc(tables, PAGE), tables);	// the heap grows if it must, and keeps what it got
	for (uint32_t level = levels + 1; level--;)
		for (uint32_t i = 0; i < memory.free_count; i++) {
			uint64_t bytes = entry_bytes(level);
			uint64_t base = ALIGN_UP(memory.free[i].base, bytes), end = ALIGN_DOWN(memory.free[i].end, bytes);
			if (base >= end)
				continue;
			extent_add(base, end - base);
			memory_remove(base, end);
			i = -1;
		}
	for (const struct extent *extent = memory.extents; extent < memory.extents + memory.extent_count; extent++)
		must_map(extent->virt, extent->phys, extent->end, flags);
}

uint64_t mem_phys(const void *ptr, size_t len, size_t *run)
{
	uint64_t virt = (uint64_t)ptr, bytes;
	if ((int64_t)virt < 0)
		for (const struct extent *extent = memory.extents; extent < memory.extents + memory.extent_count; extent++)
			if (virt >= extent->virt && virt < extent->end) {
				*run = min_u64(len, extent->end - virt);
				return extent->phys + (virt - extent->virt);
			}
	uint64_t phys = page_lookup(virt, &bytes);
	*run = min_u64(len, bytes);
	return phys;
}
