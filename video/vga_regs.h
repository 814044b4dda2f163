// VGA registers that text mode needs (IBM VGA reference; color addresses).
#pragma once

#define VGA_MISC 0x3CC     // miscellaneous output, read
#define VGA_GRAPHICS 0x3CE // graphics controller: index, data behind it
#define VGA_GRAPHICS_MISC 6
#define VGA_TEXT_B8000 0x0E // odd/even, memory at 0xB8000, no graphics
#define VGA_CRTC 0x3D4      // index, data behind it
#define VGA_CRTC_CURSOR_START 0x0A
#define VGA_CURSOR_OFF 0x20

#define VGA_TEXT 0xB8000
