#!/usr/bin/python3
"""What programs/diskcheck leaves on a drive (programs/pattern.h), checked and made on the host."""
import struct
import sys

UNIT = 512
FINAL = 0xF17A
HEAD = 16 << 20
TAIL = 1 << 20
MASK = (1 << 64) - 1
STEP = 0x9E3779B97F4A7C15
_TABLE = int.from_bytes(b"".join(struct.pack("<Q", i * STEP & MASK) for i in range(3, UNIT // 8)), "little")


def _seed(unit, generation):
    """The first output of splitmix64."""
    x = (unit * 65536 + generation + STEP) & MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def unit_bytes(unit, generation=FINAL):
    """The 512 bytes of one unit."""
    words = UNIT // 8 - 3
    body = int.from_bytes(struct.pack("<Q", _seed(unit, generation)) * words, "little") ^ _TABLE
    return b"INGOTDSK" + struct.pack("<QQ", unit, generation) + body.to_bytes(words * 8, "little")


def extents(size):
    """(first byte, bytes) of what diskcheck leaves on a drive of this size."""
    if size > HEAD + TAIL:
        return [(0, HEAD), (size - TAIL, TAIL)]
    return [(0, min(size, HEAD))]


def verify_disk(path, generation=FINAL):
    """Checks the raw image of a drive that diskcheck has passed; raises AssertionError with the first wrong unit."""
    with open(path, "rb") as image:
        for start, length in extents(image.seek(0, 2)):
            image.seek(start)
            for unit in range(start // UNIT, (start + length) // UNIT):
                found = image.read(UNIT)
                if found != unit_bytes(unit, generation):
                    raise AssertionError("%s: unit %d is wrong: %s" % (path, unit, found[:24].hex()))


def verify_extents(path, written, seeds):
    """Checks an image that programs/extents.c has left: every unit is blank, or as its own words say; how many those
    are and the sum of their seeds are as the program says, so that it is the last write to each that is there."""
    count = total = 0
    blank = bytes(UNIT)
    with open(path, "rb") as image:
        for unit, data in enumerate(iter(lambda: image.read(UNIT), b"")):
            if data == blank:
                continue
            generation = int.from_bytes(data[16:24], "little")
            if data != unit_bytes(unit, generation):
                raise AssertionError("%s: unit %d is wrong: %s" % (path, unit, data[:24].hex()))
            count += 1
            total += _seed(unit, generation)
    assert (count, total & MASK) == (written, seeds), "%s: writes are lost, or older than they should be" % path


def write_disk(path, size, generation=FINAL):
    """Makes an image as diskcheck leaves it: for read-only drives."""
    with open(path, "wb") as image:
        image.truncate(size)
        for start, length in extents(size):
            image.seek(start)
            for unit in range(start // UNIT, (start + length) // UNIT):
                image.write(unit_bytes(unit, generation))


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "make":
        write_disk(sys.argv[2], int(sys.argv[3]))
    elif len(sys.argv) == 2:
        verify_disk(sys.argv[1])
        print("%s: as diskcheck leaves it" % sys.argv[1])
    else:
        sys.exit("usage: patterns.py IMAGE | patterns.py make IMAGE BYTES")
