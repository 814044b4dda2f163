// Volumes of BMFS 1 (docs/abi.md) on drives, and the programs on them: flat ones, and ELF files ("Tool Interface
// Standard ELF 1.2" and the x86-64 supplement).  What a drive holds is input: a number is checked before it is used.
#include "monitor.h"
#include <baremetal.h>
#include <elf.h>

#define PROGRAM_BASE 0xFFFF800000000000ul
#define MARK_AT 1024 // in the volume's first sector
#define DIRECTORY_SECTOR 1
#define BLOCK_SECTORS 512   // a block has 2 MiB
#define HYBRID_SECTOR 32768 // where the volume begins on a disk that has a FAT file system in front of it
enum { END = 0, FREE = 1 }; // first byte of a name: nothing follows; this record is not in use

struct record {
	char name[32];
	uint64_t block, blocks, bytes, unused;
};

static union {
	char bytes[B_SECTOR];
	struct record records[VOLUME_FILES];
} sector;
_Static_assert(sizeof(sector) == B_SECTOR, "a directory is a sector");

// ---- Volumes ------------------------------------------------------------------------------------------------------

static int read_sector(uint32_t blk, uint64_t number)
{
	return b_nvs_read(&sector, number, 1, blk) ? INGOT_OK : INGOT_EIO;
}

static int has_mark(void)
{
	static const char mark[] = { 'B', 'M', 'F', 'S' };
	for (uint32_t i = 0; i < sizeof(mark); i++)
		if (sector.bytes[MARK_AT + i] != mark[i])
			return 0;
	return 1;
}

// The first sector of the volume that a drive of so many sectors holds.
static int find_volume(uint32_t blk, uint64_t sectors, uint64_t *first)
{
	static const uint64_t places[] = { 0, HYBRID_SECTOR };
	for (uint32_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		*first = places[i];
		if (*first + DIRECTORY_SECTOR >= sectors)
			break;
		if (read_sector(blk, *first) < 0)
			return INGOT_EIO;
		if (has_mark())
			return INGOT_OK;
	}
	return INGOT_EINVAL;
}

// `blocks`: how many the volume has at most.
static void take_record(const struct record *record, uint32_t blk, uint64_t first, uint64_t blocks, struct file *file)
{
	uint32_t at = 0;
	for (; at < sizeof(file->name) - 1 && record->name[at]; at++)
		file->name[at] = record->name[at] > ' ' && record->name[at] < 0x7F ? record->name[at] : '?';
	file->name[at] = 0;
	file->blk = blk;
	file->sector = first + record->block * BLOCK_SECTORS;
	file->bytes = record->bytes;
	file->damaged = !record->block || record->block > blocks || record->blocks > blocks - record->block ||
		record->bytes > record->blocks * BLOCK_SECTORS * B_SECTOR;
}

int volume_files(uint32_t blk, struct file files[VOLUME_FILES])
{
	struct ingot_blk_info info = { .size = sizeof(info) };
	uint64_t first;
	int count = 0, rc = ingot->blk_info(blk, &info);
	if (rc < 0)
		return rc;
	uint64_t sectors = info.blocks / (B_SECTOR / info.block_bytes);
	if ((rc = find_volume(blk, sectors, &first)) < 0 || (rc = read_sector(blk, first + DIRECTORY_SECTOR)) < 0)
		return rc;
	uint64_t blocks = (sectors - first) / BLOCK_SECTORS;
	for (const struct record *at = sector.records; at < sector.records + VOLUME_FILES && at->name[0] != END; at++)
		if (at->name[0] != FREE)
			take_record(at, blk, first, blocks, &files[count++]);
	return count;
}

// ---- Files --------------------------------------------------------------------------------------------------------

// Whole sectors go where they belong, at once; ends of sectors by way of our own.
static const char *file_read(const struct file *file, uint64_t offset, void *to, uint64_t bytes)
{
	static const char unreadable[] = "the drive reports an error";
	char *at = to;
	while (bytes) {
		uint64_t number = file->sector + offset / B_SECTOR, skip = offset % B_SECTOR, count = bytes / B_SECTOR;
		uint64_t step = count * B_SECTOR;
		if (!skip && count) {
			if (b_nvs_read(at, number, count, file->blk) != count)
				return unreadable;
		} else {
			if (read_sector(file->blk, number) < 0)
				return unreadable;
			step = B_SECTOR - skip < bytes ? B_SECTOR - skip : bytes;
			for (uint64_t i = 0; i < step; i++)
				at[i] = sector.bytes[skip + i];
		}
		at += step;
		offset += step;
		bytes -= step;
	}
	return NULL;
}

// True if a range lies inside the first `limit` bytes.
static int inside(uint64_t base, uint64_t bytes, uint64_t limit)
{
	return base <= limit && bytes <= limit - base;
}

static const char not_static[] = "not a static ELF64 program for x86-64";

// What INGOT_NEEDS asks for; any other note is nobody's concern.
static const char *check_note(const struct file *file, const Elf64_Phdr *segment)
{
	struct ingot_note note;
	if (segment->p_filesz < sizeof(note) || !inside(segment->p_offset, sizeof(note), file->bytes))
		return NULL;
	const char *error = file_read(file, segment->p_offset, &note, sizeof(note));
	if (!error && note.name_bytes == 6 && note.type == 1 && !note.name[5] && text_equal(note.name, "Ingot") &&
		note.api_bytes > ingot->size)
		error = "it needs a newer kernel";
	return error;
}

static const char *load_segment(const struct file *file, const Elf64_Phdr *segment, const struct ingot_memory *memory)
{
	uint64_t offset = segment->p_vaddr - PROGRAM_BASE;
	if (segment->p_type == PT_NOTE)
		return check_note(file, segment);
	if (segment->p_type == PT_DYNAMIC || segment->p_type == PT_INTERP)
		return not_static;
	if (segment->p_type != PT_LOAD || !segment->p_memsz) // linkers leave empty ones, at any address
		return NULL;
	if (!inside(segment->p_offset, segment->p_filesz, file->bytes))
		return "the file is cut short";
	if (!inside(offset, segment->p_memsz, memory->bytes) || segment->p_filesz > segment->p_memsz)
		return "a segment is not in program memory";
	return file_read(file, segment->p_offset, (char *)memory->base + offset, segment->p_filesz);
}

static const char *load_elf(const struct file *file, const Elf64_Ehdr *elf, const struct ingot_memory *memory)
{
	int entered = 0;
	if (elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_ident[EI_DATA] != ELFDATA2LSB || elf->e_type != ET_EXEC ||
		elf->e_machine != EM_X86_64 || elf->e_phentsize != sizeof(Elf64_Phdr))
		return not_static;
	if (!inside(elf->e_phoff, (uint64_t)elf->e_phnum * sizeof(Elf64_Phdr), file->bytes))
		return "the file is cut short";
	for (uint32_t i = 0; i < elf->e_phnum; i++) {
		Elf64_Phdr segment;
		const char *error = file_read(file, elf->e_phoff + i * sizeof(segment), &segment, sizeof(segment));
		if (!error)
			error = load_segment(file, &segment, memory);
		if (error)
			return error;
		if (segment.p_type == PT_LOAD && segment.p_flags & PF_X && elf->e_entry - segment.p_vaddr < segment.p_memsz)
			entered = 1;
	}
	return entered ? NULL : "its entry is in no executable segment";
}

const char *program_load(const struct file *file, const struct ingot_memory *memory, uintptr_t *entry, int *is_elf)
{
	Elf64_Ehdr elf = { .e_ident = { 0 } };
	if (file->damaged)
		return "its record points outside the volume";
	const char *error = file_read(file, 0, &elf, file->bytes < sizeof(elf) ? file->bytes : sizeof(elf));
	if (error)
		return error;
	*is_elf = elf.e_ident[EI_MAG0] == ELFMAG0 && elf.e_ident[EI_MAG1] == ELFMAG1 && elf.e_ident[EI_MAG2] == ELFMAG2 &&
		elf.e_ident[EI_MAG3] == ELFMAG3;
	*entry = (uintptr_t)memory->base;
	if (!file->bytes)
		return "the file is empty";
	if (*is_elf) {
		*entry += elf.e_entry - PROGRAM_BASE;
		return load_elf(file, &elf, memory);
	}
	if (file->bytes > memory->bytes)
		return "it does not fit into memory";
	return file_read(file, 0, memory->base, file->bytes);
}
