#!/usr/bin/python3
"""unpack_data.py OUT [MIXPACK]: images packed by scripts/pack.py, as a C header for unpack_test.c, or mix_test.c."""
import random
import struct
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / 'scripts'))
import pack  # noqa: E402


def calls(chance):
	"""Calls and operands relative to RIP, to few places, between bytes that compress and bytes that don't."""
	out = bytearray()
	while len(out) < 30000:
		kind = chance.randrange(4)
		if kind < 2:
			out += b'\xE8' if kind else bytes((0x8B, 0x05 | chance.randrange(8) << 3))
			out += struct.pack('<i', chance.choice((0x400, 0x7F0, 0x5000, -0x73FFF)) - len(out) - 4)
		else:
			out += chance.randbytes(6) if kind == 2 else bytes((0x48, 0x89, 0xC3, 0x31, 0xC0, chance.randrange(3)))
	return bytes(out)


def opcodes():
	"""Each opcode behind each kind of prefix, with each kind of ModRM byte."""
	out = bytearray()
	for before in (b'', b'\x66', b'\x48', b'\xF0\x66\x4C', b'\x66\x66\x66\x66\x66\x66', b'\x0F', b'\x48\x0F'):
		for op in range(256):
			for modrm in (0x05, 0x04, 0x45, 0x84, 0xC3, 0x1D):
				out += before + bytes((op, modrm, 0x25)) + b'\x11\x22\x33\x44'
	return bytes(out)


def images():
	"""Name, image, where there is code in it."""
	chance = random.Random(82599)
	yield 'one_byte', b'\xE8', 0, 1
	yield 'zeros', bytes(100000), 0, 0
	yield 'noise', chance.randbytes(50000), 100, 49000
	periods = b''.join(bytes(range(n)) * 40 for n in (1, 3, 7, 60, 130))
	yield 'periods', periods * 2 + chance.randbytes(70000) + periods, 0, 0
	code = calls(chance)
	yield 'calls', code, 0, len(code)
	code = opcodes()
	yield 'opcodes', b'head' + code, 4, 4 + len(code)


def pages(head, code, constants):
	"""An image as the linker lays it out, and where there is code in it."""
	image = head.ljust(pack.PAGE, b'\0') + code
	return image.ljust(-(-len(image) // pack.PAGE) * pack.PAGE, b'\0') + constants, pack.PAGE, pack.PAGE + len(code)


def mix_images():
	"""The same for context mixing."""
	chance = random.Random(8259)
	text = b'no memory\0 BAR %u unassigned\0' * 5 + struct.pack('<40Q', *range(0x101000, 0x101000 + 40 * 24, 24))
	yield 'one_byte', pages(b'', b'\xC3', b'')
	yield 'no_code', pages(b'head', b'', text)
	yield 'far_constants', pages(b'head', b'\x90' * 7, bytes(3 * pack.PAGE) + text)
	yield 'noise', pages(chance.randbytes(4000), chance.randbytes(40000), chance.randbytes(9000))
	yield 'calls', pages(b'head', calls(chance), text)
	yield 'opcodes', pages(b'head', opcodes()[:60000], text)
	yield 'returns', pages(b'', b'\xC3' * 3000 + b'\xE8\0\0\0\0' * 20, b'')		# more functions than are kept
	yield 'jumps', pages(b'', b''.join(b'\x74' + bytes([n]) for n in range(0, 128)) * 9, b'')	# and more targets
	yield 'cut', pages(b'', b'\x90' * (pack.PAGE - 3) + b'\x48\x8B\x05', b'\x11\x22\x33\x44' + text)	# no end


def words(data):
	return ', '.join(map(str, data))


def main():
	lines = []

	def case(name, image, packed):
		lines.append(f'static const uint8_t {name}[] = {{ {words(image)} }};')
		lines.append(f'static const uint8_t {name}_packed[] = {{ {words(packed)} }};')

	if len(sys.argv) > 2:
		for name, (image, code, code_end) in mix_images():
			case(name, image, pack.mix(sys.argv[2], image, code, code_end)[0])
	else:
		for name, image, code, code_end in images():
			case(name, image, pack.pack(image, code, code_end))
	Path(sys.argv[1]).write_text('\n'.join(lines) + '\n', encoding='ascii')


if __name__ == '__main__':
	main()
