"""Configurations and programs that can't be are refused with a sentence that says where; a second make does nothing."""
import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from conftest import ROOT, make
from machine import DEADLINE

KCONFIG = ROOT / "scripts" / "kconfig.py"


@pytest.fixture
def tree(tmp_path):
	"""A copy of what scripts/kconfig.py reads, so that a test may add a defconfig."""
	for path in ROOT.rglob("Kconfig*"):
		target = tmp_path / "tree" / path.relative_to(ROOT)
		target.parent.mkdir(parents=True, exist_ok=True)
		shutil.copy(path, target)
	shutil.copytree(ROOT / "configs", tmp_path / "tree" / "configs")
	(tmp_path / "tree" / "scripts").mkdir()
	for script in ("kconfig.py", "external.py", "drivers.py"):
		shutil.copy(ROOT / "scripts" / script, tmp_path / "tree" / "scripts")
	(tmp_path / "tree" / "include").mkdir()
	shutil.copy(ROOT / "include" / "driver.h", tmp_path / "tree" / "include")
	return tmp_path / "tree"


def kconfig(tree, *arguments):
	return subprocess.run([tree / "scripts" / "kconfig.py", tree / "build", *arguments], cwd=tree, text=True,
		stdin=subprocess.DEVNULL, capture_output=True, check=False)


@pytest.mark.parametrize("text,message", [
	("CONFIG_NET_VIRTIO=y\nCONFIG_NOPE=y\n", "configs/x_defconfig:2: unknown symbol CONFIG_NOPE"),
	("CONFIG_SERIAL=m\n", "configs/x_defconfig:1: CONFIG_SERIAL=m: the value must be y or n"),
	("CONFIG_NET=y\n", "configs/x_defconfig:1: CONFIG_NET can't be set"),
	("CONFIG_SERIAL=y\n\nCONFIG_SERIAL=n\n", "configs/x_defconfig:3: CONFIG_SERIAL is already set in line 1"),
	("# CONFIG_BUS_PCI is not set\nCONFIG_BUS_PCI_ECAM=y\n",
		"configs/x_defconfig:2: CONFIG_BUS_PCI_ECAM=y has no effect: it depends on BUS_PCI"),
	("CONFIG_SERIAL y\n", "configs/x_defconfig:1: neither"),
])
def test_wrong_defconfig(tree, text, message):
	(tree / "configs" / "x_defconfig").write_text(text)
	result = kconfig(tree, "sync", "x")
	assert result.returncode and message in result.stderr
	assert not (tree / "build" / ".config").exists()


def refuses(tree, message, *arguments):
	"""With one line, no traceback."""
	result = kconfig(tree, *arguments)
	assert result.returncode == 1 and result.stderr.startswith("error: ") and message in result.stderr, result.stderr
	assert result.stderr.count("\n") == 1, result.stderr


def test_no_text(tree):
	(tree / "configs" / "x_defconfig").write_bytes(b"CONFIG_SERIAL=y\n\xFF\n")
	refuses(tree, "configs/x_defconfig: not a text", "sync", "x")


@pytest.mark.parametrize("text, message", [
	(b"nonsense\n", "build/.config:1: neither"), (b"\nCONFIG_SERIAL=maybe\n", "build/.config:2: CONFIG_SERIAL=maybe: "),
	(b"CONFIG_SERIAL_PORT=0x10\n", "must lie between 0x100 and"), (b"\xFF\0", "build/.config: not a text"),
])
def test_config_spoilt_by_hand(tree, text, message):
	"""Refused, and left as it is until a configuration is named."""
	kconfig(tree, "sync")
	config = tree / "build" / ".config"
	good = config.read_bytes()
	config.write_bytes(text)
	refuses(tree, message, "sync")
	assert config.read_bytes() == text
	assert kconfig(tree, "sync", "qemu_q35").returncode == 0 and config.read_bytes() == good


def test_config_of_another_version(tree):
	"""What is there no more is named, once, and left out; the last line that sets an option holds."""
	kconfig(tree, "sync")
	config = tree / "build" / ".config"
	config.write_text(config.read_text() + "CONFIG_GONE=y\nCONFIG_HID_PS2=n\n")
	first, second = kconfig(tree, "sync"), kconfig(tree, "sync")
	assert re.fullmatch(r"warning: .*/\.config:\d+: unknown symbol: CONFIG_GONE=y\n", first.stderr)
	assert first.returncode == second.returncode == 0 and not second.stderr
	assert "GONE" not in config.read_text() and "CONFIG_HID_PS2=y" not in config.read_text()


@pytest.mark.parametrize("text", ["", "junk\n", "name=qemu_q35\n"])
def test_broken_off(tree, text):
	"""A write that was broken off is no hindrance."""
	kconfig(tree, "sync")
	origin = tree / "build" / ".config.origin"
	whole = origin.read_text()
	origin.write_text(text)
	assert kconfig(tree, "sync").returncode == 0 and origin.read_text() == whole


def test_nobody_to_ask(tree):
	kconfig(tree, "sync")
	refuses(tree, "no terminal", "menuconfig")
	config = tree / "build" / ".config"
	config.write_text(re.sub("(?m)^.*CONFIG_SERIAL[ =].*\n", "", config.read_text()))
	spoilt = config.read_bytes()
	refuses(tree, "the answers have ended", "oldconfig")
	assert config.read_bytes() == spoilt


@pytest.mark.parametrize("term, message", [("dumb", "cannot move its cursor"), ("nonsense", "could not find terminal")])
def test_terminal_without_menus(tree, term, message):
	said, status = pexpect.run(f"{tree}/scripts/kconfig.py {tree}/build menuconfig", withexitstatus=True,
		encoding="utf-8", cwd=str(tree), env={**os.environ, "TERM": term})
	assert status == 1 and f"error: menuconfig: TERM={term}: " in said and message in said, said


def test_unknown_defconfig_names_the_known(tree):
	result = kconfig(tree, "sync", "nope")
	assert result.returncode and "tiny" in result.stderr


def test_changes_by_hand_stay_until_a_configuration_is_named(tree):
	config = tree / "build" / ".config"
	name = lambda: (tree / "build" / ".config.origin").read_text().splitlines()[0]	# noqa: E731
	kconfig(tree, "sync")
	assert name() == "name=qemu_q35"
	config.write_text(config.read_text().replace("CONFIG_HID_PS2=y", "# CONFIG_HID_PS2 is not set"))
	kconfig(tree, "sync")
	assert name() == "name=qemu_q35+" and "CONFIG_HID_PS2=y" not in config.read_text()
	kconfig(tree, "sync", "qemu_q35")
	assert name() == "name=qemu_q35" and "CONFIG_HID_PS2=y" in config.read_text()


def test_defconfigs_are_minimal(tree):
	for path in (ROOT / "configs").glob("*_defconfig"):
		kconfig(tree, "defconfig", path.name.removesuffix("_defconfig"))
		kconfig(tree, "savedefconfig")
		lines = [line for line in path.read_text().splitlines()
			if not line.startswith("# ") or line.endswith("is not set")]
		assert sorted((tree / "build" / "defconfig").read_text().splitlines()) == sorted(lines), path


def test_a_changed_defconfig_is_taken_over(tree):
	kconfig(tree, "sync", "tiny")
	path = tree / "configs" / "tiny_defconfig"
	path.write_text(path.read_text() + "CONFIG_HID_PS2=y\n")
	kconfig(tree, "sync")
	assert "#define CONFIG_HID_PS2 1" in (tree / "build" / "generated" / "autoconf.h").read_text()


def refused(**choice):
	arguments = [f"{name}={value}" for name, value in choice.items()]
	result = subprocess.run(["make", "-C", ROOT, "image", *arguments], text=True, capture_output=True,
		check=False)
	assert result.returncode
	return result.stderr


def test_wrong_programs(tmp_path):
	folder = tmp_path / "build"
	assert "No such file" in refused(O=folder, PROGRAM=tmp_path / "nothing")
	(tmp_path / "empty").write_bytes(b"")
	assert "is an empty file" in refused(O=folder, PROGRAM=tmp_path / "empty")
	assert "not a static ELF program" in refused(O=folder, PROGRAM="/bin/true")
	(tmp_path / "big").write_bytes(bytes(0x10001))
	assert "at most 65536 fit" in refused(O=folder, PAYLOAD=tmp_path / "big")
	assert "only one of them" in refused(O=folder, PROGRAM=tmp_path / "big", PAYLOAD=KCONFIG)


def test_wrong_values(tmp_path):
	"""One line says what is wrong, and the folder can be used afterwards."""
	folder = tmp_path / "build"
	wrong = {("O", tmp_path / "a b"): "must not have blanks", ("CONFIG", "a b"): "no configs/a b_defconfig",
		("CC", "nocc"): "CC=nocc: there is no such command", ("FORMAT", "bmp"): "FORMAT=bmp: one of raw"}
	for choice, message in wrong.items():
		said = refused(**{"O": folder, "CONFIG": "tiny", **dict([choice])})
		assert message in said and "Traceback" not in said
	make("image", f"O={folder}")


@pytest.mark.parametrize("variable, value, message", [
	("CORES", "0", "CORES=0: a number"), ("CORES", "abc", "CORES=abc: "), ("MACHINE", "foo", "MACHINE=foo: "),
	("QEMU_ARGS", "'", "QEMU_ARGS=': "), ("DISK", "nothing", "no such file"),
])
def test_wrong_machines(tmp_path, variable, value, message):
	result = subprocess.run([KCONFIG.with_name("qemu.py"), "run", tmp_path], env={"PATH": "/usr/bin", variable: value},
		stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)
	assert result.returncode == 1 and result.stderr.startswith("error: ") and message in result.stderr
	assert result.stderr.count("\n") == 1


def test_compiler_that_fails(tmp_path):
	"""Set-up that was broken off is done again."""
	folder = tmp_path / "build"
	make("image", f"O={folder}", "CONFIG=tiny")
	assert "meson failed" in refused(O=folder, CC="/bin/false")
	make("image", f"O={folder}")


def test_builds_take_turns(images):
	"""What builds in a folder where somebody else does waits."""
	with images.held("tiny") as folder, open(folder / ".lock", "w", encoding="ascii") as lock:
		fcntl.flock(lock, fcntl.LOCK_EX)
		with subprocess.Popen([ROOT / "scripts" / "build.py", folder]) as second:
			with pytest.raises(subprocess.TimeoutExpired):
				second.wait(4)
			fcntl.flock(lock, fcntl.LOCK_UN)
			assert second.wait(DEADLINE) == 0


def test_second_make_builds_nothing(images):
	with images.held("qemu_q35") as folder:
		make("image", f"O={folder}")
		before = {path: path.stat().st_mtime_ns for path in Path(folder).glob("[!.]*") if path.is_file()}
		make("image", f"O={folder}")
		assert before == {path: path.stat().st_mtime_ns for path in before}
