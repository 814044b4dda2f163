// hid/usb_kbd.c - USB keyboards, in the boot protocol that every one has for firmware's sake.  "h." = section of the
// Device Class Definition for Human Interface Devices 1.11, "t." = of the HID Usage Tables 1.12.
// QEMU: -device qemu-xhci -device usb-kbd.  Not done: lamps, keys that repeat.
#include <driver.h>
#include <input.h>
#include <usb.h>

#define SET_IDLE 0x0A // h.7.2
#define SET_PROTOCOL 0x0B
#define INTERFACE 0x21 // type: class, to the interface
#define BOOT_PROTOCOL 0

// Report (h.B.1): modifiers, a reserved byte, usages of the keys that are down.
#define MODIFIERS 0
#define KEYS 2
#define KEYS_END 8
#define ROLL_OVER 1 // t.10: more keys are down than can be told

#define FIRST 0x04 // usage
#define BREAK 0x80
#define E0 0x80 // in the tables: with the prefix

struct usb_kbd {
	struct keyboard keyboard;
	uint8_t report[KEYS_END]; // the last one
};
_Static_assert(sizeof(struct usb_kbd) <= sizeof(((struct usb_dev *)0)->state), "state");

// Scan codes of set 1 by usage (t.10); 0: none, or one that nothing knows
// clang-format off
static const uint8_t codes[] = {
	0x1E, 0x30, 0x2E, 0x20, 0x12, 0x21, 0x22, 0x23, 0x17, 0x24, 0x25, 0x26, 0x32,		// a
	0x31, 0x18, 0x19, 0x10, 0x13, 0x1F, 0x14, 0x16, 0x2F, 0x11, 0x2D, 0x15, 0x2C,		// n
	0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B,				// 1
	0x1C, 0x01, 0x0E, 0x0F, 0x39,								// Enter
	0x0C, 0x0D, 0x1A, 0x1B, 0x2B, 0x2B, 0x27, 0x28, 0x29, 0x33, 0x34, 0x35, 0x3A,		// - to Caps Lock
	0x3B, 0x3C, 0x3D, 0x3E, 0x3F, 0x40, 0x41, 0x42, 0x43, 0x44, 0, 0, 0, 0x46, 0,		// F1 to Pause
	E0 | 0x52, E0 | 0x47, E0 | 0x49, E0 | 0x53, E0 | 0x4F, E0 | 0x51,			// Insert
	E0 | 0x4D, E0 | 0x4B, E0 | 0x50, E0 | 0x48,						// right, left, down, up
	0x45, E0 | 0x35, 0x37, 0x4A, 0x4E, E0 | 0x1C,						// keypad
	0x4F, 0x50, 0x51, 0x4B, 0x4C, 0x4D, 0x47, 0x48, 0x49, 0x52, 0x53,
};
// clang-format on
static const uint8_t modifiers[] = { 0x1D, 0x2A, 0x38, E0 | 0x5B, E0 | 0x1D, 0x36, E0 | 0x38, E0 | 0x5C };

static void kbd_key(struct usb_kbd *kbd, uint8_t code, uint8_t release)
{
	if (code & E0)
		input_scancode(&kbd->keyboard, 0xE0);
	input_scancode(&kbd->keyboard, (code & ~E0) | release);
}

// Keys of one report that are not in the other.
static void kbd_keys(struct usb_kbd *kbd, const uint8_t *in, const uint8_t *other, uint8_t release)
{
	for (uint32_t i = KEYS; i < KEYS_END; i++) {
		uint32_t key = in[i] - FIRST;
		bool both = key >= sizeof(codes) || !codes[key];
		for (uint32_t j = KEYS; j < KEYS_END; j++)
			both |= other[j] == in[i];
		if (!both)
			kbd_key(kbd, codes[key], release);
	}
}

static void kbd_received(struct usb_dev *usb, uint32_t bytes)
{
	struct usb_kbd *kbd = (struct usb_kbd *)usb->state;
	const uint8_t *report = usb->report;
	if (bytes >= KEYS_END && report[KEYS] != ROLL_OVER) {
		for (uint32_t i = 0, changed = report[MODIFIERS] ^ kbd->report[MODIFIERS]; i < 8; i++)
			if (changed >> i & 1)
				kbd_key(kbd, modifiers[i], report[MODIFIERS] >> i & 1 ? 0 : BREAK);
		kbd_keys(kbd, kbd->report, report, BREAK);
		kbd_keys(kbd, report, kbd->report, 0);
		memcpy(kbd->report, report, KEYS_END);
	}
	usb_listen(usb);
}

// Keyboards may refuse both requests (h.F.5 wants the first): they still work.
static int kbd_probe(struct device *dev, const struct dev_id *id)
{
	struct usb_dev *usb = to_usb(dev);
	(void)id;
	if (!usb->endpoint)
		return E_NODEV;
	int rc = usb_open(usb);
	if (rc != E_OK)
		return rc;
	usb_control(usb, USB_SETUP(INTERFACE, SET_PROTOCOL, BOOT_PROTOCOL, usb->interface, 0), NULL);
	usb_control(usb, USB_SETUP(INTERFACE, SET_IDLE, 0, usb->interface, 0), NULL);
	usb->received = kbd_received;
	usb_listen(usb);
	return E_OK;
}

static void kbd_remove(struct device *dev)
{
	to_usb(dev)->received = NULL;
}

static const struct dev_id kbd_ids[] = { DEV_ID_CLASS(0x030101, 0xFFFFFF, 0) }; // h.4.2, 4.3: boot, keyboard
static const struct driver usb_kbd = { "usb-kbd", DEV_IDS(kbd_ids), .probe = kbd_probe, .remove = kbd_remove };
USB_DRIVER(usb_kbd);
