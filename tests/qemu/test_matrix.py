"""Boot path x machine x cores x memory, pruned to rows that each say what only they show.

Every row boots to a program and powers off; that the kernel starts every core, hands out the memory and finds the
devices is read off what the program prints.
"""
import re
from typing import NamedTuple

import pytest

HELLO = re.compile(r"Hello from Ingot: C on Ingot \S+ (?P<config>\w+), (?P<cores>\d+) cores?, (?P<memory>\d+) MiB, "
	r"(?P<nets>\d+) interfaces?, (?P<disks>\d+) drives?")
GIB = 1024
# What program memory may be short of the machine's: firmware's own, our kernel and drivers.
TAKEN = {"bios": 3, "pvh": 3, "uefi": 40}


class Row(NamedTuple):
	firmware: str
	machine: str
	cores: int
	memory: int	# MiB
	why: str
	config: str = "qemu_q35"
	program: str = "hello"
	kind: str = "app"
	nets: int = 0
	disks: int = 0
	smp: str = ""
	display: object = True
	cpu: str = "max"
	args: tuple = ()

	@property
	def id(self):
		extra = f"-{self.smp}" if self.smp else ""
		return (f"{self.firmware}-{self.machine}-{self.config}-{self.cores}c-{self.memory}M-{self.program}.{self.kind}"
			+ extra)


MICROVM = "microvm,pcie=on"
ROWS = [
	# BIOS
	Row("bios", "q35", 1, 4, "the least memory, all of it in 4 KiB pages"),
	Row("bios", "q35", 2, 64, "no memory above 128 MiB: tables of ACPI right below its end; payload at 0x1E0000",
		program="hello_asm", kind="payload"),
	Row("bios", "q35", 4, 256, "the default of make run, flat program", nets=1, disks=1),
	Row("bios", "q35", 4, 256, "an ELF program gets its segments' rights", kind="elf"),
	Row("bios", "q35", 8, 6 * GIB, "memory on both sides of the hole below 4 GiB; more cores than the host has"),
	Row("bios", "q35", 64, 512, "many cores: APIC ids beyond one hexadecimal digit, stacks for all"),
	Row("bios", "q35", 1, 256, "drivers left out: the image without what it doesn't need", config="tiny",
		program="hello_asm"),
	Row("bios", "q35", 2, 256, "serial only, no screen driver", config="virtio_cloud", nets=1, disks=1),
	Row("bios", "q35", 1, 4, "packed small: its unpacker in the least memory", config="virtio_cloud"),
	Row("bios", "pc", 2, 256, "neither MCFG nor anything that assigns BARs", config="virtio_cloud", nets=1, disks=1),
	Row("bios", "pc", 1, 4, "the least memory on i440fx", config="qemu_pc"),
	Row("bios", "pc", 2, 256, "no MCFG: PCI through ports", config="qemu_pc", nets=1, disks=1),
	Row("bios", "pc", 4, 64, "the kernel for PCI Express falls back to ports on i440fx", nets=1, disks=1),
	Row("bios", "pc", 8, 6 * GIB, "the other place of the hole: 3 GiB on i440fx", config="qemu_pc"),
	# UEFI
	Row("uefi", "q35", 1, 64, "the least memory that OVMF starts in here"),
	Row("uefi", "q35", 4, 256, "the default of make run UEFI=1", nets=1, disks=1),
	Row("uefi", "q35", 4, 256, "an ELF program through the EFI application", kind="elf"),
	Row("uefi", "q35", 2, 256, "a payload through the EFI application", program="hello_asm", kind="payload"),
	Row("uefi", "q35", 8, 6 * GIB, "OVMF's map in many pieces, BARs above 4 GiB", nets=1, disks=1),
	Row("uefi", "pc", 2, 256, "OVMF on i440fx", config="qemu_pc", nets=1, disks=1),
	Row("uefi", "q35", 2, 256, "packed small, through the EFI application", config="virtio_cloud", nets=1, disks=1),
	Row("uefi", "q35", 1, 128, "the smallest kernel through the EFI application", config="tiny", program="hello_asm"),
	# PVH
	Row("pvh", "q35", 1, 4, "the least memory without a boot disk"),
	Row("pvh", "q35", 4, 256, "the program as a module", nets=1, disks=1),
	Row("pvh", "q35", 2, 64, "an ELF program as a module", kind="elf"),
	Row("pvh", "q35", 8, 6 * GIB, "the module lies right below the hole"),
	Row("pvh", "pc", 1, 4, "the least memory on i440fx", config="qemu_pc"),
	Row("pvh", "pc", 4, 256, "PVH on i440fx", config="qemu_pc", nets=1, disks=1),
	Row("pvh", MICROVM, 1, 4, "the least memory; no legacy hardware", display=False),
	Row("pvh", MICROVM, 2, 256, "nobody has assigned the BARs", display=False, nets=1, disks=1),
	Row("pvh", MICROVM, 4, 64, "serial only", config="virtio_all", display=False, nets=1, disks=1),
	Row("pvh", MICROVM, 8, 6 * GIB, "memory above 4 GiB, PCI windows of microvm", display=False, nets=1),
	Row("pvh", MICROVM, 2, 64, "the smallest kernel", config="tiny", program="hello_asm", display=False),
	# APIC ids with holes: three cores take the ids of four
	Row("bios", "q35", 6, 256, "APIC ids with a hole", smp="6,sockets=2,cores=3,threads=1"),
	Row("uefi", "q35", 3, 256, "the last id of the socket has no core", smp="3,cores=3"),
	Row("pvh", MICROVM, 6, 256, "a hole, no firmware", smp="6,sockets=2,cores=3,threads=1", display=False),
	# Hardware that isn't there
	Row("bios", "q35,hpet=off", 2, 256, "no HPET: the PM timer is the clock"),
	Row("uefi", "q35,hpet=off", 2, 256, "no HPET under UEFI"),
	Row("bios", "pc,hpet=off", 1, 256, "no HPET on i440fx", config="qemu_pc"),
	Row("bios", "q35,i8042=off", 2, 256, "no PS/2 controller"),
	Row("uefi", "q35,i8042=off", 1, 256, "no PS/2 controller under UEFI"),
	Row("bios", "q35", 2, 256, "no display", display=False),
	Row("uefi", "q35", 2, 256, "no display under UEFI: no GOP", display=False),
	Row("bios", "q35", 1, 256, "no VBE mode but text's: a card of 256 KiB", display="cirrus"),
	Row("bios", "q35", 1, 256, "a CPU without 1 GiB pages, RDTSCP and AVX", cpu="qemu64"),
]


def devices(row, disk):
	return {"nets": [{}] * row.nets, "disks": [{"file": disk(8)} for _ in range(row.disks)]}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_boot(row, boot, disk):
	machine = boot(row.config, row.program, kind=row.kind, firmware=row.firmware, machine=row.machine,
		cores=row.cores, smp=row.smp, memory=f"{row.memory}M", display=row.display, cpu=row.cpu, args=row.args,
		**devices(row, disk))
	output = machine.finish()
	if row.program == "hello_asm":
		counted = re.search(r"(\d+) cores?, (\d+) MiB", output)
		assert counted, output
		cores, memory = map(int, counted.groups())
	else:
		found = HELLO.search(output)
		assert found, output
		cores, memory = int(found["cores"]), int(found["memory"])
		assert (int(found["nets"]), int(found["disks"])) == (row.nets, row.disks), output
		assert found["config"] == row.config
	assert cores == row.cores, output
	assert row.memory - TAKEN[row.firmware] - row.cores / 8 <= memory <= row.memory, output	# stacks: 97 KiB a core


@pytest.mark.parametrize("firmware", ["bios", "pvh"])
def test_more_page_tables_than_fit_below_2_mib(boot, firmware):
	"""200 GiB without pages of 1 GiB: the loader's module, at the end of memory, is not where page tables go."""
	size = 200 * GIB
	machine = boot("qemu_q35", "hello", firmware=firmware, machine="q35,memory-backend=ram", memory=f"{size}M",
		cpu="qemu64", args=["-object", f"memory-backend-ram,id=ram,size={size}M,reserve=off"])
	found = HELLO.search(machine.finish())
	assert found, machine.output
	assert size - 8 <= int(found["memory"]) <= size


def test_rows_have_reasons():
	assert len({row.id + row.why for row in ROWS}) == len(ROWS)
	assert all(row.why for row in ROWS)
