#!/usr/bin/python3
"""QEMU's command lines, for make run, make debug and the tests.

qemu.py run BUILD | qemu.py debug BUILD

From the environment: MACHINE, UEFI=1, NETBOOT=1, CORES, DISK, QEMU_ARGS, GDB_ARGS.  MACHINE=microvm boots kernel.elf by
PVH, the others boot the disk image, or from a network that has BUILD/netboot.
"""
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import netboot
import typist

BINARY = "qemu-system-x86_64"
OVMF = Path("/usr/share/OVMF")
SCRATCH_BYTES = 64 << 20
CPU = "max"

# What every run has: no default devices but those named, a guest that ends QEMU when it resets in vain.
BASE = ["-no-user-config", "-nodefaults"]


class QemuError(Exception):
	pass


def firmware(build):
	"""Pflash arguments for OVMF; the variables are a copy of our own."""
	for size in ("_4M", ""):
		code, template = OVMF / f"OVMF_CODE{size}.fd", OVMF / f"OVMF_VARS{size}.fd"
		if code.exists() and template.exists():
			variables = build / f"OVMF_VARS{size}.fd"
			if not variables.exists():
				shutil.copyfile(template, variables)
			return ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={escape(code)}",
				"-drive", f"if=pflash,format=raw,unit=1,file={escape(variables)}"]
	raise QemuError(f"no UEFI firmware in {OVMF}: install ovmf")


def escape(path):
	"""A comma in an option's value is doubled."""
	return str(path).replace(",", ",,")


def machine(name="q35", cores=1, memory="256M", accel="tcg", cpu=CPU):
	kind = "microvm,pcie=on,acpi=on,rtc=on" if name == "microvm" else name
	# Some distributions' QEMU takes a SeaBIOS here, which leaves ACPI's tables where QEMU then puts the program.
	firmware = ["-bios", "qboot.rom"] if name == "microvm" else []
	# With room for a second processor, TCG orders what devices see of memory; QEMU 7.2 doesn't for one alone.
	smp = "1,maxcpus=2" if int(cores) == 1 else str(cores)
	return [BINARY, *BASE, "-machine", f"{kind},accel={accel}", "-cpu", cpu, "-smp", smp, "-m", str(memory), *firmware]


def boot_image(image):
	"""The image as first disk: AHCI on q35, IDE on pc."""
	return ["-drive", f"if=none,id=boot,format=raw,snapshot=on,file={escape(image)}",
		"-device", "ide-hd,drive=boot,bootindex=0"]


def boot_pvh(kernel, program=None, arguments=""):
	return (["-kernel", str(kernel)] + (["-initrd", str(program)] if program else []) +
		(["-append", arguments] if arguments else []))


def net(name="n0", backend="user", device="virtio-net-pci", **properties):
	extra = "".join(f",{key}={value}" for key, value in properties.items())
	return ["-netdev", f"{backend},id={name}", "-device", f"{device},netdev={name}{extra}"]


def boot_network(build, uefi):
	"""The first interface is on a network that offers what netboot.py has left."""
	file = netboot.UEFI if uefi else netboot.BIOS
	return net(backend=f"user,tftp={escape(build / 'netboot')},bootfile={file}", bootindex=0)


def disk(path, name="d0", device="virtio-blk-pci", **properties):
	extra = "".join(f",{key}={value}" for key, value in properties.items())
	return ["-drive", f"if=none,id={name},format=raw,file={escape(path)}", "-device", f"{device},drive={name}{extra}"]


def scratch_disk(build):
	path = build / "scratch.img"
	if not path.exists():
		with open(path, "wb") as file:
			file.truncate(SCRATCH_BYTES)
	return path


def programs_disk(build):
	"""The volume with all programs; the next build makes it anew, so writes to it are not kept."""
	return ["-drive", f"if=none,id=programs,format=raw,snapshot=on,file={escape(build / 'programs/programs.img')}",
		"-device", "virtio-blk-pci,drive=programs"]


def own_disk():
	"""The caller's own, if there is one; written to."""
	name = os.environ.get("DISK")
	path = Path(os.environ.get("HERE", "."), name or "")
	if name and not path.is_file():
		raise QemuError(f"DISK={name}: no such file ({path})")
	return disk(path, "own") if name else []


def display(name):
	"""A window where there is a screen to show it on; a VGA card in any case where the machine can have one."""
	if name == "microvm":
		return ["-display", "none"]
	graphical = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
	toolkit = any(Path("/usr/lib").glob("*/qemu/ui-gtk.so"))
	return ["-display", "gtk" if graphical and toolkit else "none", "-device", "VGA,edid=on"]


def console():
	"""Serial and QEMU's monitor (Ctrl-A C) share the terminal; without one serial goes to standard output alone."""
	return ["-serial", "mon:stdio" if os.isatty(0) and os.isatty(1) else "stdio"]


def asked(variable):
	return os.environ.get(variable, "") not in ("", "0")


def words(variable):
	text = os.environ.get(variable, "")
	try:
		return shlex.split(text)
	except ValueError as error:
		raise QemuError(f"{variable}={text}: {error}") from None


def command(build):
	name, uefi, network = os.environ.get("MACHINE") or "q35", asked("UEFI"), asked("NETBOOT")
	if name not in ("q35", "pc", "microvm"):
		raise QemuError(f"MACHINE={name}: q35, pc or microvm")
	if (uefi or network) and name == "microvm":
		raise QemuError("microvm has no firmware: neither UEFI nor NETBOOT")
	cores = os.environ.get("CORES", "").strip() or str(min(4, os.cpu_count() or 1))
	if not re.fullmatch("[1-9][0-9]*", cores):
		raise QemuError(f"CORES={cores}: a number from 1 on")
	line = machine(name, cores=cores)
	if name == "microvm":
		kind = (build / "program.kind").read_text().strip()
		line += boot_pvh(build / "kernel.elf", build / "program.bin", "payload" if kind == "payload" else "")
	else:
		line += (firmware(build) if uefi else []) + ([] if network else boot_image(build / "ingot.img"))
	# netcheck learns from the boot file that nobody answers UDP here.
	line += boot_network(build, uefi) if network else net(backend="user,bootfile=udp:0")
	line += disk(scratch_disk(build)) + programs_disk(build) + own_disk() + display(name) + console()
	return line + words("QEMU_ARGS")


def is_monitor(build):
	program, monitor = build / "program.bin", build / "programs" / "monitor.app"
	return monitor.exists() and program.read_bytes() == monitor.read_bytes()


def without_terminal(line, build):
	"""Nobody is there to answer: the input is typed, and a panic is an error at once."""
	heard = typist.attach(is_monitor(build))
	line[line.index("-serial") + 1] = "chardev:typist"
	return [*line, "-chardev", f"stdio,id=typist,logfile={heard},logappend=on",
		"-device", "isa-debug-exit,iobase=0xf4,iosize=4"]


def run(build):
	line = command(build)
	if os.isatty(0):
		print("Ctrl-A X leaves, Ctrl-A C switches to QEMU's monitor.", flush=True)
	else:
		line = without_terminal(line, build)
	os.execvp(line[0], line)


def debug(build):
	"""QEMU waits at the first instruction, its serial port in a file, and gdb gets the terminal."""
	socket, log = build / "gdb.sock", build / "serial.log"
	socket.unlink(missing_ok=True)
	line = command(build)
	line[line.index("-serial") + 1] = f"file:{escape(log)}"
	line += ["-S", "-chardev", f"socket,path={escape(socket)},server=on,wait=off,id=gdb", "-gdb", "chardev:gdb"]
	print(f"Serial output: {log}", flush=True)
	signal.signal(signal.SIGINT, lambda *_: None)	# Ctrl-C is for gdb
	with subprocess.Popen(line, stdin=subprocess.DEVNULL, start_new_session=True) as guest:
		for _ in range(50):
			if socket.exists() or guest.poll() is not None:
				break
			signal.sigtimedwait([], 0.1)
		if guest.poll() is not None:
			raise QemuError(f"QEMU ended at once, with status {guest.returncode}")
		try:
			subprocess.run(["gdb", "-q", "-x", Path(__file__).with_name("gdb.py"), "-ex", f"target remote {socket}",
				"-ex", "hbreak kernel_main", *words("GDB_ARGS"), build / "kernel.elf"],
				check=False)
		finally:
			guest.terminate()
	socket.unlink(missing_ok=True)


def main(args):
	if len(args) != 2 or args[0] not in ("run", "debug"):
		sys.exit(__doc__)
	build = Path(args[1]).resolve()
	for stream in (sys.stdin, sys.stdout, sys.stderr):
		if stream is None:	# it was closed, and the next file that is opened would take its place
			os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
	try:
		{"run": run, "debug": debug}[args[0]](build)
	except (QemuError, OSError) as error:
		sys.exit(f"error: {error}")


if __name__ == "__main__":
	main(sys.argv[1:])
