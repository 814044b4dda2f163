#!/usr/bin/python3
"""size.py BUILD [--symbols]: what each source file adds to the kernel, from the linker's map and the symbol table.

All bytes are those in memory, code and constants; kernel.bin holds them packed.
A string that several files share is stored once and counted for the first of them.
"""
import re
import sys
from collections import defaultdict
from pathlib import Path

from elftools.elf.elffile import ELFFile

IN_IMAGE = (".head", ".text", ".rodata")
OUTPUT_SECTION = re.compile(r"^(\.\S+)(?:\s|$)")
PIECE = re.compile(r"^ (\.\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+(\S.*)$")
OBJECT = re.compile(r"kernel\.elf\.p/(.*)\.o$")


def source_of(name):
	"""kernel.elf.p/net_virtio_net.c.o -> net/virtio_net.c: Meson makes an underscore of a slash."""
	match = OBJECT.search(name)
	if not match:
		return name
	for folder in ("core", "boot-pvh", "bus", "net", "storage", "hid", "video"):
		if match[1].startswith(folder + "_"):
			return f"{folder}/{match[1][len(folder) + 1:]}"
	return match[1]


def pieces(map_file):
	"""(address, bytes, source) of the input sections that reached kernel.bin."""
	text = map_file.read_text()
	text = text[text.index("Linker script and memory map"):]
	text = re.sub(r"^( \.\S+)\n\s+(?=0x)", r"\1 ", text, flags=re.M)	# long names have a line of their own
	found, output = [], None
	for line in text.splitlines():
		if (match := OUTPUT_SECTION.match(line)):
			output = match[1]
		elif (match := PIECE.match(line)) and output in IN_IMAGE:
			found.append((int(match[2], 16), int(match[3], 16), source_of(match[4])))
	# Where equal strings were merged the map names too large a size.
	ends = [start for start, _, _ in found[1:]] + [1 << 64]
	return [(start, min(size, end - start) if end >= start else size, source) for (start, size, source), end in zip(found, ends)]


def table(found, packed_bytes):
	files, folders = defaultdict(int), defaultdict(int)
	for _, size, source in found:
		files[source] += size
		folders[source.split("/")[0]] += size
	lines = []
	for folder in sorted(folders, key=folders.get, reverse=True):
		lines.append(f"{folders[folder]:7}  {folder}/")
		for name in sorted((n for n in files if n.startswith(folder + "/")), key=files.get, reverse=True):
			lines.append(f"{files[name]:15}  {name.split('/')[1]}")
	lines.append(f"{sum(files.values()):7}  code and constants")
	lines.append(f"{packed_bytes:7}  kernel.bin, packed")
	return lines


def symbols(elf_file, found):
	"""(bytes, name, source) of every function and constant that has a name."""
	ranges = [(start, start + size, source) for start, size, source in found]
	with open(elf_file, "rb") as file:
		rows = set()
		for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols():
			start, size = symbol["st_value"], symbol["st_size"]
			source = next((s for low, high, s in ranges if low <= start < high), None)
			if size and source:
				rows.add((size, symbol.name, source))
	return sorted(rows, key=lambda row: (-row[0], row[1]))


def main(args):
	if not args:
		sys.exit(__doc__)
	build = Path(args[0])
	found = pieces(build / "kernel.map")
	print("\n".join(table(found, (build / "kernel.bin").stat().st_size)))
	if "--symbols" in args:
		print("\nThe functions and constants in it:")
		for size, name, source in symbols(build / "kernel.elf", found):
			print(f"{size:7}  {name:32} {source}")


if __name__ == "__main__":
	main(sys.argv[1:])
