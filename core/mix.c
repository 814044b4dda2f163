// Unpacks a kernel that scripts/mixpack.c has packed, bit by bit (CORE_PACK_SMALL): some predictors say how likely a 1
// is, each by what came when it last saw its own context (the instruction so far, the ones before it, what jumps lead
// here ...), and are believed by how right they were.  The range coder spends as many bits as the outcome is
// unexpected.  The packer runs this file, too, so that both expect the same.
//
// Method: logistic mixing of contexts (Mahoney, "Adaptive Weighing of Context Models for Lossless Data Compression",
// 2005).  Contexts and constants were found by trying.
#include "instruction.h"
#include "unpack.h"

#define BASE UNPACK_IMAGE // addresses in the image begin here
#define BITWISE 7         // predictors that know of each bit how often it was a 0 and a 1,
#define RUNS 2            // that know the last byte and how often it came in a row,
#define EXPECTED 3        // that expect a number seen elsewhere: a jump's target, a function, a constant
#define GUESSES (RUNS + EXPECTED)
#define INPUTS (BITWISE + GUESSES + 1) // and one that always says the same

#define SLOTS 0x4C000
#define RUN_BITS 14
#define COUNT_MOST 15
#define TARGETS 64
#define STARTS 1024
#define NEAR 15 // jump targets that are further away are alike

// Bytes of a number are fields of their own.
enum {
	F_DISP32 = FIELDS,
	F_RIP = F_DISP32 + 4,
	F_IMM32 = F_RIP + 4,
	F_JUMP32 = F_IMM32 + 4,
	F_CALL = F_JUMP32 + 4,
	F_CONSTANT = F_CALL + 4,
	F_HEAD,
	F_COUNT
};

// How often the bit was a 0 and a 1, four bits each; whose context it is.
struct slot {
	uint8_t counts, check;
};

struct run {
	uint8_t byte, count;
	uint16_t check;
};

struct rate { // of ones in 65536ths, and how many outcomes it has seen
	uint16_t one, seen;
};

struct guess {
	int32_t byte; // -1: none
	uint32_t row; // how good such guesses are
	struct run *run;
};

struct past { // of an instruction
	uint32_t all, kind;
	int32_t result; // register, -1: none that is known
};

struct mix {
	struct instruction now;
	struct coder *coder;
	const uint8_t *image;
	uint32_t coded;       // bytes
	uint64_t recent;      // the last 8, the latest lowest
	uint32_t so_far;      // hash of the instruction's bytes
	uint32_t number;      // the bytes of it that are known
	uint32_t word;        // hash of the letters of a text
	uint32_t last_target; // of a jump, constants of two kinds
	uint32_t last_rip, last_immediate;
	struct past past[2];
	uint32_t target_count, start_count;
	uint32_t targets[TARGETS]; // of jumps, from here on
	uint32_t starts[STARTS];   // of functions
	uint8_t called[0x10000 / 8];

	uint32_t contexts[BITWISE + RUNS];
	struct guess guesses[GUESSES];
	int32_t weights[F_COUNT + 256 + 4 * (BITWISE + 1)][INPUTS];
	struct rate ones[BITWISE][256];
	struct rate right[GUESSES][16][8];
	uint16_t refined[1024][33];
	uint16_t squash[4096];
	int16_t stretch[4096];
	struct run runs[1 << RUN_BITS];
	struct slot slots[SLOTS];
};

const uint32_t mix_bytes = sizeof(struct mix);
_Static_assert(UNPACK_MIX + sizeof(struct mix) <= UNPACK_AWAY, "the model reaches into the unpacker");

static uint32_t hash(uint32_t a, uint32_t b)
{
	uint32_t h = a * 0x9E3779B1 ^ (b + 0x7F4A7C15) * 0x85EBCA6B;
	h ^= h >> 15;
	h *= 0xC2B2AE35;
	return h ^ h >> 13;
}

static uint32_t hash3(uint32_t a, uint32_t b, uint32_t c)
{
	return hash(hash(a, b), c);
}

static uint32_t hash4(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	return hash(hash3(a, b, c), d);
}

// ---- One bit ----------------------------------------------------------------------------------------------------

// Towards the outcome by `step` 65536ths of what is missing.
static void adapt(uint16_t *one, uint32_t bit, int32_t step)
{
	*one += ((bit ? 32767 : 0) - (*one >> 1)) * step >> 15;
}

static void rate_adapt(struct rate *rate, uint32_t bit, int32_t step, uint32_t most)
{
	adapt(&rate->one, bit, step);
	if (rate->seen < most)
		rate->seen++;
}

static int32_t stretched(const struct mix *m, const struct rate *rate)
{
	return m->stretch[rate->one >> 4];
}

// The slot of a context and the byte's first bits: of two places that its own, or the one that has seen less.
static struct slot *find_slot(struct mix *m, uint32_t context, uint32_t bits)
{
	uint32_t h = (context + bits * 0x9E3779B1) * 0x2545F491;
	h ^= h >> 15;
	h *= 0x85EBCA6B;
	uint32_t at = (uint64_t)h * SLOTS >> 32;
	struct slot *slot = &m->slots[at], *other = &m->slots[at ^ 1];
	uint8_t check = h;
	if (slot->check == check)
		return slot;
	if (other->check == check)
		return other;
	if ((slot->counts >> 4) + (slot->counts & 15) > (other->counts >> 4) + (other->counts & 15))
		slot = other;
	slot->check = check;
	slot->counts = 0;
	return slot;
}

// The outcome counts; what speaks against it counts less from now on.
static uint8_t counted(uint32_t counts, uint32_t bit)
{
	uint32_t zeros = counts >> 4, ones = counts & 15;
	uint32_t *same = bit ? &ones : &zeros, *opposite = bit ? &zeros : &ones;
	if (*same < COUNT_MOST)
		++*same;
	if (*opposite > 2)
		*opposite = (*opposite + 3) / 2;
	return zeros << 4 | ones;
}

// What the predictors say, from -2047 (a 0) to 2047 (a 1).  Returns how many contexts are not new.
static uint32_t ask(struct mix *m, uint32_t bits, uint32_t place, struct slot **slots, int32_t *says)
{
	uint32_t known = 0;
	for (uint32_t i = 0; i < BITWISE; i++) {
		slots[i] = find_slot(m, m->contexts[i], bits);
		says[i] = slots[i]->counts ? stretched(m, &m->ones[i][slots[i]->counts]) : 0;
		known += slots[i]->counts != 0;
	}
	for (uint32_t i = 0; i < GUESSES; i++) {
		const struct guess *guess = &m->guesses[i];
		int32_t sure = guess->byte < 0 ? 0 : stretched(m, &m->right[i][guess->row][place]);
		says[BITWISE + i] = guess->byte >> (7 - place) & 1 ? sure : -sure;
	}
	says[INPUTS - 1] = 384;
	return known;
}

static void learn(struct mix *m, uint32_t bit, uint32_t place, struct slot **slots)
{
	for (uint32_t i = 0; i < BITWISE; i++) {
		uint32_t counts = slots[i]->counts;
		struct rate *rate = &m->ones[i][counts];
		if (counts)
			rate_adapt(rate, bit, 65536 * 2 / (rate->seen * 2 + 13), 120);
		slots[i]->counts = counted(counts, bit);
	}
	for (uint32_t i = 0; i < GUESSES; i++) {
		struct guess *guess = &m->guesses[i];
		if (guess->byte < 0)
			continue;
		bool right = (guess->byte >> (7 - place) & 1) == (int32_t)bit;
		struct rate *rate = &m->right[i][guess->row][place];
		rate_adapt(rate, right, 65536 / (rate->seen + 2), 200);
		if (!right)
			guess->byte = -1;
	}
}

// `bits`: those of the byte that are known, behind a 1.
static uint32_t take_bit(struct mix *m, uint32_t field, uint32_t bits, uint32_t place)
{
	struct slot *slots[BITWISE];
	int32_t says[INPUTS];
	uint32_t known = ask(m, bits, place, slots, says);
	uint32_t runs = (m->guesses[0].byte >= 0) * 2 + (m->guesses[1].byte >= 0);
	int32_t *sets[] = { m->weights[field], m->weights[F_COUNT + bits], m->weights[F_COUNT + 256 + 4 * known + runs] };
	int64_t sum = 0;
	for (uint32_t i = 0; i < INPUTS; i++)
		sum += (int64_t)(sets[0][i] + sets[1][i] + sets[2][i]) * says[i];
	sum >>= 16;
	int32_t mean = sum > 2047 ? 2047 : sum < -2047 ? -2047 : sum;
	int32_t one = m->squash[mean + 2048];

	// What really came when the mean was about this, for the same bits of the same field.
	uint32_t at = (mean + 2048) * 32, part = at & 4095;
	uint16_t *refined = &m->refined[hash(field, bits) & 1023][at >> 12];
	int32_t final = (one + ((refined[0] * (4096 - part) + refined[1] * part) >> 12)) / 2;
	uint32_t bit = m->coder->bit(m->coder, final < 16 ? 16 : final > 65520 ? 65520 : final);
	adapt(&refined[0], bit, (4096 - part) * 2000 >> 12);
	adapt(&refined[1], bit, part * 2000 >> 12);

	int32_t error = (((bit ? 65535 : 0) - one) * (int32_t)(400 + 1221 * 6220 / (6220 + m->coded))) >> 10;
	for (uint32_t i = 0; i < INPUTS; i++) {
		int32_t change = (says[i] * error + 32768) >> 16;
		sets[0][i] += change;
		sets[1][i] += change;
		sets[2][i] += change;
	}
	learn(m, bit, place, slots);
	return bit;
}

// ---- One byte ---------------------------------------------------------------------------------------------------

static uint32_t recent(const struct mix *m, uint32_t back)
{
	return m->recent >> 8 * (back - 1) & 0xFF;
}

// Bytes from `place` to the next place that a jump leads to.
static uint32_t next_target(const struct mix *m, uint32_t place)
{
	uint32_t least = NEAR;
	for (uint32_t i = 0; i < m->target_count; i++)
		if (m->targets[i] - place < least)
			least = m->targets[i] - place;
	return least;
}

static void code_contexts(struct mix *m, uint32_t field)
{
	const struct instruction *now = &m->now;
	const struct past *past = m->past;
	uint32_t so_far = m->so_far, near = 0, op = now->op | now->prefixes << 9;
	if (field == OPCODE || field == AFTER_REX)
		near = next_target(m, now->at - m->image);
	const uint32_t contexts[] = {
		0,
		hash(so_far, past[0].all),
		recent(m, 1),
		hash3(so_far, field == OPCODE && !near, near),
		hash(so_far, past[0].kind),
		hash4(op, m->number, past[0].result, now->rex),
		hash4(op, now->modrm & 0x38, m->number, now->rex & 4),
		hash4(m->number, now->modrm & 0xC7, now->sib, 26),
		hash3(so_far, past[0].kind, past[1].kind),
	};
	for (uint32_t i = 0; i < BITWISE + RUNS; i++)
		m->contexts[i] = contexts[i];
}

static void data_contexts(struct mix *m)
{
	uint32_t last = recent(m, 1), second = recent(m, 2), eighth = recent(m, 8);
	const uint32_t contexts[] = {
		last,
		hash4(!last, !second, !recent(m, 3), hash(!recent(m, 4), !eighth)),
		hash(last << 8 | second, 2),
		0,
		hash3((m->now.at - m->image) & 7, eighth, last),
		hash(m->word, last),
		hash4(last >= 'a' && last <= 'z', second >= 'a', recent(m, 3) >= 'a', 9),
		hash3(eighth, last, 8),
		hash3(last << 8 | second, recent(m, 3), 3),
	};
	for (uint32_t i = 0; i < BITWISE + RUNS; i++)
		m->contexts[i] = contexts[i];
}

static uint8_t take(struct mix *m, uint32_t field)
{
	for (uint32_t i = 0; i < BITWISE + RUNS; i++) {
		uint32_t context = m->contexts[i] = hash3(m->contexts[i], i, field);
		if (i < BITWISE)
			continue;
		struct run *run = &m->runs[context >> (32 - RUN_BITS)];
		if (run->check != (uint16_t)context)
			*run = (struct run){ .check = context };
		m->guesses[i - BITWISE] = (struct guess){ run->count ? run->byte : -1, run->count, run };
	}
	uint32_t byte = 1;
	for (uint32_t place = 0; place < 8; place++)
		byte = byte * 2 + take_bit(m, field, byte, place);
	byte &= 0xFF;
	for (uint32_t i = 0; i < RUNS; i++) {
		struct run *run = m->guesses[i].run;
		if (run->byte != byte)
			run->count = 0;
		run->byte = byte;
		if (run->count < COUNT_MOST)
			run->count++;
	}
	m->so_far = hash(m->so_far, byte + 1);
	m->word = byte < 'A' ? 0 : hash(m->word, byte);
	m->recent = m->recent << 8 | byte;
	m->coded++;
	return byte;
}

static void expect_nothing(struct mix *m)
{
	for (uint32_t i = RUNS; i < GUESSES; i++)
		m->guesses[i].byte = -1;
}

// ---- Instructions -----------------------------------------------------------------------------------------------

static struct mix *to_mix(struct instruction *i)
{
	return (struct mix *)i;
}

uint8_t take_byte(struct instruction *i, enum field field)
{
	struct mix *m = to_mix(i);
	expect_nothing(m);
	code_contexts(m, field);
	return *i->at++ = take(m, field);
}

// Numbers that this one may be.  Returns the row of its first byte.
static uint32_t expect(const struct mix *m, enum field field, uint32_t bytes, uint32_t end, int64_t *numbers)
{
	int32_t jump = m->last_target - end;
	uint32_t found = 0;
	for (uint32_t i = 0; i < EXPECTED; i++)
		numbers[i] = -1;
	switch (field) {
	case JUMP8:
		if (jump == (int8_t)jump)
			numbers[2] = (uint8_t)jump;
		return 0;
	case JUMP32:
		numbers[2] = (uint32_t)jump;
		return 4;
	case CALL: // the last functions that nobody has called, and the last one
		for (uint32_t i = m->start_count; i-- && found <= 2;)
			if (!(m->called[m->starts[i] / 8] >> m->starts[i] % 8 & 1)) {
				numbers[found] = m->starts[i] + BASE;
				found += 2;
			}
		if (m->start_count)
			numbers[1] = m->starts[m->start_count - 1] + BASE;
		return 8;
	default:
		if (bytes == 4 && field != DISP8) {
			numbers[1] = m->last_rip;
			numbers[2] = m->last_immediate;
		}
		return 12;
	}
}

// What it teaches about those that follow.
static void number_seen(struct mix *m, enum field field, uint32_t value, uint32_t bytes, uint32_t end)
{
	uint32_t i = 0, place = value - BASE;
	if (field == RIP)
		m->last_rip = value;
	if (field == IMM32)
		m->last_immediate = value;
	if (field == CALL && place < 8 * sizeof(m->called))
		m->called[place / 8] |= 1 << place % 8;
	if (field != JUMP8 && field != JUMP32)
		return;
	m->last_target = end + (bytes == 1 ? (uint32_t)(int8_t)value : value);
	while (i < m->target_count && m->targets[i] != m->last_target)
		i++;
	if (i == m->target_count && i < TARGETS && (int32_t)(m->last_target - end) >= 0)
		m->targets[m->target_count++] = m->last_target;
}

// Highest byte first.
void take_number(struct instruction *i, enum field field, uint32_t bytes, bool absolute, uint32_t behind)
{
	static const uint8_t
		first[FIELDS] = { [DISP32] = F_DISP32, [RIP] = F_RIP, [IMM32] = F_IMM32, [JUMP32] = F_JUMP32, [CALL] = F_CALL };
	struct mix *m = to_mix(i);
	uint32_t end = i->at + bytes + behind - m->image;
	int64_t numbers[EXPECTED];
	uint32_t row = expect(m, field, bytes, end, numbers);
	uint64_t value = 0;
	for (uint32_t n = bytes; n--;) {
		m->number = value;
		expect_nothing(m);
		for (uint32_t e = 0; e < EXPECTED; e++)
			if (numbers[e] >= 0 && (uint64_t)numbers[e] >> 8 * n >> 8 == value)
				m->guesses[RUNS + e] = (struct guess){ numbers[e] >> 8 * n & 0xFF, row + bytes - 1 - n, 0 };
		code_contexts(m, field);
		value = value << 8 | take(m, bytes == 1 ? field : first[field] + (n < 4 ? 3 - n : 0));
	}
	m->number = 0;
	number_seen(m, field, value, bytes, end);
	if (absolute)
		value -= end + BASE;
	for (uint32_t n = 0; n < bytes; n++, value >>= 8)
		*i->at++ = value;
}

// The register that an instruction writes, as far as it is easy to say.
static int32_t result(const struct instruction *i)
{
	uint32_t op = i->op & 0xFF, escape = i->op >> 8, rm = i->modrm;
	int32_t low = (op & 7) | (i->rex & 1) << 3;
	if (i->shape < 'A' || i->shape > 'Z') // POP, MOV of a constant
		return !escape && ((op & 0xF8) == 0x58 || (op & 0xF0) == 0xB0) ? low : -1;
	if (!escape && ((op & 0xF8) == 0x38 || (op & 0xFE) == 0x84)) // CMP, TEST
		return -1;
	if (escape ? (op & 0xF0) == 0x40 || op == 0xAF || (op & 0xF6) == 0xB6 :
				 op == 0x8D || (op & 0xFD) == 0x69 || ((op < 0x40 || op - 0x88 < 4) && op & 2))
		return (rm >> 3 & 7) | (i->rex & 4) << 1;
	low = (rm & 7) | (i->rex & 1) << 3;
	return rm >> 6 == 3 ? low : -1;
}

static void forget_targets(struct mix *m)
{
	uint32_t place = m->now.at - m->image, kept = 0;
	for (uint32_t i = 0; i < m->target_count; i++)
		if (m->targets[i] >= place)
			m->targets[kept++] = m->targets[i];
	m->target_count = kept;
}

static void function_starts(struct mix *m)
{
	uint32_t place = m->now.at - m->image;
	if (m->start_count < STARTS && place < 8 * sizeof(m->called))
		m->starts[m->start_count++] = place;
}

static void take_instruction(struct mix *m)
{
	const struct instruction *now = &m->now;
	m->so_far = 0;
	instruction_take(&m->now);
	bool group = now->shape != 'M' || (now->op & 0xFF) >= 0xD0;
	m->past[1] = m->past[0];
	m->past[0].all = m->so_far;
	m->past[0].kind = hash4(now->op, now->prefixes, now->rex & 8, group ? now->modrm & 0x38 : 0);
	m->past[0].result = result(now);
	forget_targets(m);
	// Behind RET and JMP that nothing jumps over.
	if ((now->op == 0xC3 || now->op == 0xE9 || now->op == 0xEB) && !m->target_count)
		function_starts(m);
}

// ---- All of it --------------------------------------------------------------------------------------------------

// squash: 65536 / (1 + e^(-x/256)), from its differential equation; stretch: the inverse.
static void make_curves(struct mix *m)
{
	uint32_t next = 2048;
	uint64_t value = 1ul << 31;
	for (uint32_t x = 0; x < 2048; x++) {
		uint32_t one = value >> 16;
		m->squash[2048 + x] = one;
		m->squash[2048 - x] = 65535 - one;
		for (; next <= one >> 4; next++) {
			m->stretch[next] = x;
			m->stretch[4095 - next] = -x;
		}
		value += (value * ((1ul << 32) - value) >> 32) >> 8;
	}
	for (; next < 4096; next++) {
		m->stretch[next] = 2047;
		m->stretch[4095 - next] = -2047;
	}
}

static void start(struct mix *m)
{
	make_curves(m);
	for (uint32_t i = 0; i < BITWISE; i++)
		for (uint32_t counts = 0; counts < 256; counts++)
			m->ones[i][counts].one = 65535 * ((counts & 15) * 10 + 4) / ((counts >> 4) * 10 + (counts & 15) * 10 + 8);
	for (uint32_t i = 0; i < 1024; i++)
		for (uint32_t at = 0; at < 33; at++)
			m->refined[i][at] = m->squash[at < 32 ? at * 128 : 4095];
	for (uint32_t i = 0; i < F_COUNT + 256; i++)
		for (uint32_t n = 0; n < INPUTS - 1; n++)
			m->weights[i][n] = n < BITWISE ? 9000 : n < BITWISE + RUNS ? 5000 : 11520;
	for (uint32_t i = 0; i < GUESSES; i++)
		for (uint32_t row = 0; row < 16; row++)
			for (uint32_t place = 0; place < 8; place++)
				m->right[i][row][place].one = 40000 + (i < RUNS ? 1200 * row : 0);
}

static void take_data(struct mix *m, uint32_t field, const uint8_t *end)
{
	while (m->now.at < end) {
		expect_nothing(m);
		data_contexts(m);
		*m->now.at++ = take(m, field);
	}
}

void mix_run(struct mix *m, struct coder *coder, const struct mixed *parts, uint8_t *image)
{
	start(m);
	m->coder = coder;
	m->image = image;
	m->now.at = image + parts->constants_page * UNPACK_PAGE;
	take_data(m, F_CONSTANT, m->now.at + parts->constants_bytes);
	m->now.at = image + parts->code_page * UNPACK_PAGE;
	const uint8_t *code_end = m->now.at + parts->code_bytes;
	function_starts(m);
	while (m->now.at < code_end)
		take_instruction(m);
	m->now.at = image;
	take_data(m, F_HEAD, image + parts->head_bytes);
}

// ---- Range decoder ----------------------------------------------------------------------------------------------

struct decoder {
	struct coder coder; // in front
	const uint8_t *in;
	uint32_t range, code;
};

static uint32_t decode_bit(struct coder *coder, uint32_t one)
{
	struct decoder *d = (struct decoder *)coder;
	uint32_t bound = (uint64_t)d->range * one >> 16, bit = d->code < bound;
	if (bit) {
		d->range = bound;
	} else {
		d->range -= bound;
		d->code -= bound;
	}
	while (d->range < 1u << 24) {
		d->range <<= 8;
		d->code = d->code << 8 | *d->in++;
	}
	return bit;
}

void mix_decode(struct mix *m, const struct mixed *mixed, uint8_t *image)
{
	struct decoder d = { { decode_bit }, mixed->stream, ~0u, 0 };
	for (uint32_t i = 0; i < 4; i++)
		d.code = d.code << 8 | *d.in++;
	mix_run(m, &d.coder, mixed, image);
}

void unpack(const struct packed *packed)
{
	void *to = (void *)UNPACK_IMAGE;
	uint64_t words = (UNPACK_AWAY - UNPACK_IMAGE) / 8;
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(0) : "memory");
	mix_decode((struct mix *)UNPACK_MIX, (const struct mixed *)packed, (uint8_t *)UNPACK_IMAGE);
}
