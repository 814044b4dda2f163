// video/text.c - the control characters of docs/abi.md, on any screen that shows cells.
#include <display.h>
#include <util.h>

#define CURSOR 0x80

static void text_put(struct text_screen *scr, uint8_t character)
{
	uint32_t columns = scr->columns, at = scr->cursor;
	uint8_t previous = scr->previous;
	scr->previous = character;
	if (character == 0x0A || character == 0x0D) {
		uint32_t column = at % columns;
		if (!column && previous >= 0x20)
			column = columns; // that character filled its row, which newline and return belong to
		at -= column;
		if (character == 0x0A)
			at += columns;
	} else {
		// A return clears the line unless a newline follows, perhaps in another call: wait for what comes.
		if (previous == 0x0D)
			memset(scr->cells + at, 0, columns);
		if (character == 0x09) {
			at |= 7;
			at++;
		} else if (character == 0x02) {
			at++;
		} else if (character == 0x03 || character == 0x0E) {
			at -= !!at;
			if (character == 0x0E)
				scr->cells[at] = 0;
		} else if (character == 0x01) {
			at = 0;
			scr->last = scr->count;
			memset(scr->cells, 0, scr->count);
		} else { // what is not printable ASCII is a blank
			character -= 0x20;
			scr->cells[at++] = character < 0x5F ? character : 0;
		}
	}
	if (scr->first > at)
		scr->first = at;
	if (scr->last < at)
		scr->last = at;
	if (at == scr->count) {
		memmove(scr->cells, scr->cells + columns, at);
		scr->first = 0;
		at -= columns;
	}
	scr->cursor = at;
}

static void text_write(struct console *con, const char *text, size_t len)
{
	struct text_screen *scr = container_of(con, struct text_screen, con);
	uint32_t at = scr->cursor;
	scr->first = scr->last = at;
	scr->cells[at] &= ~CURSOR;
	while (len--)
		text_put(scr, *text++);
	scr->cells[scr->cursor] |= CURSOR;
	// What has changed is where the cursor was, and the rest of its row (0x0D).
	for (at = ALIGN_DOWN(scr->first, TEXT_GROUP); at < scr->last + scr->columns; at += TEXT_GROUP) {
		uint32_t *wanted = (uint32_t *)(scr->cells + at);
		uint32_t *shown = (uint32_t *)((uint8_t *)wanted + scr->count + scr->columns);
		if (*shown != *wanted) {
			*shown = *wanted;
			scr->draw(scr, at);
		}
	}
}

void text_register(struct text_screen *scr)
{
	scr->con.write = text_write;
	console_register(&scr->con);
}
