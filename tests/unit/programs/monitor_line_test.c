// The monitor's line and its log: keys go in, a terminal of one row tells what a user sees.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <ingot.h>

static int next_key(void);
#define ingot_wait_key() next_key() // the real one halts
#include <programs/monitor_line.c>
#include <programs/monitor_log.c>

const struct ingot_api *ingot;
char __bss_end[1];

static const char *keys, *kernel_log;
static char row[256], above[2048], printed[2048];
static uint32_t column;
static uint64_t now;

void b_output(const char *text, uint64_t length)
{
	(void)text, (void)length;
}

uint64_t b_system(uint64_t function, uint64_t rax, uint64_t rdx)
{
	return function + rax + rdx;
}

static int next_key(void)
{
	assert_int_not_equal(*keys, 0);
	return *keys++;
}

static int read_key_now(void)
{
	return *keys ? *keys++ : 0;
}

static uint64_t time_ns(void)
{
	return now += 1000000;
}

// What a screen makes of it (docs/abi.md).
static void show(const char *text, size_t len)
{
	strncat(printed, text, len < sizeof(printed) - strlen(printed) ? len : 0);
	for (; len--; text++) {
		if (*text == '\n') {
			strcat(strcat(above, row), "\n");
			memset(row, 0, sizeof(row));
			column = 0;
		} else if (*text == CURSOR_LEFT) {
			assert_int_not_equal(column, 0);
			column--;
		} else if (*text == CURSOR_RIGHT) {
			column++;
		} else {
			row[column++] = *text;
		}
		assert_in_range(column, 0, SCREEN);
	}
}

static size_t log_read(uint64_t from, char *to, size_t bytes, uint64_t *next)
{
	size_t left = strlen(kernel_log) - from;
	if (bytes > left)
		bytes = left;
	memcpy(to, kernel_log + from, bytes);
	*next = from + bytes;
	return bytes;
}

static const char *const choices[] = { "help", "hexdump", "ls", "log", "peek" };

const char *line_choice(const char *line, uint32_t start, uint32_t n)
{
	static const char *const files[] = { "netcheck", "netcheck.app", "nothing" };
	if (start)
		return !strncmp(line, "run ", 4) && start == 4 && n < 3 ? files[n] : NULL;
	return n < 5 ? choices[n] : NULL;
}

static int set_up(void **state)
{
	static struct ingot_api api = { .write = show, .read = read_key_now, .time_ns = time_ns, .log_read = log_read };
	(void)state;
	ingot = &api;
	memset(row, 0, sizeof(row));
	above[0] = printed[0] = 0;
	column = 0;
	return 0;
}

// The line that the keys make; on the screen it looks the same.
static const char *typed(const char *text)
{
	keys = text;
	const char *line = read_line();
	char *last = above + strlen(above) - 1;
	assert_int_equal(*last, '\n');
	*last = 0;
	while (last > above && last[-1] == ' ') // what was longer before
		*--last = 0;
	char *start = strrchr(above, '\n');
	char expected[LINE + 8];
	snprintf(expected, sizeof(expected), PROMPT "%s", line);
	for (size_t at = strlen(expected); expected[at - 1] == ' ';)
		expected[--at] = 0;
	assert_string_equal(start ? start + 1 : above, expected);
	assert_int_equal(*keys, 0);
	strcpy(last, "\n");
	return line;
}

#define ENTER "\x1C"
#define BACK "\x0E"
#define LEFT "\x03"
#define RIGHT "\x02"
#define UP "\x04"
#define DOWN "\x05"
#define ESCAPE "\x1B"
#define TAB "\t"

static void editing(void **state)
{
	(void)state;
	assert_string_equal(typed("abc" ENTER), "abc");
	assert_string_equal(typed("abd" BACK "c" LEFT LEFT LEFT LEFT "x" RIGHT RIGHT "y" ENTER), "xabyc");
	assert_string_equal(typed(BACK LEFT RIGHT "a" ENTER), "a");
	assert_string_equal(typed(UP UP UP ENTER), "abc");
	assert_string_equal(typed(UP UP DOWN DOWN "z" ENTER), "z");
	assert_string_equal(typed("junk" ESCAPE "b" ENTER), "b");
	assert_string_equal(typed(ESCAPE "[A" ESCAPE "[D"
									 "1" ENTER),
		"1b");
	assert_string_equal(typed("c" ESCAPE LEFT "b" ENTER), "bc"); // as the kernel tells it on a slow line
	assert_string_equal(
		typed("0123456789012345678901234567890123456789012345678901234567890123456789012345678901234" ENTER),
		"0123456789012345678901234567890123456789012345678901234567890123456789012345");
	for (int i = 0; i < 40; i++)
		typed(i & 1 ? "odd" ENTER : "even" ENTER);
	assert_string_equal(typed(UP UP UP UP UP UP UP UP UP UP UP UP UP UP UP UP UP UP UP UP ENTER), "even");
}

static void completion(void **state)
{
	(void)state;
	assert_string_equal(typed("p" TAB ENTER), "peek ");
	assert_string_equal(typed("he" TAB "l" TAB ENTER), "help "); // two have it in common: shown
	assert_non_null(strstr(above, "help  hexdump  \n"));
	assert_null(strstr(above, "ls"));
	assert_string_equal(typed("x" TAB ENTER), "x");
	assert_string_equal(typed("run n" TAB "o" TAB ENTER), "run nothing ");
	assert_string_equal(typed("run net" TAB TAB ENTER), "run netcheck");
	assert_non_null(strstr(above, "netcheck  netcheck.app  \n"));
	assert_string_equal(typed("run netcheck." TAB ENTER), "run netcheck.app ");
	assert_string_equal(typed("run x y" TAB ENTER), "run x y");
	assert_string_equal(typed("ek 1" LEFT LEFT LEFT LEFT "pe" TAB ENTER), "peek ek 1");
	above[0] = 0;
	assert_string_equal(typed(TAB ENTER), "");
	assert_non_null(strstr(above, "help  hexdump  ls  log  peek  \n"));
}

static void typed_ahead(void **state)
{
	(void)state;
	keys = "ls" ENTER;
	assert_false(escape_pressed());
	assert_string_equal(typed(""), "ls");
	keys = "p" ESCAPE;
	assert_true(escape_pressed());
	assert_string_equal(typed("x" ENTER), "px");
}

static const char *logged(const char *level)
{
	struct request request = { .words = { (char *)"log", (char *)level }, .count = level != NULL };
	printed[0] = 0;
	assert_int_equal(command_log(&request), 0);
	return printed;
}

static void levels(void **state)
{
	struct request nonsense = { .words = { (char *)"log", (char *)"err" }, .count = 1 };
	(void)state;
	kernel_log = "\nIngot 0.1.0 all\nacpi: damaged table at 7fe0000\ncores: 1 of 2 started\n"
				 "core with APIC id 1 does not answer\n0000:00:00.0 8086:29c0 060000 no driver\n"
				 "0000:00:01.0 8086:100e 020000 e1000: net0 525400123456 1 queues\n"
				 "0000:00:02.0 1b36:0010 010802 nvme: not ready; left alone\nkernel 469 KiB";
	assert_string_equal(logged("error"),
		"acpi: damaged table at 7fe0000\ncore with APIC id 1 does not answer\n"
		"0000:00:02.0 1b36:0010 010802 nvme: not ready; left alone\n");
	assert_string_equal(logged("warning"),
		"acpi: damaged table at 7fe0000\ncore with APIC id 1 does not answer\n"
		"0000:00:00.0 8086:29c0 060000 no driver\n0000:00:02.0 1b36:0010 010802 nvme: not ready; left alone\n");
	logged("info");
	assert_int_equal(strlen(printed), strlen(kernel_log) + 1);
	logged(NULL);
	assert_int_equal(strlen(printed), strlen(kernel_log) + 1);
	assert_int_equal(command_log(&nonsense), -1);
	assert_null(log_level(3));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup(editing, set_up),
		cmocka_unit_test_setup(completion, set_up), cmocka_unit_test_setup(typed_ahead, set_up),
		cmocka_unit_test_setup(levels, set_up) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
