// Cores, numbered 0 (the boot core) to smp_count() - 1 in the order of the MADT, without holes.
#pragma once
#include <stdint.h>

// How many have started.
uint32_t smp_count(void);

// The index of the calling core, without touching a device.
uint32_t smp_self(void);

// Not 0 while RESET wants the calling core back: what waits, or is long, ends now.  Nobody sees how it ended.
uint32_t smp_dropped(void);
