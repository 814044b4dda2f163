"""The monitor, as somebody at the serial line or at screen and keyboard sees it."""
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import screen
from machine import DEADLINE
from test_devices import IDE_LINE


BMFS = Path(__file__).resolve().parents[2] / "scripts" / "bmfs.py"


def started(boot, **options):
	machine = boot(program=options.pop("program", "monitor"), **options)
	machine.expect(r"^> ")
	return machine


def command(machine, line):
	"""Types a line on serial: what is said up to the next prompt."""
	machine.send(line + "\r")
	machine.expect(re.escape(line) + "\n")
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
	"""Backspace, arrows, history, completion, as a terminal's sequences (at most 8 bytes at once, which is how many
	QEMU delivers without a pause); what isn't mapped is not touched."""
	machine = started(boot, firmware="pvh")
	for keys, text in {
			"corX\x7fes": "core 0", "\x1b[A\x1b[D": "core 0", "cor\t": "core 0", "pci 0000:00:1f\t3": "SMBus",
			"log w\t": "no driver", "p\te\t0": "not mapped", "peek 0x8000000000000000": "not mapped",
			"poke 0x101000 1": "read-only", "poke 0x1000 0x100 8": "more than 8 bits", "poke 1 2 9": "usage: poke",
			"poke 0x2000 0x1234 16": "", "hexdump 0x2000 2": r"34 12 +4\.", "hexdump 0xFF8 64": "ff8 is not mapped",
	}.items():
		machine.send(keys + "\r")
		machine.expect(text)
		machine.expect(r"^> ")
	machine.send("shutdown\r")
	machine.finish()


@pytest.fixture
def volume(images, work):
	"""A BMFS volume with the programs, and with files that can't be run."""
	hello = images.program("hello", "elf").read_bytes()
	endings = images.own("endings")
	files = {
		"cut": hello[:5000], "big": bytes(21 << 20), "empty": b"", "arm": hello[:18] + b"\xB7" + hello[19:],
		"shared": hello[:16] + b"\x03" + hello[17:], "astray": b"lost", "endings": endings.read_bytes(),
		"reached.app": b"\xC3",	# RET
	}
	for name in ("hello", "hello_cpp", "hello_asm", "netcheck", "diskcheck", "smpcheck"):
		files[name] = images.program(name, "elf").read_bytes()
		files[f"{name}.app"] = images.program(name, "app").read_bytes()
	for name, content in files.items():
		(work / name).write_bytes(content)
	path = work / "volume"
	subprocess.run([BMFS, "format", "--size", "128", path, *(work / name for name in files)], check=True)
	with open(path, "r+b") as file:
		file.seek(4096 + 64 * list(files).index("astray") + 40)		# blocks
		file.write((1 << 20).to_bytes(8, "little"))
	return path, files


REFUSED = {"cut": "the file is cut short", "empty": "the file is empty", "arm": "not a static ELF64 program for x86-64",
	"shared": "not a static ELF64 program for x86-64", "astray": "its record points outside the volume",
	"hello.app 1": "it is flat, and flat programs take no arguments", "nothing": "on no drive, try ls",
	"disk0:hello": "on no drive, try ls"}


def test_run(boot, disk, volume):
	"""Programs of every kind, from a volume on the second drive, and back to the prompt, whatever they do."""
	path, files = volume
	machine = started(boot, firmware="pvh", cores=3, memory="64M", nets=[{"netdev": "user,bootfile=udp:0"}],
		disks=[{"file": disk(64)}, {"file": path}, {"file": disk(1, 0x5A), "drive": "throttling.iops-total=8"}])
	listed = re.findall(r"^disk1 +(\d+) bytes  (.+)$", command(machine, "ls disk1"), re.M)
	assert {name: int(size) for size, name in listed} == \
		{name: len(content) for name, content in files.items() if name != "astray"}
	assert "disk0: no BMFS volume" in command(machine, "ls")
	for program, sentence in REFUSED.items():
		assert f": {sentence}\n" in command(machine, f"run {program}")
	for program, language in {
			"hello": "C on", "hello.app": "C on", "disk1:hello_cpp": r"C\+\+ on", "hello_cpp.app": r"C\+\+ on",
			"hello_asm": "assembly", "hello_asm.app": "assembly",
	}.items():
		assert re.search(f"Hello from Ingot: {language}", command(machine, f"run {program}"))
	assert command(machine, "run reached.app").strip() == ""
	for program in ("netcheck", "smpcheck.app", "netcheck.app", "diskcheck disk=0", "smpcheck"):
		assert f"{program[:8].strip()}" in program and ": PASS" in command(machine, f"run {program}")
	stats = command(machine, "stats disk0")
	reads, writes = map(int, re.search(r"disk0: (\d+) reads, \d+ bytes; (\d+) writes", stats).groups())
	assert reads > 1000 and writes > 1000
	stats = command(machine, "stats net0")
	assert int(re.search(r"sent +(\d+) frames", stats)[1]) > 20 and "net0: queues   1 of 1" in stats
	endings(machine)
	machine.send("shutdown\r")
	machine.finish()


def endings(machine):
	assert "[program][seven][a][b]\n\nendings: returned 7\n" in command(machine, "run endings seven a  b ")
	for _ in range(2):
		assert "memory is clean" in command(machine, "run endings memory")
	assert re.search("core 1 still works for it.*work is done", command(machine, "run endings work"), re.S)
	machine.send("run endings spin\r")
	machine.expect("core 1 still works for it; Escape stops it")
	machine.send("\x1b")
	machine.expect("core 1 was still at work for it and is stopped")
	machine.expect("^> ")
	assert "core 1 was still at work for it and is stopped" in command(machine, "run endings abandon")
	assert "core 1: APIC id 1, idle" in command(machine, "cores")
	for how in ("callback", "elsewhere", "ticking", "callback"):
		assert "stopped" not in command(machine, f"run endings {how}")
	said = command(machine, "run endings reset")
	assert "the others are idle: 1\n" in said and "core 1 still works for it; Escape stops it\n" in said, said
	command(machine, "run endings behind")
	assert "units are fresh" in command(machine, "run endings units")
	assert "memory is clean" in command(machine, "run endings memory")	# no read came late
	assert "Hello from Ingot" in command(machine, "run hello_asm.app")	# b_output is the kernel's again
	assert "PASS" in command(machine, "run netcheck")


def test_claimed_devices(boot, volume):
	"""A device that a program drove by itself is its driver's again."""
	machine = started(boot, firmware="pvh", config="qemu_pc", machine="pc", nets=[{}], disks=[{"file": volume[0]}])
	before = command(machine, "net")
	assert "net0 virtio-net" in before
	for _ in range(2):
		assert "claimed: 0" in command(machine, "run endings claim")
		assert command(machine, "net") == before
	machine.send("shutdown\r")
	machine.finish()


def test_least_memory(boot, volume):
	machine = started(boot, firmware="pvh", memory="4M", disks=[{"file": volume[0]}])
	assert "it does not fit into memory" in command(machine, "run big")
	assert "Hello from Ingot" in command(machine, "run hello")
	machine.send("shutdown\r")
	machine.finish()


def test_pci(boot, disk, images, work):
	"""What the monitor decodes is what QEMU knows; drivers go on working when their BARs have been sized, so that a
	program runs from a volume behind the boot image."""
	image = work / "disk.img"
	shutil.copy(images.image("all", program=images.program("monitor")) / "ingot.img", image)
	subprocess.run([BMFS, "--at", "134217728", "format", "--size", "8", image,
		f"hello={images.program('hello', 'elf')}"], check=True)
	machine = started(boot, firmware="bios", config="all", image=image, display=True, allowed=IDE_LINE, disks=[
		{"file": disk(4), "device": "nvme", "options": "serial=x,bus=root1"},
		{"file": disk(4), "device": "virtio-blk-pci", "options": "disable-legacy=on"}],
		nets=[{"device": "e1000", "options": "bus=bridge2,addr=3"}],
		args=["-device", "pcie-root-port,id=root1,chassis=1", "-device", "pci-bridge,id=bridge2,chassis_nr=2"])
	devices = command(machine, "pci")
	for words in ("host bridge: Intel Q35", "PCI bridge: Red Hat PCIe root port", "NVMe controller: Red Hat NVMe, nvme",
			"Ethernet controller: Intel 82540EM, e1000 net0", "VGA controller: QEMU standard VGA", "virtio-blk disk"):
		assert words in devices
	found = 0
	for device in re.split(r"^  Bus +", machine.hmp("info pci").replace("\r", ""), flags=re.M)[1:]:
		bus, slot, function = map(int, re.match(r"(\d+), device +(\d+), function (\d+)", device).groups())
		told = command(machine, f"pci {bus:02x}:{slot:02x}.{function}")
		for number, kind, base, last in re.findall(r"BAR(\d): (I/O|.*memory) at 0x(\w+) \[0x(\w+)\]", device):
			if number == "6":
				continue
			size = int(last, 16) - int(base, 16) + 1
			unit, size = ("KiB", size >> 10) if size >= 1024 else ("bytes", size)
			if unit == "KiB" and not size % 1024:
				unit, size = "MiB", size >> 10
			assert re.search(rf"BAR {number}: .*{'ports' if kind == 'I/O' else 'memory'} at {int(base, 16):x}, "
				rf"{size} {unit}$", told, re.M), f"{device}\n{told}"
			found += 1
		for window, name in (("memory", "memory window"), ("prefetchable memory", "prefetchable window")):
			at = re.search(rf"  {window} range \[0x(\w+), 0x(\w+)\]", device)
			if at and int(at[1], 16) < int(at[2], 16):
				expected = rf"{name}: {int(at[1], 16):x} to {int(at[2], 16):x}$"
				assert re.search(expected, told, re.M), f"{device}\n{told}"
				found += 1
	assert found > 12
	root = command(machine, "pci 00:02.0") + command(machine, "pci 00:03.0")
	for words in ("PCI Express: root port", "MSI-X: ", "MSI: off", "buses: on 0, leads to ", "advanced error reporting",
			"slot identification"):
		assert words in root
	assert "virtio common, BAR 4 at 0, 4096 bytes" in command(machine, "pci 00:04.0")
	assert command(machine, "ls").count("no BMFS volume") == 2
	assert "Hello from Ingot" in command(machine, "run hello")
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
	machine.type(["backspace"] * 4 + list("shutd") + ["tab", "ret"])
	machine.finish()
