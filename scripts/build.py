#!/usr/bin/python3
"""build.py BUILD [TARGET...]: has Meson set up the build folder if need be, and Ninja build.

Compiler from the environment: CC.
"""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(*command, quiet=False):
	result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE if quiet else None,
		stderr=subprocess.STDOUT if quiet else None, text=True, check=False)
	if result.returncode:
		sys.stderr.write(result.stdout or "")
		sys.exit(f"error: {' '.join(str(c) for c in command[:2])} failed")


def set_up(build):
	"""Once, and again when another compiler is asked for."""
	compiler = build / ".compiler"
	wanted = os.environ.get("CC", "gcc")
	if (build / "build.ninja").exists() and compiler.exists() and compiler.read_text() == wanted:
		return
	os.environ.setdefault("CC", wanted)
	os.environ.setdefault("CXX", "clang++" if "clang" in wanted else "g++")
	wipe = ["--wipe"] if (build / "meson-private").exists() else []
	run("meson", "setup", *wipe, build, ROOT, f"-Dconfig={build}", quiet=True)
	compiler.write_text(wanted)


def main(args):
	build = Path(args[0])
	set_up(build)
	run("ninja", "-C", build, "--quiet", *args[1:])


if __name__ == "__main__":
	main(sys.argv[1:])
