// ACPI tables, found and verified once.  "a." = section of the ACPI Specification 6.4.
#pragma once
#include <util.h>

struct acpi_header { // a.5.2.6
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

// The `index`th table with this signature ("MCFG", "DSDT", "SSDT"...), mapped read-only, its checksum verified and
// its length at least that of the header; NULL if there is none.
const struct acpi_header *acpi_table(const char *signature, uint32_t index);

// `bytes` (4 or 8) at `offset` of the first such table; 0 if there is no such table, or it is shorter.
uint64_t acpi_field(const char *signature, uint32_t offset, uint32_t bytes);

// ---- core/aml.c: what can be read off the definition blocks (DSDT, SSDTs) without an interpreter ----

// A memory window of a PCI host bridge: `min` to `max` belong to the buses from bus_first (the root bus) to bus_last.
// Every bridge has one entry that names no memory (min > max) in front of its windows.
struct aml_window {
	uint64_t min, max;
	uint8_t bus_first, bus_last;
};

// Fills entries from `out` to `limit` and returns the end of what is filled.
struct aml_window *aml_windows(struct aml_window *out, const struct aml_window *limit);

// Sleep types of \_S5 for the PM1a and PM1b control registers; E_NODEV if there is no such package.
int aml_s5(uint8_t *type_a, uint8_t *type_b);

// Address of configuration space that a host bridge names by itself (_CBA) where there is no MCFG; 0: none.
uint64_t aml_ecam(void);
