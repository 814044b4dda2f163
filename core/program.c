// The program: placed, checked and entered.  Flat: one range that is written and executed, as its format asks for.
// ELF: "Tool Interface Standard ELF 1.2" and the x86-64 supplement; every segment gets its own rights.
#include "core.h"

#define CLEARED 0x200000ul	// memory that a program finds zero behind its end, at least (if there is so much)

struct elf {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, segments, sections;
	uint32_t flags;
	uint16_t size, segment_size, segment_count;
};

struct segment {
	uint32_t type, flags;
	uint64_t offset, virt, phys, file_bytes, bytes, align;
};
enum { SEGMENT_LOAD = 1, SEGMENT_NOTE = 4, SEGMENT_X = 1, SEGMENT_W = 2 };
_Static_assert(SEGMENT_W == MAP_WRITE, "segment_protect");

static uint64_t entry;
static bool is_elf;

static bool inside(uint64_t base, uint64_t bytes, uint64_t start, uint64_t limit)
{
	return base >= start && base - start <= limit && bytes <= limit - (base - start);
}

// What a program needs of the interface (api/start.S): a note of type 1, name "Ingot", with the table's least size.
static bool too_new(const uint8_t *note, uint64_t bytes)
{
	const uint32_t *word = (const uint32_t *)note;
	return bytes >= 24 && word[0] == 6 && word[2] == 1 && !memcmp(word + 3, "Ingot", 6) && word[5] > native.size;
}

static const char *segment_load(const struct segment *segment, const uint8_t *file, uint64_t file_bytes)
{
	if (!inside(segment->offset, segment->file_bytes, 0, file_bytes) || segment->file_bytes > segment->bytes)
		return "the file is cut short";
	if (segment->type == SEGMENT_NOTE && too_new(file + segment->offset, segment->file_bytes))
		return "it needs a newer kernel";
	if (segment->type != SEGMENT_LOAD || !segment->bytes)
		return NULL;
	if (!inside(segment->virt, segment->bytes, PROGRAM_BASE, memory.program_bytes))
		return "a segment is not in program memory";
	memcpy((void *)segment->virt, file + segment->offset, segment->file_bytes);
	memset((void *)(segment->virt + segment->file_bytes), 0, segment->bytes - segment->file_bytes);
	if (segment->flags & SEGMENT_X && inside(entry, 1, segment->virt, segment->bytes))
		is_elf = true;
	memory.program_free = max_u64(memory.program_free, ALIGN_UP(segment->virt + segment->bytes, PAGE));
	return NULL;
}

static void segment_protect(const struct segment *segment)
{
	uint32_t rights = MAP_READ | (segment->flags & SEGMENT_W) | (segment->flags & SEGMENT_X ? MAP_EXEC : 0);
	size_t run;
	if (segment->type != SEGMENT_LOAD)
		return;
	for (uint64_t virt = ALIGN_DOWN(segment->virt, PAGE); virt < segment->virt + segment->bytes; virt += PAGE)
		page_map(virt, mem_phys((void *)virt, PAGE, &run), PAGE, rights);
}

static const char *elf_load(const struct elf *elf, uint64_t bytes)
{
	const uint8_t *file = (const uint8_t *)elf;
	const struct segment *segments = (const struct segment *)(file + elf->segments);
	if (bytes < sizeof(*elf) || elf->ident[4] != 2 || elf->ident[5] != 1 || elf->machine != 62 || elf->type != 2 ||
	    elf->segment_size != sizeof(*segments) || elf->segments & 7)
		return "not a static ELF64 program for x86-64";
	if (!inside(elf->segments, elf->segment_count * sizeof(*segments), 0, bytes))
		return "the file is cut short";
	entry = elf->entry;
	for (uint32_t i = 0; i < elf->segment_count; i++) {
		const char *error = segment_load(&segments[i], file, bytes);
		if (error)
			return error;
	}
	if (!is_elf)
		return "its entry is in no executable segment";
	for (uint32_t i = 0; i < elf->segment_count; i++)
		segment_protect(&segments[i]);
	return NULL;
}

static const char *flat_load(const void *file, uint64_t bytes, uint64_t base, uint64_t room)
{
	if (bytes > room)
		return "it does not fit into memory";
	memcpy((void *)base, file, bytes);
	memset((void *)(base + bytes), 0, min_u64(room - bytes, base == PAYLOAD_BASE ? room : CLEARED));
	entry = base;
	return NULL;
}

// Program memory is handed out, and the module that the loader left goes where it runs.
void program_init(void)
{
	const struct elf *elf = (const struct elf *)boot.program;
	bool has_magic = CONFIG_ON(CORE_NATIVE) && boot.program_kind == BOOT_PROGRAM && boot.program_bytes > 4 &&
			 !memcmp(elf->ident, "\177ELF", 4);
	const char *error;
	page_program(has_magic ? MAP_WRITE : MAP_WRITE | MAP_EXEC);
	memory.program_free = PROGRAM_BASE;
	if (!boot.program_kind)
		error = "none";
	else if (has_magic)
		error = elf_load(elf, boot.program_bytes);
	else if (boot.program_kind == BOOT_PAYLOAD)
		error = flat_load(elf, boot.program_bytes, PAYLOAD_BASE, PAYLOAD_BYTES);
	else
		error = flat_load(elf, boot.program_bytes, PROGRAM_BASE, memory.program_bytes);
	if (error) {
		log("program: %s\n", error);
		halt();
	}
	if (boot.program_kind == BOOT_PROGRAM && !has_magic)
		memory.program_free += ALIGN_UP(boot.program_bytes, PAGE);
}

void program_run(void)
{
	struct cpu *cpu = smp_cpu();
	cpu->work = (void (*)(void *))entry;
	if (CONFIG_ON(CORE_NATIVE) && is_elf)
		run_on_stack(cpu->work, &native, boot.arguments, (void *)cpu->stack);
	else
		run_on_stack(cpu->work, NULL, NULL, (void *)cpu->stack);
	log("\nprogram: ended\n");
	for (;;)
		__asm__ volatile("sti; hlt");
}
