"""Commands of gdb for the kernel: `make debug` loads them; elsewhere: gdb -x scripts/gdb.py BUILD/kernel.elf."""
import gdb

STATES = ("absent", "idle", "busy")	# CPU_*, core/core.h


def value(name):
	"""Of a variable.  A kernel optimised at link time has empty declarations of a static one beside the real one."""
	for symbol in (gdb.lookup_global_symbol(name), *gdb.lookup_static_symbols(name)):
		if symbol and not symbol.value().is_optimized_out:
			return symbol.value()
	raise gdb.GdbError(f"{name} is not in this kernel: switched off, or optimised away")


def text(characters):
	"""Of a pointer, or of an array that may be full."""
	if characters.type.code == gdb.TYPE_CODE_PTR:
		return characters.string(errors="replace")
	return characters.string(errors="replace", length=characters.type.sizeof).split("\0")[0]


def linked(first):
	while first:
		yield first.dereference()
		first = first["next"]


class Ingot(gdb.Command):
	"""What the kernel knows, read from its memory: nothing of it runs."""

	def __init__(self):
		super().__init__("ingot", gdb.COMMAND_DATA, prefix=True)


class Log(gdb.Command):
	"""ingot log: what the kernel has logged, as much as its ring still has; it needs no console."""

	def __init__(self):
		super().__init__("ingot log", gdb.COMMAND_DATA)

	def invoke(self, argument, from_tty):
		ring, logged = value("ring"), int(value("logged"))
		size = ring.type.sizeof
		kept = bytes(gdb.selected_inferior().read_memory(ring.address, size))
		at = logged % size
		gdb.write((kept[:logged] if logged <= size else kept[at:] + kept[:at]).decode("ascii", "replace"))


class Devices(gdb.Command):
	"""ingot devices: address, ids, class, driver and what became of each device."""

	def __init__(self):
		super().__init__("ingot devices", gdb.COMMAND_DATA)

	def invoke(self, argument, from_tty):
		for device in linked(value("devices")):
			driver, status = device["driver"], int(device["status"])
			run_by = text(driver["name"]) if driver else "no driver"
			unit = f"error {status}" if driver and status < 0 else text(device["unit"])
			gdb.write(f"{text(device['name']):<16} {int(device['vendor']):04x}:{int(device['device']):04x}"
				f" {int(device['class']):06x} {run_by:<12} {unit:<8} *({device.type} *){device.address}\n")


class Drivers(gdb.Command):
	"""ingot drivers: those that are linked, by table, in the order in which they are tried."""

	TABLES = ("pci", "virtio", "usb", "console", "screen", "device")

	def __init__(self):
		super().__init__("ingot drivers", gdb.COMMAND_DATA)

	def invoke(self, argument, from_tty):
		starts = [gdb.parse_and_eval(f"&__drivers_{name}_start") for name in self.TABLES]
		starts.append(gdb.parse_and_eval("&__drivers_platform_end"))
		kinds = [gdb.lookup_type("struct driver")] * 3 + [gdb.lookup_type("struct platform_driver")] * 3
		users = [int(device[key]) for device in linked(value("devices")) for key in ("driver", "bound")]
		found = value("platform_bound")
		for table, kind, entry, end in zip(self.TABLES, kinds, starts, starts[1:]):
			pointers = entry.cast(kind.pointer().pointer())
			for index in range((int(end) - int(entry)) // 8):
				driver = pointers[index]
				count = users.count(int(driver)) + int(found[index + (int(entry) - int(starts[0])) // 8])
				gdb.write(f"{table:<8} {text(driver['name']):<16} runs {count}  *({kind} *){int(driver):#x}\n")


class Cores(gdb.Command):
	"""ingot cores: APIC id, state and work of each."""

	def __init__(self):
		super().__init__("ingot cores", gdb.COMMAND_DATA)

	def invoke(self, argument, from_tty):
		cpus = value("cpus")
		for index in range(int(value("smp_listed"))):
			cpu = cpus[index]
			work = f" runs {cpu['work']}" if cpu["work"] else ""
			gdb.write(f"core {index}: APIC id {int(cpu['apic_id'])}, {STATES[int(cpu['state'])]}{work}\n")


for command in (Ingot, Log, Devices, Drivers, Cores):
	command()
