"""A network interface with several queue pairs, whose far side is vhost_user_net.c. The machine needs ixgbe.backed and
ixgbe.memory_args: the process reads and writes its memory."""
import mmap
import os
import re
import socket
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("vhost_user_net.c")


class Mirror:
	def __init__(self, binary, log, pairs, *options):
		self.log, self.path, self.pairs = Path(log), f"{log}.socket", pairs
		self.socket = socket.socket(socket.AF_UNIX)
		self.socket.bind(self.path)
		self.socket.listen()
		with open(self.log, "wb") as file:
			self.process = subprocess.Popen([binary, str(self.socket.fileno()), str(pairs), *options], stderr=file,
				stdout=subprocess.PIPE, text=True, pass_fds=[self.socket.fileno()])

	def args(self, options=""):
		"""QEMU's: two vectors more than queues, as its manual has it."""
		return ["-chardev", f"socket,id=mirror,path={self.path}",
			"-netdev", f"vhost-user,id=mirror,chardev=mirror,queues={self.pairs}", "-device",
			f"virtio-net-pci,netdev=mirror,mq=on,vectors={2 * self.pairs + 2}{options and ','}{options}"]

	def close(self):
		"""QEMU has ended: what each queue saw, {"tx0": {"frames": 1, ...}, ...}, and what there is to complain of."""
		self.socket.shutdown(socket.SHUT_RDWR)	# if QEMU never came
		self.socket.close()
		try:
			output = self.process.communicate(timeout=10)[0]
		except subprocess.TimeoutExpired:
			self.process.kill()
			output = self.process.communicate()[0]
		seen = {line.split()[0]: {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
			for line in output.splitlines()}
		return seen, self.log.read_text()


class Driver:
	"""Plays QEMU and a driver with one pair: to see what the far side makes of it."""

	SIZE = 1 << 20
	RING = 256
	NEXT, WRITE = 1, 2
	VERSION_1 = 1 << 32

	def __init__(self, path):
		self.socket = socket.socket(socket.AF_UNIX)
		self.socket.connect(path)
		self.memory = os.memfd_create("guest")
		os.ftruncate(self.memory, self.SIZE)
		self.bytes = mmap.mmap(self.memory, self.SIZE)

	def say(self, request, *words, fds=()):
		body = struct.pack(f"<{len(words)}Q", *words)
		socket.send_fds(self.socket, [struct.pack("<III", request, 1, len(body)) + body], fds)

	def start(self, features=VERSION_1, size=RING, shift=0, base=0, enabled=1):
		"""Each ring in 16 KiB of its own, from `shift` on."""
		self.say(2, features)
		self.say(5, 1, 0, self.SIZE, 0, 0, fds=[self.memory])
		for ring in range(2):
			at = ring << 14
			self.say(8, size << 32 | ring)
			self.say(10, base << 32 | ring)
			self.say(9, ring, at + shift, at + 0x2000, at + 0x1000, 0)
			doorbell = os.eventfd(0)
			self.say(12, ring, fds=[doorbell])
			os.close(doorbell)
			self.say(18, enabled << 32 | ring)
		self.wait()

	def wait(self):
		"""Until it has looked at the rings: it does so between two messages."""
		for _ in range(2):
			self.say(1)
			self.socket.recv(20, socket.MSG_WAITALL)

	def describe(self, ring, index, phys, length, flags=0, following=0):
		struct.pack_into("<QIHH", self.bytes, (ring << 14) + 16 * index, phys, length, flags, following)

	def give(self, ring, *heads):
		"""All that have been made available, from the first on."""
		struct.pack_into(f"<HH{len(heads)}H", self.bytes, (ring << 14) + 0x1000, 0, len(heads), *heads)

	def finished(self, ring):
		"""How many, and descriptor and length of the first."""
		return struct.unpack_from("<HII", self.bytes, (ring << 14) + 0x2002)

	def close(self):
		self.socket.close()
		self.bytes.close()
		os.close(self.memory)
