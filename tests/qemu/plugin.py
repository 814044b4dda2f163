"""conftest.py for tests in other folders, too, which pytest would not let have its fixtures: with tests/qemu on
Python's path, pytest --noconftest -p plugin (scripts/test)."""
import conftest

globals().update((name, value) for name, value in vars(conftest).items() if not name.startswith("__"))
