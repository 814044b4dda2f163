"""Consoles and keyboards: every character in and out, screens of many sizes, machines that lack some of them."""
import re
import time

import pytest

import screen
from machine import DEADLINE


@pytest.fixture
def started(boot, images):
	def start(config="qemu_q35", **options):
		machine = boot(config, program=images.own("console", flat=options.get("firmware") != "pvh"), **options)
		machine.expect("^ready$")
		return machine

	return start


def until(machine, read, condition):
	"""The rows of the screen once they are as they should be; what they are if that doesn't come."""
	end = time.monotonic() + DEADLINE
	while True:
		rows = read(machine)
		if condition(rows) or time.monotonic() > end:
			return rows
		time.sleep(0.1)


def check_screen(machine, read, columns):
	"""Control characters, then scrolling and wrapping."""
	machine.type("c")
	machine.expect("not printable.*\n")
	expected = ["newline", "pair", "RETURN", "return, then newline", "        tab     b", "erase", "Left", "right: :",
		"not printable:    .", "\x7f"]
	rows = until(machine, read, lambda rows: rows[:len(expected)] == expected)
	assert rows[:len(expected)] == expected
	assert not any(rows[len(expected):])
	machine.type("s")
	machine.expect("line 199\n.*\n")
	text = "".join(f"line {number:03}\n" for number in range(200)) + "w" * 300 + "\n\x7f"
	expected = screen.shown(text, columns, len(rows))
	rows = until(machine, read, lambda rows: rows == expected)
	assert rows == expected
	machine.type("q")
	machine.finish()


@pytest.mark.parametrize("width, height", [(640, 480), (800, 600), (1280, 1024), (1920, 1080)])
def test_frame_buffer(started, width, height):
	"""The mode that the display asks for."""
	machine = started(args=["-device", f"VGA,xres={width},yres={height}"])
	assert machine.screenshot()[:2] == (width, height)
	check_screen(machine, screen.graphics, width // 8 // 8 * 8)


def test_frame_buffer_is_write_combining(started):
	"""Not uncached, which each store would wait for, though it lies in a PCI device's BAR; the rest of that is."""
	machine = started(args=["-device", "VGA,xres=1280,yres=800"])
	base, size = machine.word(0x5080), 1280 * 800 * 4
	pages = re.findall(r"^(\w+): (\w+) \S{5}([C-])([T-])\S\S\s*$", machine.hmp("info tlb"), re.M)
	flags = {int(virtual, 16): pcd + pwt for virtual, _, pcd, pwt in pages}
	inside = {flag for page, flag in flags.items() if base <= page < base + size}
	behind = {flag for page, flag in flags.items() if base + size + (2 << 20) <= page < base + (16 << 20)}
	assert (inside, behind) == ({"-T"}, {"CT"})
	machine.type("q")
	machine.finish()


def test_vga_text(started):
	check_screen(started("all", firmware="pvh", display=True), screen.text_mode, 80)


def test_serial_keys(started):
	"""What terminals send, one key at a time."""
	machine = started(firmware="pvh")
	for sent, character in ("a", "61"), ("\r", "1C"), ("\n", ""), ("\n", "1C"), ("\x7f", "0E"), ("\b", "0E"), \
			("\t", "09"), ("\x1b[A", "04"), ("\x1b[B", "05"), ("\x1b[C", "02"), ("\x1b[D", "03"), ("\x1b", "1B"), \
			("\x1b[3~", ""), ("\x1b[1;5H", ""), ("\x01", "01"), ("~", "7E"):
		machine.send(sent)
		if character:
			machine.expect(f"<{character}>")
		time.sleep(0.05)
	machine.send("q")
	output = machine.finish()
	assert output.count("<") == 14
	assert "\n<61><1C><1C><0E><0E><09><04><05><02><03><1B><01><7E><71>" in output


def test_serial_burst(started):
	"""A pasted text: nothing is lost as long as it is read."""
	machine = started(firmware="pvh")
	text = "".join(chr(0x21 + i % 66) for i in range(200)).replace("c", "d").replace("q", "r").replace("s", "t")
	machine.send(text)
	machine.expect("".join(f"<{ord(character):02X}>" for character in text))
	machine.send("q")
	machine.finish()


def test_serial_output(started):
	"""Control characters as a terminal needs them."""
	machine = started(firmware="pvh")
	machine.send("cq")
	output = machine.finish()
	assert "garbage\n\x1b[H\x1b[Jnewline\npair\r\nreturn\rRETURN\nreturn, then newline\r\n\ttab\tb\n" in output
	assert "erase!!\b \b\b \b\nleft\b\b\b\bL\nright:\x1b[C:\n" in output


@pytest.mark.parametrize("options", [{"machine": "q35,i8042=off"}, {"machine": "pc", "args": ["-device", "cirrus-vga"]},
	{"machine": "microvm,pcie=on"}], ids=["no i8042", "cirrus", "microvm"])
def test_other_hardware(started, options):
	"""What isn't there is left alone, without a word and without an access that QEMU logs."""
	machine = started("all", firmware="pvh", **options)
	machine.send("xq")
	output = machine.finish()
	assert "<78><71>" in output
