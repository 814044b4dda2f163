// Reads two things off ACPI's definition blocks without an interpreter: what PCI host bridges decode, from their
// resource templates, and the sleep types of \_S5.  It looks for their encoding byte by byte and believes only what
// is consistent and complete: the bytes may be anything.  "a." = section of the ACPI Specification 6.4.
#include <acpi.h>

#define AML_BYTE 0x0A // prefixes of constants (a.20.2.3)
#define AML_DWORD 0x0C
#define AML_QWORD 0x0E
#define AML_PACKAGE 0x12   // a.20.2.5.4
#define AML_S5 0x5F35535F  // "_S5_"
#define AML_CBA 0x4142435F // "_CBA"
#define AML_RETURN 0xA4    // a.20.2.5.3

// Resource descriptors (a.6.4.2, a.6.4.3).  The last three: tag, length, and what the addresses are of (a.6.4.3.5).
#define RES_SMALL_FIRST 0x20 // what is below is reserved
#define RES_END_TAG 0x79
#define RES_LARGE 0x80
#define RES_BUS 0x02000D88      // word, bus numbers
#define RES_MEMORY32 0x00001787 // double word, memory
#define RES_MEMORY64 0x00002B8A // quad word, memory
#define RES_LONGEST 46          // bytes of the latter

struct aml_search {
	const uint8_t *at, *end;
	uint32_t block; // how many definition blocks have been begun
};

// Little-endian, as the CPU is; unaligned.
struct word {
	uint16_t value;
} __attribute__((packed, may_alias));
struct dword {
	uint32_t value;
} __attribute__((packed, may_alias));
struct qword {
	uint64_t value;
} __attribute__((packed, may_alias));
#define LOAD16(at) (((const struct word *)(at))->value)
#define LOAD32(at) (((const struct dword *)(at))->value)
#define LOAD64(at) (((const struct qword *)(at))->value)

// The place behind the next occurrence of `pattern` in any definition block, with 7 bytes or more from there to the
// end of the block; NULL behind the last.
static const uint8_t *aml_find(struct aml_search *search, uint32_t pattern)
{
	for (;; search->at++) {
		while (search->end - search->at < 11) {
			uint32_t block = search->block++;
			const struct acpi_header *table = acpi_table(block ? "SSDT" : "DSDT", block ? block - 1 : 0);
			if (!table)
				return NULL;
			search->at = (const uint8_t *)(table + 1);
			search->end = (const uint8_t *)table + table->length;
		}
		if (LOAD32(search->at) == pattern)
			return search->at += 4;
	}
}

// Adds the memory windows of a template from `res` on behind *out, which has its bus numbers: the end of the entries,
// or `out` itself if the template has no end.
static struct aml_window *aml_template(const uint8_t *res, const uint8_t *end, struct aml_window *out,
	const struct aml_window *limit)
{
	struct aml_window *next = out + 1;
	for (uint32_t bytes; end - res >= 2; res += bytes) {
		uint64_t length = 0;
		if (*res == RES_END_TAG)
			return next;
		if (*res < RES_SMALL_FIRST || end - res == 2)
			break;
		bytes = *res & RES_LARGE ? 3u + LOAD16(res + 1) : 1u + (*res & 7);
		if (next == limit || end - res < RES_LONGEST)
			continue;
		*next = *out;
		if (LOAD32(res) == RES_MEMORY32) {
			next->min = LOAD32(res + 10);
			next->max = LOAD32(res + 14);
			length = LOAD32(res + 22);
		}
		if (LOAD32(res) == RES_MEMORY64) {
			next->min = LOAD64(res + 14);
			next->max = LOAD64(res + 22);
			length = LOAD64(res + 38);
		}
		if (length && next->max - next->min + 1 == length)
			next++;
	}
	return out;
}

struct aml_window *aml_windows(struct aml_window *out, const struct aml_window *limit)
{
	struct aml_search search = { 0 };
	const uint8_t *res;
	while (out < limit && (res = aml_find(&search, RES_BUS))) {
		if (search.end - res < 12)
			continue;
		uint32_t first = LOAD16(res + 4), last = LOAD16(res + 6);
		*out = (struct aml_window){ 1, 0, first, last };
		if (last < 256 && last - first + 1 == LOAD16(res + 10))
			out = aml_template(res + 12, search.end, out, limit);
	}
	return out;
}

// A name with the address, or a method that does nothing but return it.
uint64_t aml_ecam(void)
{
	struct aml_search search = { 0 };
	const uint8_t *at;
	while ((at = aml_find(&search, AML_CBA)) && search.end - at > 10) {
		if (at[1] == AML_RETURN)
			at += 2; // behind the method's flags
		if (*at == AML_DWORD)
			return LOAD32(at + 1);
		if (*at == AML_QWORD)
			return LOAD64(at + 1);
	}
	return 0;
}

int aml_s5(uint8_t *type_a, uint8_t *type_b)
{
	struct aml_search search = { 0 };
	const uint8_t *at;
	while ((at = aml_find(&search, AML_S5))) {
		// A PkgLength of one byte (a.20.2.4), the number of elements; each is one byte, or a prefix and one.
		if (at[0] != AML_PACKAGE || at[1] >> 6)
			continue;
		at += 3;
		at += *at == AML_BYTE;
		uint8_t a = *at++, b = at[*at == AML_BYTE];
		if ((a | b) > 7)
			continue;
		*type_a = a;
		*type_b = b;
		return E_OK;
	}
	return E_NODEV;
}
