// The boot log.  Every line goes into a ring in memory, and to each console that is there (one that comes later
// gets what is in the ring).
#pragma once
#include <stdint.h>

// Formats: %s, %c, %u and %d (32 bits), %x (32 bits), %lu and %lx (64 bits), each with an optional width that is
// padded with zeroes if it starts with 0 (%04x) and with blanks if not; %%.  A line ends with \n: a line may be put
// together from several calls.
void log(const char *format, ...) __attribute__((format(printf, 1, 2)));
