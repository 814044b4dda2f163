// Calls with every register set beforehand and looked at afterwards (registers.S).
#pragma once
#include <stdint.h>

// Where the call table has what is called.
enum {
	INPUT = 0x100010,
	OUTPUT = 0x100018,
	NET_TX = 0x100020,
	NET_RX = 0x100028,
	NVS_READ = 0x100030,
	NVS_WRITE = 0x100038,
	SYSTEM = 0x100040,
	USER = 0x100048
};

enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15, GENERAL };

struct registers {
	uint64_t general[GENERAL];
	uint64_t flags;
	uint64_t mxcsr;
	uint64_t vector[16][4]; // YMM, or XMM in the first two words
};

// Loads `in`, calls what lies in *slot with a stack as odd as the low bits of R15, stores `out`.  `avx`: all of the YMM
// registers, else XMM.
void registers_call(void *const *slot, const struct registers *in, struct registers *out, uint64_t avx);

// To be called so: spins RCX times with a pattern in the red zone.  RCX is 0 afterwards, or -1 if the pattern is not
// what it was.
void registers_spin(void);

// An output routine: keeps the text of the last call, at most 64 bytes of it, and its length.
void registers_capture(void);
extern char captured[64];
extern uint64_t captured_bytes;

// A callback that leaves no register as it was.
void registers_clobber(void *arg);
extern uint64_t clobbered; // times
