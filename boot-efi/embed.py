#!/usr/bin/python3
"""embed.py KERNEL PROGRAM KIND OUT: what embed.S puts into BOOTX64.EFI.

PROGRAM may be empty. KIND is a file that holds the word "program" or "payload".
"""
import struct
import sys
from pathlib import Path

KERNEL_ROOM = 0x100000		# include/boot_info.h: KERNEL_LIMIT - KERNEL_PHYS
KINDS = {"program": 1, "payload": 2}	# BOOT_PROGRAM, BOOT_PAYLOAD


def checksum(data):
	"""The one of boot-bios/boot.S; in main.c, too."""
	total = 0x746F676E
	for (word,) in struct.iter_unpack("<I", data):
		total ^= word
		total = (total << 5 | total >> 27) * 0x9E3779B1 & 0xFFFFFFFF
	return total


def padded(data):
	return data + bytes(-len(data) % 4)


def main(args):
	if len(args) != 4:
		sys.exit(__doc__)
	kernel, program = Path(args[0]).read_bytes(), Path(args[1]).read_bytes()
	if not 0 < len(kernel) <= KERNEL_ROOM:
		sys.exit(f"error: {args[0]} has {len(kernel)} bytes; 1 to {KERNEL_ROOM} fit")
	kind = KINDS[Path(args[2]).read_text(encoding="ascii").strip()] if program else 0
	rest = struct.pack("<III", len(kernel), len(program), kind) + padded(kernel) + padded(program)
	Path(args[3]).write_bytes(struct.pack("<I", checksum(rest)) + rest)


if __name__ == "__main__":
	main(sys.argv[1:])
