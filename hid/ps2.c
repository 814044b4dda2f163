// hid/ps2.c - keyboard at the 8042 controller, or at what the firmware emulates for a USB keyboard.
// QEMU: q35 and pc have one.  Not done: mouse, hot-plugged keyboards that need an initialisation, LEDs.
#include "ps2_regs.h"
#include <driver.h>
#include <input.h>
#include <mem.h>
#include <pio.h>
#include <time.h>

#define IRQ 1
#define TIMEOUT_US 10000
#define BYTES_MAX 256 // that one interrupt takes; no keyboard sends so many, a broken controller may

struct ps2 {
	struct input_source source;
	struct keyboard keyboard;
};

static void ps2_take(void *self)
{
	struct ps2 *ps2 = self;
	uint8_t status;
	for (uint32_t i = 0; i < BYTES_MAX && (status = pio_read8(PS2_STATUS)) & PS2_OUTPUT_FULL; i++) {
		uint8_t byte = pio_read8(PS2_DATA);
		if (!(status & PS2_AUX))
			input_scancode(&ps2->keyboard, byte);
	}
}

// Waits until the bits of `mask` are `value`.
static bool ps2_wait(uint8_t mask, uint8_t value)
{
	uint64_t deadline = time_deadline(TIMEOUT_US);
	while ((pio_read8(PS2_STATUS) & mask) != value)
		if (time_passed(deadline))
			return false;
	return true;
}

static bool ps2_write(uint16_t port, uint8_t byte)
{
	bool ready = ps2_wait(PS2_INPUT_FULL, 0);
	if (ready)
		pio_write8(port, byte);
	return ready;
}

// Reads the configuration byte; with the keyboard off and what it has sent thrown away, it is what comes.
static bool ps2_config(uint8_t *config)
{
	if (!ps2_write(PS2_COMMAND, PS2_KEYBOARD_OFF))
		return false;
	for (uint32_t i = 0; i < BYTES_MAX && pio_read8(PS2_STATUS) & PS2_OUTPUT_FULL; i++)
		pio_read8(PS2_DATA);
	if (!ps2_write(PS2_COMMAND, PS2_READ_CONFIG) || !ps2_wait(PS2_OUTPUT_FULL, PS2_OUTPUT_FULL))
		return false;
	*config = pio_read8(PS2_DATA);
	return true;
}

static int ps2_probe(void)
{
	struct ps2 *ps2;
	uint8_t config;
	if (pio_read8(PS2_STATUS) == 0xFF || !ps2_config(&config))
		return E_NODEV;
	ps2 = kzalloc(sizeof(*ps2));
	if (!ps2)
		return E_NOMEM;
	ps2->source.take = ps2_take;
	input_attach(&ps2->source, IRQ);
	config &= ~(PS2_CONFIG_KEYBOARD_OFF | PS2_CONFIG_AUX_IRQ);
	config |= PS2_CONFIG_IRQ | PS2_CONFIG_TRANSLATE | PS2_CONFIG_AUX_OFF;
	// What the keyboard answers to the last one comes as the break of a key that isn't there.
	if (ps2_write(PS2_COMMAND, PS2_WRITE_CONFIG) && ps2_write(PS2_DATA, config))
		ps2_write(PS2_DATA, PS2_KEYBOARD_ENABLE);
	return E_OK;
}

static const struct platform_driver ps2 = { "ps2", ps2_probe };
PLATFORM_DRIVER(ps2);
