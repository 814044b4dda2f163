#!/usr/bin/python3
"""unpack_data.py OUT: images packed by scripts/pack.py, as a C header for unpack_test.c."""
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


def words(data):
	return ', '.join(map(str, data))


def main():
	lines = []
	for name, image, code, code_end in images():
		lines.append(f'static const uint8_t {name}[] = {{ {words(image)} }};')
		lines.append(f'static const uint8_t {name}_packed[] = {{ {words(pack.pack(image, code, code_end))} }};')
	Path(sys.argv[1]).write_text('\n'.join(lines) + '\n', encoding='ascii')


if __name__ == '__main__':
	main()
