// What several programs share.  Ordinary user code: nothing in the kernel or in api/ depends on it.
#pragma once
#include <ingot.h>
#include <stdarg.h>

// Formatted output: %s, %c, %d, %u, %x, %%, with l for 64 bits, a width, 0 or - in front of it.  At most 255 bytes.
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
size_t format_text(char *to, size_t room, const char *format, va_list list);

// The value of "key=123" or "key=0x7b" among the arguments, or `fallback`.
uint64_t argument(int argc, char **argv, const char *key, uint64_t fallback);

// A number at the start of `text`: decimal, or hexadecimal behind 0x.  Returns its digits' end, NULL if there are none.
const char *parse_number(const char *text, uint64_t *value);

int text_equal(const char *a, const char *b);
size_t text_length(const char *text);

// What follows `start` in a text that begins with it, else NULL.
const char *text_after(const char *text, const char *start);

// splitmix64: one step of a generator, and a good mixing function.
uint64_t random_next(uint64_t *state);

// "NAME: PASS" or, if `failure` isn't NULL, "NAME: FAIL: failure"; then the power goes off.
void verdict(const char *name, const char *failure);

// The memory behind the program and its data, aligned to 4096 bytes, and how much there is; NULL if there is none.
void *free_memory(size_t *bytes);

static inline uint64_t deadline(uint64_t us)
{
	return ingot->time_ns() + us * 1000;
}

static inline int passed(uint64_t deadline_ns)
{
	return ingot->time_ns() >= deadline_ns;
}
