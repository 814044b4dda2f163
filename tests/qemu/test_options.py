"""What is switched off leaves nothing: no symbol, string or table of it, and about the bytes that its help states go.

Compared are a kernel with everything on and kernels without some options; make test switches off a third of them at a
time, make test-long each one alone.  Last, the help texts' own form.
"""
import re
import sys
from collections import defaultdict

import pytest
from elftools.elf.elffile import ELFFile

from conftest import BASE, ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import costs	# noqa: E402
import drivers	# noqa: E402
import pack	# noqa: E402
import size	# noqa: E402

PARTS = 3
BUSES = {"pci", "virtio", "usb", "platform"}	# core's own table of their names
WORDS = re.compile(rb"[\x20-\x7e]{5,}")


class Kernel:
	"""What the build folder holds now: names, bytes, and what each source's object file brings."""

	def __init__(self, folder):
		self.names = defined(folder / "kernel.elf")
		self.flat = pack.read(folder / "kernel.elf")[0]
		self.defines, self.texts = {}, {}
		for path in sorted((folder / "kernel.elf.p").glob("*.o")):
			source = size.object_source(path.name.removesuffix(".o"), {})
			self.defines[source] = defined(path)
			self.texts[source] = texts(path)


def defined(path):
	"""Names of functions, constants and variables, without what the compiler appends: "queue_init.constprop.0"."""
	with open(path, "rb") as file:
		table = ELFFile(file).get_section_by_name(".symtab")
		return {symbol.name.split(".")[0] for symbol in table.iter_symbols()
			if symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS")} - {""}


def texts(path):
	"""Strings in its constants."""
	with open(path, "rb") as file:
		return {word for section in ELFFile(file).iter_sections() if section.name.startswith(".rodata")
			for word in WORDS.findall(section.data())}


class Everything:
	"""The largest kernel, its drivers, and the kernels without some of it, all built in one folder."""

	def __init__(self, folder):
		self.measure = costs.Measure(folder)
		self.syms = set(self.measure.syms)
		self.bytes = self.measure.kernel(self.syms)
		self.kernel = Kernel(self.measure.folder)
		self.on = self.values()
		self.drivers = drivers.read(self.measure.config.kconf)
		self.sources = defaultdict(set)	# by option
		for option, path in drivers.rules():
			self.sources[option].add(str(path.relative_to(ROOT)))

	def values(self):
		return {sym.name for sym in self.measure.config.kconf.unique_defined_syms if sym.str_value == "y"}

	def without(self, off):
		"""(kernel, its bytes, what is off in it, hidden options included)."""
		count = self.measure.kernel(self.syms - off)
		return Kernel(self.measure.folder), count, self.on - self.values()


def leftovers(everything, kernel, off):
	"""What a kernel still has of the options that are off."""
	on = everything.on - off
	gone = set().union(*(everything.sources[option] for option in off)) \
		- set().union(*(everything.sources[option] for option in on))
	assert not gone & set(kernel.defines), f"compiled, though off: {gone & set(kernel.defines)}"
	full = everything.kernel
	names = set().union(*(full.defines.get(source, set()) for source in gone))
	names -= set().union(*(kernel.defines.values()))
	for name in sorted(names & kernel.names):
		yield f"symbol {name}"
	words = set().union(*(full.texts.get(source, set()) for source in gone)) - set().union(*kernel.texts.values())
	for word in sorted(words):
		if re.search(rb"(?<![\x20-\x7e])%s\0" % re.escape(word), kernel.flat):
			yield f"string {word.decode()!r}"
	driving = {driver.name for driver in everything.drivers if driver.option in on}
	for driver in everything.drivers:
		if driver.option not in off:
			continue
		word = rb"(?<![\w-])%s(?![\w-])" % driver.name.encode()
		if driver.name not in driving | BUSES and re.search(word, kernel.flat):
			yield f"the name {driver.name}"
		for row in driver.rows:
			if drivers.ROW.pack(*row) in kernel.flat:
				yield f"the row {row} of {driver.name}"


def stated(sym):
	"""The figures in the help: alone and beside everything else, or one for both."""
	return [int(number) for number in re.findall(r"\b\d+\b", costs.stated(sym))] or [0]


def judge(everything, off):
	kernel, count, all_off = everything.without(off)
	left = [*leftovers(everything, kernel, all_off)]
	assert not left, f"without {', '.join(sorted(sym.name for sym in off))} the kernel still has {'; '.join(left)}"
	return everything.bytes - count, {sym for sym in everything.syms if sym.name in all_off}


def test_nothing_is_left():
	"""A third of the options at a time, with what depends on them."""
	everything = Everything(BASE / "options")
	for part in range(PARTS):
		off = set(sorted(everything.syms, key=lambda sym: sym.name)[part::PARTS])
		saved, all_off = judge(everything, off)
		figures = [stated(sym) for sym in all_off]
		least, most = sum(map(min, figures)), sum(map(max, figures))
		print(f"{saved} bytes less, stated are {least} to {most}")
		assert 0.75 * least - 100 <= saved <= 1.25 * most + 100, \
			f"{saved} bytes less, the help texts say {least} to {most}: make costs WRITE=1"


@pytest.mark.long
def test_each_option():
	"""Each alone; and its help says what it costs within a tenth."""
	everything, wrong = Everything(BASE / "options-each"), []
	for sym in sorted(everything.syms, key=lambda sym: sym.name):
		judge(everything, {sym})
		now, then = costs.sentence(*everything.measure.cost(sym)), costs.stated(sym)
		numbers = [[int(number) for number in re.findall(r"\b\d+\b", text)] for text in (now, then)]
		if len(numbers[0]) != len(numbers[1]) or any(abs(a - b) > max(60, a // 10) for a, b in zip(*numbers)):
			wrong.append(f"{sym.name}: {now} The help says: {then}")
	assert not wrong, "make costs WRITE=1\n" + "\n".join(wrong)


SENTENCE = re.compile(r"Costs (nothing in the kernel|about \d+ bytes of kernel\.bin"
	r"( alone, \d+ beside everything else| once a driver uses it|))\.")


def test_every_option_has_help(tmp_path):
	"""Which hardware, what it needs, and one sentence about its bytes, last, in the words of scripts/costs.py."""
	kconf, wrong = costs.Measure(tmp_path).config.kconf, []
	for sym in kconf.unique_defined_syms:
		for node in sym.nodes:
			text = node.help or ""
			if len(text.split()) < 6:
				wrong.append(f"{node.filename}:{node.linenr}: {sym.name} has no help worth the name")
			if node.prompt and not SENTENCE.fullmatch(text.strip().split("\n")[-1]):
				wrong.append(f"{node.filename}:{node.linenr}: {sym.name}'s help doesn't end with what it costs")
	assert not wrong, "\n".join(wrong)


def test_menu(tmp_path):
	"""What a user sees first."""
	titles, node = [], costs.Measure(tmp_path).config.kconf.top_node.list
	while node:
		titles.append(node.prompt[0])
		node = node.next
	assert titles == ["Machine", "Boot", "Bus", "Network", "Storage", "Input", "Display", "Programs",
		"Size and debugging"]
