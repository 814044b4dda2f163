"""The register interface of docs/abi.md, used by flat programs in assembly (flat/), and looked at from outside."""
import re
import socket
import struct
import time

import pytest

import screen
from conftest import BASE, ROOT, locked, run
from machine import DEADLINE

FLAT = ROOT / "tests" / "qemu" / "flat"
SECTOR = 4096
MAC = [bytes.fromhex(f"52540012345{i}") for i in (6, 7, 8)]
PEER = bytes.fromhex("020102030405")
IDE_LINE = ["^ahci: IRQ#"]	# QEMU's AHCI says so of each interrupt


@pytest.fixture
def flat(boot):
	"""flat(NAME, ...): a machine with that program, by PVH unless told otherwise.  None of them may say FAIL."""
	started = []

	def start(name, config="all", **options):
		program = BASE / "flat" / f"{name}.bin"
		with locked(program.with_suffix(".lock")):
			run("nasm", "-f", "bin", "-w+all", "-Werror", f"-I{FLAT}/", "-o", program, FLAT / f"{name}.asm")
		machine = boot(config, program, allowed=IDE_LINE, **{"firmware": "pvh", **options})
		started.append(machine)
		return machine

	yield start
	for machine in started:
		assert "FAIL" not in machine.output, machine.output


def cable():
	"""Our end and QEMU's: a message is a frame."""
	ours, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
	ours.settimeout(DEADLINE)
	return ours, far


def settled(look):
	"""look() once it is true, or what it is at the end of patience."""
	end = time.monotonic() + DEADLINE
	while not (found := look()) and time.monotonic() < end:
		time.sleep(0.05)
	return found


# ---- Screen and keys --------------------------------------------------------------------------------------------

CONSOLE = ["newline", "pair", "return", "        tab     b               c", "1234567 8", "12345678        9", "erase!",
	"Left", "right:  there", "oveR", "glyphs: !~   .", "done"]


@pytest.mark.parametrize("options", [{"firmware": "bios"}, {}], ids=["frame buffer", "VGA text"])
def test_console(flat, options):
	"""Every control character, on the screen cell by cell and on serial."""
	machine = flat("console", display=True, **options)
	machine.expect("^done$")
	read = screen.graphics if options else screen.text_mode
	rows = []

	def shown():
		rows[:] = [row.rstrip("\x7f ") for row in read(machine)]
		return rows[:len(CONSOLE)] == CONSOLE and not any(rows[len(CONSOLE):])

	settled(shown)
	assert [row for row in rows if row] == CONSOLE
	machine.type(["a"])
	output = machine.finish()
	assert "captured" not in output
	assert "is cleared\n\x1b[H\x1b[Jnewline\npair\r\ngone\rreturn\r\n\ttab\tb\t\tc\n" in output
	assert "erase???\b \b\b \b\b \b!\nleft\b\b\b\bL\nright:\x1b[C\x1b[Cthere\nover\b\b\x1b[CR\n" in output


def test_echo(flat):
	"""Keys of both keyboards, and none is slept over."""
	machine = flat("echo", display=True)
	machine.expect("^ready$")
	keys = {"a": "61", "shift-a": "41", "1": "31", "shift-1": "21", "slash": "2F", "ret": "1C", "backspace": "0E",
		"tab": "09", "left": "03", "right": "02", "up": "04", "down": "05", "spc": "20"}
	for key, code in keys.items():
		machine.type([key])
		machine.expect(f"<{code}>")
	for sent, code in ("z", "7A"), ("\r", "1C"), ("\x7f", "0E"), ("\x1b[A", "04"), ("\x1b[D", "03"):
		machine.send(sent)
		machine.expect(f"<{code}>")
	machine.type(["esc"])
	assert machine.finish().count("<") == len(keys) + 6


def test_key_callback(flat):
	machine = flat("keys", display=True)
	machine.expect("^ready$")
	machine.type(["a", "b"])
	machine.expect("ab")
	machine.send("q")
	machine.expect("qoff$")
	machine.send("x")
	machine.expect("^polled$")
	machine.finish()


def test_drawing(flat):
	"""Each pixel of the frame buffer."""
	machine = flat("draw", firmware="bios", args=["-device", "VGA,xres=640,yres=480"])
	machine.expect("^drawn$")
	width, height, pixels = machine.screenshot()
	assert (width, height) == (640, 480)
	assert pixels == bytes(value & 255 for y in range(height) for x in range(width) for value in (x, y, x + y))
	machine.send(" ")
	machine.finish()


# ---- Memory, time, cores ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("machine", ["q35", "pc,max-ram-below-4g=48M"])
def test_memory(flat, machine):
	"""All of it, in one piece and with half of it above 4 GiB."""
	output = flat("memory", machine=machine, memory="96M").finish()
	found = re.search("^([0-9A-F]{16}) memory: fine", output, re.M)
	assert found and 92 <= int(found[1], 16) <= 96, output


def test_payload(flat):
	output = flat("payload", append="payload", cores=2).finish()
	assert "payload: fine" in output


def test_timer(flat):
	"""Callbacks of two cores, and a reboot."""
	machine = flat("timer", cores=2)
	assert machine.wait() == 0
	assert settled(lambda: machine.reason) == "guest-reset"
	assert "time: fine\nboot core: ticks\nother core: ticks\n" in machine.output


def test_callback_state(flat):
	assert "state: fine" in flat("callback", args=["-cpu", "max"]).finish()


def test_reset(flat, disk):
	"""A slow drive, a long text: RESET waits until nothing is locked, and not until it is done."""
	output = flat("reset", cores=3, disks=[{"file": disk(64), "drive": "throttling.iops-total=8"}]).finish()
	assert output.count("reset\n") == 4 and "callbacks: fine" in output


def test_boot_core(flat):
	output = flat("others", cores=2).finish()
	assert "program: ended\nended: fine\nreset: fine\n" in output, output


def test_cores(flat, disk):
	"""Work, locks, RESET; calls of all cores at once neither mix up lines nor frames nor sectors."""
	cores, lines = 4, 20
	ours, far = cable()
	image = disk(4)
	machine = flat("smp", cores=cores, disks=[{"file": image}], pass_fds=(far.fileno(),),
		nets=[{"netdev": f"dgram,local.type=fd,local.str={far.fileno()}"}])
	far.close()
	frames = [ours.recv(2048) for _ in range(cores * lines)]
	output = machine.finish()
	for part in ("work", "locks", "load", "reset"):
		assert f"{part}: fine" in output
	for core in range(cores):
		letter = chr(ord("A") + core)
		assert len(re.findall(f"^{letter}{{60}}$", output, re.M)) == lines, output
		assert frames.count(letter.encode() * 60) == lines
		assert image.read_bytes()[core * 4 * SECTOR:][:61] == letter.encode() * 60 + b"\n"


# ---- Network and drives -----------------------------------------------------------------------------------------

def plugged(count):
	"""Our ends of cables, and options for a machine with these interfaces, of two kinds."""
	pairs = [cable() for _ in range(count)]
	nets = [{"netdev": f"dgram,local.type=fd,local.str={far.fileno()}",
		"device": "e1000e" if i % 2 else "virtio-net-pci", "options": f"mac={MAC[i].hex(':')}"}
		for i, (_, far) in enumerate(pairs)]
	return [ours for ours, _ in pairs], [far for _, far in pairs], nets


def frame(to, size, number, kind=b"\x88\xb5"):
	return (MAC[to] + PEER + kind + struct.pack("<I", number) + bytes((number + i) & 255 for i in range(size)))[:size]


def test_net(flat):
	"""Frames of all lengths, back from where they came, with what they held when they were sent."""
	ours, far, nets = plugged(3)
	machine = flat("net", nets=nets, pass_fds=tuple(end.fileno() for end in far))
	for end in far:
		end.close()
	macs = re.findall("([0-9A-F]{16}) ", machine.expect("^.*interfaces$")[0])
	assert [int(mac, 16).to_bytes(6, "big") for mac in macs] == MAC
	machine.expect("^ready$")
	for number, size in enumerate([*range(60, 1514, 97), 1513, 1514]):
		for to, end in enumerate(ours):
			sent = frame(to, size, number)
			end.send(sent)
			assert end.recv(4096) == sent[6:12] + sent[:6] + sent[12:], f"interface {to}, {size} bytes"
	ours[2].send(frame(2, 60, 0, b"\x88\xb6"))
	machine.finish()
	for end in ours:
		end.setblocking(False)
		with pytest.raises(BlockingIOError):
			end.recv(4096)


def test_net_callback(flat):
	"""A routine for each interface, on a program that sleeps."""
	ours, far, nets = plugged(2)
	machine = flat("netcall", nets=nets, pass_fds=tuple(end.fileno() for end in far))
	for end in far:
		end.close()
	machine.expect("^ready$")
	for number in range(7):
		ours[0].send(frame(0, 60 + number, number))
		if number < 4:
			ours[1].send(frame(1, 60 + number, number))
	machine.expect("^both\noff$")
	ours[0].send(frame(0, 60, 9))
	time.sleep(0.2)				# it would be called by then
	ours[1].send(frame(1, 60, 0, b"\x88\xb6"))
	machine.expect("^polled$")
	machine.finish()


def words(drive, sector):
	return struct.pack("<512Q", *(drive << 56 | sector << 16 | word for word in range(512)))


def test_drives(flat, disk):
	"""Four of three kinds; the host finds the same in the images, and nothing beside it."""
	kinds = [("virtio-blk-pci", "", 8), ("nvme", "serial=1", 5), ("ide-hd", "", 4), ("virtio-blk-pci",
		"logical_block_size=4096,physical_block_size=4096", 6)]
	images = [disk(size) for _, _, size in kinds]
	machine = flat("disk", disks=[{"device": device, "options": options, "file": image}
		for (device, options, _), image in zip(kinds, images)])
	output = machine.finish()
	found = re.search("^((?:[0-9A-F]{16} )+)drives$", output, re.M)
	assert found, output
	by_bus = re.findall(r"(virtio-blk|nvme|ahci):.* disk\d+ (\d+) MiB, \d+", output)
	sizes = [int(size, 16) * SECTOR >> 20 for size in found[1].split()]
	assert sizes == [int(size) for _, size in by_bus] and sorted(sizes) == [4, 5, 6, 8]
	for drive, size in enumerate(sizes):
		image = images[[size for _, _, size in kinds].index(size)].read_bytes()
		last = len(image) // SECTOR - 1
		for sector in range(last + 1):
			written = sector < 3 or 5 <= sector < 305 or sector == last
			expected = words(drive, sector) if written else bytes(SECTOR)
			assert image[sector * SECTOR:][:SECTOR] == expected, f"drive {drive}, sector {sector}"


# ---- Information table ------------------------------------------------------------------------------------------

def dumped(output):
	"""Memory that DUMP_MEM has shown: bytes by address."""
	memory = {}
	for address, line in re.findall("^([0-9A-F]{16}):((?: [0-9A-F]{2} )+)", output, re.M):
		for i, byte in enumerate(bytes.fromhex(line)):
			memory[int(address, 16) + i] = byte
	return memory


@pytest.mark.parametrize("firmware, drive", [("bios", "nvme"), ("uefi", "virtio-blk-pci")])
def test_information(flat, disk, firmware, drive):
	machine = flat("info", firmware=firmware, cores=3, memory="300M", nets=[{"options": f"mac={MAC[1].hex(':')}"}],
		disks=[{"file": disk(4), "device": drive, "options": "serial=S123" if drive == "nvme" else ""}],
		args=["-device", "VGA,xres=800,yres=600"])
	machine.expect("^end$")
	memory = dumped(machine.finish())

	def word(address, size):
		return int.from_bytes(bytes(memory[address + i] for i in range(size)), "little")

	assert word(0x5000, 8) and word(0x5008, 4) == 0 and word(0x5010, 2) > 100
	assert (word(0x5012, 2), word(0x5014, 2)) == (3, 3)
	assert word(0x5016, 1) >= 36 and word(0x5017, 1) >= 48 and word(0x5018, 4) >= 7 and word(0x501C, 4) >= 0x80000008
	assert 290 <= word(0x5020, 4) <= 300
	assert word(0x5030, 1) == 1 and word(0x5031, 1) >= 1
	assert (word(0x5040, 8), word(0x5048, 4), word(0x504E, 1)) == (0xFED00000, 100000000, 3)
	assert 0 < word(0x5050, 8) <= word(0x5058, 8) and word(0x5060, 8) == 0xFEE00000
	width, height = (800, 600) if firmware == "bios" else (1024, 768)	# OVMF has its own mind
	assert word(0x5080, 8) and [word(0x5088 + 2 * i, 2) for i in range(4)] == [width, height, width, 32]
	assert word(0x5090, 2) == 1 and word(0x50E2, 1) == ord("U" if firmware == "uefi" else "B")
	assert [word(0x5100 + i, 1) for i in range(4)] == [0, 1, 2, 0]
	assert (word(0x5400, 8), word(0x5408, 2)) == (word(0x5400, 8) & ~0xFFFFF, 0) and word(0x540B, 1) == 255
	assert (word(0x5604, 4), word(0x5608, 4)) == (0xFEC00000, 0)
	assert (word(0x5701, 1), word(0x5702, 4)) == (0, 2)	# the timer's override
	check_map(word)
	assert word(0x110048, 6).to_bytes(6, "little") == MAC[1]
	assert 290 <= word(0x110104, 4) <= 300
	assert word(0x110208, 2) == {"nvme": 1, "virtio-blk-pci": 8}[drive]
	assert bytes(memory[0x174004 + i] for i in range(4)) == (b"S123" if drive == "nvme" else b"    ")
	check_bus(word, *((0x0108, [0x1B36, 0x0010]) if drive == "nvme" else (0x0100, [0x1AF4, 0x1001])))


def check_map(word):
	"""Ranges in order, RAM as much as the machine has."""
	at, end, ram = 0x6000, 0, 0
	while word(at + 8, 8):
		base, length, kind = word(at, 8), word(at + 8, 8), word(at + 16, 4)
		assert base >= end
		end = base + length
		ram += length if kind == 1 else 0
		at += 32
	assert all(word(at + i, 8) == 0 for i in range(0, 32, 8))
	assert 280 << 20 <= ram <= 300 << 20


def check_bus(word, kind, ids):
	"""The host bridge first, the card and the drive with their drivers; QEMU's ids."""
	entries, at = [], 0x118000
	while word(at, 16) != (1 << 128) - 1:
		entries.append([word(at + offset, size) for offset, size in ((0, 4), (4, 2), (6, 2), (8, 2), (14, 1), (15, 1))])
		assert word(at + 10, 4) == 0
		at += 16
	assert entries[0] == [0, 0x8086, 0x29C0, 0x0600, 1, 0]
	assert [entry[0] for entry in entries] == sorted(entry[0] for entry in entries)
	bound = {entry[3]: entry[1:3] for entry in entries if entry[5]}
	assert bound[0x0200] == [0x1AF4, 0x1000] and bound[kind] == ids
