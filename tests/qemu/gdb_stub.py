"""As much of gdb's remote protocol as it takes to stop a machine at one instruction."""
import socket


class GdbStub:
	"""QEMU's stub at a Unix socket; the machine waits (-S)."""

	def __init__(self, path, timeout):
		self.socket = socket.socket(socket.AF_UNIX)
		self.socket.settimeout(timeout)
		self.socket.connect(str(path))
		self.pending = b""

	def _byte(self):
		if not self.pending:
			self.pending = self.socket.recv(4096)
			if not self.pending:
				raise ConnectionError("QEMU has closed its gdb stub")
		byte, self.pending = self.pending[:1], self.pending[1:]
		return byte

	def _reply(self):
		while self._byte() != b"$":	# acknowledgements
			pass
		packet = b""
		while (byte := self._byte()) != b"#":
			packet += byte
		self._byte(), self._byte()	# checksum; the channel doesn't lose bytes
		self.socket.sendall(b"+")
		return packet.decode("ascii", "replace")

	def _send(self, packet):
		data = packet.encode()
		self.socket.sendall(b"$%s#%02x" % (data, sum(data) & 0xFF))

	def ask(self, packet):
		self._send(packet)
		return self._reply()

	def _breakpoint(self, action, address):
		reply = self.ask(f"{action}1,{address:x},1")
		if reply != "OK":
			raise RuntimeError(f"gdb stub: breakpoint at {address:#x}: {reply!r}")

	def memory(self, address, count):
		reply = self.ask(f"m{address:x},{count:x}")
		return bytes.fromhex(reply) if not reply.startswith("E") else b""

	def run_to(self, address, is_there):
		"""Lets the machine run until it is about to execute `address` and is_there(self) is true: firmware may have
		code of its own there before.  The machine is stopped afterwards."""
		while True:
			self._breakpoint("Z", address)
			reply = self.ask("c")
			if reply[:1] not in ("T", "S"):
				raise ConnectionError(f"the machine has ended before {address:#x}: {reply!r}")
			self._breakpoint("z", address)
			if is_there(self):
				return
			self.ask("s")

	def let_go(self):
		"""Detaches; the machine runs on, and may have ended before it has our acknowledgement."""
		self._send("D")
		try:
			self._reply()
		except OSError:
			pass
		self.socket.close()
