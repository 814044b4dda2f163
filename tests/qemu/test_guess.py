"""make guessconfig and make diffconfig: a configuration for a machine, from whatever describes it."""
import os
import subprocess

import pexpect
import pytest

from conftest import ROOT
from machine import DEADLINE

LSPCI = """\
00:00.0 Host bridge [0600]: Intel Corporation 8th Gen Core Processor Host Bridge [8086:3e1f] (rev 08)
00:02.0 VGA compatible controller [0300]: Intel Corporation UHD Graphics 630 [8086:3e91]
00:14.0 USB controller [0c03]: Intel Corporation Cannon Lake PCH USB 3.1 xHCI Host Controller [8086:a36d] (rev 10)
00:17.0 SATA controller [0106]: Intel Corporation Cannon Lake PCH SATA AHCI Controller [8086:a352] (rev 10)
00:1d.0 USB controller [0c03]: Intel Corporation USB2 EHCI Controller [8086:1e26]
00:1f.0 ISA bridge [0601]: Intel Corporation H370 Chipset LPC/eSPI Controller [8086:a304] (rev 10)
00:1f.6 Ethernet controller [0200]: Intel Corporation Ethernet Connection (7) I219-V [8086:15bc] (rev 10)
01:00.0 Non-Volatile memory controller [0108]: Samsung NVMe SSD Controller SM981 [144d:a808]
02:00.0 Network controller [0280]: Intel Corporation Wireless-AC 9560 [8086:a370]
"""
TRANSITIONAL = """\
0000:00:03.0 Ethernet controller [0200]: Red Hat, Inc. Virtio network device [1af4:1000]
\tSubsystem: Red Hat, Inc. Virtio network device [1af4:0001]
0000:00:04.0 SCSI storage controller [0100]: Red Hat, Inc. Virtio block device [1af4:1001]
0000:00:05.0 SCSI storage controller [0100]: Red Hat, Inc. Virtio SCSI [1af4:1004]
"""


class Linux:
	"""The files of a machine's /sys and /proc that are read."""

	def __init__(self, root):
		self.root = root
		(root / "sys/bus/pci/devices").mkdir(parents=True)

	def write(self, path, content):
		target = self.root / path
		target.parent.mkdir(parents=True, exist_ok=True)
		target.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())

	def pci(self, address, vendor, device, code, config=b""):
		for name, value in (("vendor", vendor), ("device", device), ("class", code), ("subsystem_vendor", 0),
				("subsystem_device", 0)):
			self.write(f"sys/bus/pci/devices/{address}/{name}", f"{value:#06x}")
		self.write(f"sys/bus/pci/devices/{address}/config", config)


@pytest.fixture
def linux(tmp_path):
	return Linux(tmp_path / "root")


def guess(build, *arguments, **variables):
	"""What it says, and the lines of the configuration."""
	environment = {name: value for name, value in os.environ.items()
		if name not in ("LSPCI", "LOG", "EXTERNAL", "HERE")}
	result = subprocess.run([ROOT / "scripts" / "guessconfig.py", build, *arguments], text=True, capture_output=True,
		check=False, env={**environment, **{name: str(value) for name, value in variables.items()}})
	if result.returncode:
		return result.stderr, None
	return result.stdout, set((build / ".config").read_text().splitlines())


def on(config):
	return {line.removeprefix("CONFIG_").removesuffix("=y") for line in config if line.endswith("=y")}


def test_lspci(tmp_path):
	"""A desktop board: interfaces of classes aren't in the text, keyboards neither."""
	(tmp_path / "list").write_text(LSPCI)
	said, config = guess(tmp_path / "build", LSPCI=tmp_path / "list")
	assert {"NET_E1000E", "STORAGE_NVME", "STORAGE_AHCI", "HID_USB_KBD", "HID_PS2", "VIDEO_LFB", "SERIAL"} <= on(config)
	assert not {"NET_VIRTIO", "NET_E1000", "NET_IXGBE", "STORAGE_VIRTIO_BLK", "VIDEO_VGA"} & on(config)
	assert "02:00.0      8086:a370 028000  no driver    network" in said
	assert "00:1d.0      8086:1e26 0c0320  no driver" in said
	assert "9, 2 of them without a driver" in said
	assert "# 01:00.0      144d:a808 010800  nvme         STORAGE_NVME" in (
		tmp_path / "build" / "guessed_defconfig").read_text()


def test_transitional_virtio(tmp_path):
	"""The kind is in the subsystem, or follows from the id; a kind without a driver brings none."""
	(tmp_path / "list").write_text(TRANSITIONAL)
	said, config = guess(tmp_path / "build", LSPCI=tmp_path / "list")
	assert {"NET_VIRTIO", "STORAGE_VIRTIO_BLK"} <= on(config)
	assert "1af4:1004 010000  no driver    virtio device of type 8" in said
	(tmp_path / "list").write_text(TRANSITIONAL.splitlines()[-1] + "\n")
	assert not {"NET_VIRTIO", "STORAGE_VIRTIO_BLK"} & on(guess(tmp_path / "build", LSPCI=tmp_path / "list")[1])


def test_linux_server(tmp_path, linux):
	"""One core without x2APIC, no screen, the second serial port; a card that has neither MSI nor MSI-X."""
	linux.pci("0000:00:00.0", 0x8086, 0x29C0, 0x060000)
	header = bytearray(256)
	header[6], header[0x34], header[0x3D], header[0x50] = 0x10, 0x50, 1, 0x01	# power management alone
	linux.pci("0000:01:00.0", 0x8086, 0x10FB, 0x020000, bytes(header))
	linux.write("sys/devices/system/cpu/present", "0")
	linux.write("proc/cpuinfo", "flags\t\t: fpu msr sse2")
	for number, kind in enumerate((0, 4)):
		linux.write(f"sys/class/tty/ttyS{number}/type", kind)
		linux.write(f"sys/class/tty/ttyS{number}/port", ("0x3F8", "0x2F8")[number])
	linux.write("sys/firmware/acpi/tables/FACP", "")
	said, config = guess(tmp_path / "build", "--root", linux.root)
	assert on(config) >= {"NET_IXGBE", "BUS_PCI_INTX", "SERIAL"} and "CONFIG_SERIAL_PORT=0x2F8" in config
	assert not {"CORE_SMP", "CORE_X2APIC", "BOOT_PVH", "BUS_PCI_ECAM", "VIDEO_LFB", "HID_PS2", "BUS_XHCI"} & on(config)
	assert "cores: 1\n" in said and "no UEFI" in said
	header[0x51], header[0x60] = 0x60, 0x11	# and MSI-X behind it
	linux.pci("0000:01:00.0", 0x8086, 0x10FB, 0x020000, bytes(header))
	assert "BUS_PCI_INTX" not in on(guess(tmp_path / "build", "--root", linux.root)[1])


def test_linux_desktop(tmp_path, linux):
	"""Keyboards that are there; no serial port, and a screen instead."""
	linux.pci("0000:00:02.0", 0x8086, 0x3E91, 0x030000)
	linux.pci("0000:00:14.0", 0x8086, 0xA36D, 0x0C0330)
	linux.write("sys/class/tty/ttyS0/type", 0)
	linux.write("sys/firmware/efi/fw_platform_size", 64)
	linux.write("sys/devices/system/cpu/present", "0-3,8-11")
	mouse = {"bInterfaceClass": "03", "bInterfaceSubClass": "01", "bInterfaceProtocol": "02"}
	for name, value in mouse.items():
		linux.write(f"sys/bus/usb/devices/1-2:1.0/{name}", value)
	said, config = guess(tmp_path / "build", "--root", linux.root)
	assert "VIDEO_LFB" in on(config) and not {"SERIAL", "HID_USB_KBD", "BUS_XHCI", "HID_PS2"} & on(config)
	assert "cores: 8\n" in said and "UEFI: BOOTX64.EFI" in said
	linux.write("sys/bus/usb/devices/1-2:1.0/bInterfaceProtocol", "01")
	linux.write("sys/bus/serio/devices/serio0/description", "i8042 KBD port")
	assert {"HID_USB_KBD", "BUS_XHCI", "HID_PS2"} <= on(guess(tmp_path / "build", "--root", linux.root)[1])


def test_own_boot_log(boot, tmp_path):
	"""What this kernel says on microvm leads to a kernel for microvm."""
	machine = boot("microvm", "hello", firmware="pvh", machine="microvm", cores=2,
		nets=[{"device": "virtio-net-device"}], args=["-global", "virtio-mmio.force-legacy=false"])
	(tmp_path / "log").write_text(machine.finish())
	said, config = guess(tmp_path / "build", HERE=tmp_path, LOG="log")
	assert {"NET_VIRTIO", "BUS_VIRTIO_MMIO", "SERIAL", "CORE_SMP"} <= on(config)
	assert not {"BUS_PCI", "STORAGE_VIRTIO_BLK", "VIDEO_LFB"} & on(config)
	assert "cores: 2\n" in said


def test_outside_driver(tmp_path):
	"""A driver of a folder in EXTERNAL= is matched by its table like the others."""
	(tmp_path / "list").write_text("05:00.0 Ethernet controller [0200]: Realtek RTL-8139C+ [10ec:8139] (rev 20)\n")
	said, config = guess(tmp_path / "build", LSPCI=tmp_path / "list", EXTERNAL=ROOT / "tests" / "external" / "rtl8139")
	assert "rtl8139      RTL8139_" in said and any(option.startswith("RTL8139_") for option in on(config))


@pytest.mark.parametrize("text, variables, message", [
	("", {"LSPCI": "list"}, "no line as lspci -nn writes it"),
	("nothing", {"LOG": "list"}, "no line of Ingot's boot log"),
	("", {"LOG": "nope"}, "LOG=nope: there is no such file"),
	("", {"LOG": "list", "LSPCI": "list"}, "LSPCI and LOG: only one of them"),
])
def test_refused(tmp_path, text, variables, message):
	"""Nothing is written."""
	(tmp_path / "list").write_text(text)
	said, config = guess(tmp_path / "build", HERE=tmp_path, **variables)
	assert config is None and message in said and len(said.splitlines()) == 1
	assert not (tmp_path / "build" / ".config").exists()


def diff(build, *arguments):
	return subprocess.run([ROOT / "scripts" / "kconfig.py", build, "diffconfig", *map(str, arguments)], text=True,
		capture_output=True, check=False)


def test_diffconfig(tmp_path):
	"""Defconfigs by name, files and build folders; without names: what was changed by hand."""
	build = tmp_path / "build"
	subprocess.run([ROOT / "scripts" / "kconfig.py", build, "sync", "virtio_cloud"], check=True)
	assert diff(build).stdout == ""
	config = (build / ".config").read_text()
	(build / ".config").write_text(config.replace("CONFIG_NET_VIRTIO=y", "# CONFIG_NET_VIRTIO is not set"))
	changed = "NET_VIRTIO               y -> n        virtio-net\n"
	assert diff(build).stdout == changed
	assert diff(build, "virtio_cloud", build / ".config").stdout == changed
	assert diff(build, build, "virtio_cloud").stdout == changed.replace("y -> n", "n -> y")
	result = diff(build, "virtio_cloud", "nope")
	assert result.returncode and "there is no configs/nope_defconfig" in result.stderr


def test_menuconfig(tmp_path):
	"""From the first menu to a driver's help, which ends with the ids of its own table."""
	child = pexpect.spawn(str(ROOT / "scripts" / "kconfig.py"), [str(tmp_path), "menuconfig"], dimensions=(40, 120),
		timeout=DEADLINE, env={**os.environ, "TERM": "xterm", "MENUCONFIG_STYLE": "monochrome"})
	child.expect("Machine.*Size and debugging")
	child.send("jjj\r")	# Network
	child.expect("PCIe.*e1000e")
	child.send("jj?")
	child.expect("PCI devices: 8086:105e")
	child.send("qqq")
	child.expect(pexpect.EOF)
