// Control characters, wrapping and scrolling, on a screen of 16 by 4 cells.
#include "screen.h"
#include <stdio.h>

#define COLUMNS 16u
#define ROWS 4u
#define CELLS (COLUMNS * ROWS)

static struct text_screen scr;
static uint8_t memory[TEXT_BYTES(COLUMNS, CELLS)] __attribute__((aligned(8)));
static uint8_t drawn[CELLS]; // what the driver has put on the glass
static uint32_t draws;

static void draw(struct text_screen *which, uint32_t at)
{
	assert_ptr_equal(which, &scr);
	assert_int_equal(at % TEXT_GROUP, 0);
	assert_true(at < CELLS);
	memcpy(drawn + at, scr.cells + at, TEXT_GROUP);
	draws++;
}

static int start(void **state)
{
	fake_setup(state);
	memset(&scr, 0, sizeof(scr));
	memset(memory, 0, sizeof(memory));
	memset(drawn, 0, sizeof(drawn));
	scr.draw = draw;
	scr.columns = COLUMNS;
	scr.count = CELLS;
	scr.cells = memory;
	text_register(&scr);
	draws = 0;
	return 0;
}

// Rows with / between them, blanks at their ends left out; the cursor as |in front of its cell.
static const char *screen(void)
{
	static char text[CELLS * 2];
	char *to = text;
	uint32_t cursors = 0;
	assert_memory_equal(drawn, scr.cells, CELLS);
	for (uint32_t row = 0; row < ROWS; row++) {
		char *end = to;
		for (uint32_t at = row * COLUMNS; at < (row + 1) * COLUMNS; at++) {
			bool cursor = drawn[at] & 0x80;
			cursors += cursor;
			if (cursor)
				*to++ = '|';
			*to++ = (drawn[at] & 0x7F) + 0x20;
			if (cursor || to[-1] != ' ')
				end = to - (cursor && to[-1] == ' ');
		}
		to = end;
		*to++ = '/';
	}
	to[-1] = 0;
	assert_int_equal(cursors, 1);
	for (uint32_t i = 0; i < COLUMNS; i++) // the row that scrolls in
		assert_int_equal(memory[CELLS + i], 0);
	return text;
}

static const char *after(const char *text)
{
	show(text);
	return screen();
}

static void glyphs(void **state)
{
	(void)state;
	assert_string_equal(after("Hello, ~"), "Hello, ~|///");
	assert_string_equal(after("!"), "Hello, ~!|///");
	assert_string_equal(after(""), "Hello, ~!|///");
	assert_string_equal(after("\x7F\x80\xFF\x1B\x08."), "Hello, ~!     .|///"); // no glyphs of ours
	console->write(console, "a\0b", 3);
	assert_string_equal(screen(), "Hello, ~!     .a/ b|//");
}

static void newlines(void **state)
{
	(void)state;
	assert_string_equal(after("a\nb\n"), "a/b/|/");
	assert_string_equal(after("c\r\nd"), "a/b/c/d|");
	assert_string_equal(after("\r"), "a/b/c/|d"); // the second half of the pair may still come
	assert_string_equal(after("\n"), "b/c/d/|");
	assert_string_equal(after("xyz\r"), "b/c/d/|xyz");
	assert_string_equal(after("a"), "b/c/d/a|");
	assert_string_equal(after("bc\rd\r\r\n"), "c/d/d/|");
	assert_string_equal(after("12345678901234\r\t"), "c/d/d/        |");
}

static void tabs(void **state)
{
	(void)state;
	assert_string_equal(after("\ta"), "        a|///");
	assert_string_equal(after("\rabc\tb\tc\td"), "abc     b/c       d|//");
	assert_string_equal(after("\n\t\t\t"), "abc     b/c       d//        |");
}

static void erase(void **state)
{
	(void)state;
	assert_string_equal(after("\x0E"), "|///"); // nothing to erase
	assert_string_equal(after("abc\x0E"), "ab|///");
	assert_string_equal(after("\x0E\x0E\x0E\x0E"), "|///");
	assert_string_equal(after("1234567890123456"), "1234567890123456/|//");
	assert_string_equal(after("\x0E"), "123456789012345|///");
	assert_string_equal(after("6789\x0E\x0E\x0E\x0E"), "123456789012345|///");
}

static void cursor(void **state)
{
	(void)state;
	assert_string_equal(after("\x03"), "|///");
	assert_string_equal(after("abc\x03\x03"), "a|bc///");
	assert_string_equal(after("\x02"), "ab|c///");
	assert_string_equal(after("X"), "abX|///");
	assert_string_equal(after("\x02\x02Y"), "abX  Y|///");
	assert_string_equal(after("\n\x03\x03"), "abX  Y        |///");
}

static void clear(void **state)
{
	(void)state;
	assert_string_equal(after("a\nb\nc\nd\ne\x01"), "|///");
	assert_string_equal(after("x\x01y"), "y|///");
	assert_string_equal(after("ab\r\x01z"), "z|///");
}

static void wrap(void **state)
{
	(void)state;
	assert_string_equal(after("1234567890123456"), "1234567890123456/|//");
	assert_string_equal(after("\n"), "1234567890123456/|//"); // one newline, not two
	assert_string_equal(after("abcdefghijklmnop\r\nq"), "1234567890123456/abcdefghijklmnop/q|/");
	assert_string_equal(after("\rabcdefghijklmnopq"), "1234567890123456/abcdefghijklmnop/abcdefghijklmnop/q|");
	assert_string_equal(after("\nABCDEFGHIJKLMNOP"), "abcdefghijklmnop/q/ABCDEFGHIJKLMNOP/|");
	assert_string_equal(after("\r."), "abcdefghijklmnop/q/.|/"); // the line that is cleared is the full one
}

static void scroll(void **state)
{
	char text[32];
	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "line %u\n", i);
		show(text);
	}
	assert_string_equal(screen(), "line 997/line 998/line 999/|");
	draws = 0;
	assert_string_equal(after("a\nb\nc\nd\ne\nf\ng\nh\n"), "f/g/h/|");
	assert_in_range(draws, 1, 8); // once, whatever went by in between
}

static void cost(void **state)
{
	(void)state;
	show("hello");
	draws = 0;
	show(".");
	assert_int_equal(draws, 1);
	show("");
	assert_int_equal(draws, 1);
	show("\n");
	assert_int_equal(draws, 3); // the old cursor and the new one
}

// Everything at once: the screen stays what the cells say, and the cursor stays on it.
static void fuzz(void **state)
{
	static const char some[] = "ab\n\r\t\x01\x02\x03\x0E \x7F";
	uint32_t random = 1;
	(void)state;
	for (uint32_t i = 0; i < 20000; i++) {
		char text[40];
		uint32_t len = 0, wanted = random >> 8 & 31;
		do {
			random = random * 1664525 + 1013904223;
			text[len++] = random >> 24 < 3 ? 1 : some[(random >> 16) % 5 == 0 ? (random >> 10) % 10 : 0];
		} while (len < wanted);
		console->write(console, text, len);
		screen();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(glyphs, start),
		cmocka_unit_test_setup(newlines, start),
		cmocka_unit_test_setup(tabs, start),
		cmocka_unit_test_setup(erase, start),
		cmocka_unit_test_setup(cursor, start),
		cmocka_unit_test_setup(clear, start),
		cmocka_unit_test_setup(wrap, start),
		cmocka_unit_test_setup(scroll, start),
		cmocka_unit_test_setup(cost, start),
		cmocka_unit_test_setup(fuzz, start),
	};
	return cmocka_run_group_tests_name("video/text", tests, NULL, NULL);
}
