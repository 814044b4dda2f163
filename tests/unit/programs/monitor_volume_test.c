// The monitor's volumes and loader, on drives in memory: what is right is loaded to the byte, what is not gets a
// sentence and writes nowhere else.
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <programs/monitor_volume.c>

#define SECTORS 5120u // 20 MiB
#define MEMORY (3u << 20)
#define OLD 0xEE // what memory holds beforehand

const struct ingot_api *ingot;
char __bss_end[1];

static uint8_t *disk, *memory_bytes;
static struct ingot_memory memory;
static uint64_t bad_sector, sectors;

void b_output(const char *text, uint64_t length)
{
	(void)text, (void)length;
}

uint64_t b_system(uint64_t function, uint64_t rax, uint64_t rdx)
{
	return function + rax + rdx;
}

uint64_t b_nvs_read(void *data, uint64_t first, uint64_t count, uint64_t drive)
{
	assert_int_equal(drive, 0);
	if (first >= sectors || count > sectors - first || (bad_sector >= first && bad_sector < first + count))
		return 0;
	memcpy(data, disk + first * B_SECTOR, count * B_SECTOR);
	return count;
}

static int blk_info(uint32_t blk, struct ingot_blk_info *out)
{
	if (blk)
		return INGOT_ENODEV;
	out->block_bytes = 512;
	out->blocks = sectors * 8;
	return INGOT_OK;
}

static struct record *record(uint32_t n)
{
	return (struct record *)(disk + B_SECTOR) + n;
}

// File `n` of the volume: two blocks.
static uint8_t *put_file(uint32_t n, const char *name, uint64_t bytes)
{
	struct record *at = record(n);
	memset(at, 0, sizeof(*at));
	memcpy(at->name, name, strnlen(name, sizeof(at->name)));
	at->block = 1 + 2 * n;
	at->blocks = 2;
	at->bytes = bytes;
	return disk + at->block * BLOCK_SECTORS * B_SECTOR;
}

static int set_up(void **state)
{
	static struct ingot_api api = { .blk_info = blk_info };
	(void)state;
	ingot = &api;
	sectors = SECTORS;
	bad_sector = ~0ul;
	disk = calloc(SECTORS, B_SECTOR);
	memory_bytes = malloc(MEMORY);
	memory = (struct ingot_memory){ .size = sizeof(memory), .base = memory_bytes, .bytes = MEMORY };
	memset(memory_bytes, OLD, MEMORY);
	memcpy(disk + MARK_AT, "BMFS", 4);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(disk);
	free(memory_bytes);
	return 0;
}

static const char *load_first(uintptr_t *entry, int *is_elf)
{
	struct file files[VOLUME_FILES];
	assert_int_equal(volume_files(0, files), 1);
	return program_load(&files[0], &memory, entry, is_elf);
}

// ---- Volumes ------------------------------------------------------------------------------------------------

static void directory(void **state)
{
	struct file files[VOLUME_FILES];
	(void)state;
	assert_int_equal(volume_files(0, files), 0);
	assert_int_equal(volume_files(1, files), INGOT_ENODEV);
	put_file(0, "one", 5);
	put_file(1, "\001free", 5);
	put_file(2, "a name of thirty-two characters!", 1 << 21);
	put_file(3, "b\033[J \x80", 5);
	assert_int_equal(volume_files(0, files), 3);
	assert_string_equal(files[0].name, "one");
	assert_int_equal(files[0].bytes, 5);
	assert_int_equal(files[0].sector, BLOCK_SECTORS);
	assert_string_equal(files[1].name, "a?name?of?thirty-two?characters");
	assert_string_equal(files[2].name, "b?[J??");
	for (uint32_t n = 0; n < VOLUME_FILES; n++)
		put_file(n, "full", 1);
	assert_int_equal(volume_files(0, files), VOLUME_FILES);
	bad_sector = DIRECTORY_SECTOR;
	assert_int_equal(volume_files(0, files), INGOT_EIO);
	bad_sector = ~0ul;
	disk[MARK_AT] ^= 1;
	assert_int_equal(volume_files(0, files), INGOT_EINVAL);
	sectors = 1;
	disk[MARK_AT] ^= 1;
	assert_int_equal(volume_files(0, files), INGOT_EINVAL);
}

static void behind_a_fat_file_system(void **state)
{
	struct file files[VOLUME_FILES];
	(void)state;
	free(disk);
	sectors = 32768 + SECTORS; // 128 MiB and a volume
	uint8_t *whole = calloc(sectors, B_SECTOR);
	disk = whole + (128u << 20);
	memcpy(disk + MARK_AT, "BMFS", 4);
	put_file(0, "x", 5);
	disk = whole;
	assert_int_equal(volume_files(0, files), 1);
	assert_int_equal(files[0].sector, 32768 + 512);
	assert_false(files[0].damaged);
}

static void damaged_records(void **state)
{
	static const uint64_t wrong[][3] = { // block, blocks, bytes
		{ 0, 1, 1 }, { 1, 1, (1 << 21) + 1 }, { 11, 1, 1 }, { 10, 1, 1 }, { 9, 2, 1 }, { 1, 10, 1 }, { ~0ul, 1, 1 },
		{ 1, ~0ul, 1 }, { 1, 1, ~0ul }, { 1ul << 55, 1, 1 }, { 1, 1ul << 43, 1 }, { 1, 0, 1 }
	};
	uintptr_t entry;
	int is_elf;
	(void)state;
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		put_file(0, "x", 0);
		memcpy(&record(0)->block, wrong[i], sizeof(wrong[i]));
		assert_string_equal(load_first(&entry, &is_elf), "its record points outside the volume");
	}
}

// ---- Programs -----------------------------------------------------------------------------------------------

static void flat(void **state)
{
	static const uint32_t sizes[] = { 1, 63, 64, 4095, 4096, 4097, 12288, 100000, 1 << 21 };
	uintptr_t entry;
	int is_elf;
	(void)state;
	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *content = put_file(0, "x", sizes[i]);
		memset(content, (int)(i + 1), sizes[i]);
		memset(memory_bytes, OLD, MEMORY);
		assert_null(load_first(&entry, &is_elf));
		assert_false(is_elf);
		assert_int_equal(entry, (uintptr_t)memory_bytes);
		assert_memory_equal(memory_bytes, content, sizes[i]);
		assert_int_equal(memory_bytes[sizes[i]], OLD);
	}
	put_file(0, "x", 0);
	assert_string_equal(load_first(&entry, &is_elf), "the file is empty");
	put_file(0, "x", MEMORY + 1);
	assert_string_equal(load_first(&entry, &is_elf), "it does not fit into memory");
	bad_sector = BLOCK_SECTORS + 1;
	put_file(0, "x", 5000);
	assert_string_equal(load_first(&entry, &is_elf), "the drive reports an error");
}

#define TEXT_AT 0x1001u // in the file; not where a sector begins
#define TEXT_BYTES 9000u
#define DATA_AT 0x4000u
#define ELF_BYTES 0x5000u

static Elf64_Phdr *put_elf(Elf64_Ehdr **elf)
{
	uint8_t *file = put_file(0, "x", ELF_BYTES);
	Elf64_Phdr *segments = (Elf64_Phdr *)(file + 64);
	for (uint32_t i = 4096; i < ELF_BYTES; i++)
		file[i] = (uint8_t)(i * 7);
	*elf = (Elf64_Ehdr *)file;
	**elf = (Elf64_Ehdr){ .e_ident = { ELFMAG0, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = 1,
		.e_entry = PROGRAM_BASE + 0x101,
		.e_phoff = 64,
		.e_phnum = 3,
		.e_phentsize = sizeof(Elf64_Phdr) };
	segments[0] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = ~0ul, .p_filesz = 5 };
	segments[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_offset = TEXT_AT,
		.p_vaddr = PROGRAM_BASE + 1,
		.p_filesz = TEXT_BYTES,
		.p_memsz = TEXT_BYTES };
	segments[2] = (Elf64_Phdr){ .p_type = PT_LOAD,
		.p_flags = PF_R | PF_W,
		.p_offset = DATA_AT,
		.p_vaddr = PROGRAM_BASE + 0x10000,
		.p_filesz = 0x1000,
		.p_memsz = MEMORY - 0x10000 };
	return segments;
}

static void put_note(Elf64_Ehdr *elf, uint32_t api_bytes)
{
	Elf64_Phdr *segments = (Elf64_Phdr *)((uint8_t *)elf + 64);
	struct ingot_note *note = (struct ingot_note *)((uint8_t *)elf + 512);
	*note = (struct ingot_note){ sizeof("Ingot"), 4, 1, "Ingot", api_bytes };
	segments[0].p_offset = 512;
	segments[0].p_filesz = sizeof(*note);
}

static void elf_file(void **state)
{
	Elf64_Ehdr *elf;
	uintptr_t entry;
	int is_elf;
	(void)state;
	put_elf(&elf);
	uint8_t *file = (uint8_t *)elf;
	assert_null(load_first(&entry, &is_elf));
	assert_true(is_elf);
	assert_int_equal(entry, (uintptr_t)memory_bytes + 0x101);
	assert_int_equal(memory_bytes[0], OLD);
	assert_memory_equal(memory_bytes + 1, file + TEXT_AT, TEXT_BYTES);
	assert_int_equal(memory_bytes[1 + TEXT_BYTES], OLD);
	assert_memory_equal(memory_bytes + 0x10000, file + DATA_AT, 0x1000);
	assert_int_equal(memory_bytes[0x11000], OLD);
	put_elf(&elf);
	put_note(elf, ingot->size);
	assert_null(load_first(&entry, &is_elf));
}

static void wrong_elf_files(void **state)
{
	static const char kind[] = "not a static ELF64 program for x86-64", cut[] = "the file is cut short";
	static const char place[] = "a segment is not in program memory",
					  no_entry[] = "its entry is in no executable segment";
	Elf64_Ehdr *elf;
	Elf64_Phdr *segments;
	uintptr_t entry;
	int is_elf;
	(void)state;
#define REFUSED(change, why) \
	do { \
		segments = put_elf(&elf); \
		(void)segments; \
		change; \
		assert_string_equal(load_first(&entry, &is_elf), why); \
	} while (0)
	REFUSED(elf->e_ident[EI_CLASS] = ELFCLASS32, kind);
	REFUSED(elf->e_ident[EI_DATA] = ELFDATA2MSB, kind);
	REFUSED(elf->e_type = ET_DYN, kind);
	REFUSED(elf->e_machine = EM_AARCH64, kind);
	REFUSED(elf->e_phentsize = 32, kind);
	REFUSED(elf->e_phoff = ~0ul, cut);
	REFUSED(elf->e_phoff = ELF_BYTES - 10, cut);
	REFUSED(elf->e_phnum = 0xFFFF, cut);
	REFUSED(record(0)->bytes = 64, cut);
	REFUSED(record(0)->bytes = 70, cut);
	REFUSED(record(0)->bytes = DATA_AT + 1, cut);
	REFUSED(segments[1].p_offset = ~0ul, cut);
	REFUSED(segments[1].p_filesz = ~0ul, cut);
	REFUSED(segments[1].p_vaddr = 0x100000, place);
	REFUSED(segments[1].p_vaddr = PROGRAM_BASE - 1, place);
	REFUSED(segments[2].p_vaddr++, place);
	REFUSED(segments[2].p_memsz = ~0ul, place);
	REFUSED(segments[1].p_memsz = 10, place);
	REFUSED(elf->e_entry = 0, no_entry);
	REFUSED(elf->e_entry = PROGRAM_BASE + 1 + TEXT_BYTES, no_entry);
	REFUSED(elf->e_entry = PROGRAM_BASE + 0x10000, no_entry);
	REFUSED(elf->e_phnum = 0, no_entry);
	REFUSED(segments[1].p_flags = PF_R, no_entry);
	REFUSED(segments[2].p_type = PT_DYNAMIC, kind);
	REFUSED(segments[2].p_type = PT_INTERP, kind);
	REFUSED(put_note(elf, ingot->size + 8), "it needs a newer kernel");
	REFUSED(record(0)->bytes = 20, kind); // the rest of the header is zero
}

// Whatever the headers say: the sanitizer watches what is written.
static void any_elf_file(void **state)
{
	uint64_t random = 1;
	Elf64_Ehdr *elf;
	uintptr_t entry;
	int is_elf;
	uint32_t loaded = 0;
	(void)state;
	for (uint32_t round = 0; round < 20000; round++) {
		put_elf(&elf);
		for (uint32_t i = random_next(&random) % 4 + 1; i--;) {
			uint64_t at = random_next(&random) % 232, value = random_next(&random);
			((uint8_t *)elf)[at] = (uint8_t)(value & 0x100 ? value : value & 0x200 ? 0xFF : 0);
		}
		loaded += !load_first(&entry, &is_elf);
	}
	assert_in_range(loaded, 100, 19000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(directory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(behind_a_fat_file_system, set_up, tear_down),
		cmocka_unit_test_setup_teardown(damaged_records, set_up, tear_down),
		cmocka_unit_test_setup_teardown(flat, set_up, tear_down),
		cmocka_unit_test_setup_teardown(elf_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(wrong_elf_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(any_elf_file, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
