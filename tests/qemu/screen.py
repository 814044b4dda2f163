"""What stands on a machine's screen, as text: read cell by cell off a screenshot, or out of text memory."""
import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FONT = "/usr/share/consolefonts/Lat15-Fixed16.psf.gz"	# video/meson.build
WIDTH = 8


def _glyphs():
	spec = importlib.util.spec_from_file_location("font", ROOT / "scripts" / "font.py")
	font = importlib.util.module_from_spec(spec)
	spec.loader.exec_module(font)
	return font.load(FONT)


def graphics(machine):
	"""Rows of a frame buffer. A cell that is no glyph of the font is an error; an inverse one, the cursor, is 0x7F."""
	glyphs = _glyphs()
	height = len(glyphs[0])
	known = {glyph: chr(0x20 + i) for i, glyph in reversed(list(enumerate(glyphs)))}
	known.update({bytes(row ^ 0xFF for row in glyph): "\x7f" for glyph in glyphs})
	width, lines, pixels = machine.screenshot()
	columns = width // WIDTH // 8 * 8
	rows = []
	for top in range(0, lines // height * height, height):
		text = ""
		for left in range(0, columns * WIDTH, WIDTH):
			cell = bytearray()
			for line in range(top, top + height):
				at = (line * width + left) * 3
				row = 0
				for pixel in range(WIDTH):
					row = row << 1 | (pixels[at + pixel * 3] > 0x60)
				cell.append(row)
			where = f"column {left // WIDTH}, row {top // height}"
			assert bytes(cell) in known, f"the cell at {where} is no character: {cell.hex()}"
			text += known[bytes(cell)]
		rows.append(text.rstrip())
	return rows


def text_mode(machine):
	"""Rows of the VGA's text memory."""
	cells = machine.memory(0xB8000, 80 * 25 * 2)
	rows = []
	for row in range(25):
		line = ""
		for column in range(80):
			character, attribute = cells[(row * 80 + column) * 2:][:2]
			line += "\x7f" if attribute == 0x70 else chr(character)
		rows.append(line.rstrip())
	return rows


def shown(output, columns, rows):
	"""The rows that a screen of this size shows after `output` (no control characters but newlines and tabs)."""
	lines = []
	for line in output.split("\n"):
		line = line.expandtabs(8)
		lines.append(line[:columns])
		while len(line) > columns:
			line = line[columns:]
			lines.append(line[:columns])
	return [line.rstrip() for line in lines[-rows:]]
