"""The far side of programs/frames.c: sends frames and checks those that come, over a socket with a message a frame.

A frame: Ethernet, IPv4 and UDP headers (42 bytes), then flow (16 bits), length (16), sequence number in its flow (32),
and a pattern from byte 50 on: the i-th byte of it is (sequence + 31 * flow + i) % 256. The k-th frame of a side has
60 + 7 * k % (most - 59) bytes: all lengths come.
"""
import socket
import struct
import threading
import time

FLOWS = 64
HEAD = 50
LEAST = 60
PATTERN = bytes(range(256)) * 66
WINDOW = 2000	# see programs/frames.c
SECONDS = 30


def length(index, most):
	return LEAST + index * 7 % (most - LEAST + 1)


class Peer:
	def __init__(self, end, mac, *, count, queues=1, most=1514, flows=FLOWS, protocol=17):
		self.socket, self.mac, self.count, self.queues, self.most, self.flows = end, mac, count, queues, most, flows
		self.protocol = protocol	# of IP: some devices spread UDP by its addresses alone, but 6 (TCP) by ports
		self.next = [0] * queues
		self.wrong = []
		self.lengths = set()
		self.socket.settimeout(SECONDS)
		self.threads = [threading.Thread(target=run, daemon=True) for run in (self._send, self._receive)]

	def start(self):
		for thread in self.threads:
			thread.start()

	def finish(self):
		for thread in self.threads:
			thread.join(SECONDS * 20)
			assert not thread.is_alive()
		assert not self.wrong, self.wrong[:5]
		assert self.next == [self.count] * self.queues

	def _send(self):
		try:
			ip = f"0800450000000000000040{self.protocol:02x}00000a0000020a000001"
			head = self.mac + bytes.fromhex("020102030405" + ip)
			heads = [head + struct.pack(">HHHH", 1000 + 77 * flow, 9, 0, 0) for flow in range(self.flows)]
			for index in range(self.count):
				flow, seq, size = index % self.flows, index // self.flows, length(index, self.most)
				while index > min(self.next) + WINDOW and not self.wrong:
					time.sleep(0.0005)
				start = (seq + 31 * flow) & 255
				self.socket.send(heads[flow][:16] + struct.pack(">H", size - 14) + heads[flow][18:]
					+ struct.pack("<HHI", flow, size, seq) + PATTERN[start:start + size - HEAD])
		except OSError as error:
			self.wrong.append(f"sending: {error}")

	def _receive(self):
		try:
			for _ in range(self.count * self.queues):
				data = self.socket.recv(16384)
				flow, size, seq = struct.unpack_from("<HHI", data, 42)
				start = (seq + 31 * flow) & 255
				if len(data) != size or size != length(seq, self.most) or flow >= self.queues:
					self.wrong.append(f"{len(data)} bytes, flow {flow}, length {size}")
				elif self.next[flow] != seq:
					self.wrong.append(f"flow {flow}: {seq} after {self.next[flow] - 1}")
				elif data[HEAD:] != PATTERN[start:start + size - HEAD]:
					self.wrong.append(f"flow {flow}: content of {seq}")
				else:
					self.next[flow] += 1
					self.lengths.add(size)
				if len(self.wrong) > 5:
					return
		except OSError as error:
			self.wrong.append(f"receiving after {self.next}: {error}")


def wire():
	"""A pair of sockets with a message a frame: ours, QEMU's."""
	return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


class Flood:
	"""The far side of programs/flood.c: sends for some seconds, as fast as frames are taken, and from then on that it
	is over. Frames are the Peer's, all of flow 0."""

	END = 0xFFFF

	def __init__(self, end, mac, seconds, most=1514):
		self.socket, self.seconds, self.most = end, seconds, most
		self.head = mac + bytes.fromhex("0201020304050800") + bytes(28)
		self.sent = 0
		self.over = threading.Event()
		self.thread = threading.Thread(target=self._send, daemon=True)

	def start(self):
		self.thread.start()

	def _send(self):
		try:
			end = time.monotonic() + self.seconds
			while time.monotonic() < end:
				for _ in range(100):
					size, start = length(self.sent, self.most), self.sent & 255
					self.socket.send(self.head + struct.pack("<HHI", 0, size, self.sent)
						+ PATTERN[start:start + size - HEAD])
					self.sent += 1
			while not self.over.wait(0.1):
				self.socket.send(self.head + struct.pack("<HHI", self.END, LEAST, 0) + bytes(LEAST - HEAD))
		except OSError:
			pass	# QEMU is gone

	def finish(self):
		self.over.set()
		self.thread.join(SECONDS)
		assert not self.thread.is_alive()
