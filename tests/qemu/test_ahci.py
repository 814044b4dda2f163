"""SATA disks behind AHCI controllers. (What every drive is asked for is in test_drives.py.)"""
import pytest

from patterns import verify_disk
from test_devices import IDE_LINE, passed

CONTROLLER = ("-device", "ahci,id=sata")	# for machines without one
DVD = ("-drive", "if=none,id=dvd,media=cdrom,format=raw,file=null-co://,file.size=64M", "-device", "ide-cd,drive=dvd,")


def sata(file, bus="", **more):
	return {"file": file, "device": "ide-hd", "options": f"bus={bus}" if bus else "", **more}


@pytest.mark.parametrize("firmware, machine, cores", [
	("bios", "q35", 4), ("bios", "pc", 1), ("uefi", "q35", 2), ("pvh", "q35", 1), ("pvh", "pc", 4),
])
def test_disk(boot, disk, firmware, machine, cores):
	"""Patterns over a disk, looked at by the host afterwards; also beside the disk that was booted from."""
	image = disk(64)
	pc = machine == "pc"
	passed(boot("all", "diskcheck", firmware=firmware, machine=machine, cores=cores, args=CONTROLLER if pc else (),
		disks=[sata(image, "sata.2" if pc else "ide.3")], allowed=IDE_LINE), "diskcheck")
	verify_disk(image)


@pytest.mark.parametrize("machine, cores, count", [("q35", 4, 5), ("pc", 1, 2), ("pc", 4, 5)])
def test_disks_and_dvd(boot, disk, machine, cores, count):
	"""Each port is a drive of its own, with a DVD drive in the midst, which is named and left alone."""
	images = [disk(size) for size in (8, 20, 33, 17, 64)[:count]]
	bus = "ide" if machine == "q35" else "sata"
	args = (() if machine == "q35" else CONTROLLER) + DVD[:-1] + (f"{DVD[-1]}bus={bus}.1",)
	machine = boot("all", "diskcheck", firmware="pvh", machine=machine, cores=cores, args=args, allowed=IDE_LINE,
		disks=[sata(image, f"{bus}.{port}") for image, port in zip(images, (0, 2, 3, 4, 5))])
	output = passed(machine, "diskcheck")
	assert f"drives={count}" in output and "port 1 ATAPI" in output
	for image in images:
		verify_disk(image)


def test_six_disks(boot, disk):
	images = [disk(9) for _ in range(6)]
	output = passed(boot("all", "diskcheck", firmware="pvh", cores=4, allowed=IDE_LINE,
		disks=[sata(image, f"ide.{port}") for port, image in enumerate(images)]), "diskcheck")
	assert "drives=6" in output
	for image in images:
		verify_disk(image)


def test_two_controllers(boot, disk):
	images = [disk(size) for size in (8, 20, 12)]
	machine = boot("all", "diskcheck", firmware="pvh", cores=2, args=CONTROLLER, allowed=IDE_LINE,
		disks=[sata(images[0], "ide.5"), sata(images[1], "sata.0"), {"file": images[2]}])
	assert "drives=3" in passed(machine, "diskcheck")
	for image in images:
		verify_disk(image)


@pytest.mark.parametrize("options, drive", [
	("", "discard=unmap"), ("write-cache=off", ""), ("discard_granularity=0", ""),
])
def test_variants(boot, disk, options, drive):
	image = disk(24)
	passed(boot("all", "diskcheck", firmware="pvh", allowed=IDE_LINE,
		disks=[{"file": image, "device": "ide-hd", "options": options, "drive": drive}]), "diskcheck")
	verify_disk(image)


def test_nothing_there(boot):
	"""A controller without disks, and a DVD drive without a disc."""
	output = boot("all", "hello", firmware="pvh", args=("-device", "ide-cd,bus=ide.4"), allowed=IDE_LINE).finish()
	assert "port 4 ATAPI" in output and "0 drives" in output
