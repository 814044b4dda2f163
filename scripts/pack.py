#!/usr/bin/python3
"""Packs the kernel's flat image: pack.py STUB IMAGE -o kernel.bin

STUB is core/unpack.S as a flat binary; the image follows it in the format NRV2B of the UCL library, its calls made
absolute so that they repeat themselves.  What to copy from where is chosen here with all costs in view, which makes
3% less of it than the library does.  The result is unpacked again and compared before it is written.
"""
import argparse
import struct
import sys

WORDS_AT = 4		# in the stub: the size of kernel.bin, that of the image, the tag of calls
CALL = 0xE8
FAR = 0xD00		# a copy from farther away is one byte longer than its code says
LONGEST = 2000
TRIES = 400		# places looked at for each position
STATES = 3		# ways kept for each position, by the last offset
END = 0xFFFFFFFF	# as an offset less 1


# ---- Calls -------------------------------------------------------------------------------------------------------

def calls(data, tag, image_bytes, pack):
	"""The target of each call as tag and place in the image, highest byte first, or back: what the stub does."""
	out = bytearray(data)
	at = out.find(CALL)
	while 0 <= at < len(out) - 4:
		if pack:
			target = at + 5 + struct.unpack_from('<i', out, at + 1)[0]
		else:
			target = (struct.unpack_from('>I', out, at + 1)[0] - tag) & 0xFFFFFFFF
		if 0 <= target < image_bytes:
			if pack:
				struct.pack_into('>I', out, at + 1, target + tag)
			else:
				struct.pack_into('<i', out, at + 1, target - at - 5)
			at += 4
		at = out.find(CALL, at + 1)
	return bytes(out)


def absolute(image):
	"""With a tag that nothing has which only looks like a call: there is one among 256."""
	for tag in range(0, 1 << 32, 1 << 24):
		data = calls(image, tag, len(image), True)
		if calls(data, tag, len(image), False) == image:
			return data, tag
	sys.exit('pack.py: every tag of calls is taken')


# ---- NRV2B -------------------------------------------------------------------------------------------------------

def gamma_bits(value):
	return 2 * (value.bit_length() - 1)


OFFSET_BITS = [9 + gamma_bits(high + 3) for high in range(1024)]	# by (offset - 1) / 256, the flag counted
LENGTH_BITS = [0, 2, 2, 2] + [2 + gamma_bits(length - 2) for length in range(4, LONGEST + 2)]
SAME_BITS = 1 + gamma_bits(2)


def matches(data):
	"""For each position: lengths and offsets of copies, each longer and from farther away than the one before."""
	found, last, before = [], {}, []
	for at in range(len(data)):
		room, best, here = min(LONGEST, len(data) - at), 1, []
		other, tries = last.get(data[at:at + 2], -1), TRIES
		last[data[at:at + 2]] = at
		before.append(other)
		while other >= 0 and tries and best < room:
			if data[other + best] == data[at + best]:
				length = 2
				while length < room and data[other + length] == data[at + length]:
					length += 1
				if length > best:
					best = length
					here.append((length, at - other))
			other, tries = before[other], tries - 1
		found.append(here)
	return found


def lengths(least, most):
	return range(least, most + 1) if most - least < 40 else [*range(least, least + 32), most]


def parse(data):
	"""The cheapest sequence of steps: (0, 0) for a literal, else length and offset of a copy."""
	found = matches(data)
	ways = [{} for _ in range(len(data) + 1)]	# by last offset: cost, position and last offset before, step
	ways[0][1] = (0, None)

	def offer(at, offset, cost, back):
		known = ways[at].get(offset)
		if known is None or cost < known[0]:
			ways[at][offset] = (cost, back)

	for at, here in enumerate(found):
		kept = dict(sorted(ways[at].items(), key=lambda way: way[1][0])[:STATES])
		ways[at] = kept
		cheapest = min(kept, key=lambda offset: kept[offset][0])
		for last, (cost, _) in kept.items():
			offer(at + 1, last, cost + 9, (at, last, 0, 0))
			length, room = 0, min(LONGEST, len(data) - at) if at >= last else 0
			while length < room and data[at + length - last] == data[at + length]:
				length += 1
			for taken in lengths(2 + (last > FAR), length):
				bits = SAME_BITS + LENGTH_BITS[taken - 1 - (last > FAR)]
				offer(at + taken, last, cost + bits, (at, last, taken, last))
		longest = 1
		for length, offset in here:
			base = kept[cheapest][0] + OFFSET_BITS[offset - 1 >> 8]
			for taken in lengths(max(2 + (offset > FAR), longest + 1), length):
				bits = LENGTH_BITS[taken - 1 - (offset > FAR)]
				offer(at + taken, offset, base + bits, (at, cheapest, taken, offset))
			longest = length
	steps, at = [], len(data)
	last = min(ways[at], key=lambda offset: ways[at][offset][0])
	while at:
		at, last, length, offset = ways[at][last][1]
		steps.append((length, offset))
	return reversed(steps)


class Writer:
	def __init__(self):
		self.bytes, self.mask, self.at = bytearray(), 0, 0

	def bit(self, value):
		if not self.mask:
			self.mask, self.at = 0x80, len(self.bytes)
			self.bytes.append(0)
		if value:
			self.bytes[self.at] |= self.mask
		self.mask >>= 1

	def gamma(self, value):
		for place in range(value.bit_length() - 2, -1, -1):
			self.bit(value >> place & 1)
			self.bit(place == 0)

	def offset(self, value):
		self.bit(0)
		self.gamma((value - 1 >> 8) + 3)
		self.bytes.append(value - 1 & 0xFF)

	def length(self, value):
		if value > 3:
			self.bit(0)
			self.bit(0)
			self.gamma(value - 2)
		else:
			self.bit(value >> 1)
			self.bit(value & 1)


def pack(data):
	out, at, last = Writer(), 0, 1
	for length, offset in parse(data):
		if not length:
			out.bit(1)
			out.bytes.append(data[at])
			at += 1
			continue
		if offset == last:
			out.bit(0)
			out.gamma(2)
		else:
			out.offset(offset)
		out.length(length - 1 - (offset > FAR))
		at, last = at + length, offset
	out.offset(END + 1)
	return bytes(out.bytes)


def unpack(packed):
	at, bits, mask = 0, 0, 0
	out, last = bytearray(), 1

	def bit():
		nonlocal at, bits, mask
		if not mask:
			bits, mask, at = packed[at], 0x80, at + 1
		value = int(bits & mask != 0)
		mask >>= 1
		return value

	def gamma(value):
		while True:
			value = 2 * value + bit()
			if bit():
				return value

	while True:
		while bit():
			out.append(packed[at])
			at += 1
		high = gamma(1)
		if high != 2:
			last = (high - 3 << 8 | packed[at]) + 1
			at += 1
			if last == END + 1:
				return bytes(out)
		length = 2 * bit() + bit() or gamma(1) + 2
		for _ in range(length + 1 + (last > FAR)):
			out.append(out[-last])


def main():
	parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
	parser.add_argument('stub')
	parser.add_argument('image')
	parser.add_argument('-o', dest='output', required=True)
	args = parser.parse_args()
	with open(args.stub, 'rb') as file:
		stub = file.read()
	with open(args.image, 'rb') as file:
		image = file.read()
	data, tag = absolute(image)
	packed = pack(data)
	if calls(unpack(packed), tag, len(image), False) != image:
		sys.exit('pack.py: the packed image does not unpack to itself')
	words = struct.pack('<III', len(stub) + len(packed), len(image), tag)
	with open(args.output, 'wb') as file:
		file.write(stub[:WORDS_AT] + words + stub[WORDS_AT + len(words):] + packed)


if __name__ == '__main__':
	main()
