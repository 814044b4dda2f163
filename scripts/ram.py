"""How much memory a driver takes: boots the kernel in QEMU without and with its device, and compares what the log's
last line says ("drivers N KiB").  So it costs no byte in the kernel.  Used by size.py.
"""
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import devices
import qemu

SECONDS = 60
SAYS = re.compile(rb"kernel (\d+) KiB, drivers (\d+) KiB")


def boot(build, machine, arguments):
	"""What the kernel says: KiB of kernel and of drivers; None if it doesn't within a minute."""
	if "BOOT_PVH" in devices.options(build):
		image = qemu.boot_pvh(build / "kernel.elf", build / "programs" / "hello_asm.app")
	else:
		image = qemu.boot_image(build / "ingot.img")
	line = ["timeout", str(SECONDS), *qemu.machine(machine, cores=1)]
	line[line.index("-machine") + 1] = f"{machine},accel=tcg"
	line += [*image, *devices.MODERN, "-display", "none", "-serial", "stdio", *arguments]
	said = b""
	with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as guest:
		while (data := os.read(guest.stdout.fileno(), 4096)):
			said += data
			if SAYS.search(said):
				break
		guest.terminate()
	found = SAYS.search(said)
	return (int(found[1]), int(found[2])) if found else None


def measure(build):
	"""(KiB of the kernel, {option: KiB with one device, one core}), or a sentence that says why not."""
	on = devices.options(build)
	if "SERIAL" not in on:
		return "not measured: the kernel has no serial port to say it on"
	if not shutil.which(qemu.BINARY):
		return f"not measured: {qemu.BINARY} is not here"
	kind = devices.machine(on)
	if kind == "q35":
		kind = "pc"	# which has no device that a driver takes
	with tempfile.NamedTemporaryFile(prefix="ingot-disk-") as disk:
		os.truncate(disk.name, 16 << 20)
		base = boot(build, kind, [])
		if not base:
			return f"not measured: the kernel didn't boot within {SECONDS} s"
		found = {}
		for option in [*devices.NETS, *devices.DISKS, *devices.OTHERS]:
			arguments = devices.for_option(option, on, kind, Path(disk.name)) if option in on else None
			here = boot(build, kind, arguments) if arguments else None
			if here:
				found[option] = here[1] - base[1]
	return base[0], found
