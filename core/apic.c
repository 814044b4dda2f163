// Local APIC (xAPIC by memory, x2APIC by MSR) and I/O APICs.
// Intel SDM vol. 3, chapter 11; "82093AA I/O APIC"; MADT: ACPI 6.4, 5.2.12.
#include "core.h"
#include <mmio.h>
#include <pio.h>

#define MSR_APIC_BASE 0x1B
#define BASE_ENABLE 0x800
#define BASE_X2APIC 0x400

// Numbers of registers: 16 bytes each in memory, one MSR each.
#define MSR_X2APIC 0x800
#define REG_ID 0x02
#define REG_EOI 0x0B
#define REG_SPURIOUS 0x0F
#define REG_ICR 0x30
#define REG_ICR_HIGH 0x31
#define REG_LVT_TIMER 0x32
#define REG_TIMER_INITIAL 0x38
#define REG_TIMER_CURRENT 0x39
#define REG_TIMER_DIVIDE 0x3E
#define ICR_PENDING 0x1000

static volatile uint8_t *lapic; // NULL: x2APIC
static uint64_t timer_scale;    // ticks = ns * timer_scale >> 32

static uint32_t reg_read(uint32_t reg)
{
	if (CONFIG_ON(CORE_X2APIC) && !lapic)
		return msr_read(MSR_X2APIC + reg);
	return mmio_read32(lapic + 16 * reg);
}

static void reg_write(uint32_t reg, uint32_t value)
{
	if (CONFIG_ON(CORE_X2APIC) && !lapic)
		msr_write(MSR_X2APIC + reg, value);
	else
		mmio_write32(lapic + 16 * reg, value);
}

void apic_eoi(void)
{
	reg_write(REG_EOI, 0);
}

uint32_t apic_self(void)
{
	uint32_t id = reg_read(REG_ID);
	return CONFIG_ON(CORE_X2APIC) && !lapic ? id : id >> 24;
}

bool apic_reaches(uint32_t apic_id)
{
	return apic_id <= APIC_ID_MOST || (CONFIG_ON(CORE_X2APIC) && !lapic);
}

HOT void apic_ipi(uint32_t apic_id, uint32_t command)
{
	volatile uint8_t *icr = lapic + 16 * REG_ICR;
	if (CONFIG_ON(CORE_X2APIC) && !lapic) {
		msr_write_halves(MSR_X2APIC + REG_ICR, command, apic_id); // 11.12.9: both at once, no wait
		return;
	}
	uint64_t flags = irq_save();
	for (uint32_t reads = 100000; reads-- && mmio_read32(icr) & ICR_PENDING;)
		; // the last one takes a few microseconds, a read at least 10 ns
	mmio_write32(icr + 16 * (REG_ICR_HIGH - REG_ICR), apic_id << 24);
	mmio_write32(icr, command);
	irq_restore(flags);
}

// x2APIC wherever the CPU has it: the firmware may have locked it on, and ids above 254 need it.
void apic_enable(void)
{
	uint32_t mode = BASE_ENABLE;
	if (CONFIG_ON(CORE_X2APIC) && cpu_id(1, 0).ecx >> 21 & 1)
		mode |= BASE_X2APIC;
	else if (!CONFIG_ON(CORE_X2APIC) && msr_read(MSR_APIC_BASE) & BASE_X2APIC)
		panic("x2APIC is on, and CORE_X2APIC off");
	else if (!lapic)
		lapic = mem_map_device(LAPIC_PHYS, PAGE);
	msr_set(MSR_APIC_BASE, mode);
	reg_write(REG_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
	reg_write(REG_TIMER_DIVIDE, 0xB); // by 1
	reg_write(REG_LVT_TIMER, VECTOR_TIMER);
}

void apic_timer_start(void)
{
	reg_write(REG_TIMER_INITIAL, ~0u);
}

uint32_t apic_timer_left(void)
{
	return reg_read(REG_TIMER_CURRENT);
}

void apic_timer_calibrate(uint32_t ticks, uint64_t ns)
{
	timer_scale = ((uint64_t)ticks << 32) / ns;
	reg_write(REG_TIMER_INITIAL, 0);
}

// 1 to 2^32 - 1 ticks.  A longer wait is armed again when it ends.
void apic_timer_arm(uint64_t ns)
{
	reg_write(REG_TIMER_INITIAL, (min_u64(ns, 1 << 29) * timer_scale >> 32) | 1);
}

// ---- I/O APICs --------------------------------------------------------------------------------------------------

#define IOAPIC_WINDOW 0x10
#define IOAPIC_VERSION 1
#define IOAPIC_ENTRY 0x10
#define ENTRY_MASKED 0x10000u
#define ENTRY_FLAGS(flags) ((flags) << 12) // where the MADT has polarity and trigger (a.5.2.12.5: bits 1 and 3)
#define LEVEL_LOW 0xAu
#define ALL_LINES (~0u)

const void *madt_entry(uint8_t type, uint32_t index)
{
	const struct acpi_header *madt = acpi_table("APIC", 0);
	if (!madt)
		return NULL;
	const uint8_t *entry = (const uint8_t *)madt + 44, *end = (const uint8_t *)madt + madt->length; // a.5.2.12
	for (; end - entry >= 2 && entry[1] >= 2 && entry[1] <= end - entry; entry += entry[1])
		if (entry[0] == type && entry[1] >= 8 && !index--)
			return entry;
	return NULL;
}

static void ioapic_write(volatile uint8_t *base, uint32_t reg, uint32_t value)
{
	mmio_write32(base, reg);
	mmio_write32(base + IOAPIC_WINDOW, value);
}

static int set_entries(uint32_t line, uint32_t low, uint32_t apic_id)
{
	const struct madt_ioapic *ioapic;
	int rc = E_NODEV;
	for (uint32_t i = 0; (ioapic = madt_entry(MADT_IOAPIC, i)); i++) {
		volatile uint8_t *base = mem_map_device(ioapic->address, PAGE);
		if (!base)
			continue;
		mmio_write32(base, IOAPIC_VERSION);
		uint32_t last = mmio_read32(base + IOAPIC_WINDOW) >> 16 & 0xFF;
		for (uint32_t pin = 0; pin <= last; pin++) {
			if (line != ALL_LINES && line != ioapic->first_gsi + pin)
				continue;
			ioapic_write(base, IOAPIC_ENTRY + 2 * pin, ENTRY_MASKED);
			ioapic_write(base, IOAPIC_ENTRY + 2 * pin + 1, apic_id << 24);
			ioapic_write(base, IOAPIC_ENTRY + 2 * pin, low);
			rc = E_OK;
		}
	}
	return rc;
}

// The PIC, which the local APIC's LINT0 listens to, is masked: it would raise vectors of exceptions.  So is what the
// firmware left open in the I/O APICs.
void ioapic_init(void)
{
	pio_write8(0x21, 0xFF);
	pio_write8(0xA1, 0xFF);
	set_entries(ALL_LINES, ENTRY_MASKED, 0);
}

static int set_line(uint32_t line, uint32_t kind, uint32_t low, uint32_t apic_id)
{
	const struct madt_override *override;
	uint32_t flags = LEVEL_LOW;
	if (kind == IRQ_ISA) {
		flags = 0;
		for (uint32_t i = 0; (override = madt_entry(MADT_OVERRIDE, i)); i++)
			if (override->source == line) {
				line = override->gsi;
				flags = override->flags & LEVEL_LOW;
				break;
			}
	}
	return set_entries(line, low | ENTRY_FLAGS(flags), apic_id);
}

int irq_route(uint32_t line, uint32_t kind, int vector)
{
	return set_line(line, kind, vector, irq_target(vector));
}

void irq_mask(uint32_t line, uint32_t kind)
{
	set_line(line, kind, ENTRY_MASKED, 0);
}
