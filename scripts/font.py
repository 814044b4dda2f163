#!/usr/bin/python3
"""Packs the printable ASCII characters of a console font into a C header.

    font.py /usr/share/consolefonts/Lat15-Fixed16.psf.gz -o font.h

The font comes from the package console-setup-linux at build time; "Fixed" is in the public domain (copyright.fonts
of that package).  A glyph is 8 pixels wide; glyph after glyph, row after row, runs of equal rows become one byte
each: which row in bits 5:0, how many in bits 7:6.
"""
import argparse
import gzip
import itertools
import struct
import sys

CHARACTERS = range(0x20, 0x7F)
LENGTHS = (1, 2, 4, 6)  # FONT_RUN()

HEADER = '''// {name}, packed by scripts/font.py.
#pragma once
#include <stdint.h>

#define FONT_HEIGHT {height}
#define FONT_RUN(length) ((length) * 2 + !(length))

static const uint8_t font_rows[] = {{{rows}
}};

static const uint8_t font_runs[] = {{{runs}
}};
'''


def unicode_table_1(data, count):
    """PSF 1: 16-bit characters, 0xFFFE begins a sequence, 0xFFFF ends a glyph."""
    table, glyph, sequence = {}, 0, False
    for (code,) in struct.iter_unpack('<H', data):
        if code == 0xFFFF:
            glyph, sequence = glyph + 1, False
        elif code == 0xFFFE:
            sequence = True
        elif not sequence and glyph < count:
            table.setdefault(code, glyph)
    return table


def unicode_table_2(data, count):
    """PSF 2: UTF-8, 0xFE begins a sequence, 0xFF ends a glyph."""
    table = {}
    for glyph, entry in enumerate(data.split(b'\xff')[:count]):
        for character in entry.split(b'\xfe')[0].decode('utf-8'):
            table.setdefault(ord(character), glyph)
    return table


def load(path):
    """Returns the glyphs of printable ASCII: a list of bytes objects, a byte a row."""
    with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as file:
        data = file.read()
    if data[:2] == b'\x36\x04':
        mode, size = data[2:4]
        count, width, start = 512 if mode & 1 else 256, 8, 4
        has_table, reader = mode & 6, unicode_table_1
    elif data[:4] == b'\x72\xb5\x4a\x86':
        start, flags, count, size, _, width = struct.unpack_from('<6I', data, 8)
        has_table, reader = flags & 1, unicode_table_2
    else:
        raise ValueError('not a PSF font')
    if width != 8:
        raise ValueError(f'{width} pixels wide, not 8')
    table = reader(data[start + count * size:], count) if has_table else {code: code for code in CHARACTERS}
    missing = ''.join(chr(code) for code in CHARACTERS if code not in table)
    if missing or len(data) < start + count * size:
        raise ValueError(f'characters missing: {missing}')
    return [data[start + table[code] * size:start + (table[code] + 1) * size] for code in CHARACTERS]


def split(length):
    """The fewest pieces of LENGTHS that make up `length`."""
    best = [()]
    for total in range(1, length + 1):
        best.append(min((best[total - piece] + (piece,) for piece in LENGTHS if piece <= total), key=len))
    return best[length]


def pack(glyphs):
    """Returns the distinct rows and the runs."""
    stream = b''.join(glyphs)
    rows = sorted(set(stream))
    if len(rows) > 64:
        raise ValueError(f'{len(rows)} different rows, at most 64 can be packed')
    runs = []
    for row, group in itertools.groupby(stream):
        runs += [LENGTHS.index(piece) << 6 | rows.index(row) for piece in split(len(list(group)))]
    return rows, runs


def listing(values):
    return ''.join(('\n\t' if i % 16 == 0 else ' ') + f'0x{value:02X},' for i, value in enumerate(values))


def main():
    parser = argparse.ArgumentParser(description='packs a console font into a C header')
    parser.add_argument('font', help='a PSF font, 8 pixels wide')
    parser.add_argument('-o', '--output', required=True)
    arguments = parser.parse_args()
    try:
        glyphs = load(arguments.font)
        rows, runs = pack(glyphs)
    except (OSError, ValueError) as error:
        sys.exit(f'font.py: {arguments.font}: {error}')
    with open(arguments.output, 'w', encoding='ascii') as file:
        file.write(HEADER.format(name=arguments.font.rpartition('/')[2], height=len(glyphs[0]), rows=listing(rows),
                                 runs=listing(runs)))


if __name__ == '__main__':
    main()
