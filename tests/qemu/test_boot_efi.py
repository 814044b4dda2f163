"""The UEFI loader alone: what it hands over to boot_probe.c, in place of a kernel, and what it refuses.

OVMF shows the ordinary cases; boot_firmware.c starts the loader in those that OVMF doesn't have.
"""
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, run
from machine import Machine

HERE = Path(__file__).resolve().parent
START = "crt0-efi-x86_64.o"
PLACES = [Path("/usr/lib"), Path("/usr/lib/x86_64-linux-gnu/gnuefi")]
GNU_EFI = next((path for path in PLACES if (path / START).exists()), PLACES[0])
SECTIONS = [".text", ".sdata", ".data", ".rodata", ".dynamic", ".dynsym", ".rel", ".rela", ".rel.*", ".rela.*",
	".reloc"]
# As in boot-efi/meson.build.
FLAGS = ["-Wall", "-Wextra", "-Werror", "-std=gnu11", "-ffreestanding", "-mno-red-zone", "-mgeneral-regs-only",
	"-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-strict-aliasing", "-fcf-protection=none",
	f"-I{ROOT / 'include'}"]
EFI_FLAGS = [*FLAGS, "-Os", "-fpic", "-fvisibility=hidden", "-fshort-wchar", "-DGNU_EFI_USE_MS_ABI",
	"-isystem", "/usr/include/efi", "-isystem", "/usr/include/efi/x86_64"]
PROBE_FLAGS = [*FLAGS, "-O1", "-fno-pic", "-fno-pie", "-mcmodel=small", "-nostdlib", "-static", "-no-pie",
	"-Wl,--build-id=none", "-Wl,-e,0x100000", "-Wl,--section-start=.start=0x100000", "-Wl,-Ttext=0x100020",
	"-Wl,--oformat=binary"]
PROGRAM = bytes(i * i % 251 for i in range(70001))
MIB, GIB = 1 << 20, 1 << 30
RAM, ACPI = 1, 3
# Settings of boot_firmware.c.
(EDID, STALE, STUCK, PIECES, HOLES, LEVELS, LOADER_LOW, KERNEL_TAKEN, NO_MEMORY, NO_CONSOLE, SWAPPED, OLD_ACPI,
	OPTIONS, BINARY_OPTIONS, DAMAGE, HIGH_ACPI, LOADER_HIGH) = (1 << i for i in range(17))


def to_efi(shared, out):
	run("objcopy", *(word for name in SECTIONS for word in ("-j", name)), "--target", "efi-app-x86_64", shared, out)


def link(out, entry, *objects):
	run("gcc", "-nostdlib", "-shared", "-Wl,-Bsymbolic", "-Wl,-z,nocombreloc", "-Wl,-z,noexecstack",
		"-Wl,--build-id=none", f"-Wl,-e,{entry}", f"-Wl,-T,{GNU_EFI / 'elf_x86_64_efi.lds'}", GNU_EFI / START, *objects,
		f"-L{GNU_EFI}", "-lgnuefi", "-o", out)


class Loader:
	"""The loader with boot_probe.c as its kernel, in `file`."""

	def __init__(self, folder, compiler="gcc", program=PROGRAM, kind="program"):
		self.folder = folder
		self.file = folder / "BOOTX64.EFI"
		self.probe = folder / "probe.bin"
		run("gcc", *PROBE_FLAGS, HERE / "boot_probe.c", "-o", self.probe)
		(folder / "program").write_bytes(program)
		(folder / "kind").write_text(kind)
		run("/usr/bin/python3", ROOT / "boot-efi/embed.py", self.probe, folder / "program", folder / "kind",
			folder / "embedded.bin")
		run(compiler, *EFI_FLAGS, "-c", ROOT / "boot-efi/main.c", "-o", folder / "main.o")
		run(compiler, "-c", ROOT / "boot-efi/handover.S", "-o", folder / "handover.o")
		run(compiler, "-c", f'-DEMBEDDED="{folder}/embedded.bin"', ROOT / "boot-efi/embed.S", "-o", folder / "embed.o")
		link(folder / "loader.so", "efi_entry", folder / "main.o", folder / "handover.o", folder / "embed.o")
		to_efi(folder / "loader.so", self.file)

	def inside(self, settings, out, **defines):
		"""An application that starts the loader in other circumstances."""
		options = [f"-D{name}={value}" for name, value in defines.items()]
		run("gcc", *EFI_FLAGS, f"-DSETTINGS={settings}", f'-DLOADER="{self.file}"', *options,
			"-c", HERE / "boot_firmware.c", "-o", out / "firmware.o")
		link(out / "firmware.so", "_start", out / "firmware.o")
		to_efi(out / "firmware.so", out / "FIRMWARE.EFI")
		return out / "FIRMWARE.EFI"


@pytest.fixture(scope="session")
def loader(tmp_path_factory):
	return Loader(tmp_path_factory.mktemp("loader"))


@pytest.fixture
def start(work):
	"""start(file, ...): a machine whose EFI system partition has this file as its boot loader."""
	machines = []

	def from_file(file, image=False, watch=True, **options):
		boot = work / "esp" / "EFI" / "BOOT"
		boot.mkdir(parents=True)
		shutil.copy(file, boot / "BOOTX64.EFI")
		source = {"efi": work / "esp"}
		if image:
			source = {"image": work / "fat.img"}
			with open(work / "fat.img", "wb") as disk:
				disk.truncate(4 * MIB)
			run("mformat", "-i", work / "fat.img", "::")
			run("mcopy", "-s", "-i", work / "fat.img", work / "esp/EFI", "::")
		machines.append(Machine(work / "machine", firmware="uefi", watch=watch, **source, **options))
		return machines[-1]

	yield from_file
	for machine in machines:
		machine.kill()


class HandOver:
	"""What the probe said."""

	def __init__(self, output):
		assert "\ndone\n" in output, output[-3000:]
		said = output[output.rindex("magic="):]
		self.values = {name: int(value, 16) for name, value in re.findall(r"^(\w+)=([0-9a-f]{16})$", said, re.M)}
		self.ranges = [tuple(int(word, 16) for word in words)
			for words in re.findall(r"^range (\w+) (\w+) (\w+)$", said, re.M)]
		self.arguments = re.search(r"^arguments:(.*)$", said, re.M)[1]

	def __getattr__(self, name):
		return self.values[name]

	def ram(self, start, end):
		return any(base <= start and base + size >= end for base, size, kind in self.ranges if kind == RAM)

	def total(self):
		return sum(size for _, size, kind in self.ranges if kind == RAM)

	@property
	def screen(self):
		return self.width, self.height, self.bits

	def check(self, mode, program, kind):
		"""What include/boot_info.h promises, whatever the machine and the loader."""
		assert (self.magic, self.version, chr(self.mode)) == (0x746F676E, 1, mode)
		assert (self.program_bytes, self.program_kind) == (len(program), kind)
		if program:
			assert self.program_sum == rotated_sum(program)
			assert self.program % 4096 == 0 and 2 * MIB <= self.program <= 4 * GIB - len(program)
			assert self.ram(self.program, self.program + len(program))
		assert self.cs == 8 and self.flags & 0x600 == 0, "interrupts and direction flag are off"
		assert self.cr0 & 0xE0010001 == 0x80000001, "paging on, caches on, nothing write-protected"
		assert self.cr4 == 0x20 and self.efer & 0x500 == 0x500
		assert not [name for name in self.values if name.startswith(("unmapped", "not_ram"))], self.values
		assert 0 < self.tsc_start < self.tsc
		assert self.ram(MIB, 2 * MIB)
		assert 0 < len(self.ranges) <= 128


def rotated_sum(data):
	total = 0
	for byte in data:
		total = ((total << 1 | total >> 63) + byte) & (1 << 64) - 1
	return total


def check(output, program=PROGRAM, kind=1):
	told = HandOver(output)
	told.check("U", program, kind)
	assert told.rsdp_text == int.from_bytes(b"RSD PTR ", "little")
	for name in ("info", "cr3", "rsp"):
		assert 2 * MIB <= told.values[name] < 4 * GIB, name
	assert told.ranges == sorted(told.ranges)
	for (base, size, kind), (after, _, after_kind) in zip(told.ranges, told.ranges[1:]):
		assert base + size <= after
		assert base + size < after or kind != after_kind, "neighbours of one type are one range"
	for name in ("program", "info", "cr3"):
		assert told.ram(told.values[name], told.values[name] + 4096)
	return told


def boot_probe(machine):
	"""Runs the probe to its end; QEMU has nothing to complain about from its first instruction on."""
	output = machine.finish()
	assert not machine.guest_errors()
	return output


# ---- OVMF as it is ----

def test_least_memory_and_no_screen(loader, start):
	told = check(boot_probe(start(loader.file, memory="64M")))
	assert told.framebuffer == 0 and told.screen == (0, 0, 0)
	assert told.total() > 48 * MIB
	assert told.arguments == ""


def test_fat_image_and_screen(loader, start):
	told = check(boot_probe(start(loader.file, image=True, display=True)))
	assert told.framebuffer and told.screen == (1024, 768, 32) and told.pitch >= 1024
	assert told.total() > 235 * MIB


def test_memory_above_4_gib(loader, start):
	told = check(boot_probe(start(loader.file, memory="6G", display=True)))
	assert told.ram(4 * GIB, 8 * GIB) and told.total() > 6 * GIB - 32 * MIB


def test_frame_buffer_in_memory(loader, start):
	told = check(boot_probe(start(loader.file, args=["-device", "ramfb"])))
	assert told.screen == (1024, 768, 32)
	assert not told.ram(told.framebuffer, told.framebuffer + 4096)


def test_pixels(loader, start):
	"""The probe paints the first pixel red and all others blue."""
	machine = start(loader.file, display=True, args=["-no-shutdown"])
	machine.expect("^done$")
	width, height, pixels = machine.screenshot()
	assert (width, height) == (1024, 768)
	assert pixels == b"\xFF\0\0" + b"\0\0\xFF" * (width * height - 1)


def test_payload_clang(tmp_path, start):
	loader = Loader(tmp_path, compiler="clang", program=PROGRAM[:4096], kind="payload")
	check(boot_probe(start(loader.file)), PROGRAM[:4096], kind=2)


def test_no_program(tmp_path, start):
	loader = Loader(tmp_path, program=b"")
	assert check(boot_probe(start(loader.file)), b"", kind=0).program == 0


# ---- Other firmware ----

def test_native_mode_stale_key_map_in_pieces(loader, start, tmp_path):
	file = loader.inside(EDID | STALE | PIECES | OPTIONS, tmp_path, WIDTH=1280, HEIGHT=800,
		OPTIONS_TEXT='u"ip=10.0.2.15 verbose"')
	told = check(boot_probe(start(file, display=True)))
	assert told.screen == (1280, 800, 32)
	assert told.arguments == "ip=10.0.2.15 verbose"
	assert told.total() > 235 * MIB, "nothing is lost"
	assert len(told.ranges) < 100, "pieces become one"


def test_unknown_mode_5_levels_and_loader_in_the_kernels_place(loader, start, tmp_path):
	file = loader.inside(EDID | LEVELS | LOADER_LOW | NO_CONSOLE | BINARY_OPTIONS, tmp_path, WIDTH=1234, HEIGHT=567)
	output = boot_probe(start(file, display=True, cpu="max,la57=on"))
	told = check(output)
	assert MIB <= int(re.search(r"^loader=(\w+)$", output, re.M)[1], 16) < 2 * MIB
	assert "5 levels" in output
	assert told.screen == (1024, 768, 32)
	assert told.arguments == ""


def test_tables_and_loader_above_4_gib(loader, start, tmp_path):
	output = boot_probe(start(loader.inside(HIGH_ACPI | LOADER_HIGH, tmp_path), memory="6G"))
	told = check(output)
	assert int(re.search(r"^loader=(\w+)$", output, re.M)[1], 16) >= 4 * GIB
	assert told.rsdp == 5 * GIB
	assert (5 * GIB, 4096, ACPI) in told.ranges


def test_too_many_ranges_other_pixels_old_acpi(loader, start, tmp_path):
	file = loader.inside(HOLES | SWAPPED | OLD_ACPI | OPTIONS, tmp_path, OPTIONS_TEXT=f'u"{"x" * 300}"')
	told = check(boot_probe(start(file, display=True)))
	assert len(told.ranges) == 128
	assert told.total() > 235 * MIB, "what is lost is small"
	assert told.framebuffer == 0
	assert told.arguments == "x" * 255


# ---- What is refused: a sentence, and back to the firmware with everything freed ----

def refused(machine, sentence, times):
	output = machine.finish()
	assert "magic=" not in output
	# On the console, which OVMF shows on the serial line, and on the serial line itself.
	assert output.count(f"\nIngot: {sentence}.") == 2 * times, output[-3000:]
	status = [int(value, 16) for value in re.findall(r"^status=(\w+)$", output, re.M)]
	assert len(status) == times and all(value >> 63 for value in status)
	before, after = (int(value, 16) for value in re.findall(r"^free=(\w+)$", output, re.M))
	return before - after


def test_damaged(loader, start, tmp_path):
	"""A bit in anything that is embedded: the header, kernel and program, and what fills them up."""
	content, embedded = loader.file.read_bytes(), (loader.folder / "embedded.bin").read_bytes()
	at = content.index(embedded)
	assert content.count(embedded) == 1
	kernel = loader.probe.stat().st_size
	offsets = [0, 4, 8, 12, 16, 16 + kernel - 1, 16 + kernel, len(embedded) // 2, len(embedded) - 1]
	file = loader.inside(DAMAGE, tmp_path, DAMAGED=",".join(str(at + offset) for offset in offsets))
	refused(start(file, watch=False), "the boot image is damaged", len(offsets))


def test_place_of_the_kernel_taken(loader, start, tmp_path):
	lost = refused(start(loader.inside(KERNEL_TAKEN, tmp_path), watch=False),
		"the firmware uses memory between 1 and 2 MiB, where the kernel goes", 20)
	assert lost < 20


def test_no_memory(loader, start, tmp_path):
	assert refused(start(loader.inside(NO_MEMORY, tmp_path), watch=False), "too little memory", 20) < 20


def test_no_execute_disable(loader, start, tmp_path):
	assert refused(start(loader.inside(0, tmp_path), watch=False, cpu="max,-nx"),
		"execute disable (NX, XD) is missing, or off in the firmware's setup", 1) < 20


def test_firmware_does_not_let_go(loader, start, tmp_path):
	"""After the first attempt the console may not be used any more: the sentence is on the serial line alone."""
	output = start(loader.inside(STUCK, tmp_path), watch=False).finish()
	assert output.count("\nIngot: the firmware doesn't let go.") == 1
	assert re.search(r"^status=8", output, re.M)


def test_kernel_too_large_for_its_place(tmp_path):
	(tmp_path / "kernel").write_bytes(bytes(MIB + 1))
	(tmp_path / "kind").write_text("program")
	result = subprocess.run([ROOT / "boot-efi/embed.py", tmp_path / "kernel", tmp_path / "kind", tmp_path / "kind",
		tmp_path / "out"], stderr=subprocess.PIPE, text=True, check=False)
	assert result.returncode and "1048576 fit" in result.stderr
