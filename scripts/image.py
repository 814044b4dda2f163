#!/usr/bin/python3
"""Makes the disk image that boots on BIOS and on UEFI.

Sector 0: partition table and boot sector; behind it second stage, kernel and program, which the BIOS loader reads by
sector number; from the next full MiB on an EFI system partition (FAT) with EFI/BOOT/BOOTX64.EFI.
The same input gives the same bytes.
"""
import argparse
import os
import struct
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path

SECTOR = 512
MIB = 1 << 20

# boot-bios/boot.S
BOOT_FIELDS = 0x1B2	# checksum and number of sectors of the second stage
DISK_SIGNATURE = 0x1B8
PARTITIONS = 0x1BE
CHECKSUM_SEED = 0x746F676E
STAGE2_MAX_SECTORS = 64
# boot-bios/stage2.S
HEADER_MAGIC = b"IngotSt2"
HEADER = 4		# magic; text mode; last sector; first sector, sectors and checksum of kernel and of program
# include/boot_info.h: the part without the map ends stage2.bin
INFO_BYTES = 328
INFO_MAGIC = b"ngot"
INFO_PROGRAM_BYTES = 32
INFO_PROGRAM_KIND = 65
INFO_ARGUMENTS = 72
ARGUMENTS_MAX = 256
PROGRAM, PAYLOAD = 1, 2

KERNEL_MAX = 960 << 10	# it ends below 0x1F0000, where its stacks are
PAYLOAD_MAX = 64 << 10

# FAT with clusters of one sector (Microsoft's FAT specification 1.03): the type follows from their number.
FAT16_MIN_MIB = 3
FAT16_MAX_MIB = 31
FAT32_MIN_MIB = 34
ESP = 0xEF
FIXED_ID = 0x746F676E
FIXED_TIME = 315532800	# 1980, when FAT's calendar begins


class ImageError(Exception):
	pass


def read(path, what):
	try:
		data = Path(path).read_bytes()
	except OSError as error:
		raise ImageError(f"{what} {path}: {error.strerror}") from None
	if not data:
		raise ImageError(f"{what} {path} is empty")
	return data


def padded(data, unit=SECTOR):
	return data + bytes(-len(data) % unit)


def checksum(data):
	words = array("I", data)
	if sys.byteorder == "big":
		words.byteswap()
	value = CHECKSUM_SEED
	for word in words:
		value ^= word
		value = ((value << 5 | value >> 27) & 0xFFFFFFFF) * 0x9E3779B1 & 0xFFFFFFFF
	return value


def check_stage2(stage2):
	if stage2[HEADER:HEADER + 8] != HEADER_MAGIC or stage2[-INFO_BYTES:-INFO_BYTES + 4] != INFO_MAGIC:
		raise ImageError("the second stage is not the one of this image.py")
	sectors = len(padded(stage2)) // SECTOR
	if sectors > STAGE2_MAX_SECTORS:
		raise ImageError(f"the second stage has {sectors} sectors, more than {STAGE2_MAX_SECTORS}")


def finish_stage2(stage2, kernel, program, kind, options, last):
	"""The second stage with its header and boot_info filled in."""
	arguments = options.arguments.encode()
	if len(arguments) >= ARGUMENTS_MAX or 0 in arguments:
		raise ImageError(f"arguments: at most {ARGUMENTS_MAX - 1} bytes, without a zero")
	stage2 = bytearray(stage2)
	info = len(stage2) - INFO_BYTES
	struct.pack_into("<II", stage2, HEADER + 8, options.text, last)
	place = 1 + len(padded(stage2)) // SECTOR
	for number, data in enumerate((padded(kernel), padded(program))):
		count = len(data) // SECTOR
		struct.pack_into("<III", stage2, HEADER + 16 + 12 * number, place, count, checksum(data) if count else 0)
		place += count
	struct.pack_into("<Q", stage2, info + INFO_PROGRAM_BYTES, len(program))
	stage2[info + INFO_PROGRAM_KIND] = kind
	stage2[info + INFO_ARGUMENTS:info + INFO_ARGUMENTS + len(arguments)] = arguments
	return padded(bytes(stage2))


def chs(sector):
	"""A sector number as a partition table entry has it for ancient BIOSes, 255 heads and 63 sectors assumed."""
	cylinder, rest = divmod(sector, 255 * 63)
	if cylinder > 1023:
		return b"\xFE\xFF\xFF"
	return bytes((rest // 63, rest % 63 + 1 | cylinder >> 2 & 0xC0, cylinder & 0xFF))


def finish_boot_sector(stage1, stage2, partition, sectors):
	if len(stage1) != SECTOR or stage1[510:] != b"\x55\xAA":
		raise ImageError("the boot sector is not a boot sector")
	boot = bytearray(stage1)
	struct.pack_into("<IH", boot, BOOT_FIELDS, checksum(stage2), len(stage2) // SECTOR)
	struct.pack_into("<I", boot, DISK_SIGNATURE, FIXED_ID)
	if sectors:	# active: some BIOSes boot from no other disk
		entry = b"\x80" + chs(partition) + bytes((ESP,)) + chs(partition + sectors - 1)
		boot[PARTITIONS:PARTITIONS + 16] = entry + struct.pack("<II", partition, sectors)
	return bytes(boot)


def file_system(efi, hidden):
	"""A FAT file system, not larger than it needs to be, that holds the UEFI application."""
	clusters = len(padded(efi)) // SECTOR + 2
	tables = 2 * 4 * clusters // SECTOR
	mebibytes = max(FAT16_MIN_MIB, (clusters + tables + 128) * SECTOR // MIB + 1)
	fat32 = mebibytes > FAT16_MAX_MIB
	if fat32:
		mebibytes = max(FAT32_MIN_MIB, mebibytes)
	environment = {**os.environ, "SOURCE_DATE_EPOCH": str(FIXED_TIME), "TZ": "UTC", "MTOOLSRC": os.devnull,
		"LC_ALL": "C"}
	with tempfile.TemporaryDirectory() as folder:
		volume, source = Path(folder, "volume"), Path(folder, "BOOTX64.EFI")
		source.write_bytes(efi)
		os.utime(source, (FIXED_TIME, FIXED_TIME))

		def mtools(tool, *arguments):
			try:
				subprocess.run([tool, "-i", volume, *arguments], env=environment, stdin=subprocess.DEVNULL,
					stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
			except FileNotFoundError:
				raise ImageError(f"{tool} is missing: install mtools") from None
			except subprocess.CalledProcessError as error:
				raise ImageError(f"{tool}: {error.stdout.strip()}") from None

		mtools("mformat", "-C", "-T", str(mebibytes * MIB // SECTOR), "-h", "255", "-s", "63", "-c", "1",
			"-H", str(hidden), "-N", f"{FIXED_ID:08X}", "-v", "INGOT", *(["-F"] if fat32 else []), "::")
		mtools("mmd", "::/EFI", "::/EFI/BOOT")
		mtools("mcopy", "-m", source, "::/EFI/BOOT/BOOTX64.EFI")
		return padded(volume.read_bytes(), MIB)


def make_image(options):
	stage1, stage2 = read(options.stage1, "boot sector"), read(options.stage2, "second stage")
	kernel = read(options.kernel, "kernel")
	if len(kernel) > KERNEL_MAX:
		raise ImageError(f"kernel {options.kernel} has {len(kernel)} bytes, more than {KERNEL_MAX}")
	program, kind = b"", 0
	if options.program:
		program, kind = read(options.program, "program"), PROGRAM
	elif options.payload:
		program, kind = read(options.payload, "payload"), PAYLOAD
		if len(program) > PAYLOAD_MAX:
			raise ImageError(f"payload {options.payload} has {len(program)} bytes, more than {PAYLOAD_MAX}")
	check_stage2(stage2)

	# Full MiB without a file system, too: SeaBIOS boots from no disk of less than a cylinder.
	front = len(padded(bytes(SECTOR) + padded(stage2) + padded(kernel) + padded(program), MIB))
	volume = file_system(read(options.efi, "UEFI application"), front // SECTOR) if options.efi else b""
	stage2 = finish_stage2(stage2, kernel, program, kind, options, (front + len(volume)) // SECTOR - 1)
	boot = finish_boot_sector(stage1, stage2, front // SECTOR, len(volume) // SECTOR)
	return (boot + stage2 + padded(kernel) + padded(program)).ljust(front, b"\0") + volume


def replace(path, data):
	"""Writes the file whole or not at all."""
	path = Path(path)
	partial = path.with_name(f".{path.name}.{os.getpid()}")
	try:
		partial.write_bytes(data)
		os.replace(partial, path)
	except OSError as error:
		raise ImageError(f"{path}: {error.strerror}") from None
	finally:
		partial.unlink(missing_ok=True)


def main():
	parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
	parser.add_argument("--stage1", required=True, metavar="FILE", help="boot sector")
	parser.add_argument("--stage2", required=True, metavar="FILE", help="second stage")
	parser.add_argument("--kernel", required=True, metavar="FILE", help="kernel.bin")
	parser.add_argument("--efi", metavar="FILE", help="BOOTX64.EFI; without it the image boots on BIOS only")
	what = parser.add_mutually_exclusive_group()
	what.add_argument("--program", metavar="FILE", help="flat program or static ELF64")
	what.add_argument("--payload", metavar="FILE", help="flat payload, runs at 0x1E0000")
	parser.add_argument("--text", action="store_true", help="BIOS: leave the screen in text mode")
	parser.add_argument("--arguments", default="", metavar="TEXT", help="BIOS: the program's arguments")
	parser.add_argument("-o", "--output", required=True, metavar="FILE", help="disk image")
	options = parser.parse_args()
	try:
		replace(options.output, make_image(options))
	except ImageError as error:
		sys.exit(f"image.py: {error}")


if __name__ == "__main__":
	main()
