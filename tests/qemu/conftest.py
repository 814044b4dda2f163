"""Fixtures: images built once a session, machines that are judged when the test ends."""
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from machine import Machine
from udp_echo import EchoServer

ROOT = Path(__file__).resolve().parents[2]
BASE = Path(os.environ.get("INGOT_TEST_DIR", ROOT / "build" / "test")).resolve()
LONG = os.environ.get("INGOT_LONG") == "1"
BUILD_SECONDS = 900
OUTER_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "O", "CONFIG", "PROGRAM", "PAYLOAD", "UEFI", "EXTERNAL", "HERE"}
# The same in all of xdist's processes: they inherit it.
SESSION = os.environ.setdefault("INGOT_TEST_SESSION", f"{os.getpid()}-{time.time()}")


def pytest_configure(config):
	config.addinivalue_line("markers", "long: minutes; runs with INGOT_LONG=1 (make test-long)")


def pytest_collection_modifyitems(items):
	for item in items:
		if item.get_closest_marker("long") and not LONG:
			item.add_marker(pytest.mark.skip(reason="make test-long"))


@contextmanager
def locked(path):
	path.parent.mkdir(parents=True, exist_ok=True)
	with open(path, "w") as file:
		fcntl.flock(file, fcntl.LOCK_EX)
		yield


def make(*arguments):
	"""Runs make with these arguments, not as a part of the make that runs the tests."""
	environment = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
	result = subprocess.run(["make", "-C", str(ROOT), *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL,
		stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_SECONDS, check=False)
	assert result.returncode == 0, f"make {' '.join(map(str, arguments))}:\n{result.stdout[-6000:]}"
	return result.stdout


def run(*command):
	result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
		text=True, check=False)
	assert result.returncode == 0, f"{' '.join(map(str, command))}:\n{result.stdout}"


class Images:
	"""What `make image` leaves. One build folder a configuration; images with other programs are made in it, one after
	the other, and moved out."""

	def _stamped(self, stamp, build):
		"""Once a session; what failed is not tried again by every test."""
		said = stamp.read_text() if stamp.exists() else ""
		if not said.startswith(SESSION):
			said = SESSION
			try:
				build()
			except AssertionError as error:
				said += str(error)
			stamp.parent.mkdir(parents=True, exist_ok=True)
			stamp.write_text(said)
		assert said == SESSION, said[len(SESSION):]

	def folder(self, config):
		"""Of a configuration: kernel.bin, kernel.elf, programs/*.app and .elf."""
		folder = BASE / "images" / config
		with locked(BASE / "images" / f"{config}.lock"):
			self._stamped(folder / ".session", lambda: make("image", f"O={folder}", f"CONFIG={config}"))
		return folder

	@contextmanager
	def held(self, config):
		"""The same, while nobody else builds in it."""
		folder = self.folder(config)
		with locked(BASE / "images" / f"{config}.lock"):
			yield folder

	def program(self, name, kind="app", config="qemu_q35"):
		return self.folder(config) / "programs" / f"{name}.{kind}"

	def image(self, config, program=None, payload=None):
		"""A folder with ingot.img and BOOTX64.EFI (in efi/EFI/BOOT, too) for this program."""
		base = self.folder(config)
		source = Path(program or payload or "default")
		folder = BASE / "images" / f"{config}+{'payload-' if payload else ''}{source.name}"
		with locked(BASE / "images" / f"{config}.lock"):
			self._stamped(folder / ".session", lambda: self._make_image(base, folder, program, payload))
		return folder

	def other(self, name, *arguments, config="qemu_q35", program="hello"):
		"""What this make leaves beside them: a file, or a folder."""
		base, chosen = self.folder(config), self.program(program, "elf", config)
		kept = BASE / "images" / f"{config}+{program}+{name}"

		def build():
			make(*arguments, f"O={base}", f"PROGRAM={chosen}")
			kept.parent.mkdir(parents=True, exist_ok=True)
			shutil.rmtree(kept, ignore_errors=True)
			(shutil.copytree if (base / name).is_dir() else shutil.copy)(base / name, kept)

		with locked(BASE / "images" / f"{config}.lock"):
			self._stamped(kept.with_name(f"{kept.name}.session"), build)
		return kept

	def _make_image(self, base, folder, program, payload):
		choice = [f"PROGRAM={program}"] if program else [f"PAYLOAD={payload}"] if payload else []
		make("image", f"O={base}", *choice)
		boot = folder / "efi" / "EFI" / "BOOT"
		boot.mkdir(parents=True, exist_ok=True)
		for name in ("ingot.img", "BOOTX64.EFI"):
			shutil.copy(base / name, folder / name)
		shutil.copy(base / "BOOTX64.EFI", boot / "BOOTX64.EFI")


	def outside(self, *folders, config="qemu_q35"):
		"""A kernel with drivers from outside the tree: its build folder."""
		build = BASE / "external" / "+".join([config, *(folder.name for folder in folders)])
		with locked(build.with_name(f"{build.name}.lock")):
			self._stamped(build / ".session", lambda: make("image", f"O={build}", f"CONFIG={config}",
				f"EXTERNAL={':'.join(map(str, folders))}"))
		return build

	def own(self, name, *defines, flat=False):
		"""A program of tests/qemu/programs, with programs/lib.c, compiled as the program guide says: the ELF file, or
		the flat one."""
		elf = BASE / "programs" / ("-".join([name, *defines]) + ".elf")
		with locked(elf.with_suffix(".lock")):
			run("gcc", "-O2", "-ffreestanding", "-fpie", "-fcf-protection=none",
				"-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-nostdlib", "-static", "-no-pie",
				"-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none,-z,max-page-size=4096,-z,noexecstack",
				*(f"-D{define}" for define in defines), "-I", ROOT / "api", "-I", ROOT / "programs",
				"-T", ROOT / "api" / "program.ld", ROOT / "api" / "start.S", ROOT / "programs" / "lib.c",
				ROOT / "tests" / "qemu" / "programs" / f"{name}.c", "-o", elf)
			run("objcopy", "-O", "binary", elf, elf.with_suffix(".app"))
		return elf.with_suffix(".app") if flat else elf


@pytest.fixture(scope="session")
def images():
	return Images()


@pytest.fixture
def work(request):
	"""A folder for this test: gone if it passed, else in build/test/failed."""
	folder = Path(tempfile.mkdtemp(prefix="ingot-"))	# short: sockets lie in it
	yield folder
	kept = BASE / "failed" / re.sub(r"[^\w.+-]+", "_", request.node.name)
	shutil.rmtree(kept, ignore_errors=True)
	if getattr(request.node, "failed", False):
		kept.parent.mkdir(parents=True, exist_ok=True)
		for path in folder.rglob("*"):
			if path.is_socket() or (path.is_file() and path.stat().st_blocks > 1 << 17):
				path.unlink()
		shutil.move(folder, kept)
	else:
		shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
	report = (yield).get_result()
	if report.failed:
		item.failed = True


@pytest.fixture
def boot(request, images, work):
	"""boot(config, program, firmware=..., ...): a machine, running from the kernel's first instruction on.

	program: a name from programs/, or a file. kind: "app" (flat), "elf" or "payload". The rest is Machine's. At the end
	of the test QEMU must have logged no guest error and no access to what it doesn't have, `allowed` (a list of
	regular expressions, with a reason beside each where it is given) set aside.
	"""
	machines = []

	def start(config="qemu_q35", program=None, kind="app", allowed=(), **options):
		if isinstance(program, str) and "/" not in program:
			program = images.program(program, "elf" if kind == "elf" else "app")
		firmware = options.get("firmware", "bios")
		if firmware == "pvh":
			if "kernel" not in options:
				options["kernel"] = images.folder(config) / "kernel.elf"
			if program:
				options["module"] = program
		elif not any(map(options.get, ("image", "efi", "netboot"))):
			choice = {"payload" if kind == "payload" else "program": program} if program else {}
			options["image"] = images.image(config, **choice) / "ingot.img"
		machine = Machine(work / str(len(machines)), **options)
		machines.append((machine, allowed))
		return machine

	yield start
	wrong = []
	for machine, allowed in machines:
		machine.kill()
		lines = [line for line in machine.guest_errors().splitlines()
			if not any(re.search(pattern, line) for pattern in allowed)]
		if lines:
			wrong.append("QEMU's log:\n" + "\n".join(lines[:20]))
		if getattr(request.node, "failed", False):
			print(f"---- serial of {machine.work}:\n{machine.output[-8000:]}")
	assert not wrong, "\n".join(wrong)


@pytest.fixture
def disk(work):
	"""disk(mebibytes, fill=None): a raw file to be a drive."""
	count = 0

	def create(mebibytes, fill=None):
		nonlocal count
		path = work / f"disk{count}.img"
		count += 1
		with open(path, "wb") as file:
			file.truncate(mebibytes << 20)
			if fill is not None:
				file.write(bytes([fill]) * (mebibytes << 20))
		return path

	return create


@pytest.fixture
def echo():
	"""A UDP server on the host that sends every datagram back; echo.port."""
	with EchoServer() as server:
		yield server
