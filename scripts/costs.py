#!/usr/bin/python3
"""costs.py BUILD [--write] [OPTION...]: what each option adds to kernel.bin, measured, beside what its help says.

Two figures for an option: alone, in the smallest configuration that can have it, with all that it selects; and beside
everything else that can be had without it, in the largest.  --write puts them into the help texts.  All or the named
options; kernels are built in BUILD/costs, about three an option.
"""
import re
import sys
from pathlib import Path

import kconfiglib

import build
import kconfig

NOTHING = 40	# bytes: as much as packing goes up or down by itself
PACKING = {"CORE_PACK_SMALL"}	# changes what the others cost
COST = re.compile(r"\t  Costs ")


class Measure:
	def __init__(self, folder):
		folder.mkdir(parents=True, exist_ok=True)
		self.folder = folder
		self.config = kconfig.Config(folder)
		self.syms = [sym for sym in self.config.kconf.unique_defined_syms
			if sym.orig_type == kconfiglib.BOOL and any(node.prompt for node in sym.nodes) and sym.name not in PACKING]
		self.known = {}

	def take(self, on):
		"""Sets exactly these options, and what they select: the values of all."""
		self.config.kconf.unset_values()
		for sym in self.syms:
			sym.set_value("y" if sym in on else "n")
		return {sym: sym.str_value for sym in self.syms}

	def kernel(self, on):
		"""Bytes of kernel.bin with these options."""
		key = frozenset(sym for sym, value in self.take(on).items() if value == "y")
		if key not in self.known:
			self.config.save("measured")
			build.choose_program(self.folder)
			build.set_up(self.folder)
			build.run("ninja", "-C", self.folder, "--quiet", "kernel.bin")
			self.known[key] = (self.folder / "kernel.bin").stat().st_size
		return self.known[key]

	def needed(self, sym):
		"""The fewest options that `sym` depends on: of alternatives the first."""
		found = set()

		def follow(expr):
			if isinstance(expr, tuple) and expr[0] == kconfiglib.OR:
				follow(expr[1])
			elif isinstance(expr, tuple) and expr[0] == kconfiglib.AND:
				follow(expr[1])
				follow(expr[2])
			elif expr in self.syms and expr not in found:
				found.add(expr)
				follow(expr.direct_dep)

		follow(sym.direct_dep)
		return found

	def most(self, sym):
		"""The options that can be on without `sym`."""
		selecting = {other for other in self.syms if any(target is sym for target, _ in other.selects)}
		return {other for other, value in self.take(set(self.syms) - selecting - {sym}).items() if value == "y"}

	def cost(self, sym):
		"""(alone, beside everything else)."""
		return tuple(self.kernel(base | {sym}) - self.kernel(base) for base in (self.needed(sym), self.most(sym)))


def about(count):
	return max(round(count, -1), 0)


def sentence(alone, beside):
	if max(alone, beside) < NOTHING:
		return "Costs nothing in the kernel."
	if abs(alone - beside) < max(NOTHING, alone // 8):
		return f"Costs about {about(max(alone, beside))} bytes of kernel.bin."
	if alone < NOTHING:
		return f"Costs about {about(beside)} bytes of kernel.bin once a driver uses it."
	return f"Costs about {about(alone)} bytes of kernel.bin alone, {about(beside)} beside everything else."


def stated(sym):
	found = re.search(r"^Costs .*$", sym.nodes[0].help or "", re.M)
	return found[0] if found else ""


def write(sym, text):
	node = sym.nodes[0]
	path = kconfig.ROOT / node.filename
	lines = path.read_text().split("\n")
	for number, line in enumerate(lines[node.linenr:], node.linenr):
		if COST.match(line):
			lines[number] = f"\t  {text}"
			path.write_text("\n".join(lines))
			return
		if line.startswith("config "):
			break
	raise kconfig.ConfigError(f"{path}:{node.linenr}: the help of {sym.name} has no line `Costs ...`")


def main(args):
	names = [word for word in args[1:] if word != "--write"]
	if not args:
		sys.exit(__doc__)
	try:
		measure = Measure(Path(args[0]).resolve() / "costs")
		known = {sym.name: sym for sym in measure.syms}
		for name in names:
			if name not in known:
				raise kconfig.ConfigError(f"{name} is no option that can be switched; there are: {', '.join(known)}")
		for name in names or known:
			sym = known[name]
			text = sentence(*measure.cost(sym))
			print(f"{name:22} {text}" + ("" if text == stated(sym) else f"\n{'':22} help: {stated(sym)}"), flush=True)
			if "--write" in args[1:] and not sym.nodes[0].filename.startswith("/"):
				write(sym, text)
	except (kconfig.ConfigError, OSError) as error:
		sys.exit(f"error: {error}")


if __name__ == "__main__":
	main(sys.argv[1:])
