#!/usr/bin/python3
"""Volumes of BMFS 1, the flat file system of BareMetal's disks (docs/abi.md).

  bmfs.py format [--size MIB] VOLUME [FILE...]   makes a volume (a file or a disk), with these files in it
  bmfs.py add VOLUME FILE...                     adds files under their own names; one of the same name is replaced
  bmfs.py get VOLUME NAME [-o FILE]              reads one out
  bmfs.py remove VOLUME NAME...
  bmfs.py list VOLUME

With --at BYTES the volume begins so far into the file: 134217728 on a hybrid disk of BareMetal's.
"""
import argparse
import os
import struct
import sys
from pathlib import Path

BLOCK = 2 << 20
MARK_AT = 1024
MARK = b"BMFS"
DIRECTORY_AT = 4096
RECORD = struct.Struct("<32sQQQ8x")	# name, first block, blocks reserved, bytes
RECORDS = 64
END, FREE = 0, 1			# first byte of a name: nothing follows; this record is not in use


class Error(Exception):
	pass


class Volume:
	"""Blocks 0 and the last are reserved; a file lies in blocks behind each other."""

	def __init__(self, path, at=0, size=None):
		self.file = open(path, "w+b" if size and not os.path.exists(path) else "r+b")
		self.at = at
		if size:
			self.file.truncate(max(at + size, os.stat(path).st_size))
		self.blocks = (self.file.seek(0, os.SEEK_END) - at) // BLOCK
		if self.blocks < 3:
			raise Error(f"{path}: {max(self.blocks, 0)} blocks of 2 MiB are too few: at least 3")
		if size:
			self.put(MARK_AT, MARK)
			self.put(DIRECTORY_AT, bytes(RECORD.size * RECORDS))
		if self.get(MARK_AT, len(MARK)) != MARK:
			raise Error(f"{path}: no BMFS volume begins at byte {at}")

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

	def room(self, blocks):
		"""The first gap that is large enough."""
		first = 1
		for _, _, start, count, _ in sorted(self.records(), key=lambda record: record[2]):
			if start - first >= blocks:
				break
			first = max(first, start + count)
		if first + blocks > self.blocks - 1:
			raise Error(f"no room for {blocks} blocks of 2 MiB behind each other")
		return first

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
		if any(record[1] == name for record in self.records()):
			self.remove(name)
		blocks = max(1, -(-len(data) // BLOCK))
		first = self.room(blocks)
		slot, last = self.slot()
		self.put(first * BLOCK, data + bytes(blocks * BLOCK - len(data)))
		if last and slot + 1 < RECORDS:		# the end moves on
			self.put(DIRECTORY_AT + (slot + 1) * RECORD.size, bytes([END]))
		self.put(DIRECTORY_AT + slot * RECORD.size, RECORD.pack(encoded, first, blocks, len(data)))

	def read(self, name):
		_, _, first, _, size = self.find(name)
		return self.get(first * BLOCK, size)


def main():
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
	parser.add_argument("--at", type=int, default=0, metavar="BYTES")
	commands = parser.add_subparsers(dest="command", required=True)
	for name, files in (("format", "*"), ("add", "+"), ("get", None), ("remove", "+"), ("list", None)):
		command = commands.add_parser(name)
		command.add_argument("volume")
		if files:
			command.add_argument("files", nargs=files, metavar="NAME" if name == "remove" else "FILE")
		if name == "format":
			command.add_argument("--size", type=int, default=64, metavar="MIB")
		if name == "get":
			command.add_argument("name")
			command.add_argument("-o", dest="output")
	args = parser.parse_args()
	try:
		volume = Volume(args.volume, args.at, args.size << 20 if args.command == "format" else None)
		if args.command in ("format", "add"):
			for file in args.files:
				volume.add(Path(file).name, Path(file).read_bytes())
		elif args.command == "remove":
			for name in args.files:
				volume.remove(name)
		elif args.command == "get":
			Path(args.output or args.name).write_bytes(volume.read(args.name))
		else:
			for _, name, first, blocks, size in volume.records():
				print(f"{name:<32} {size:>12} bytes, {blocks} blocks from {first}")
	except (Error, OSError) as error:
		sys.exit(f"bmfs.py: {error}")


if __name__ == "__main__":
	main()
