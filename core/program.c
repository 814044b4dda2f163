// The program: placed, checked and entered.  Flat: one range that is written and executed, as its format asks for.
// ELF: "Tool Interface Standard ELF 1.2" and the x86-64 supplement; every segment gets its own rights.
#include "core.h"

#define CLEARED 0x200000ul // memory that a program finds zero behind its end, at least (if there is so much)

struct elf {
	uint32_t magic, ident; // "\177ELF"; 64 bits, little-endian, version 1, any ABI
	uint64_t ident2;
	uint32_t kind, version; // ET_EXEC, x86-64
	uint64_t entry, segments, sections;
	uint32_t flags;
	uint16_t size, segment_size, segment_count;
} __attribute__((packed)); // wherever the file puts it
#define ELF_MAGIC 0x464C457F
#define ELF_IDENT 0x010102
#define ELF_KIND 0x3E0002

struct segment {
	uint32_t type, flags;
	uint64_t offset, virt, phys, file_bytes, bytes, align;
} __attribute__((packed));
enum { SEGMENT_LOAD = 1, SEGMENT_DYNAMIC = 2, SEGMENT_INTERPRETER = 3, SEGMENT_NOTE = 4, SEGMENT_X = 1, SEGMENT_W = 2 };
_Static_assert((SEGMENT_W | MAP_READ) == MAP_WRITE, "segment_protect");

static const char NOT_STATIC[] = "not a static ELF64 program for x86-64", CUT_SHORT[] = "the file is cut short";

struct note {
	struct ingot_note needs;
} __attribute__((packed));

static uint64_t entry;
static bool is_elf;

// True if a range lies inside the first `limit` bytes.
static bool inside(uint64_t base, uint64_t bytes, uint64_t limit)
{
	return base <= limit && bytes <= limit - base;
}

// What a program needs of the interface (api/start.S): a note of type 1, name "Ingot", with the table's least size.
static bool too_new(const struct note *note, uint64_t bytes)
{
	return bytes >= sizeof(*note) && note->needs.name_bytes == 6 && note->needs.type == 1 &&
		!memcmp(note->needs.name, "Ingot", 6) && note->needs.api_bytes > native.size;
}

static const char *segment_load(const struct segment *segment, const char *file, uint64_t file_bytes)
{
	uint64_t virt = segment->virt, bytes = segment->bytes, copied = segment->file_bytes;
	if (!inside(segment->offset, copied, file_bytes))
		return CUT_SHORT;
	const char *from = file + segment->offset;
	if (segment->type == SEGMENT_NOTE && too_new((const struct note *)from, copied))
		return "it needs a newer kernel";
	if (segment->type == SEGMENT_DYNAMIC || segment->type == SEGMENT_INTERPRETER)
		return NOT_STATIC;
	if (segment->type != SEGMENT_LOAD || !bytes) // linkers leave empty ones, at any address
		return NULL;
	if (!inside(virt - PROGRAM_BASE, bytes, memory.program_bytes) || copied > bytes)
		return "a segment is not in program memory";
	memcpy((void *)virt, from, copied);
	memset((void *)(virt + copied), 0, bytes - copied);
	if (segment->flags & SEGMENT_X && entry - virt < bytes)
		is_elf = true;
	memory.program_free = max_u64(memory.program_free, ALIGN_UP(virt + bytes, PAGE));
	return NULL;
}

static void segment_protect(const struct segment *segment)
{
	uint32_t rights = MAP_READ | (segment->flags & SEGMENT_W) | (segment->flags & SEGMENT_X ? MAP_EXEC : 0);
	size_t run;
	if (segment->type == SEGMENT_LOAD && segment->bytes)
		for (uint64_t virt = ALIGN_DOWN(segment->virt, PAGE); virt < segment->virt + segment->bytes; virt += PAGE)
			page_map(virt, mem_phys((void *)virt, PAGE, &run), PAGE, rights);
}

static const char *elf_load(const struct elf *elf, uint64_t bytes)
{
	const char *file = (const char *)elf, *error;
	if (bytes < sizeof(*elf))
		return CUT_SHORT;
	if ((elf->ident & 0xFFFFFF) != ELF_IDENT || elf->kind != ELF_KIND || elf->segment_size != sizeof(struct segment))
		return NOT_STATIC;
	if (!inside(elf->segments, elf->segment_count * sizeof(struct segment), bytes))
		return CUT_SHORT;
	const struct segment *segment = (const struct segment *)(file + elf->segments), *end = segment + elf->segment_count;
	entry = elf->entry;
	for (const struct segment *at = segment; at < end; at++)
		if ((error = segment_load(at, file, bytes)))
			return error;
	if (!is_elf)
		return "its entry is in no executable segment";
	for (; segment < end; segment++)
		segment_protect(segment);
	return NULL;
}

static const char *flat_load(const void *file, uint64_t bytes)
{
	uint64_t room = PAYLOAD_BYTES;
	entry = PAYLOAD_BASE;
	if (boot.program_kind == BOOT_PROGRAM) {
		room = memory.program_bytes;
		entry = PROGRAM_BASE;
		memory.program_free += ALIGN_UP(bytes, PAGE);
	}
	if (bytes > room)
		return "it does not fit into memory";
	memcpy((void *)entry, file, bytes);
	memset((void *)(entry + bytes), 0, min_u64(room - bytes, CLEARED)); // all of a payload's room
	return NULL;
}

// Program memory is handed out, and the module that the loader left goes where it runs.
void program_init(void)
{
	const struct elf *elf = (const struct elf *)boot.program;
	bool has_magic = CONFIG_ON(CORE_NATIVE) && boot.program_kind == BOOT_PROGRAM && elf->magic == ELF_MAGIC;
	const char *error = "none";
	page_program(has_magic ? MAP_WRITE : MAP_WRITE | MAP_EXEC);
	memory.program_base = memory.program_free = PROGRAM_BASE;
	if (has_magic)
		error = elf_load(elf, boot.program_bytes);
	else if (boot.program_kind)
		error = flat_load(elf, boot.program_bytes);
	if (error) {
		log("program: %s\n", error);
		halt();
	}
}

void program_run(void)
{
	struct cpu *cpu = smp_cpu();
	bool native_too = CONFIG_ON(CORE_NATIVE) && is_elf;
	cpu->work = (void (*)(void *))entry;
	run_on_stack(cpu->work, native_too ? &native : NULL, native_too ? boot.arguments : NULL, (void *)cpu->stack);
	log("\nprogram: ended\n");
	smp_idle();
}
