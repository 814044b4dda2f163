// Between core/unpack.S, which the loaders put before kernel.bin, and what it calls.
#pragma once

#define LZMA_MODEL_BYTES 0x4000

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

struct lzma_model;

// Decodes `bytes` bytes.  `model` is memory of LZMA_MODEL_BYTES for 16-bit words, with anything in it.
void lzma_decode(struct lzma_model *model, const uint8_t *in, uint8_t *out, uint32_t bytes);

// Makes the image of what scripts/pack.py has split; `split` is a multiple of 4.
void split_join(const void *split, uint8_t *image);
#endif
