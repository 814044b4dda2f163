// Stands in for api/baremetal.h: the register calls as functions that a test defines.
#pragma once
#include <stdint.h>

#define B_SECTOR 4096

enum { B_SHUTDOWN = 0x7F };

void b_output(const char *text, uint64_t length);
uint64_t b_nvs_read(void *data, uint64_t sector, uint64_t count, uint64_t drive);
uint64_t b_nvs_write(const void *data, uint64_t sector, uint64_t count, uint64_t drive);
uint64_t b_system(uint64_t function, uint64_t rax, uint64_t rdx);
