// The register interface: calls through fixed addresses, for C and C++.
//
// It is the interface of the flat programs that existed before Ingot, and any program may use it, also beside the
// native one (ingot.h).  Each call preserves every register that is not its result, vector registers included, and
// may be made on any core.  docs/program-guide.md has the addresses for assembly programs.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The compiler doesn't see the call and may keep data below the stack pointer (the red zone): step over it.  LEA
// leaves the flags alone, which are a result of some calls.
#define B_CALL(slot) "lea -128(%%rsp), %%rsp\n\tcall *" slot "\n\tlea 128(%%rsp), %%rsp"

#define B_SECTOR 4096 // bytes, on every drive

// Functions of b_system.
enum {
	B_TIMECOUNTER = 0x00,
	B_FREE_MEMORY = 0x01,
	B_SMP_ID = 0x10,
	B_SMP_NUMCORES = 0x11,
	B_SMP_SET = 0x12,
	B_SMP_GET = 0x13,
	B_SMP_LOCK = 0x14,
	B_SMP_UNLOCK = 0x15,
	B_SMP_BUSY = 0x16,
	B_TSC = 0x1F,
	B_SCREEN_LFB_GET = 0x20,
	B_SCREEN_X_GET = 0x21,
	B_SCREEN_Y_GET = 0x22,
	B_SCREEN_PPSL_GET = 0x23,
	B_SCREEN_BPP_GET = 0x24,
	B_NET_STATUS = 0x30,
	B_NET_CONFIG = 0x31,
	B_BUS_READ = 0x50,
	B_BUS_WRITE = 0x51,
	B_STDOUT_SET = 0x52,
	B_STDOUT_GET = 0x53,
	B_CALLBACK_TIMER = 0x60,
	B_CALLBACK_NETWORK = 0x61,
	B_CALLBACK_KEYBOARD = 0x62,
	B_DUMP_MEM = 0x70,
	B_DUMP_RAX = 0x71,
	B_DELAY = 0x72,
	B_RESET = 0x7D,
	B_REBOOT = 0x7E,
	B_SHUTDOWN = 0x7F,
};

// A character, or 0 if none waits.
static inline uint8_t b_input(void)
{
	uint64_t rax = 0;
	__asm__ volatile(B_CALL("0x100010") : "+a"(rax) : : "cc", "memory");
	return (uint8_t)rax;
}

// To the console, control characters as in docs/abi.md.
static inline void b_output(const char *text, uint64_t length)
{
	__asm__ volatile(B_CALL("0x100018") : : "S"(text), "c"(length) : "cc", "memory");
}

// The frame is the caller's again on return.
static inline void b_net_tx(const void *frame, uint64_t length, uint64_t interface)
{
	__asm__ volatile(B_CALL("0x100020") : : "S"(frame), "c"(length), "d"(interface) : "cc", "memory");
}

// The frame's length and its address, good until the next b_net_rx of that interface; 0 if none waits.
static inline uint64_t b_net_rx(void **frame, uint64_t interface)
{
	uint64_t length = 0;
	void *at = 0;
	__asm__ volatile(B_CALL("0x100028") : "+c"(length), "+D"(at) : "d"(interface) : "cc", "memory");
	*frame = at;
	return length;
}

// Return the number of sectors done: `count`, or 0 on an error.
static inline uint64_t b_nvs_read(void *data, uint64_t sector, uint64_t count, uint64_t drive)
{
	__asm__ volatile(B_CALL("0x100030") : "+c"(count) : "a"(sector), "d"(drive), "D"(data) : "cc", "memory");
	return count;
}

// As b_nvs_read.  A drive with a cache of its own may still have the sectors there.
static inline uint64_t b_nvs_write(const void *data, uint64_t sector, uint64_t count, uint64_t drive)
{
	__asm__ volatile(B_CALL("0x100038") : "+c"(count) : "a"(sector), "d"(drive), "S"(data) : "cc", "memory");
	return count;
}

// What `rax` and `rdx` mean to each function, and the result, is in docs/abi.md.
static inline uint64_t b_system(uint64_t function, uint64_t rax, uint64_t rdx)
{
	__asm__ volatile(B_CALL("0x100040") : "+a"(rax) : "c"(function), "d"(rdx) : "cc", "memory");
	return rax;
}

// The program's own: returns at once until there is another routine's address at 0x100048.
static inline void b_user(void)
{
	__asm__ volatile(B_CALL("0x100048") : : : "cc", "memory");
}

// Has the core with this APIC id call `code`, which must be aligned to 16 bytes.  0, or 1 if the core refuses: it
// does not exist, it is busy, or the address is not aligned.
static inline int b_smp_set(void (*code)(void), uint64_t apic_id)
{
	uint64_t rax = (uint64_t)(uintptr_t)code;
	uint8_t refused;
	__asm__ volatile(B_CALL("0x100040") "\n\tsetc %1"
					 : "+a"(rax), "=q"(refused)
					 : "c"((uint64_t)B_SMP_SET), "d"(apic_id)
					 : "cc", "memory");
	return refused;
}

// Waits until the word is 0, and sets it.
static inline void b_smp_lock(uint16_t *lock)
{
	b_system(B_SMP_LOCK, (uint64_t)(uintptr_t)lock, 0);
}

// Sets the word to 0.
static inline void b_smp_unlock(uint16_t *lock)
{
	b_system(B_SMP_UNLOCK, (uint64_t)(uintptr_t)lock, 0);
}

#ifdef __cplusplus
}
#endif
