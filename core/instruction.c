// Walks through instructions that are being unpacked: which field comes next follows from the bytes that have come
// (Intel SDM volume 2, 2.1).  scripts/pack.py walks in the same way.
#include "instruction.h"
#include "x86.h"

#define PREFIXES 4 // more than that in a row are opcodes
#define OPERAND_SIZE 0x66

static char shape_of(const char (*map)[17], uint32_t op)
{
	return map[op >> 4][op & 15];
}

// Bytes of the immediate operand; jumps and calls have their own fields.
static uint32_t immediate_bytes(const struct instruction *i)
{
	uint32_t size = i->prefixes & 1 ? 2 : 4;
	switch (i->shape) {
	case 'T':
	case 'U':
		if (i->modrm >> 3 & 6)
			return 0;
		return i->shape == 'T' ? 1 : size;
	case 'b':
	case 'B':
		return 1;
	case 'w':
		return 2;
	case 'v':
		return i->rex & 8 ? 8 : size;
	case 'z':
	case 'Z':
		return size;
	}
	return 0;
}

// SIB byte and displacement.
static void take_address(struct instruction *i, uint32_t behind)
{
	uint32_t mod = i->modrm >> 6, base = i->modrm & 7;
	if (mod == 3)
		return;
	if (mod == 0 && base == 5) {
		take_number(i, RIP, 4, true, behind);
		return;
	}
	if (base == 4) {
		i->sib = take_byte(i, SIB);
		base = i->sib & 7;
	}
	if (mod == 1)
		take_number(i, DISP8, 1, false, 0);
	else if (mod == 2 || base == 5)
		take_number(i, DISP32, 4, false, 0);
}

void instruction_take(struct instruction *i)
{
	const char(*map)[17] = opcodes[0];
	i->op = i->prefixes = i->rex = i->modrm = i->sib = 0;
	uint32_t op = take_byte(i, OPCODE);
	for (uint32_t n = 0; n < PREFIXES && shape_of(map, op) == 'p'; n++) {
		i->prefixes |= op == OPERAND_SIZE ? 1 : 2;
		op = take_byte(i, AFTER_PREFIX);
	}
	if (shape_of(map, op) == 'r') {
		i->rex = op;
		op = take_byte(i, AFTER_REX);
	}
	if (shape_of(map, op) == 'e') {
		map = opcodes[1];
		op = take_byte(i, AFTER_ESCAPE) | 0x100;
	}
	i->op = op;
	i->shape = shape_of(map, op & 0xFF);
	if (i->shape >= 'A' && i->shape <= 'Z') {
		i->modrm = take_byte(i, MODRM);
		take_address(i, immediate_bytes(i));
	}
	uint32_t bytes = immediate_bytes(i);
	if (bytes)
		take_number(i, bytes == 1 ? IMM8 : IMM32, bytes, false, 0);
	else if (i->shape == 'j')
		take_number(i, JUMP8, 1, false, 0);
	else if (i->shape == 'l')
		take_number(i, JUMP32, 4, false, 0);
	else if (i->shape == 'c')
		take_number(i, CALL, 4, true, 0);
}
