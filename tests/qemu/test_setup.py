"""What scripts/setup asks apt for, on distributions that have different packages."""
import shutil
import subprocess

import pytest

from conftest import ROOT

OTHERS = "cppcheck doxygen pyflakes3 shellcheck"
# Each stands in a folder with `lists`, the packages that apt knows, and `server`, what an update makes of them.
COMMANDS = {
	"id": "echo 0",
	"apt-cache": 'while read -r name; do [ "$name" = "$2" ] && exit; done <lists; exit 1',
	"apt-get": """case $* in
		*update) while read -r name; do echo "$name"; done <server >lists ;;
		*) echo "$@" >asked ;;
		esac""",
}


@pytest.fixture
def setup(tmp_path):
	"""setup(known, offered): what is asked for by a machine that has nothing, and what it says."""
	for name, body in COMMANDS.items():
		path = tmp_path / "bin" / name
		path.parent.mkdir(exist_ok=True)
		path.write_text(f"#!/bin/sh\n{body}\n")
		path.chmod(0o755)
	(tmp_path / "bin" / "env").symlink_to(shutil.which("env"))

	def start(known, offered):
		for name, packages in (("lists", known), ("server", offered)):
			(tmp_path / name).write_text("".join(f"{package}\n" for package in packages.split()))
		(tmp_path / "asked").unlink(missing_ok=True)
		done = subprocess.run(["/bin/sh", ROOT / "scripts" / "setup", "check"], cwd=tmp_path, text=True,
			env={"PATH": str(tmp_path / "bin")}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
		return (tmp_path / "asked").read_text().split("--no-install-recommends ")[1].strip(), done.stdout

	return start


@pytest.mark.parametrize("known", ["", "clang-format clang-tidy clang-format-14 clang-tidy-14"])
def test_version_14(setup, known):
	"""Asked for where there is one, whether the lists have been there or come with the update."""
	asked, _ = setup(known, "clang-format clang-tidy clang-format-14 clang-tidy-14")
	assert asked == f"clang-format-14 clang-tidy-14 {OTHERS}"


@pytest.mark.parametrize("known", ["", "clang-format clang-tidy clang-format-19 clang-tidy-19"])
def test_other_versions_alone(setup, known):
	"""All else is installed; once it is, nothing is missing."""
	asked, said = setup(known, "clang-format clang-tidy clang-format-19 clang-tidy-19")
	assert asked == OTHERS
	assert ("clang-format-14" in said) == (not known)


def test_no_lists_at_all(setup):
	"""apt says what is wrong."""
	asked, _ = setup("", "")
	assert "clang-format-14 clang-tidy-14" in asked
