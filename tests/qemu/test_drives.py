"""What is asked of every drive alike, whatever its driver: the data is what was written, an error is that of its
request, and a drive that hangs ends in an error. One machine has a drive of each kind."""
import re

import pytest

from conftest import LONG
from patterns import verify_extents, write_disk
from test_devices import IDE_LINE, passed

KINDS = ["virtio-blk", "nvme", "ahci"]
THROTTLE = ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")


def drive(kind, file, number, options="", **more):
	device, needed = {"virtio-blk": ("virtio-blk-pci", ""), "nvme": ("nvme", f"serial=n{number}"),
		"ahci": ("ide-hd", f"bus=ide.{number}")}[kind]
	return {"file": file, "device": device, "options": ",".join(filter(None, [needed, options])), **more}


def test_extents(boot, disk, images):
	"""Random extents of 1 to 2048 sectors, 1 to 128 at once, on all cores' queues: checked by the program, and here
	when the power is off."""
	files = [disk(1024 if LONG else 40) for _ in range(4)]
	mib = 2048 if LONG else 48	# three of four are writes
	big = "logical_block_size=4096,physical_block_size=4096"
	drives = [("virtio-blk", "num-queues=4"), ("nvme", ""), ("nvme", big), ("ahci", "")]
	machine = boot("all", images.own("extents"), firmware="pvh", cores=4, memory="512M", append=f"mib={mib}",
		allowed=IDE_LINE, disks=[drive(kind, file, number, options, drive="cache=unsafe")	# the host needn't flush
			for number, (file, (kind, options)) in enumerate(zip(files, drives))])
	output = passed(machine, "extents", 1800 if LONG else 240)
	for number, file in enumerate(files):
		queues = re.findall(rf"disk{number} queue \d+: (\d+) requests", output)
		assert len(queues) == (1 if number == 3 else 4) and all(int(count) > mib // 16 for count in queues)
		written, seeds = map(int, re.search(rf"disk{number} [\w-]+: (\d+) units, sum (\d+)", output).groups())
		assert written > 20 << 11
		verify_extents(file, written, seeds)


def test_random_reads(boot, images, work):
	"""32 at once, each the sector that was asked for."""
	reads = 1000000 if LONG else 20000
	image = work / "filled.img"
	write_disk(image, 17 << 20)
	machine = boot("all", images.own("million"), firmware="pvh", append=f"reads={reads}", allowed=IDE_LINE,
		disks=[drive(kind, image, number, drive="readonly=on" if kind != "ahci" else "snapshot=on")
			for number, kind in enumerate(KINDS)])
	output = passed(machine, "million", 60 + reads / 1000)
	for number, kind in enumerate(KINDS):
		assert f"disk{number} {kind}: all there" in output


BAD_READ, BAD_WRITE, REQUESTS = 11, 20, 64	# as programs/deep.c counts


@pytest.mark.parametrize("cores", [1, 4])
def test_errors(boot, disk, images, work, cores):
	"""With many requests under way, a bad block (blkdebug) fails those that ask for it, by both interfaces, and no
	others; the other drives work on."""
	rules = work / "errors"
	rules.write_text("".join(f'[inject-error]\nevent = "{event}"\nerrno = "5"\nsector = "{sector * 8}"\n'
		for event, sector in (("read_aio", BAD_READ), ("write_aio", BAD_WRITE))))
	drives = []
	for kind in KINDS:
		alone = "request-merging=off" if kind == "virtio-blk" else ""	# QEMU makes one of neighbours
		drives += [drive(kind, f"blkdebug:{rules}:{disk(8)}", len(drives), alone, drive="werror=report,rerror=report"),
			drive(kind, disk(8), len(drives) + 1)]
	output = boot("all", images.own("deep"), firmware="pvh", cores=cores, allowed=IDE_LINE, disks=drives).finish()
	said = [line for line in output.splitlines() if re.match(r"disk\d ", line)]
	expected = []
	for number in range(len(drives)):
		for name, bad in (("read", BAD_READ), ("write", BAD_WRITE)):
			one = number % 2 == 0
			expected += 2 * ([f"disk{number} {name} {bad}: -5"] * one +
				[f"disk{number} {name}s: {REQUESTS - one} good of {REQUESTS}"])
			expected += [f"disk{number} b_nvs {name} {bad}: 0"] * one
			expected += [f"disk{number} b_nvs {name}s: {REQUESTS - one} good"]
	assert said == expected


# What each kind gives when it hangs, and afterwards. The second drive is a good one; SATA's controller is the last.
@pytest.mark.parametrize("config, kinds, hung, again", [
	("all", ["virtio-blk", "virtio-blk", "nvme", "ahci"], [-6, 0, -6, -6], [-5, 0, 0, 0]),
	("virtualbox", ["virtio-blk", "virtio-blk"], [-6, 0], [0, 0]),
])
def test_deadline(boot, disk, images, config, kinds, hung, again):
	"""Drives throttled to next to nothing: an error after the deadline, and a reset after which they work again, if the
	configuration has that; the good one doesn't wait for them."""
	# QEMU's AHCI waits for what a reset ends: that must be over soon behind the deadline of 5 s.
	disks = [drive(kind, disk(8), number,
		drive="" if number == 1 else f"throttling.bps-total={700 if kind == 'ahci' else 100}")
		for number, kind in enumerate(kinds)]
	machine = boot(config, images.own("deadline"), firmware="pvh", cores=4, allowed=IDE_LINE, append="good=1",
		disks=disks)
	for number, (kind, rc) in enumerate(zip(kinds, hung)):
		machine.expect(rf"^disk{number} {kind}: {rc}$")
	assert int(machine.expect(r"deadline: (\d+) reads")[1]) > 100
	for number in range(len(kinds)):
		machine.qmp("block_set_io_throttle", device=f"d{number}", **{name: 0 for name in THROTTLE})
	machine.send("x")
	for number, (kind, rc) in enumerate(zip(kinds, again)):
		machine.expect(rf"^disk{number} {kind} again: {rc}$")
	machine.finish()
