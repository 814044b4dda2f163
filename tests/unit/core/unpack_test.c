// The unpacker against what scripts/pack.py makes of images of several kinds (unpack_data.py).
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <core/unpack.h>
#include "unpack_data.h"

#define HEAD 8

static uint32_t word(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

// In memory of exactly the size, so that the sanitizer sees a byte too much; the model holds what RAM may hold.
static void unpacks_to(const uint8_t *packed, size_t packed_bytes, const uint8_t *image, size_t bytes)
{
	uint32_t split_bytes = word(packed + 4);
	uint8_t *in = malloc(packed_bytes - HEAD), *split = malloc(split_bytes), *out = malloc(bytes);
	struct lzma_model *model = malloc(LZMA_MODEL_BYTES);

	assert_int_equal(word(packed), packed_bytes);
	memcpy(in, packed + HEAD, packed_bytes - HEAD);
	memset(model, 0xA5, LZMA_MODEL_BYTES);
	lzma_decode(model, in, split, split_bytes);
	assert_int_equal(word(split), bytes);
	split_join(split, out);
	assert_memory_equal(out, image, bytes);
	free(model);
	free(out);
	free(split);
	free(in);
}

#define KIND(name) \
	static void test_##name(void **state) \
	{ \
		unpacks_to(name##_packed, sizeof(name##_packed), name, sizeof(name)); \
	}

KIND(one_byte)
KIND(zeros)
KIND(noise)
KIND(periods)
KIND(calls)
KIND(opcodes)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_byte),
		cmocka_unit_test(test_zeros),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_periods),
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_opcodes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
