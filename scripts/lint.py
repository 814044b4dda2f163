#!/usr/bin/python3
"""What the compiler doesn't check: who may include whom, and the habits of the house.

lint.py [FILE...]      all files of the tree without arguments; exit status 1 if anything is wrong
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 120
TAB = 4
SCREEN = 70	# lines of a function, from which on it is worth a second look

# Headers of include/ by the layer that may see them (the others are for all of the kernel).
BUS_HEADERS = {"pci.h", "usb.h", "virtio.h"}
CLASS_HEADERS = {"net.h": "net", "blk.h": "storage", "input.h": "hid", "display.h": "video"}
KERNEL = ["core", "bus", "net", "storage", "hid", "video"]
LOADERS = ["boot-bios", "boot-efi", "boot-pvh"]
CLASS_FILES = {"net/net.c", "storage/blk.c", "hid/input.c", "video/text.c"}
FREESTANDING = {"stdint.h", "stddef.h", "stdbool.h", "stdarg.h"}
# What a loader sees besides boot_info.h: GNU-EFI; the structure that a hypervisor hands over.
FOREIGN = {"boot-efi": {"efi.h", "efilib.h", "elf.h"}, "boot-pvh": {"pvh.h", "util.h"}}
GENERATED = {"font.h"}	# in the build folder

SOURCE = {".c", ".h", ".S", ".cpp"}
CHECKED = SOURCE | {".py", ".ld", ".build", ".sh"}
VENDORS = re.compile(r"0x(8086|1af4|10ec|1b36|1234|15ad|1022|10de|14e4|1d0f|1b21|144d|15b3)\b", re.I)
BARE_WAIT = re.compile(r"\bwhile\s*\((?P<what>.*\b(?:mmio|pio)_read\d+\(.*)\)\s*(?P<rest>;|\{\s*\}|)\s*(//.*)?$")
REGISTERS = re.compile(r"^(PCI_DRIVER|VIRTIO_DRIVER|USB_DRIVER)")

problems = []
notes = []


def problem(path, line, text):
	problems.append(f"{path}:{line}: {text}")


def may_include(path, folder, header):
	"""None, or why `path` may not include <header>."""
	if folder == "include":
		return None
	if header in FREESTANDING:
		return None
	if folder in LOADERS:
		if header == "boot_info.h" or header in FOREIGN.get(folder, ()):
			return None
		return "a loader sees boot_info.h alone"
	if folder == "programs" or folder == "api":
		return None if (ROOT / "api" / header).exists() or not (ROOT / "include" / header).exists() else \
			"programs see api/ alone"
	if not (ROOT / "include" / header).exists() and header not in ("autoconf.h", "ingot.h"):
		return "not in include/"
	if header in BUS_HEADERS and (folder == "core" or str(path) in CLASS_FILES):
		return "core and class layers know no bus"
	owner = CLASS_HEADERS.get(header)
	if owner and folder != owner:
		return f"{folder} knows no {owner}"
	return None


def check_includes(path, folder, lines):
	if folder not in KERNEL + LOADERS + ["programs", "api", "include"]:
		return
	for number, line in enumerate(lines, 1):
		found = re.match(r"\s*#\s*include(?:_next)?\s*([<\"])([^>\"]+)[>\"]", line)
		if not found:
			continue
		kind, header = found.groups()
		if ".." in Path(header).parts:
			problem(path, number, f'"{header}" leaves its folder')
		elif kind == '"':
			if header not in GENERATED and not (ROOT / path.parent / header).exists():
				problem(path, number, f'"{header}" is not in {path.parent}')
		else:
			why = may_include(path, folder, header)
			if why:
				problem(path, number, f"<{header}>: {why}")


def code_of(line):
	return line.split("//")[0]


def check_source(path, folder, lines):
	driver = any(REGISTERS.match(line) for line in lines)
	start = None
	for number, line in enumerate(lines, 1):
		code = code_of(line)
		if folder in KERNEL:
			if not driver and VENDORS.search(code) and not str(path).startswith("bus/virtio"):
				problem(path, number, "a vendor id outside a driver")
			wait = BARE_WAIT.search(code.rstrip())
			if wait and "&&" not in wait["what"] and not has_bound(lines, number, wait["rest"]):
				problem(path, number, "a wait without a bound")
		if path.suffix not in (".c", ".cpp"):
			continue
		if line == "{":
			start = number
		elif line.startswith("}") and start:
			if number - start > SCREEN:
				notes.append(f"{path}:{start}: a function of {number - start} lines")
			start = None
		elif start and re.match(r"\s*#\s*(if|ifdef|ifndef)\b", line) and folder in KERNEL:
			problem(path, number, "#if inside a function: use if (CONFIG_ON(...))")


def has_bound(lines, number, rest):
	"""A body that asks the clock, counts or leaves is a bound; an empty one is none."""
	if rest:
		return False
	body = " ".join(map(code_of, lines[number:number + 4]))
	return re.search(r"time_passed|return|break|--|\+\+|goto", body) is not None


def check_text(path, lines, text):
	if text and not text.endswith("\n"):
		problem(path, len(lines), "no newline at the end")
	if text.endswith("\n\n"):
		problem(path, len(lines), "blank lines at the end")
	for number, line in enumerate(lines, 1):
		if line != line.rstrip():
			problem(path, number, "blanks at the end of the line")
		if len(line.expandtabs(TAB)) > WIDTH:
			problem(path, number, f"{len(line.expandtabs(TAB))} columns, more than {WIDTH}")
		if path.name != "lint.py" and re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
			problem(path, number, "unfinished: do it or leave it out")
		if path.suffix in SOURCE and re.match(r" {4,}(?! *\*)\S", line):
			problem(path, number, "indented with blanks")


def check_file(path):
	try:
		text = (ROOT / path).read_text()
	except UnicodeDecodeError:
		return
	lines = text.splitlines()
	folder = path.parts[0]
	script = "." not in path.name and interpreter(ROOT / path)
	if path.suffix in CHECKED or script or path.name.startswith("Kconfig"):
		check_text(path, lines, text)
	if path.suffix in SOURCE:
		check_includes(path, folder, lines)
		check_source(path, folder, lines)


def interpreter(path):
	"""Of a script: "sh", "python3"; empty for other files."""
	with open(path, "rb") as file:
		first = file.readline(80)
	return first.decode(errors="replace").split("/")[-1].split()[-1] if first.startswith(b"#!") else ""


def all_files():
	"""What git knows or would take; everything where there is no git, or no repository."""
	listed = None
	if shutil.which("git"):
		listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
			capture_output=True, text=True)
	if listed and listed.returncode == 0:
		names = [Path(name) for name in listed.stdout.split("\0") if name]
	else:
		names = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
	return [name for name in names if (ROOT / name).is_file() and not {"build", ".git"} & set(name.parts[:-1])]


def main():
	given = [Path(name).resolve().relative_to(ROOT) for name in sys.argv[1:]]
	for path in sorted(given or all_files()):
		check_file(path)
	for line in notes:
		print(f"note: {line}")
	for line in problems:
		print(line)
	return 1 if problems else 0


if __name__ == "__main__":
	sys.exit(main())
