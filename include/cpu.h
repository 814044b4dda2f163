// Instructions that C has no words for.  A host test puts tests/fake/cpu.h in front of this file.
#pragma once
#include <stdint.h>

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

// CPUID: what is said of `leaf`.
static inline struct cpuid cpu_id(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid id;
	__asm__ volatile("cpuid" : "=a"(id.eax), "=b"(id.ebx), "=c"(id.ecx), "=d"(id.edx) : "a"(leaf), "c"(subleaf));
	return id;
}

// A model-specific register that the CPU has not got is a general protection fault.
static inline uint64_t msr_read(uint32_t msr)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

// Both at once.
static inline void msr_write_halves(uint32_t msr, uint32_t low, uint32_t high)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"(low), "d"(high) : "memory");
}

// As msr_read.
static inline void msr_write(uint32_t msr, uint64_t value)
{
	msr_write_halves(msr, value, value >> 32);
}

// Sets bits of its lower half.
static inline void msr_set(uint32_t msr, uint32_t bits)
{
	__asm__ volatile("rdmsr; or %0, %%eax; wrmsr" : : "r"(bits), "c"(msr) : "eax", "edx", "memory");
}

// The time-stamp counter: time_khz() a millisecond, the same on all cores.
static inline uint64_t cpu_tsc(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

// Inside of loops that wait: lets the other thread of the core go first.
static inline void cpu_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}
