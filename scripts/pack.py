#!/usr/bin/python3
"""Packs the kernel: pack.py KERNEL.ELF -o kernel.bin [--mix MIXPACK]

kernel.bin is a head of two words (its own bytes, those of what it unpacks to) and a raw LZMA stream of the kernel's
image, whose instructions have been split into streams as core/split.c wants them.  The result is unpacked again here
and compared before it is written.

With --mix it is what core/mix.c unpacks: the image's bytes in their order, numbers highest byte first, and what is
relative in calls and to RIP made an address; the program MIXPACK (scripts/mixpack.c) codes and unpacks them.
"""
import argparse
import lzma
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

HEAD = struct.Struct('<2I')
FILTERS = [{
	'id': lzma.FILTER_LZMA1, 'preset': 9 | lzma.PRESET_EXTREME, 'lc': 2, 'lp': 0, 'pb': 0,
	'mf': lzma.MF_BT2, 'nice_len': 48, 'depth': 1000,	# by trying
}]
ROOM = 0x28000		# for the image, and for what it is split into: core/unpack.h
PACKED_ROOM = 0xE000	# for kernel.bin behind the unpacker, to 2 MiB
BASE = 0x100000		# where it lies
PAGE = 4096
EXECUTE = 1		# PF_X

# core/split.c
PLAIN, RIP, CALL, DISP32, IMM32, JUMP32, DISP8, IMM8, JUMP8, SIB, CODE = range(11)
STREAMS = CODE + 1
MIX_HEAD = struct.Struct('<I3H2B')
SPLIT_HEAD = struct.Struct(f'<{3 + STREAMS}I')
PREFIXES = 4
LONGEST = 32

ROWS = re.findall(r'"([A-Za-z.]{16})"', (Path(__file__).parent.parent / 'core/x86.h').read_text(encoding='ascii'))
OPCODES = ''.join(ROWS[:16]), ''.join(ROWS[16:])


class Splitter:
	"""Takes the instructions of an image apart, or puts them together: `streams` are filled, or emptied."""

	def __init__(self, image, streams, joining):
		self.image, self.streams, self.joining = image, streams, joining
		self.at = 0
		self.taken = [0] * STREAMS

	def bytes(self, stream, count, reverse=True):
		if self.joining:
			data = self.streams[stream][self.taken[stream]:self.taken[stream] + count]
			self.taken[stream] += count
			self.image += data[::-1] if reverse else data
		else:
			data = self.image[self.at:self.at + count]
			self.streams[stream] += data[::-1] if reverse else data
		self.at += count

	def byte(self, stream):
		self.bytes(stream, 1)
		return self.image[self.at - 1]

	def address(self, modrm):
		"""SIB byte and displacement."""
		mod, base = modrm >> 6, modrm & 7
		if mod == 3:
			return
		if mod == 0 and base == 5:
			self.bytes(RIP, 4)
			return
		if base == 4:
			base = self.byte(SIB) & 7
		if mod == 1:
			self.bytes(DISP8, 1)
		elif mod == 2 or base == 5:
			self.bytes(DISP32, 4)

	def immediate(self, shape, modrm, size, wide):
		if shape in 'TU' and modrm >> 3 & 6:
			return
		if shape in 'bBT':
			self.bytes(IMM8, 1)
		elif shape == 'w':
			self.bytes(IMM32, 2)
		elif shape in 'vzZU':
			self.bytes(IMM32, 8 if shape == 'v' and wide else size)
		elif shape in 'jlc':
			self.bytes({'j': JUMP8, 'l': JUMP32, 'c': CALL}[shape], 1 if shape == 'j' else 4)

	def instruction(self):
		size, wide, modrm, relative, shapes = 4, False, 0, None, OPCODES[0]
		op = self.byte(CODE)
		for _ in range(PREFIXES):
			if shapes[op] != 'p':
				break
			if op == 0x66:
				size = 2
			op = self.byte(CODE)
		if shapes[op] == 'r':
			wide = bool(op & 8)
			op = self.byte(CODE)
		if shapes[op] == 'e':
			shapes = OPCODES[1]
			op = self.byte(CODE)
		shape = shapes[op]
		if shape.isupper():
			modrm = self.byte(CODE)
			if modrm & 0xC7 == 5:
				relative = self.at
			self.address(modrm)
		if shape == 'c':
			relative = self.at
		self.immediate(shape, modrm, size, wide)
		return relative


def relocate(image, at, base):
	value, = struct.unpack_from('<I', image, at)
	struct.pack_into('<I', image, at, value + base & 0xFFFFFFFF)


def absolute(image, code, code_end, base):
	"""The image with all that is relative made absolute; the code begins at `base` + `code`."""
	image = bytearray(image)
	finder = Splitter(image, [bytearray() for _ in range(STREAMS)], False)
	finder.at = code
	relative = []
	while finder.at < code_end:
		at = finder.instruction()
		if at is not None:
			relative.append((at, finder.at))
	for at, end in relative:
		relocate(image, at, end + base)
	return image


def split(image, code, code_end):
	"""What core/split.c joins."""
	streams = [bytearray() for _ in range(STREAMS)]
	image = absolute(image, code, code_end - LONGEST + 1, 0)
	splitter = Splitter(image, streams, False)
	splitter.bytes(PLAIN, code, False)
	while splitter.at + LONGEST <= code_end:
		splitter.instruction()
	splitter.bytes(PLAIN, len(image) - splitter.at, False)
	return SPLIT_HEAD.pack(len(image), code, code_end, *map(len, streams)) + b''.join(streams)


def join(data):
	size, code, code_end, *lengths = SPLIT_HEAD.unpack_from(data)
	streams, at = [], SPLIT_HEAD.size
	for length in lengths:
		streams.append(data[at:at + length])
		at += length
	joiner = Splitter(bytearray(), streams, True)
	joiner.bytes(PLAIN, code, False)
	while joiner.at + LONGEST <= code_end:
		relative = joiner.instruction()
		if relative is not None:
			relocate(joiner.image, relative, -joiner.at)
	joiner.bytes(PLAIN, size - joiner.at, False)
	return bytes(joiner.image)


def pack(image, code, code_end):
	data = split(image, code, code_end)
	stream = lzma.compress(data, format=lzma.FORMAT_RAW, filters=FILTERS)
	return HEAD.pack(HEAD.size + len(stream), len(data)) + stream


def without_zeros(image, start, end):
	"""Where it ends, zeros behind it apart."""
	while end > start and not image[end - 1]:
		end -= 1
	return end


def mix(mixpack, image, code, code_end):
	"""kernel.bin for core/mix.c.  Constants begin at the first page behind the code that has something in it."""
	constants = code_end + PAGE - 1 & -PAGE
	constants_end = max(without_zeros(image, 0, len(image)), constants)
	while constants + PAGE <= constants_end and not any(image[constants:constants + PAGE]):
		constants += PAGE
	head_end, code_end = without_zeros(image, 0, code), without_zeros(image, code, code_end)
	coded = bytearray(image[constants:constants_end])
	walker = Splitter(absolute(image, code, code_end, BASE), [coded] * STREAMS, False)
	walker.at = code
	while walker.at < code_end:
		walker.instruction()
	coded += image[:head_end]
	with tempfile.TemporaryDirectory() as folder:
		parts, packed, unpacked = (Path(folder) / name for name in ('parts', 'packed', 'unpacked'))
		parts.write_bytes(MIX_HEAD.pack(0, head_end, code_end - code, constants_end - constants, code // PAGE,
			constants // PAGE) + coded)
		subprocess.run([mixpack, parts, packed, unpacked], check=True)
		return packed.read_bytes(), unpacked.read_bytes()


def unpack(packed):
	return join(lzma.decompress(packed[HEAD.size:], format=lzma.FORMAT_RAW, filters=FILTERS))


def read(path):
	"""The image of an ELF file as it lies in memory, and where in it there is code."""
	image, code, code_end = bytearray(), 0, 0
	with open(path, 'rb') as file:
		segments = [s for s in ELFFile(file).iter_segments() if s['p_type'] == 'PT_LOAD' and s['p_filesz']]
		for segment in segments:
			at = segment['p_paddr'] - segments[0]['p_paddr']
			image += bytes(at - len(image)) + segment.data()
			if segment['p_flags'] & EXECUTE:
				code, code_end = at, len(image)
	return bytes(image), code, code_end


def main():
	options = argparse.ArgumentParser(description='Packs the kernel.')
	options.add_argument('kernel', help='kernel.elf')
	options.add_argument('-o', '--output', required=True)
	options.add_argument('--mix', metavar='MIXPACK', help='pack by context mixing, with this program')
	args = options.parse_args()
	image, code, code_end = read(args.kernel)
	if args.mix:
		packed, unpacked = mix(args.mix, image, code, code_end)
		unpacked += bytes(len(image) - len(unpacked))
	else:
		packed = pack(image, code, code_end)
		unpacked = unpack(packed)
	if unpacked != image:
		sys.exit('pack.py: unpacked it is not what it was')
	if len(image) + SPLIT_HEAD.size > ROOM:
		sys.exit(f'pack.py: the kernel has {len(image)} bytes, more than fit')
	if len(packed) > PACKED_ROOM:
		sys.exit(f'pack.py: the packed kernel has {len(packed)} bytes, more than fit')
	with open(args.output, 'wb') as file:
		file.write(packed)


if __name__ == '__main__':
	main()
