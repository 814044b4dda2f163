"""What programs get, and what becomes of those that do the wrong thing."""
import re

import pytest

from machine import PANICKED
from test_devices import passed

FAULTS = {	# FAULT, the exception's vector
	"NULL_READ": 14, "KERNEL_WRITE": 14, "CONSTANT_WRITE": 14, "EXECUTE_DATA": 14, "DIVIDE": 0, "ILLEGAL": 6,
	"STACK": 14, "UNMAPPED": 14, "ON_OTHER_CORE": 14,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(boot, images, fault):
	"""A report that names the exception, and a non-zero exit."""
	machine = boot(program=images.own("fault", f"FAULT={fault}"), firmware="pvh", cores=2,
		allowed=["^ILLOPC: .* 0f 0b"])	# QEMU's word for the UD2 of ILLEGAL
	assert machine.wait() == PANICKED, machine.output
	assert "about to fault" in machine.output and "survived" not in machine.output
	report = re.search(r"PANIC: exception (\d+)", machine.output)
	assert report and int(report[1]) == FAULTS[fault], machine.output
	core = re.search(r"core (\d+)", machine.output[report.end():])
	assert core and int(core[1]) == (fault == "ON_OTHER_CORE"), machine.output
	for register in ("rax", "rsp", "r15"):
		assert register in machine.output


@pytest.mark.parametrize("firmware, cores", [("bios", 1), ("bios", 4), ("uefi", 8), ("pvh", 2)])
def test_smp(boot, firmware, cores):
	"""Work on every core, locks, the busy flag."""
	passed(boot(program="smpcheck", firmware=firmware, cores=cores), "smpcheck")


def test_smp_without_native_interface_on_64_cores(boot):
	passed(boot(program="smpcheck", firmware="pvh", cores=64, memory="512M"), "smpcheck", 400)


def test_reset_in_the_middle(boot, disk, images):
	"""What a core has taken in the kernel it gives back before RESET takes it out."""
	passed(boot(program=images.own("reset"), firmware="pvh", cores=3,
		disks=[{"file": disk(2), "drive": "throttling.iops-total=2"}]), "reset")


@pytest.mark.parametrize("firmware", ["bios", "uefi", "pvh"])
@pytest.mark.parametrize("kind", ["app", "elf"])
def test_calls(boot, disk, firmware, kind):
	"""The register interface keeps registers, the native one its promises."""
	image = disk(2, fill=0x5C)
	machine = boot(program="callcheck", kind=kind, firmware=firmware, cores=2, nets=[{}], disks=[{"file": image}])
	machine.send("keys")
	count = re.search(r"(\d+) timer callbacks, (\d+) frames, (\d+) characters", passed(machine, "callcheck"))
	assert all(int(number) for number in count.groups()), count[0]
	assert image.read_bytes() == b"\x5C" * (2 << 20)


@pytest.mark.parametrize("program, kind", [
	("hello", "app"), ("hello", "elf"), ("hello_cpp", "app"), ("hello_cpp", "elf"), ("hello_asm", "app"),
	("hello_asm", "elf"),
])
def test_hello(boot, program, kind):
	"""Each language, as a flat program and as an ELF file."""
	assert "Hello from Ingot" in boot(program=program, kind=kind, firmware="pvh").finish()


def test_too_little_memory(boot):
	"""Refused with a sentence, by whoever notices first."""
	machine = boot(program="hello", memory="2M", watch=False)
	machine.expect(r"(?i)memory")


def test_memory_of_kernel_and_drivers(boot, disk):
	"""At four cores kernel and drivers take 2 MiB at most."""
	output = boot(program="hello", cores=4, nets=[{}], disks=[{"file": disk(4)}], display=True).finish()
	line = re.search(r"kernel (\d+) KiB, drivers (\d+) KiB, program (\d+) MiB", output)
	assert line, output
	assert int(line[1]) + int(line[2]) <= 2048, line[0]
