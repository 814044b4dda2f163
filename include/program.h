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
};
extern struct classic_calls classic;
