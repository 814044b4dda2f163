#!/usr/bin/python3
"""size.py BUILD [--all] [BASE]: what each folder and file adds to the kernel, and what has changed.

--all: packed, with the options and the drivers' memory, and every function and constant.  Compared with the build
before this one, or with that of the build folder BASE.

Code belongs to the file that the debug information names, also where the compiler has inlined it elsewhere (with link
time optimization the linker's map knows a single object); inline functions of headers belong to their users, strings
to the first that refers to them.  Bytes are those in memory; kernel.bin holds them packed, and "packed" is what it
would be shorter without a file's bytes.  "static" is the file's writable memory.  A driver's memory comes from boots
(ram.py).
"""
import hashlib
import json
import lzma
import os
import struct
import sys
from bisect import bisect_right
from collections import defaultdict
from pathlib import Path

from elftools.elf.elffile import ELFFile

import drivers
import external
import ram

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
	"""The folders that sources are in, by path: the names of those with drivers from outside, "" for the tree."""
	memory = build / "generated" / "external.folders"
	paths = memory.read_text().split("\n") if memory.exists() else []
	names = {path: external.Folder(Path(path)).name for path in paths if path}
	meson = json.loads((build / "meson-info" / "meson-info.json").read_text())
	return {**names, meson["directories"]["source"]: ""}	# a build to compare with may be of another tree


def shown(path, folders):
	"""A source by its place in the tree, or in the folder that it is from."""
	for folder, name in folders.items():
		if path.startswith(folder + "/"):
			return (name + path[len(folder):]).lstrip("/")
	return os.path.basename(path)


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
		if folder and name.startswith(mangled):
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
	"""The image, (bytes, name, source) of every function and constant that has a name, and static bytes by source."""
	with open(build / "kernel.elf", "rb") as file:
		elf = ELFFile(file)
		folders = outside(build)
		image, homes, rows = Image(elf), object_sources(build, folders), set()
		static = defaultdict(int)
		claim_code(image, elf.get_dwarf_info(), folders)
		for symbol in symbols(elf):
			home = homes.get(symbol.name) or homes.get(symbol.name.split(".")[0])
			if home:
				image.claim(symbol["st_value"], symbol["st_size"], home)
			if not image.place(symbol["st_value"]):
				static[home or OTHERS] += symbol["st_size"]
		image.claim_strings()
		for symbol in symbols(elf):
			if image.place(symbol["st_value"]):
				rows.add((symbol["st_size"], symbol.name, image.owner(symbol["st_value"]) or OTHERS))
	return image, sorted(rows, key=lambda row: (-row[0], row[1])), static


def packed_shares(image, packed_bytes):
	"""For each source: what kernel.bin would be shorter without it, all together as long as kernel.bin."""
	filters = [{"id": lzma.FILTER_LZMA1, "preset": 9, "lc": 0, "pb": 0}]

	def packed(without):
		kept = (byte for (_, data), owners in zip(image.sections, image.owners)
			for byte, owner in zip(data, owners) if (owner or OTHERS) != without)
		return len(lzma.compress(bytes(kept), lzma.FORMAT_RAW, filters=filters))

	whole = packed(None)
	shares = {source: whole - packed(source) for source in image.totals()}
	return {source: round(share * packed_bytes / sum(shares.values())) for source, share in shares.items()}


# ---- The build before ----

def remember(build, now):
	"""The sizes of the build before this one, or None; DIR/sizes.json has this one's, until the kernel is another."""
	current, previous = build / "sizes.json", build / "sizes.previous.json"
	known = load(current)
	if known and known["kernel"] != now["kernel"]:
		current.replace(previous)
	if not known or known["kernel"] != now["kernel"]:
		current.write_text(json.dumps(now))
	return load(previous)


def load(path):
	try:
		return json.loads(path.read_text())
	except (OSError, ValueError):
		return None


def summary(build):
	"""What is compared, and what is shown of it."""
	image, rows, static = read(build)
	kernel = (build / "kernel.bin").read_bytes()
	return image, {"kernel": hashlib.sha256(kernel).hexdigest(), "packed": len(kernel), "files": dict(image.totals()),
		"static": static, "symbols": {f"{name} {source}": size for size, name, source in rows}}


# ---- Tables ----

class Table:
	"""Without shares the short form: bytes and what has changed."""

	def __init__(self, now, before, shares):
		self.now, self.before, self.shares = now, before, shares
		self.names = sorted({*now["files"], *(before["files"] if before else ())})

	def size(self, name):
		return self.now["files"].get(name, 0)

	def columns(self, bytes_text, packed, static, difference):
		more = f"{packed:>8}{static:>8}" if self.shares else ""
		return f"{bytes_text:>8}{more}{difference:>8}"

	def numbers(self, names):
		size = sum(map(self.size, names))
		old = sum(self.before["files"].get(name, 0) for name in names) if self.before else size
		return self.columns(size, sum(self.shares.get(name, 0) for name in names),
			sum(self.now["static"].get(name, 0) for name in names) or "", f"{size - old:+}" if size != old else "")

	def lines(self):
		folders = defaultdict(list)
		for name in self.names:
			folders[name.split("/")[0]].append(name)
		yield self.columns("bytes", "packed", "static", "change")
		for folder in sorted(folders, key=lambda name: (name == OTHERS, -sum(map(self.size, folders[name])))):
			yield f"{self.numbers(folders[folder])}  {folder if folder == OTHERS else folder + '/'}"
			if folder != OTHERS:
				yield from (f"{self.numbers([name])}      {name.split('/', 1)[-1]}"
					for name in sorted(folders[folder], key=self.size, reverse=True))
		yield f"{self.numbers(self.names)}  code and constants"
		packed = self.now["packed"]
		difference = packed - self.before["packed"] if self.before else 0
		yield f"{self.columns(packed, '', '', f'{difference:+}' if difference else '')}  kernel.bin, packed"


def option_lines(table, build, folders):
	"""Each option that brings files, with the memory of its device."""
	memory = ram.measure(build)
	kib = memory[1] if isinstance(memory, tuple) else {}
	found = defaultdict(list)
	for option, path in drivers.rules([external.Folder(Path(path)) for path, name in folders.items() if name]):
		if (name := shown(str(path), {**folders, str(drivers.ROOT): ""})) in table.names:
			found[option].append(name)
	yield f"\n{table.columns('bytes', 'packed', 'static', 'change')}{'RAM':>10}  options that bring files"
	for option in sorted(found, key=lambda name: -sum(map(table.size, found[name]))):
		device = f"{kib[option]} KiB" if option in kib else ""
		yield f"{table.numbers(found[option])}{device:>10}  {option}"
	yield "RAM: of one device, with one core, in QEMU" if kib else f"RAM: {memory}"


def symbol_lines(now, before):
	if before:
		names = {*now["symbols"], *before["symbols"]}
		changed = {name: now["symbols"].get(name, 0) - before["symbols"].get(name, 0) for name in names}
		changed = {name: by for name, by in changed.items() if by}
		yield "\nWhat has changed:" if changed else "\nNo function or constant has another size than before."
		for name in sorted(changed, key=lambda name: (-abs(changed[name]), name)):
			note = "new" if name not in before["symbols"] else "gone" if name not in now["symbols"] else ""
			yield f"{changed[name]:+8}  {name.split(' ')[0]:32} {name.split(' ', 1)[1]:24} {note}".rstrip()
	yield "\nThe functions and constants in it:"
	for name, size in now["symbols"].items():
		yield f"{size:8}  {name.split(' ')[0]:32} {name.split(' ', 1)[1]}"


def main(args):
	everything = "--all" in args
	places = [Path(word) for word in args if word and word != "--all"]
	if len(places) not in (1, 2):
		sys.exit(__doc__)
	build = places[0]
	image, now = summary(build)
	before = remember(build, now)
	if places[1:]:
		base = Path(os.environ.get("HERE", ".")) / places[1]
		if not (base / "kernel.elf").exists():
			sys.exit(f"error: BASE={places[1]}: there is no kernel.elf in it")
		before = summary(base)[1]
	table = Table(now, before, packed_shares(image, now["packed"]) if everything else {})
	lines = [*table.lines()]
	if everything:
		lines += [*option_lines(table, build, outside(build)), *symbol_lines(now, before)]
	print("\n".join(lines))


if __name__ == "__main__":
	main(sys.argv[1:])
