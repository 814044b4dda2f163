#!/usr/bin/python3
"""Packs the kernel's flat image: pack.py STUB IMAGE -o kernel.bin

STUB is core/unpack.S as a flat binary; the image follows it in UCL's format NRV2B.  The result is unpacked again and
compared before it is written.  Uses the library libucl1 of Debian and Ubuntu.
"""
import argparse
import ctypes
import ctypes.util
import struct
import sys

SIZE_AT = 4	# the word in the stub that holds the size of kernel.bin


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
	packed = pack(image)
	stub = stub[:SIZE_AT] + struct.pack('<I', len(stub) + len(packed)) + stub[SIZE_AT + 4:]
	with open(args.output, 'wb') as file:
		file.write(stub + packed)


if __name__ == '__main__':
	main()
