// The PS/2 keyboard against an 8042.
#include <fake.h>
#include <program.h>

struct classic_calls classic;

void program_key(void)
{
}

static struct {
	uint8_t config, command;
	uint8_t queue[64], aux[64]; // bytes to read, and whether they are the mouse's
	uint32_t count;
	bool deaf; // takes no command
	bool dumb; // answers none
	bool flood, keyboard_on;
	uint32_t lag; // status reads until a command is taken
	uint32_t busy;
} ctrl;

static void answer(uint8_t byte, bool aux)
{
	assert_true(ctrl.count < sizeof(ctrl.queue));
	ctrl.aux[ctrl.count] = aux;
	ctrl.queue[ctrl.count++] = byte;
}

static uint32_t ctrl_read(struct fake_pio *dev, uint16_t offset, uint32_t width)
{
	uint8_t byte;
	(void)dev;
	assert_int_equal(width, 1);
	if (offset == 4) {
		if (ctrl.busy)
			ctrl.busy--;
		return 0x14 | (ctrl.busy || ctrl.deaf ? 2 : 0) | (ctrl.count || ctrl.flood ? 1 : 0) |
			(ctrl.count && ctrl.aux[0] ? 0x20 : 0);
	}
	assert_int_equal(offset, 0);
	if (ctrl.flood)
		return 0x1E;
	assert_true(ctrl.count);
	byte = ctrl.queue[0];
	memmove(ctrl.queue, ctrl.queue + 1, --ctrl.count);
	memmove(ctrl.aux, ctrl.aux + 1, ctrl.count);
	return byte;
}

static void ctrl_write(struct fake_pio *dev, uint16_t offset, uint32_t width, uint32_t value)
{
	(void)dev;
	assert_int_equal(width, 1);
	assert_false(ctrl.busy || ctrl.deaf); // never while it is not ready
	ctrl.busy = ctrl.lag;
	if (offset == 4) {
		ctrl.command = value;
		if (value == 0xAD)
			ctrl.config |= 0x10;
		else if (value == 0x20 && !ctrl.dumb)
			answer(ctrl.config, false);
		return;
	}
	assert_int_equal(offset, 0);
	if (ctrl.command == 0x60) {
		ctrl.config = value;
	} else if (value == 0xF4 && !(ctrl.config & 0x10)) {
		ctrl.keyboard_on = true;
		answer(0xFA, false);
	}
	ctrl.command = 0;
}

static struct fake_pio port;

static void plug_in(void)
{
	port = (struct fake_pio){ .base = 0x60, .count = 5, .read = ctrl_read, .write = ctrl_write };
	memset(&ctrl, 0, sizeof(ctrl));
	ctrl.config = 0x02;
	fake_pio_add(&port);
	while (input_read())
		;
}

static int probe(void)
{
	return fake_platform_driver("ps2")->probe();
}

static void absent(void **state)
{
	(void)state;
	assert_int_equal(probe(), E_NODEV);
	assert_string_equal(fake_log, "");
	assert_int_equal(fake_alloc_count, 0);
}

static void silent(void **state)
{
	(void)state;
	plug_in();
	ctrl.deaf = true;
	assert_int_equal(probe(), E_NODEV);
	assert_true(fake_now_ns < 50000000);
	assert_int_equal(port.writes, 0);
	fake_reset();
	plug_in();
	ctrl.dumb = true;
	assert_int_equal(probe(), E_NODEV);
	assert_true(fake_now_ns < 50000000);
	assert_int_equal(fake_alloc_count, 0);
	assert_string_equal(fake_log, "");
}

static void no_memory(void **state)
{
	(void)state;
	plug_in();
	fake_alloc_fail_at = 1;
	assert_int_equal(probe(), E_NOMEM);
	assert_int_equal(fake_irq_live(), 0);
}

static void typing(void **state)
{
	(void)state;
	plug_in();
	ctrl.lag = 3;
	answer(0x1E, false); // typed before: thrown away
	answer(0x55, true);
	assert_int_equal(probe(), E_OK);
	assert_int_equal(ctrl.config, 0x61); // interrupt, translation, no mouse
	assert_true(ctrl.keyboard_on);
	assert_int_equal(fake_lines[0].line, 1);
	assert_true(fake_line_fire(1)); // the keyboard's answer
	assert_int_equal(input_read(), 0);
	answer(0x2A, false);
	answer(0x23, true); // a mouse moves
	answer(0x23, false);
	answer(0xA3, false);
	assert_true(fake_line_fire(1));
	assert_int_equal(input_read(), 'H');
	assert_int_equal(input_read(), 0);
	assert_int_equal(ctrl.count, 0);
	answer(0x17, false);
	assert_true(fake_line_fire(1));
	assert_int_equal(input_read(), 'I');
	assert_true(fake_line_fire(1)); // for nothing
	assert_int_equal(input_read(), 0);
}

static void accesses(void **state)
{
	(void)state;
	plug_in();
	assert_int_equal(probe(), E_OK);
	assert_in_range(port.reads + port.writes, 1, 20);
}

static void flooded(void **state)
{
	(void)state;
	plug_in();
	assert_int_equal(probe(), E_OK);
	ctrl.flood = true;
	assert_true(fake_line_fire(1));
	assert_in_range(port.reads, 1, 1000);
}

static void polled(void **state)
{
	(void)state;
	plug_in();
	fake_irq_refuse = true;
	assert_int_equal(probe(), E_OK);
	answer(0x1E, false);
	assert_int_equal(input_read(), 'a');
	assert_int_equal(input_read(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		// what they start lives for good, so nothing is checked behind them
		cmocka_unit_test_setup(absent, fake_setup),
		cmocka_unit_test_setup(silent, fake_setup),
		cmocka_unit_test_setup(no_memory, fake_setup),
		cmocka_unit_test_setup(typing, fake_setup),
		cmocka_unit_test_setup(accesses, fake_setup),
		cmocka_unit_test_setup(flooded, fake_setup),
		cmocka_unit_test_setup(polled, fake_setup),
	};
	return cmocka_run_group_tests_name("hid/ps2", tests, NULL, NULL);
}
