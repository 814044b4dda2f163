// Off and on again.  "a." = section of the ACPI Specification 6.4.
#include "core.h"
#include <mmio.h>
#include <pio.h>

#define FLAG_RESET_REG 0x400u
#define FLAG_HW_REDUCED 0x100000u
#define SCI_EN 1
#define SLP_EN 0x2000
#define ENABLE_US 300000u
#define QEMU_CONTROL 0x604 // where QEMU's machines have this register, with or without ACPI tables

// A register of 8 bits: memory or port.
static void gas_write(const struct acpi_gas *gas, uint8_t value)
{
	uint64_t address = gas->address;
	if (gas->space == 1)
		pio_write8(address, value);
	else if (!gas->space && address && mem_map_device(address, 1))
		mmio_write8((void *)address, value);
}

static void enable(uint16_t control)
{
	uint64_t deadline = time_deadline(ENABLE_US);
	while (fadt.smi_cmd && !(pio_read16(control) & SCI_EN) && !time_passed(deadline))
		pio_write8(fadt.smi_cmd, fadt.acpi_enable);
}

// a.16.1.7; hardware-reduced: a.4.8.3.7.
void power_off(void)
{
	uint8_t type_a = 0, type_b = 0;
	uint16_t control = fadt.pm1a_cnt ? fadt.pm1a_cnt : QEMU_CONTROL;
	irq_save();
	aml_s5(&type_a, &type_b);
	if (fadt.flags & FLAG_HW_REDUCED) {
		gas_write(&fadt.sleep_control, type_a << 2 | 0x20);
	} else {
		enable(control);
		pio_write16(control, type_a << 10 | SLP_EN | SCI_EN);
		if (fadt.pm1b_cnt)
			pio_write16(fadt.pm1b_cnt, type_b << 10 | SLP_EN | SCI_EN);
	}
	halt();
}

// The reset register, the keyboard controller's reset line, and last a fault with no handler: the null descriptor is a
// table of no length.
void power_reboot(void)
{
	irq_save();
	if (fadt.flags & FLAG_RESET_REG)
		gas_write(&fadt.reset_reg, fadt.reset_value);
	time_delay_us(1000);
	pio_write8(0x64, 0xFE);
	time_delay_us(1000);
	__asm__ volatile("lidt %0; int3" : : "m"(gdt[0]));
	halt();
}
