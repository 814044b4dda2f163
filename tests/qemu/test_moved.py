"""A tree that is moved, or copied, with what was built in it."""
import os
import shutil
import subprocess

from conftest import ROOT, make

SET_UP = "import pathlib, runpy, sys; runpy.run_path(sys.argv[2])['set_up_unit'](pathlib.Path(sys.argv[1]))"


def set_up(tree, folder):
	"""As make test does before the host tests; what Meson then knows about the folder."""
	environment = {name: text for name, text in os.environ.items() if name != "EXTERNAL"}
	subprocess.run(["/usr/bin/python3", "-c", SET_UP, folder, tree / "scripts" / "test"],
		env={**environment, "PYTHONPATH": str(tree / "scripts")}, check=True)
	answer = subprocess.run(["meson", "introspect", "--projectinfo", "--buildsystem-files", folder],
		capture_output=True, text=True, check=False)
	assert answer.returncode == 0, answer.stdout + answer.stderr
	return answer.stdout


def test_moved(tmp_path):
	old, new = tmp_path / "old", tmp_path / "new"
	shutil.copytree(ROOT, old, ignore=shutil.ignore_patterns("build", ".git", "__pycache__"))
	make("-C", old, "image", "CONFIG=tiny")
	assert str(old) in set_up(old, old / "build" / "unit")
	ninja = old / "build" / "unit" / "build.ninja"
	inode = ninja.stat().st_ino
	set_up(old, old / "build" / "unit")
	assert ninja.stat().st_ino == inode	# still the same
	kernel = (old / "build" / "kernel.elf").read_bytes()
	os.rename(old, new)
	make("-C", new, "image")
	assert (new / "build" / "kernel.elf").read_bytes() != kernel	# its lines name the new tree's files
	said = set_up(new, new / "build" / "unit")
	assert str(new) in said and str(old) not in said


def test_folder_without_its_end(tmp_path):
	"""What a set-up that was broken off left is no hindrance, nor what another Meson made."""
	folder = tmp_path / "unit"
	set_up(ROOT, folder)
	(folder / "meson-private" / "coredata.dat").write_bytes(b"of another version")
	(folder / "build.ninja").write_text("rule\n")
	set_up(ROOT, folder)
	assert subprocess.run(["ninja", "-C", folder, "-n"], stdout=subprocess.DEVNULL, check=False).returncode == 0
