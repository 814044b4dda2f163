// What programs call.  core/syscall.c owns both tables; a class layer fills in its functions when its first device
// registers.  Until then they say that nothing is there.
#pragma once
#include <util.h>
#include <ingot.h>

// The native interface, as a program sees it.
extern struct ingot_api native;

// Behind the register interface (docs/abi.md): core/entry.S saves the registers and calls these.  Numbers of
// interfaces and drives are already cut to 8 bits.
struct classic_calls {
	void (*net_tx)(const void *frame, uint64_t len, uint32_t net);		// takes a copy; drops what it can't send
	uint64_t (*net_rx)(uint32_t net, void **frame);		// length, 0 if none; valid until the next call
	uint64_t (*net_status)(uint32_t net);			// MAC in bits 47:0, first byte highest; 0: none
	void (*net_config)(uint32_t net, void *memory);		// at most 256 buffers of 2048 bytes, NULL: own pool
	// Sectors of 4096 bytes; returns how many were done: all or 0.
	uint64_t (*nvs)(uint32_t op, uint64_t sector, uint64_t count, void *data, uint32_t drive);
	uint32_t (*drive_kind)(uint32_t drive, const char **identity);	// BLK_*, 0: none; identity as in struct blk_dev
	int (*on_receive)(uint32_t net, ingot_callback fn, void *arg);	// on the calling core; NULL ends it
	uint8_t (*input)(void);					// one character, 0 if none waits
	// Configuration space; bits 47:32 segment, 31:24 bus, 23:16 device and function, 15:0 number of the dword.
	uint32_t (*bus)(uint64_t address, bool write, uint32_t value);
};
extern struct classic_calls classic;

// From an interrupt handler: calls a program's routine on this core, its vector registers kept.
void program_callback(ingot_callback fn, void *arg);

// A character has been put where classic.input finds it: wakes the program, calls its routine (on_key).  Any context.
void program_key(void);
