"""Drivers from outside the tree: built from where they lie, doing real work, refused with a sentence saying where."""
import os
import re
import shutil
import socket
import subprocess

import pytest
from elftools.elf.elffile import ELFFile

from conftest import BASE, OUTER_MAKE, ROOT, locked, make
from test_devices import passed, user_net

RTL8139 = ROOT / "tests" / "external" / "rtl8139"
EDU = ("-device", "edu")	# 1234:11e8, which the tree has no driver for
NOT_TREE = shutil.ignore_patterns(".git", "build", "__pycache__")

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


@pytest.fixture(scope="session")
def with_rtl8139():
	"""The kernel with the example, by configuration."""
	def kernel(config):
		folder = BASE / "external" / config
		with locked(BASE / "external" / f"{config}.lock"):
			build(folder, RTL8139, config=config)
		return folder / "kernel.elf"
	return kernel


# ---- The example ----

@pytest.mark.parametrize("machine, config", [("q35", "qemu_q35"), ("pc", "qemu_pc")])
def test_rtl8139(boot, echo, with_rtl8139, machine, config):
	"""DHCP, ARP, ping and UDP of every size with the host."""
	output = passed(boot(config, "netcheck", firmware="pvh", kernel=with_rtl8139(config), machine=machine, cores=2,
		nets=[user_net(echo, device="rtl8139")]), "netcheck")
	assert " 10ec:8139 020000 rtl8139: net0 525400123456 1 queues" in output


def test_two_rtl8139(boot, echo, with_rtl8139):
	"""And one of the tree's: no state is shared."""
	nets = [user_net(echo, device=device) for device in ("rtl8139", "virtio-net-pci", "rtl8139")]
	output = passed(boot(program="netcheck", firmware="pvh", kernel=with_rtl8139("qemu_q35"), cores=2, nets=nets),
		"netcheck", 480)
	assert "interfaces=3" in output


def test_link(boot, images, with_rtl8139):
	machine = boot(program=images.own("link"), firmware="pvh", kernel=with_rtl8139("qemu_q35"),
		nets=[{"device": "rtl8139"}])
	machine.expect("link: up")
	for up in (False, True, False):
		machine.link(0, up)
		machine.expect("link: up" if up else "link: down")
	machine.expect("link: done")
	machine.finish()


def test_interrupts(boot, images, with_rtl8139):
	"""on_receive, by INTx: the program sleeps between frames."""
	near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
	far.set_inheritable(True)
	machine = boot(program=images.own("wake"), firmware="pvh", machine="pc", kernel=with_rtl8139("qemu_pc"),
		pass_fds=(far.fileno(),),
		nets=[{"device": "rtl8139", "netdev": f"dgram,local.type=fd,local.str={far.fileno()}"}])
	machine.expect("wake: ready")
	for number in range(20):
		near.send(b"\xff" * 6 + b"\x52\x54\0\0\0\1" + bytes([8, number]) + bytes(60))
		machine.expect(f"wake: {number + 1} ")
	machine.finish()


# ---- Folders ----

def test_two_folders(boot, tmp_path):
	"""Both are in; one is forgotten and leaves no symbol; so is the other."""
	folder, one, two = tmp_path / "build", external(tmp_path, "one"), external(tmp_path, "two", "0x8086, 0x2918")
	output = build(folder, one, two)
	assert re.search(r"^ +\d+  one/\n +\d+  one\.c$", output, re.M), output
	output = boot(program="hello", firmware="pvh", kernel=folder / "kernel.elf", args=EDU).finish()
	assert " 1234:11e8 00ff00 one: one is here" in output and " 8086:2918 060100 two: two is here" in output
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


def test_tree_stays(tmp_path):
	"""In a copy without git, as from an archive: nothing in it changes."""
	tree = tmp_path / "tree"
	shutil.copytree(ROOT, tree, ignore=NOT_TREE)
	before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
	make("-C", tree, "image", f"O={tmp_path}/build", f"EXTERNAL={external(tmp_path, 'mine')}")
	assert "mine_probe" in names(tmp_path / "build" / "kernel.elf")
	assert before == {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}


# ---- What can't be ----

def refused(folder, *outside):
	environment = {name: value for name, value in os.environ.items() if name not in OUTER_MAKE}
	result = subprocess.run(["make", "-C", ROOT, "image", f"O={folder}", f"EXTERNAL={':'.join(map(str, outside))}"],
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


def test_compiler_names_the_file(tmp_path):
	folder = external(tmp_path, "bad")
	(folder / "bad.c").write_text("int bad(void)\n{\n\treturn nothing;\n}\n")
	with pytest.raises(AssertionError, match=r"bad/bad\.c:3:16: error"):
		build(tmp_path / "build", folder)


# ---- scripts/new-driver ----

@pytest.mark.parametrize("kind, says", [
	("net", r"net0 020000000000 1 queues"), ("blk", r"disk0 0 MiB, 512-byte blocks"), ("none", ""),
])
def test_new_driver(boot, tmp_path, kind, says):
	"""Builds without a warning, and its probe runs."""
	folder, new = tmp_path / "build", tmp_path / "new"
	command = [ROOT / "scripts" / "new-driver", "--class", kind, "--name", "acme", "--pci", "1234:11e8", new]
	subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
	again = subprocess.run(command, text=True, capture_output=True, check=False)
	assert again.returncode and "is there already" in again.stderr
	assert "warning" not in build(folder, new)
	output = boot(program="hello", firmware="pvh", kernel=folder / "kernel.elf", args=EDU).finish()
	assert re.search(rf" 1234:11e8 00ff00 acme: registers at [0-9a-f]+ ?{says}$", output, re.M), output


@pytest.mark.parametrize("wrong", [("--name", "A-b"), ("--pci", "12:34"), ("--class", "gpu")])
def test_new_driver_arguments(tmp_path, wrong):
	choice = {"--name": "acme", "--pci": "1234:11e8", "--class": "net", wrong[0]: wrong[1]}
	result = subprocess.run([ROOT / "scripts" / "new-driver", *sum(choice.items(), ()), tmp_path / "new"], text=True,
		capture_output=True, check=False)
	assert result.returncode == 2 and wrong[0] in result.stderr and not (tmp_path / "new").exists()


# ---- docs/driver-guide.md ----

def test_guide_shows_the_example():
	"""Its listings are lines of the example, which the tests above build and run."""
	guide = (ROOT / "docs" / "driver-guide.md").read_text()
	example = "\n\n".join(path.read_text() for path in sorted(RTL8139.iterdir()) if path.is_file())
	blocks = re.findall(r"^```(?:c|kconfig|text)\n(.*?)^```$", guide, re.M | re.S)
	assert len(blocks) > 8
	for block in blocks:
		assert block in example, block
