#!/usr/bin/python3
"""Volumes of BMFS 1, the flat file system of BareMetal's disks (docs/abi.md).

  bmfs.py format [--size MIB] [--force] VOLUME [FILE...]   makes a volume (a file or a disk), with these files in it
  bmfs.py add VOLUME FILE...            adds files; one of the same name is replaced
  bmfs.py get VOLUME [NAME...] [-o TO]  reads files out (all of them): to a folder, or one to a file
  bmfs.py remove VOLUME NAME...
  bmfs.py list VOLUME

FILE is a file, under its own name, or NAME=FILE. With --at BYTES the volume begins so far into VOLUME; without it at
its beginning, or 128 MiB behind that as on BareMetal's hybrid disks.
"""
import argparse
import os
import struct
import sys
from pathlib import Path

BLOCK = 2 << 20
SECTOR = 4096
MARK_AT = 1024
MARK = b"BMFS"
DIRECTORY_AT = 4096
RECORD = struct.Struct("<32sQQQ8x")	# name, first block, blocks reserved, bytes
RECORDS = 64
HYBRID = 128 << 20
BLANK = 128 << 10	# so much of what is formatted is looked at: a file system would have begun
END, FREE = 0, 1			# first byte of a name: nothing follows; this record is not in use


class Error(Exception):
	pass


class Volume:
	"""Blocks 0 and the last are reserved; a file lies in blocks behind each other."""

	def __init__(self, path, at=None):
		self.file = open(path, "r+b")
		self.path = path
		for self.at in (0, HYBRID) if at is None else (at,):
			if self.get(MARK_AT, len(MARK)) == MARK:
				break
		else:
			raise Error(f"{path}: no BMFS volume begins at byte {at or 0}")
		self.count()

	def count(self):
		self.blocks = (self.file.seek(0, os.SEEK_END) - self.at) // BLOCK
		if self.blocks < 3:
			raise Error(f"{self.path}: {max(self.blocks, 0)} blocks of 2 MiB are too few: at least 3")

	def get(self, offset, count):
		self.file.seek(self.at + offset)
		return self.file.read(count)

	def put(self, offset, data):
		self.file.seek(self.at + offset)
		self.file.write(data)

	def records(self):
		"""(slot, name, first block, blocks, bytes) of each file; what lies outside the volume is an error."""
		table = self.get(DIRECTORY_AT, RECORD.size * RECORDS)
		for slot in range(RECORDS):
			name, first, blocks, size = RECORD.unpack_from(table, slot * RECORD.size)
			if name[0] == END:
				return
			if name[0] == FREE:
				continue
			text = name.split(b"\0")[0].decode("ascii", "replace")
			if first < 1 or first + blocks > self.blocks - 1 or size > blocks * BLOCK:
				raise Error(f"the record of {text} points outside the volume")
			yield slot, text, first, blocks, size

	def find(self, name):
		for record in self.records():
			if record[1] == name:
				return record
		raise Error(f"{name}: not on this volume")

	def remove(self, name):
		slot = self.find(name)[0]
		self.put(DIRECTORY_AT + slot * RECORD.size, bytes([FREE]) + bytes(RECORD.size - 1))

	def room(self, blocks, name):
		"""The first gap that is large enough; if there is none, what the file of this name leaves counts, too."""
		files = sorted(self.records(), key=lambda record: record[2])
		for kept in files, [record for record in files if record[1] != name]:
			first = 1
			for _, _, start, count, _ in kept:
				if start - first >= blocks:
					break
				first = max(first, start + count)
			if first + blocks <= self.blocks - 1:
				return first
		raise Error(f"{name}: no room for {blocks} blocks of 2 MiB behind each other")

	def slot(self):
		table = self.get(DIRECTORY_AT, RECORD.size * RECORDS)
		for slot in range(RECORDS):
			if table[slot * RECORD.size] in (END, FREE):
				return slot, table[slot * RECORD.size] == END
		raise Error(f"the directory is full: {RECORDS} files")

	def add(self, name, data):
		encoded = name.encode("ascii", "strict") if name.isascii() else b""
		if not 0 < len(encoded) < 32 or encoded[0] in (END, FREE):
			raise Error(f"{name}: a name has 1 to 31 ASCII characters")
		blocks = max(1, -(-len(data) // BLOCK))
		first = self.room(blocks, name)
		if any(record[1] == name for record in self.records()):
			self.remove(name)
		slot, last = self.slot()
		self.put(first * BLOCK, data + bytes(-len(data) % SECTOR))	# what lies behind is nobody's
		if last and slot + 1 < RECORDS:		# the end moves on
			self.put(DIRECTORY_AT + (slot + 1) * RECORD.size, bytes([END]))
		self.put(DIRECTORY_AT + slot * RECORD.size, RECORD.pack(encoded, first, blocks, len(data)))

	def read(self, name):
		_, _, first, _, size = self.find(name)
		return self.get(first * BLOCK, size)


def format_volume(path, at, mebibytes, force, files):
	"""A new file that can't be filled goes away again."""
	new = not os.path.exists(path)
	try:
		with open(path, "w+b" if new else "r+b") as file:
			size = file.seek(0, os.SEEK_END)
			file.seek(at)
			if file.read(BLANK).strip(b"\0") and not force:
				raise Error(f"{path}: there is something at byte {at} already; --force overwrites it")
			if os.path.isfile(path):
				if not at:	# the same files make the same bytes
					file.truncate(0)
				file.truncate(max(at + (mebibytes << 20), size))
			file.seek(at)
			file.write(bytes(DIRECTORY_AT + RECORD.size * RECORDS))
			file.seek(at + MARK_AT)
			file.write(MARK)
		add_files(Volume(path, at), files)
	except BaseException:
		if new:
			Path(path).unlink(missing_ok=True)
		raise


def add_files(volume, files):
	"""All are read before the first is written."""
	contents = []
	for file in files:
		name, is_named, path = file.partition("=")
		path = Path(path if is_named else file)
		contents.append((name if is_named else path.name, path.read_bytes()))
	for name, data in contents:
		volume.add(name, data)


def get_files(volume, names, to):
	if len(names) == 1 and to and not Path(to).is_dir():
		Path(to).write_bytes(volume.read(names[0]))
		return
	names = names or [record[1] for record in volume.records()]
	for name in names:
		if Path(name).name != name:
			raise Error(f"{name}: not a file's name here; -o FILE gives it another")
		(Path(to or ".") / name).write_bytes(volume.read(name))


def main():
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
	parser.add_argument("--at", type=int, metavar="BYTES")
	commands = parser.add_subparsers(dest="command", required=True)
	for name, what, number in (("format", "FILE", "*"), ("add", "FILE", "+"), ("get", "NAME", "*"),
			("remove", "NAME", "+"), ("list", None, None)):
		command = commands.add_parser(name)
		command.add_argument("volume", metavar="VOLUME")
		if what:
			command.add_argument("names", nargs=number, metavar=what)
		if name == "format":
			command.add_argument("--size", type=int, default=64, metavar="MIB")
			command.add_argument("--force", action="store_true", help="overwrite what is there")
		if name == "get":
			command.add_argument("-o", dest="to", metavar="TO")
	args = parser.parse_args()
	try:
		if args.command == "format":
			format_volume(args.volume, args.at or 0, args.size, args.force, args.names)
			return
		volume = Volume(args.volume, args.at)
		if args.command == "add":
			add_files(volume, args.names)
		elif args.command == "get":
			get_files(volume, args.names, args.to)
		elif args.command == "remove":
			for name in args.names:
				volume.find(name)	# all or none
			for name in args.names:
				volume.remove(name)
		else:
			for _, name, first, blocks, size in volume.records():
				print(f"{name:<32} {size:>12} bytes, {blocks} blocks from {first}")
	except (Error, OSError) as error:
		sys.exit(f"bmfs.py: {error}")


if __name__ == "__main__":
	main()
