#!/usr/bin/python3
"""Drivers from outside the tree: the folders that EXTERNAL=/path[:/path] names.  Used by kconfig.py.

Each folder has
  driver.desc   two lines: `name = acme` and `api = 1`, the DRIVER_API_VERSION (include/driver.h) it was written for
  Kconfig       its options; their names begin with the folder's name in capitals: ACME_...
  sources       a line for each option that brings source files: `ACME_DN100: dn100.c dn100_phy.c`
and the source files; it may have configs/NAME_defconfig, and tests/ (scripts/test).  Nothing is copied or linked into
the tree: the build folder gets a Kconfig that sources theirs, and a list of their files with absolute names.
"""
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class ExternalError(Exception):
	pass


def api_version(header="driver.h"):
	text = (ROOT / "include" / header).read_text()
	return re.search(r"^#define \w+_API_VERSION (\d+)", text, re.M)[1]


def lines(path):
	"""(number, line) without comments and blank lines."""
	if not path.is_file():
		raise ExternalError(f"{path}: there is no such file; docs/driver-guide.md says what a folder has")
	for number, line in enumerate(path.read_text().splitlines(), 1):
		line = line.split("#")[0].strip()
		if line:
			yield number, line


class Folder:
	def __init__(self, path):
		self.path = path
		if not path.is_dir():
			raise ExternalError(f"EXTERNAL: {path} is not a folder")
		self.read_description(path / "driver.desc")
		self.sources = list(self.read_sources(path / "sources"))
		if not (path / "Kconfig").is_file():
			raise ExternalError(f"{path / 'Kconfig'}: there is no such file")

	def read_description(self, path):
		fields = {}
		for number, line in lines(path):
			match = re.fullmatch(r"(name|api)\s*=\s*(\w+)", line)
			if not match or match[1] in fields:
				raise ExternalError(f"{path}:{number}: not `name = WORD` or `api = NUMBER`, each once: {line}")
			fields[match[1]] = match[2]
		if len(fields) != 2:
			raise ExternalError(f"{path}: needs a line `name = WORD` and a line `api = NUMBER`")
		if fields["api"] != api_version():
			raise ExternalError(f"{path}: written for version {fields['api']} of the driver interface, this is version "
				f"{api_version()} (see include/driver.h)")
		self.name = fields["name"]

	def read_sources(self, path):
		for number, line in lines(path):
			match = re.fullmatch(r"(\w+)\s*:\s*(.+)", line)
			if not match:
				raise ExternalError(f"{path}:{number}: not `OPTION: file.c ...`: {line}")
			if not match[1].startswith(self.name.upper() + "_"):
				raise ExternalError(f"{path}:{number}: {match[1]} does not begin with {self.name.upper()}_")
			for name in match[2].split():
				file = self.path / name
				if not file.is_file() or file.suffix not in (".c", ".S"):
					raise ExternalError(f"{path}:{number}: {file} is not a .c or .S file")
				yield number, match[1], file


def named():
	"""The folders in EXTERNAL; None if it isn't there."""
	value = os.environ.get("EXTERNAL")
	if value is None:
		return None
	return [(Path(os.environ.get("HERE", ".")) / name).resolve() for name in value.split(":") if name]


def folders(build):
	"""What EXTERNAL says; a build folder remembers it until another value, or an empty one, is given."""
	memory = build / "generated" / "external.folders"
	paths = named()
	if paths is None:
		paths = [Path(name) for name in memory.read_text().split("\n") if name] if memory.exists() else []
	found = [Folder(path) for path in paths]
	twice = {folder.name for folder in found if sum(other.name == folder.name for other in found) > 1}
	if twice:
		raise ExternalError(f"EXTERNAL: two folders have the name {twice.pop()}")
	memory.parent.mkdir(parents=True, exist_ok=True)
	memory.write_text("\n".join(str(folder.path) for folder in found))
	return found


def kconfig(found):
	return "".join(f'menu "External drivers: {folder.name}"\nsource "{folder.path}/Kconfig"\nendmenu\n'
		for folder in found)


def sources(found):
	"""For Meson's keyval."""
	rows = [(option, file) for folder in found for _, option, file in folder.sources]
	return "".join(f"{number}={option}|{file}\n" for number, (option, file) in enumerate(rows))


def check_options(found, kconf):
	"""After Kconfig has read them: each source has its option, each option its prefix."""
	for folder in found:
		prefix = folder.name.upper() + "_"
		for number, option, _ in folder.sources:
			if option not in kconf.syms or not kconf.syms[option].nodes:
				raise ExternalError(f"{folder.path / 'sources'}:{number}: {option} is no option of "
					f"{folder.path / 'Kconfig'}")
		for sym in kconf.unique_defined_syms:
			for node in sym.nodes:
				if Path(node.filename).is_relative_to(folder.path) and not sym.name.startswith(prefix):
					raise ExternalError(f"{node.filename}:{node.linenr}: {sym.name} does not begin with {prefix}")
