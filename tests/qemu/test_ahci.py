"""SATA disks behind AHCI controllers."""
import pytest

from patterns import verify_disk, write_disk
from test_devices import passed

# QEMU's IDE core raises a line that is not connected in its AHCI controller, at every command without a tag.
IDE_LINE = ["^ahci: IRQ#"]
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


@pytest.mark.parametrize("cores", [1, 4])
def test_errors(boot, disk, images, work, cores):
	"""With many requests under way, a bad block fails those that ask for it and no others (blkdebug)."""
	rules = work / "errors"
	rules.write_text("".join(f'[inject-error]\nevent = "{event}"\nerrno = "5"\nsector = "{sector}"\n'
		for event, sector in (("read_aio", 88), ("write_aio", 160))))
	machine = boot("all", images.own("deep"), firmware="pvh", cores=cores, allowed=IDE_LINE,
		disks=[sata(f"blkdebug:{rules}:{disk(8)}", "ide.0", drive="werror=report,rerror=report"),
			sata(disk(8), "ide.1")])
	output = machine.finish()
	lines = [line for line in output.splitlines() if line.startswith(("good", "read", "write", "refused", "twice"))]
	assert lines == 2 * ["read 0 11: 05", "good reads 0 63: 64"] + 2 * ["write 0 20: 05", "good writes 0 63: 64"] + \
		2 * ["good reads 1 64: 64"] + 2 * ["good writes 1 64: 64"], output


def test_deadline(boot, disk, images):
	"""A disk that takes longer than it may: errors after the deadline, again and again; the other works."""
	machine = boot("all", images.own("deep", "REQUESTS=8"), firmware="pvh", allowed=IDE_LINE,
		args=("-drive", "if=none,id=slow,driver=null-co,size=8M,latency-ns=6000000000", "-device",
			"ide-hd,drive=slow,bus=ide.0"), disks=[sata(disk(8), "ide.1")])
	output = machine.finish(180)
	assert output.count(": 06") == 4 * 8 and output.count("good reads 1 08: 08") == 2, output
	assert "good reads 0 00: 08" in output and "good writes 1 08: 08" in output, output


@pytest.mark.parametrize("reads", [50000, pytest.param(1000000, marks=pytest.mark.long)])
def test_random_reads(boot, images, work, reads):
	image = work / "filled.img"
	write_disk(image, 20 << 20)
	machine = boot("all", images.own("million", f"READS={reads}"), firmware="pvh", disks=[sata(image)],
		allowed=IDE_LINE)
	machine.expect("million: all there", 60 + reads / 2000)
	machine.finish()
