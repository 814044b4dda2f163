#!/usr/bin/python3
"""bench.py BUILD [--base FILE] [GROUP...]: what booting, calls, frames and blocks cost.

Instructions are counted by QEMU itself (-icount shift=0: a tick of the time-stamp counter is an instruction), accesses
of device memory and ports by its trace of them, so that the figures do not depend on the computer.  They are printed as
a table, with the goals, and written to BUILD/bench/bench.json and, as a chart, to BUILD/bench/bench.svg.

With --base they are compared with those of an earlier bench.json: exit status 1 if one has risen by more than 2 %.

GROUPs (without one all of them): bytes boot calls virtio-net e1000 e1000e ixgbe virtio-blk nvme ahci
"""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import qemu

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "qemu"), str(ROOT / "tests" / "models")]
import ixgbe  # noqa: E402 pylint: disable=wrong-import-position
from gdb_stub import GdbStub  # noqa: E402 pylint: disable=wrong-import-position
from machine import KERNEL, MARK, Machine  # noqa: E402 pylint: disable=wrong-import-position

SECONDS = 300
RISE = 0.02
BOOTS = 3
MEMORY = "128M"
ICOUNT = ["-icount", "shift=0,sleep=off"]
ACCESSES = ["memory_region_ops_read", "memory_region_ops_write"]
REQUESTS = ["virtio_blk_handle_read", "pci_nvme_read", "process_ncq_command", "ide_exec_cmd"]
PORT = 0x80
BEGIN, END, GOOD, DUD, ROW = range(1, 6)	# programs/bench.c writes these to PORT
WAITING = "with waiting"			# how long depends on the computer
UNITS = ("instructions", "accesses", "reads", "requests")
NETS = ["virtio-net", "e1000", "e1000e", "ixgbe"]
DRIVES = ["virtio-blk", "nvme", "ahci"]


class BenchError(Exception):
	pass


# ---- Goals: at most so much -------------------------------------------------------------------------------------

def goals(group, name):
	if group in NETS:
		return net_goals(name)
	if group in DRIVES:
		return drive_goals(group, name)
	return {
		"q35, BIOS: kernel to program": {"instructions": 1000000, "accesses": 5000},
		"microvm, PVH: reset to the first line": {"instructions": 2000000},
		"b_system, unused number": {"instructions": 9, "accesses": 0},
		"b_system SMP_NUMCORES": {"instructions": 11, "accesses": 0},
		"b_system SMP_BUSY": {"instructions": 40},
	}.get(name, {})


def net_goals(name):
	"""An instruction more for every 8 bytes copied; a burst of 32 rings once."""
	copied = -(-(1514 if "1514" in name else 64) // 8)
	if re.match(r"b_net_tx\b", name):
		return {"instructions": 75 + copied, "accesses": 1}
	if re.match(r"b_net_rx, a frame", name):
		return {"instructions": 45, "reads": 0}
	if re.match(r"net_[tr]x, a frame of 32(, 1514 bytes)?$", name):
		return {"instructions": 30, "accesses": 0.032}
	return {}


def drive_goals(group, name):
	if name == "4 KiB read, each of 32":
		return {"instructions": 150, "accesses": 2 if group == "ahci" else 0.1}
	if name.startswith("b_nvs_read, 1 MiB"):
		return {"requests": 8}
	return {}


# ---- Building ---------------------------------------------------------------------------------------------------

def make(folder, config, program=""):
	environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
	subprocess.run(["make", "--no-print-directory", "-C", ROOT, "build", f"O={folder}",
		f"CONFIG={config}", f"PROGRAM={program}", "PAYLOAD="], env=environment, check=True)


def sizes(folder):
	found = {}
	for path in sorted((ROOT / "configs").glob("*_defconfig")):
		config = path.name.removesuffix("_defconfig")
		make(folder / config, config)
		found[config] = {"bytes": (folder / config / "kernel.bin").stat().st_size}
	return found


# ---- QEMU's trace -----------------------------------------------------------------------------------------------

TRACED = re.compile(r"(?:memory_region_ops_(read|write) cpu (-?\d+) mr \S+ addr 0x([0-9a-f]+) value 0x([0-9a-f]+) "
	rf"size \d+ name '(.*)'|({'|'.join(REQUESTS)}) )")


def accesses(log):
	"""("read" or "write", address, value) of each access that a processor makes, and ("request", 0, 0)."""
	with open(log, encoding="ascii", errors="replace") as file:
		for line in file:
			found = TRACED.search(line)
			if not found:
				continue
			kind, cpu, address, value, name, request = found.groups()
			if request:
				yield "request", 0, 0
			# Not so a device's interrupt message: none of our processors, or none of the local APIC's registers.
			elif cpu != "-1" and not (name == "apic-msi" and not int(address, 16) & 0xFF0):
				yield kind, int(address, 16), int(value, 16)


# ---- Boot: counters in the trace, written by the program and by what is put before the kernel --------------------

# push rax, rcx, rdx; RDTSC; the counter to port 0x80, a byte at a time; pop rdx, rcx, rax; jmp
REPORT_TIME = bytes.fromhex("505152 0f31 48c1e220 4809d0 b908000000 e680 48c1e808 e2f8 5a5958 e9")


class Boot(Machine):
	"""Runs a program; the trace begins with the kernel's first instruction if there is firmware before it."""

	def _watch(self):
		"""When the machine stops, QEMU's clock leaps to the next timer: the guest itself has to look at the counter."""
		stub = GdbStub(self.work / "gdb", SECONDS)
		stub.run_to(KERNEL, lambda stub: stub.memory(KERNEL + 8, len(MARK)) == MARK)
		registers = bytes.fromhex(stub.ask("g"))[:17 * 8]	# RAX to R15, RIP
		stack = int.from_bytes(registers[7 * 8:8 * 8], "little")
		place = stack - 256				# the loader's, who is done with it
		code = REPORT_TIME + (KERNEL - place - len(REPORT_TIME) - 4).to_bytes(4, "little", signed=True)
		registers = registers[:-8] + place.to_bytes(8, "little")
		for packet in (f"M{place:x},{len(code):x}:{code.hex()}", f"G{registers.hex()}"):
			if stub.ask(packet) != "OK":
				raise BenchError(f"QEMU's gdb stub refuses {packet[0]}")
		for event in ACCESSES:
			self.hmp(f"trace-event {event} on")
		stub.let_go()


def counters(log):
	"""What has been written to port 0x80, as numbers of 64 bits, each with the accesses and reads before it."""
	found, value, total = [], b"", [0, 0]
	for kind, address, byte in accesses(log):
		if address != PORT:
			total[0] += 1
			total[1] += kind == "read"
			continue
		value += bytes([byte])
		if len(value) == 8:
			found.append((int.from_bytes(value, "little"), *total))
			value = b""
	return found


def boot(folder):
	build = folder / "qemu_q35"
	program = build / "programs" / "bench_boot.app"
	make(build, "qemu_q35")
	make(build, "qemu_q35", program)
	devices = {"disks": [{"file": qemu.scratch_disk(folder)}], "nets": [{}], "memory": "256M"}
	from_reset = {"watch": False, "firmware": "pvh", "machine": "microvm,pcie=on", "kernel": build / "kernel.elf",
		"module": program, "args": [*ICOUNT, *(word for event in ACCESSES for word in ("-trace", event))]}
	# The least of a few: now and then QEMU counts a long REP STOS twice.
	kernel, entry, line = min((boot_once({"image": build / "ingot.img", "args": ICOUNT, **devices}, 3)
		for _ in range(BOOTS)), key=lambda found: found[1][0] - found[0][0])
	reset, (first, said) = (0, 0, 0), min(boot_once({**from_reset, **devices}, 2) for _ in range(BOOTS))
	return {name: dict(zip(UNITS, (b - a for a, b in zip(start, end)))) for name, start, end in (
		("q35, BIOS: kernel to program", kernel, entry), ("q35, BIOS: kernel to the first line", kernel, line),
		("microvm, PVH: reset to program", reset, first), ("microvm, PVH: reset to the first line", reset, said))}


def boot_once(options, expected):
	with tempfile.TemporaryDirectory(prefix="ingot-") as work:
		machine = Boot(work, **options)
		try:
			machine.finish(SECONDS)
		finally:
			machine.kill()
		found = counters(machine.log)
	if len(found) != expected:
		raise BenchError("the program has not said when it was entered")
	return found


# ---- The program: what each run did stands between its marks ----------------------------------------------------

def runs_of_rows(log):
	"""For each row of the program the accesses, reads and requests of its runs."""
	rows, runs, now, counting = [], [], [0, 0, 0], False
	for kind, address, value in accesses(log):
		if address == PORT and kind == "write":
			counting = value == BEGIN
			if value in (GOOD, DUD):
				runs += [now] if value == GOOD else []
				now = [0, 0, 0]
			if value == ROW:
				rows.append(runs)
				runs = []
		elif counting:
			now[0] += kind != "request"
			now[1] += kind == "read"
			now[2] += kind == "request"
	return rows


def measure(line, log, pass_fds=()):
	"""Runs QEMU with programs/bench.elf: its rows by name."""
	result = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
		timeout=SECONDS, check=False, pass_fds=pass_fds)
	said = re.findall(r"bench: (.*): (?:([\d.]+) in (\d+)|never done)\r?$", result.stdout, re.M)
	traced = runs_of_rows(log)
	failed = [name for name, figure, _ in said if not figure]
	if result.returncode or failed or len(said) != len(traced):
		what = failed[0] if failed else "bench.elf"
		raise BenchError(f"{what} has not been measured\n{result.stdout}{result.stderr}")
	rows = {}
	for (name, figure, each), runs in zip(said, traced):
		rows[name] = {"instructions": float(figure)}
		units = UNITS[1:] if WAITING in name else UNITS[1:3]	# elsewhere requests aren't done yet
		for unit, values in zip(units, zip(*runs)):
			rows[name][unit] = round(statistics.median_high(values) / int(each), 3)
	return rows


def run(folder, config, parts, arguments=(), cores=1, kind="q35,sata=off", pass_fds=()):
	"""`parts`: the groups that the program has to measure, "calls", or a kind of card, or of drive."""
	build = folder / config
	make(build, config)
	chosen = {"net" if part in NETS else "blk" if part in DRIVES else part for part in parts}
	log = folder / "trace.log"
	line = qemu.machine(kind, cores=cores, memory=MEMORY)
	line += qemu.boot_pvh(build / "kernel.elf", build / "programs" / "bench.elf", " ".join(["bench", *sorted(chosen)]))
	line += [*ICOUNT, "-display", "none", "-serial", "stdio", "-D", str(log), *arguments]
	for event in ACCESSES + REQUESTS:
		line += ["-trace", event]
	try:
		return split(measure(line, log, pass_fds), parts)
	finally:
		log.unlink(missing_ok=True)


def split(rows, parts):
	"""The rows of the network card, of the drive and of calls apart."""
	found = {part: {} for part in parts}
	for name, row in rows.items():
		kind = NETS if "net_" in name else DRIVES if re.search("blk_|nvs_|read", name) else ["calls"]
		part = next(part for part in parts if part in kind)
		found[part][name] = row
	return found


def with_model(folder):
	"""The 82599 is a process of its own, and its cable ends in QEMU's user network."""
	binary = ixgbe.build(folder / "ixgbe_82599")
	why = ixgbe.refused(binary, folder / "ixgbe.log")
	if why:
		print(f"\nixgbe: not measured, {why}", flush=True)
		return {}
	with tempfile.TemporaryDirectory(prefix="ingot-") as via:
		card = ixgbe.Card(binary, folder / "ixgbe.log", via=via)
		try:
			arguments = [*ixgbe.memory_args(MEMORY), *card.hub_args(0), *card.device]
			return run(folder, "all", ["ixgbe"], arguments, kind=ixgbe.backed("q35,sata=off"),
				pass_fds=[card.qemu.fileno()])
		finally:
			complaints = card.close()
			if complaints:
				raise BenchError(f"the model of the 82599 complains:\n{complaints}")


def machines(folder):
	"""What to run for which groups."""
	def net(device, **properties):
		return qemu.net(device=device, romfile="", **properties)

	def drive(device, **properties):
		return qemu.disk(qemu.scratch_disk(folder), device=device, **properties)

	# Without ioeventfd: QEMU traces no access that it handles by one.  tx=timer: it sends by the guest's clock, so that
	# it is not chance how many frames one notification is for.
	return {
		("calls",): lambda parts: run(folder, "qemu_q35", parts, cores=4),
		("virtio-net", "virtio-blk"): lambda parts: run(folder, "qemu_q35", parts,
			net("virtio-net-pci", ioeventfd="off", tx="timer") + drive("virtio-blk-pci", ioeventfd="off")),
		("e1000", "nvme"): lambda parts: run(folder, "all", parts, net("e1000") +
			drive("nvme", serial="1", ioeventfd="off")),
		("e1000e", "ahci"): lambda parts: run(folder, "all", parts, net("e1000e") + drive("ide-hd"), kind="q35"),
		("ixgbe",): lambda parts: with_model(folder),
	}


def bench(folder, wanted):
	results = {}
	everything = {("bytes",): lambda parts: {"bytes": sizes(folder)}, ("boot",): lambda parts: {"boot": boot(folder)},
		**machines(folder)}
	known = [group for groups in everything for group in groups]
	for group in wanted:
		if group not in known:
			raise BenchError(f"there is no group {group}; those there are: {' '.join(known)}")
	for groups, work in everything.items():
		parts = [group for group in groups if not wanted or group in wanted]
		if parts:
			for group, rows in work(parts).items():
				results[group] = rows
				table(group, rows)
	return results


# ---- What is seen of it -----------------------------------------------------------------------------------------

def text(value):
	return "" if value is None else f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.4g}"


def missed(row, wanted):
	return [unit for unit, most in wanted.items() if row.get(unit, 0) > most]


def table(group, rows):
	if group == "bytes":
		print(f"\n{'kernel.bin':46} {'bytes':>12}")
		for name, row in rows.items():
			print(f"{name:46} {row['bytes']:12,}", flush=True)
		return
	columns = [unit for unit in UNITS if unit != "requests" or group in DRIVES]
	print(f"\n{group:46}" + "".join(f" {unit:>12} {'goal':>9}" for unit in columns))
	for name, row in rows.items():
		wanted = goals(group, name)
		cells = "".join(f" {text(row.get(unit)):>12} {text(wanted.get(unit)):>9}" for unit in columns)
		over = missed(row, wanted)
		print(f"{name:46}{cells}{'  over: ' + ', '.join(over) if over else ''}", flush=True)


def summary(results):
	judged = [(row, wanted) for group, rows in results.items() for name, row in rows.items()
		if (wanted := goals(group, name))]
	if judged:
		print(f"\n{sum(not missed(*pair) for pair in judged)} of {len(judged)} goals reached")


LINE, LEFT, BARS, RIGHT = 18, 330, 460, 170


def chart(results):
	"""A bar for each row's instructions, as long as its share of the group's most; a mark where the goal is."""
	out, y = [], 10
	for group, rows in results.items():
		unit = "bytes" if group == "bytes" else "instructions"
		shown = {name: row for name, row in rows.items() if WAITING not in name}
		most = max([max(row[unit], goals(group, name).get(unit, 0)) for name, row in shown.items()], default=0)
		if not most:
			continue
		y += 2 * LINE
		out.append(f'<text x="10" y="{y}" class="group">{escape(group)}, {unit}</text>')
		for name, row in shown.items():
			y += LINE
			wanted = goals(group, name)
			kind = "over" if missed(row, wanted) else "bar"
			length = row[unit] * BARS / most
			figure = text(row[unit]) + (f", {text(row['accesses'])} accesses" if row.get("accesses") else "")
			out.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
				f'<rect x="{LEFT}" y="{y + 2}" width="{length:.1f}" height="{LINE - 5}" class="{kind}"/>'
				f'<text x="{LEFT + length + 6:.1f}" y="{y + 12}">{figure}</text>')
			if unit in wanted:
				x = LEFT + wanted[unit] * BARS / most
				out.append(f'<path d="M{x:.1f} {y}v{LINE - 1}" class="goal"/>')
	style = ("text{font:12px sans-serif;fill:#222}.group{font-weight:bold}.bar{fill:#4a90b8}.over{fill:#d0803c}"
		".goal{stroke:#222;stroke-width:2}")
	width, height = LEFT + BARS + RIGHT, y + 2 * LINE
	return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
		f'<title>What calls cost; a mark is a goal</title><style>{style}</style>'
		f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(out) + "\n</svg>\n")


def load(name):
	path = Path(os.environ.get("HERE", ".")) / name
	try:
		base = json.loads(path.read_text())
		for rows in base.values():
			for row in rows.values():
				sum(row.values())		# numbers
	except OSError as error:
		raise BenchError(f"BASE={path}: {error.strerror}") from error
	except (ValueError, TypeError, AttributeError) as error:
		raise BenchError(f"BASE={path} is not a bench.json of make bench: {error}") from error
	return base


def compare(base, results):
	"""Prints what has changed; true if nothing has risen too far.  What only one of them has is named, no more."""
	good = True
	print(f"\n{'changed':58} {'before':>12} {'now':>12}")
	for group in [*results, *(group for group in base if group not in results)]:
		old, new = base.get(group, {}), results.get(group, {})
		for name in [*new, *(name for name in old if name not in new)]:
			if name not in old or name not in new:
				print(f"{f'{group}: {name}':58} " + ("gone" if name in old else "new"))
				continue
			for unit, now in new[name].items():
				before = old[name].get(unit)
				if before in (None, now) or WAITING in name and unit != "requests":
					continue
				rose = now > before * (1 + RISE)
				good &= not rose
				print(f"{f'{group}: {name}, {unit}':58} {text(before):>12} {text(now):>12}{'  risen' if rose else ''}")
	print("nothing has risen by more than 2 %" if good else "error: risen by more than 2 %", flush=True)
	return good


def main(args):
	base = None
	if args[1:2] == ["--base"]:
		base = " ".join(args[2:3])
		if not base:
			sys.exit("error: BASE=FILE: the bench.json to compare with")
		args[1:3] = []
	if not args or any(argument.startswith("-") for argument in args):
		sys.exit(__doc__)
	folder = Path(args[0]).resolve() / "bench"
	folder.mkdir(parents=True, exist_ok=True)
	try:
		before = load(base) if base else None
		results = bench(folder, args[1:])
	except (BenchError, AssertionError, subprocess.SubprocessError, OSError) as error:
		sys.exit(f"error: {error}")
	summary(results)
	for name, content in (("bench.json", json.dumps(results, indent=1) + "\n"), ("bench.svg", chart(results))):
		(folder / name).write_text(content)
		print(folder / name)
	if before is not None and not compare(before, results):
		sys.exit(1)


if __name__ == "__main__":
	main(sys.argv[1:])
