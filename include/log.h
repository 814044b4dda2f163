// The boot log.  Every line goes into a ring in memory, and to each console that is there (one that comes later
// gets what is in the ring).
#pragma once
#include <stdint.h>

// Formats: %s, %c, %u and %x (32 bits), %lu and %lx (64 bits), the numbers with an optional width, padded with zeroes
// if it starts with 0 (%04x) and with blanks if not.  A call says at most 120 characters; a line ends with \n and may
// be put together from several calls.
void log(const char *format, ...) __attribute__((format(printf, 1, 2)));
