#!/usr/bin/python3
"""Packs the kernel's flat image: pack.py STUB IMAGE -o kernel.bin

STUB is core/unpack.S as a flat binary; the image follows it in UCL's format NRV2B, its calls made absolute so that
they repeat themselves.  The result is unpacked again and compared before it is written.  Uses the library libucl1 of
Debian and Ubuntu.
"""
import argparse
import ctypes
import ctypes.util
import struct
import sys

WORDS_AT = 4	# in the stub: the size of kernel.bin, that of the image, the tag of calls
CALL = 0xE8


def pack(data):
	try:
		ucl = ctypes.CDLL('libucl.so.1')
	except OSError as error:
		sys.exit(f'pack.py: {error} (package libucl1)')
	out = ctypes.create_string_buffer(len(data) + len(data) // 8 + 256)
	size = ctypes.c_uint(len(out))
	if ucl.ucl_nrv2b_99_compress(data, len(data), out, ctypes.byref(size), None, 10, None, None):
		sys.exit('pack.py: the library refuses the image')
	back = ctypes.create_string_buffer(len(data))
	length = ctypes.c_uint(len(data))
	if ucl.ucl_nrv2b_decompress_8(out, size, back, ctypes.byref(length), None) or back.raw != data:
		sys.exit('pack.py: the packed image does not unpack to itself')
	return out.raw[:size.value]


def absolute(data, tag):
	"""The target of each call as tag and place in the image, highest byte first; calls to elsewhere stay."""
	out = bytearray(data)
	at = out.find(CALL)
	while 0 <= at < len(out) - 4:
		target = at + 5 + struct.unpack_from('<i', out, at + 1)[0]
		if 0 <= target < len(out):
			struct.pack_into('>I', out, at + 1, target + tag)
			at += 4
		at = out.find(CALL, at + 1)
	return bytes(out)


def relative(data, tag):
	"""What the stub does."""
	out = bytearray(data)
	at = out.find(CALL)
	while 0 <= at < len(out) - 4:
		target = (struct.unpack_from('>I', out, at + 1)[0] - tag) & 0xFFFFFFFF
		if target < len(out):
			struct.pack_into('<i', out, at + 1, target - at - 5)
			at += 4
		at = out.find(CALL, at + 1)
	return bytes(out)


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
	# A tag that nothing in the image which only looks like a call has: there is one among 256.
	tag = next(tag << 24 for tag in range(256) if relative(absolute(image, tag << 24), tag << 24) == image)
	calls = absolute(image, tag)
	packed = pack(calls)
	words = struct.pack('<III', len(stub) + len(packed), len(image), tag)
	stub = stub[:WORDS_AT] + words + stub[WORDS_AT + len(words):]
	with open(args.output, 'wb') as file:
		file.write(stub + packed)


if __name__ == '__main__':
	main()
