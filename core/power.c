// Off and on again.  "a." = section of the ACPI Specification 6.4.
#include "core.h"
#include <mmio.h>
#include <pio.h>

#define FLAG_RESET_REG 0x400u
#define FLAG_HW_REDUCED 0x100000u
#define SCI_EN 1
#define ENABLE_US 300000u

// A register of 8 bits in a generic address structure (a.5.2.3.2): memory or port.
static void gas_write(uint32_t field, uint8_t value)
{
	uint64_t address = fadt_field(field + 4, 8);
	uint8_t space = fadt_field(field, 1);
	if (!address)
		return;
	if (space == 1)
		pio_write8(address, value);
	else if (!space && mem_map_device(address, 1))
		mmio_write8((void *)address, value);
}

static void enable(uint16_t control)
{
	uint16_t command = fadt_field(FADT_SMI_CMD, 4);
	uint64_t deadline = time_deadline(ENABLE_US);
	if (!command || pio_read16(control) & SCI_EN)
		return;
	pio_write8(command, fadt_field(FADT_ACPI_ENABLE, 1));
	while (!(pio_read16(control) & SCI_EN) && !time_passed(deadline))
		;
}

// a.16.1.7 (hardware-reduced: a.4.8.3.7), then the ports that QEMU's and Bochs's machines have without ACPI.
void power_off(void)
{
	uint8_t type_a = 0, type_b = 0;
	uint16_t control_a = fadt_field(FADT_PM1A_CNT, 4), control_b = fadt_field(FADT_PM1B_CNT, 4);
	irq_save();
	aml_s5(&type_a, &type_b);
	if (fadt_field(FADT_FLAGS, 4) & FLAG_HW_REDUCED) {
		gas_write(FADT_SLEEP_CONTROL, type_a << 2 | 0x20);
	} else if (control_a) {
		enable(control_a);
		pio_write16(control_a, type_a << 10 | 0x2000 | SCI_EN);
		if (control_b)
			pio_write16(control_b, type_b << 10 | 0x2000 | SCI_EN);
	} else {
		pio_write16(0x604, 0x2000);
	}
	halt();
}

// The reset register, the keyboard controller's reset line, and last a fault with no handler.
void power_reboot(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} none = { 0, 0 };
	irq_save();
	if (fadt_field(FADT_FLAGS, 4) & FLAG_RESET_REG)
		gas_write(FADT_RESET_REG, fadt_field(FADT_RESET_VALUE, 1));
	time_delay_us(1000);
	pio_write8(0x64, 0xFE);
	time_delay_us(1000);
	__asm__ volatile("lidt %0; int3" :: "m"(none));
	halt();
}
