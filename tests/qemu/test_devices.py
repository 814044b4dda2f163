"""Real work on the devices, and devices that misbehave."""
import pytest

from patterns import verify_disk, write_disk

MICROVM = "microvm,pcie=on"
MMIO = ("-global", "virtio-mmio.force-legacy=false")
# QEMU's IDE core says so of an AHCI controller whose line is not connected, at every command without a tag.
IDE_LINE = ["^ahci: IRQ#"]


def passed(machine, name, timeout=240):
	"""The program has the last word: PASS, and the power goes off."""
	verdict = machine.expect(rf"^{name}: (PASS|FAIL).*$", timeout)
	assert verdict[1] == "PASS", verdict[0] + machine._tail()
	return machine.finish()


def user_net(echo, **more):
	return {"netdev": f"user,bootfile=udp:{echo.port}", **more}


# ---- Network ----

@pytest.mark.parametrize("firmware, machine, config", [
	("bios", "q35", "qemu_q35"), ("bios", "pc", "qemu_pc"), ("uefi", "q35", "qemu_q35"),
	("pvh", MICROVM, "virtio_all"),
])
def test_net(boot, echo, firmware, machine, config):
	"""DHCP, ARP, ping and UDP of every size with the host, on each bus."""
	passed(boot(config, "netcheck", firmware=firmware, machine=machine, cores=2, nets=[user_net(echo)]), "netcheck")


def test_net_mmio(boot, echo):
	"""The MMIO transport, without PCI."""
	passed(boot("virtio_all", "netcheck", firmware="pvh", machine="microvm", cores=2, args=MMIO,
		nets=[user_net(echo, device="virtio-net-device")]), "netcheck")


def test_two_nets(boot, echo):
	"""Two interfaces: no state is shared."""
	output = passed(boot(program="netcheck", cores=2, nets=[user_net(echo), user_net(echo)]), "netcheck")
	assert "interfaces=2" in output


@pytest.mark.parametrize("options", [
	"disable-legacy=on", "disable-legacy=off,disable-modern=off", "packed=on", "event_idx=off", "indirect_desc=off",
	"mrg_rxbuf=off", "rx_queue_size=1024,tx_queue_size=256", "vectors=0", "ctrl_vq=off",
])
def test_net_variants(boot, echo, options):
	"""What the device offers decides the driver's path: each offer taken away or added alone."""
	passed(boot(program="netcheck", firmware="pvh", nets=[user_net(echo, options=options)]), "netcheck")


def test_legacy_only_is_named(boot):
	"""A device with the legacy interface alone is left alone, and nothing hangs."""
	machine = boot(program="hello", firmware="pvh", machine="pc", config="qemu_pc",
		nets=[{"options": "disable-legacy=off,disable-modern=on"}])
	assert "0 interfaces" in machine.finish()
	assert "1af4:1000" in machine.output.replace("1AF4", "1af4")


# ---- Drives ----

@pytest.mark.parametrize("firmware, machine, config", [
	("bios", "q35", "qemu_q35"), ("bios", "pc", "qemu_pc"), ("uefi", "q35", "qemu_q35"),
	("pvh", MICROVM, "virtio_all"),
])
def test_disk(boot, disk, firmware, machine, config):
	"""Patterns over a drive, looked at by the host afterwards."""
	image = disk(64)
	passed(boot(config, "diskcheck", firmware=firmware, machine=machine, cores=2, disks=[{"file": image}]), "diskcheck")
	verify_disk(image)


def test_disk_mmio(boot, disk):
	image = disk(32)
	passed(boot("virtio_all", "diskcheck", firmware="pvh", machine="microvm", cores=2, args=MMIO,
		disks=[{"file": image, "device": "virtio-blk-device"}]), "diskcheck")
	verify_disk(image)


@pytest.mark.parametrize("options", [
	"num-queues=1", "num-queues=4,queue-size=1024", "queue-size=4", "logical_block_size=4096,physical_block_size=4096",
	"indirect_desc=off", "event_idx=off", "write-cache=off", "discard=off", "disable-legacy=on", "vectors=0",
	"seg-max-adjust=off", "packed=on",
])
def test_disk_variants(boot, disk, options):
	image = disk(24)
	passed(boot(program="diskcheck", firmware="pvh", cores=4, disks=[{"file": image, "options": options}]), "diskcheck")
	verify_disk(image)


def test_read_only_disk(boot, work):
	image = work / "readonly.img"
	write_disk(image, 32 << 20)
	before = image.read_bytes()
	passed(boot(program="diskcheck", firmware="pvh", disks=[{"file": image, "drive": "readonly=on"}]), "diskcheck")
	assert image.read_bytes() == before


def test_two_nets_three_disks(boot, disk, echo):
	"""All at once, on all cores' queues; a drive is numbered as the bus lists it, and none takes another's data."""
	images = [disk(size) for size in (8, 20, 33)]
	machine = boot(program="diskcheck", cores=4, nets=[user_net(echo)] * 2, disks=[{"file": image} for image in images])
	assert "drives=3" in passed(machine, "diskcheck")
	for image in images:
		verify_disk(image)


# ---- The bus ----

def test_bars_above_4_gib(boot, echo):
	"""OVMF puts 64-bit BARs at 32 GiB and beyond."""
	machine = boot(program="netcheck", firmware="uefi", memory="512M", nets=[user_net(echo)])
	passed(machine, "netcheck")


PORTS = ["-device", "pcie-root-port,id=p0,chassis=1,addr=4.0,multifunction=on", "-device",
	"pcie-root-port,id=p1,chassis=2,addr=4.1"]
SWITCH = ["-device", "x3130-upstream,bus=p1,id=up", "-device", "xio3130-downstream,bus=up,id=down,chassis=3"]


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_behind_ports_and_a_switch(boot, disk, firmware):
	"""Root ports, a switch behind one of them, a PCI bridge: buses as the firmware has numbered them."""
	files = [disk(4) for _ in range(3)]
	args = [*PORTS, *SWITCH, "-device", "pcie-pci-bridge,id=bridge",
		"-device", "pci-bridge,bus=bridge,id=b2,chassis_nr=9"]
	machine = boot(program="hello", firmware=firmware, args=args, disks=[
		{"file": file, "options": f"bus={bus}" + (",addr=1.0" if bus == "b2" else "")}
		for file, bus in zip(files, ("p0", "down", "b2"))])
	assert "3 drives" in machine.finish()


def test_extra_root_bus(boot, disk):
	"""pxb-pcie: a host bridge of its own, which no bridge leads to."""
	args = ["-device", "pxb-pcie,id=extra,bus_nr=64", "-device", "pcie-root-port,id=p9,bus=extra,chassis=9"]
	machine = boot(program="hello", args=args, disks=[{"file": disk(4), "options": "bus=p9"}])
	assert "1 drive" in machine.finish()


def test_multifunction(boot, disk):
	"""Functions 0 to 2 of one device, 1 missing."""
	machine = boot(program="hello", disks=[
		{"file": disk(4), "options": "addr=5.0,multifunction=on"}, {"file": disk(4), "options": "addr=5.2"}])
	assert "2 drives" in machine.finish()
