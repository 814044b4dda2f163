#!/usr/bin/python3
"""build.py BUILD: has Meson set up the build folder if need be, and Ninja build.
build.py BUILD --clean: removes what was built, not the configuration.

From the environment: CC; PROGRAM or PAYLOAD, the program that the image is to hold (none: the default one), relative to
HERE; FORMAT, what is to be made beside the disk image: BUILD/ingot.FORMAT.
"""
import fcntl
import os
import shutil
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAYLOAD_ROOM = 0x10000
FORMATS = ("raw", "qcow2", "vdi", "vmdk", "vhdx", "iso", "pxe")	# raw: the disk image itself; meson.build has the others


def fail(text):
	sys.exit(f"error: {text}")


def check_elf(path, content):
	"""Says now what the kernel would refuse."""
	elf_class, data = content[4:6]
	if len(content) < 64 or (elf_class, data) != (2, 1) or struct.unpack_from("<H", content, 18)[0] != 62:
		fail(f"{path} is an ELF file, but not one for x86-64")
	kind, = struct.unpack_from("<H", content, 16)
	offset, = struct.unpack_from("<Q", content, 32)
	size, count = struct.unpack_from("<HH", content, 54)
	if size < 56 or offset + size * count > len(content):
		fail(f"{path} is an ELF file without its program headers")
	types = [struct.unpack_from("<I", content, offset + size * i)[0] for i in range(count)]
	if kind != 2 or 3 in types or 2 in types:
		fail(f"{path} is not a static ELF program with fixed addresses (link it with -static -no-pie)")
	if 1 not in types:
		fail(f"{path} has nothing to load")


def read_program(variable):
	"""The content of the file that PROGRAM or PAYLOAD names; empty if the variable is."""
	name = os.environ.get(variable, "")
	if not name:
		return b""
	path = Path(os.environ.get("HERE", ".")) / name
	try:
		content = path.read_bytes()
	except OSError as error:
		fail(f"{variable}={name}: {error.strerror} ({path})")
	if not content:
		fail(f"{variable}={name} is an empty file")
	if content[:4] == b"\x7fELF":
		if variable == "PAYLOAD":
			fail(f"PAYLOAD={name} is an ELF file; a payload is a flat binary")
		check_elf(name, content)
	if variable == "PAYLOAD" and len(content) > PAYLOAD_ROOM:
		fail(f"PAYLOAD={name} has {len(content)} bytes, at most {PAYLOAD_ROOM} fit")
	return content


def choose_program(build):
	"""Leaves it where meson.build expects it; the time stamp stays if the content does."""
	program, payload = read_program("PROGRAM"), read_program("PAYLOAD")
	if program and payload:
		fail("PROGRAM and PAYLOAD: only one of them")
	chosen = build / "chosen"
	chosen.mkdir(parents=True, exist_ok=True)
	for path, content in ((chosen / "program", program), (chosen / "payload", payload)):
		if not path.exists() or path.read_bytes() != content:
			path.write_bytes(content)


def run(*command, **variables):
	"""Silent, unless it has something to say: not that Ninja had Meson look again."""
	result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
		env={**os.environ, **variables}, check=False)
	if result.returncode or "warning" in result.stdout:
		sys.stderr.write(result.stdout[max(0, result.stdout.find("FAILED: ")):])
	if result.returncode:
		fail(f"{command[0]} failed")


@contextmanager
def locked(build):
	"""Ninja and the choice of a program don't bear a second build in the same folder; it waits."""
	build.mkdir(parents=True, exist_ok=True)
	with open(build / ".lock", "w", encoding="ascii") as file:
		fcntl.flock(file, fcntl.LOCK_EX)
		yield


def set_up(build):
	"""Once, and again when another compiler is asked for or the sources or the folder have been moved."""
	made_for = build / ".made_for"
	compiler = os.environ.get("CC", "gcc")
	wanted = f"{compiler} {ROOT} {build}"
	if (build / "build.ninja").exists() and made_for.exists() and made_for.read_text() == wanted:
		return
	made_for.unlink(missing_ok=True)	# until this has come to its end
	if not shutil.which(compiler.split()[0]):
		fail(f"CC={compiler}: there is no such command")
	plus = os.environ.get("CXX", "clang++" if "clang" in compiler else "g++")
	shutil.rmtree(build / "meson-private", ignore_errors=True)	# Meson's --wipe would take the configuration along
	run("meson", "setup", build, ROOT, f"-Dconfig={build}", CC=compiler, CXX=plus)
	run("ninja", "-C", build, "--quiet", "clean")	# objects name the files that they were made of
	made_for.write_text(wanted)


def clean(build):
	if (build / "build.ninja").exists():
		run("ninja", "-C", build, "--quiet", "clean")
	for pattern in ("scratch.img", "OVMF_VARS*.fd", "serial.log", "kernel.map"):
		for path in build.glob(pattern):
			path.unlink()
	for folder in ("netboot", "meson-dist"):
		shutil.rmtree(build / folder, ignore_errors=True)


def main(args):
	if len(args) not in (1, 2) or args[1:] not in ([], ["--clean"]):
		sys.exit(__doc__)
	build = Path(args[0])
	if args[1:]:
		return clean(build)
	image = os.environ.get("FORMAT") or "raw"
	if image not in FORMATS:
		fail(f"FORMAT={image}: one of {', '.join(FORMATS)}")
	with locked(build):
		choose_program(build)
		set_up(build)
		run("ninja", "-C", build, "--quiet", "all", *([] if image == "raw" else [f"ingot.{image}"]))


if __name__ == "__main__":
	main(sys.argv[1:])
