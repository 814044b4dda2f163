// Local APIC (xAPIC by memory, x2APIC by MSR) and I/O APICs.
// Intel SDM vol. 3, chapter 11; "82093AA I/O APIC"; MADT: ACPI 6.4, 5.2.12.
#include "core.h"
#include <mmio.h>
#include <pio.h>

#define MSR_APIC_BASE 0x1B
#define BASE_ENABLE 0x800
#define BASE_X2APIC 0x400

#define REG_ID 0x20
#define REG_EOI 0xB0
#define REG_SPURIOUS 0xF0
#define REG_ICR 0x300
#define REG_ICR_HIGH 0x310
#define REG_LVT_TIMER 0x320
#define REG_LVT_LINT0 0x350
#define REG_TIMER_INITIAL 0x380
#define REG_TIMER_CURRENT 0x390
#define REG_TIMER_DIVIDE 0x3E0
#define ICR_PENDING 0x1000
#define LVT_MASKED 0x10000

static volatile uint8_t *lapic;		// NULL: x2APIC
static uint64_t timer_khz;

static uint32_t reg_read(uint32_t reg)
{
	if (CONFIG_ON(CORE_X2APIC) && !lapic)
		return msr_read(0x800 + reg / 16);
	return mmio_read32(lapic + reg);
}

static void reg_write(uint32_t reg, uint32_t value)
{
	if (CONFIG_ON(CORE_X2APIC) && !lapic)
		msr_write(0x800 + reg / 16, value);
	else
		mmio_write32(lapic + reg, value);
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

void apic_ipi(uint32_t apic_id, uint32_t command)
{
	if (CONFIG_ON(CORE_X2APIC) && !lapic) {
		msr_write(0x800 + REG_ICR / 16, (uint64_t)apic_id << 32 | command);
		return;
	}
	uint64_t flags = irq_save();
	mmio_wait32(lapic + REG_ICR, ICR_PENDING, 0, 1000);
	reg_write(REG_ICR_HIGH, apic_id << 24);
	reg_write(REG_ICR, command);
	irq_restore(flags);
}

// x2APIC wherever the CPU has it: the firmware may have locked it on, and ids above 254 need it.
void apic_enable(void)
{
	uint64_t base = msr_read(MSR_APIC_BASE) | BASE_ENABLE;
	if (CONFIG_ON(CORE_X2APIC) && cpu_id(1, 0).ecx >> 21 & 1)
		base |= BASE_X2APIC;
	else if (!lapic)
		lapic = mem_map_device(base & 0xFFFFFFFFFF000, PAGE);
	msr_write(MSR_APIC_BASE, base);
	reg_write(REG_LVT_LINT0, LVT_MASKED);
	reg_write(REG_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
	reg_write(REG_TIMER_DIVIDE, 0xB);	// by 1
	reg_write(REG_LVT_TIMER, VECTOR_TIMER);
}

// Counts down from the top between the two calls, which are `ns` apart.
void apic_timer_calibrate(bool start, uint32_t ns)
{
	uint32_t ticks = ~reg_read(REG_TIMER_CURRENT);
	reg_write(REG_LVT_TIMER, start ? LVT_MASKED : VECTOR_TIMER);
	reg_write(REG_TIMER_INITIAL, start ? ~0u : 0);
	if (!start)
		timer_khz = ticks * 1000000ul / ns;
}

void apic_timer_arm(uint64_t ns)
{
	uint64_t ticks = min_u64(ns, 1000000000) * timer_khz / 1000000;	// a longer wait is armed again when it ends
	reg_write(REG_TIMER_INITIAL, max_u64(min_u64(ticks, ~0u), 1));
}

// ---- I/O APICs --------------------------------------------------------------------------------------------------

#define IOAPIC_SELECT 0
#define IOAPIC_WINDOW 0x10
#define IOAPIC_VERSION 1
#define IOAPIC_ENTRY 0x10
#define ENTRY_MASKED 0x10000u
#define ENTRY_LEVEL 0x8000u
#define ENTRY_LOW 0x2000u

static uint32_t ioapic_access(const struct madt_ioapic *ioapic, uint32_t reg, const uint32_t *value)
{
	volatile uint8_t *base = (volatile uint8_t *)(uint64_t)ioapic->address;
	mmio_write32(base + IOAPIC_SELECT, reg);
	if (!value)
		return mmio_read32(base + IOAPIC_WINDOW);
	mmio_write32(base + IOAPIC_WINDOW, *value);
	return 0;
}

const void *madt_entry(uint8_t type, uint32_t index)
{
	const struct acpi_header *madt = acpi_table("APIC", 0);
	uint32_t at = 44;	// a.5.2.12
	while (madt && at + 2 <= madt->length) {
		const uint8_t *entry = (const uint8_t *)madt + at;
		if (entry[1] < 2 || at + entry[1] > madt->length)
			break;
		if (entry[0] == type && entry[1] >= 8 && !index--)
			return entry;
		at += entry[1];
	}
	return NULL;
}

// The PIC is masked: it would raise vectors of exceptions.  So is what the firmware left open in the I/O APICs.
void ioapic_init(void)
{
	const struct madt_ioapic *ioapic;
	pio_write8(0x21, 0xFF);
	pio_write8(0xA1, 0xFF);
	for (uint32_t i = 0; (ioapic = madt_entry(MADT_IOAPIC, i)); i++) {
		if (!mem_map_device(ioapic->address, PAGE))
			continue;
		uint32_t last = ioapic_access(ioapic, IOAPIC_VERSION, NULL) >> 16 & 0xFF, masked = ENTRY_MASKED;
		for (uint32_t pin = 0; pin <= last; pin++)
			ioapic_access(ioapic, IOAPIC_ENTRY + 2 * pin, &masked);
	}
}

static int write_entry(uint32_t line, uint32_t kind, uint32_t low, uint32_t apic_id)
{
	const struct madt_override *override;
	const struct madt_ioapic *ioapic;
	uint32_t flags = kind == IRQ_LEVEL_LOW ? 0xF : 0;
	for (uint32_t i = 0; kind == IRQ_ISA && (override = madt_entry(MADT_OVERRIDE, i)); i++)
		if (override->source == line) {
			line = override->gsi;
			flags = override->flags;
			break;
		}
	if ((flags & 3) == 3)
		low |= ENTRY_LOW;
	if ((flags & 0xC) == 0xC)
		low |= ENTRY_LEVEL;
	for (uint32_t i = 0; (ioapic = madt_entry(MADT_IOAPIC, i)); i++) {
		uint32_t pin = line - ioapic->first_gsi;
		if (pin > (ioapic_access(ioapic, IOAPIC_VERSION, NULL) >> 16 & 0xFF))
			continue;
		uint32_t high = apic_id << 24, masked = ENTRY_MASKED;
		ioapic_access(ioapic, IOAPIC_ENTRY + 2 * pin, &masked);
		ioapic_access(ioapic, IOAPIC_ENTRY + 2 * pin + 1, &high);
		ioapic_access(ioapic, IOAPIC_ENTRY + 2 * pin, &low);
		return E_OK;
	}
	return E_NODEV;
}

int irq_route(uint32_t line, uint32_t kind, int vector)
{
	return write_entry(line, kind, vector, cpus[irq_cpu(vector)].apic_id);
}

void irq_mask(uint32_t line, uint32_t kind)
{
	write_entry(line, kind, ENTRY_MASKED, 0);
}
