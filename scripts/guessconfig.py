#!/usr/bin/python3
"""guessconfig.py BUILD: writes BUILD/guessed_defconfig, a configuration for one machine, and takes it.

The machine is the one this runs on (Linux's /sys and /proc), or what a file says: LSPCI=FILE, the text of
`lspci -nn`, or LOG=FILE, Ingot's own boot log; both relative to HERE.  Devices are matched by the drivers' own tables
(drivers.py).  --root DIR reads DIR/sys and DIR/proc instead, for tests.
"""
import os
import re
import sys
from pathlib import Path

import drivers as tables
import external
import kconfig

NAME = "guessed"
VIRTIO = 0x1AF4
# Virtio 1.2, s. 4.1.2.1: transitional devices whose subsystem id isn't known.
TRANSITIONAL = {0x1000: 1, 0x1001: 2, 0x1002: 5, 0x1003: 3, 0x1004: 8, 0x1005: 4, 0x1009: 9}
CLASSES = ["old device", "storage", "network", "display", "multimedia", "memory", "bridge", "serial or parallel port",
	"system device", "input", "docking station", "processor", "bus controller", "wireless", "intelligent I/O",
	"satellite", "encryption", "signal processing", "accelerator", "instrumentation"]
DISPLAY, BRIDGE, ISA_BRIDGE = 0x03, 0x06, 0x0601
USB_CONTROLLERS = {"UHCI": 0x00, "OHCI": 0x10, "EHCI": 0x20, "XHCI": 0x30}	# programming interfaces of class 0C03
COM_PORTS = (0x3F8, 0x2F8, 0x3E8, 0x2E8)


class Machine:
	"""What is known of a machine."""

	def __init__(self, source):
		self.source = source
		self.devices = []	# (bus, address, Device)
		self.line_only = set()	# addresses of those whose interrupts need INTx
		self.options = {}	# what follows from more than the devices: True, False or a number
		self.remarks = []
		self.keyboards_known = False	# whether USB and PS/2 were looked at

	def add(self, bus, address, *ids, **more):
		self.devices.append((bus, address, tables.Device(*ids, **more)))

	def has_class(self, code, digits):
		return any(bus == "pci" and dev.class_code >> 24 - 4 * digits == code for bus, _, dev in self.devices)


# ---- Linux ----

def number(path):
	return int(path.read_text().strip(), 0)


def read_linux(root):
	machine = Machine("this machine" if root == Path("/") else str(root))
	sys_folder, pci = root / "sys", root / "sys" / "bus" / "pci" / "devices"
	for path in sorted(pci.glob("*")):
		machine.add("pci", path.name, *(number(path / name) for name in ("vendor", "device", "class",
			"subsystem_vendor", "subsystem_device")))
		if without_messages(path):
			machine.line_only.add(path.name)
	for path in sorted((sys_folder / "bus" / "virtio" / "devices").glob("*")):
		if "/pci" not in str(path.resolve()):
			machine.add("virtio", f"mmio {path.name}", VIRTIO, number(path / "device"), 0)
	for path in sorted((sys_folder / "bus" / "usb" / "devices").glob("*/bInterfaceClass")):
		code = "".join((path.parent / name).read_text().strip() for name in ("bInterfaceClass", "bInterfaceSubClass",
			"bInterfaceProtocol"))
		machine.add("usb", f"usb {path.parent.name}", None, None, int(code, 16))
	machine.keyboards_known = True
	machine.options["HID_PS2"] = has_ps2(sys_folder / "bus")
	read_serial(machine, sys_folder / "class" / "tty")
	read_processor(machine, root)
	acpi = sys_folder / "firmware" / "acpi" / "tables"
	if acpi.is_dir() and not (acpi / "MCFG").exists():
		machine.options["BUS_PCI_ECAM"] = False
	efi = (sys_folder / "firmware" / "efi").exists()
	machine.remarks.append("firmware: " + ("UEFI: BOOTX64.EFI, or ingot.img" if efi else "no UEFI: ingot.img"))
	if not machine.devices and not pci.is_dir():
		raise kconfig.ConfigError(f"{pci}: there is no such folder; give a file by LSPCI= or LOG=")
	return machine


def without_messages(path):
	"""Whether a function has an interrupt line and neither MSI nor MSI-X; its capabilities need root to be read."""
	config = (path / "config").read_bytes() if (path / "config").exists() else b""
	if len(config) < 256 or not config[0x3D]:
		return False
	at, seen = config[0x34] & ~3 if config[6] & 0x10 else 0, set()
	while at >= 0x40 and at not in seen:
		seen.add(at)
		if config[at] in (0x05, 0x11):
			return False
		at = config[at + 1] & ~3
	return True


def has_ps2(bus):
	names = [*bus.glob("serio/devices/*/description"), *bus.glob("pnp/devices/*/id"), *bus.glob("acpi/devices/*/hid")]
	return any(re.search(r"i8042 KBD|PNP0303", path.read_text()) for path in names)


def read_serial(machine, tty):
	ports = [number(path / "port") for path in sorted(tty.glob("ttyS*"))
		if (path / "type").exists() and number(path / "type")]
	ports = [port for port in ports if port in COM_PORTS]
	if ports:
		machine.options["SERIAL_PORT"] = ports[0]
	elif tty.is_dir() and machine.has_class(DISPLAY, 2):
		machine.options["SERIAL"] = False	# without a screen it is the only outlet: asking for it does no harm


def read_processor(machine, root):
	cores = root / "sys" / "devices" / "system" / "cpu" / "present"
	if cores.exists():
		ranges = [part.split("-") for part in cores.read_text().strip().split(",")]
		set_cores(machine, sum(int(part[-1]) - int(part[0]) + 1 for part in ranges))
	information = root / "proc" / "cpuinfo"
	flags = re.search(r"^flags\s*:(.*)$", information.read_text(), re.M) if information.exists() else None
	if flags:
		machine.options["CORE_X2APIC"] = "x2apic" in flags[1].split()
		machine.options["BOOT_PVH"] = "hypervisor" in flags[1].split()


def set_cores(machine, count):
	machine.options["CORE_SMP"] = count > 1
	machine.remarks.append(f"cores: {count}")


# ---- Files ----

LSPCI = re.compile(r"^((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) (.*?) \[([0-9a-f]{4})\]: (.*)"
	r"\[([0-9a-f]{4}):([0-9a-f]{4})\]", re.I)


def read_lspci(path):
	"""The programming interface is in it only with -v."""
	machine = Machine(path)
	for line in path.read_text(errors="replace").splitlines():
		found = LSPCI.match(line)
		if not found:
			subsystem = re.match(r"\s+Subsystem: .*\[([0-9a-f]{4}):([0-9a-f]{4})\]", line)
			if subsystem and machine.devices:
				bus, address, device = machine.devices[-1]
				machine.devices[-1] = (bus, address, device._replace(subvendor=int(subsystem[1], 16),
					subdevice=int(subsystem[2], 16)))
			continue
		code, name = int(found[3], 16) << 8, found[4].upper()
		interface = re.search(r"\(prog-if ([0-9a-f]{2})", line)
		if interface:
			interface = int(interface[1], 16)
		elif code == 0x0C0300:
			interface = next((value for word, value in USB_CONTROLLERS.items() if word in name), None)
		known = 0xFFFF00 if interface is None else 0xFFFFFF
		machine.add("pci", found[1], int(found[5], 16), int(found[6], 16), code | (interface or 0), class_known=known)
	if not machine.devices:
		raise kconfig.ConfigError(f"{path}: no line as lspci -nn writes it: "
			"00:1f.2 SATA controller [0106]: Intel Corporation ... [8086:2922]")
	return machine


LOG = re.compile(r"(?P<address>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|mmio [0-9a-f]+|usb [\d.-]+) "
	r"(?P<vendor>[0-9a-f]{4}):(?P<device>[0-9a-f]{4}) (?P<class>[0-9a-f]{6}) ")


def read_log(path):
	machine = Machine(path)
	for line in path.read_text(errors="replace").splitlines():
		found = LOG.search(line)
		if found:
			bus = {"m": "virtio", "u": "usb"}.get(found["address"][0], "pci")
			machine.add(bus, found["address"], *(int(found[name], 16) for name in ("vendor", "device", "class")))
		elif (cores := re.search(r"cores: (?:\d+) of (\d+) started", line)):
			set_cores(machine, int(cores[1]))
	if not machine.devices:
		raise kconfig.ConfigError(f"{path}: no line of Ingot's boot log: 0000:00:02.0 8086:10d3 020000 ...")
	return machine


def read_machine(root):
	files = {name: os.environ[name] for name in ("LSPCI", "LOG") if os.environ.get(name)}
	if len(files) > 1:
		raise kconfig.ConfigError("LSPCI and LOG: only one of them")
	for name, value in files.items():
		path = Path(os.environ.get("HERE", ".")) / value
		if not path.is_file():
			raise kconfig.ConfigError(f"{name}={value}: there is no such file ({path})")
		return {"LSPCI": read_lspci, "LOG": read_log}[name](path)
	return read_linux(root)


# ---- From devices to options ----

def virtio_type(device):
	if device.device >= 0x1040:
		return device.device - 0x1040
	return device.subdevice or TRANSITIONAL.get(device.device)


def find_driver(drivers, bus, device):
	"""(driver, options); a transport is only needed for a device on it that has a driver."""
	found = tables.match(drivers, bus, device)
	if found and found.option == "BUS_VIRTIO_PCI":
		behind = tables.match(drivers, "virtio", device._replace(device=virtio_type(device)))
		return behind, [found.option, behind.option] if behind else []
	if not found or found.option.startswith("BUS_"):
		return found, []
	return found, (["BUS_VIRTIO_MMIO"] if bus == "virtio" else []) + [found.option]


def kind(device):
	if device.vendor == VIRTIO:
		return f"virtio device of type {virtio_type(device)}"
	base = device.class_code >> 16
	return CLASSES[base] if base < len(CLASSES) else f"class {base:02x}"


def verdict(bus, device, driver, options):
	if options:
		return driver.name, " ".join(options)
	if driver:
		return "-", f"{driver.name}, which comes with drivers of what is behind it"
	if bus == "pci" and device.class_code >> 16 == BRIDGE:
		return "-", "bridge, needs none"
	if bus == "pci" and device.class_code >> 16 == DISPLAY:
		return "-", "through the firmware's frame buffer: VIDEO_LFB"
	return "no driver", "" if bus == "usb" else kind(device)


def guess(machine, drivers):
	"""(options to set, lines that say why)."""
	options, lines, missing, usb = set(), [], 0, False
	for bus, address, device in machine.devices:
		driver, wanted = find_driver(drivers, bus, device)
		options.update(wanted)
		usb |= driver is not None and driver.option == "BUS_XHCI"
		what, why = verdict(bus, device, driver, wanted)
		missing += what == "no driver"
		ids = f"{device.vendor:04x}:{device.device:04x} " if device.vendor is not None else ""
		lines.append(f"{address:12} {ids}{device.class_code:06x}  {what:12} {why}")
	lines.append(f"devices: {len(machine.devices)}, {missing} of them without a driver")
	if machine.has_class(DISPLAY, 2):
		options.add("VIDEO_LFB")
		if not machine.keyboards_known:
			options.update(["HID_USB_KBD"] * usb + ["HID_PS2"] * machine.has_class(ISA_BRIDGE, 4))
			lines.append("keyboards: this source names none; there is a screen, so those that such a machine may have")
	return options, lines + machine.remarks


def settings(machine, options, drivers):
	"""What is to be set, by option."""
	result = {driver.option: "n" for driver in drivers if not driver.option.startswith("BUS_")}
	for option, value in machine.options.items():
		result[option] = {True: "y", False: "n"}.get(value) or f"0x{value:X}"
	result.update(dict.fromkeys(options, "y"))
	if any(address in machine.line_only and find_driver(drivers, bus, device)[1]
			for bus, address, device in machine.devices):
		result["BUS_PCI_INTX"] = "y"
	if not any(bus == "pci" for bus, *_ in machine.devices):
		result["BUS_PCI"] = "n"
	return result


def write(config, values, machine, lines):
	kconf, path = config.kconf, config.build / f"{NAME}_defconfig"
	kconf.unset_values()
	for option, value in values.items():
		kconf.syms[option].set_value(value)
	header = "".join(f"# {line}\n" for line in [f"Written by make guessconfig for {machine.source}:", *lines])
	kconf.write_min_config(str(path), header=header)
	config.load_defconfig(NAME)
	return path


def main(args):
	root = Path(args[2]) if args[1:2] == ["--root"] and len(args) == 3 else Path("/")
	if len(args) not in (1, 3):
		sys.exit(__doc__)
	build = Path(args[0]).resolve()
	try:
		build.mkdir(parents=True, exist_ok=True)
		config = kconfig.Config(build)
		machine = read_machine(root)
		drivers = tables.read(config.kconf, config.external)
		options, lines = guess(machine, drivers)
		path = write(config, settings(machine, options, drivers), machine, lines)
	except (kconfig.ConfigError, external.ExternalError, tables.DriversError, OSError) as error:
		sys.exit(f"error: {error}")
	print("\n".join(lines))
	print(f"written: {kconfig.shown(path)}; make builds it, make savedefconfig CONFIG=NAME keeps it in configs/")


if __name__ == "__main__":
	main(sys.argv[1:])
