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
	uint32_t len;
	char text[120];
};

static void put(struct out *out, char character)
{
	if (out->len < sizeof(out->text))
		out->text[out->len++] = character;
}

// `zero` stands for a digit where nothing is left of the number.
static void put_number(struct out *out, uint64_t value, uint32_t base, int width, char pad, char zero)
{
	char digit = value % base;
	if (value >= base || width > 1)
		put_number(out, value / base, base, width - 1, pad, pad);
	put(out, !value ? zero : digit < 10 ? '0' + digit : 'a' - 10 + digit);
}

void log(const char *format, ...)
{
	struct out out;
	va_list args;
	out.len = 0;
	va_start(args, format);
	for (char character; (character = *format++);) {
		if (character != '%') {
			put(&out, character);
			continue;
		}
		char pad = *format == '0' ? '0' : ' ';
		int width = 0;
		while ((uint8_t)((character = *format++) - '0') < 10)
			width = width * 10 + character - '0';
		uint64_t value = va_arg(args, uint64_t);	// every argument has a slot of 8 bytes
		if (character == 'l')
			character = *format++;
		else if (character != 's')
			value = (uint32_t)value;
		if (character == 's')
			for (const char *text = (const char *)value; *text;)
				put(&out, *text++);
		else if (character == 'c')
			put(&out, value);
		else
			put_number(&out, value, character == 'x' ? 16 : 10, width, pad, '0');
	}
	va_end(args);
	for (uint32_t i = 0; i < out.len; i++)
		ring[logged++ % RING] = out.text[i];
	console_write(out.text, out.len);
}
