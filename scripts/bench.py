#!/usr/bin/python3
"""bench.py BUILD: bytes of each configuration, and instructions from the loader to the program and for each call.

The machine is QEMU counting instructions (-icount shift=0): the figures do not depend on the computer.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import qemu

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60


def make(folder, config, program=""):
	environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
	subprocess.run(["make", "--no-print-directory", "-C", ROOT, "build", f"O={folder}",
		f"CONFIG={config}", f"PROGRAM={program}", "PAYLOAD="], env=environment, check=True)


def sizes(folder):
	print(f"{'configuration':16} {'kernel.bin':>10}")
	for path in sorted((ROOT / "configs").glob("*_defconfig")):
		config = path.name.removesuffix("_defconfig")
		make(folder / config, config)
		print(f"{config:16} {(folder / config / 'kernel.bin').stat().st_size:10}", flush=True)


def calls(folder, boot):
	"""`boot`: what QEMU starts from."""
	line = qemu.machine("q35", memory="128M") + ["-icount", "shift=0,sleep=off", "-display", "none", "-serial", "stdio"]
	line += boot + qemu.net() + qemu.disk(qemu.scratch_disk(folder))
	result = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=True)
	rows = re.findall(r"bench: (.*): ([\d.]+)", result.stdout)
	if not rows:
		sys.exit(f"error: the program has measured nothing:\n{result.stdout}")
	return dict(rows)


def main(args):
	if len(args) != 1:
		sys.exit(__doc__)
	folder = Path(args[0]).resolve() / "bench"
	sizes(folder)
	build = folder / "qemu_q35"
	program = build / "programs" / "bench.elf"
	make(build, "qemu_q35", program)
	bios = calls(build, qemu.boot_image(build / "ingot.img"))
	pvh = calls(build, qemu.boot_pvh(build / "kernel.elf", program))
	print(f"\n{'instructions, qemu_q35':34} {'BIOS':>11} {'PVH':>11}")
	for what, value in bios.items():
		print(f"{what:34} {value:>11} {pvh.get(what, '-'):>11}")


if __name__ == "__main__":
	main(sys.argv[1:])
