"""What people boot: each format of the image, a CD and the network, from both firmwares."""
import os
import shutil
import subprocess

import pytest

from conftest import ROOT, make, run

HELLO = "Hello from Ingot: C on "


@pytest.mark.parametrize("image_format", ["qcow2", "vdi", "vmdk", "vhdx"])
def test_formats(boot, images, image_format):
	image = images.other(f"ingot.{image_format}", "image", f"FORMAT={image_format}")
	told = subprocess.run(["qemu-img", "info", image], text=True, capture_output=True, check=True).stdout
	assert f"file format: {image_format}\n" in told
	assert HELLO in boot(image=image, image_format=image_format).finish()


@pytest.fixture
def iso(images):
	return images.other("ingot.iso", "image", "FORMAT=iso")


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_iso(boot, iso, firmware):
	assert HELLO in boot(image=iso, boot_device="ide-cd", firmware=firmware).finish()


@pytest.fixture
def network(images):
	return images.other("netboot", "netboot")


@pytest.mark.parametrize("firmware, name", [("bios", "ingot.pxe"), ("uefi", "BOOTX64.EFI")])
def test_network(boot, network, firmware, name):
	"""QEMU's firmware for network cards, and the DHCP and TFTP servers of its user network."""
	output = boot(netboot=network / name, firmware=firmware).finish()
	assert HELLO in output and " 1 interface, " in output, "the firmware has let go of it"


def test_damaged(boot, iso, network, tmp_path):
	"""A bit of the kernel is another, on a CD; the end is missing, over the network."""
	content = bytearray(iso.read_bytes())
	content[content.index(b"Ingot\0\0\0") + 1000] ^= 4	# machine.MARK: in the kernel's first bytes
	(tmp_path / "bad.iso").write_bytes(content)
	shutil.copy(network / "ingot.pxe", tmp_path / "short.pxe")
	os.truncate(tmp_path / "short.pxe", (network / "ingot.pxe").stat().st_size - 600)
	for options in ({"image": tmp_path / "bad.iso", "boot_device": "ide-cd"}, {"netboot": tmp_path / "short.pxe"}):
		machine = boot(watch=False, **options)
		machine.expect(r"^Ingot: the boot image is damaged\.$")
		machine.kill()


def test_dnsmasq(network):
	"""Its configuration is one that dnsmasq takes, where it is installed."""
	configuration = (network / "dnsmasq.conf").read_text()
	for tag, name in (("bios", "ingot.pxe"), ("uefi", "BOOTX64.EFI")):
		assert (network / name).stat().st_size and f"dhcp-boot=tag:{tag},{name}\n" in configuration
	if not shutil.which("dnsmasq"):
		pytest.skip("no dnsmasq here: install dnsmasq-base")
	subprocess.run(["dnsmasq", "--test", "-C", network / "dnsmasq.conf"], check=True)


def test_refused(images, tmp_path):
	with pytest.raises(AssertionError, match="error: FORMAT=floppy: one of raw, qcow2, "):
		make("image", "FORMAT=floppy", f"O={tmp_path}")
	base = images.folder("qemu_q35")
	(tmp_path / "large").write_bytes(bytes(500000))
	with pytest.raises(AssertionError, match="more than the 466944 that a BIOS has room for"):
		run(ROOT / "scripts" / "image.py", "--for", "pxe", "--stage1", base / "boot-bios" / "pxe-boot.bin", "--stage2",
			base / "boot-bios" / "pxe-stage2.bin", "--kernel", base / "kernel.load", "--program", tmp_path / "large",
			"-o", tmp_path / "ingot.pxe")
	assert not (tmp_path / "ingot.pxe").exists()


def test_libvirt():
	"""The example is a domain as libvirt's schema has it."""
	if not shutil.which("virt-xml-validate"):
		pytest.skip("no virt-xml-validate here: install libvirt-clients and libxml2-utils")
	run("virt-xml-validate", ROOT / "examples" / "libvirt" / "ingot.xml", "domain")
