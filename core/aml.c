// Reads two things off ACPI's definition blocks without an interpreter: what PCI host bridges decode, from their
// resource templates, and the sleep types of \_S5.  It looks for their encoding byte by byte and believes only what
// is consistent and complete: the bytes may be anything.  "a." = section of the ACPI Specification 6.4.
#include <acpi.h>

#define AML_BYTE 0x0A			// prefixes of constants (a.20.2.3)
#define AML_DWORD 0x0C
#define AML_QWORD 0x0E
#define AML_PACKAGE 0x12		// a.20.2.5.4
#define AML_S5 0x5F35535F		// "_S5_"
#define AML_CBA 0x4142435F		// "_CBA"
#define AML_RETURN 0xA4			// a.20.2.5.3

// Resource descriptors (a.6.4.2, a.6.4.3).  The last three: tag, length, and what the addresses are of (a.6.4.3.5).
#define RES_SMALL_FIRST 0x20		// what is below is reserved
#define RES_END_TAG 0x79
#define RES_LARGE 0x80
#define RES_LARGE_LAST 0x92
#define RES_BUS 0x02000D88		// word, bus numbers
#define RES_MEMORY32 0x00001787		// double word, memory
#define RES_MEMORY64 0x00002B8A		// quad word, memory

struct aml_search {
	const uint8_t *at, *end;
	uint32_t block;		// how many definition blocks have been begun
};

static uint64_t aml_number(const uint8_t *at, int64_t bytes)
{
	uint64_t value = 0;
	while (--bytes >= 0)
		value = value << 8 | at[bytes];
	return value;
}

// The place behind the next occurrence of `pattern` in any definition block, NULL behind the last.
static const uint8_t *aml_find(struct aml_search *search, uint32_t pattern)
{
	for (;; search->at++) {
		while (search->end - search->at < 4) {
			uint32_t block = search->block++;
			const struct acpi_header *table = acpi_table(block ? "SSDT" : "DSDT", block ? block - 1 : 0);
			if (!table)
				return NULL;
			search->at = (const uint8_t *)(table + 1);
			search->end = (const uint8_t *)table + table->length;
		}
		if (aml_number(search->at, 4) == pattern)
			return search->at += 4;
	}
}

// Adds the memory windows of a template from `res` on behind *out, which has its bus numbers: the end of the entries,
// or `out` itself if the template has no end.
static struct aml_window *aml_template(const uint8_t *res, const uint8_t *end, struct aml_window *out,
	const struct aml_window *limit)
{
	struct aml_window *next = out + 1;
	for (uint32_t bytes;; res += bytes) {
		uint32_t left = end - res, header = aml_number(res, left < 4 ? left : 4);
		if ((uint8_t)header == RES_END_TAG)
			return next;
		bytes = header & RES_LARGE ? 3u + (uint16_t)(header >> 8) : 1u + (header & 7);
		if ((uint8_t)header < RES_SMALL_FIRST || (uint8_t)header > RES_LARGE_LAST || bytes > left)
			return out;
		uint32_t width = header == RES_MEMORY32 ? 4 : header == RES_MEMORY64 ? 8 : 0;
		if (!width || next == limit)
			continue;
		*next = *out;
		next->min = aml_number(res + 6 + width, width);
		next->max = aml_number(res + 6 + 2 * width, width);
		if (next->max - next->min + 1 == aml_number(res + 6 + 4 * width, width))
			next++;
	}
}

uint32_t aml_windows(struct aml_window *out, uint32_t room)
{
	struct aml_search search = { 0 };
	struct aml_window *next = out;
	const uint8_t *res;
	while (next < out + room && (res = aml_find(&search, RES_BUS))) {
		if (search.end - res < 12)
			continue;
		uint64_t first = aml_number(res + 4, 2), last = aml_number(res + 6, 2);
		*next = (struct aml_window){ 1, 0, first, last };
		if (last < 256 && last - first + 1 == aml_number(res + 10, 2))
			next = aml_template(res + 12, search.end, next, out + room);
	}
	return next - out;
}

// A name with the address, or a method that does nothing but return it.
uint64_t aml_ecam(void)
{
	struct aml_search search = { 0 };
	const uint8_t *at;
	while ((at = aml_find(&search, AML_CBA)) && search.end - at > 10) {
		if (at[1] == AML_RETURN)
			at += 2;	// behind the method's flags
		uint32_t width = *at == AML_DWORD ? 4 : *at == AML_QWORD ? 8 : 0;
		if (width)
			return aml_number(at + 1, width);
	}
	return 0;
}

// Takes a constant of one byte; out of range if there is none.
static uint32_t aml_small(struct aml_search *in)
{
	if (in->at < in->end && *in->at == AML_BYTE)
		in->at++;
	return in->at < in->end ? *in->at++ : 256;
}

int aml_s5(uint8_t *type_a, uint8_t *type_b)
{
	struct aml_search search = { 0 };
	const uint8_t *name;
	while ((name = aml_find(&search, AML_S5))) {
		if (search.end - name < 5 || *name != AML_PACKAGE)
			continue;
		search.at += 3 + (name[1] >> 6);	// PkgLength (a.20.2.4), number of elements
		uint32_t a = aml_small(&search), b = aml_small(&search);
		if ((a | b) > 7)
			continue;
		*type_a = a;
		*type_b = b;
		return E_OK;
	}
	return E_NODEV;
}
