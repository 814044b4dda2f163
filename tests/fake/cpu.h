// The CPU on the host: CPUID leaves and model-specific registers come from the test, the time-stamp counter follows
// the fake clock.
#pragma once
#include <stdint.h>

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

extern struct cpuid (*fake_cpuid)(uint32_t leaf, uint32_t subleaf); // NULL: all zero
extern uint64_t (*fake_msr_read)(uint32_t msr);                     // NULL: 0
extern void (*fake_msr_write)(uint32_t msr, uint64_t value);        // NULL: swallowed
extern uint32_t fake_tsc_mhz;                                       // 1000 after fake_reset

struct cpuid cpu_id(uint32_t leaf, uint32_t subleaf);
uint64_t msr_read(uint32_t msr);
void msr_write(uint32_t msr, uint64_t value);
uint64_t cpu_tsc(void);

static inline void msr_write_halves(uint32_t msr, uint32_t low, uint32_t high)
{
	msr_write(msr, (uint64_t)high << 32 | low);
}

static inline void msr_set(uint32_t msr, uint32_t bits)
{
	msr_write(msr, msr_read(msr) | bits);
}

static inline void cpu_pause(void)
{
}
