// Device memory.  The only way to touch a register: a host test puts tests/fake/mmio.h in front of this file.
#pragma once
#include <stdint.h>

// One access of that width, never left out.
static inline uint8_t mmio_read8(const volatile void *reg)
{
	return *(const volatile uint8_t *)reg;
}

static inline uint16_t mmio_read16(const volatile void *reg)
{
	return *(const volatile uint16_t *)reg;
}

static inline uint32_t mmio_read32(const volatile void *reg)
{
	return *(const volatile uint32_t *)reg;
}

static inline uint64_t mmio_read64(const volatile void *reg)
{
	return *(const volatile uint64_t *)reg;
}

// Writes are ordered behind all earlier stores to memory: x86 keeps stores in order (Intel SDM vol. 3, 8.2.2), and
// the clobber keeps the compiler from moving them.
static inline void mmio_write8(volatile void *reg, uint8_t value)
{
	__asm__ volatile("movb %1, %0" : "=m"(*(volatile uint8_t *)reg) : "qi"(value) : "memory");
}

static inline void mmio_write16(volatile void *reg, uint16_t value)
{
	__asm__ volatile("movw %1, %0" : "=m"(*(volatile uint16_t *)reg) : "ri"(value) : "memory");
}

static inline void mmio_write32(volatile void *reg, uint32_t value)
{
	__asm__ volatile("movl %1, %0" : "=m"(*(volatile uint32_t *)reg) : "ri"(value) : "memory");
}

static inline void mmio_write64(volatile void *reg, uint64_t value)
{
	__asm__ volatile("movq %1, %0" : "=m"(*(volatile uint64_t *)reg) : "r"(value) : "memory");
}

// Waits until (register & mask) == value, at most `us` microseconds.  Returns E_OK or E_TIMEOUT.  (core/time.c)
int mmio_wait32(const volatile void *reg, uint32_t mask, uint32_t value, uint32_t us);

// Keeps the compiler from moving memory accesses across; between two accesses to memory that a device also uses.
static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

// Orders an earlier store before a later load (event index, doorbell suppression): x86 needs a fence for just this.
// Not a locked instruction: on one processor QEMU's TCG makes an ordinary one of it, and its devices are other threads.
static inline void barrier_store_load(void)
{
	__asm__ volatile("mfence" : : : "memory");
}
