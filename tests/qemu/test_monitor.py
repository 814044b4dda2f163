"""The monitor, as somebody at the serial line or at screen and keyboard sees it."""
import re
import time

import pytest

import screen
from machine import DEADLINE


def started(boot, **options):
	machine = boot(program=options.pop("program", "monitor"), **options)
	machine.expect(r"^> ")
	return machine


def command(machine, line):
	"""Types a line on serial: what is said up to the next prompt."""
	machine.send(line + "\r")
	machine.expect(line)
	start = machine.searched
	machine.expect(r"^> ")
	return machine.output[start:machine.searched - 2]


def test_commands(boot, disk):
	machine = started(boot, cores=3, nets=[{"options": "mac=52:54:00:AA:BB:CC"}], disks=[{"file": disk(16)}])
	said = {line: command(machine, line) for line in
		("help", "devices", "drivers", "cores", "mem", "net", "disks", "log", "time", "nonsense", "peek 0x100008")}
	for name in said:
		if name.isalpha() and name != "nonsense":
			assert name in said["help"]
	assert "1af4" in said["devices"].lower() and "net0" in said["devices"]
	assert "virtio" in said["drivers"]
	assert "52:54:00:aa:bb:cc" in said["net"].lower()
	assert "disk0" in said["disks"]
	assert "kernel" in said["log"]
	assert "6f676e49" in said["peek 0x100008"].lower()	# "Ingo"
	machine.send("shutdown\r")
	machine.finish()


def test_editing_on_serial(boot):
	"""Backspace, arrows, history."""
	machine = started(boot, firmware="pvh")
	machine.send("corX\x7fes\r")
	machine.expect(r"core")
	machine.expect(r"^> ")
	machine.send("shutdown\r")
	machine.finish()


def test_reboot(boot):
	machine = started(boot, firmware="bios")
	machine.send("reboot\r")
	machine.wait()
	assert machine.reason == "guest-reset"


KEYS = {" ": "spc", "-": "minus", "=": "equal", ";": "semicolon", "'": "apostrophe", "`": "grave_accent", ",": "comma",
	".": "dot", "/": "slash", "\\": "backslash", "[": "bracket_left", "]": "bracket_right"}
SHIFTED = dict(zip('!@#$%^&*()_+:"~<>?|{}', "1234567890-=;'`,./\\[]"))


def key(character):
	if character.isupper():
		return f"shift-{character.lower()}"
	if character in SHIFTED:
		return f"shift-{key(SHIFTED[character])}"
	return KEYS.get(character, character)


TYPED = "Ab9 -=;'`,./[]\\ !@#$%^&*()_+:\"~<>?|{}"


@pytest.mark.parametrize("firmware, machine, config, read", [
	("bios", "q35", "qemu_q35", screen.graphics), ("bios", "pc", "qemu_pc", screen.graphics),
	("uefi", "q35", "qemu_q35", screen.graphics), ("pvh", "q35", "all", screen.text_mode),
])
def test_keyboard_and_screen(boot, firmware, machine, config, read):
	"""Typed on the keyboard: seen on the screen, cell by cell, and on serial."""
	machine = started(boot, firmware=firmware, machine=machine, config=config, display=True)
	machine.type([key(character) for character in TYPED])
	machine.expect(re.escape(TYPED))
	machine.type(["backspace"] * len(TYPED) + ["h", "e", "l", "p", "ret"])
	machine.expect("shutdown")
	machine.expect(r"^> ")
	machine.type(["t", "i", "m", "x", "backspace", "e"])
	machine.expect("timx\x08 \x08e")	# on serial a backspace overwrites
	end = time.monotonic() + DEADLINE
	while True:
		rows = read(machine)
		last = max(number for number, row in enumerate(rows) if row)
		if rows[last].startswith("> time") or time.monotonic() > end:
			break
	assert rows[last].replace("\x7f", "") == "> time"
	help_text = machine.output[machine.output.rindex("help\n") + 5:machine.output.rindex("> ")]
	columns = 80 if read is screen.text_mode else 128
	expected = screen.shown(help_text, columns, len(rows))[:-1]
	assert rows[last - len(expected):last] == expected
	machine.type(["backspace"] * 4 + list("shutdown") + ["ret"])
	machine.finish()
