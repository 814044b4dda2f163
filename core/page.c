// Memory: what the loader's map leaves, the page tables with the rights that each range has, and program memory.
// Intel SDM vol. 3, chapter 4 ("Paging").
#include "core.h"

#define PRESENT 1ul
#define LARGE 0x80ul
#define NO_EXECUTE (1ul << 63)
#define ADDRESS 0x000FFFFFFFFFF000ul

extern char __text_start[], __text_end[], __rodata_start[], __rodata_end[], __bss_end[];

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

// A large page becomes a table of 512 smaller ones with the same rights.
static uint64_t *split(uint64_t *entry, uint32_t level)
{
	uint64_t *table = mem_alloc(PAGE, PAGE);
	if (!table)
		return NULL;
	uint64_t old = *entry;
	if (old & PRESENT)
		for (uint32_t i = 0; i < 512; i++)
			table[i] = (level == 1 ? old & ~LARGE : old) + i * entry_bytes(level - 1);
	*entry = (uint64_t)table | MAP_WRITE | PRESENT;
	return table;
}

// The entry of `virt` in the table at `level` (0: 4 KiB pages), tables made on the way; NULL if memory is out.
static uint64_t *entry_at(uint64_t virt, uint32_t level)
{
	uint64_t *table = (uint64_t *)page_root;
	for (uint32_t at = 3;; at--) {
		uint64_t *entry = &table[virt >> (12 + 9 * at) & 511];
		if (at == level)
			return entry;
		if ((*entry & (PRESENT | LARGE)) == PRESENT)
			table = (uint64_t *)(*entry & ADDRESS);
		else if (!(table = split(entry, at)))
			return NULL;
	}
}

static void flush(void)
{
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}

// Pages as large as the alignment of both addresses allows; `flags` 0 takes the range away.
int page_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t flags)
{
	uint64_t end = virt + bytes, *entry, rights = flags | PRESENT;
	if (!(flags & MAP_EXEC))
		rights |= NO_EXECUTE;
	while (virt < end) {
		uint32_t level = levels;
		for (;; level--) {	// where there are smaller pages already, go through them
			if (level && ((virt | phys) & (entry_bytes(level) - 1) || end - virt < entry_bytes(level)))
				continue;
			entry = entry_at(virt, level);
			if (!entry)
				return E_NOMEM;
			if (!level || (*entry & (PRESENT | LARGE)) != PRESENT)
				break;
		}
		*entry = flags ? phys | rights | (level ? LARGE : 0) : 0;
		virt += entry_bytes(level);
		phys += entry_bytes(level);
	}
	flush();
	return E_OK;
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

static void must_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t flags)
{
	if (page_map(virt, phys, bytes, flags) != E_OK)
		panic("no memory for page tables");
}

void page_init(void)
{
	const struct {	// page 0 stays out
		uint32_t base, end, flags;
	} fixed[] = {
		{ PAGE, 0xA0000, MAP_WRITE },
		{ 0xA0000, 0xC0000, MAP_WRITE | MAP_UC },
		{ 0xC0000, KERNEL_PHYS, MAP_READ },
		{ KERNEL_PHYS, KERNEL_LIMIT, MAP_WRITE },
		{ (uintptr_t)__text_start, (uintptr_t)__text_end, MAP_EXEC },
		{ (uintptr_t)__rodata_start, (uintptr_t)__rodata_end, MAP_READ },
		{ PAYLOAD_BASE, PAYLOAD_BASE + PAYLOAD_BYTES, MAP_WRITE | MAP_EXEC },
	};
	levels = (cpu_id(0x80000001, 0).edx >> 26 & 1) + 1;
	phys_limit = 1ul << (cpu_id(0x80000008, 0).eax & 0xFF);
	page_root = (uint64_t)must_alloc(PAGE, PAGE);
	for (uint32_t i = 0; i < ARRAY_SIZE(fixed); i++)
		must_map(fixed[i].base, fixed[i].base, fixed[i].end - fixed[i].base, fixed[i].flags);
	for (uint32_t i = 0; i < memory.free_count; i++) {
		const struct range *range = &memory.free[i];
		must_map(range->base, range->base, range->end - range->base, MAP_WRITE);
	}
	cpu_paging(page_root);
}

static void *map_device(uint64_t phys, uint64_t bytes, uint32_t cache)
{
	uint64_t base = ALIGN_DOWN(phys, PAGE), end = ALIGN_UP(phys + bytes, PAGE);
	if (!bytes || end <= base || end > phys_limit ||
	    page_map(base, base, end - base, cache | MAP_WRITE) != E_OK)
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
		must_map(extent->virt, extent->phys, extent->end - extent->virt, flags);
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
