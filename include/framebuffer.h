// The frame buffer that the loader set up.
#pragma once
#include <stdint.h>

struct framebuffer {
	uint64_t phys;		// 0: none
	uint32_t width, height;	// pixels
	uint32_t pitch;		// pixels from line to line
	uint32_t bits;		// per pixel
};
extern struct framebuffer boot_framebuffer;	// core/main.c, from struct boot_info
