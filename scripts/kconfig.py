#!/usr/bin/python3
"""The configuration of one build folder: BUILD/.config, BUILD/generated/autoconf.h and BUILD/.config.origin.

kconfig.py BUILD sync [NAME]     make them what configs/NAME_defconfig says; without NAME keep what is there
kconfig.py BUILD defconfig NAME  the same, always from configs/NAME_defconfig
kconfig.py BUILD menuconfig | oldconfig [NAME]  change it by hand, from NAME if given
kconfig.py BUILD savedefconfig [NAME]  write configs/NAME_defconfig; without NAME BUILD/defconfig
kconfig.py BUILD diffconfig [A [B]]    what differs: each is a NAME, a file or a build folder; without them it is the
                                       build folder's configuration and the defconfig that it comes from

A defconfig may also lie in the build folder, as BUILD/NAME_defconfig.
"""
import hashlib
import os
import re
import sys
import textwrap
from pathlib import Path

import kconfiglib

import drivers
import external

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = "qemu_q35"
HELP_COLUMNS = 100
LINE = re.compile(r"(?:CONFIG_(?P<name>\w+)=(?P<value>.*)|# CONFIG_(?P<off>\w+) is not set)$")


class ConfigError(Exception):
	pass


def digest(data):
	return hashlib.sha256(data).hexdigest()[:16]


def write_if_changed(path, text):
	"""Keeps the time stamp of a file whose content stays: Ninja rebuilds by time.  Whole or not at all."""
	if not path.exists() or path.read_bytes() != text.encode():
		path.parent.mkdir(parents=True, exist_ok=True)
		partial = path.with_name(f".{path.name}.{os.getpid()}")
		partial.write_text(text, encoding="utf-8")
		partial.replace(path)


def read_lines(path):
	try:
		return path.read_text(encoding="utf-8").splitlines()
	except UnicodeDecodeError as error:
		raise ConfigError(f"{shown(path)}: not a text: byte {error.start} is not UTF-8") from None


def shown(path):
	try:
		return os.path.relpath(path) if Path(path).is_relative_to(ROOT) else str(path)
	except ValueError:
		return str(path)


class Config:
	def __init__(self, build):
		self.build = build
		self.dot_config = build / ".config"
		self.origin = build / ".config.origin"
		self.external = external.folders(build)
		menus = build / "generated" / "external.kconfig"
		write_if_changed(menus, external.kconfig(self.external))
		write_if_changed(build / "generated" / "external.sources", external.sources(self.external))
		os.environ.update(srctree=str(ROOT), EXTERNAL_KCONFIG=str(menus), KCONFIG_CONFIG=str(self.dot_config),
			CONFIG_="CONFIG_", MENUCONFIG_STYLE=os.environ.get("MENUCONFIG_STYLE", "default"))
		try:
			self.kconf = kconfiglib.Kconfig("Kconfig", warn_to_stderr=False)
		except kconfiglib.KconfigError as error:
			raise ConfigError(f"Kconfig: {error}") from None
		if self.kconf.warnings:
			raise ConfigError("Kconfig: " + "\n".join(self.kconf.warnings))
		external.check_options(self.external, self.kconf)
		self.kconf.config_header = ""
		self.kconf.warn = False

	# --- defconfig ---

	def defconfig_path(self, name):
		places = [ROOT / "configs"] + [folder.path / "configs" for folder in self.external] + [self.build]
		for place in places:
			if (place / f"{name}_defconfig").is_file():
				return place / f"{name}_defconfig"
		known = sorted(p.name.removesuffix("_defconfig") for place in places for p in place.glob("*_defconfig"))
		raise ConfigError(f"there is no configs/{name}_defconfig; there are: {', '.join(known)}")

	def assignments(self, path):
		"""(line number, symbol, value) of every line; a line that is none of these is an error."""
		seen, errors = {}, []
		for number, line in enumerate(read_lines(path), 1):
			where = f"{shown(path)}:{number}"
			match = LINE.match(line.strip())
			if not match:
				if line.strip() and not line.lstrip().startswith("#"):
					errors.append(f"{where}: neither CONFIG_NAME=value nor a comment: {line.strip()}")
				continue
			name, value = (match["off"], "n") if match["off"] else (match["name"], match["value"])
			sym = self.kconf.syms.get(name)
			if not sym or not sym.nodes:
				errors.append(f"{where}: unknown symbol CONFIG_{name}")
			elif not any(node.prompt for node in sym.nodes):
				errors.append(f"{where}: CONFIG_{name} can't be set: other options select it")
			elif name in seen:
				errors.append(f"{where}: CONFIG_{name} is already set in line {seen[name][0]}")
			elif (problem := self.wrong(sym, value)):
				errors.append(f"{where}: CONFIG_{name}={value}: {problem}")
			else:
				seen[name] = (number, sym, value)
		if errors:
			raise ConfigError("\n".join(errors))
		return seen.values()

	@staticmethod
	def wrong(sym, value):
		if sym.type in (kconfiglib.BOOL, kconfiglib.TRISTATE):
			return None if value in ("y", "n") else "the value must be y or n"
		if sym.type == kconfiglib.STRING:
			return None if re.fullmatch(r'"(?:[^"\\]|\\.)*"', value) else "the value must be text in quotation marks"
		base = 10 if sym.type == kconfiglib.INT else 16
		try:
			number = int(value, base)
		except ValueError:
			return f"the value must be a {'decimal' if base == 10 else 'hexadecimal'} number"
		for low, high, _ in [r for r in sym.ranges if kconfiglib.expr_value(r[2])]:
			if not int(low.str_value, base) <= number <= int(high.str_value, base):
				return f"the value must lie between {low.str_value} and {high.str_value}"
		return None

	def load_defconfig(self, name):
		self.load_checked(self.defconfig_path(name))
		self.save(name)

	def load_checked(self, path):
		lines = self.assignments(path)
		self.kconf.load_config(str(path))
		errors = []
		for number, sym, value in lines:
			want = kconfiglib.unescape(value[1:-1]) if sym.type == kconfiglib.STRING else value
			if sym.str_value != want:
				errors.append(f"{shown(path)}:{number}: CONFIG_{sym.name}={value} has no effect: "
					f"{self.overridden(sym)}")
		if errors:
			raise ConfigError("\n".join(errors))

	@staticmethod
	def overridden(sym):
		if kconfiglib.expr_value(sym.rev_dep) and sym.str_value == "y":
			selectors = [s for s in kconfiglib.split_expr(sym.rev_dep, kconfiglib.OR) if kconfiglib.expr_value(s)]
			return "selected by " + ", ".join(map(kconfiglib.expr_str, selectors)).replace(" && ", " with ")
		if not kconfiglib.expr_value(sym.direct_dep):
			return f"it depends on {kconfiglib.expr_str(sym.direct_dep)}"
		return f"it is {sym.str_value}"

	# --- what lies in the build folder ---

	def recorded(self):
		"""Empty if it isn't whole."""
		lines = read_lines(self.origin) if self.origin.exists() else []
		found = dict(line.split("=", 1) for line in lines if "=" in line)
		return found if {"name", "base", "pure"} <= found.keys() else {}

	def load_changed(self):
		"""What somebody has changed by hand: has options that others select, perhaps some that are there no more."""
		errors = []
		for number, line in enumerate(read_lines(self.dot_config), 1):
			where, match = f"{shown(self.dot_config)}:{number}", LINE.match(line.strip())
			sym = self.kconf.syms.get(match["name"] or match["off"]) if match else None
			if match and not (sym and sym.nodes):
				print(f"warning: {where}: unknown symbol: {line.strip()}", file=sys.stderr)
			elif match and match["name"] and (problem := self.wrong(sym, match["value"])):
				errors.append(f"{where}: {line.strip()}: {problem}")
			elif not match and line.strip() and not line.lstrip().startswith("#"):
				errors.append(f"{where}: neither CONFIG_NAME=value nor a comment: {line.strip()}")
		if errors:
			raise ConfigError("\n".join(errors))
		self.kconf.load_config(str(self.dot_config))

	def save(self, base, pure=None):
		"""`base` is the defconfig that the configuration came from, `pure` the digest of that, if this is not it."""
		config = self.kconf._config_contents("")
		if self.dot_config.exists() and self.dot_config.read_bytes() != config.encode():
			self.dot_config.replace(self.build / ".config.old")
		write_if_changed(self.dot_config, config)
		write_if_changed(self.build / "generated" / "autoconf.h",
			self.kconf._autoconf_contents("// Generated from .config.\n"))
		made = digest(config.encode())
		# The name gets a plus once somebody has changed the configuration by hand.
		name = base if pure in (None, made) else base + "+"
		write_if_changed(self.origin, f"name={name}\nbase={base}\npure={pure or made}\n")

	def sync(self, name=None):
		"""An explicit NAME always wins; else what somebody has changed by hand stays."""
		before = self.recorded()
		if name or not before or not self.dot_config.exists():
			return self.load_defconfig(name or DEFAULT)
		if digest(self.dot_config.read_bytes()) == before["pure"]:
			return self.load_defconfig(before["base"])
		self.load_changed()
		return self.save(before["base"], before["pure"])

	def describe_devices(self):
		"""Each driver's help ends with the devices that its own table lists."""
		try:
			found = drivers.read(self.kconf, self.external)
		except (drivers.DriversError, OSError) as error:
			print(f"warning: {error}", file=sys.stderr)	# a driver that is being written
			return
		for driver in found:
			ids = textwrap.fill(f"{driver.bus.upper()} devices: " + ", ".join(map(str, driver.rows)), HELP_COLUMNS)
			for node in self.kconf.syms[driver.option].nodes:
				node.help = f"{node.help or ''}\n{ids}"

	def menuconfig(self, *name):
		import curses
		import menuconfig
		if not (os.isatty(0) and os.isatty(1)):
			raise ConfigError("menuconfig: this is no terminal")
		self.sync(*name)
		self.describe_devices()
		try:
			curses.setupterm()
			if not curses.tigetstr("cup"):
				raise curses.error("this terminal cannot move its cursor")
			menuconfig.menuconfig(self.kconf)
		except curses.error as error:
			raise ConfigError(f"menuconfig: TERM={os.environ.get('TERM', '')}: {error}") from None
		self.take()

	def oldconfig(self, *name):
		import oldconfig
		if name or not self.recorded() or not self.dot_config.exists():
			self.sync(*name)
		sys.argv = ["oldconfig", "Kconfig"]
		try:
			oldconfig._main()
		except EOFError:
			raise ConfigError("oldconfig: the answers have ended; nothing is changed") from None
		self.take()

	def take(self):
		"""Takes over what somebody has written to .config."""
		before = self.recorded()
		self.kconf.load_config(str(self.dot_config))
		self.save(before["base"], before["pure"])

	def savedefconfig(self, name=None):
		self.sync()
		path = ROOT / "configs" / f"{name}_defconfig" if name else self.build / "defconfig"
		self.kconf.write_min_config(str(path), header="")
		print(f"written: {shown(path)}")
		if name:
			self.save(name)


	# --- two configurations ---

	def values(self, which):
		"""Of every option that somebody can set: its value in the configuration that `which` names."""
		path = Path(os.environ.get("HERE", ".")) / which
		if (path / ".config").is_file():
			path /= ".config"
		elif not path.is_file():
			path = self.defconfig_path(which)
		if path.name.endswith("defconfig"):
			self.load_checked(path)
		else:
			self.kconf.load_config(str(path))
		return {sym.name: sym.str_value or "n" for sym in self.kconf.unique_defined_syms}

	def diffconfig(self, a=None, b=None):
		if not self.recorded() and not b:
			self.sync()
		before, after = self.values(a or self.recorded()["base"]), self.values(b or str(self.build))
		for node in self.kconf.node_iter(unique_syms=True):
			sym = node.item
			if isinstance(sym, kconfiglib.Symbol) and node.prompt and before[sym.name] != after[sym.name]:
				print(f"{sym.name:24} {before[sym.name]} -> {after[sym.name]:8} {node.prompt[0]}")


def main(args):
	if len(args) < 2:
		sys.exit(__doc__)
	build, command, rest = Path(args[0]).resolve(), args[1], args[2:]
	if command != "diffconfig":
		rest = [word for word in rest if word]
	try:
		build.mkdir(parents=True, exist_ok=True)
		config = Config(build)
		if command == "sync":
			config.sync(*rest)
		elif command == "defconfig":
			config.load_defconfig(*rest)
			print(f"{shown(config.dot_config)}: configs/{rest[0]}_defconfig")
		elif command in ("menuconfig", "oldconfig", "savedefconfig", "diffconfig"):
			getattr(config, command)(*rest)
		else:
			sys.exit(__doc__)
	except (ConfigError, external.ExternalError, OSError) as error:
		sys.exit(f"error: {error}")


if __name__ == "__main__":
	main(sys.argv[1:])
