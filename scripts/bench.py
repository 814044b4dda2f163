#!/usr/bin/python3
"""bench.py BUILD: bytes of each configuration, and instructions from the loader to the program and for each call.

The machine is QEMU counting instructions (-icount shift=0): the figures do not depend on the computer.  They are
printed as a table and written to BUILD/bench/bench.json.  Doorbells are notifications of virtio devices; those of what
prepares and follows a measurement count as well, so they are upper bounds.
"""
import json
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
	print(f"{'configuration':24} {'kernel.bin':>10}")
	found = {}
	for path in sorted((ROOT / "configs").glob("*_defconfig")):
		config = path.name.removesuffix("_defconfig")
		make(folder / config, config)
		found[config] = (folder / config / "kernel.bin").stat().st_size
		print(f"{config:24} {found[config]:10}", flush=True)
	return found


def calls(folder, boot):
	"""What the program prints: instructions by name, and doorbells of each run.  `boot`: what QEMU starts from."""
	line = qemu.machine("q35", memory="128M") + ["-icount", "shift=0,sleep=off", "-display", "none", "-serial", "stdio"]
	line += boot + qemu.net() + qemu.disk(qemu.scratch_disk(folder)) + ["-trace", "virtio_queue_notify"]
	result = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
		timeout=SECONDS, check=True)
	rows, bells = {}, 0
	for text in result.stdout.splitlines():
		bells += text.count("virtio_queue_notify")
		if (row := re.search(r"bench: (.*): ([\d.]+)(?: in (\d+))?", text)):
			rows[row[1]] = {"instructions": float(row[2])}
			if row[3]:
				rows[row[1]]["doorbells"] = round(bells / int(row[3]), 3)
		if "bench: " in text:
			bells = 0
	if not rows:
		sys.exit(f"error: the program has measured nothing:\n{result.stdout}")
	return rows


def main(args):
	if len(args) != 1:
		sys.exit(__doc__)
	folder = Path(args[0]).resolve() / "bench"
	results = {"bytes": sizes(folder)}
	build = folder / "qemu_q35"
	program = build / "programs" / "bench.elf"
	make(build, "qemu_q35", program)
	results["bios"] = bios = calls(build, qemu.boot_image(build / "ingot.img"))
	results["pvh"] = pvh = calls(build, qemu.boot_pvh(build / "kernel.elf", program))
	print(f"\n{'instructions, qemu_q35':36} {'BIOS':>11} {'PVH':>11} {'doorbells':>10}")
	for what, row in bios.items():
		other = pvh.get(what, {}).get("instructions", "-")
		print(f"{what:36} {row['instructions']:>11} {other:>11} {row.get('doorbells', ''):>10}")
	path = folder / "bench.json"
	path.write_text(json.dumps(results, indent=1) + "\n")
	print(f"\n{path}")


if __name__ == "__main__":
	main(sys.argv[1:])
