"""The drivers' match tables: which devices each option of Kconfig is for.  Used by kconfig.py and guessconfig.py.

Every source file that registers a driver is compiled, with all options on, and the tables are read from the object
file: struct driver and struct dev_id of include/driver.h are the only list of ids.
"""
import os
import re
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("core", "boot-pvh", "bus", "net", "storage", "hid", "video")
REGISTERS = re.compile(r"^(?:PCI|VIRTIO|USB)_DRIVER", re.M)
RULE = re.compile(r"kernel_ss\.add\(when: \[?([^\])]*?)\]?, if_true: \[?files\(([^)]*)\)")
FLAGS = ["-c", "-O1", "-w", "-std=gnu11", "-ffreestanding", "-fno-pic", "-mgeneral-regs-only", "-mcmodel=small",
	"-DINGOT_KERNEL"]
ANY = 0xFFFF
ROW = struct.Struct("<4H2IQ")	# struct dev_id
ID_COUNT_AT, IDS_AT = 16, 8	# in struct driver, whose name comes first


class DriversError(Exception):
	pass


class Row(NamedTuple):
	vendor: int
	device: int
	subvendor: int
	subdevice: int
	class_code: int
	class_mask: int
	quirks: int

	def __str__(self):
		words = []
		if self.vendor != ANY:
			words.append(f"{self.vendor:04x}:" + ("*" if self.device == ANY else f"{self.device:04x}"))
		if self.subvendor != ANY:
			words.append(f"subsystem {self.subvendor:04x}:{self.subdevice:04x}")
		if self.class_mask:
			digits = f"{self.class_mask:06x}".rstrip("0")
			words.append(f"class {self.class_code:06x}"[:6 + len(digits)])
		return " ".join(words)


class Driver(NamedTuple):
	name: str
	bus: str	# "pci", "virtio", "usb"
	priority: str
	option: str	# that brings it
	rows: list


class Device(NamedTuple):
	"""What a row is compared with; an id that isn't known is None and matches nothing but a wildcard."""
	vendor: int
	device: int
	class_code: int
	subvendor: int = None
	subdevice: int = None
	class_known: int = 0xFFFFFF	# its bits that are


def rank(row, device):
	"""core/registry.c's row_rank(): how specific a row is that matches, 0 if it doesn't."""
	result = 1
	for wanted, actual in zip(row[3::-1], (device.subdevice, device.subvendor, device.device, device.vendor)):
		result *= 2
		if wanted == ANY:
			continue
		if wanted != actual:
			return 0
		result += 1
	if (row.class_code ^ device.class_code) & row.class_mask & device.class_known:
		return 0
	return result << 24 | row.class_mask


def match(drivers, bus, device):
	"""The driver that the kernel would offer the device first, or None."""
	best, found = 0, None
	for driver in sorted((d for d in drivers if d.bus == bus), key=lambda d: (d.priority, d.name)):
		for row in driver.rows:
			if (here := rank(row, device)) > best:
				best, found = here, driver
	return found


# ---- Sources ----

def rules(external=()):
	"""(option, source) of every file that an option brings, from the folders' meson.build and the outside lists."""
	found = []
	for folder in FOLDERS:
		for options, files in RULE.findall((ROOT / folder / "meson.build").read_text()):
			option = re.findall(r"CONFIG_(\w+)", options)[-1]
			found += [(option, ROOT / folder / name) for name in re.findall(r"[^']+\.[cS]", files)]
	return found + [(option, path) for folder in external for _, option, path in folder.sources]


def sources(external=()):
	"""Of these the ones that register drivers."""
	return [(option, path) for option, path in rules(external)
		if path.suffix == ".c" and REGISTERS.search(path.read_text())]


def compile_source(path, folder):
	target = folder / f"{path.stem}.o"
	includes = [f"-I{place}" for place in (folder, ROOT / "include", ROOT / "api")]
	command = [os.environ.get("CC", "gcc"), *FLAGS, *includes, path, "-o", target]
	result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
	if result.returncode:
		raise DriversError(f"{path} doesn't compile, so that its table of devices can't be read:\n{result.stderr}")
	return target


class Object:
	"""An object file with its pointers resolved to (section, offset)."""

	def __init__(self, path):
		with open(path, "rb") as file:
			elf = ELFFile(file)
			self.names = [section.name for section in elf.iter_sections()]
			self.data = [b"" if section["sh_type"] == "SHT_NOBITS" else section.data()
				for section in elf.iter_sections()]
			symbols = [(s["st_shndx"], s["st_value"]) for s in elf.get_section_by_name(".symtab").iter_symbols()]
			self.pointers = {}
			for section in elf.iter_sections():
				if section["sh_type"] != "SHT_RELA":
					continue
				for entry in section.iter_relocations():
					home, value = symbols[entry["r_info_sym"]]
					if isinstance(home, int):
						self.pointers[section["sh_info"], entry["r_offset"]] = (home, value + entry["r_addend"])

	def text(self, place):
		data = self.data[place[0]]
		return data[place[1]:data.index(b"\0", place[1])].decode()

	def rows(self, driver):
		section, offset = driver
		count, = struct.unpack_from("<I", self.data[section], offset + ID_COUNT_AT)
		home, start = self.pointers[section, offset + IDS_AT]
		return [Row(*ROW.unpack_from(self.data[home], start + ROW.size * number)) for number in range(count)]

	def drivers(self, option):
		for index, name in enumerate(self.names):
			found = re.fullmatch(r"\.drivers\.(pci|virtio|usb)\.(\d+)\.\w+", name)
			if found:
				place = self.pointers[index, 0]
				yield Driver(self.text(self.pointers[place]), found[1], found[2], option, self.rows(place))


def read(kconf, external=()):
	"""All drivers, those of the folders outside the tree included."""
	found = []
	with tempfile.TemporaryDirectory(prefix="ingot-drivers-") as name:
		folder = Path(name)
		(folder / "autoconf.h").write_text("".join(f"#define CONFIG_{sym.name} "
			f"{1 if sym.str_value in ('y', 'n') else sym.str_value or 0}\n" for sym in kconf.unique_defined_syms))
		for option, path in sources(external):
			found += Object(compile_source(path, folder)).drivers(option)
	return found
