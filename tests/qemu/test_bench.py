"""make bench: what it counts is exact, and a rise is noticed."""
import copy
import json
import sys
import xml.etree.ElementTree as xml

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import bench  # noqa: E402 pylint: disable=wrong-import-position


@pytest.fixture
def measured(images, work, monkeypatch):
	"""measured(GROUP...): what bench.py makes of these, with the images that are there."""
	def make(folder, config, program=""):
		folder.mkdir(parents=True, exist_ok=True)
		built = {"programs": images.folder(config) / "programs", "kernel.elf": images.folder(config) / "kernel.elf"}
		if program:
			built["ingot.img"] = images.image(config, program=program) / "ingot.img"
		for name, path in built.items():
			(folder / name).unlink(missing_ok=True)
			(folder / name).symlink_to(path)

	def run(*groups):
		(work / "bench").mkdir(exist_ok=True)
		return bench.bench(work / "bench", groups)

	monkeypatch.setattr(bench, "make", make)
	return run


def test_figures(measured, capsys):
	"""Twice the same; the boot within its goals; a doorbell a frame, and eight requests for a MiB."""
	first = measured("boot", "virtio-net", "virtio-blk")
	boot, net, blk = (first[group] for group in ("boot", "virtio-net", "virtio-blk"))
	for name, row in boot.items():
		assert row["instructions"] > 100000 and row["accesses"] > 100
		assert not bench.missed(row, bench.goals("boot", name)), row
	assert net["b_net_tx"]["accesses"] == 1 and net["b_net_tx"]["reads"] == 0
	assert net["b_net_tx"]["instructions"] + 1500 // 8 > net["b_net_tx, 1514 bytes"]["instructions"]
	assert net["net_tx, a frame of 32"]["accesses"] == round(1 / 32, 3)
	assert blk["4 KiB read, each of 32"]["accesses"] == round(1 / 32, 3)
	assert 1 <= blk["b_nvs_read, 1 MiB, with waiting"]["requests"] <= 8
	again = measured("virtio-blk")
	assert bench.compare(first, {**first, **again}), capsys.readouterr().out


def test_comparison(capsys):
	row = {"instructions": 1000.0, "accesses": 2}
	base = {"calls": {"a": row, "gone": row, f"b, {bench.WAITING}": row}, "absent": {}}
	now = copy.deepcopy(base)
	now["calls"]["new"] = now["calls"].pop("gone")
	now["calls"][f"b, {bench.WAITING}"]["instructions"] = 9000
	now["calls"]["a"]["instructions"] = 1020
	assert bench.compare(base, now)
	assert "calls: gone" in capsys.readouterr().out
	now["calls"]["a"]["instructions"] = 1021
	assert not bench.compare(base, now)
	assert "calls: a, instructions" in capsys.readouterr().out
	now["calls"]["a"].update(instructions=900, accesses=3)
	assert not bench.compare(base, now)


@pytest.mark.parametrize("content", [None, "", "[1]", '{"calls": 3}', '{"calls": {"a": {"instructions": "much"}}}'])
def test_bad_base(work, content):
	"""A sentence that names the file, before anything is run."""
	base = work / "base.json"
	if content is not None:
		base.write_text(content)
	with pytest.raises(SystemExit) as end:
		bench.main([str(work), "--base", str(base), "calls"])
	assert str(base) in str(end.value) and not (work / "bench" / "bench.json").exists()


def test_unknown_group(work):
	with pytest.raises(SystemExit, match="no group what"):
		bench.main([str(work), "what"])


def test_chart():
	"""Well-formed; a bar for each row, a mark for each goal."""
	rows = {"b_system, unused number": {"instructions": 8, "accesses": 0}, "<&>": {"instructions": 12}}
	chart = xml.fromstring(bench.chart(json.loads(json.dumps({"calls": rows}))))
	space = "{http://www.w3.org/2000/svg}"
	bars = [bar for bar in chart.iter(f"{space}rect") if bar.get("class")]
	assert [bar.get("class") for bar in bars] == ["bar", "bar"]
	assert [float(bar.get("width")) for bar in bars] == [pytest.approx(bench.BARS * 8 / 12, abs=0.1), bench.BARS]
	assert len(list(chart.iter(f"{space}path"))) == 1
