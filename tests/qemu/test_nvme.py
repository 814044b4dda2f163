"""NVMe drives. (What every drive is asked for is in test_drives.py.)"""
import pytest

from patterns import verify_disk
from test_devices import IDE_LINE, passed

FORMAT_4096 = "logical_block_size=4096,physical_block_size=4096"


def nvme(file, number=0, options="", **more):
	return {"file": file, "device": "nvme", "options": f"serial=n{number}" + (f",{options}" if options else ""), **more}


def namespace(file, options=""):
	return {"file": file, "device": "nvme-ns", "options": "bus=ctrl" + (f",{options}" if options else "")}


@pytest.mark.parametrize("firmware, machine, cores", [("bios", "q35", 4), ("bios", "pc", 1), ("uefi", "q35", 2)])
def test_disk(boot, disk, firmware, machine, cores):
	"""Patterns over a drive, looked at by the host afterwards; UEFI puts its registers above 4 GiB."""
	image = disk(64)
	passed(boot("all", "diskcheck", firmware=firmware, machine=machine, cores=cores, disks=[nvme(image)],
		allowed=IDE_LINE), "diskcheck")
	verify_disk(image)


@pytest.mark.parametrize("options, queues", [
	(FORMAT_4096, 4), ("max_ioqpairs=1", 1), ("max_ioqpairs=3", 3), ("max_ioqpairs=200,msix_qsize=300", 4),
	("mdts=1", 4), ("mdts=2," + FORMAT_4096, 4), ("mdts=0", 4), ("mdts=9", 4),
])
def test_variants(boot, disk, options, queues):
	image = disk(24)
	machine = boot("all", "diskcheck", firmware="pvh", cores=4,
		disks=[nvme(image, options=options, drive="discard=unmap")])
	output = passed(machine, "diskcheck")
	assert f" {queues} queues of " in output
	verify_disk(image)


def test_namespaces(boot, disk):
	"""Each is a drive with queues of its own, in the order of their numbers, which may have holes."""
	images = [disk(size) for size in (20, 33, 24)]
	machine = boot("all", "diskcheck", firmware="pvh", cores=4, args=["-device", "nvme,id=ctrl,serial=x"],
		disks=[namespace(images[0], "nsid=2"), namespace(images[1], f"nsid=3,{FORMAT_4096}"),
			namespace(images[2], "nsid=200")])
	output = passed(machine, "diskcheck")
	assert "disk0 20 MiB, 512-byte blocks disk1 33 MiB, 4096-byte blocks disk2 24 MiB, 512-byte blocks" in output
	for image in images:
		verify_disk(image)


def test_more_namespaces_than_queues(boot, disk):
	"""Who has no queue is named; the others work."""
	images = [disk(8) for _ in range(3)]
	machine = boot("all", "diskcheck", firmware="pvh", cores=2, disks=[namespace(image) for image in images],
		args=["-device", "nvme,id=ctrl,serial=x,max_ioqpairs=2"])
	output = passed(machine, "diskcheck")
	assert "namespace 3 left alone" in output and "drives=2" in output
	verify_disk(images[0])
	verify_disk(images[1])


def test_no_namespace(boot):
	machine = boot("all", "hello", firmware="pvh", args=["-device", "nvme,serial=x"])
	output = machine.finish()
	assert "left alone" in output and "0 drives" in output


def test_two_controllers(boot, disk):
	"""With a virtio drive between them."""
	images = [disk(size) for size in (20, 12, 33)]
	machine = boot("all", "diskcheck", firmware="pvh", cores=4, disks=[
		nvme(images[0], 0, "mdts=2"), {"file": images[1]}, nvme(images[2], 2, "max_ioqpairs=2," + FORMAT_4096)])
	assert "drives=3" in passed(machine, "diskcheck")
	for image in images:
		verify_disk(image)
