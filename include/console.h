// Class: consoles.  The log and b_output write to every one that is registered.
#pragma once
#include <stddef.h>

#define CONSOLE_API_VERSION 1

// Usable in a panic: no locks, no allocation, no interrupts.  The caller serialises.
struct console {
	void (*write)(struct console *con, const char *text, size_t len); // control characters: see docs/abi.md
	struct console *next;
};

// `con` stays registered for good and lives as long as the kernel.  It is sent what the log ring holds.
void console_register(struct console *con);

// To all consoles (b_output's native routine; takes the console lock).
void console_write(const char *text, size_t len);
