"""The native interface: what a version promises the next, devices in a program's hands, and the build systems."""
import os
import re
import shutil
import struct
import subprocess

import pytest

from conftest import ROOT, run
from test_devices import IDE_LINE, passed

FROZEN = ROOT / "tests" / "qemu" / "programs" / "ingot_v1.h"
DEVICES = "qemu_pc"		# a configuration with CORE_NATIVE_DEVICES


# ---- Versions ----

def test_old_program(boot, disk, images):
	"""A program of version 1 runs as it did, on a kernel with the later functions and on one without."""
	for config in ("virtio_cloud", DEVICES):
		machine = boot(config, program=images.own("old"), firmware="pvh", cores=2, append="one two", nets=[{}],
			disks=[{"file": disk(8, 0x5A)}])
		passed(machine, "old")


def test_append_only(work):
	"""Today's structures begin with those of version 1, and its numbers mean the same."""
	text = FROZEN.read_text()
	numbers = re.findall(r"\b(INGOT_[A-Z0-9_]+)(?: = -?\d+,| -?\d+$| = \d )", text, re.M)
	checks = [f"_Static_assert({name} == {name.replace('INGOT_', 'V1_')}, \"{name}\");"
		for name in numbers if name != "INGOT_API_VERSION"]
	for tag, body in re.findall(r"^struct (ingot_\w+) \{\n(.*?)^\};", text, re.M | re.S):
		old = tag.replace("ingot_", "v1_")
		names = re.findall(r"^[\w\s*]+\(\*(\w+)\)\(", body, re.M)
		names += re.findall(r"\b(\w+)(?:\[\d+\])?[;,]", re.sub(r"\(.*\)", "", body))
		assert names, tag
		checks += [f"_Static_assert(offsetof(struct {tag}, {name}) == offsetof(struct {old}, {name}) && "
			f"sizeof(((struct {tag} *)0)->{name}) == sizeof(((struct {old} *)0)->{name}), \"{tag}.{name}\");"
			for name in names]
	for name in ("INGOT_ENOTSUP", "INGOT_DISCARD", "ingot_frame.phys", "ingot_api.shutdown"):
		assert f'"{name}"' in "".join(checks)
	(work / "v1.h").write_text(re.sub(r"\bingot_", "v1_", text).replace("INGOT_", "V1_").replace("*ingot ", "*v1 "))
	(work / "both.c").write_text('#include <ingot.h>\n#include "v1.h"\n' + "\n".join(checks) + "\n")
	run("gcc", "-std=c11", "-fsyntax-only", "-I", ROOT / "api", work / "both.c")


def test_newer_program(boot, images):
	"""One that needs what is not there yet is refused with a sentence: by the kernel, a flat one by its own start."""
	machine = boot(program=images.own("needs"), firmware="pvh")
	machine.expect("program: it needs a newer kernel")
	flat = boot(program=images.own("needs", flat=True), firmware="pvh")
	flat.expect("This program needs a newer kernel")
	assert "entered" not in machine.output + flat.output


@pytest.mark.parametrize("what, says", [
	("another machine", "not a static ELF64 program for x86-64"), ("entry", "its entry is in no executable segment"),
	("over the kernel", "a segment is not in program memory"), ("cut short", "the file is cut short"),
])
def test_refused(boot, images, work, what, says):
	"""The kernel survives what is no program for it, and says why."""
	content = bytearray(images.program("hello", "elf").read_bytes())
	headers, = struct.unpack_from("<Q", content, 32)
	if what == "another machine":
		struct.pack_into("<H", content, 18, 183)
	elif what == "entry":
		struct.pack_into("<Q", content, 24, 0x100010)
	elif what == "over the kernel":
		struct.pack_into("<Q", content, headers + 16, 0x100000)
	else:
		offset, = struct.unpack_from("<Q", content, headers + 8)
		del content[offset + 16:]
	(work / "wrong.elf").write_bytes(content)
	machine = boot(program=work / "wrong.elf", firmware="pvh")
	machine.expect(f"program: {says}")
	assert "Hello" not in machine.output


# ---- The interface ----

def test_native(boot, disk, images):
	"""Cores that sleep and wake, claims, releases, and a drive that changes hands twenty times."""
	machine = boot(DEVICES, program=images.own("native"), firmware="pvh", cores=4, nets=[{"options": "vectors=3"}, {}],
		disks=[{"file": disk(8, 0x5A)}])
	output = passed(machine, "native")
	assert output.count("virtio: virtio-blk: disk0") == 21


@pytest.mark.parametrize("config, machine, nets, disks, args, swaps", [
	("intel_1g_nvme", "q35", ["e1000e"], ["nvme,serial=1", "nvme,serial=2"],
		["-device", "qemu-xhci", "-device", "usb-kbd"], 12),
	("vmware", "q35", ["e1000", "e1000e"], ["ide-hd,bus=ide.0"], [], 9),
	(DEVICES, "pc", ["virtio-net-pci", "virtio-net-pci"], ["virtio-blk-pci"], [], 9),
])
def test_swap(boot, disk, images, config, machine, nets, disks, args, swaps):
	"""Drivers lose their devices and get them back, as often as one likes."""
	machine = boot(config, program=images.own("swap"), firmware="pvh", machine=machine, cores=2, args=args,
		nets=[{"device": device} for device in nets], allowed=IDE_LINE,
		disks=[{"file": disk(8, 0x5A), "device": device} for device in disks])
	assert f"swap: {swaps} times" in passed(machine, "swap")


HEADERS = sorted(path.name for path in (ROOT / "api").glob("*.h"))


@pytest.mark.parametrize("compiler", ["gcc -x c -std=c11", "g++ -x c++ -std=c++17", "clang -x c -std=c11",
	"clang++ -x c++ -std=c++17"])
@pytest.mark.parametrize("header", HEADERS)
def test_header(work, compiler, header):
	"""Each header by itself, twice, in both languages, and all that it defines is used."""
	text = (ROOT / "api" / header).read_text()
	functions = re.findall(r"^static inline [\w\s*]*?\b(\w+)\(", text, re.M)
	assert functions
	lines = [f"#include <{header}>"] * 2 + ["typedef void (*any)(void);", "extern const any all[];",
		"const any all[] = {", *(f"\t(any){name}," for name in functions), "};"]
	(work / "use.c").write_text("\n".join(lines) + "\n")
	warnings = ["-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wno-cast-function-type", "-Werror"]
	run(*compiler.split(), *warnings, "-ffreestanding", "-I", ROOT / "api", "-c", work / "use.c", "-o", work / "use.o")


# ---- Examples, built by others' build systems ----

def build_example(images, work, name):
	"""With the example's own build file and what pkg-config tells of the build folder."""
	environment = {**os.environ, "PKG_CONFIG_PATH": str(images.folder(DEVICES))}
	source, out = ROOT / "examples" / name, work / "out"
	for command in ([["meson", "setup", out, source], ["ninja", "-C", out]] if (source / "meson.build").exists() else
			[["cmake", "-S", source, "-B", out], ["cmake", "--build", out]]):
		done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
			check=False)
		assert done.returncode == 0 and "warning:" not in done.stdout, done.stdout
	return out / f"{name}.elf"


def test_edu(boot, images, work):
	"""Meson, C: factorials, DMA there and back, MSI; a kernel without claims says so."""
	program = build_example(images, work, "edu")
	output = passed(boot(DEVICES, program=program, firmware="pvh", cores=2, args=["-device", "edu"]), "edu")
	assert "12 factorials" in output and "2048 bytes there and back" in output
	refused = boot("virtio_cloud", program=program, firmware="pvh", args=["-device", "edu"])
	refused.expect("edu: FAIL: this kernel was configured without CORE_NATIVE_DEVICES")


@pytest.mark.parametrize("options", ["", ",vectors=0"])
def test_rng(boot, images, work, options):
	"""CMake, C++: the bytes that the host gives to the second of two devices come to the program; MSI-X, INTx."""
	program = build_example(images, work, "rng")
	numbers = os.urandom(96)
	(work / "numbers").write_bytes(numbers)
	output = passed(boot(DEVICES, program=program, firmware="pvh", machine="pc", args=["-object",
		f"rng-random,id=r,filename={work}/numbers", "-device", f"virtio-rng-pci,rng=r{options}"]), "rng")
	assert "".join(re.findall(r"^rng: ([0-9a-f]{64})\r?$", output, re.M)) == numbers.hex()


def test_pkg_config(images, work):
	"""One line, as README has it, with pkg-config's answer; clang, too."""
	environment = {**os.environ, "PKG_CONFIG_PATH": str(images.folder(DEVICES))}
	for compiler in ("gcc", "clang -fuse-ld=lld"):
		elf = work / "hello.elf"
		command = f"{compiler} -O2 -Wall -Werror {ROOT}/programs/hello.c $(pkg-config --cflags --libs ingot) -o {elf}"
		subprocess.run(command, shell=True, env=environment, check=True)
		assert elf.read_bytes()[24:32] == b"\0\0\0\0\0\x80\xff\xff"
		shutil.move(elf, work / "done.elf")
