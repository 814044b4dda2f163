// Puts a kernel's image together that scripts/pack.py has split: its instructions into streams of what is alike
// (opcodes with opcodes, short jumps with short jumps), with what is relative to RIP made absolute, so that all that
// names one routine or variable is alike: LZMA makes 10% less of that than of the image.
#include "instruction.h"
#include "unpack.h"

// In the order of the file.
enum { PLAIN, S_RIP, S_CALL, S_DISP32, S_IMM32, S_JUMP32, S_DISP8, S_IMM8, S_JUMP8, S_SIB, S_CODE, STREAMS };

#define LONGEST 32 // bytes of an instruction, and more; so many at the end of the code are plain

static const uint8_t stream_of[FIELDS] = { S_CODE, S_CODE, S_CODE, S_CODE, S_CODE, S_SIB, S_DISP8, S_DISP32, S_RIP,
	S_IMM8, S_IMM32, S_JUMP8, S_JUMP32, S_CALL };

struct split {
	uint32_t image_bytes, code, code_end; // where there is code in the image
	uint32_t bytes[STREAMS];              // of each stream; they follow
};

struct joint {
	struct instruction now;
	const uint8_t *image;
	const uint8_t *from[STREAMS];
};

static struct joint *to_joint(struct instruction *i)
{
	return (struct joint *)i;
}

static uint8_t take(struct joint *j, uint32_t stream)
{
	return *j->now.at++ = *j->from[stream]++;
}

uint8_t take_byte(struct instruction *i, enum field field)
{
	return take(to_joint(i), stream_of[field]);
}

// In the stream highest byte first.
void take_number(struct instruction *i, enum field field, uint32_t bytes, bool absolute, uint32_t behind)
{
	struct joint *j = to_joint(i);
	uint64_t value = 0;
	for (uint32_t n = 0; n < bytes; n++)
		value = value << 8 | *j->from[stream_of[field]]++;
	if (absolute)
		value -= i->at + bytes + behind - j->image;
	for (uint32_t n = 0; n < bytes; n++, value >>= 8)
		*i->at++ = value;
}

void split_join(const void *split, uint8_t *image)
{
	const struct split *head = split;
	struct joint j = { .now.at = image, .image = image };
	const uint8_t *from = (const uint8_t *)(head + 1);
	for (int i = 0; i < STREAMS; i++) {
		j.from[i] = from;
		from += head->bytes[i];
	}
	while (j.now.at < image + head->code)
		take(&j, PLAIN);
	while (j.now.at + LONGEST <= image + head->code_end)
		instruction_take(&j.now);
	while (j.now.at < image + head->image_bytes)
		take(&j, PLAIN);
}

void unpack(const struct packed *packed)
{
	lzma_decode((void *)UNPACK_MODEL, packed->stream, (void *)UNPACK_SPLIT, packed->split_bytes);
	split_join((void *)UNPACK_SPLIT, (void *)UNPACK_IMAGE);
}
