"""Several of everything in one machine, on the root bus, behind root ports, a switch and bridges: all of it works, and
is numbered as the buses list it, each time."""
import re

import pytest

from patterns import verify_disk
from test_devices import IDE_LINE, passed, user_net

BUSES = ["-device", "pcie-root-port,id=p0,chassis=1,addr=4.0,multifunction=on",
	"-device", "pcie-root-port,id=p1,chassis=2,addr=4.1", "-device", "pcie-root-port,id=p2,chassis=3,addr=4.2",
	"-device", "pcie-root-port,id=p3,chassis=4,addr=4.3", "-device", "x3130-upstream,bus=p1,id=up",
	"-device", "xio3130-downstream,bus=up,id=s0,chassis=11", "-device", "xio3130-downstream,bus=up,id=s1,chassis=12",
	"-device", "pcie-pci-bridge,id=bridge", "-device", "pci-bridge,bus=bridge,id=far,chassis_nr=9"]
KEYBOARDS = ["-device", "qemu-xhci,id=x", "-device", "nec-usb-xhci,id=y,bus=p3", "-device", "usb-kbd,bus=x.0,port=1",
	"-device", "usb-kbd,bus=y.0,port=1"]
CONTROLLERS = ["-device", "nvme,id=spaces,serial=s,bus=s1", "-device", "ahci,id=sata,bus=bridge,addr=6.0"]
NETS = [("e1000", "e1000", ""), ("e1000e", "e1000e", "bus=p0"), ("virtio-net-pci", "virtio-net", "bus=s0"),
	("e1000-82544gc", "e1000", "bus=far,addr=2.0"), ("e1000e", "e1000e", ""),
	("e1000-82545em", "e1000", "bus=bridge,addr=3.0"), ("virtio-net-pci", "virtio-net", ""),
	("e1000", "e1000", "bus=far,addr=4.0")]
DRIVES = [("virtio-blk-pci", "virtio-blk", ""), ("nvme", "nvme", "serial=n,bus=p2"),
	("virtio-blk-pci", "virtio-blk", "bus=far,addr=5.0"), ("nvme-ns", "nvme", "bus=spaces"),
	("nvme-ns", "nvme", "bus=spaces"), ("ide-hd", "ahci", "bus=ide.2"), ("ide-hd", "ahci", "bus=ide.4"),
	("ide-hd", "ahci", "bus=sata.0")]
PLACE = r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"


def mac(number):
	return f"52:54:00:00:88:{number:02x}"


@pytest.fixture
def several(boot, echo, disk):
	"""several(program): the machine, and the files of its drives."""
	files = [disk(8 + number) for number in range(len(DRIVES))]

	def start(program):
		return boot("all", program, cores=4, memory="512M", allowed=IDE_LINE, args=BUSES + KEYBOARDS + CONTROLLERS,
			nets=[user_net(echo, device=device, options=",".join(filter(None, [f"mac={mac(number)}", place])))
				for number, (device, _, place) in enumerate(NETS)],
			disks=[{"file": file, "device": device, "options": place}
				for file, (device, _, place) in zip(files, DRIVES)]), files

	return start


def numbered(machine, output):
	"""What the boot log says of interfaces and drives: [(number, place, MAC or size)], in the order of their lines."""
	log = output[output.rindex("memory: "):]
	nets = re.findall(rf"^({PLACE}) .*: net(\d+) (\w+) ", log, re.M)
	drives = [(number, line[:12], size) for line in log.splitlines() if re.match(PLACE, line)
		for number, size in re.findall(r"disk(\d+) (\d+) MiB", line)]
	return [(number, place, address) for place, number, address in nets], drives


def test_several_of_everything(several):
	machine, files = several("netcheck")
	output = passed(machine, "netcheck", 400)
	assert "interfaces=8" in output
	assert len(re.findall(r"^usb [01]-\S+ 0627:0001 030101 usb-kbd:$", output, re.M)) == 2
	nets, drives = numbered(machine, output)
	for of, count in ((nets, len(NETS)), (drives, len(DRIVES) + 1)):	# and the drive booted from
		assert [int(number) for number, _, _ in of] == list(range(count))
		assert [place for _, place, _ in of] == sorted(place for _, place, _ in of)
	machine, files = several("diskcheck")
	output = passed(machine, "diskcheck", 400)
	assert "drives=8" in output
	for file in files:
		verify_disk(file)
	assert numbered(machine, output) == (nets, drives)
	machine, _ = several("monitor")
	machine.expect("^> ")
	machine.send("net\r")
	for number, place, address in nets:
		driver = NETS[int(address[-2:], 16)][1]
		with_colons = ":".join(re.findall("..", address))
		machine.expect(rf"^net{number} {driver} {place} {with_colons} up.*, queues 1/{2 if driver == 'e1000e' else 1},")
	machine.send("disks\r")
	for number, place, size in drives:
		machine.expect(rf"^disk{number} ([\w-]+) {place} \d+ blocks of \d+ bytes \({size} MiB\), queues \d of \d+")
	machine.send("shutdown\r")
	machine.finish()
