// What several programs share: text, arguments, random numbers, a verdict.
#include "lib.h"
#include <baremetal.h>

struct sink {
	char *to;
	size_t used, room;
};

static void put(struct sink *sink, char c)
{
	if (sink->used < sink->room)
		sink->to[sink->used++] = c;
}

static void put_padded(struct sink *sink, const char *text, size_t len, size_t width, char pad, int left)
{
	for (size_t i = len; !left && i < width; i++)
		put(sink, pad);
	for (size_t i = 0; i < len; i++)
		put(sink, text[i]);
	for (size_t i = len; left && i < width; i++)
		put(sink, ' ');
}

static size_t digits_of(char *end, uint64_t value, uint32_t base)
{
	char *at = end;
	do
		*--at = "0123456789abcdef"[value % base];
	while (value /= base);
	return (size_t)(end - at);
}

size_t format_text(char *to, size_t room, const char *format, va_list list)
{
	struct sink sink = { to, 0, room };
	for (; *format; format++) {
		if (*format != '%') {
			put(&sink, *format);
			continue;
		}
		int left = *++format == '-', wide = 0;
		format += left;
		char pad = *format == '0' ? '0' : ' ', digits[24];
		size_t width = 0, len;
		for (; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (size_t)(*format - '0');
		for (; *format == 'l'; format++)
			wide = 1;
		if (*format == 's') {
			const char *text = va_arg(list, const char *);
			put_padded(&sink, text, text_length(text), width, ' ', left);
		} else if (*format == 'c') {
			put(&sink, (char)va_arg(list, int));
		} else if (*format == 'u' || *format == 'x') {
			uint64_t value = wide ? va_arg(list, uint64_t) : va_arg(list, unsigned);
			len = digits_of(digits + sizeof(digits), value, *format == 'u' ? 10 : 16);
			put_padded(&sink, digits + sizeof(digits) - len, len, width, pad, left);
		} else if (*format == 'd') {
			int64_t value = wide ? va_arg(list, int64_t) : va_arg(list, int);
			len = digits_of(digits + sizeof(digits), value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
			if (value < 0)
				digits[sizeof(digits) - ++len] = '-';
			put_padded(&sink, digits + sizeof(digits) - len, len, width, ' ', left);
		} else if (*format) {
			put(&sink, *format);
		} else {
			break;
		}
	}
	return sink.used;
}

void print(const char *format, ...)
{
	char text[255];
	va_list list;
	va_start(list, format);
	size_t len = format_text(text, sizeof(text), format, list);
	va_end(list);
	if (ingot)
		ingot->write(text, len);
	else
		b_output(text, len);
}

const char *parse_number(const char *text, uint64_t *value)
{
	uint64_t base = 10, result = 0;
	if (text[0] == '0' && (text[1] | 32) == 'x') {
		base = 16;
		text += 2;
	}
	const char *start = text;
	for (;; text++) {
		uint64_t digit;
		if (*text >= '0' && *text <= '9')
			digit = (uint64_t)(*text - '0');
		else if ((*text | 32) >= 'a' && (*text | 32) <= 'f')
			digit = (uint64_t)(*text | 32) - 'a' + 10;
		else
			break;
		if (digit >= base)
			break;
		result = result * base + digit;
	}
	*value = result;
	return text == start ? NULL : text;
}

int text_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

size_t text_length(const char *text)
{
	size_t length = 0;
	while (text[length])
		length++;
	return length;
}

const char *text_after(const char *text, const char *start)
{
	while (*start && *text == *start) {
		text++;
		start++;
	}
	return *start ? NULL : text;
}

uint64_t argument(int argc, char **argv, const char *key, uint64_t fallback)
{
	for (int i = 1; i < argc; i++) {
		const char *text = text_after(argv[i], key);
		uint64_t value;
		if (text && *text == '=' && parse_number(text + 1, &value))
			return value;
	}
	return fallback;
}

// Steele, Lea, Flood: Fast splittable pseudorandom number generators, figure 15.
uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state += 0x9E3779B97F4A7C15;
	x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
	x = (x ^ x >> 27) * 0x94D049BB133111EB;
	return x ^ x >> 31;
}

void verdict(const char *name, const char *failure)
{
	if (failure)
		print("%s: FAIL: %s\n", name, failure);
	else
		print("%s: PASS\n", name);
	if (ingot)
		ingot->shutdown();
	b_system(B_SHUTDOWN, 0, 0);
}

void *free_memory(size_t *bytes)
{
	struct ingot_memory memory = { .size = sizeof(memory) };
	if (ingot->memory(&memory) < 0)
		return NULL;
	// A flat file doesn't tell the kernel how much .bss there is behind it.
	extern char __bss_end[] __attribute__((visibility("hidden")));
	uintptr_t free = (uintptr_t)memory.free, bss_end = (uintptr_t)__bss_end;
	uintptr_t start = ((free > bss_end ? free : bss_end) + 4095) & ~(uintptr_t)4095;
	uintptr_t end = (uintptr_t)memory.base + memory.bytes;
	*bytes = start < end ? end - start : 0;
	return *bytes ? (void *)start : NULL;
}
