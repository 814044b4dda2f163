// The 8042 keyboard controller (IBM PS/2 hardware interface technical reference, "Keyboard and auxiliary device
// controller").
#pragma once

#define PS2_DATA 0x60
#define PS2_STATUS 0x64  // read
#define PS2_COMMAND 0x64 // write

#define PS2_OUTPUT_FULL 0x01 // a byte waits in PS2_DATA
#define PS2_INPUT_FULL 0x02  // the controller hasn't taken the last byte yet
#define PS2_AUX 0x20         // the byte that waits is the mouse's

#define PS2_READ_CONFIG 0x20
#define PS2_WRITE_CONFIG 0x60
#define PS2_KEYBOARD_OFF 0xAD

#define PS2_CONFIG_IRQ 0x01 // keyboard
#define PS2_CONFIG_AUX_IRQ 0x02
#define PS2_CONFIG_KEYBOARD_OFF 0x10
#define PS2_CONFIG_AUX_OFF 0x20
#define PS2_CONFIG_TRANSLATE 0x40 // to scan code set 1

#define PS2_KEYBOARD_ENABLE 0xF4 // to the keyboard: scan
