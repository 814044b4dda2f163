"""The BIOS loader alone: what it hands over to boot_probe.c, in place of a kernel, and what it refuses; and image.py.

SeaBIOS shows the ordinary cases; bios_firmware.S makes a worse one of it.
"""
import os
import random
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, run
from machine import DEADLINE, Machine
from test_boot_efi import GIB, HERE, MIB, PROBE_FLAGS, PROGRAM, HandOver

sys.path.insert(0, str(ROOT / "scripts"))
import image as image_tool	# pylint: disable=wrong-import-position

SECTOR = 512
TOO_SMALL = "too little memory: this image needs at least {} MiB"
DAMAGED = "the boot image is damaged"
NO_READ = "the disk can't be read"
EFI = bytes(i % 253 for i in range(100000))	# never run here
LOG = ["-d", "guest_errors,unimp"]
RAM, RESERVED, ACPI, NVS = 1, 2, 3, 4
LOW = (0, 0x9FC00, RAM)


class Loader:
	"""Boot sector and second stage, and images made of them with boot_probe.c as the kernel."""

	def __init__(self, folder, compiler="gcc"):
		self.folder = folder
		source = ROOT / "boot-bios"
		run(compiler, "-Wall", "-Wextra", "-Werror", "-nostdlib", "-static", "-Wl,--build-id=none,-z,noexecstack",
			f"-Wl,-T,{source / 'loader.ld'}", source / "boot.S", source / "stage2.S", "-o", folder / "loader.elf")
		for name in ("boot", "stage2"):
			run("objcopy", "-O", "binary", "-j", f".{name}", folder / "loader.elf", folder / f"{name}.bin")
		run("gcc", *PROBE_FLAGS, HERE / "boot_probe.c", "-o", folder / "probe.bin")
		(folder / "app").write_bytes(PROGRAM)
		(folder / "efi").write_bytes(EFI)
		self.image = self.make("image", "--program", folder / "app", "--efi", folder / "efi", "--arguments", "one two")
		self.worse = 0

	def command(self, *options):
		return [ROOT / "scripts/image.py", "--stage1", self.folder / "boot.bin", "--stage2", self.folder / "stage2.bin",
			"--kernel", self.folder / "probe.bin", *options]

	def make(self, name, *options):
		run(*self.command(*options, "-o", self.folder / name))
		return self.folder / name

	def with_program(self, name, program, *options):
		(self.folder / "other").write_bytes(program)
		return self.make(name, "--program", self.folder / "other", *options)

	def loaded(self):
		"""The sectors behind the first one that are loaded: (first, count) of second stage, kernel and program."""
		stage2 = self.image.read_bytes()[SECTOR:]
		kernel, kernel_sectors, _, program, program_sectors, _ = struct.unpack_from("<6I", stage2, 20)
		return [(1, kernel - 1), (kernel, kernel_sectors), (program, program_sectors)]

	def inside(self, out, ranges=None, entry_bytes=24, read_errors=0, **defines):
		"""The image, on a worse BIOS."""
		content = self.image.read_bytes()
		defines |= {"BOOT_SECTOR": len(content) // SECTOR, "READ_ERRORS": read_errors, "ENTRY_BYTES": entry_bytes}
		options = [f"-D{name}={value}" for name, value in defines.items()]
		if ranges is not None:
			packed = [struct.pack("<QQII", base, end - base, kind, attributes[0] if attributes else 1)
				for base, end, kind, *attributes in ranges]
			(out / "ranges").write_bytes(b"".join(packed))
			options.append(f'-DRANGES="{out}/ranges"')
		run("gcc", *options, "-nostdlib", "-static", "-Wl,--build-id=none,-z,noexecstack,-Ttext=0x600,-e,start",
			"-Wl,--oformat=binary", HERE / "bios_firmware.S", "-o", out / "sector")
		(out / "worse.img").write_bytes((out / "sector").read_bytes() + content[SECTOR:] + content[:SECTOR])
		return out / "worse.img"


@pytest.fixture(scope="session")
def loader(tmp_path_factory):
	return Loader(tmp_path_factory.mktemp("bios"))


@pytest.fixture
def start(work):
	machines = []

	def from_image(image, watch=False, **options):
		options.setdefault("memory", "64M")
		machines.append(Machine(work / str(len(machines)), image=image, watch=watch, **options))
		return machines[-1]

	yield from_image
	for machine in machines:
		if not machine.process.stdout.closed:	# a test may have ended it
			machine.kill()


def check(machine, program=PROGRAM, kind=1, arguments="one two"):
	told = HandOver(machine.finish())
	told.check("B", program, kind)
	assert told.arguments == arguments
	assert told.rsdp == 0
	for name in ("info", "cr3", "rsp"):
		assert 0x1000 <= told.values[name] < 0x80000, name
	return told


def refused(machine, sentence):
	"""Says so on serial and, if there is one, on screen; then halts."""
	machine.expect(f"^Ingot: {re.escape(sentence)}\\.\n")
	assert "magic=" not in machine.output
	end = time.monotonic() + DEADLINE
	while "HLT=1" not in machine.hmp("info registers"):
		assert time.monotonic() < end, "it doesn't halt"
	if "-vga" in machine.command:
		shown = machine.memory(0xB8000, 80 * 25 * 2)[::2].decode("latin1")
		assert f"Ingot: {sentence}." in shown


# ---- SeaBIOS as it is ----

@pytest.mark.parametrize("machine, memory", [("q35", "4M"), ("pc", "4M"), ("q35", "6G"), ("pc", "6G")])
def test_memory(loader, start, machine, memory):
	told = check(start(loader.image, watch=True, machine=machine, memory=memory))
	assert told.framebuffer == 0 and told.screen == (0, 0, 0)
	# As high as possible: the RAM that begins at 1 MiB ends in the page behind the program's last one.
	end = next(base + size for base, size, kind in told.ranges if kind == RAM and base == MIB)
	assert told.program == end - (len(PROGRAM) + 4095) // 4096 * 4096
	if memory == "6G":
		assert told.ram(4 * GIB, 7 * GIB)


@pytest.mark.parametrize("machine, device, args", [
	("q35", "virtio-blk-pci", LOG), ("pc", "virtio-blk-pci", LOG), ("q35", "nvme,serial=1", LOG), ("pc", "ide-hd", []),
	("q35,usb=on", "usb-storage", []),
])
def test_boot_disks(loader, start, machine, device, args):
	"""Nothing to complain about from power-on where SeaBIOS's own driver gives no cause."""
	booted = start(loader.image, machine=machine, boot_device=device, args=args)
	check(booted)
	assert not booted.guest_errors()


@pytest.mark.parametrize("args, size", [
	(["-device", "VGA"], (1280, 800)),
	(["-device", "VGA,xres=1920,yres=1080"], (1920, 1080)),
	(["-device", "bochs-display,xres=800,yres=600"], (800, 600)),
	(["-device", "VGA,xres=1366,yres=768"], (1024, 768)),		# not in the list of modes
	(["-device", "VGA,edid=off"], (1024, 768)),
	(["-device", "VGA,vgamem_mb=1"], (0, 0)),			# too large for its memory
	(["-device", "cirrus-vga"], (0, 0)),				# no 32 bits a pixel
])
def test_graphics_mode(loader, start, args, size):
	told = check(start(loader.image, watch=True, args=args))
	assert told.screen[:2] == size
	assert told.bits == (32 if size[0] else 0) and bool(told.framebuffer) == bool(size[0])
	assert told.pitch >= size[0]


def test_pixels(loader, start):
	"""The probe paints the first pixel red and all others blue."""
	machine = start(loader.image, display=True, args=["-no-shutdown"])
	machine.expect("^done$")
	width, height, pixels = machine.screenshot()
	assert (width, height) == (1280, 800)
	assert pixels == b"\xFF\0\0" + b"\0\0\xFF" * (width * height - 1)


def test_text_payload_clang(tmp_path, start):
	loader = Loader(tmp_path, compiler="clang")
	payload = PROGRAM[:64 << 10]
	(tmp_path / "payload").write_bytes(payload)
	image = loader.make("text", "--payload", tmp_path / "payload", "--text")
	told = check(start(image, display=True), payload, kind=2, arguments="")
	assert told.framebuffer == 0


def test_no_program_no_file_system(loader, start):
	told = check(start(loader.make("bare")), program=b"", kind=0, arguments="")
	assert told.program == 0


def test_large_program(loader, start):
	"""Many reads, the last one of few sectors; the top of memory; a cut and a flipped bit far behind."""
	program = random.Random(1).randbytes(16 * MIB + 5000)
	image = loader.with_program("large", program)
	check(start(image, memory="20M"), program, arguments="")
	refused(start(image, memory="18M"), TOO_SMALL.format(20))
	content = bytearray(image.read_bytes())
	os.truncate(image, 9 * MIB)
	refused(start(image), NO_READ)
	content[15 * MIB] ^= 0x80
	image.write_bytes(content)
	refused(start(image), DAMAGED)


# ---- A worse BIOS ----

def test_two_read_errors(loader, start, tmp_path):
	check(start(loader.inside(tmp_path, read_errors=2)))


def test_three_read_errors(loader, start, tmp_path):
	refused(start(loader.inside(tmp_path, read_errors=3), display=True), NO_READ)


def test_unreadable_disk(loader, start, tmp_path):
	"""Errors of the drive itself, in the first sector of the program."""
	first = loader.loaded()[2][0]
	(tmp_path / "blkdebug").write_text(f'[inject-error]\nevent = "read_aio"\nerrno = "5"\nsector = "{first}"\n')
	refused(start(f"blkdebug:{tmp_path}/blkdebug:{loader.image}"), NO_READ)


@pytest.mark.parametrize("defines", [{"A20_OFF": 1}, {"A20_OFF": 1, "NO_A20": 1}])
def test_a20_off(loader, start, tmp_path, defines):
	check(start(loader.inside(tmp_path, **defines)))


@pytest.mark.parametrize("ranges, end", [
	# The hole for ISA cards below 16 MiB.
	([LOW, (MIB, 15 * MIB, RAM), (15 * MIB, 16 * MIB, RESERVED), (16 * MIB, 60 * MIB, RAM)], 15),
	# Not sorted, overlapping, and some to be ignored: without length, not enabled.
	([(40 * MIB, 41 * MIB, NVS), (MIB, 60 * MIB, RAM), LOW, (30 * MIB, 31 * MIB, RESERVED, 0),
		(3 * MIB, 3 * MIB, RESERVED), (50 * MIB, 62 * MIB, ACPI)], 40),
	# Nothing below 1 MiB is told apart; ranges that end in the midst of a page.
	([(0, 33 * MIB + 100, RAM), (0xF0000, MIB, RESERVED), (33 * MIB + 100, 34 * MIB, RESERVED)], 33),
	# What is reserved beyond 16 TiB, where the number of a page has more than 32 bits.
	([LOW, (MIB, 60 * MIB, RAM), (16 << 40, (16 << 40) + 8 * MIB, RESERVED)], 60),
])
@pytest.mark.parametrize("entry_bytes", [20, 24])
def test_memory_map(loader, start, tmp_path, ranges, end, entry_bytes):
	if entry_bytes == 20:
		ranges = [piece for piece in ranges if len(piece) == 3]
	told = check(start(loader.inside(tmp_path, ranges=ranges, entry_bytes=entry_bytes)))
	assert told.program == end * MIB - (len(PROGRAM) + 4095) // 4096 * 4096
	valid = [piece for piece in ranges if len(piece) == 3 and piece[1] > piece[0]]
	assert told.ranges == [(base, stop - base, kind) for base, stop, kind in valid]


def test_endless_memory_map(loader, start, tmp_path):
	told = check(start(loader.inside(tmp_path, ranges=[LOW, (MIB, 40 * MIB, RAM)], ENDLESS=1)))
	assert len(told.ranges) == 128


@pytest.mark.parametrize("ranges, sentence", [
	([], "the BIOS gives no memory map"),
	([LOW], TOO_SMALL.format(4)),
	([LOW, (2 * MIB, 60 * MIB, RAM)], TOO_SMALL.format(4)),
	([LOW, (MIB, 60 * MIB, RAM), (0x180000, 0x181000, RESERVED)], TOO_SMALL.format(4)),
	([LOW, (MIB, 60 * MIB, RAM), (0x80000, 0x101000, RESERVED)], TOO_SMALL.format(4)),
	([LOW, (MIB, 2 * MIB + 65536, RAM)], TOO_SMALL.format(4)),	# room for the kernel, not for the program
])
def test_unusable_memory(loader, start, tmp_path, ranges, sentence):
	refused(start(loader.inside(tmp_path, ranges=ranges)), sentence)


# ---- What is refused ----

@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_too_little_memory(loader, start, machine):
	refused(start(loader.image, machine=machine, memory="2M", display=True), TOO_SMALL.format(4))


@pytest.mark.parametrize("cpu", ["486", "pentium3"])
def test_no_64_bit_mode(loader, start, cpu):
	refused(start(loader.image, machine="pc", cpu=cpu, display=True), "this is a 32-bit CPU")


def test_no_execute_disable(loader, start):
	refused(start(loader.image, cpu="qemu64,-nx", display=True),
		"execute disable (NX, XD) is missing, or off in the firmware's setup")


def test_no_extensions(loader, start, tmp_path):
	refused(start(loader.inside(tmp_path, NO_EXTENSIONS=1), display=True), "the BIOS has no INT 13h extensions")


def flipped(loader, out, sector, bit):
	content = bytearray(loader.image.read_bytes())
	content[sector * SECTOR + bit // 8] ^= 1 << bit % 8
	(out / "flipped.img").write_bytes(content)
	return out / "flipped.img"


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("end", [0, 1])
def test_flipped_bit_at_the_ends(loader, start, tmp_path, part, end):
	first, count = loader.loaded()[part]
	sector, bit = (first + count - 1, 4095) if end else (first, 0)
	refused(start(flipped(loader, tmp_path, sector, bit), display=part == 0), DAMAGED)


@pytest.mark.long
def test_flipped_bit_in_every_sector(loader, start, tmp_path):
	chance = random.Random(2)
	last = sum(loader.loaded()[2])
	for sector in range(1, last):
		machine = start(flipped(loader, tmp_path, sector, chance.randrange(8 * SECTOR)))
		refused(machine, DAMAGED)
		machine.kill()


@pytest.mark.parametrize("kept", [MIB, 2 * MIB, -SECTOR])
def test_cut_image(loader, start, tmp_path, kept):
	"""Wherever the cut is.  (SeaBIOS itself refuses a disk of less than 504 KiB.)"""
	(tmp_path / "cut.img").write_bytes(loader.image.read_bytes()[:kept])
	refused(start(tmp_path / "cut.img"), NO_READ)


# ---- image.py ----

def test_same_input_same_image(loader):
	assert loader.image.read_bytes() == loader.make("again", "--program", loader.folder / "app", "--efi",
		loader.folder / "efi", "--arguments", "one two").read_bytes()


def test_layout(loader):
	content = loader.image.read_bytes()
	(stage2, _), (kernel, _), (program, count) = loader.loaded()
	active, kind, first, sectors = struct.unpack_from("<B3xB3xII", content, 0x1BE)
	assert (active, kind) == (0x80, 0xEF)
	assert first % 2048 == 0 and program + count <= first < program + count + 2048
	assert (first + sectors) * SECTOR == len(content)
	assert content[0x1CE:0x1FE] == bytes(48), "one partition"
	assert content[3:0x3E] == bytes(0x3B), "BIOSes write there"
	assert content[program * SECTOR:].startswith(PROGRAM)
	assert content[kernel * SECTOR:].startswith((loader.folder / "probe.bin").read_bytes())
	assert (loader.folder / "stage2.bin").stat().st_size < 3 * 1024
	assert content[stage2 * SECTOR:kernel * SECTOR].rstrip(b"\0").endswith(b"one two")


@pytest.mark.parametrize("size, kind, mebibytes", [
	(1000, "FAT16", 3), (25 * MIB, "FAT16", 26), (40 * MIB, "FAT32", 41),
])
def test_file_system(loader, tmp_path, size, kind, mebibytes):
	content = random.Random(3).randbytes(size)
	(tmp_path / "efi").write_bytes(content)
	image = loader.make("fat", "--efi", tmp_path / "efi").read_bytes()
	first, sectors = struct.unpack_from("<II", image, 0x1C6)
	volume = tmp_path / "volume"
	volume.write_bytes(image[first * SECTOR:])
	assert sectors == mebibytes * 2048
	assert image[first * SECTOR:][82 if kind == "FAT32" else 54:][:5] == kind.encode()
	assert struct.unpack_from("<I", image, first * SECTOR + 28)[0] == first, "hidden sectors"
	run("mcopy", "-i", volume, "::/EFI/BOOT/BOOTX64.EFI", tmp_path / "back")
	assert (tmp_path / "back").read_bytes() == content


def test_hand_over_as_in_the_header(tmp_path):
	"""The offsets that image.py and the second stage rely on are those of the header."""
	fields = {"program_bytes": image_tool.INFO_PROGRAM_BYTES, "program_kind": image_tool.INFO_PROGRAM_KIND,
		"arguments": image_tool.INFO_ARGUMENTS, "map": image_tool.INFO_BYTES}
	checks = [f"_Static_assert(__builtin_offsetof(struct boot_info, {name}) == {offset}, \"{name}\");"
		for name, offset in fields.items()]
	checks += [f"_Static_assert(BOOT_{name} == {getattr(image_tool, name)}, \"{name}\");"
		for name in ("PROGRAM", "PAYLOAD")]
	(tmp_path / "checks.c").write_text("#include <boot_info.h>\n" + "\n".join(checks) + "\n")
	run("gcc", f"-I{ROOT / 'include'}", "-fsyntax-only", tmp_path / "checks.c")


@pytest.mark.parametrize("options, message", [
	(["--program", "missing"], "program missing: No such file or directory"),
	(["--program", "empty"], "program empty is empty"),
	(["--payload", "64k+1"], "payload 64k+1 has 65537 bytes, more than 65536"),
	(["--kernel", "960k+1"], "kernel 960k+1 has 983041 bytes, more than 983040"),
	(["--efi", "missing"], "UEFI application missing: No such file or directory"),
	(["--arguments", "x" * 256], "arguments: at most 255 bytes"),
	(["--stage2", "64k+1"], "the second stage is not the one of this image.py"),
	(["--stage1", "64k+1"], "the boot sector is not a boot sector"),
	(["-o", "nowhere/image"], "nowhere/image: No such file or directory"),
])
def test_errors(loader, tmp_path, options, message):
	"""Said in a line, and the old image is as it was."""
	for name, size in (("empty", 0), ("64k+1", 65537), ("960k+1", 983041)):
		(tmp_path / name).write_bytes(bytes(size))
	(tmp_path / "image").write_text("old")
	result = subprocess.run([*loader.command("-o", "image"), *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
		check=False)
	assert result.returncode == 1
	assert result.stderr.startswith("image.py: " + message), result.stderr
	assert (tmp_path / "image").read_text() == "old"
	assert sorted(Path(path).name for path in tmp_path.iterdir()) == ["64k+1", "960k+1", "empty", "image"]
