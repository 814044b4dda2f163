// Between core/instruction.c, which takes a kernel's instructions one field after the other, and the two unpackers that
// know where a field comes from: core/split.c and core/mix.c.
#pragma once
#include <stdbool.h>
#include <stdint.h>

// What a byte is in its instruction.
enum field {
	OPCODE,
	AFTER_PREFIX,
	AFTER_REX,
	AFTER_ESCAPE,
	MODRM,
	SIB,
	DISP8,
	DISP32,
	RIP,
	IMM8,
	IMM32,
	JUMP8,
	JUMP32,
	CALL,
	FIELDS
};

struct instruction {
	uint8_t *at;       // where its next byte goes
	uint32_t op;       // 0x100: behind the escape 0F; 0 until it is known
	uint32_t prefixes; // 1: operands of 16 bits; others: 2
	uint32_t rex;      // 0: none
	uint32_t modrm, sib;
	char shape; // core/x86.h
};

// Takes one instruction to i->at.
void instruction_take(struct instruction *i);

// The unpacker's: brings the next byte, or the next number of `bytes` bytes, to i->at, which goes on.  An absolute one
// is the place in the image that it is relative to, seen from the end of the instruction, `behind` bytes behind it.
uint8_t take_byte(struct instruction *i, enum field field);
void take_number(struct instruction *i, enum field field, uint32_t bytes, bool absolute, uint32_t behind);
