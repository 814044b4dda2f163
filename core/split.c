// Puts the kernel's image together again.  scripts/pack.py splits the instructions into streams of what is alike
// (opcodes with opcodes, short jumps with short jumps), and makes absolute what is relative to RIP, so that all that
// names one routine or variable is alike: LZMA makes 10% less of that than of the image.
#include "unpack.h"
#include "x86.h"

enum { PLAIN, RIP, CALL, DISP32, IMM32, JUMP32, DISP8, IMM8, JUMP8, SIB, CODE, STREAMS }; // in the order of the file

#define PREFIXES 4 // more than that in a row are opcodes
#define LONGEST 32 // bytes of an instruction, and more; so many at the end of the code are plain

struct split {
	uint32_t image_bytes, code, code_end; // where there is code in the image
	uint32_t bytes[STREAMS];              // of each stream; they follow
};

struct joint {
	const uint8_t *from[STREAMS];
	uint8_t *to;
};

static uint8_t take(struct joint *j, int stream)
{
	return *j->to++ = *j->from[stream]++;
}

// A number, in the stream highest byte first.
static void take_number(struct joint *j, int stream, int bytes)
{
	for (int i = bytes; i--;)
		j->to[i] = *j->from[stream]++;
	j->to += bytes;
}

// Of a number that is a place in the image, relative to the end of the instruction.
static void make_relative(struct joint *j, uint8_t *number, const uint8_t *image)
{
	uint32_t place;
	__builtin_memcpy(&place, number, 4);
	place -= j->to - image;
	__builtin_memcpy(number, &place, 4);
}

// SIB byte and displacement.  Returns the displacement if it is relative to RIP.
static uint8_t *take_address(struct joint *j, uint8_t modrm)
{
	uint8_t mod = modrm >> 6, base = modrm & 7, *number = j->to;
	if (mod == 3)
		return 0;
	if (mod == 0 && base == 5) {
		take_number(j, RIP, 4);
		return number;
	}
	if (base == 4)
		base = take(j, SIB) & 7;
	if (mod == 1)
		take(j, DISP8);
	else if (mod == 2 || base == 5)
		take_number(j, DISP32, 4);
	return 0;
}

static void take_immediate(struct joint *j, char shape, uint8_t modrm, int size, bool wide)
{
	switch (shape) {
	case 'T':
		if (modrm >> 3 & 6)
			break;
		// fall through
	case 'b':
	case 'B':
		take(j, IMM8);
		break;
	case 'w':
		take_number(j, IMM32, 2);
		break;
	case 'U':
		if (modrm >> 3 & 6)
			break;
		// fall through
	case 'v':
	case 'z':
	case 'Z':
		take_number(j, IMM32, shape == 'v' && wide ? 8 : size);
		break;
	case 'j':
		take(j, JUMP8);
		break;
	case 'l':
		take_number(j, JUMP32, 4);
		break;
	case 'c':
		take_number(j, CALL, 4);
		break;
	}
}

static void take_instruction(struct joint *j, const uint8_t *image)
{
	uint8_t op = take(j, CODE), modrm = 0, *relative = 0;
	const char(*map)[17] = opcodes[0];
	bool wide = false;
	int size = 4;
	for (int i = 0; i < PREFIXES && map[op >> 4][op & 15] == 'p'; i++) {
		if (op == 0x66)
			size = 2;
		op = take(j, CODE);
	}
	if (map[op >> 4][op & 15] == 'r') {
		wide = op & 8;
		op = take(j, CODE);
	}
	if (map[op >> 4][op & 15] == 'e') {
		map = opcodes[1];
		op = take(j, CODE);
	}
	char shape = map[op >> 4][op & 15];
	if (shape >= 'A' && shape <= 'Z') {
		modrm = take(j, CODE);
		relative = take_address(j, modrm);
	}
	take_immediate(j, shape, modrm, size, wide);
	if (shape == 'c')
		relative = j->to - 4;
	if (relative)
		make_relative(j, relative, image);
}

void split_join(const void *split, uint8_t *image)
{
	const struct split *head = split;
	struct joint j = { .to = image };
	const uint8_t *from = (const uint8_t *)(head + 1);
	for (int i = 0; i < STREAMS; i++) {
		j.from[i] = from;
		from += head->bytes[i];
	}
	while (j.to < image + head->code)
		take(&j, PLAIN);
	while (j.to + LONGEST <= image + head->code_end)
		take_instruction(&j, image);
	while (j.to < image + head->image_bytes)
		take(&j, PLAIN);
}
