// What the programs share: formatting, numbers, arguments, the pattern on drives.
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include <programs/lib.h>
#include <programs/pattern.h>
#include <baremetal.h>

const struct ingot_api *ingot;
char __bss_end[1];

void b_output(const char *text, uint64_t length)
{
	(void)text, (void)length;
}

uint64_t b_system(uint64_t function, uint64_t rax, uint64_t rdx)
{
	return function + rax + rdx;
}

static const char *formatted(const char *format, ...)
{
	static char text[64];
	va_list list;
	va_start(list, format);
	text[format_text(text, sizeof(text) - 1, format, list)] = 0;
	va_end(list);
	return text;
}

static void format(void **state)
{
	(void)state;
	assert_string_equal(formatted("%u %d %x %lx", 0u, -5, 0xABCDu, ~0ul), "0 -5 abcd ffffffffffffffff");
	assert_string_equal(formatted("%lu|%ld", ~0ul, -0x7FFFFFFFFFFFFFFFl - 1),
		"18446744073709551615|-9223372036854775808");
	assert_string_equal(formatted("[%5u][%05u][%-5s][%5s]%%", 42u, 42u, "ab", "cd"), "[   42][00042][ab   ][   cd]%");
	assert_string_equal(formatted("%c%s", 'x', ""), "x");
	assert_int_equal(
		strlen(formatted("%s%s", "0123456789012345678901234567890123456789", "0123456789012345678901234567")), 63);
}

static void numbers(void **state)
{
	uint64_t value;
	const char *texts[] = { "disk=3", "udp=0x1F", "=7", "net=x" };
	char *argv[] = { "program", (char *)texts[0], (char *)texts[1], (char *)texts[2], (char *)texts[3] };
	(void)state;
	assert_string_equal(parse_number("123x", &value), "x");
	assert_int_equal(value, 123);
	assert_string_equal(parse_number("0xFfG", &value), "G");
	assert_int_equal(value, 255);
	assert_null(parse_number("", &value));
	assert_null(parse_number("0x", &value));
	assert_null(parse_number("abc", &value));
	assert_int_equal(argument(5, argv, "disk", 9), 3);
	assert_int_equal(argument(5, argv, "udp", 9), 31);
	assert_int_equal(argument(5, argv, "net", 9), 9);
	assert_int_equal(argument(5, argv, "dis", 9), 9);
	assert_true(text_equal("", ""));
	assert_false(text_equal("a", "ab"));
	assert_false(text_equal("ab", "a"));
	assert_int_equal(text_length(""), 0);
	assert_int_equal(text_length("abc"), 3);
	assert_string_equal(text_after("disk1:x", "disk1"), ":x");
	assert_string_equal(text_after("x", ""), "x");
	assert_null(text_after("dis", "disk"));
	assert_null(text_after("disc", "disk"));
}

// The same bytes as tests/qemu/patterns.py makes: unit_bytes(5)[24:32] and [504:512].
static void pattern(void **state)
{
	uint8_t data[PATTERN_UNIT + 1];
	(void)state;
	pattern_fill(data + 1, 5, PATTERN_FINAL);
	assert_memory_equal(data + 1, "INGOTDSK\x05\0\0\0\0\0\0\0\x7A\xF1\0\0\0\0\0\0", 24);
	assert_int_equal(pattern_load(data + 1 + 24), 0xA520630852CD83D6);
	assert_int_equal(pattern_load(data + 1 + 504), 0x9020FA827C467EC2);
	assert_int_equal(pattern_check(data + 1, 5, PATTERN_FINAL), PATTERN_WORDS);
	assert_int_equal(pattern_check(data + 1, 6, PATTERN_FINAL), 1);
	assert_int_equal(pattern_check(data + 1, 5, 1), 2);
	for (uint32_t i = 0; i < PATTERN_UNIT; i++) {
		data[1 + i] ^= 0x40;
		assert_int_equal(pattern_check(data + 1, 5, PATTERN_FINAL), i / 8);
		data[1 + i] ^= 0x40;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(format), cmocka_unit_test(numbers),
		cmocka_unit_test(pattern) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
