"""What was built: sizes by configuration, and who calls whom (scripts/lint.py sees includes, this sees symbols)."""
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMITS = {"qemu_q35": 20480, "virtio_cloud": 13312, "tiny": 8192, "all": 32768}	# bytes of kernel.bin
REGISTERS = re.compile(r"^(PCI_DRIVER|VIRTIO_DRIVER|USB_DRIVER)", re.M)
CALL_TABLES = {"core/native.c", "core/syscall.c"}	# they list what programs may call, wherever it is
BELOW = {	# whose symbols a folder may use, besides its own
	"core": {"boot-pvh"}, "boot-pvh": {"core"}, "bus": {"core"},
	"net": {"core", "bus"}, "storage": {"core", "bus"}, "hid": {"core", "bus"}, "video": {"core", "bus"},
}


@pytest.mark.parametrize("config", LIMITS)
def test_kernel_bytes(images, config):
	size = (images.folder(config) / "kernel.bin").stat().st_size
	print(f"{config}: {size} bytes")
	assert size <= LIMITS[config], f"{config}: kernel.bin has {size - LIMITS[config]} bytes too many"


@pytest.mark.parametrize("config", ["qemu_pc"])
def test_other_configurations_build(images, config):
	assert (images.folder(config) / "kernel.bin").stat().st_size


def symbols(objects):
	"""Of each object file: those it defines, those it needs, and those of its writable data."""
	for path in objects:
		folder, _, name = path.name.removesuffix(".o").partition("_")
		defines, needs, writable = set(), set(), set()
		listed = subprocess.run(["nm", "-P", path], capture_output=True, text=True, check=True).stdout
		for symbol, kind, *_ in map(str.split, listed.splitlines()):
			if kind in "Uw":
				needs.add(symbol)
			elif kind.isupper() and kind != "N":
				defines.add(symbol)
			if kind in "dDbBC":
				writable.add(symbol)
		yield folder, name, defines, needs, writable


@pytest.fixture(scope="module")
def objects(images):
	return list(symbols(sorted((images.folder("all") / "kernel.elf.p").glob("*.o"))))


def is_driver(folder, name):
	path = ROOT / folder / name
	return path.suffix == ".c" and REGISTERS.search(path.read_text()) is not None


def test_layers(objects):
	"""Calls go downwards; upwards leads a registered pointer, never a symbol."""
	home = {symbol: (folder, name) for folder, name, defines, *_ in objects for symbol in defines}
	wrong = []
	for folder, name, _, needs, _ in objects:
		for symbol in sorted(needs):
			if symbol not in home:	# the linker script's
				continue
			there, whose = home[symbol]
			if f"{folder}/{name}" in CALL_TABLES:
				continue
			if there != folder and there not in BELOW[folder]:
				wrong.append(f"{folder}/{name} needs {symbol} of {there}/{whose}")
			elif folder != "bus" and there == folder and whose != name and is_driver(there, whose):
				wrong.append(f"{folder}/{name} needs {symbol} of the driver {there}/{whose}")
	assert not wrong, "\n".join(wrong)


def test_drivers_have_no_state_of_their_own(objects):
	"""Two cards of one kind just work: state lives in the instance."""
	wrong = [f"{folder}/{name}: {symbol}" for folder, name, _, _, writable in objects if is_driver(folder, name)
		for symbol in sorted(writable)]
	assert not wrong, "\n".join(wrong)
