"""QEMU's devices for the options of a configuration.  Used by ram.py and the tests."""
from pathlib import Path

NETS = {"NET_VIRTIO": "virtio-net-{virtio}", "NET_E1000": "e1000", "NET_E1000E": "e1000e"}
DISKS = {"STORAGE_VIRTIO_BLK": "virtio-blk-{virtio}", "STORAGE_NVME": "nvme,serial=x",
	"STORAGE_AHCI": "ide-hd,bus=ahci.0"}
CONTROLLERS = {"STORAGE_AHCI": ["-device", "ahci,id=ahci"]}
MODERN = ["-global", "virtio-mmio.force-legacy=false"]	# QEMU's virtio-mmio is of version 0.9 otherwise
OTHERS = {"HID_USB_KBD": ["-device", "qemu-xhci,id=xhci", "-device", "usb-kbd,bus=xhci.0"]}


def options(folder):
	"""Those that are on in a build folder."""
	lines = (Path(folder) / ".config").read_text().splitlines()
	return {line.removeprefix("CONFIG_").removesuffix("=y") for line in lines if line.endswith("=y")}


def transport(on):
	"""By what the kernel finds virtio devices: "pci", "device" (MMIO), or None."""
	return "pci" if "BUS_VIRTIO_PCI" in on else "device" if "BUS_VIRTIO_MMIO" in on else None


def machine(on):
	"""A machine of QEMU's for these options: its devices are where the kernel looks for them."""
	if transport(on) == "device" and "BOOT_PVH" in on:
		return "microvm,pcie=on" if {"BUS_PCI", "BUS_PCI_ECAM", "BUS_PCI_ASSIGN"} <= on else "microvm"
	return "q35"


def for_option(option, on, kind, disk):
	"""Arguments for the device that `option` drives, None if this machine can't have it; `disk` is a raw file."""
	virtio = transport(on)
	if option in ("NET_VIRTIO", "STORAGE_VIRTIO_BLK"):
		if not virtio or (virtio == "device") != kind.startswith("microvm"):
			return None
	elif kind == "microvm":
		return None
	if option in NETS:
		return ["-netdev", f"user,id={option}", "-device", NETS[option].format(virtio=virtio) + f",netdev={option}"
			+ ("" if virtio == "device" and option == "NET_VIRTIO" else ",romfile=")]
	if option in DISKS:
		return [*CONTROLLERS.get(option, []), "-drive", f"if=none,id={option},format=raw,snapshot=on,file={disk}",
			"-device", DISKS[option].format(virtio=virtio) + f",drive={option}"]
	return OTHERS.get(option)
