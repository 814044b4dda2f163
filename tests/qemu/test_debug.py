"""make debug: QEMU waits, gdb is attached and has the commands of scripts/gdb.py."""
import os
import re
import shlex
import subprocess

from conftest import ROOT

STEPS = ["continue", "hbreak program_run", "continue", "ingot log", "ingot devices", "ingot drivers", "ingot cores"]


def test_commands(images, tmp_path):
	"""At the moment before the program is entered they show what the kernel has found."""
	(tmp_path / "ingot.img").symlink_to(images.image("qemu_q35") / "ingot.img")
	for name in ("kernel.elf", "programs"):
		(tmp_path / name).symlink_to(images.folder("qemu_q35") / name)
	arguments = shlex.join(["-nx", "-batch", *(word for step in STEPS for word in ("-ex", step))])
	environment = {name: text for name, text in os.environ.items() if name not in ("UEFI", "MACHINE", "DISPLAY")}
	done = subprocess.run([ROOT / "scripts" / "qemu.py", "debug", tmp_path], text=True, timeout=240, check=False,
		env={**environment, "CORES": "3", "GDB_ARGS": arguments}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
	said = done.stdout
	assert done.returncode == 0 and "Traceback" not in said and "Error" not in said, said
	assert re.search(r"Breakpoint 1, kernel_main .*core/main\.c", said), said
	assert re.search(r"^Ingot [\d.]+ qemu_q35\n.*^cores: 3 of 3 started\n.*^kernel \d+ KiB", said, re.M | re.S), said
	assert re.search(r"^0000:00:01\.0 +1af4:1000 020000 virtio-net +net0 +\*\(struct device \*\)0x", said, re.M), said
	assert re.search(r"^0000:00:1f\.2 +8086:2922 010601 no driver", said, re.M), said
	for driver in ("virtio +virtio-net", "console +serial", "screen +lfb", "device +ps2"):
		assert re.search(f"^{driver} +runs 1 ", said, re.M), said
	assert "core 0: APIC id 0, busy" in said and "core 2: APIC id 2, idle" in said, said
