"""make run without a terminal, as scripts use it: what is typed, and that it ends."""
import os
import re
import subprocess
import sys

import pytest

from conftest import ROOT
from machine import PANICKED

sys.path.insert(0, str(ROOT / "scripts"))
from typist import Typist	# noqa: E402

QEMU = ROOT / "scripts" / "qemu.py"


@pytest.fixture
def run(images, work):
	"""run(input, program, VARIABLE=...): what scripts/qemu.py says of an image with that program, and its status."""
	(work / "programs").symlink_to(images.folder("qemu_q35") / "programs")
	monitor = images.program("monitor")

	def start(text, program=monitor, status=0, **variables):
		for name, file in {"ingot.img": images.image("qemu_q35", program=program) / "ingot.img",
				"program.bin": program}.items():
			(work / name).unlink(missing_ok=True)
			(work / name).symlink_to(file)
		environment = {"PATH": os.environ["PATH"], **variables}	# no window, and nothing that the caller asked make for
		result = subprocess.run(["timeout", "120", QEMU, "run", work], env=environment, input=text, text=True,
			stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
		assert result.returncode == status, result.stdout
		return result.stdout

	return start


def test_newcomer(images, run):
	"""What a newcomer types; the build has nothing left to do for it."""
	with images.held("qemu_q35") as folder:
		assert "no work to do" in subprocess.check_output(["ninja", "-C", folder, "-n"], text=True)
	said = run("ls disk1\rrun netcheck\rshutdown\r")
	assert re.search(r"^disk1 +\d+ bytes  netcheck\s*$", said, re.M), said
	assert "netcheck: PASS" in said


@pytest.mark.parametrize("text", ["run hello\n", "run hello", "run hello\r\n\r\n", "\n\nrun hello\rshutdown\r"])
def test_input_ends(run, text):
	assert "\nHello from Ingot" in run(text)


def test_nothing_to_type(run):
	assert run("").endswith("\n> shutdown\n")


@pytest.mark.parametrize("closed", [[0], [0, 1, 2]])
def test_closed(run, work, closed):
	"""No standard input, or no file at all."""
	run("")	# makes the folder
	command = " ".join(f"{number}>&-" for number in closed)
	assert subprocess.run(["sh", "-c", f"exec timeout 120 {QEMU} run {work} {command}"], check=False,
		env={"PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL).returncode == 0


def test_firmware_gets_none_of_it(run):
	assert "\nHello from Ingot" in run("run hello\n", UEFI="1")


def test_long_input(run):
	"""More than kernel and monitor keep while a command runs."""
	said = run("run netcheck\n" + "".join(f"hexdump {0x100000 + line:#x} 16\n" for line in range(60)))
	assert "netcheck: PASS" in said and said.count("\n> hexdump 0x1000") == 60
	assert "\n> hexdump 0x10003b 16\n" in said


def test_program_that_reads_keys(run, images, work):
	"""Under the monitor it gets a line when it has said nothing for a while; alone it gets everything."""
	volume = work / "keys.img"
	subprocess.run([QEMU.with_name("bmfs.py"), "format", volume, f"keys={images.own('console')}"], check=True)
	said = run("run disk2:keys\nx\nq\n", DISK=str(volume))
	assert "<78><1C><71>" in said and said.endswith("\n> shutdown\n")
	assert run("xq", images.own("console", flat=True)).endswith("ready\n<78><71>")


def test_another_program_ends_by_itself():
	typist = Typist(monitor=False)
	typist.read(b"key")
	assert typist.next(silent=True) == b""	# firmware's
	typist.hear(b"BdsDxe: starting\r\n\r\nIngot 0.1.0 x\r\n> ")
	typist.read(b"")
	assert typist.next(silent=False) == b"key" and typist.next(silent=False) == b""


def test_panic_is_an_error(run, images):
	assert "about to fault" in run("", images.own("fault", "FAULT=NULL_READ", flat=True), status=PANICKED)
