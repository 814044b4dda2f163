"""The configurations that stand for kinds of hardware, each on the machine of QEMU's that comes closest."""
import pytest

from patterns import verify_disk
from test_devices import passed, user_net
from test_nvme import IDE_LINE

ROWS = [	# configuration, firmware, machine, interface, drive
	("virtualbox", "bios", "pc", "e1000", {"device": "ide-hd", "options": "bus=ahci.0"}),
	("vmware", "bios", "q35", "e1000e", {"device": "nvme", "options": "serial=x"}),
	("intel_1g_nvme", "uefi", "q35", "e1000e", {"device": "nvme", "options": "serial=x"}),
	("intel_10g_server", "uefi", "q35", None, {"device": "nvme", "options": "serial=x"}),
]


@pytest.mark.parametrize("config, firmware, machine, interface, drive", ROWS)
def test_disk(boot, disk, config, firmware, machine, interface, drive):
	"""Patterns over its drive, verified by the host."""
	image = disk(24)
	args = ["-device", "ahci,id=ahci"] if drive["device"] == "ide-hd" else []
	passed(boot(config, "diskcheck", firmware=firmware, machine=machine, cores=2, display=True, args=args,
		allowed=IDE_LINE, disks=[{"file": image, **drive}]), "diskcheck")
	verify_disk(image)


@pytest.mark.parametrize("config, firmware, machine, interface, drive", [row for row in ROWS if row[3]])
def test_net(boot, echo, config, firmware, machine, interface, drive):
	"""DHCP, ARP, ping and UDP with the host."""
	passed(boot(config, "netcheck", firmware=firmware, machine=machine, cores=2, allowed=IDE_LINE,
		nets=[user_net(echo, device=interface)]), "netcheck")


MMIO = {"firmware": "pvh", "machine": "microvm", "cores": 2, "args": ["-global", "virtio-mmio.force-legacy=false"]}


def test_microvm_disk(boot, disk):
	"""No PCI: the drive is at an address of its own."""
	image = disk(24)
	passed(boot("microvm", "diskcheck", disks=[{"file": image, "device": "virtio-blk-device"}], **MMIO), "diskcheck")
	verify_disk(image)


def test_microvm_net(boot, echo):
	passed(boot("microvm", "netcheck", nets=[user_net(echo, device="virtio-net-device")], **MMIO), "netcheck")


def test_usb_keyboard(boot):
	"""The desktop board's keyboard reaches the monitor."""
	machine = boot("intel_1g_nvme", "monitor", firmware="pvh", display=True,
		args=["-device", "qemu-xhci", "-device", "usb-kbd"])
	machine.expect("usb-kbd")
	machine.type(["s", "h", "u", "t", "d", "o", "w", "n", "ret"])
	machine.finish()
