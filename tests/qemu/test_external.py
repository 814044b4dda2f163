"""Drivers from outside the tree: built from where they lie, doing real work, refused with a sentence saying where."""
import os
import re
import shutil
import subprocess
import sys

import pytest
from elftools.elf.elffile import ELFFile

from conftest import OUTER_MAKE, ROOT, make, run

RTL8139 = ROOT / "tests" / "external" / "rtl8139"
EDU = ("-device", "edu")	# 1234:11e8, which the tree has no driver for
MENUS = """
import sys, pathlib, kconfig
nodes = kconfig.Config(pathlib.Path(sys.argv[1])).kconf.node_iter()
print([(node.prompt[0], node.list.item.name) for node in nodes if node.list and node.prompt])
"""

PROBE = """\
#include <driver.h>
#include <log.h>
static int @_probe(struct device *dev, const struct dev_id *id)
{
	(void)dev;
	(void)id;
	log(" @ is here");
	return E_OK;
}
static void @_remove(struct device *dev)
{
	(void)dev;
}
static const struct dev_id @_ids[] = { DEV_ID(IDS, 0) };
static const struct driver @ = { "@", DEV_IDS(@_ids), .probe = @_probe, .remove = @_remove };
PCI_DRIVER_AT(@, PRIORITY);
"""


def external(parent, name, ids="0x1234, 0x11E8", priority="PRIO_NORMAL", **files):
	"""A folder with a small driver; `files` (desc, kconfig, sources) replace those of that name."""
	folder = parent / name
	folder.mkdir()
	option = f"{name.upper()}_DRIVER"
	source = PROBE.replace("@", name).replace("IDS, 0", f"{ids}, 0").replace("PRIORITY", priority)
	(folder / f"{name}.c").write_text(source)
	for file, key, text in [("driver.desc", "desc", f"name = {name}\napi = 1\n"),
			("Kconfig", "kconfig", f'config {option}\n\tbool "{name}"\n\tdefault y\n'),
			("sources", "sources", f"{option}: {name}.c\n")]:
		if files.get(key, text) is not None:
			(folder / file).write_text(files.get(key, text))
	return folder


def build(folder, *outside, config="qemu_q35"):
	return make("image", f"O={folder}", f"CONFIG={config}", f"EXTERNAL={':'.join(map(str, outside))}")


def names(kernel):
	with open(kernel, "rb") as file:
		return {symbol.name for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols()}


# ---- Folders ----

def test_two_folders(boot, tmp_path):
	"""Both are in; one is forgotten and leaves no symbol; so is the other."""
	folder, one, two = tmp_path / "build", external(tmp_path, "one"), external(tmp_path, "two", "0x8086, 0x2918")
	output = build(folder, one, two)
	assert re.search(r"^ +\d+ +one/\n +\d+ +one\.c$", output, re.M), output
	output = boot(program="hello", firmware="pvh", kernel=folder / "kernel.elf", args=EDU).finish()
	assert " 1234:11e8 00ff00 one: one is here" in output and " 8086:2918 060100 two: two is here" in output
	menus = subprocess.run([sys.executable, "-c", MENUS, folder], cwd=ROOT / "scripts", text=True, capture_output=True,
		check=True).stdout
	assert "('External drivers: one', 'ONE_DRIVER'), ('External drivers: two', 'TWO_DRIVER')]" in menus
	make("image", f"O={folder}")	# remembered
	assert {"one_probe", "two_probe"} <= names(folder / "kernel.elf")
	build(folder, two)
	assert not [name for name in names(folder / "kernel.elf") if name.startswith("one")]
	build(folder)
	assert not [name for name in names(folder / "kernel.elf") if name.startswith(("one", "two"))]


def test_override(boot, tmp_path):
	"""It outranks the tree's driver for the same device if it says so, and the boot log shows it."""
	folder, outside = tmp_path / "build", external(tmp_path, "mine", "0x8086, 0x100E", "PRIO_OVERRIDE")
	for priority, driver in [("PRIO_OVERRIDE", "mine: mine is here$"), ("PRIO_NORMAL", "e1000: net0 ")]:
		source = outside / "mine.c"
		source.write_text(source.read_text().replace("PRIO_OVERRIDE", priority))
		build(folder, outside, config="all")
		output = boot(program="hello", firmware="pvh", kernel=folder / "kernel.elf",
			nets=[{"device": "e1000"}]).finish()
		assert re.search(f" 8086:100e 020000 {driver}", output, re.M), output


def files(folder):
	return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_release(images, tmp_path):
	"""A folder is built with a release's tarball; nothing changes in either."""
	if not (ROOT / ".git").exists() or not shutil.which("git"):
		pytest.skip("make dist needs git and the repository")
	with images.held("qemu_q35") as base:
		run("meson", "dist", "-C", base, "--no-tests", "--allow-dirty", "--formats", "gztar")
		run("tar", "-C", tmp_path, "-xf", next((base / "meson-dist").glob("ingot-*.tar.gz")))
	tree, = tmp_path.glob("ingot-*")
	before = files(tree) | files(RTL8139)
	make("-C", tree, "image", f"O={tmp_path}/build", f"EXTERNAL={RTL8139}")
	assert "rtl8139_probe" in names(tmp_path / "build" / "kernel.elf")
	assert files(tree) | files(RTL8139) == before


# ---- What can't be ----

def refused(folder, *outside, target="image"):
	environment = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
	result = subprocess.run(["make", "-C", ROOT, target, f"O={folder}", f"EXTERNAL={':'.join(map(str, outside))}"],
		text=True, capture_output=True, check=False, env=environment)
	assert result.returncode
	assert "Traceback" not in result.stderr, result.stderr
	return result.stderr


@pytest.mark.parametrize("files, message", [
	({"desc": "name = bad\napi = 999\n"}, "bad/driver.desc: written for version 999 of the driver interface"),
	({"desc": "name = bad\nname = bad\n"}, "bad/driver.desc:2: not `name = WORD`"),
	({"desc": "name = bad\n"}, "bad/driver.desc: needs a line"),
	({"desc": None}, "bad/driver.desc: there is no such file"),
	({"kconfig": None}, "bad/Kconfig: there is no such file"),
	({"kconfig": "config BAD_DRIVER\n\tbool\n\tnonsense here\n"}, "bad/Kconfig:3"),
	({"kconfig": 'config BAD_DRIVER\n\tbool "x"\n\nconfig OTHER\n\tbool "y"\n'},
		"bad/Kconfig:4: OTHER does not begin with BAD_"),
	({"sources": None}, "bad/sources: there is no such file"),
	({"sources": "# ours\nBAD_NOPE: bad.c\n"}, "bad/sources:2: BAD_NOPE is no option of"),
	({"sources": "DRIVER: bad.c\n"}, "bad/sources:1: DRIVER does not begin with BAD_"),
	({"sources": "BAD_DRIVER bad.c\n"}, "bad/sources:1: not `OPTION: file.c ...`"),
	({"sources": "\nBAD_DRIVER: bad.c gone.c\n"}, "bad/sources:2: "),
])
def test_wrong_folder(tmp_path, files, message):
	said = refused(tmp_path / "build", external(tmp_path, "bad", **files))
	assert message in said, said


def test_wrong_value(tmp_path):
	assert "gone is not a folder" in refused(tmp_path / "build", tmp_path / "gone")
	one = external(tmp_path, "one")
	other = tmp_path / "other"
	shutil.copytree(one, other)
	assert "two folders have the name one" in refused(tmp_path / "build", one, other)


def test_wrong_defconfig(tmp_path):
	folder = external(tmp_path, "bad")
	(folder / "configs").mkdir()
	(folder / "configs" / "mine_defconfig").write_text("CONFIG_BAD_DRIVER=y\nCONFIG_BAD_NOPE=y\n")
	said = refused(tmp_path / "build", folder, target="mine_defconfig")
	assert "bad/configs/mine_defconfig:2: unknown symbol CONFIG_BAD_NOPE" in said, said


def test_compiler_names_the_file(tmp_path):
	"""Of an error, and of an interface that is not what the driver was written for."""
	folder = external(tmp_path, "bad")
	(folder / "bad.c").write_text("#include <net.h>\nAPI_VERSION(NET, 99);\nint bad(void)\n{\n\treturn nothing;\n}\n")
	with pytest.raises(AssertionError) as error:
		build(tmp_path / "build", folder)
	for said in (r"bad\.c:2:1: note: in expansion of macro .API_VERSION",
			"written for version 99 of the interface NET, ", r"bad/bad\.c:5:16: error"):
		assert re.search(said, str(error.value)), error.value


# ---- scripts/new-driver ----

NEW = [	# class, device of QEMU's, its ids, what the boot log has of it; BAR 0 of each is memory
	("net", "edu", "1234:11e8", "00ff00 acme0: registers at [0-9a-f]+ net0 020000000000 1 queues"),
	("blk", "pci-testdev", "1b36:0005", "00ff00 acme1: registers at [0-9a-f]+ disk0 0 MiB, 512-byte blocks"),
	("none", "pvpanic-pci", "1b36:0011", "088000 acme2: registers at [0-9a-f]+"),
]


def test_new_driver(boot, tmp_path):
	"""One of each class: builds without a warning, and its probe runs."""
	folders = []
	for number, (kind, _, ids, _) in enumerate(NEW):
		folders.append(tmp_path / f"new{number}")
		command = [ROOT / "scripts" / "new-driver", "--class", kind, "--name", f"acme{number}", "--pci", ids,
			folders[-1]]
		subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
		again = subprocess.run(command, text=True, capture_output=True, check=False)
		assert again.returncode and "is there already" in again.stderr
	assert "warning" not in build(tmp_path / "build", *folders)
	output = boot(program="hello", firmware="pvh", kernel=tmp_path / "build" / "kernel.elf",
		args=sum((["-device", device] for _, device, _, _ in NEW), [])).finish()
	for _, _, ids, says in NEW:
		assert re.search(rf" {ids} {says}$", output, re.M), output


@pytest.mark.parametrize("wrong", [("--name", "A-b"), ("--pci", "12:34"), ("--class", "gpu")])
def test_new_driver_arguments(tmp_path, wrong):
	choice = {"--name": "acme", "--pci": "1234:11e8", "--class": "net", wrong[0]: wrong[1]}
	result = subprocess.run([ROOT / "scripts" / "new-driver", *sum(choice.items(), ()), tmp_path / "new"], text=True,
		capture_output=True, check=False)
	assert result.returncode == 2 and wrong[0] in result.stderr and not (tmp_path / "new").exists()


# ---- docs/driver-guide.md ----

GUIDE = (ROOT / "docs" / "driver-guide.md").read_text()
CFLAGS = ["-std=gnu11", "-ffreestanding", "-DINGOT_KERNEL", "-mgeneral-regs-only", "-O2", "-Wall", "-Wextra", "-Werror"]


def paragraphs(text):
	"""{name: text} of the definitions in a source file: what stands between blank lines outside of braces."""
	found = {}
	for block in re.split(r"\n\n(?=[^\t\n}])", text.strip("\n")):
		code = "\n".join(line for line in block.split("\n") if not line.startswith("//"))
		if code:
			name = re.search(r"^#(\w+)|struct (\w+) \{|(\w+)(?:\[\])? =|(\w+)\(", code)
			found[next(filter(None, name.groups()))] = block
	return found


def test_guide_builds_the_example(images, tmp_path):
	"""Step by step: new-driver's folder, with the listings so far in place of what has the same name, compiles after
	each section; what comes out is the example, which its own tests run."""
	command = re.search(r"^scripts/new-driver .* (?=/path)", GUIDE, re.M)[0].split()
	subprocess.run([ROOT / command[0], *command[1:], tmp_path / "new"], check=True, stdout=subprocess.DEVNULL)
	written = paragraphs((tmp_path / "new" / "rtl8139.c").read_text())
	example = paragraphs((RTL8139 / "rtl8139.c").read_text())
	assert set(written) < set(example)
	registers = (RTL8139 / "rtl8139_regs.h").read_text()
	sections = 0
	for section in re.split(r"^## ", GUIDE, flags=re.M)[1:]:
		listings = re.findall(r"^```c\n(.*?)^```$", section, re.M | re.S)
		for listing in listings:
			if listing == registers:
				(tmp_path / "new" / "rtl8139_regs.h").write_text(listing)
			else:
				written |= paragraphs(listing)
		if not listings:
			continue
		sections += 1
		source = tmp_path / "new" / f"step{sections}.c"
		source.write_text("\n\n".join(written[name] for name in example if name in written) + "\n")
		run("gcc", *CFLAGS, "-I", ROOT / "include", "-I", ROOT / "api", "-I", images.folder("qemu_q35") / "generated",
			"-c", source, "-o", source.with_suffix(".o"))
	assert sections == 6 and written == example
	assert (tmp_path / "new" / "rtl8139_regs.h").read_text() == registers


def test_guide_shows_the_folder():
	"""Its other listings are lines of the example's files."""
	texts = "\n\n".join((RTL8139 / name).read_text() for name in ("driver.desc", "sources", "Kconfig"))
	blocks = re.findall(r"^```(?:kconfig|text)\n(.*?)^```$", GUIDE, re.M | re.S)
	assert len(blocks) == 3
	for block in blocks:
		assert block in texts, block
