#!/usr/bin/python3
"""check.py BUILD: what `make check` runs over the sources; exit status 1 if anything is found.
check.py BUILD --format: has clang-format lay them out (`make format`).

Layout (clang-format), the rules of the house (lint.py), gcc's static analyzer, clang-tidy and cppcheck on everything
that is built with all drivers, shellcheck, pyflakes, the documentation (docs.py).  Ninja runs them side by side, and
again only on what has changed since it was last found clean.
"""
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import build
import lint

ROOT = build.ROOT
SCRIPTS = ROOT / "scripts"
FORMAT, TIDY = "clang-format-14", "clang-tidy-14"	# other versions have other opinions
# The linker's symbols, which begin and end a table, are different objects to C.  Newer ones read no macro with spaces.
CPPCHECK = ["cppcheck", "--suppress=comparePointers", "--suppress=normalCheckLevelMaxBranches", "--quiet",
	"--error-exitcode=1", "--platform=unix64", "--enable=warning,performance,portability", "--inline-suppr",
	'-DKERNEL_NAME="Ingot"',
	"--template={file}:{line}: {message} [{id}]"]
LTO = ("-flto", "-ffat-lto-objects")	# with it the analyzer would wait for a link
# What clang-tidy, which is no gcc, has to know of a command line.
TIDY_FLAGS = ("-I", "-D", "-isystem", "/usr/include", "-std=", "-ffreestanding", "-fshort-wchar",
	"-mgeneral-regs-only")
# False alarms, for which the analyzer of gcc 12 has no comment: it loses count of pointers that are subtracted.
ALARMS = {"storage/ahci.c": ["-Wno-analyzer-use-of-uninitialized-value"]}
# Those of gcc 14 alone: it loses an initializer that is a call; NULL goes with no bytes.
ALARMS_14 = {"core/native.c": ["-Wno-analyzer-use-of-uninitialized-value"],
	"bus/usb.c": ["-Wno-analyzer-null-argument"]}


def set_up(folder):
	"""Has Meson write compile_commands.json for all drivers, and makes the headers that are generated."""
	for name in ("EXTERNAL", "CC", "CXX", "PROGRAM", "PAYLOAD"):
		os.environ.pop(name, None)
	subprocess.run([SCRIPTS / "kconfig.py", folder, "sync", "all"], check=True, stdout=subprocess.DEVNULL)
	build.choose_program(folder)
	build.set_up(folder)
	targets = subprocess.check_output(["ninja", "-C", folder, "-t", "targets", "all"], text=True)
	headers = [line.split(":")[0] for line in targets.splitlines() if ".h: CUSTOM_COMMAND" in line]
	build.run("ninja", "-C", folder, "--quiet", "build.ninja", *headers)


def sources(folder):
	"""C and C++ files with the first command that compiles each."""
	commands = {}
	for entry in json.loads((folder / "compile_commands.json").read_text()):
		path = Path(os.path.normpath(Path(entry["directory"]) / entry["file"]))
		if path.suffix in (".c", ".cpp") and path.is_relative_to(ROOT):
			commands.setdefault(path, shlex.split(entry["command"]))
	return commands


def compiler_only(command):
	"""Without what names files, and without LTO."""
	kept = [word for word in command if not word.startswith((*LTO, "-fdiagnostics-color", "-MD", "-c"))]
	for flag in ("-MQ", "-MF", "-o"):
		at = kept.index(flag)
		del kept[at:at + 2]
	return kept[:-1]


def quoted(words):
	return shlex.join(map(str, words)).replace("$", "$$")


def at_hand(tool):
	"""A distribution that has other versions alone does without; elsewhere scripts/setup has installed it."""
	if shutil.which(tool):
		return True
	if shutil.which("apt-cache") and not subprocess.call(["apt-cache", "show", tool], stdout=subprocess.DEVNULL,
			stderr=subprocess.DEVNULL):
		build.fail(f"{tool} is missing; please install it")
	print(f"not checked: needs {tool}", flush=True)
	return False


class Ninja:
	"""A file of steps, each with its inputs and a stamp."""

	def __init__(self, folder):
		self.folder = folder
		self.text = "builddir = stamps\nrule step\n  command = $what && touch $out\n  description = $out\n" \
			"rule compiled\n  command = $what && touch $out\n  depfile = $out.d\n  deps = gcc\n  description = $out\n"

	def step(self, name, what, inputs, needs=(), rule="step"):
		def names(paths):
			return " ".join(str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:") for path in paths)
		self.text += f"build stamps/{name}: {rule} {names(inputs)} | {names(needs)}\n  what = {what}\n"

	def run(self):
		path = self.folder / "check.ninja"
		if not path.exists() or path.read_text() != self.text:
			path.write_text(self.text)
		return subprocess.call(["ninja", "-C", self.folder, "-f", path.name, "--quiet", "-k", "0"])


def code_steps(ninja, folder):
	commands, tidied = sources(folder), at_hand(TIDY)
	newer = int(subprocess.check_output(["gcc", "-dumpversion"], text=True).split(".")[0]) >= 14
	alarms = {**ALARMS, **ALARMS_14} if newer else ALARMS
	for path, command in commands.items():
		where = str(path.relative_to(ROOT))
		name = where.replace("/", "-")
		command = compiler_only(command)
		analyzer = [] if path.suffix == ".cpp" else ["-fanalyzer"]	# gcc 12 knows C alone
		compiled = [*command, *analyzer, *alarms.get(where, ()), "-MD", "-MF", f"stamps/{name}.d",
			"-MT", f"stamps/{name}", "-c", path, "-o", "/dev/null"]
		tidy = [TIDY, "--quiet", path, "--", *(word for word in command if word.startswith(TIDY_FLAGS))]
		# clang-tidy counts on standard error what it has found in others' headers.
		steps = quoted(compiled) + (f" && {quoted(tidy)} 2>stamps/{name}.err" if tidied else "")
		ninja.step(name, steps, [path], [ROOT / ".clang-tidy"], "compiled")
	# cppcheck has no list of the headers that it has read: any of the tree.
	headers = [ROOT / path for path in lint.all_files() if path.suffix == ".h"]
	ninja.step("cppcheck", quoted([*CPPCHECK, "--project=compile_commands.json"]), commands, headers)


def laid_out():
	return [ROOT / path for path in lint.all_files() if path.suffix in (".c", ".h", ".cpp")]


def file_steps(ninja):
	files, code = lint.all_files(), laid_out()
	interpreters = {ROOT / path: lint.interpreter(ROOT / path) for path in files}
	python = [path for path, name in interpreters.items() if "python" in name or path.suffix == ".py"]
	shell = [path for path, name in interpreters.items() if name in ("sh", "bash") or path.suffix == ".sh"]
	if at_hand(FORMAT):
		ninja.step("layout", quoted([FORMAT, "--dry-run", "-Werror", "--ferror-limit=1", *code]), code,
			[ROOT / ".clang-format"])
	ninja.step("pyflakes", quoted(["pyflakes3", *python]), python)
	ninja.step("shellcheck", quoted(["shellcheck", "-f", "gcc", *shell]), shell)
	pages = [ROOT / path for path in files if path.parts[0] in ("api", "include", "docs") or path.suffix == ".md"]
	ninja.step("docs", quoted([SCRIPTS / "docs.py", ninja.folder]) + " >/dev/null", pages, [SCRIPTS / "docs.py"])
	ninja.step("rules", quoted([SCRIPTS / "lint.py"]), [ROOT / path for path in files], [SCRIPTS / "lint.py"])


def main(args):
	if len(args) not in (1, 2) or args[1:] not in ([], ["--format"]):
		sys.exit(__doc__)
	if args[1:]:
		return subprocess.call([FORMAT, "-i", *laid_out()]) if at_hand(FORMAT) else 1
	folder = Path(args[0]).resolve() / "test" / "check"
	set_up(folder)
	(folder / "stamps").mkdir(exist_ok=True)
	ninja = Ninja(folder)
	file_steps(ninja)
	code_steps(ninja, folder)
	return 1 if ninja.run() else 0


if __name__ == "__main__":
	sys.exit(main(sys.argv[1:]))
