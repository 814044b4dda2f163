// Class: input.  Drivers push characters or key codes from their interrupt handlers; programs read characters.
#pragma once
#include <stdint.h>

#define INPUT_API_VERSION 1

// Characters as programs see them (docs/abi.md): Enter 0x1C, Backspace 0x0E, arrows 2 to 5, Escape 0x1B, else ASCII.
#define INPUT_RIGHT 0x02
#define INPUT_LEFT 0x03
#define INPUT_UP 0x04
#define INPUT_DOWN 0x05
#define INPUT_BACKSPACE 0x0E
#define INPUT_ENTER 0x1C

// State of one keyboard; zero at the start, owned by its driver.
struct keyboard {
	uint8_t modifiers; // as hid/input.c has them
	uint8_t extended;  // an E0 prefix came
};

// A byte of scan code set 1 (IBM PC/AT, as the 8042 translates it) from this keyboard: make, break, E0 and E1
// prefixes.  The one place where keys become characters; a USB keyboard translates its usages to set 1 first.
void input_scancode(struct keyboard *kbd, uint8_t code);

// One character that is ready as it is (serial: CR becomes Enter, DEL and BS become Backspace before this).
// Drops it if the buffer is full.  Interrupt handler or poll.
void input_push(uint8_t character);

// What takes bytes from the hardware and pushes them: from an interrupt handler or from b_input while nothing waits
// (one core at a time).  Lives for good.
struct input_source {
	void (*take)(void *self);
	struct input_source *next;
};
// On the interrupt of this ISA line, or polled if that can't be routed.
void input_attach(struct input_source *source, uint32_t line);
void input_poll(struct input_source *source);

// One character, 0 if none waits (classic.input).  Any core.
uint8_t input_read(void);
