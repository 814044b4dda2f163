// I/O ports on the host: fake devices (fake.h); a port without one reads all ones and swallows writes.
#pragma once
#include <stdint.h>

uint32_t fake_pio_read(uint16_t port, uint32_t width);
void fake_pio_write(uint16_t port, uint32_t width, uint32_t value);

static inline uint8_t pio_read8(uint16_t port)
{
	return fake_pio_read(port, 1);
}

static inline uint16_t pio_read16(uint16_t port)
{
	return fake_pio_read(port, 2);
}

static inline uint32_t pio_read32(uint16_t port)
{
	return fake_pio_read(port, 4);
}

static inline void pio_write8(uint16_t port, uint8_t value)
{
	fake_pio_write(port, 1, value);
}

static inline void pio_write16(uint16_t port, uint16_t value)
{
	fake_pio_write(port, 2, value);
}

static inline void pio_write32(uint16_t port, uint32_t value)
{
	fake_pio_write(port, 4, value);
}
