// Device memory on the host: plain memory, unless a test has put a fake device (fake.h) behind the address.
#pragma once
#include <stdint.h>

uint64_t fake_mmio_read(const volatile void *reg, uint32_t width);
void fake_mmio_write(volatile void *reg, uint32_t width, uint64_t value);

static inline uint8_t mmio_read8(const volatile void *reg)
{
	return fake_mmio_read(reg, 1);
}

static inline uint16_t mmio_read16(const volatile void *reg)
{
	return fake_mmio_read(reg, 2);
}

static inline uint32_t mmio_read32(const volatile void *reg)
{
	return fake_mmio_read(reg, 4);
}

static inline uint64_t mmio_read64(const volatile void *reg)
{
	return fake_mmio_read(reg, 8);
}

static inline void mmio_write8(volatile void *reg, uint8_t value)
{
	fake_mmio_write(reg, 1, value);
}

static inline void mmio_write16(volatile void *reg, uint16_t value)
{
	fake_mmio_write(reg, 2, value);
}

static inline void mmio_write32(volatile void *reg, uint32_t value)
{
	fake_mmio_write(reg, 4, value);
}

static inline void mmio_write64(volatile void *reg, uint64_t value)
{
	fake_mmio_write(reg, 8, value);
}

int mmio_wait32(const volatile void *reg, uint32_t mask, uint32_t value, uint32_t us);

static inline void barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

static inline void barrier_store_load(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
