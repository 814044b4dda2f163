// core/mix.c against what scripts/mixpack.c makes of images of several kinds (unpack_data.py).
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <core/unpack.h>
#include "mix_data.h"

#define READ_AHEAD 2 // bytes behind the stream that the decoder reads, whatever they are
#define LONGEST 32   // more than an instruction has, which the end of the code may cut

// In memory of exactly the size, so that the sanitizer sees a byte too much.
static void unpacks_to(const uint8_t *packed, size_t packed_bytes, const uint8_t *image, size_t bytes)
{
	struct mix *model = malloc(mix_bytes);
	uint8_t *in = malloc(packed_bytes + READ_AHEAD), *out = malloc(bytes + LONGEST);

	assert_int_equal(((const struct mixed *)packed)->bytes, packed_bytes);
	for (int behind = 0; behind < 256; behind += 0x55) {
		memcpy(in, packed, packed_bytes);
		memset(in + packed_bytes, behind, READ_AHEAD);
		memset(model, 0, mix_bytes);
		memset(out, 0, bytes + LONGEST);
		mix_decode(model, (const struct mixed *)in, out);
		assert_memory_equal(out, image, bytes);
	}
	free(out);
	free(in);
	free(model);
}

#define KIND(name) \
	static void test_##name(void **state) \
	{ \
		unpacks_to(name##_packed, sizeof(name##_packed), name, sizeof(name)); \
	}

KIND(one_byte)
KIND(no_code)
KIND(far_constants)
KIND(noise)
KIND(calls)
KIND(opcodes)
KIND(returns)
KIND(jumps)
KIND(cut)

// What is expected takes next to nothing, what can't be expected no more than it has.
static void test_sizes(void **state)
{
	assert_in_range(sizeof(returns_packed), 1, 200);
	assert_in_range(sizeof(noise_packed), 53000, 57000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_byte),
		cmocka_unit_test(test_no_code),
		cmocka_unit_test(test_far_constants),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_opcodes),
		cmocka_unit_test(test_returns),
		cmocka_unit_test(test_jumps),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
