#!/usr/bin/python3
"""Makes what boots on BIOS and on UEFI: a disk image, an ISO image, or a network boot program (BIOS alone).

The front is always the same: boot sector, second stage, kernel and program, which the BIOS loader finds by sector
number. On a disk the boot sector has a partition table, and from the next full MiB on there is an EFI system partition
(FAT) with EFI/BOOT/BOOTX64.EFI. A CD has the two as files, named in its El Torito boot catalog. Over the network
firmware loads the front as a whole.
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

CD_BLOCK = 2048

# boot-bios/common.S, boot.S
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
# boot-bios/pxe.S: from its page tables' end to what a network card's firmware and the BIOS take below 640 KiB
PXE_MAX = (640 - 32 << 10) - 0x26000

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


def read_program(options):
	"""The program and its kind."""
	if options.program:
		return read(options.program, "program"), PROGRAM
	if not options.payload:
		return b"", 0
	payload = read(options.payload, "payload")
	if len(payload) > PAYLOAD_MAX:
		raise ImageError(f"payload {options.payload} has {len(payload)} bytes, more than {PAYLOAD_MAX}")
	return payload, PAYLOAD


def check_stage2(stage2):
	if stage2[HEADER:HEADER + 8] != HEADER_MAGIC or stage2[-INFO_BYTES:-INFO_BYTES + 4] != INFO_MAGIC:
		raise ImageError("the second stage is not the one of this image.py")
	sectors = len(padded(stage2)) // SECTOR
	if sectors > STAGE2_MAX_SECTORS:
		raise ImageError(f"the second stage has {sectors} sectors, more than {STAGE2_MAX_SECTORS}")


def chs(sector):
	"""A sector number as a partition table entry has it for ancient BIOSes, 255 heads and 63 sectors assumed."""
	cylinder, rest = divmod(sector, 255 * 63)
	if cylinder > 1023:
		return b"\xFE\xFF\xFF"
	return bytes((rest // 63, rest % 63 + 1 | cylinder >> 2 & 0xC0, cylinder & 0xFF))


class Front:
	"""Boot sector, second stage, kernel and program; the last two begin with a `unit` of the medium."""

	def __init__(self, options, unit):
		self.stage1, self.stage2 = read(options.stage1, "boot sector"), read(options.stage2, "second stage")
		if len(self.stage1) != SECTOR or self.stage1[510:] != b"\x55\xAA":
			raise ImageError("the boot sector is not a boot sector")
		check_stage2(self.stage2)
		kernel = read(options.kernel, "kernel")
		if len(kernel) > KERNEL_MAX:
			raise ImageError(f"kernel {options.kernel} has {len(kernel)} bytes, more than {KERNEL_MAX}")
		self.text = options.text
		self.arguments = options.arguments.encode()
		if len(self.arguments) >= ARGUMENTS_MAX or 0 in self.arguments:
			raise ImageError(f"arguments: at most {ARGUMENTS_MAX - 1} bytes, without a zero")
		program, self.kind = read_program(options)
		self.program_bytes = len(program)
		self.modules = [padded(kernel, unit), padded(program, unit)]
		self.stage2_bytes = len(padded(bytes(SECTOR) + self.stage2, unit)) - SECTOR
		self.bytes = SECTOR + self.stage2_bytes + sum(map(len, self.modules))

	def finish(self, sectors, partition=0, partition_sectors=0):
		"""The bytes, for an image of so many sectors."""
		stage2 = self.finish_stage2(sectors - 1)
		boot = bytearray(self.stage1)
		struct.pack_into("<IH", boot, BOOT_FIELDS, checksum(stage2), len(stage2) // SECTOR)
		struct.pack_into("<I", boot, DISK_SIGNATURE, FIXED_ID)
		if partition_sectors:	# active: some BIOSes boot from no other disk
			entry = b"\x80" + chs(partition) + bytes((ESP,)) + chs(partition + partition_sectors - 1)
			boot[PARTITIONS:PARTITIONS + 16] = entry + struct.pack("<II", partition, partition_sectors)
		return bytes(boot) + stage2 + b"".join(self.modules)

	def finish_stage2(self, last):
		"""With its header and boot_info filled in."""
		stage2 = bytearray(self.stage2.ljust(self.stage2_bytes, b"\0"))
		info = len(self.stage2) - INFO_BYTES
		struct.pack_into("<II", stage2, HEADER + 8, self.text, last)
		place = 1 + len(stage2) // SECTOR
		for number, data in enumerate(self.modules):
			count = len(data) // SECTOR
			struct.pack_into("<III", stage2, HEADER + 16 + 12 * number, place, count, checksum(data) if count else 0)
			place += count
		struct.pack_into("<Q", stage2, info + INFO_PROGRAM_BYTES, self.program_bytes)
		stage2[info + INFO_PROGRAM_KIND] = self.kind
		stage2[info + INFO_ARGUMENTS:info + INFO_ARGUMENTS + len(self.arguments)] = self.arguments
		return bytes(stage2)


def tool(*command):
	"""Runs what makes a file system, with nothing of this moment or this user in it."""
	environment = {**os.environ, "SOURCE_DATE_EPOCH": str(FIXED_TIME), "TZ": "UTC", "MTOOLSRC": os.devnull,
		"LC_ALL": "C"}
	try:
		subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
			stderr=subprocess.STDOUT, text=True, check=True)
	except FileNotFoundError:
		package = "xorriso" if command[0] == "xorriso" else "mtools"
		raise ImageError(f"{command[0]} is missing: install {package}") from None
	except subprocess.CalledProcessError as error:
		raise ImageError(f"{command[0]}: {error.stdout.strip()}") from None


def file_system(efi, hidden):
	"""A FAT file system, not larger than it needs to be, that holds the UEFI application."""
	clusters = len(padded(efi)) // SECTOR + 2
	tables = 2 * 4 * clusters // SECTOR
	mebibytes = max(FAT16_MIN_MIB, (clusters + tables + 128) * SECTOR // MIB + 1)
	fat32 = mebibytes > FAT16_MAX_MIB
	if fat32:
		mebibytes = max(FAT32_MIN_MIB, mebibytes)
	with tempfile.TemporaryDirectory() as folder:
		volume, source = Path(folder, "volume"), Path(folder, "BOOTX64.EFI")
		write_fixed(source, efi)
		tool("mformat", "-i", volume, "-C", "-T", str(mebibytes * MIB // SECTOR), "-h", "255", "-s", "63", "-c", "1",
			"-H", str(hidden), "-N", f"{FIXED_ID:08X}", "-v", "INGOT", *(["-F"] if fat32 else []), "::")
		with open(volume, "r+b") as file:	# newer mtools leave of their memory in the last sector
			file.seek(-SECTOR, os.SEEK_END)
			file.write(bytes(SECTOR))
		tool("mmd", "-i", volume, "::/EFI", "::/EFI/BOOT")
		tool("mcopy", "-i", volume, "-m", source, "::/EFI/BOOT/BOOTX64.EFI")
		return padded(volume.read_bytes(), MIB)


def write_fixed(path, data):
	path.write_bytes(data)
	os.utime(path, (FIXED_TIME, FIXED_TIME))


def disk_image(options):
	front = Front(options, SECTOR)
	# Full MiB without a file system, too: SeaBIOS boots from no disk of less than a cylinder.
	start = -(-front.bytes // MIB) * MIB
	volume = file_system(read(options.efi, "UEFI application"), start // SECTOR) if options.efi else b""
	return front.finish((start + len(volume)) // SECTOR, start // SECTOR,
		len(volume) // SECTOR).ljust(start, b"\0") + volume


def iso_image(options):
	"""One boot catalog (El Torito 1.0) with two entries that emulate nothing; xorriso tells the front where it lies."""
	front = Front(options, CD_BLOCK)
	with tempfile.TemporaryDirectory() as folder:
		tree, image = Path(folder, "tree"), Path(folder, "iso")
		tree.mkdir()
		write_fixed(tree / "bios.img", front.finish(front.bytes // SECTOR))
		efi = []
		if options.efi:
			write_fixed(tree / "efi.img", file_system(read(options.efi, "UEFI application"), 0))
			efi = ["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"]
		os.utime(tree, (FIXED_TIME, FIXED_TIME))
		tool("xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", "INGOT", "-o", image, "-b", "bios.img", "-no-emul-boot",
			"-boot-load-size", str(CD_BLOCK // SECTOR), "-boot-info-table", *efi, tree)
		return image.read_bytes()


def network_program(options):
	front = Front(options, SECTOR)
	size = sum(map(len, front.modules))
	if size > PXE_MAX:
		raise ImageError(f"kernel and program have {size} bytes, more than the {PXE_MAX} that a BIOS has room for when "
			"it loads them over the network; UEFI has no such limit")
	return front.finish(front.bytes // SECTOR)


MAKERS = {"disk": disk_image, "iso": iso_image, "pxe": network_program}


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
	parser.add_argument("--for", dest="medium", choices=MAKERS, default="disk", help="each has its boot sector")
	what = parser.add_mutually_exclusive_group()
	what.add_argument("--program", metavar="FILE", help="flat program or static ELF64")
	what.add_argument("--payload", metavar="FILE", help="flat payload, runs at 0x1E0000")
	parser.add_argument("--text", action="store_true", help="BIOS: leave the screen in text mode")
	parser.add_argument("--arguments", default="", metavar="TEXT", help="BIOS: the program's arguments")
	parser.add_argument("-o", "--output", required=True, metavar="FILE", help="what is made")
	options = parser.parse_args()
	try:
		replace(options.output, MAKERS[options.medium](options))
	except ImageError as error:
		sys.exit(f"image.py: {error}")


if __name__ == "__main__":
	main()
