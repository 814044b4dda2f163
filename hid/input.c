// hid/input.c - characters from all keyboards, in one buffer; and the one place where keys become characters.
#include <input.h>
#include <irq.h>
#include <lock.h>
#include <mmio.h>
#include <program.h>

#define BUFFER 256u

static struct lock pushing, polling;
static volatile uint32_t head, tail; // free-running: characters ever written, read
static uint8_t buffer[BUFFER];
static struct input_source *polled;

void input_push(uint8_t character)
{
	uint64_t flags;
	if (!character) // to a program it says that nothing waits
		return;
	flags = irq_save();
	lock_take(&pushing);
	uint32_t at = head;
	if (at - tail < BUFFER) {
		buffer[at % BUFFER] = character;
		barrier();
		head = at + 1;
	}
	lock_drop(&pushing);
	program_key();
	irq_restore(flags);
}

void input_poll(struct input_source *source)
{
	source->next = polled;
	polled = source;
	classic.input_polled = true;
}

void input_attach(struct input_source *source, uint32_t line)
{
	int vector = irq_alloc(source->take, source, 0);
	if (vector >= 0) {
		if (irq_route(line, IRQ_ISA, vector) == E_OK)
			return;
		irq_free(vector);
	}
	input_poll(source);
}

uint8_t input_read(void)
{
	// Nobody waits for this lock: the callback that interrupts its holder may read, too.
	if (head == tail && !__atomic_exchange_n(&polling.taken, 1, __ATOMIC_ACQUIRE)) {
		for (struct input_source *source = polled; source; source = source->next)
			source->take(source);
		lock_drop(&polling);
	}
	for (;;) {
		uint32_t at = tail;
		uint8_t character = buffer[at % BUFFER];
		if (at == head)
			return 0;
		if (__atomic_compare_exchange_n(&tail, &at, at + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return character;
	}
}

// ---- Keys: scan code set 1 (Microsoft's keyboard scan code specification, 1.3a, has all sets side by side) ----

#define EXTENDED 0xE0 // prefix
#define BREAK 0x80
#define PRINT_SCREEN 0x37 // behind the prefix; without it the keypad's *
#define KEYPAD 0x47       // from here on shift changes nothing, and with the prefix there are arrows
#define KEYS 0x54

// Modifiers: bits of struct keyboard's; with MODIFIER, what the table has in a character's place.
#define MODIFIER 0x80
enum { SHIFT_LEFT = 1, SHIFT_RIGHT = 2, CTRL = 4, CAPS_HELD = 8, CAPS = 16 };

// US layout, by key: alone, with shift, keypad with prefix.  Without the prefix the keypad has its digits and signs.
// clang-format off
static const uint8_t keys[KEYS + KEYS] =
	"\0\x1B" "1234567890-=\x0E\tqwertyuiop[]\x1C\x84" "asdfghjkl;'`\x81\\zxcvbnm,./\x82*\0 \x88"
	"\0\0\0\0\0\0\0\0\0\0\0\0" "789-456+1230."
	"\0\x1B" "!@#$%^&*()_+\x0E\tQWERTYUIOP{}\x1C\x84" "ASDFGHJKL:\"~\x81|ZXCVBNM<>?\x82*\0 \x88"
	"\0\0\0\0\0\0\0\0\0\0\0\0" "\0\x04\0\0\x03\0\x02\0\0\x05\0\0\0";
// clang-format on

// 0xE1, the prefix of Pause, needs no care: as the break of a key that isn't there it does nothing, and what follows
// presses and releases control.  Nor do the shifts that keyboards put around arrows: arrows don't know shift.
void input_scancode(struct keyboard *kbd, uint8_t code)
{
	uint32_t modifiers = kbd->modifiers, key = code & ~BREAK;
	bool extended = kbd->extended;
	uint8_t character;
	kbd->extended = code == EXTENDED;
	if (key >= KEYS || (extended && key == PRINT_SCREEN))
		return;
	if (key < KEYPAD ? !extended && modifiers & (SHIFT_LEFT | SHIFT_RIGHT) : extended)
		key += KEYS;
	character = keys[key];
	if (character & MODIFIER) {
		modifiers |= character;
		if (code & BREAK) // where keys don't repeat
			modifiers ^= character | (character & CAPS_HELD) << 1;
		kbd->modifiers = modifiers;
		return;
	}
	if (modifiers & CAPS && (uint8_t)((character | 0x20) - 'a') < 26)
		character ^= 0x20;
	if (modifiers & CTRL && character >= 0x40)
		character &= 0x1F;
	if (!(code & BREAK))
		input_push(character);
}
