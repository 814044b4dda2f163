#!/usr/bin/python3
"""size.py BUILD [--symbols]: what each source file adds to the kernel.

Code belongs to the file that the debug information names, also where the compiler has inlined it elsewhere; inline
functions of headers belong to their users, strings to the first that refers to them.  All bytes are those in memory;
kernel.bin holds them packed.
"""
import os
import struct
import sys
from bisect import bisect_right
from collections import defaultdict
from pathlib import Path

from elftools.elf.elffile import ELFFile

import external

ROOT = Path(__file__).resolve().parent.parent
IN_IMAGE = (".head", ".text", ".rodata")
OTHERS = "shared"	# what nothing claims: the linker's alignment, strings that only others' strings lead to


class Image:
	"""The bytes of the kernel that lie in kernel.bin, and for each the source that it comes from."""

	def __init__(self, elf):
		self.sections = [(s["sh_addr"], s.data()) for s in map(elf.get_section_by_name, IN_IMAGE) if s]
		self.sections.sort()
		self.starts = [start for start, _ in self.sections]
		self.owners = [[None] * len(data) for _, data in self.sections]

	def place(self, address):
		index = bisect_right(self.starts, address) - 1
		if index >= 0 and address - self.starts[index] < len(self.owners[index]):
			return index, address - self.starts[index]
		return None

	def claim(self, address, size, source):
		if (place := self.place(address)):
			owners, offset = self.owners[place[0]], place[1]
			for at in range(offset, min(offset + size, len(owners))):
				owners[at] = owners[at] or source

	def owner(self, address):
		place = self.place(address)
		return self.owners[place[0]][place[1]] if place else None

	def claim_strings(self):
		"""Addresses are 32 bits wide, in code and in tables."""
		for (_, data), owners in zip(self.sections, self.owners):
			for offset in range(len(data) - 3):
				if not owners[offset]:
					continue
				address, = struct.unpack_from("<I", data, offset)
				if (place := self.place(address)) and not self.owners[place[0]][place[1]]:
					end = self.sections[place[0]][1].find(b"\0", place[1])
					self.claim(address, end + 1 - place[1], owners[offset])

	def totals(self):
		count = defaultdict(int)
		for owners in self.owners:
			for source in owners:
				count[source or OTHERS] += 1
		return count


def outside(build):
	"""The folders with drivers from outside, by the path of each: their names."""
	memory = build / "generated" / "external.folders"
	paths = memory.read_text().split("\n") if memory.exists() else []
	return {path: external.Folder(Path(path)).name for path in paths if path}


def shown(path, folders):
	"""A source by its place in the tree, or in the folder that it is from."""
	for folder, name in folders.items():
		if path.startswith(folder + "/"):
			return name + path[len(folder):]
	return os.path.relpath(path, ROOT)


def source_names(program, directory, outsiders):
	"""The files of a line number program, as shown() has them; None for headers."""
	folders = program["include_directory"]
	five = program["version"] >= 5
	names = {}
	for index, entry in enumerate(program["file_entry"], 0 if five else 1):
		folder = folders[entry.dir_index - (0 if five else 1)].decode() if five or entry.dir_index else ""
		path = shown(os.path.realpath(os.path.join(directory, folder, entry.name.decode())), outsiders)
		names[index] = path if path.endswith((".c", ".S")) else None
	return names


def claim_code(image, dwarf, folders):
	for unit in dwarf.iter_CUs():
		program = dwarf.line_program_for_CU(unit)
		if not program:
			continue
		top = unit.get_top_DIE().attributes
		directory = top["DW_AT_comp_dir"].value.decode() if "DW_AT_comp_dir" in top else ""
		names = source_names(program, directory, folders)
		last, source = None, None
		for entry in program.get_entries():
			state = entry.state
			if not state:
				continue
			if last is not None and source:
				image.claim(last, state.address - last, source)
			last = None if state.end_sequence else state.address
			source = None if state.end_sequence else names.get(state.file) or source


def object_source(name, folders):
	for path, folder in folders.items():
		mangled = path.replace("/", "_") + "_"
		if name.startswith(mangled):
			return f"{folder}/{name.removeprefix(mangled)}"
	return name.replace("_", "/", 1)


def object_sources(build, folders):
	"""Which source defines a constant, by its name, from the object files (Meson makes an underscore of a slash)."""
	found = {}
	for path in sorted((build / "kernel.elf.p").glob("*.o")):
		source = object_source(path.name.removesuffix(".o"), folders)
		with open(path, "rb") as file:
			table = ELFFile(file).get_section_by_name(".symtab")
			for symbol in table.iter_symbols() if table else ():
				if symbol["st_size"] and symbol["st_shndx"] != "SHN_UNDEF":
					found.setdefault(symbol.name, source)
	return found


def symbols(elf):
	for symbol in elf.get_section_by_name(".symtab").iter_symbols():
		if symbol["st_size"] and symbol["st_info"]["type"] in ("STT_FUNC", "STT_OBJECT"):
			yield symbol


def read(build):
	"""The image, and (bytes, name, source) of every function and constant that has a name."""
	with open(build / "kernel.elf", "rb") as file:
		elf = ELFFile(file)
		folders = outside(build)
		image, homes, rows = Image(elf), object_sources(build, folders), set()
		claim_code(image, elf.get_dwarf_info(), folders)
		for symbol in symbols(elf):
			home = homes.get(symbol.name) or homes.get(symbol.name.split(".")[0])
			if home:
				image.claim(symbol["st_value"], symbol["st_size"], home)
		image.claim_strings()
		for symbol in symbols(elf):
			if image.place(symbol["st_value"]):
				rows.add((symbol["st_size"], symbol.name, image.owner(symbol["st_value"]) or OTHERS))
	return image, sorted(rows, key=lambda row: (-row[0], row[1]))


def table(files, packed_bytes):
	folders = defaultdict(int)
	for name, size in files.items():
		folders[name.split("/")[0]] += size
	lines = []
	for folder in sorted(folders, key=lambda name: (name == OTHERS, -folders[name])):
		lines.append(f"{folders[folder]:7}  {folder}" + ("/" if folder != OTHERS else ""))
		for name in sorted((n for n in files if n.startswith(folder + "/")), key=files.get, reverse=True):
			lines.append(f"{files[name]:15}  {name.split('/', 1)[1]}")
	lines.append(f"{sum(files.values()):7}  code and constants")
	lines.append(f"{packed_bytes:7}  kernel.bin, packed")
	return lines


def main(args):
	if not args:
		sys.exit(__doc__)
	build = Path(args[0])
	image, rows = read(build)
	print("\n".join(table(image.totals(), (build / "kernel.bin").stat().st_size)))
	if "--symbols" in args:
		print("\nThe functions and constants in it:")
		for size, name, source in rows:
			print(f"{size:7}  {name:32} {source}")


if __name__ == "__main__":
	main(sys.argv[1:])
