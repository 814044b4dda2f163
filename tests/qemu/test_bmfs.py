"""scripts/bmfs.py: volumes that it makes, and volumes that are damaged."""
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bmfs.py"


def bmfs(*arguments, error=None):
	run = subprocess.run([SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False)
	if error is None:
		assert run.returncode == 0, run.stderr
	else:
		assert run.returncode and error in run.stderr, run.stderr
	return run.stdout


def test_files(tmp_path):
	volume, big = tmp_path / "volume", tmp_path / "big.bin"
	small = tmp_path / "hello.app"
	small.write_bytes(b"hello")
	big.write_bytes(bytes(range(256)) * 20000)      # 5.1 MB: three blocks
	bmfs("format", "--size", 16, volume, small, big)
	raw = volume.read_bytes()
	assert len(raw) == 16 << 20 and raw[1024:1028] == b"BMFS"
	assert raw[4096:4106] == b"hello.app\0" and int.from_bytes(raw[4128:4136], "little") == 1
	assert raw[2 << 20:][:5] == b"hello" and raw[4 << 20:][:5120000] == big.read_bytes()
	listed = [line.split()[:2] for line in bmfs("list", volume).splitlines()]
	assert listed == [["hello.app", "5"], ["big.bin", "5120000"]]
	bmfs("get", volume, "big.bin", "-o", tmp_path / "back")
	assert (tmp_path / "back").read_bytes() == big.read_bytes()
	# A replaced file takes the first gap that is large enough; what it leaves is used again.
	bmfs("remove", volume, "big.bin")
	small.write_bytes(b"x" * (3 << 20))
	bmfs("add", volume, small, big)
	assert "2 blocks from 1" in bmfs("list", volume) or "2 blocks from 2" in bmfs("list", volume)
	bmfs("get", volume, "hello.app", "-o", tmp_path / "back")
	assert (tmp_path / "back").read_bytes() == small.read_bytes()


def test_inside_a_disk(tmp_path):
	disk, file = tmp_path / "disk", tmp_path / "a"
	disk.write_bytes(b"\xAA" * (4 << 20))
	file.write_bytes(b"data")
	bmfs("--at", 4 << 20, "format", "--size", 8, disk, file)
	assert disk.read_bytes()[:4 << 20] == b"\xAA" * (4 << 20)
	assert "a " in bmfs("--at", 4 << 20, "list", disk)


def test_hybrid_disk(tmp_path):
	"""The volume behind the FAT file system of BareMetal's disks is found."""
	disk, file = tmp_path / "disk", tmp_path / "a"
	file.write_bytes(b"data")
	bmfs("--at", 128 << 20, "format", "--size", 8, disk, f"other={file}")
	assert bmfs("list", disk).split()[:2] == ["other", "4"]


def test_all_files(tmp_path):
	volume, out = tmp_path / "volume", tmp_path / "out"
	out.mkdir()
	contents = {"one": b"1", "two": b"", "three": b"3" * (3 << 20)}
	for name, content in contents.items():
		(tmp_path / name).write_bytes(content)
	bmfs("format", "--size", 16, volume, *(tmp_path / name for name in contents))
	bmfs("get", volume, "-o", out)
	assert {path.name: path.read_bytes() for path in out.iterdir()} == contents
	# A name that would lead out of the folder.
	raw = bytearray(volume.read_bytes())
	raw[4096:4096 + 6] = b"../one"
	volume.write_bytes(raw)
	bmfs("get", volume, "-o", out, error="not a file's name")
	bmfs("get", volume, "../one", "-o", tmp_path / "back")
	assert (tmp_path / "back").read_bytes() == b"1"


def test_nothing_is_lost(tmp_path):
	"""What can't be done leaves the volume as it was."""
	volume, file = tmp_path / "volume", tmp_path / "f"
	file.write_bytes(b"old")
	bmfs("format", "--size", 8, volume, file)
	before = volume.read_bytes()
	file.write_bytes(bytes(5 << 20))
	bmfs("add", volume, file, error="f: no room")
	bmfs("add", volume, f"g={file}", tmp_path / "none", error="No such file")
	bmfs("remove", volume, "f", "g", error="g: not on this volume")
	bmfs("format", "--size", 8, volume, error="--force overwrites it")
	assert volume.read_bytes() == before
	bmfs("format", "--size", 8, "--force", volume)
	assert bmfs("list", volume) == ""


def test_refused(tmp_path):
	volume, file = tmp_path / "volume", tmp_path / "f"
	file.write_bytes(bytes(5 << 20))
	bmfs("list", tmp_path / "none", error="No such file")
	volume.write_bytes(bytes(16 << 20))
	bmfs("list", volume, error="no BMFS volume")
	bmfs("format", "--size", 4, tmp_path / "tiny", error="too few")
	bmfs("format", "--size", 8, tmp_path / "small", file, error="no room")
	assert not (tmp_path / "small").exists() and not (tmp_path / "tiny").exists()
	bmfs("format", "--size", 8, tmp_path / "small")
	bmfs("get", tmp_path / "small", "f", error="not on this volume")
	long = tmp_path / ("n" * 32)
	long.write_bytes(b"")
	bmfs("add", tmp_path / "small", long, error="1 to 31 ASCII")
	for number in range(64):
		(tmp_path / f"n{number}").write_bytes(b"")
	bmfs("format", "--size", 256, tmp_path / "full", *(tmp_path / f"n{number}" for number in range(64)))
	bmfs("add", tmp_path / "full", file, error="directory is full")
	raw = bytearray((tmp_path / "full").read_bytes())
	raw[4096 + 32:4096 + 40] = (1 << 40).to_bytes(8, "little")
	(tmp_path / "full").write_bytes(raw)
	bmfs("list", tmp_path / "full", error="points outside")
