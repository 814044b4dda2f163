// core/log.c: formats, the ring, consoles that come late.
#include <fake.h>

size_t log_read(uint64_t from, char *to, size_t bytes, uint64_t *next);

static char seen[32768];
static size_t seen_bytes;

static void collect(struct console *con, const char *text, size_t len)
{
	(void)con;
	assert_true(seen_bytes + len < sizeof(seen));
	memcpy(seen + seen_bytes, text, len);
	seen_bytes += len;
	seen[seen_bytes] = 0;
}

static struct console con = { .write = collect };

static void forget(void)
{
	seen_bytes = 0;
	seen[0] = 0;
}

// First of all tests: there is one list of consoles for good.
static void late_console(void **state)
{
	(void)state;
	log("before %s\n", "anybody listens");
	console_register(&con);
	assert_string_equal(seen, "before anybody listens\n");
	log("after\n");
	assert_string_equal(seen, "before anybody listens\nafter\n");
}

static void formats(void **state)
{
	(void)state;
	forget();
	log("%s|%c|%u|%x|", "text", 'c', 4294967295u, 0xBEEFu);
	log("%lu|%lx|", ~0ul, 0x123456789ABCDEF0ul);
	log("%04x|%4u|%2u|%016lx|%u", 0x1Au, 42u, 12345u, 0xFul, 0u);
	assert_string_equal(seen,
		"text|c|4294967295|beef|18446744073709551615|123456789abcdef0|"
		"001a|  42|12345|000000000000000f|0");
}

static void long_lines(void **state)
{
	char line[400];
	(void)state;
	forget();
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = 0;
	log("%s", line);
	line[120] = 0; // as much as a call says
	assert_string_equal(seen, line);
}

static void ring_wraps(void **state)
{
	char text[16];
	uint64_t next, end;
	size_t len;
	(void)state;
	forget();
	for (uint32_t i = 0; i < 2000; i++) {
		log("line %05u\n", i);
		forget();
	}
	for (next = 0, end = 0; (len = log_read(next, text, sizeof(text), &next)); end = next)
		assert_true(len <= sizeof(text));
	assert_int_equal(log_read(end, text, sizeof(text), &next), 0);
	assert_int_equal(next, end);
	assert_int_equal(log_read(end - 11, text, sizeof(text), &next), 11);
	assert_memory_equal(text, "line 01999\n", 11);
	// What was overwritten is skipped: the first byte there is lies a ring's length back.
	log_read(0, text, 1, &next);
	assert_true(next > 1 && end - next < 16384);
	assert_int_equal(log_read(~0ul, text, sizeof(text), &next), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(late_console),
		FAKE_TEST(formats),
		FAKE_TEST(long_lines),
		FAKE_TEST(ring_wraps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
