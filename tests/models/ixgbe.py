"""Cards that QEMU doesn't have: ixgbe_82599.c as a process behind x-pci-proxy-dev.

The card's memory is QEMU's: the machine needs `backed` and `memory_args`, and SINGLE as its accelerator.
"""
import os
import signal
import socket
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("ixgbe_82599.c")
SINGLE = "tcg,thread=single"	# with threads QEMU throws accesses of a second core away


def build(binary, source=SOURCE):
	"""Whole or not at all: another worker may be about to start it."""
	partial = Path(f"{binary}.{os.getpid()}")
	subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-o", partial,
		source], check=True)
	return partial.replace(binary)


def refused(binary, log):
	"""Why this QEMU can't have the card, or None: as of 8.2 it asks KVM, even under TCG, and dies."""
	card = Card(binary, log)
	command = ["qemu-system-x86_64", "-M", f"{backed('q35')},accel=tcg", *memory_args("64M"), "-nodefaults",
		"-m", "64M", "-display", "none", "-S", "-monitor", "stdio", *card.device]
	try:
		done = subprocess.run(command, input="quit\n", pass_fds=[card.qemu.fileno()], stdout=subprocess.DEVNULL,
			stderr=subprocess.PIPE, text=True, timeout=60, check=False)
	finally:
		card.close()
	# Whatever else goes wrong is for the tests to find.
	return "QEMU's x-pci-proxy-dev dies without KVM" if done.returncode == -signal.SIGSEGV else None


def backed(machine):
	return f"{machine},memory-backend=ram0"


def memory_args(memory):
	return ["-object", f"memory-backend-memfd,id=ram0,size={memory},share=on"]


class Card:
	"""One 82599. `frames` is the other end of its cable: a message a frame. With `via` (a folder) the cable goes into
	QEMU's own network instead, see `hub_args`."""

	def __init__(self, binary, log, *options, via=None):
		self.qemu, qemu = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
		self.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		self.via = via
		if via:
			wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
			wire.bind(f"{via}/card")
			options = (*options, f"to={via}/qemu")
			self.frames = None
		else:
			self.frames, wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
			for end in (self.frames, wire):
				end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
		ends = (qemu, wire, control)
		self.control.settimeout(30)
		self.log = Path(log)
		with open(self.log, "wb") as file:
			self.process = subprocess.Popen([binary, *(str(end.fileno()) for end in ends), *options], stderr=file,
				pass_fds=[end.fileno() for end in ends])
		for end in ends:
			end.close()

	@property
	def device(self):
		return ["-device", f"x-pci-proxy-dev,fd={self.qemu.fileno()}"]

	def hub_args(self, number, user="user"):
		"""The cable's other end is QEMU's user network."""
		return ["-netdev", f"{user},id=user{number}", "-netdev", f"dgram,id=wire{number},"
			f"local.type=unix,local.path={self.via}/qemu,remote.type=unix,remote.path={self.via}/card",
			"-netdev", f"hubport,id=port{number}a,hubid={number},netdev=user{number}",
			"-netdev", f"hubport,id=port{number}b,hubid={number},netdev=wire{number}"]

	def __call__(self, command):
		self.control.sendall(command.encode())
		return self.control.recv(1 << 17).decode()

	def count(self):
		return {name: int(value) for name, value in (line.split("=") for line in self("count").splitlines())}

	def close(self):
		"""QEMU has ended: what the card has to complain of."""
		self.qemu.close()
		self.control.close()
		try:
			self.process.wait(10)
		except subprocess.TimeoutExpired:
			self.process.kill()
		if self.frames:
			self.frames.close()
		return self.log.read_text()
