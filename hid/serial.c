// hid/serial.c - 16550 serial port at CONFIG_SERIAL_PORT, 115200 baud, 8N1: a console, and a keyboard.
// QEMU: -serial on q35, pc and microvm.  Not done: flow control; UARTs on PCI.
#include "serial_regs.h"
#include <console.h>
#include <driver.h>
#include <input.h>
#include <pio.h>
#include <time.h>

#define PORT(reg) (CONFIG_SERIAL_PORT + SERIAL_##reg)
#define IRQ (CONFIG_SERIAL_PORT & 0x100 ? 4 : 3) // of COM1 and COM3, of COM2 and COM4
// Reads of the line status in which a transmitter must send 16 characters (1.4 ms), or a hypervisor find room for them
// on a slow terminal: 10 to 75 ms, as fast as the bus is.
#define PATIENCE 50000
#define SEQUENCE_WAIT 400     // reads in which the next character of a sequence comes (87 us)
#define TOGETHER_NS 50000000u // on a slow line; no typist is so fast
#define SEQUENCE 0x100        // an escape character and [, and perhaps parameters
#define BYTES_MAX 256         // that one interrupt takes
#define EARLY_MAX 255         // what a pipe brings at once, as much as input.c holds

// Not allocated, as it is there before memory is.
struct serial {
	struct console con;
	struct input_source source;
	bool stuck;                   // the transmitter was given up
	uint8_t depth;                // of its FIFO; 0: there is no port
	uint8_t room;                 // characters that go out before the line status must be asked
	uint32_t previous;            // character received, or SEQUENCE
	uint64_t together_ns;         // until then the next one may belong to it
	uint8_t early[EARLY_MAX + 1]; // characters received before the kernel ran
};
static struct serial port;

// ---- Output ----

// True if there is room for a character.  A transmitter that was stuck isn't waited for until it works again.
static bool serial_room(void)
{
	uint32_t tries = port.stuck ? 1 : PATIENCE;
	while (!port.room) {
		port.stuck = !(pio_read8(PORT(LSR)) & SERIAL_LSR_EMPTY);
		if (!port.stuck)
			port.room = port.depth;
		else if (!--tries)
			return false;
	}
	port.room--;
	return true;
}

// What a terminal does where a screen of ours obeys a control character.
static const char sequences[] = "\0\x1B[H\x1B[J\0\x1B[C\0\r\n\0\b \b";
static const uint8_t sequence[] = { [0x01] = 1, [0x02] = 8, [0x03] = 17, [0x0A] = 12, [0x0E] = 15 };

static void serial_write(struct console *con, const char *text, size_t len)
{
	(void)con;
	while (len--) {
		uint8_t character = *text++;
		const char *more = sequences + (character < sizeof(sequence) ? sequence[character] : 0);
		if (*more)
			character = *more++;
		do {
			if (!serial_room())
				return;
			pio_write8(PORT(DATA), character);
		} while ((character = *more++));
	}
}

// Register, value.  Switching the FIFOs on drops what has come (s.8.4), so that it comes right after taking that.
// They interrupt late so that a key's sequence has come in whole.
static const uint8_t setup[][2] = {
	{ SERIAL_FCR, SERIAL_FCR_ENABLE | SERIAL_FCR_TRIGGER_8 },
	{ SERIAL_IER, 0 },
	{ SERIAL_LCR, SERIAL_LCR_DLAB },
	{ SERIAL_DATA, SERIAL_DIVISOR },
	{ SERIAL_IER, 0 },
	{ SERIAL_LCR, SERIAL_LCR_8N1 },
	{ SERIAL_MCR, SERIAL_MCR_DTR_RTS | SERIAL_MCR_OUT2 },
};

static int serial_probe(void)
{
	pio_write8(PORT(SCR), 0x5A);
	if (pio_read8(PORT(SCR)) != 0x5A)
		return E_NODEV;
	for (uint32_t i = 0; i < EARLY_MAX && pio_read8(PORT(LSR)) & SERIAL_LSR_RECEIVED; i++)
		port.early[i] = pio_read8(PORT(DATA));
	for (uint32_t i = 0; i < ARRAY_SIZE(setup); i++)
		pio_write8(CONFIG_SERIAL_PORT + setup[i][0], setup[i][1]);
	port.depth = pio_read8(PORT(IIR)) >= SERIAL_IIR_FIFO ? SERIAL_FIFO : 1;
	port.con.write = serial_write;
	console_register(&port.con);
	return E_OK;
}

static const struct platform_driver serial = { "serial", serial_probe };
CONSOLE_DRIVER(serial);

// ---- Input ----

// The next character, -1 if none comes within so many reads; nor does one from a port that has gone.
static int serial_next(uint32_t tries)
{
	while (tries--) {
		uint8_t status = pio_read8(PORT(LSR));
		if (status == 0xFF)
			break;
		if (status & SERIAL_LSR_RECEIVED)
			return pio_read8(PORT(DATA));
	}
	return -1;
}

// The character of a key, 0 if it has none.
static uint8_t serial_key(uint32_t character, uint32_t previous)
{
	if (previous == SEQUENCE && character >= '@') {
		character -= 'A';
		return character < 4 ? (character ^ 2) + 2 : 0; // up, down, right, left
	}
	if (character == '\r' || character == '\n')
		return character == '\n' && previous == '\r' ? 0 : INPUT_ENTER;
	return character == '\b' || character == 0x7F ? INPUT_BACKSPACE : character;
}

// Takes what has come.  An escape character that [ follows as fast as no typist can begins a sequence: arrows are
// A to D (ECMA-48, 8.3.22 and 8.3.18 to 20), the others have no character here.  On a slow line a sequence comes bit by
// bit; if that is too slow for its escape character, this has been a key when the rest comes.
static void serial_take(void *self)
{
	uint32_t tries = 1; // more if an escape character has come that may begin a sequence
	(void)self;
	for (uint32_t left = BYTES_MAX; left--;) {
		int character = serial_next(tries);
		uint64_t now = time_ns();
		uint32_t previous = port.previous == '\r' || now < port.together_ns ? port.previous : 0;
		if ((previous == 0x1B && character == '[') || (previous == SEQUENCE && (uint32_t)character - ' ' < 0x20))
			character = SEQUENCE; // parameters are ' ' to '?'
		else if (tries > 1)
			input_push(0x1B);
		if (character < 0)
			return;
		port.previous = character;
		port.together_ns = now + TOGETHER_NS;
		tries = SEQUENCE_WAIT;
		if (character != 0x1B || !left) {
			input_push(serial_key(character, previous));
			tries = 1;
		}
	}
	pio_write8(PORT(IER), 0); // more waits: another edge for it
	pio_write8(PORT(IER), SERIAL_IER_RECEIVED);
}

static int serial_input_probe(void)
{
	if (!port.depth)
		return E_NODEV;
	port.source.take = serial_take;
	input_attach(&port.source, IRQ);
	for (const uint8_t *early = port.early; *early; early++)
		input_push(serial_key(*early, 0));
	pio_write8(PORT(IER), SERIAL_IER_RECEIVED);
	return E_OK;
}

static const struct platform_driver serial_keys = { "serial input", serial_input_probe };
PLATFORM_DRIVER(serial_keys);
