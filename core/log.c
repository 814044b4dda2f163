// The log: formats, keeps the last bytes in a ring, and writes to every console.
#include "core.h"
#include <console.h>

#define RING 8192u
#define WIDEST 24   // number
#define PIECE 4096u // of a long text: so long RESET waits, 0.4 s on a serial line

static char ring[RING];
static uint64_t logged; // bytes ever
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
	do {
		size_t piece = min_u64(len, PIECE);
		write_all(text, piece);
		text += piece;
		len -= piece;
	} while (len && !smp_dropped());
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

static __attribute__((noinline)) void put(struct out *out, char character)
{
	if (out->len < sizeof(out->text))
		out->text[out->len++] = character;
}

void log_list(const char *format, const uint64_t *args) __attribute__((used));
void log_list(const char *format, const uint64_t *args)
{
	struct out out;
	out.len = 0;
	for (char character; (character = *format++);) {
		if (character != '%') {
			put(&out, character);
			continue;
		}
		char pad = *format == '0' ? '0' : ' ';
		int width = 0;
		while ((uint8_t)((character = *format++) - '0') < 10)
			width = width * 10 + character - '0';
		uint64_t value = *args++;
		char digits[WIDEST + 1], *end = digits + WIDEST, *text = end;
		*end = 0;
		if (character == 's') {
			text = (char *)value;
		} else if (character == 'c') {
			*--text = value;
		} else {
			if (character == 'l')
				character = *format++;
			else
				value = (uint32_t)value;
			uint32_t base = character == 'x' ? 16 : 10;
			do
				*--text = "0123456789abcdef"[value % base];
			while (value /= base);
			while (end - text < width)
				*--text = pad;
		}
		while (*text)
			put(&out, *text++);
	}
	for (uint32_t i = 0; i < out.len; i++)
		ring[logged++ % RING] = out.text[i];
	console_write(out.text, out.len);
}

// Puts the arguments in a row: each has a slot of 8 bytes, in registers and then on the stack (System V ABI, 3.2.3).
__asm__(".text; .global log; log: pop %rax; push %r9; push %r8; push %rcx; push %rdx; push %rsi; mov %rsp, %rsi;"
		"push %rax; call log_list; pop %rax; add $40, %rsp; jmp *%rax");
