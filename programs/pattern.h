// What diskcheck writes: each unit of 512 bytes says where it belongs and which time it was written, so that a lost,
// torn, repeated or misplaced write shows.  tests/qemu/patterns.py checks the same on the host.
//
//	bytes 0 to 7	"INGOTDSK"
//	8 to 15		number of the unit on the drive (byte offset / 512)
//	16 to 23	generation
//	24 to 511	words 3 to 63: word i is seed ^ i * PATTERN_STEP, where seed is the first output of splitmix64 begun
//			at unit * 65536 + generation
#pragma once
#include <stdint.h>

#define PATTERN_UNIT 512
#define PATTERN_WORDS (PATTERN_UNIT / 8)
#define PATTERN_MAGIC 0x4B5344544F474E49 // "INGOTDSK"
#define PATTERN_STEP 0x9E3779B97F4A7C15

// When diskcheck has passed, every unit of the first PATTERN_HEAD bytes of the drive, and of its last PATTERN_TAIL
// bytes if the drive is longer than both, has this generation.
#define PATTERN_FINAL 0xF17A
#define PATTERN_HEAD (16ull << 20)
#define PATTERN_TAIL (1ull << 20)

uint64_t random_next(uint64_t *state);

static inline uint64_t pattern_seed(uint64_t unit, uint32_t generation)
{
	uint64_t state = unit * 65536 + generation;
	return random_next(&state);
}

// A buffer may lie at any address.
static inline void pattern_store(uint8_t *at, uint64_t value)
{
	__builtin_memcpy(at, &value, 8);
}

static inline uint64_t pattern_load(const uint8_t *at)
{
	uint64_t value;
	__builtin_memcpy(&value, at, 8);
	return value;
}

static inline void pattern_fill(uint8_t *data, uint64_t unit, uint32_t generation)
{
	uint64_t seed = pattern_seed(unit, generation);
	pattern_store(data, PATTERN_MAGIC);
	pattern_store(data + 8, unit);
	pattern_store(data + 16, generation);
	for (uint64_t i = 3; i < PATTERN_WORDS; i++)
		pattern_store(data + i * 8, seed ^ i * PATTERN_STEP);
}

// The number of the first wrong word, PATTERN_WORDS if the unit is right.
static inline uint32_t pattern_check(const uint8_t *data, uint64_t unit, uint32_t generation)
{
	uint64_t seed = pattern_seed(unit, generation);
	if (pattern_load(data) != PATTERN_MAGIC)
		return 0;
	if (pattern_load(data + 8) != unit)
		return 1;
	if (pattern_load(data + 16) != generation)
		return 2;
	for (uint32_t i = 3; i < PATTERN_WORDS; i++)
		if (pattern_load(data + i * 8) != (seed ^ i * PATTERN_STEP))
			return i;
	return PATTERN_WORDS;
}
