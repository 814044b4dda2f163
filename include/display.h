// Class: text on a screen.  video/text.c keeps the cursor and understands the control characters; a screen driver
// draws cells, scrolls and clears.
#pragma once
#include <console.h>
#include <stdint.h>

struct text_screen {
	struct console con;	// set by text_register
	uint16_t columns, rows;	// set by the driver; both at least 1
	uint16_t x, y;		// cursor, set by text_register and text.c
	const struct text_ops *ops;
};

struct text_ops {	// none may read the frame buffer; callable in a panic
	void (*put)(struct text_screen *scr, uint32_t x, uint32_t y, uint8_t character);
	void (*scroll)(struct text_screen *scr);	// up by one row, last row blank
	void (*clear)(struct text_screen *scr);
	void (*cursor)(struct text_screen *scr, uint32_t x, uint32_t y);	// NULL if the screen shows none
};

// Clears the screen and registers it as a console.
void text_register(struct text_screen *scr);
