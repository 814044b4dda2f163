"""A virtual machine under test: started, watched from the kernel's first instruction on, talked to, judged.

QEMU's log of guest errors and unimplemented accesses is switched on exactly when the kernel's first instruction is
about to run (firmware writes a lot into it), and must be empty at the end.
"""
import functools
import json
import os
import queue
import re
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from elftools.elf.elffile import ELFFile

from gdb_stub import GdbStub

QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
# Deadlines only find what hangs: wide enough for a busy machine with an emulator.
DEADLINE = 60 * float(os.environ.get("INGOT_PATIENCE", "1"))
LIFETIME = 600
KERNEL = 0x100000
MARK = b"Ingot\0\0\0"	# 8 bytes behind the kernel's first instruction
PANICKED = 0x21		# what isa-debug-exit makes of the 0x10 that the panic report writes

OVMF = [("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.fd", "OVMF_VARS.fd")]


@functools.cache
def watched_items():
	"""Of QEMU's log; newer ones have accesses to nothing apart from the guest's other errors."""
	known = subprocess.run([QEMU, "-d", "help"], stdout=subprocess.PIPE, text=True, check=False).stdout
	return ",".join(["guest_errors", "unimp"] + ["invalid_mem"] * ("\ninvalid_mem " in known))


def ovmf():
	for code, variables in OVMF:
		if (Path("/usr/share/OVMF") / code).exists():
			return Path("/usr/share/OVMF") / code, Path("/usr/share/OVMF") / variables
	raise FileNotFoundError("no OVMF in /usr/share/OVMF")


def pvh_entry(kernel):
	"""The address in the ELF note of type 18, XEN_ELFNOTE_PHYS32_ENTRY."""
	with open(kernel, "rb") as file:
		for segment in ELFFile(file).iter_segments("PT_NOTE"):
			for note in segment.iter_notes():
				if note["n_name"] == "Xen" and note["n_type"] in (18, "18"):
					description = note["n_descdata"]
					return int.from_bytes(description[:4], "little")
	raise ValueError(f"{kernel} has no PVH note")


class Qmp:
	"""QEMU's machine protocol: commands, and the events in the order in which they came."""

	def __init__(self, path):
		self.socket = socket.socket(socket.AF_UNIX)
		self.socket.connect(str(path))
		self.file = self.socket.makefile("r")
		self.events = []
		self.replies = queue.Queue()
		threading.Thread(target=self._read, daemon=True).start()
		self.replies.get(timeout=DEADLINE)	# the greeting
		self("qmp_capabilities")

	def _read(self):
		try:
			for line in self.file:
				message = json.loads(line)
				if "event" in message:
					self.events.append(message)
				else:
					self.replies.put(message)
		except (OSError, ValueError):
			pass
		self.replies.put(None)

	def __call__(self, command, **arguments):
		self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
		reply = self.replies.get(timeout=DEADLINE)
		if reply is None:
			raise ConnectionError("QEMU is gone")
		if "error" in reply:
			raise RuntimeError(f"{command}: {reply['error']['desc']}")
		return reply["return"]


class Machine:
	"""firmware: "bios", "uefi" (both boot `image`, a disk image, or `efi`, a folder with EFI/BOOT/BOOTX64.EFI, or the
	file `netboot` from a network) or "pvh" (boots `kernel` with `module` and `append`).

	disks: dictionaries with `file` and, optionally, `device` (virtio-blk-pci), `format`, `options` (for the device);
	nets: dictionaries with, optionally, `device` (virtio-net-pci), `options`, `netdev` ("user").
	"""

	def __init__(self, work, *, firmware="bios", machine="q35", image=None, image_format="raw", efi=None, netboot=None,
			kernel=None, module=None,
			append="", cores=1, smp=None, memory="256M", cpu="max", display=False, disks=(), nets=(), args=(),
			watch=True, boot_device="ide-hd", accel="tcg", pass_fds=()):
		self.work = Path(work)
		self.work.mkdir(parents=True, exist_ok=True)
		self.log = self.work / "guest.log"
		self.output = ""
		self.searched = 0
		self.qmp = None
		self.process = None
		self.watched = False
		self.firmware = firmware
		self.kernel = kernel
		self.boot_device = boot_device	# holds `image` or `efi`
		self.pass_fds = pass_fds	# that `args` names
		if cores == 1 and not smp:
			smp = "1,maxcpus=2"	# scripts/qemu.py says why
		self.command = [QEMU, "-M", machine, "-accel", accel, "-cpu", cpu, "-m", str(memory), "-smp", smp or str(cores),
			"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
			"-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-D", str(self.log), "-S",
			"-qmp", f"unix:{self.work}/qmp,server=on,wait=off", "-gdb", f"unix:{self.work}/gdb,server=on,wait=off"]
		if machine.startswith("microvm"):
			self.command += ["-bios", "qboot.rom"]	# scripts/qemu.py says why
		if display:
			self.command += ["-vga", "std"] if display is True else ["-vga", display]
		self.image_format = image_format
		self._boot_from(firmware, image, efi, netboot, kernel, module, append)
		self.command += [str(argument) for argument in args]	# first: devices may sit on these
		for number, disk in enumerate(disks):
			self._disk(number, disk)
		for number, net in enumerate(nets):
			self._net(number, net)
		self._start(watch)

	def _boot_from(self, firmware, image, efi, netboot, kernel, module, append):
		if firmware == "pvh":
			self.command += ["-kernel", str(kernel)]
			if module:
				self.command += ["-initrd", str(module)]
			if append:
				self.command += ["-append", append]
			return
		if firmware == "uefi":
			code, variables = ovmf()
			shutil.copy(variables, self.work / "vars.fd")
			self.command += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}",
				"-drive", f"if=pflash,unit=1,format=raw,file={self.work}/vars.fd"]
		if netboot:
			self.command += ["-netdev", f"user,id=boot,tftp={netboot.parent},bootfile={netboot.name}",
				"-device", "virtio-net-pci,netdev=boot,bootindex=0"]
			return
		source = f"file={image}" if image else f"file=fat:{efi}"
		self.command += ["-drive", f"if=none,id=boot,format={self.image_format},snapshot=on,{source}",
			"-device", f"{self.boot_device},drive=boot,bootindex=0"]

	def _disk(self, number, disk):
		options = disk.get("options", "")
		self.command += ["-drive", f"if=none,id=d{number},format={disk.get('format', 'raw')},file={disk['file']}"
			+ (f",{disk['drive']}" if disk.get("drive") else ""), "-device",
			f"{disk.get('device', 'virtio-blk-pci')},drive=d{number}" + (f",{options}" if options else "")]

	def _net(self, number, net):
		device = net.get("device", "virtio-net-pci")
		options = f"{device},netdev=n{number}"
		if not device.endswith("-device"):
			options += ",romfile="	# the firmware must not try to boot from it
		if net.get("options"):
			options += f",{net['options']}"
		self.command += ["-netdev", f"{net.get('netdev', 'user')},id=n{number}", "-device", options]

	# ---- Start and end ----

	def _start(self, watch):
		for name in ("qmp", "gdb"):
			(self.work / name).unlink(missing_ok=True)
		(self.work / "command").write_text(" ".join(self.command) + "\n")
		self.process = subprocess.Popen(["timeout", "-k", "5", str(LIFETIME), *self.command], stdin=subprocess.PIPE,
			stdout=subprocess.PIPE, stderr=open(self.work / "qemu.err", "wb"), pass_fds=self.pass_fds)
		try:
			self._connect()
			if watch:
				self._watch()
			else:
				self.qmp("cont")
		except BaseException:
			self.kill()
			raise

	def _connect(self):
		end = time.monotonic() + DEADLINE
		while not ((self.work / "qmp").exists() and (self.work / "gdb").exists()):
			if self.process.poll() is not None or time.monotonic() > end:
				said = (self.work / "qemu.err").read_text()
				raise AssertionError(f"QEMU didn't start: {said}\n{' '.join(self.command)}")
			time.sleep(0.01)
		self.qmp = Qmp(self.work / "qmp")

	def _watch(self):
		"""Runs to the kernel's first instruction, and has QEMU log from there on."""
		entry = pvh_entry(self.kernel) if self.firmware == "pvh" else KERNEL
		stub = GdbStub(self.work / "gdb", DEADLINE)
		try:
			stub.run_to(entry, lambda stub: stub.memory(KERNEL + 8, len(MARK)) == MARK)
		except (OSError, ConnectionError) as error:
			self._take(0)
			raise AssertionError(f"the kernel was never entered: {error}{self._tail()}") from error
		self.hmp(f"log {watched_items()}")
		self.watched = True
		stub.let_go()

	def kill(self):
		if self.process and self.process.poll() is None:
			self.process.terminate()	# `timeout` passes it on
			try:
				self.process.wait(10)
			except subprocess.TimeoutExpired:
				self.process.kill()
		if self.process and not self.process.stdout.closed:
			self._take(0)
			self.process.stdin.close()
			self.process.stdout.close()
		(self.work / "serial.txt").write_text(self.output)

	def wait(self, timeout=DEADLINE):
		"""Waits until the machine is off: its exit status."""
		end = time.monotonic() + timeout
		while self.process.poll() is None:
			if time.monotonic() > end:
				raise AssertionError(f"the machine is still on after {timeout:.0f} s{self._tail()}")
			self._take(0.05)
		self._take(0)
		return self.process.returncode

	@property
	def reason(self):
		"""Why it ended: "guest-shutdown", or "guest-reset" (a reboot, or a triple fault)."""
		reasons = [event["data"].get("reason") for event in self.qmp.events if event["event"] == "SHUTDOWN"]
		return reasons[-1] if reasons else None

	def finish(self, timeout=DEADLINE):
		"""Waits for an orderly power-off."""
		status = self.wait(timeout)
		end = time.monotonic() + 5
		while self.reason is None and time.monotonic() < end:
			time.sleep(0.01)
		assert status == 0, f"exit status {status}{self._tail()}"
		assert self.reason == "guest-shutdown", f"ended by {self.reason}{self._tail()}"
		return self.output

	def guest_errors(self):
		return self.log.read_text(errors="replace") if self.log.exists() else ""

	# ---- Serial line ----

	def _take(self, seconds):
		"""Takes what is there, waiting at most `seconds` for the first byte."""
		taken = False
		while select.select([self.process.stdout], [], [], 0 if taken else seconds)[0]:
			data = os.read(self.process.stdout.fileno(), 65536)
			if not data:
				if seconds:
					time.sleep(min(seconds, 0.02))
				return taken
			if self.output.endswith("\r"):	# its newline may come alone
				self.output, data = self.output[:-1], b"\r" + data
			self.output += data.decode("utf-8", "replace").replace("\r\n", "\n")
			taken = True
		return taken

	def _tail(self):
		return "\n---- serial, last 60 lines:\n" + "\n".join(self.output.splitlines()[-60:]) + "\n----"

	def expect(self, pattern, timeout=DEADLINE):
		"""Waits for the regular expression behind what was found before: the match."""
		end = time.monotonic() + timeout
		while True:
			ended = self.process.poll() is not None
			self._take(0)
			found = re.compile(pattern, re.M).search(self.output, self.searched)
			if found:
				self.searched = found.end()
				return found
			if ended or time.monotonic() > end:
				what = f"nothing in {timeout:.0f} s"
				if ended:
					what = f"QEMU ended with {self.process.returncode} ({self.reason})"
				raise AssertionError(f"waiting for {pattern!r}: {what}{self._tail()}")
			self._take(0.1)

	def send(self, text):
		self.process.stdin.write(text.encode())
		self.process.stdin.flush()

	# ---- QEMU's monitor ----

	def hmp(self, line):
		return self.qmp("human-monitor-command", **{"command-line": line})

	def type(self, keys):
		"""Keys by QEMU's names ("a", "shift-a", "ret"), one after the other."""
		for key in keys:
			self.hmp(f"sendkey {key} 20")
			time.sleep(0.06)

	def link(self, net, up):
		self.hmp(f"set_link n{net} {'on' if up else 'off'}")

	def screenshot(self):
		"""Width, height and the pixels, three bytes each."""
		path = self.work / "screen.ppm"
		path.unlink(missing_ok=True)
		self.qmp("screendump", filename=str(path))
		end = time.monotonic() + DEADLINE
		while True:
			data = path.read_bytes() if path.exists() else b""
			found = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
			if found and len(data) - found.end() == 3 * int(found[1]) * int(found[2]):
				return int(found[1]), int(found[2]), data[found.end():]
			assert time.monotonic() < end, "no screenshot"
			time.sleep(0.05)

	def memory(self, address, count):
		"""Physical memory of the guest."""
		path = self.work / "memory.bin"
		self.qmp("pmemsave", val=address, size=count, filename=str(path))
		return path.read_bytes()

	def word(self, address):
		return struct.unpack("<Q", self.memory(address, 8))[0]
