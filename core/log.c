// The log: formats, keeps the last bytes in a ring, and writes to every console.
#include "core.h"
#include <console.h>
#include <stdarg.h>

#define RING 8192u

static char ring[RING];
static uint64_t logged;		// bytes ever
static struct console *consoles;
static struct lock console_lock;

static void write_all(const char *text, size_t len)
{
	for (struct console *con = consoles; con; con = con->next)
		con->write(con, text, len);
}

void console_unlock(void)
{
	lock_drop(&console_lock);
}

void console_write(const char *text, size_t len)
{
	uint64_t flags = irq_save();
	lock_take(&console_lock);
	write_all(text, len);
	lock_drop(&console_lock);
	irq_restore(flags);
}

// A console that comes late is shown what has been said.
void console_register(struct console *con)
{
	uint64_t next = 0;
	char text[64];
	for (size_t len; (len = log_read(next, text, sizeof(text), &next));)
		con->write(con, text, len);
	con->next = consoles;
	consoles = con;
}

size_t log_read(uint64_t from, char *to, size_t bytes, uint64_t *next)
{
	size_t len = 0;
	if (logged > RING && from < logged - RING)
		from = logged - RING;
	while (len < bytes && from < logged)
		to[len++] = ring[from++ % RING];
	*next = from;
	return len;
}

struct out {
	char text[80];
	uint32_t len;
};

static void flush(struct out *out)
{
	for (uint32_t i = 0; i < out->len; i++)
		ring[logged++ % RING] = out->text[i];
	console_write(out->text, out->len);
	out->len = 0;
}

static void put(struct out *out, char character)
{
	out->text[out->len++] = character;
	if (out->len == sizeof(out->text))
		flush(out);
}

static void put_padded(struct out *out, const char *text, size_t len, uint32_t width, char pad)
{
	for (; width > len; width--)
		put(out, pad);
	while (len--)
		put(out, *text++);
}

static void put_number(struct out *out, uint64_t value, uint32_t base, uint32_t width, char pad)
{
	char digits[20], *first = digits + sizeof(digits);
	do {
		uint32_t digit = value % base;
		*--first = digit < 10 ? '0' + digit : 'a' + digit - 10;
		value /= base;
	} while (value);
	put_padded(out, first, digits + sizeof(digits) - first, width, pad);
}

void log(const char *format, ...)
{
	struct out out = { .len = 0 };
	va_list args;
	va_start(args, format);
	for (char character; (character = *format++);) {
		if (character != '%') {
			put(&out, character);
			continue;
		}
		char pad = *format == '0' ? '0' : ' ';
		uint32_t width = 0;
		uint64_t value;
		while ((uint8_t)(*format - '0') < 10)
			width = width * 10 + *format++ - '0';
		bool wide = *format == 'l';
		format += wide;
		character = *format++;
		if (character == 's') {
			const char *text = va_arg(args, const char *);
			put_padded(&out, text, strlen(text), width, pad);
			continue;
		}
		if (character == '%') {
			put(&out, character);
			continue;
		}
		value = va_arg(args, uint64_t);		// every argument has a slot of 8 bytes
		if (!wide)
			value = (uint32_t)value;
		if (character == 'c') {
			put(&out, value);
			continue;
		}
		if (character == 'd' && (int32_t)value < 0) {
			put(&out, '-');
			value = -(uint32_t)value;
		}
		put_number(&out, value, character == 'x' ? 16 : 10, width, pad);
	}
	va_end(args);
	flush(&out);
}
