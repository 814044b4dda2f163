// The buffer of characters, and scan codes of set 1.
#include <fake.h>
#include <program.h>

struct classic_calls classic;
static uint32_t wakes;

void program_key(void)
{
	wakes++;
}

static void drain(void)
{
	while (input_read())
		;
}

static const char *typed(const uint8_t *codes, size_t count)
{
	static char text[64];
	struct keyboard kbd = { 0 };
	size_t len = 0;
	drain();
	for (size_t i = 0; i < count; i++)
		input_scancode(&kbd, codes[i]);
	while ((text[len] = input_read()))
		len++;
	return text;
}
#define TYPED(...) typed((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void every_key(void **state)
{
	static const struct {
		uint8_t first;
		const char *plain, *shifted;
	} rows[] = {
		{ 0x01,
			"\x1B"
			"1234567890-=\x0E\tqwertyuiop[]\x1C",
			"\x1B"
			"!@#$%^&*()_+\x0E\tQWERTYUIOP{}\x1C" },
		{ 0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~" },
		{ 0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?" },
		{ 0x37, "*", "*" },
		{ 0x39, " ", " " },
		{ 0x47, "789-456+1230.", "789-456+1230." },
	};
	uint8_t seen[128] = { 0 };
	(void)state;
	for (size_t row = 0; row < ARRAY_SIZE(rows); row++)
		for (size_t i = 0; rows[row].plain[i]; i++) {
			uint8_t key = rows[row].first + i;
			char plain[2] = { rows[row].plain[i] }, shifted[2] = { rows[row].shifted[i] };
			assert_string_equal(TYPED(key, key | 0x80), plain);
			assert_string_equal(TYPED(0x2A, key, key | 0x80, 0xAA), shifted);
			assert_string_equal(TYPED(0x36, key, 0xB6, key, key | 0x80), ((char[]){ shifted[0], plain[0], 0 }));
			seen[key] = 1;
		}
	for (uint32_t code = 0; code < 256; code++) // the others say nothing
		if (!(code < 0x80 && seen[code]))
			assert_string_equal(TYPED(code), "");
}

static void modifiers(void **state)
{
	(void)state;
	assert_string_equal(TYPED(0x2A, 0x36, 0x1E, 0xAA, 0x1E, 0xB6, 0x1E), "AAa");                    // two shifts
	assert_string_equal(TYPED(0x3A, 0x3A, 0x3A, 0xBA, 0x1E, 0x02, 0x2A, 0x1E, 0x02, 0xAA), "A1a!"); // caps lock repeats
	assert_string_equal(TYPED(0x3A, 0xBA, 0x1E, 0x3A, 0xBA, 0x1E), "Aa");
	assert_string_equal(TYPED(0x1D, 0x1E, 0x2C, 0x9D, 0x1E),
		"\x01\x1A"
		"a"); // control
	assert_string_equal(TYPED(0xE0, 0x1D, 0x2E, 0xE0, 0x9D, 0x2E),
		"\x03"
		"c");
	assert_string_equal(TYPED(0x1D, 0x2A, 0x1E, 0x02, 0x1C), "\x01!\x1C");
	assert_string_equal(TYPED(0x38, 0x1E, 0xB8), "a"); // alt
}

static void prefixes(void **state)
{
	(void)state;
	assert_string_equal(TYPED(0xE0, 0x48, 0xE0, 0xC8, 0xE0, 0x50, 0xE0, 0x4B, 0xE0, 0x4D), "\x04\x05\x03\x02");
	assert_string_equal(TYPED(0xE0, 0x1C, 0xE0, 0x35), "\x1C/"); // keypad
	assert_string_equal(TYPED(0xE0, 0x2A, 0xE0, 0x4B, 0xE0, 0xCB, 0xE0, 0xAA, 0x1E),
		"\x03"
		"a"); // with num lock
	assert_string_equal(TYPED(0x2A, 0xE0, 0xAA, 0xE0, 0x4B, 0xE0, 0xCB, 0xE0, 0x2A, 0x1E),
		"\x03"
		"A");                                                                              // with shift
	assert_string_equal(TYPED(0xE0, 0x2A, 0xE0, 0x37, 0xE0, 0xB7, 0xE0, 0xAA, 0x1E), "a"); // Print Screen
	assert_string_equal(TYPED(0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5, 0x1E), "a");             // Pause
	assert_string_equal(TYPED(0xE0, 0x46, 0xE0, 0xC6, 0x1E), "a");                         // Break
	// Home, Page Up, End, Page Down, Insert, Delete, Windows, menu
	assert_string_equal(
		TYPED(0xE0, 0x47, 0xE0, 0x49, 0xE0, 0x4F, 0xE0, 0x51, 0xE0, 0x52, 0xE0, 0x53, 0xE0, 0x5B, 0xE0, 0x5D), "");
	assert_string_equal(TYPED(0xE0, 0xE0, 0x48, 0x48),
		"\x04"
		"8"); // a prefix lasts for one code
}

static void buffer(void **state)
{
	(void)state;
	drain();
	wakes = 0;
	input_push(0); // is no character
	assert_int_equal(wakes, 0);
	assert_int_equal(input_read(), 0);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 300; i++)
			input_push(1 + i % 255);
		for (uint32_t i = 0; i < 256; i++)
			assert_int_equal(input_read(), 1 + i % 255);
		assert_int_equal(input_read(), 0);
	}
	assert_int_equal(wakes, 900);
	assert_int_equal(fake_irq_off, 0);
}

struct polled {
	struct input_source source;
	uint32_t taken;
	uint8_t character;
};

static void take(void *self)
{
	struct polled *polled = self;
	polled->taken++;
	if (polled->character)
		input_push(polled->character);
	if (polled->taken == 2)
		assert_int_equal(input_read(), polled->character); // a callback that reads, in the middle of it
}

static void sources(void **state)
{
	static struct polled routed = { { take }, 0, 'r' }, polled = { { take }, 0, 'p' };
	static struct polled lineless = { { take }, 0, 'l' };
	(void)state;
	drain();
	input_attach(&routed.source, 4);
	assert_int_equal(fake_irq_live(), 1);
	assert_true(fake_line_fire(4));
	assert_int_equal(input_read(), 'r');
	assert_int_equal(input_read(), 0);
	assert_int_equal(routed.taken, 1); // never polled
	assert_false(classic.input_polled);
	irq_free(fake_lines[0].vector);

	fake_irq_refuse = true;
	input_attach(&polled.source, 1);
	assert_true(classic.input_polled);
	assert_int_equal(input_read(), 'p');
	assert_int_equal(polled.taken, 1);
	assert_int_equal(input_read(), 0); // the inner reader has had it
	polled.character = 0;
	assert_int_equal(input_read(), 0);
	assert_int_equal(polled.taken, 3);

	fake_irq_refuse = false; // a vector, but no line
	fake_line_count = ARRAY_SIZE(fake_lines);
	input_attach(&lineless.source, 4);
	assert_int_equal(fake_irq_live(), 0);
	assert_int_equal(input_read(), 'l');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(every_key),
		FAKE_TEST(modifiers),
		FAKE_TEST(prefixes),
		FAKE_TEST(buffer),
		FAKE_TEST(sources),
	};
	return cmocka_run_group_tests_name("hid/input", tests, NULL, NULL);
}
