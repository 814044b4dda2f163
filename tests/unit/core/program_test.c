// core/program.c: what the loader hands over as a program, good and hostile, against a program memory of 64 KiB.
#include <core/core.h>

static uint8_t arena[0x10000] __attribute__((aligned(4096)));
#undef PROGRAM_BASE
#define PROGRAM_BASE ((uint64_t)arena)
#undef PAYLOAD_BASE
#define PAYLOAD_BASE ((uint64_t)arena)

#include <core/program.c>
#include <fake.h>

struct memory_state memory;
struct boot_info boot;
struct ingot_api native = { .version = INGOT_API_VERSION, .size = sizeof(native) };

static jmp_buf halted;
static struct mapped {
	uint64_t virt, bytes;
	uint32_t flags;
} mapped[64];
static uint32_t maps;

void halt(void)
{
	longjmp(halted, 1);
}

void page_program(uint32_t flags)
{
	(void)flags;
	memory.program_bytes = sizeof(arena);
}

bool page_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t flags)
{
	assert_int_equal(virt, phys);
	assert_true(maps < ARRAY_SIZE(mapped));
	mapped[maps++] = (struct mapped){ virt, bytes, flags };
	return true;
}

void smp_idle(void)
{
	halt();
}

struct cpu *smp_cpu(void)
{
	static struct cpu cpu;
	return &cpu;
}

void run_on_stack(void (*fn)(void *arg), void *arg, const void *second, void *stack)
{
	(void)fn;
	(void)arg;
	(void)second;
	(void)stack;
}

// ---- A program ---------------------------------------------------------------------------------------------------

#define TEXT 0x200 // where its parts lie in the file
#define NOTE 0x300
#define FILE_BYTES 0x400

struct file {
	struct elf elf;
	struct segment segments[4];
	uint8_t rest[FILE_BYTES - sizeof(struct elf) - 6 - 4 * sizeof(struct segment)];
	uint8_t end[6];
} __attribute__((packed, aligned(8)));
_Static_assert(sizeof(struct file) == FILE_BYTES, "its parts");

static struct ingot_note *note_of(struct file *file)
{
	return (struct ingot_note *)((char *)file + NOTE);
}

static void make(struct file *file)
{
	memset(file, 0, sizeof(*file));
	file->elf = (struct elf){ ELF_MAGIC, ELF_IDENT, 0, ELF_KIND, 1, PROGRAM_BASE + 0x10, sizeof(file->elf), 0, 0, 64,
		sizeof(struct segment), 4 };
	file->segments[0] = (struct segment){ SEGMENT_LOAD, 4 | SEGMENT_X, TEXT, PROGRAM_BASE, 0, 0x80, 0x80, PAGE };
	file->segments[1] =
		(struct segment){ SEGMENT_LOAD, 4 | SEGMENT_W, TEXT + 0x80, PROGRAM_BASE + PAGE, 0, 0x10, PAGE + 1, PAGE };
	file->segments[2] = (struct segment){ SEGMENT_NOTE, 4, NOTE, PROGRAM_BASE + 0x40, 0, sizeof(struct ingot_note),
		sizeof(struct ingot_note), 4 };
	file->segments[3] = (struct segment){ 0x6474E551, 6, 0, 0, 0, 0, 0, 16 }; // PT_GNU_STACK
	*note_of(file) = (struct ingot_note){ 6, 4, 1, "Ingot", sizeof(native) };
	memset((char *)file + TEXT, 0x90, 0x80);
	memset((char *)file + TEXT + 0x80, 0xDA, 0x10);
}

// Loads the first `bytes`, from memory that ends with them, so that the sanitizer sees a read beyond; at an odd
// address.  Returns the sentence of the refusal, NULL if there is none.
static const char *load_bytes(const void *content, size_t bytes, uint8_t kind)
{
	char *memory_of_file = malloc(bytes + 1);
	static const char *volatile refusal;
	memcpy(memory_of_file + 1, content, bytes);
	memset(&memory, 0, sizeof(memory));
	memset(&boot, 0, sizeof(boot));
	memset(arena, 0xFF, sizeof(arena));
	fake_reset(); // of its log
	maps = 0;
	is_elf = false;
	boot.program = (uint64_t)memory_of_file + 1;
	boot.program_bytes = bytes;
	boot.program_kind = kind;
	refusal = NULL;
	if (!setjmp(halted))
		program_init();
	else
		refusal = fake_log;
	free(memory_of_file);
	return refusal;
}

static const char *load(const struct file *file)
{
	return load_bytes(file, sizeof(*file), BOOT_PROGRAM);
}

#define REFUSED(file, text) refused(load(file), "program: " text "\n")

static void refused(const char *said, const char *expected)
{
	assert_non_null(said);
	assert_string_equal(said, expected);
}

#define NOT_FOR_US "not a static ELF64 program for x86-64"
#define SHORT "the file is cut short"
#define ELSEWHERE "a segment is not in program memory"
#define NO_ENTRY "its entry is in no executable segment"

static void good(void **state)
{
	struct file file;
	(void)state;
	make(&file);
	assert_null(load(&file));
	assert_int_equal(entry, PROGRAM_BASE + 0x10);
	assert_true(is_elf);
	assert_int_equal(arena[0x7F], 0x90);
	assert_int_equal(arena[0x80], 0xFF); // not of the program
	assert_int_equal(arena[PAGE], 0xDA);
	assert_int_equal(arena[PAGE + 0x10], 0);
	assert_int_equal(arena[2 * PAGE], 0);
	assert_int_equal(arena[2 * PAGE + 1], 0xFF);
	assert_int_equal(memory.program_free, PROGRAM_BASE + 3 * PAGE);
	assert_int_equal(maps, 3);
	assert_int_equal(mapped[0].virt, PROGRAM_BASE);
	assert_int_equal(mapped[0].flags, MAP_READ | MAP_EXEC);
	assert_int_equal(mapped[2].virt, PROGRAM_BASE + 2 * PAGE);
	assert_int_equal(mapped[2].flags, MAP_WRITE);
}

static void other_kinds(void **state)
{
	static const struct {
		uint32_t offset;
		uint8_t value;
	} wrong[] = {
		{ 4, 1 },    // 32 bits
		{ 5, 2 },    // big-endian
		{ 6, 9 },    // version
		{ 16, 1 },   // an object file
		{ 16, 3 },   // position-independent or shared: its addresses are still to be filled in
		{ 18, 183 }, // AArch64
		{ 54, 32 },  // program headers of another size
	};
	struct file file;
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		make(&file);
		((uint8_t *)&file)[wrong[i].offset] = wrong[i].value;
		REFUSED(&file, NOT_FOR_US);
	}
	for (uint32_t type = SEGMENT_DYNAMIC; type <= SEGMENT_INTERPRETER; type++) {
		make(&file);
		file.segments[3].type = type;
		REFUSED(&file, NOT_FOR_US);
	}
}

// Of every length from the magic number on: nothing behind the end is read, and only a whole file is taken.
static void cut_short(void **state)
{
	struct file file;
	(void)state;
	make(&file);
	for (size_t bytes = 4; bytes < NOTE + sizeof(struct ingot_note); bytes++)
		refused(load_bytes(&file, bytes, BOOT_PROGRAM), "program: " SHORT "\n");
	assert_null(load_bytes(&file, NOTE + sizeof(struct ingot_note), BOOT_PROGRAM));
}

static void headers_elsewhere(void **state)
{
	static const uint64_t offsets[] = { FILE_BYTES - 3, FILE_BYTES, FILE_BYTES + 1, 1ul << 40, -1ul, -64ul, 1ul << 63 };
	struct file file;
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		make(&file);
		file.elf.segments = offsets[i];
		REFUSED(&file, SHORT);
		make(&file);
		file.segments[0].offset = offsets[i];
		REFUSED(&file, SHORT);
		make(&file);
		file.segments[0].file_bytes = offsets[i];
		REFUSED(&file, SHORT);
	}
	make(&file);
	file.elf.segment_count = 0xFFFF;
	REFUSED(&file, SHORT);
	make(&file);
	file.elf.segment_count = 0;
	REFUSED(&file, NO_ENTRY);
}

// Over the kernel, below and beyond program memory, round the end of the address space.
static void segment_elsewhere(void **state)
{
	const uint64_t at[] = { 0, 0x100000, 0x1E0000, PROGRAM_BASE - 1, PROGRAM_BASE - 0x80,
		PROGRAM_BASE + sizeof(arena) - 0x7F, PROGRAM_BASE + sizeof(arena), -0x80ul, -1ul };
	const uint64_t lengths[] = { sizeof(arena) + 1, 1ul << 47, -1ul, -PROGRAM_BASE, -PROGRAM_BASE + 1 };
	struct file file;
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(at); i++) {
		make(&file);
		file.segments[0].virt = file.elf.entry = at[i];
		REFUSED(&file, ELSEWHERE);
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		make(&file);
		file.segments[0].bytes = lengths[i];
		REFUSED(&file, ELSEWHERE);
	}
	make(&file);
	file.segments[0].bytes = 0x7F; // less memory than file
	REFUSED(&file, ELSEWHERE);
}

static void entry_elsewhere(void **state)
{
	const uint64_t at[] = { 0, 0x100010, PROGRAM_BASE - 1, PROGRAM_BASE + 0x80, PROGRAM_BASE + PAGE, -1ul };
	struct file file;
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(at); i++) {
		make(&file);
		file.elf.entry = at[i];
		REFUSED(&file, NO_ENTRY);
	}
	make(&file);
	file.segments[0].flags = 4; // nothing is executable
	REFUSED(&file, NO_ENTRY);
	make(&file);
	file.segments[0].bytes = file.segments[0].file_bytes = 0;
	REFUSED(&file, NO_ENTRY);
}

// Linkers leave segments of no bytes at any address: nothing is mapped for them, least of all over the kernel.
static void empty_segment(void **state)
{
	struct file file;
	(void)state;
	make(&file);
	file.segments[3] = (struct segment){ SEGMENT_LOAD, 4 | SEGMENT_W, 0, 0x100008, 0, 0, 0, PAGE };
	assert_null(load(&file));
	assert_int_equal(maps, 3);
}

static void needs(void **state)
{
	struct file file;
	(void)state;
	make(&file);
	note_of(&file)->api_bytes = sizeof(native) + 1;
	REFUSED(&file, "it needs a newer kernel");
	note_of(&file)->type = 2; // somebody else's number
	assert_null(load(&file));
	note_of(&file)->type = 1;
	note_of(&file)->name[0] = 'B';
	assert_null(load(&file));
	note_of(&file)->name[0] = 'I';
	file.segments[2].file_bytes = sizeof(struct ingot_note) - 1;
	assert_null(load(&file));
	make(&file);
	note_of(&file)->api_bytes = 8; // an older program
	assert_null(load(&file));
}

// Any one byte of the headers wrong, and any four: refused, or loaded into program memory; the sanitizers watch.
static void noise(void **state)
{
	struct file file;
	uint64_t seed = 1;
	(void)state;
	for (uint32_t round = 0; round < 100000; round++) {
		make(&file);
		for (uint32_t changes = round % 4 + 1; changes--;) {
			seed = seed * 6364136223846793005 + 1442695040888963407;
			((uint8_t *)&file)[4 + (seed >> 33) % (sizeof(file.elf) + sizeof(file.segments))] = seed >> 56;
		}
		if (load(&file))
			continue;
		assert_true(entry - PROGRAM_BASE < sizeof(arena));
		for (uint32_t i = 0; i < maps; i++)
			assert_true(mapped[i].virt - PROGRAM_BASE < sizeof(arena));
	}
}

static void flat(void **state)
{
	static uint8_t content[sizeof(arena) + 1];
	(void)state;
	memset(content, 0xC3, sizeof(content));
	assert_null(load_bytes(content, 5, BOOT_PROGRAM));
	assert_int_equal(entry, PROGRAM_BASE);
	assert_false(is_elf);
	assert_int_equal(arena[4], 0xC3);
	assert_int_equal(arena[5], 0);
	assert_int_equal(arena[sizeof(arena) - 1], 0);
	assert_int_equal(memory.program_free, PROGRAM_BASE + PAGE);
	assert_null(load_bytes(content, sizeof(arena), BOOT_PROGRAM));
	assert_null(load_bytes(content, PAYLOAD_BYTES, BOOT_PAYLOAD));
	refused(load_bytes(content, sizeof(arena) + 1, BOOT_PROGRAM), "program: it does not fit into memory\n");
	refused(load_bytes(content, PAYLOAD_BYTES + 1, BOOT_PAYLOAD), "program: it does not fit into memory\n");
	refused(load_bytes(content, 4, BOOT_NONE), "program: none\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(good),
		FAKE_TEST(other_kinds),
		FAKE_TEST(cut_short),
		FAKE_TEST(headers_elsewhere),
		FAKE_TEST(segment_elsewhere),
		FAKE_TEST(entry_elsewhere),
		FAKE_TEST(empty_segment),
		FAKE_TEST(needs),
		FAKE_TEST(noise),
		FAKE_TEST(flat),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
