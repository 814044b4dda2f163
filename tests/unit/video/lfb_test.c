// Text on a frame buffer, pixel by pixel.
#include "screen.h"

#define GREY 0xC0C0C0u
#define GUARD 0xDEADBEEFu

struct boot_info boot;
static uint32_t *pixels; // with guards in front and behind
static uint32_t count;

static void set(uint32_t *at, uint32_t width, uint32_t height, uint32_t pitch, uint32_t bits)
{
	boot.framebuffer = (uintptr_t)at;
	boot.width = width;
	boot.height = height;
	boot.pitch = pitch;
	boot.bits = bits;
}

static int probe(uint32_t width, uint32_t height, uint32_t pitch, uint32_t bits)
{
	console = NULL;
	free(pixels);
	count = pitch * height;
	pixels = malloc((count + 64) * 4);
	for (uint32_t i = 0; i < count + 64; i++)
		pixels[i] = GUARD;
	set(pixels + 32, width, height, pitch, bits);
	return fake_platform_driver("lfb")->probe();
}

static int cleanup(void **state)
{
	(void)state;
	free(pixels);
	pixels = NULL;
	return 0;
}

static uint8_t row_of(uint32_t column, uint32_t line)
{
	const uint32_t *pixel = pixels + 32 + line * boot.pitch + column * 8;
	uint8_t bits = 0;
	for (uint32_t i = 0; i < 8; i++) {
		assert_true(pixel[i] == 0 || pixel[i] == GREY);
		bits = bits << 1 | (pixel[i] != 0);
	}
	return bits;
}

// Rows of 'A' in Fixed 8x16.
static const uint8_t glyph_a[16] = { 0, 0, 0x18, 0x24, 0x24, 0x42, 0x42, 0x7E, 0x42, 0x42, 0x42, 0x42 };

static bool is_a(uint32_t column, uint32_t row, uint8_t invert)
{
	static const uint8_t blank[16];
	uint8_t cell[16];
	for (uint32_t i = 0; i < 16; i++)
		cell[i] = row_of(column, row * 16 + i) ^ invert;
	if (!memcmp(cell, blank, sizeof(cell)))
		return false;
	// The glyph may sit a line higher or lower, but is this one.
	for (uint32_t shift = 0; shift <= 6; shift++)
		if (!memcmp(cell + shift, glyph_a + 2, 10))
			return true;
	fail_msg("the cell at %u, %u is neither A nor blank", column, row);
	return false;
}

static void guards(void)
{
	for (uint32_t i = 0; i < 32; i++) {
		assert_int_equal(pixels[i], GUARD);
		assert_int_equal(pixels[32 + count + i], GUARD);
	}
}

static void refused(void **state)
{
	(void)state;
	boot.framebuffer = 0;
	assert_int_equal(fake_platform_driver("lfb")->probe(), E_NODEV);
	assert_int_equal(probe(640, 480, 640, 24), E_INVAL);
	assert_int_equal(probe(640, 480, 639, 32), E_INVAL);
	assert_int_equal(probe(63, 480, 640, 32), E_INVAL);
	assert_int_equal(probe(640, 15, 640, 32), E_INVAL);
	assert_int_equal(probe(0, 0, 0, 32), E_INVAL);
	set((uint32_t *)0x1000, 0x80000000, 0x80000000, 0x80000000, 32);
	assert_int_equal(fake_platform_driver("lfb")->probe(), E_INVAL);
	set((uint32_t *)0x1000, 640, 0x10000, 640, 32);
	assert_int_equal(fake_platform_driver("lfb")->probe(), E_INVAL);
	assert_int_equal(fake_alloc_count, 0);
	fake_alloc_fail_at = 1;
	assert_int_equal(probe(640, 480, 640, 32), E_NOMEM);
	fake_alloc_fail_at = 0;
	fake_map_refuse = true;
	assert_int_equal(probe(640, 480, 640, 32), E_NOMEM);
	assert_int_equal(fake_alloc_live, 0);
	assert_null(console);
	guards();
	assert_string_equal(fake_log, "");
}

static void cleared(void **state)
{
	(void)state;
	assert_int_equal(probe(645, 485, 651, 32), E_OK); // odd in every way
	for (uint32_t i = 0; i < count / 2 * 2; i++)
		assert_int_equal(pixels[32 + i], 0);
	guards();
	show("\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n");
	assert_int_equal(row_of(0, 29 * 16), 0xFF); // the cursor
	guards();
}

static void glyphs(void **state)
{
	uint8_t seen[95][16];
	(void)state;
	assert_int_equal(probe(1024, 768, 1100, 32), E_OK);
	show("A");
	assert_true(is_a(0, 0, 0));
	assert_int_equal(row_of(1, 0), 0xFF);
	show("\nxA\x03");
	assert_true(is_a(1, 1, 0xFF));
	show("\x01");
	for (char c = 0x20; c < 0x7F; c++)
		console->write(console, &c, 1);
	for (uint32_t i = 0; i < 95; i++) {
		for (uint32_t line = 0; line < 16; line++)
			seen[i][line] = row_of(i, line);
		for (uint32_t other = 0; other < i; other++)
			assert_memory_not_equal(seen[i], seen[other], 16);
	}
	guards();
}

static void places(void **state)
{
	(void)state;
	assert_int_equal(probe(1366, 768, 1366, 32), E_OK); // 170 columns, of which 168 are used
	for (uint32_t row = 0; row < 47; row++) {
		for (uint32_t i = 0; i < row; i++)
			show(" ");
		show("A\n");
	}
	for (uint32_t row = 0; row < 47; row++)
		for (uint32_t column = 0; column < 168; column++)
			assert_int_equal(is_a(column, row, 0), column == row);
	show("\n"); // scrolls by one
	for (uint32_t row = 0; row < 46; row++)
		for (uint32_t column = 0; column < 168; column++)
			assert_int_equal(is_a(column, row, 0), column == row + 1);
	show("\n");
	for (uint32_t i = 0; i < 167; i++)
		show(" ");
	show("A");
	assert_true(is_a(167, 46, 0));
	guards();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		// the screen lives for good
		cmocka_unit_test_setup_teardown(refused, fake_setup, cleanup),
		cmocka_unit_test_setup_teardown(cleared, fake_setup, cleanup),
		cmocka_unit_test_setup_teardown(glyphs, fake_setup, cleanup),
		cmocka_unit_test_setup_teardown(places, fake_setup, cleanup),
	};
	return cmocka_run_group_tests_name("video/lfb", tests, NULL, NULL);
}
