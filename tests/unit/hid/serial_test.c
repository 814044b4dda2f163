// The serial port against a 16550 that counts what it is asked.
#include <fake.h>
#include <program.h>
#include <hid/serial.c> // for its state, which lives for good: every test starts it anew

struct classic_calls classic;
static struct console *console;

void program_key(void)
{
}

void console_register(struct console *con)
{
	console = con;
}

static struct {
	uint8_t ier, lcr, mcr, fcr, scr, divisor_low, divisor_high;
	bool no_fifo, stuck, gone, flood;
	uint32_t waiting; // in the transmitter's FIFO
	uint32_t lost;    // written to a full one
	char sent[512];
	uint32_t sent_count;
	uint32_t status_reads, edges;
	const char *received; // what waits
	uint32_t received_count;
	uint32_t late_at, late_by; // this many characters before the end there is a pause of so many status reads
} uart;

static uint32_t uart_read(struct fake_pio *dev, uint16_t offset, uint32_t width)
{
	(void)dev;
	assert_int_equal(width, 1);
	if (uart.gone)
		return 0xFF;
	switch (offset) {
	case 0:
		assert_false(uart.lcr & 0x80);
		assert_true(uart.flood || uart.received_count);
		if (uart.flood)
			return 'f';
		uart.received_count--;
		return (uint8_t)*uart.received++;
	case 2:
		return uart.fcr & 1 && !uart.no_fifo ? 0xC1 : 0x01;
	case 5:
		uart.status_reads++;
		if (!uart.stuck)
			uart.waiting = 0;
		if (uart.received_count == uart.late_at && uart.late_by) {
			uart.late_by--;
			return uart.waiting ? 0 : 0x60;
		}
		return (uart.waiting ? 0 : 0x60) | (uart.received_count || uart.flood);
	case 7:
		return uart.scr;
	}
	fail_msg("register %u was read", offset);
	return 0;
}

static void uart_write(struct fake_pio *dev, uint16_t offset, uint32_t width, uint32_t value)
{
	(void)dev;
	assert_int_equal(width, 1);
	switch (offset) {
	case 0:
		if (uart.lcr & 0x80) {
			uart.divisor_low = value;
		} else {
			uart.lost += uart.waiting == (uart.no_fifo ? 1 : 16);
			uart.waiting++;
			assert_true(uart.sent_count < sizeof(uart.sent) - 1);
			uart.sent[uart.sent_count++] = value;
		}
		break;
	case 1:
		if (uart.lcr & 0x80) {
			uart.divisor_high = value;
		} else {
			uart.edges += value & ~uart.ier & 1;
			uart.ier = value;
		}
		break;
	case 2:
		if ((uart.fcr ^ value) & 1) // PC16550D 8.4: drops what the FIFOs hold
			uart.received_count = 0;
		uart.fcr = value;
		break;
	case 3:
		uart.lcr = value;
		break;
	case 4:
		uart.mcr = value;
		break;
	case 7:
		uart.scr = value;
		break;
	default:
		fail_msg("register %u was written", offset);
	}
}

static struct fake_pio chip;

static void plug_in(void)
{
	chip = (struct fake_pio){ .base = 0x3F8, .count = 8, .read = uart_read, .write = uart_write };
	memset(&uart, 0, sizeof(uart));
	memset(&port, 0, sizeof(port));
	uart.late_at = ~0;
	console = NULL;
	fake_pio_add(&chip);
}

static void start(void)
{
	assert_int_equal(fake_platform_driver("serial")->probe(), E_OK);
	assert_non_null(console);
	assert_int_equal(uart.divisor_low | uart.divisor_high << 8, 1);
	assert_int_equal(uart.lcr, 3);
	assert_int_equal(uart.fcr & 1, 1);
	assert_int_equal(uart.mcr, 0x0B);
	assert_int_equal(uart.ier, 0);
	uart.sent_count = uart.status_reads = 0;
}

static const char *sent(const char *text, size_t len)
{
	uart.sent_count = 0;
	console->write(console, text, len);
	uart.sent[uart.sent_count] = 0;
	return uart.sent;
}

static void absent(void **state)
{
	(void)state;
	memset(&uart, 0, sizeof(uart));
	console = NULL;
	assert_int_equal(fake_platform_driver("serial")->probe(), E_NODEV);
	assert_int_equal(fake_platform_driver("serial input")->probe(), E_NODEV);
	assert_null(console);
	assert_string_equal(fake_log, "");
}

static void characters(void **state)
{
	(void)state;
	plug_in();
	start();
	assert_string_equal(sent("abc\n", 4), "abc\r\n");
	assert_string_equal(sent("\r\n", 2), "\r\r\n");
	assert_string_equal(sent("a\x03"
							 "b\x02"
							 "c\x0E"
							 "d\te",
							9),
		"a\bb\x1B[Cc\b \bd\te");
	assert_string_equal(sent("\x01", 1), "\x1B[H\x1B[J");
	for (uint32_t c = 0; c < 256; c++) { // the others as they are
		char character = c;
		if (c == 1 || c == 2 || c == 3 || c == 10 || c == 14)
			continue;
		sent(&character, 1);
		assert_int_equal(uart.sent_count, 1);
		assert_int_equal((uint8_t)uart.sent[0], c);
	}
	sent("", 0);
	assert_int_equal(uart.sent_count, 0);
	assert_int_equal(uart.lost, 0);
}

static void status_reads(void **state)
{
	char text[160];
	(void)state;
	plug_in();
	start();
	memset(text, 'x', sizeof(text));
	sent(text, sizeof(text));
	assert_int_equal(uart.status_reads, 10); // one for 16 characters, across calls
	for (uint32_t i = 0; i < 32; i++)
		sent(text, 1);
	assert_int_equal(uart.status_reads, 12);
	assert_int_equal(uart.lost, 0);
}

static void no_fifo(void **state)
{
	(void)state;
	plug_in();
	uart.no_fifo = true;
	start();
	assert_string_equal(sent("hello\n", 6), "hello\r\n");
	assert_int_equal(uart.status_reads, 7);
	assert_int_equal(uart.lost, 0);
}

static void stuck(void **state)
{
	char text[100];
	(void)state;
	plug_in();
	start();
	memset(text, 'x', sizeof(text));
	sent(text, 16);
	uart.stuck = true;
	uart.status_reads = 0;
	sent(text, sizeof(text));
	assert_int_equal(uart.sent_count, 0);
	assert_in_range(uart.status_reads, 1000, 50000); // some patience, once
	uart.status_reads = 0;
	for (uint32_t i = 0; i < 10; i++)
		sent(text, sizeof(text));
	assert_int_equal(uart.sent_count, 0);
	assert_int_equal(uart.status_reads, 10);
	uart.stuck = false; // a terminal that was only stopped
	assert_string_equal(sent("ab", 2), "ab");
	assert_int_equal(uart.lost, 0);
}

static void firmware_sends(void **state)
{
	(void)state;
	plug_in();
	uart.waiting = 16; // what the firmware has said isn't lost
	start();
	assert_string_equal(sent("k", 1), "k");
	assert_int_equal(uart.lost, 0);
}

static const char *typed(const char *text, uint32_t count)
{
	static char got[300];
	uint32_t len = 0;
	uart.received = text;
	uart.received_count = count;
	fake_line_fire(4);
	while ((got[len] = input_read()))
		len++;
	return got;
}
#define TYPED(text) typed(text, sizeof(text) - 1)

static void keys(void **state)
{
	(void)state;
	plug_in();
	start();
	assert_int_equal(fake_platform_driver("serial input")->probe(), E_OK);
	assert_int_equal(uart.ier, 1);
	assert_int_equal(fake_lines[0].line, 4);
	assert_int_equal(fake_lines[0].kind, IRQ_ISA);
	assert_string_equal(TYPED(""), "");
	assert_string_equal(TYPED("aZ~ \t"), "aZ~ \t");
	assert_string_equal(TYPED("\x7F\b"), "\x0E\x0E");
	assert_string_equal(TYPED("\r\n\r\r\n\n\n\r"), "\x1C\x1C\x1C\x1C\x1C\x1C");
	assert_string_equal(TYPED("\n"), ""); // the return was in the interrupt before
	assert_string_equal(TYPED("\n"), "\x1C");
	assert_string_equal(TYPED("\x1B[A\x1B[B\x1B[C\x1B[D"), "\x04\x05\x02\x03");
	assert_string_equal(TYPED("\x1B"), "\x1B");
	assert_string_equal(TYPED("\x1Bx"), "\x1Bx");
	assert_string_equal(TYPED("\x1B\r"), "\x1B\x1C");
	assert_string_equal(TYPED("\x1B[3~a\x1B[1;5Hb\x1B[Ec\x1B[@d"), "abcd"); // not here: Delete, Home, ...
	assert_string_equal(TYPED("\x1B["), "");
	assert_string_equal(TYPED("\x03\x80\xFF"), "\x03\x80\xFF");
	assert_string_equal(typed("a\0b", 3), "ab");
}

static void timing(void **state)
{
	(void)state;
	plug_in();
	start();
	fake_platform_driver("serial input")->probe();
	uart.late_at = 2; // a real line: 87 us between characters
	uart.late_by = 100;
	assert_string_equal(TYPED("\x1B[A"), "\x04");
	uart.late_at = 1; // its end has an interrupt of its own
	uart.late_by = 100;
	assert_string_equal(TYPED("\x1B[A"), "");
	uart.late_by = 0;
	fake_line_fire(4);
	assert_int_equal(input_read(), 4);
	uart.late_at = 2; // somebody types Escape, then [, then A
	uart.late_by = 5000;
	uart.status_reads = 0;
	assert_string_equal(TYPED("\x1B[A"), "\x1B");
	assert_in_range(uart.status_reads, 10, 1000);
	uart.late_by = 0;
	fake_now_ns += 100000000;
	fake_line_fire(4);
	assert_int_equal(input_read(), '[');
	assert_int_equal(input_read(), 'A');
}

// A sequence that comes in several interrupts.
static void slow_line(void **state)
{
	(void)state;
	plug_in();
	start();
	fake_platform_driver("serial input")->probe();
	assert_string_equal(TYPED("\x1B"), "\x1B"); // so late that it has been a key
	fake_now_ns += 20000000;
	assert_string_equal(TYPED("["), "");
	fake_now_ns += 20000000;
	assert_string_equal(TYPED("A"), "\x04");
	assert_string_equal(TYPED("A"), "A");
	assert_string_equal(TYPED("ab\x1B["), "ab");
	fake_now_ns += 40000000;
	assert_string_equal(TYPED("D\x1B[1"), "\x03");
	assert_string_equal(TYPED(";"), "");
	assert_string_equal(TYPED("5Hc"), "c");
	assert_string_equal(TYPED("\x1B["), ""); // what was no sequence doesn't take the next key with it
	fake_now_ns += 60000000;
	assert_string_equal(TYPED("A"), "A");
	assert_string_equal(TYPED("\x1B[\r"), "\x1C");
	assert_string_equal(TYPED("\x1B\x1B[B"), "\x1B\x05");
	assert_string_equal(TYPED("\x1Bx[A"), "\x1Bx[A");
	static char full[257]; // an escape character is the last that an interrupt takes
	memset(full, 'x', 255);
	full[255] = 0x1B;
	full[256] = 0;
	assert_string_equal(typed(full, 256), full);
}

static void broken(void **state)
{
	uint32_t edges, count = 0;
	(void)state;
	plug_in();
	start();
	fake_platform_driver("serial input")->probe();
	edges = uart.edges;
	uart.flood = true; // never ends
	fake_line_fire(4);
	while (input_read())
		count++;
	assert_int_equal(count, 256);
	assert_int_equal(uart.edges, edges + 1);
	uart.flood = false;
	static char sequence[1000] = "\x1B["; // an escape sequence that never ends
	memset(sequence + 2, ';', sizeof(sequence) - 2);
	uart.received = sequence;
	uart.received_count = sizeof(sequence);
	fake_line_fire(4);
	assert_in_range(uart.received_count, 600, 999);
	uart.received_count = 0;
	uart.gone = true; // all ones
	fake_line_fire(4);
	assert_int_equal(input_read(), 0);
	sent("abc", 3); // goes nowhere, without a wait
}

static void typed_early(void **state)
{
	(void)state;
	plug_in();
	uart.received = "s\r";
	uart.received_count = 2;
	start();
	assert_int_equal(input_read(), 0);
	assert_int_equal(fake_platform_driver("serial input")->probe(), E_OK);
	assert_int_equal(input_read(), 's');
	assert_int_equal(input_read(), 0x1C);
	assert_string_equal(TYPED("x"), "x");
}

static void polled(void **state)
{
	(void)state;
	plug_in();
	start();
	fake_irq_refuse = true;
	assert_int_equal(fake_platform_driver("serial input")->probe(), E_OK);
	uart.received = "xy";
	uart.received_count = 2;
	assert_int_equal(input_read(), 'x');
	assert_int_equal(input_read(), 'y');
	assert_int_equal(input_read(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		// what they start lives for good, so nothing is checked behind them
		cmocka_unit_test_setup(absent, fake_setup),
		cmocka_unit_test_setup(characters, fake_setup),
		cmocka_unit_test_setup(status_reads, fake_setup),
		cmocka_unit_test_setup(no_fifo, fake_setup),
		cmocka_unit_test_setup(stuck, fake_setup),
		cmocka_unit_test_setup(firmware_sends, fake_setup),
		cmocka_unit_test_setup(keys, fake_setup),
		cmocka_unit_test_setup(timing, fake_setup),
		cmocka_unit_test_setup(slow_line, fake_setup),
		cmocka_unit_test_setup(broken, fake_setup),
		cmocka_unit_test_setup(typed_early, fake_setup),
		cmocka_unit_test_setup(polled, fake_setup),
	};
	return cmocka_run_group_tests_name("hid/serial", tests, NULL, NULL);
}
