// Memory: what the loader's map leaves, the page tables with the rights that each range has, and program memory.
// Intel SDM vol. 3, chapter 4 ("Paging").
#include "core.h"

#define PRESENT 1ul
#define LARGE 0x80ul
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
	uint32_t at = memory.free_count;
	if (base >= end || at == ARRAY_SIZE(memory.free))
		return;
	for (; at && memory.free[at - 1].base > base; at--)
		memory.free[at] = memory.free[at - 1];
	memory.free[at] = (struct range){ base, end };
	memory.free_count++;
}

void memory_remove(uint64_t base, uint64_t end)
{
	for (uint32_t i = 0; i < memory.free_count; i++) {
		struct range old = memory.free[i];
		if (base >= end || old.end <= base || old.base >= end)	// a piece of a page is no page
			continue;
		memory.free_count--;
		for (uint32_t j = i; j < memory.free_count; j++)
			memory.free[j] = memory.free[j + 1];
		range_add(old.base, base);
		range_add(end, old.end);
		i = -1;		// the list has changed under us
	}
}

// Whole pages of RAM; what any other entry claims is not free, whatever order they come in.
int memory_init(void)
{
	uint64_t total = 0;
	for (uint32_t i = 0; i < boot.map_count; i++) {
		const struct boot_range *entry = &boot.map[i];
		if (entry->type != BOOT_RAM)
			continue;
		uint64_t base = ALIGN_UP(entry->base, PAGE), end = ALIGN_DOWN(entry->base + entry->bytes, PAGE);
		memory_remove(base, end);	// entries may overlap
		range_add(base, end);
		total += entry->bytes;
	}
	for (uint32_t i = 0; i < boot.map_count; i++) {
		const struct boot_range *entry = &boot.map[i];
		if (entry->type != BOOT_RAM && entry->bytes)
			memory_remove(ALIGN_DOWN(entry->base, PAGE), ALIGN_UP(entry->base + entry->bytes, PAGE));
	}
	memory.ram_mib = (total + 0xFFFFF) >> 20;
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
int page_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint64_t flags)
{
	uint64_t end = virt + bytes;
	while (virt < end) {
		uint32_t level = levels;
		while (level && ((virt | phys) & (entry_bytes(level) - 1) || end - virt < entry_bytes(level)))
			level--;
		uint64_t *entry;
		for (;; level--) {	// where there are smaller pages already, go through them
			entry = entry_at(virt, level);
			if (!entry)
				return E_NOMEM;
			if (!level || (*entry & (PRESENT | LARGE)) != PRESENT)
				break;
		}
		*entry = flags ? phys | flags | PRESENT | (level ? LARGE : 0) : 0;
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
	if ((int64_t)virt >> 47 != 0 && (int64_t)virt >> 47 != -1)
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

static void identity(uint64_t base, uint64_t end, uint64_t flags)
{
	if (page_map(base, base, end - base, flags) != E_OK)
		panic("no memory for page tables");
}

void page_init(void)
{
	struct cpuid id = cpu_id(0x80000001, 0);
	levels = id.edx >> 26 & 1 ? 2 : 1;
	id = cpu_id(0x80000008, 0);
	phys_limit = 1ul << (id.eax & 0xFF);
	page_root = (uint64_t)mem_alloc(PAGE, PAGE);

	identity(PAGE, 0xA0000, MAP_WRITE | MAP_NX);		// page 0 stays out
	identity(0xA0000, 0xC0000, MAP_WRITE | MAP_UC | MAP_NX);
	identity(0xC0000, KERNEL_PHYS, MAP_NX);
	identity(KERNEL_PHYS, KERNEL_LIMIT, MAP_WRITE | MAP_NX);
	for (uint32_t i = 0; i < memory.free_count; i++)
		identity(memory.free[i].base, memory.free[i].end, MAP_WRITE | MAP_NX);
	identity((uint64_t)__text_start, ALIGN_UP((uint64_t)__text_end, PAGE), MAP_CODE);
	identity((uint64_t)__rodata_start, ALIGN_UP((uint64_t)__rodata_end, PAGE), MAP_NX);
	identity(PAYLOAD_BASE, PAYLOAD_BASE + PAYLOAD_BYTES, MAP_WRITE);
	cpu_paging(page_root);
}

static void *map_device(uint64_t phys, uint64_t bytes, uint64_t cache)
{
	uint64_t base = ALIGN_DOWN(phys, PAGE), end = ALIGN_UP(phys + bytes, PAGE);
	if (!bytes || end <= base || end > phys_limit ||
	    page_map(base, base, end - base, cache | MAP_WRITE | MAP_NX) != E_OK)
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
	struct extent *last = memory.extents + memory.extent_count - 1;
	if (memory.extent_count && last->phys + (last->end - last->virt) == phys)
		last->end += bytes;
	else if (memory.extent_count < ARRAY_SIZE(memory.extents))
		memory.extents[memory.extent_count++] = (struct extent){ virt, phys, virt + bytes };
	else
		return;
	memory.program_bytes += bytes;
}

// The largest pages first, then smaller ones from what is left over: so the range is contiguous, and each part of it
// as coarse as it can be.  Page tables come out of what is free as well, so the extents are laid out after them: room
// for the tables of every page is set aside first.
void page_program(uint64_t flags)
{
	uint64_t tables = 4 * PAGE, all = 0;
	for (uint32_t i = 0; i < memory.free_count; i++) {
		all += memory.free[i].end - memory.free[i].base;
		tables += 3 * PAGE;
	}
	tables += (all >> 30) * (levels == 2 ? 0 : PAGE);
	mem_free(mem_alloc(tables, PAGE), tables);	// the heap grows if it must, and keeps what it got
	for (uint32_t level = levels + 1; level--;)
		for (uint32_t i = 0; i < memory.free_count; i++) {
			struct range range = memory.free[i];
			uint64_t base = ALIGN_UP(range.base, entry_bytes(level)), end = ALIGN_DOWN(range.end, entry_bytes(level));
			if (base >= end)
				continue;
			extent_add(base, end - base);
			memory_remove(base, end);
			i = -1;
		}
	memory.free_count = 0;
	for (uint32_t i = 0; i < memory.extent_count; i++) {
		const struct extent *extent = &memory.extents[i];
		if (page_map(extent->virt, extent->phys, extent->end - extent->virt, flags) != E_OK)
			panic("no memory for page tables");
	}
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
