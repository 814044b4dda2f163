// Unpacks an LZMA stream (Igor Pavlov's LZMA specification) with lc 2, lp 0, pb 0.  It is part of what the loaders
// bring, not of the kernel, and runs with nothing but a stack.  They have compared checksums before, so a stream is
// what scripts/pack.py wrote.
#include "unpack.h"

#define STATES 12
#define LITERAL_STATES 7 // states below it come from a literal
#define MATCH_LEAST 2
#define CONTEXTS 4 // by the two highest bits of the byte before
#define SLOTS 64
#define ALIGN_BITS 4
#define FIRST_ALIGNED 14 // from this slot on the lowest bits have a tree of their own,
#define FIRST_SPECIAL 4  // from this one on all bits together

#define PROBABILITY_BITS 11
#define HALF (1 << PROBABILITY_BITS >> 1)
#define ADAPT 5
#define RANGE_LEAST (1u << 24)

// Probabilities of a 0.  Trees begin with entry 1.
struct lengths {
	uint16_t longer, longest;
	uint16_t low[8], middle[8], high[256];
};

struct lzma_model {
	uint16_t match[STATES], repeat[STATES], other[STATES], older[STATES], oldest[STATES], longer[STATES];
	uint16_t literal[CONTEXTS][0x300];
	uint16_t slot[4][SLOTS];
	uint16_t special[128], align[1 << ALIGN_BITS];
	struct lengths length, repeat_length;
};
_Static_assert(sizeof(struct lzma_model) <= LZMA_MODEL_BYTES, "the caller has room for it");

struct decoder {
	const uint8_t *in;
	uint32_t range, code;
};

// Makes room for the next bit: the range has at least 25 significant ones.
static inline void refill(struct decoder *d)
{
	if (d->range < RANGE_LEAST) {
		d->range <<= 8;
		d->code = d->code << 8 | *d->in++;
	}
}

static uint32_t bit(struct decoder *d, uint16_t *zero)
{
	refill(d);
	uint32_t bound = (d->range >> PROBABILITY_BITS) * *zero;

	if (d->code < bound) {
		d->range = bound;
		*zero += ((1 << PROBABILITY_BITS) - *zero) >> ADAPT;
		return 0;
	}
	d->range -= bound;
	d->code -= bound;
	*zero -= *zero >> ADAPT;
	return 1;
}

static uint32_t tree(struct decoder *d, uint16_t *zeros, int bits)
{
	uint32_t at = 1;

	while (!(at >> bits))
		at = at << 1 | bit(d, &zeros[at]);
	return at - (1u << bits);
}

// Lowest bit first.
static uint32_t reverse_tree(struct decoder *d, uint16_t *zeros, int bits)
{
	uint32_t at = 1, value = 0;

	for (int place = 0; place < bits; place++) {
		uint32_t next = bit(d, &zeros[at]);

		at = at << 1 | next;
		value |= next << place;
	}
	return value;
}

// Behind a match: as long as its bits are those of the byte that would have been next in it, they predict.
static uint32_t literal_after_match(struct decoder *d, uint16_t *zeros, uint32_t expected)
{
	uint32_t at = 1;

	while (at < 0x100) {
		uint32_t guess = (expected <<= 1) >> 8 & 1;
		uint32_t next = bit(d, &zeros[0x100 * (1 + guess) + at]);

		at = at << 1 | next;
		if (next != guess)
			break;
	}
	while (at < 0x100)
		at = at << 1 | bit(d, &zeros[at]);
	return at;
}

static uint32_t length(struct decoder *d, struct lengths *l)
{
	if (!bit(d, &l->longer))
		return MATCH_LEAST + tree(d, l->low, 3);
	if (!bit(d, &l->longest))
		return MATCH_LEAST + 8 + tree(d, l->middle, 3);
	return MATCH_LEAST + 16 + tree(d, l->high, 8);
}

// Less 1.
static uint32_t distance(struct decoder *d, struct lzma_model *m, uint32_t matched)
{
	uint32_t slot = tree(d, m->slot[matched - MATCH_LEAST < 4 ? matched - MATCH_LEAST : 3], 6);

	if (slot < FIRST_SPECIAL)
		return slot;
	int bits = (slot >> 1) - 1;
	uint32_t high = 2 | (slot & 1);

	if (slot < FIRST_ALIGNED)
		return (high << bits) + reverse_tree(d, m->special + (high << bits) - slot, bits);
	for (; bits > ALIGN_BITS; bits--) { // these are equally likely
		refill(d);
		d->range >>= 1;
		uint32_t one = d->code >= d->range;

		d->code -= one ? d->range : 0;
		high = high << 1 | one;
	}
	return (high << ALIGN_BITS) + reverse_tree(d, m->align, ALIGN_BITS);
}

// Of one of the last four matches; returns its length.  The one taken moves to the front.
static uint32_t repeat(struct decoder *d, struct lzma_model *m, uint32_t *state, uint32_t last[4])
{
	uint32_t at = *state;

	*state = at < LITERAL_STATES ? 8 : 11;
	if (bit(d, &m->other[at])) {
		int which = !bit(d, &m->older[at]) ? 1 : !bit(d, &m->oldest[at]) ? 2 : 3;
		uint32_t taken = last[which];

		for (; which; which--)
			last[which] = last[which - 1];
		last[0] = taken;
	} else if (!bit(d, &m->longer[at])) {
		*state = at < LITERAL_STATES ? 9 : 11;
		return 1;
	}
	return length(d, &m->repeat_length);
}

void lzma_decode(struct lzma_model *m, const uint8_t *in, uint8_t *out, uint32_t bytes)
{
	struct decoder d = { .in = in + 1, .range = ~0u }; // the first byte is always 0
	uint32_t last[4] = { 0 }, state = 0, at = 0, matched;

	for (uint16_t *zero = (uint16_t *)m; zero < (uint16_t *)(m + 1); zero++)
		*zero = HALF;
	for (int i = 0; i < 4; i++)
		d.code = d.code << 8 | *d.in++;
	while (at < bytes) {
		if (!bit(&d, &m->match[state])) {
			uint16_t *zeros = m->literal[at ? out[at - 1] >> 6 : 0];

			if (state < LITERAL_STATES)
				out[at] = tree(&d, zeros, 8);
			else
				out[at] = literal_after_match(&d, zeros, out[at - last[0] - 1]);
			at++;
			state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
			continue;
		}
		if (bit(&d, &m->repeat[state])) {
			matched = repeat(&d, m, &state, last);
		} else {
			for (int i = 3; i; i--)
				last[i] = last[i - 1];
			matched = length(&d, &m->length);
			last[0] = distance(&d, m, matched);
			state = state < LITERAL_STATES ? 7 : 10;
		}
		for (; matched; matched--, at++)
			out[at] = out[at - last[0] - 1];
	}
}
