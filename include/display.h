// Class: text on a screen.  video/text.c understands the control characters and keeps the characters in memory, as
// they should be and as they are shown; at the end of a write it has the driver draw what differs.  So the screen's
// memory is never read, and a text that scrolls by many rows is drawn once.
#pragma once
#include <console.h>
#include <stdint.h>

#define DISPLAY_API_VERSION 1

#define TEXT_GROUP 4 // cells that are drawn together: one access to VGA, whole cache lines of a frame buffer

struct text_screen {
	struct console con;
	// Draws cells[at] to cells[at + TEXT_GROUP - 1], all in one row.  A cell is a printable ASCII character less
	// 0x20; bit 7 inverts it (the cursor).  Callable in a panic.
	void (*draw)(struct text_screen *scr, uint32_t at);
	// Set by the driver: a multiple of 8; of the whole screen; zeroed memory of TEXT_BYTES(columns, count), 8-byte
	// aligned: the cells and a blank row, then the same as it is on the screen.
	uint32_t columns, count;
	uint8_t *cells;
	// Of text.c:
	uint32_t cursor;      // a cell
	uint32_t first, last; // of the places that the cursor has been to in this write
	uint8_t previous;     // character
};
#define TEXT_BYTES(columns, count) (2 * ((count) + (columns)))

// The driver has cleared the screen: registers it as a console.
void text_register(struct text_screen *scr);
