// What monitor_run.c and the assembly of monitor_start.S share.
#pragma once
#define COUNTED_DRIVES 64
// struct drive_counts: its size, and where its counters are.
#define COUNTS_BYTES 64
#define COUNTS_READS 0
#define COUNTS_READ_BYTES 8
#define COUNTS_WRITES 16
#define COUNTS_WRITTEN_BYTES 24
#define COUNTS_ERRORS 40
