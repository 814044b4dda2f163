// mixpack PARTS OUT IMAGE: packs a kernel by context mixing, with core/mix.c's own expectations, and unpacks it again.
// Runs on the host, for scripts/pack.py, which has written PARTS: struct mixed, and behind it all bytes in the order in
// which they are coded.  OUT becomes kernel.bin, and IMAGE what core/mix.c unpacks from that.
#include "../core/unpack.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST (2 << 20) // more than 256 pages, with the longest instruction behind them

struct encoder {
	struct coder coder;        // in front
	const uint8_t *from, *end; // what is packed
	uint32_t place;            // bits of the next byte that are done
	uint8_t *to;
	uint64_t low; // 32 bits, and the carry
	uint32_t range;
	uint32_t held; // bytes that a carry may still change: the one in `last`, and 0xFFs
	uint8_t last;
};

static void shift_low(struct encoder *e)
{
	if ((uint32_t)e->low < 0xFF000000 || e->low >> 32) {
		for (uint8_t byte = e->last; e->held; e->held--, byte = 0xFF)
			*e->to++ = byte + (e->low >> 32);
		e->last = e->low >> 24;
	}
	e->held++;
	e->low = (e->low & 0xFFFFFF) << 8;
}

static uint32_t encode_bit(struct coder *coder, uint32_t one)
{
	struct encoder *e = (struct encoder *)coder;
	uint32_t bound = (uint64_t)e->range * one >> 16;
	uint32_t bit = e->from < e->end ? *e->from >> (7 - e->place) & 1 : 0;
	if (++e->place == 8) {
		e->place = 0;
		e->from++;
	}
	if (bit) {
		e->range = bound;
	} else {
		e->low += bound;
		e->range -= bound;
	}
	while (e->range < 1u << 24) {
		e->range <<= 8;
		shift_low(e);
	}
	return bit;
}

// The fewest bytes behind which the decoder may read anything.
static void finish(struct encoder *e)
{
	e->low = (e->low + 0xFFFF) & ~0xFFFFull;
	for (uint32_t bytes = 3; bytes--;)
		shift_low(e);
}

static void fail(const char *what)
{
	fprintf(stderr, "mixpack: %s\n", what);
	exit(1);
}

static void *memory(size_t bytes)
{
	void *at = calloc(1, bytes);
	if (!at)
		fail("no memory");
	return at;
}

static void write_file(const char *path, const void *data, size_t bytes)
{
	FILE *file = fopen(path, "wb");
	if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file))
		fail("can't write");
}

int main(int argc, char **argv)
{
	static uint8_t in[MOST], image[MOST];
	FILE *file = argc == 4 ? fopen(argv[1], "rb") : NULL;
	if (!file)
		fail("usage: mixpack PARTS OUT IMAGE");
	size_t bytes = fread(in, 1, MOST, file);
	fclose(file);
	const struct mixed *parts = (const struct mixed *)in;
	if (bytes < sizeof(*parts) || bytes == MOST)
		fail("not what pack.py writes");
	// Twice as much as it is, should nothing at all be expected.
	struct mixed *out = memory(2 * MOST);
	*out = *parts;
	struct encoder encoder = { { encode_bit }, .from = parts->stream, .end = in + bytes, .to = out->stream,
		.range = ~0u };
	struct mix *model = memory(mix_bytes);
	mix_run(model, &encoder.coder, parts, image);
	if (encoder.from != encoder.end)
		fail("the bytes are others than the instructions say");
	finish(&encoder);
	out->bytes = encoder.to - (uint8_t *)out;
	write_file(argv[2], out, out->bytes);
	memset(model, 0, mix_bytes);
	memset(image, 0, sizeof(image));
	mix_decode(model, out, image);
	write_file(argv[3], image, parts->constants_page * UNPACK_PAGE + parts->constants_bytes);
	free(model);
	free(out);
	return 0;
}
