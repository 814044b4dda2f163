// VGA text mode: which cards are touched, and what is written to their memory.
#include "screen.h"

struct boot_info boot;

static struct {
	bool absent;
	uint8_t graphics_index, graphics_misc, crtc[256];
	uint32_t writes;
} card;

static uint32_t card_read(struct fake_pio *dev, uint16_t offset, uint32_t width)
{
	(void)dev;
	assert_int_equal(width, 1);
	if (card.absent)
		return 0xFF;
	if (offset == 0xC)
		return 0x67;
	assert_int_equal(offset, 0xF);
	assert_int_equal(card.graphics_index, 6);
	return card.graphics_misc;
}

static void card_write(struct fake_pio *dev, uint16_t offset, uint32_t width, uint32_t value)
{
	(void)dev;
	card.writes++;
	if (offset == 0xE && width == 1) {
		card.graphics_index = value;
		return;
	}
	assert_int_equal(offset, 0x14);
	assert_int_equal(width, 2);
	card.crtc[value & 0xFF] = value >> 8;
}

static uint16_t text[80 * 25 + 16];
static struct fake_pio ports;
static struct fake_mmio memory;

static int start(void **state)
{
	fake_setup(state);
	memset(&card, 0, sizeof(card));
	card.graphics_misc = 0x0E;
	memset(text, 0x55, sizeof(text));
	boot.framebuffer = 0;
	console = NULL;
	ports = (struct fake_pio){ .base = 0x3C0, .count = 0x20, .read = card_read, .write = card_write };
	fake_pio_add(&ports);
	memory = (struct fake_mmio){ .base = text, .bytes = sizeof(text), .phys = 0xB8000 };
	fake_mmio_add(&memory);
	return 0;
}

static int probe(void)
{
	return fake_platform_driver("vga")->probe();
}

static void left_alone(void **state)
{
	(void)state;
	card.absent = true;
	assert_int_equal(probe(), E_NODEV);
	assert_int_equal(card.writes, 0);
	card.absent = false;
	card.graphics_misc = 0x05; // graphics
	assert_int_equal(probe(), E_NODEV);
	card.graphics_misc = 0x0A; // text, but elsewhere
	assert_int_equal(probe(), E_NODEV);
	card.graphics_misc = 0x00; // nobody has set it up
	assert_int_equal(probe(), E_NODEV);
	card.graphics_misc = 0x0E;
	boot.framebuffer = 0xFD000000;
	assert_int_equal(probe(), E_NODEV);
	assert_int_equal(memory.writes, 0);
	assert_int_equal(fake_alloc_count, 0);
	assert_string_equal(fake_log, "");
}

static void refused(void **state)
{
	(void)state;
	fake_alloc_fail_at = 1;
	assert_int_equal(probe(), E_NOMEM);
	fake_alloc_fail_at = 0;
	fake_map_refuse = true;
	assert_int_equal(probe(), E_NOMEM);
	assert_int_equal(fake_alloc_live, 0);
	assert_null(console);
}

static void cells(void **state)
{
	(void)state;
	assert_int_equal(probe(), E_OK);
	assert_int_equal(card.crtc[0x0A], 0x20); // the card's cursor is off
	for (uint32_t i = 0; i < 80 * 25; i++)
		assert_int_equal(text[i], 0x0720);
	assert_int_equal(memory.writes, 500);
	show("Hi~\n");
	assert_int_equal(text[0], 0x0748);
	assert_int_equal(text[1], 0x0769);
	assert_int_equal(text[2], 0x077E);
	assert_int_equal(text[3], 0x0720);
	assert_int_equal(text[80], 0x7020);
	assert_int_equal(memory.writes, 502); // four cells each
	show("\x01");
	assert_int_equal(text[0], 0x7020);
	assert_int_equal(text[80], 0x0720);
	for (uint32_t row = 0; row < 30; row++)
		show(row == 20 ? "here\n" : "\n");
	assert_int_equal(text[14 * 80], 0x0768);
	assert_int_equal(text[24 * 80], 0x7020);
	assert_int_equal(text[80 * 25], 0x5555);
	assert_int_equal(memory.reads, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		// the screen lives for good
		cmocka_unit_test_setup(left_alone, start),
		cmocka_unit_test_setup(refused, start),
		cmocka_unit_test_setup(cells, start),
	};
	return cmocka_run_group_tests_name("video/vga", tests, NULL, NULL);
}
