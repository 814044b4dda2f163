"""Every configuration works: random ones build without warnings under gcc and clang, and boot to a program that finds
the devices that they name; the one with everything off computes and powers off.

make test-configs N=100 tries the seeds 0 to 99 (INGOT_CONFIGS).
"""
import os
import random
import re
import shutil
import subprocess
import sys

import pytest

from conftest import BASE, ROOT, make
from test_nvme import IDE_LINE

sys.path.insert(0, str(ROOT / "scripts"))
import costs	# noqa: E402
import devices	# noqa: E402

SEEDS = range(int(os.environ.get("INGOT_CONFIGS", 3)))
PRIMES = "1229"	# below 10,000
HELLO = re.compile(r"^Hello from Ingot: (?:C on .* (?P<nets>\d+) interfaces?, (?P<disks>\d+) drives?|assembly)", re.M)


def defconfig(name, chosen):
	"""A build folder with a defconfig of its own in which only the options of chosen(all of them) are on."""
	folder = BASE / "configs" / name
	shutil.rmtree(folder, ignore_errors=True)
	measure = costs.Measure(folder)
	measure.take(chosen(measure.syms))
	measure.config.kconf.write_min_config(str(folder / f"{name}_defconfig"), header="")
	return folder


def build(folder, compiler, program):
	name = folder.name
	target = folder / compiler
	target.mkdir()
	shutil.copy(folder / f"{name}_defconfig", target)
	said = make("image", f"O={target}", f"CONFIG={name}", f"CC={compiler}", f"PROGRAM={program}")
	assert "warning" not in said, said
	return target


@pytest.fixture(scope="session")
def compute():
	"""The program for kernels that have no console."""
	target = BASE / "programs" / f"compute-{os.getpid()}"
	target.parent.mkdir(parents=True, exist_ok=True)
	subprocess.run(["gcc", "-nostdlib", "-static", "-Wl,--build-id=none,-Ttext=0x1000",
		ROOT / "tests/qemu/programs/compute.S", "-o", target.with_suffix(".elf")], check=True)
	subprocess.run(["objcopy", "-O", "binary", "-j", ".text", target.with_suffix(".elf"), target.with_suffix(".app")],
		check=True)
	return target.with_suffix(".app")


def computes(boot, target, work, firmware, program, **options):
	said = work / f"debug-{target.name}"
	boot(firmware=firmware, program=program, args=[*options.pop("args", []), "-chardev", f"file,id=debug,path={said}",
		"-device", "isa-debugcon,chardev=debug"], **options).finish()
	assert said.read_text() == PRIMES


def images(target, firmware):
	return {"kernel": target / "kernel.elf"} if firmware == "pvh" else {"image": target / "ingot.img"}


def finds(output, attached, boot_disk):
	"""Kernel and program count the devices that the machine was given."""
	found = HELLO.search(output)
	assert found, output
	for kind, count in (("nets", len(attached & set(devices.NETS))),
			("disks", len(attached & set(devices.DISKS)) + boot_disk)):
		assert len(re.findall(rf" {kind[:-1]}\d+ ", output)) == count, f"not {count} {kind}: {output}"
		assert found[kind] in (None, str(count)), output
	assert ("HID_USB_KBD" in attached) == (" xhci:" in output), output	# keys come later


@pytest.mark.parametrize("seed", SEEDS)
def test_random(boot, disk, work, compute, seed):
	chance = random.Random(seed)
	share = chance.uniform(0.3, 0.8)
	folder = defconfig(f"random_{seed}", lambda all_of_them: {sym for sym in all_of_them if chance.random() < share})
	text = (folder / f"random_{seed}_defconfig").read_text()
	for compiler in ("gcc", "clang"):
		print(f"---- seed {seed}, {compiler}:\n{text}")
		console = "CONFIG_SERIAL is not set" not in text
		native = "CONFIG_CORE_NATIVE is not set" not in text
		target = build(folder, compiler, compute if not console else "")
		on = devices.options(target)
		kind, firmware = devices.machine(on), "pvh" if "BOOT_PVH" in on else "bios"
		arguments = {option: devices.for_option(option, on, kind, disk(16))
			for option in [*devices.NETS, *devices.DISKS, *devices.OTHERS] if option in on}
		attached = {option for option, words in arguments.items() if words}
		options = {"machine": kind, "allowed": IDE_LINE, "cores": 2, "display": kind == "q35",
			"args": devices.MODERN + sum((arguments[option] for option in sorted(attached)), []),
			**images(target, firmware)}
		if not console:
			computes(boot, target, work, firmware, compute, **options)
			continue
		program = target / "programs" / ("hello.app" if native else "hello_asm.app")
		if firmware == "bios":
			make("image", f"O={target}", f"PROGRAM={program}")
		output = boot(firmware=firmware, program=program, **options).finish()
		finds(output, attached, firmware == "bios" and "STORAGE_AHCI" in on)


def test_nothing_on(boot, work, compute):
	"""allnoconfig: no console, no bus, one core, the register interface."""
	folder = defconfig("nothing", lambda _: set())
	for compiler in ("gcc", "clang"):
		target = build(folder, compiler, compute)
		if compiler == "gcc":
			assert (target / "kernel.bin").stat().st_size < 7000
		computes(boot, target, work, "bios", compute, **images(target, "bios"))
