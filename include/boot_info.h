// What a loader hands to the kernel.  The only header that boot-* and the kernel share.
//
// The loader puts the kernel's image to 1 MiB, leaves the program anywhere above 2 MiB and below 4 GiB (where no part
// of it overlaps what is named here), fills one struct boot_info below 1 MiB or anywhere outside 1 to 2 MiB, and jumps
// to 0x100000 in long mode: RDI = address of the structure, interrupts off, direction flag clear, paging on with an
// identity map of the first 4 GiB and of all that the structure points to, flat 64-bit code segment, a stack of
// 4 KiB or more outside 1 to 2 MiB.  The kernel copies the structure before it writes to memory of its own.
#pragma once
#include <stdint.h>

#define BOOT_INFO_MAGIC 0x746F676E // "ngot"
#define BOOT_INFO_VERSION 1
#define BOOT_MAP_MAX 128
#define KERNEL_PHYS 0x100000  // the image goes here, is entered here
#define KERNEL_LIMIT 0x200000 // the loader leaves everything from KERNEL_PHYS to here to the kernel, all of it RAM

enum { BOOT_BIOS = 'B', BOOT_UEFI = 'U', BOOT_PVH = 'P' };

// Types of memory, numbered as in E820 (ACPI 6.4, 15.2); a UEFI loader translates: what is free once boot services
// are gone is RAM, runtime services are RESERVED.
enum { BOOT_RAM = 1, BOOT_RESERVED = 2, BOOT_ACPI = 3, BOOT_NVS = 4, BOOT_BAD = 5 };

struct boot_range {
	uint64_t base, bytes;
	uint32_t type;
	uint32_t attributes; // ACPI 3 extended attributes; 1 if the firmware gave none
};

// What a module is.  FLAT: at 0xFFFF800000000000.  PAYLOAD: at 0x1E0000, 64 KiB at most.  The kernel finds out
// whether a FLAT one is an ELF file.
enum { BOOT_NONE = 0, BOOT_PROGRAM = 1, BOOT_PAYLOAD = 2 };

struct boot_info {
	uint32_t magic, version;
	uint64_t tsc_start; // time-stamp counter at the loader's first instruction
	uint64_t rsdp;      // physical address of ACPI's RSDP; 0: the kernel looks for it where a BIOS puts it
	uint64_t program;   // physical address of the module
	uint64_t program_bytes;
	uint64_t framebuffer;   // physical address, 0: none (or text mode)
	uint32_t width, height; // pixels
	uint32_t pitch;         // pixels from line to line
	uint32_t bits;          // per pixel; only 32 (blue lowest, red third) is handed over
	uint8_t mode;           // BOOT_BIOS...
	uint8_t program_kind;   // BOOT_NONE...
	uint16_t map_count;     // sorted or not, overlaps allowed: the kernel sorts and lets RESERVED win
	uint32_t reserved;
	char arguments[256]; // command line, zero-terminated; becomes the program's arguments
	struct boot_range map[BOOT_MAP_MAX];
};
_Static_assert(sizeof(struct boot_range) == 24, "layout is shared with assembly");
_Static_assert(__builtin_offsetof(struct boot_info, map) == 328, "layout is shared with assembly");

#ifdef INGOT_KERNEL
extern struct boot_info boot; // the kernel's copy
#endif
