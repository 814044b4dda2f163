"""QEMU's virtio SCSI controller."""
from pathlib import Path

import pytest

from patterns import verify_disk
from test_devices import MMIO, passed

FOLDER = Path(__file__).resolve().parents[1]
DVD = ["-device", "scsi-cd,bus=scsi.0,scsi-id=5"]


@pytest.fixture
def kernel(images):
	"""For PCI and MMIO, as the folder's own configuration has it."""
	return images.outside(FOLDER, config="scsi_cloud") / "kernel.elf"


def scsi(image, *options, **drive):
	return {"file": image, "device": "scsi-hd", "options": ",".join(("bus=scsi.0", *options)), **drive}


@pytest.mark.parametrize("machine, device", [
	("q35", "virtio-scsi-pci,num_queues=2"), ("q35", "virtio-scsi-pci,num_queues=1,indirect_desc=off,event_idx=off"),
	("microvm", "virtio-scsi-device"),
])
def test_disks(boot, disk, kernel, machine, device):
	"""Two disks at two targets, on a queue each or one for both, and a DVD drive; the host finds the patterns, too."""
	small, large = disk(8), disk(24)
	blocks = "logical_block_size=4096,physical_block_size=4096"
	output = passed(boot(program="diskcheck", firmware="pvh", machine=machine, cores=2, kernel=kernel,
		args=[*(MMIO if machine == "microvm" else []), "-device", f"{device},id=scsi", *DVD],
		disks=[scsi(small), scsi(large, "scsi-id=3,lun=300", blocks, drive="discard=unmap")]), "diskcheck")
	assert "disk0 8 MiB, 512-byte blocks disk1 24 MiB, 4096-byte blocks (target 5 unit 0 can't be a drive)" in output
	for image in (small, large):
		verify_disk(image)


def test_errors(boot, disk, images, kernel, work):
	"""A bad block (blkdebug) fails those requests that ask for it; the neighbour on the same queue works on."""
	rules = work / "errors"
	rules.write_text("".join(f'[inject-error]\nevent = "{event}"\nerrno = "5"\nsector = "{sector * 8}"\n'
		for event, sector in (("read_aio", 11), ("write_aio", 20))))
	output = boot(program=images.own("deep"), firmware="pvh", cores=2, kernel=kernel,
		args=["-device", "virtio-scsi-pci,num_queues=1,id=scsi"],
		disks=[scsi(f"blkdebug:{rules}:{disk(8)}", drive="werror=report,rerror=report"),
			scsi(disk(8), "scsi-id=1")]).finish()
	for name, bad in (("read", 11), ("write", 20)):
		assert f"disk0 {name} {bad}: -5\ndisk0 {name}s: 63 good of 64\n" in output
		assert f"disk1 {name}s: 64 good of 64\n" in output
