// Between core/unpack.S, which the loaders put before kernel.bin, what it calls, and what packs (scripts/pack.py).
#pragma once

// All lies in 1 to 2 MiB, which is nobody's before the kernel runs.
#define UNPACK_IMAGE 0x100000 // what loaders enter, then the kernel's image
#define UNPACK_SPLIT 0x140000 // LZMA: what it unpacks to, and its model
#define UNPACK_MODEL 0x180000
#define UNPACK_MIX 0x128000  // context mixing: its model
#define UNPACK_AWAY 0x1F0000 // where the unpacker and kernel.bin move to

#define LZMA_MODEL_BYTES 0x4000

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

// kernel.bin.
struct packed {
	uint32_t bytes;       // of it all
	uint32_t split_bytes; // LZMA: that the stream unpacks to
	uint8_t stream[];
};

// Unpacks the kernel to UNPACK_IMAGE: core/split.c's, or core/mix.c's.
void unpack(const struct packed *packed);

struct lzma_model;

// Decodes `bytes` bytes.  `model` is memory of LZMA_MODEL_BYTES for 16-bit words, with anything in it.
void lzma_decode(struct lzma_model *model, const uint8_t *in, uint8_t *out, uint32_t bytes);

// Makes the image of what scripts/pack.py has split; `split` is a multiple of 4.
void split_join(const void *split, uint8_t *image);

// kernel.bin packed by context mixing.  The parts of the image begin at its start and at pages; between them are zeros.
#define UNPACK_PAGE 4096
struct mixed {
	uint32_t bytes; // of it all
	uint16_t head_bytes, code_bytes, constants_bytes;
	uint8_t code_page, constants_page;
	uint8_t stream[];
};

// What spends bits on the model's predictions: `one` is how likely a 1 is, in 65536ths, 0 excluded.  Returns the bit,
// which a decoder reads, and an encoder knows.
struct coder {
	uint32_t (*bit)(struct coder *coder, uint32_t one);
};

struct mix;
extern const uint32_t mix_bytes; // of struct mix

// Makes the image of what the coder's bits say.  *m is zeros before, and so is what should be zeros between the parts.
void mix_run(struct mix *m, struct coder *coder, const struct mixed *parts, uint8_t *image);

// The same with the bits of `mixed`.
void mix_decode(struct mix *m, const struct mixed *mixed, uint8_t *image);
#endif
