#!/usr/bin/python3
"""sizeplot.py BUILD: draws what size.py says as a treemap, BUILD/size.svg.

An area is a number of bytes: folders hold files, files hold functions and constants.  Rectangles are laid out row by
row, each row as long as makes its worst one closest to a square (Bruls, Huizing, van Wijk: Squarified Treemaps).
"""
import sys
from collections import defaultdict
from html import escape
from pathlib import Path

import size

WIDTH, HEIGHT = 1600, 1000
TITLE, LABEL = 20, 14	# height of a folder's title and a file's; a letter is about 0.6 as wide
COLORS = ["#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#edc948", "#9c755f", "#bab0ac"]
STYLE = """text { font-family: sans-serif; fill: #fff; pointer-events: none }
.folder { stroke: #fff; stroke-width: 3 } .file { fill: #000; fill-opacity: .18; stroke: #fff }
.symbol { fill: #fff; fill-opacity: .14; stroke: #000; stroke-opacity: .25; stroke-width: .5 }
.symbol:hover { fill-opacity: .5 }"""


def worst(row, side, scale):
	"""The longest ratio of sides in a row of these values along `side`."""
	thick = sum(row) * scale / side
	return max(max(thick * thick / (value * scale), value * scale / (thick * thick)) for value in row)


def squarify(values, x, y, width, height):
	"""A rectangle (x, y, width, height) for each of the values, which fall."""
	values = list(values)
	if not values or min(width, height) <= 0:
		return
	scale = width * height / sum(values)
	while values:
		side = min(width, height)
		count = 1
		while count < len(values) and worst(values[:count + 1], side, scale) <= worst(values[:count], side, scale):
			count += 1
		row, values = values[:count], values[count:]
		thick, at = sum(row) * scale / side, 0
		for value in row:
			long = value * scale / thick
			yield (x, y + at, thick, long) if width >= height else (x + at, y, long, thick)
			at += long
		if width >= height:
			x, width = x + thick, width - thick
		else:
			y, height = y + thick, height - thick


def tree(rows, files):
	"""{folder: {file: {symbol: bytes}}}; what has no name of its own (strings, alignment) is one more in its file."""
	found = defaultdict(lambda: defaultdict(dict))
	for bytes_here, name, source in rows:
		found[source.split("/")[0]][source][name] = bytes_here
	for source, bytes_here in files.items():
		symbols = found[source.split("/")[0]][source]
		named = sum(symbols.values())
		if named > bytes_here:	# functions that are partly other files', inlined
			found[source.split("/")[0]][source] = {name: part * bytes_here / named for name, part in symbols.items()}
		elif named < bytes_here:
			symbols["(strings, inlined)"] = bytes_here - named
	return found


def total(node):
	return sum(map(total, node.values())) if isinstance(node, dict) else node


def sorted_children(node):
	return sorted(node.items(), key=lambda item: (-total(item[1]), item[0]))


def rectangle(kind, box, title, color=""):
	x, y, width, height = box
	return (f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
		f'{color and f" fill={color!r}"}><title>{escape(title)}</title></rect>')


def label(box, text, points):
	"""As much of the text as fits, if that says anything."""
	x, y, width, height = box
	fits = int((width - 6) / (points * 0.6))
	if height < points + 3 or fits < 4:
		return ""
	text = text if len(text) <= fits else text[:fits - 1] + "…"
	return f'<text x="{x + 3:.1f}" y="{y + points:.1f}" font-size="{points}">{escape(text)}</text>'


def draw(node, box, path, color, out):
	"""The children of a folder (path of one name) or of a file within its rectangle."""
	children = sorted_children(node)
	for (name, child), place in zip(children, squarify([total(child) for _, child in children], *box)):
		kind = ["folder", "file", "symbol"][len(path)]
		here = color or COLORS[len(out["colors"]) % len(COLORS)]
		if not path:
			out["colors"].append(here)
		where = [*path, name.split("/")[-1]]
		hint = f"{'/'.join(where)}: {total(child):.0f} bytes"
		out["shapes"].append(rectangle(kind, place, hint, "" if path else here))
		points = [TITLE, LABEL, 10][len(path)] - 4 * (len(path) < 2)
		out["shapes"].append(label(place, f"{where[-1]} {total(child):.0f}", points))
		if isinstance(child, dict):
			head = [TITLE, LABEL][len(path)]
			x, y, width, height = place
			draw(child, (x + 2, y + head, width - 4, height - head - 2), where, here, out)


def svg(nodes, title):
	out = {"shapes": [], "colors": []}
	draw(nodes, (0, 30, WIDTH, HEIGHT - 30), [], "", out)
	return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
		f"<style>{STYLE}</style>", f'<text x="4" y="21" font-size="18" style="fill:#333">{escape(title)}</text>',
		*filter(None, out["shapes"]), "</svg>", ""])


def main(args):
	if len(args) != 1:
		sys.exit(__doc__)
	build = Path(args[0])
	image, rows, _ = size.read(build)
	files = image.totals()
	packed = (build / "kernel.bin").stat().st_size
	name = (build / ".config.origin").read_text().splitlines()[0].removeprefix("name=")
	title = f"{name}: {sum(files.values())} bytes of code and constants, {packed} in kernel.bin"
	(build / "size.svg").write_text(svg(tree(rows, files), title))
	print(f"written: {build / 'size.svg'}")


if __name__ == "__main__":
	main(sys.argv[1:])
