"""A network interface with several queue pairs, whose far side is vhost_user_net.c. The machine needs ixgbe.backed and
ixgbe.memory_args: the process reads and writes its memory."""
import re
import socket
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
