"""make size and make size-plot: every byte has its place, changes are seen, memory is measured."""
import re
import shutil
import subprocess
import xml.etree.ElementTree as xml
from collections import defaultdict

import pytest

from conftest import ROOT

SECTIONS = (".head", ".text", ".rodata")


@pytest.fixture
def folder(images, tmp_path):
	"""A build folder that no other test reads sizes in."""
	target = tmp_path / "build"
	with images.held("qemu_q35") as base:
		shutil.copytree(base, target, ignore=shutil.ignore_patterns("*.img", "programs"))
	(target / "programs").mkdir()
	shutil.copy(images.program("hello_asm"), target / "programs")
	for name in ("sizes.json", "sizes.previous.json"):
		(target / name).unlink(missing_ok=True)
	return target


def size(folder, *arguments):
	result = subprocess.run([ROOT / "scripts" / "size.py", folder, *map(str, arguments)], text=True,
		capture_output=True, check=False)
	assert result.returncode == 0, result.stderr
	return result.stdout


def number(text, title, column=0):
	"""A figure of the line that ends with this title."""
	line = next(line for line in text.splitlines() if line.endswith(f"  {title}"))
	return int(line.split()[column])


def linked(folder):
	"""Bytes of the sections in kernel.bin, by the linker's map."""
	text = (folder / "kernel.map").read_text()
	return sum(int(re.search(rf"^{re.escape(name)}\s+0x\w+\s+0x(\w+)", text, re.M)[1], 16) for name in SECTIONS)


def test_every_byte_has_a_place(folder):
	text = size(folder, "--all")
	total = number(text, "code and constants")
	assert total == linked(folder)
	packed = (folder / "kernel.bin").stat().st_size
	assert number(text, "kernel.bin, packed") == packed
	folders = [line.split() for line in text.split("options that bring")[0].splitlines()
		if re.search(r"  (\S+/|shared)$", line)]
	assert sum(int(row[0]) for row in folders) == total
	assert abs(sum(int(row[1]) for row in folders) - packed) < 100	# rounded shares
	assert number(text, "shared") < total // 50, "what nobody claims"
	# Memory: rings and buffers of frames; rings and requests of a drive.
	rows = {name: int(kib) for kib, name in re.findall(r"(\d+) KiB  (\w+)$", text, re.M)}
	assert set(rows) == {"NET_VIRTIO", "STORAGE_VIRTIO_BLK"}
	assert 100 < rows["NET_VIRTIO"] < 1024 and 4 < rows["STORAGE_VIRTIO_BLK"] < 128


def test_changes(folder, images):
	"""Against another build folder, and against what was built in this one before."""
	base = images.folder("all")
	assert "change" in size(folder) and not re.search(r"[+-]\d", size(folder))
	text = size(folder, "--all", base)
	assert re.search(r"^ +0 +0 +-\d+  +nvme\.c$", text, re.M)
	assert re.search(r"^ +-\d+  nvme_ids +storage/nvme\.c +gone$", text, re.M)
	for name in ("kernel.elf", "kernel.bin"):
		shutil.copy(base / name, folder / name)
	text = size(folder, "--all")
	assert re.search(r"^ +\d+  nvme_ids", text, re.M) and re.search(r"^ +\+\d+  nvme_ids .* new$", text, re.M)
	text = size(folder)
	assert number(text, "nvme.c") == number(text, "nvme.c", 1) > 0, "the build before stays the one before"


def test_plot(images, folder):
	"""Areas are bytes."""
	subprocess.run([ROOT / "scripts" / "sizeplot.py", folder], check=True, capture_output=True)
	areas, total = defaultdict(float), 0
	for shape in xml.parse(folder / "size.svg").iter("{http://www.w3.org/2000/svg}rect"):
		if shape.get("class") == "folder":
			name, count = re.match(r"(.+): (\d+) bytes", shape[0].text).groups()
			areas[name] = float(shape.get("width")) * float(shape.get("height")) / int(count)
			total += int(count)
	assert len(areas) > 6 and max(areas.values()) < 1.02 * min(areas.values())
	assert total == number(size(folder), "code and constants")


def test_no_base(folder, tmp_path):
	result = subprocess.run([ROOT / "scripts" / "size.py", folder, tmp_path], text=True, capture_output=True,
		check=False)
	assert result.returncode and "there is no kernel.elf in it" in result.stderr
