"""Types standard input at the guest where make run has no terminal.

Firmware would swallow what comes before the kernel runs, and the kernel drops what comes faster than it is read. So the
monitor gets a line at each prompt (or after a silence: what it runs may wait for keys), and `shutdown` at the first
prompt behind the input's end. Any other program gets everything from the kernel's first line on, and ends by itself.
"""
import os
import re
import select
import signal

PROMPT = re.compile(rb"(?:\n|\x1B\[J)> \Z")	# on a line of its own, or on a cleared screen
KERNEL = re.compile(rb"^Ingot \d", re.M)
LINE = re.compile(rb"[^\r\n]*[\r\n]+|[^\r\n]{256}")	# or what no line has room for
SILENCE_S = 2
CHUNK = 4096


class Typist:
	def __init__(self, monitor):
		self.monitor = monitor
		self.said = b""		# by the guest since a line was typed, as far as it matters
		self.waiting = b""	# of the input
		self.ended = False	# the input
		self.started = False	# who reads it

	def hear(self, text):
		self.said = (self.said + text)[-CHUNK:]
		self.started = self.started or bool((PROMPT if self.monitor else KERNEL).search(self.said))

	def read(self, text):
		self.ended = not text
		self.waiting += text
		if self.ended and self.monitor and self.waiting[-1:] not in (b"", b"\r", b"\n"):
			self.waiting += b"\n"

	def next(self, silent):
		"""What is to be typed now."""
		text = b""
		if not self.monitor:
			text = self.waiting if self.started else b""
		elif silent or PROMPT.search(self.said):
			line = LINE.match(self.waiting)
			text = line[0] if line else b"shutdown\n" if self.ended and not silent else b""
			self.said = b"" if text else self.said
		self.waiting = self.waiting[len(text):]
		return text


def work(typist, source, keys, heard):
	"""Until the guest has gone, which ends what it says.  Never waits for it to take keys: it waits to be heard."""
	typing, silent = b"", False
	os.set_blocking(keys, False)
	while True:
		typing = typing or typist.next(silent)
		patience = SILENCE_S if typist.started and typist.waiting and not typing else None
		reading = [] if typist.ended or len(typist.waiting) > CHUNK else [source]
		ready, writable, _ = select.select([heard, *reading], [keys] if typing else [], [], patience)
		silent = not ready and not writable
		if heard in ready:
			text = os.read(heard, CHUNK)
			if not text:
				return
			typist.hear(text)
		if source in ready:
			try:
				typist.read(os.read(source, CHUNK))
			except OSError:
				typist.read(b"")
		if writable:
			typing = typing[os.write(keys, typing):]


def attach(monitor):
	"""Puts a typist between standard input and this process, which is about to become QEMU; the file that QEMU has to
	write to what the guest says."""
	keys_out, keys_in = os.pipe()
	heard_out, heard_in = os.pipe()
	if os.fork() == 0:
		os.close(keys_out)
		os.close(heard_in)
		signal.signal(signal.SIGINT, signal.SIG_IGN)	# QEMU's end is its own, too
		try:
			work(Typist(monitor), 0, keys_in, heard_out)
		finally:
			os._exit(0)
	os.dup2(keys_out, 0)
	os.set_inheritable(heard_in, True)
	return f"/dev/fd/{heard_in}"
