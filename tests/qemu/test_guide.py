"""The program guide's examples: compiled with the guide's own commands, and run."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

GUIDE = (ROOT / "docs" / "program-guide.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.M | re.S)
COMPILE_C = next(code for kind, code in BLOCKS if kind == "sh" and "first.c " in code)


def write_examples(folder):
	"""Each block whose first line names a file, and the commands."""
	commands, names = [], []
	for kind, code in BLOCKS:
		name = re.match(r"(?://|;) ([\w.]+)", code)
		if kind == "sh":
			commands.append(code)
		elif name:
			(folder / name[1]).write_text(code)
			names.append(name[1])
	return commands, names


def compile_all(folder):
	commands, names = write_examples(folder)
	assert {"first.c", "first.cpp", "first.S", "first.asm", "cores.c", "reflect.c", "read.c"} <= set(names)
	for name in names:
		if name.endswith(".c") and name != "first.c":
			commands.append(COMPILE_C.replace("first", name[:-2]))
	for command in commands:
		if command.startswith("nasm") and not shutil.which("nasm"):
			continue
		done = subprocess.run(command.replace(" -O2", " -O2 -Wall -Wextra -Werror"), shell=True, cwd=folder, text=True,
			env={**os.environ, "INGOT": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
		assert done.returncode == 0, f"{command}\n{done.stdout}"


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
	folder = tmp_path_factory.mktemp("guide")
	compile_all(folder)
	return folder


@pytest.mark.parametrize("name, says", [("first.elf", "Hello from C"), ("first_cpp.elf", "Hello from C++"),
	("first_gas.app", "Hello from GNU as"), ("first_nasm.app", "Hello from NASM"), ("cores.elf", "the sum is right"),
	("read.elf", "all read")])
def test_example(boot, disk, examples, name, says):
	if not (examples / name).exists():
		pytest.skip("no nasm here")
	output = boot(program=examples / name, firmware="pvh", cores=4, disks=[{"file": disk(8)}]).finish()
	assert says in output and "has failed" not in output


def test_flat_from_elf(boot, examples):
	"""objcopy makes the flat program, as the guide says."""
	subprocess.run(["objcopy", "-O", "binary", "first.elf", "first.app"], cwd=examples, check=True)
	assert "Hello from C" in boot(program=examples / "first.app", firmware="pvh").finish()
