// core/apic.c and core/irq.c: xAPIC in memory and x2APIC in MSRs, which QEMU's emulation doesn't have; who can be
// reached by interrupts.
#include <core/apic.c>
#include <core/irq.c>
#include <fake.h>

struct cpu cpus[CPU_MAX];
void irq_common(void)
{
}

static uint32_t features;          // of CPUID leaf 1, ECX
static uint64_t base_msr;          // IA32_APIC_BASE
static uint64_t x2apic[0x40];      // MSRs from 0x800 on
static uint32_t written, last;     // writes of them, and which was the last
static uint32_t registers[0x400];  // of the xAPIC
static uint32_t icr_pending_reads; // reads of the ICR that say "not sent yet"
static struct fake_mmio xapic = { .base = registers, .bytes = sizeof(registers), .phys = LAPIC_PHYS };
static uint8_t madt[256];

void panic(const char *why)
{
	fail_msg("panic: %s", why);
	abort();
}

void panic_trap(const struct trap *trap)
{
	fail_msg("exception %u", trap_vector(trap));
	abort();
}

void smp_nmi(struct trap *trap)
{
	(void)trap;
}

void key_call(void *arg)
{
}

void timer_tick(void *arg)
{
	(void)arg;
}

bool page_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t flags)
{
	(void)virt, (void)phys, (void)bytes, (void)flags;
	return true;
}

const struct acpi_header *acpi_table(const char *signature, uint32_t index)
{
	return memcmp(signature, "APIC", 4) == 0 && !index ? (const struct acpi_header *)madt : NULL;
}

static struct cpuid id_of(uint32_t leaf, uint32_t subleaf)
{
	(void)subleaf;
	return (struct cpuid){ .ecx = leaf == 1 ? features : 0 };
}

// What a processor does not forgive (SDM vol. 3, 10.12.1.2): registers of an x2APIC while it is off, those that it
// hasn't got, and 64 bits where a register has 32.
static uint32_t x2apic_register(uint32_t msr)
{
	assert_true(msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x40);
	assert_int_equal(base_msr & (BASE_ENABLE | BASE_X2APIC), BASE_ENABLE | BASE_X2APIC);
	assert_int_not_equal(msr - MSR_X2APIC, REG_ICR_HIGH);
	return msr - MSR_X2APIC;
}

static uint64_t read_msr(uint32_t msr)
{
	return msr == MSR_APIC_BASE ? base_msr : x2apic[x2apic_register(msr)];
}

static void write_msr(uint32_t msr, uint64_t value)
{
	if (msr == MSR_APIC_BASE) {
		base_msr = value;
		return;
	}
	last = x2apic_register(msr);
	assert_true(last == REG_ICR || value >> 32 == 0);
	assert_int_not_equal(last, REG_ID);
	x2apic[last] = value;
	written++;
}

static uint64_t read_xapic(struct fake_mmio *dev, uint64_t offset, uint32_t width)
{
	(void)dev;
	assert_int_equal(width, 4);
	if (offset == 16 * REG_ICR && icr_pending_reads) {
		icr_pending_reads--;
		return registers[offset / 4] | ICR_PENDING;
	}
	return registers[offset / 4];
}

// The ICR's lower half sends.
static uint64_t sent[8];
static uint32_t sends;
static void write_xapic(struct fake_mmio *dev, uint64_t offset, uint32_t width, uint64_t value)
{
	(void)dev;
	assert_int_equal(width, 4);
	assert_int_equal(offset % 16, 0);
	if (offset == 16 * REG_ICR || offset == 16 * REG_ICR_HIGH) {
		assert_int_equal(icr_pending_reads, 0);
		assert_int_not_equal(fake_irq_off, 0); // an interrupt between the two would send to another core
	}
	if (offset == 16 * REG_ICR)
		sent[sends++] = (uint64_t)registers[16 * REG_ICR_HIGH / 4] << 32 | (uint32_t)value;
	registers[offset / 4] = value;
}

static void start(uint32_t ecx, uint64_t apic_base)
{
	features = ecx;
	base_msr = apic_base;
	written = sends = icr_pending_reads = 0;
	lapic = NULL;
	memset(x2apic, 0, sizeof(x2apic));
	memset(registers, 0, sizeof(registers));
	memset(madt, 0, sizeof(madt));
	memset(handlers, 0, sizeof(handlers));
	fake_cpuid = id_of;
	fake_msr_read = read_msr;
	fake_msr_write = write_msr;
	xapic.read = read_xapic;
	xapic.write = write_xapic;
	fake_mmio_add(&xapic);
}

#define HAS_X2APIC (1u << 21)
#define FIRMWARE_BASE (LAPIC_PHYS | 0x900) // on, boot core

static void x2apic_where_the_processor_has_it(void **state)
{
	(void)state;
	start(HAS_X2APIC, FIRMWARE_BASE);
	apic_enable();
	assert_int_equal(base_msr, FIRMWARE_BASE | BASE_X2APIC);
	assert_int_equal(x2apic[REG_SPURIOUS], 0x1FF);
	assert_int_equal(x2apic[REG_LVT_TIMER], VECTOR_TIMER);
	assert_int_equal(xapic.reads + xapic.writes, 0);

	// Locked on by the firmware: nothing changes.
	start(HAS_X2APIC, FIRMWARE_BASE | BASE_X2APIC);
	apic_enable();
	assert_int_equal(base_msr, FIRMWARE_BASE | BASE_X2APIC);
}

static void xapic_elsewhere(void **state)
{
	(void)state;
	start(0, LAPIC_PHYS | 0x100); // and the firmware has left it off
	registers[16 * REG_ID / 4] = 7u << 24;
	apic_enable();
	assert_int_equal(base_msr, FIRMWARE_BASE);
	assert_int_equal(registers[16 * REG_SPURIOUS / 4], 0x1FF);
	assert_int_equal(apic_self(), 7);
	assert_int_equal(written, 0);
	registers[16 * REG_EOI / 4] = 1;
	apic_eoi();
	assert_int_equal(registers[16 * REG_EOI / 4], 0);
}

// Ids have 32 bits.
static void ids_beyond_255(void **state)
{
	(void)state;
	start(HAS_X2APIC, FIRMWARE_BASE);
	apic_enable();
	for (uint32_t id = 1; id; id <<= 1) {
		x2apic[REG_ID] = id;
		assert_int_equal(apic_self(), id);
		assert_true(apic_reaches(id));
	}
}

// Destination and command in one write: no wait, no interrupt in between.
static void ipi_is_one_write(void **state)
{
	(void)state;
	start(HAS_X2APIC, FIRMWARE_BASE);
	apic_enable();
	written = 0;
	apic_ipi(0x12345, IPI_FIXED | VECTOR_WAKE);
	assert_int_equal(written, 1);
	assert_int_equal(last, REG_ICR);
	assert_true(x2apic[REG_ICR] == (0x12345ull << 32 | IPI_FIXED | VECTOR_WAKE));
	apic_eoi();
	assert_int_equal(written, 2);
	assert_int_equal(last, REG_EOI);
	assert_int_equal(x2apic[REG_EOI], 0);
}

static void ipi_in_halves(void **state)
{
	(void)state;
	start(0, FIRMWARE_BASE);
	apic_enable();
	icr_pending_reads = 5; // the last one is still on its way
	apic_ipi(254, IPI_INIT);
	apic_ipi(3, IPI_START | 0x9F);
	assert_int_equal(sends, 2);
	assert_true(sent[0] == (254ull << 56 | IPI_INIT));
	assert_true(sent[1] == (3ull << 56 | IPI_START | 0x9F));
}

// An xAPIC has 8 bits for the id, 255 is everyone: to reset 256 would reset the boot core.
static void xapic_reaches_254(void **state)
{
	(void)state;
	start(0, FIRMWARE_BASE);
	apic_enable();
	assert_true(apic_reaches(254));
	assert_false(apic_reaches(255));
	assert_false(apic_reaches(256));
}

// So have a device's message and an entry of an I/O APIC, whatever the processor's has: such a core gets no vector.
static void devices_reach_254(void **state)
{
	(void)state;
	start(HAS_X2APIC, FIRMWARE_BASE);
	apic_enable();
	cpus[1].apic_id = 254;
	cpus[2].apic_id = 255;
	cpus[3].apic_id = 256;
	int vector = irq_alloc(timer_tick, NULL, 1);
	assert_true(vector >= FIRST);
	struct irq_message message = irq_message(vector);
	assert_true(message.address == (LAPIC_PHYS | 254u << 12));
	assert_int_equal(message.data, vector);
	assert_int_equal(irq_target(vector), 254);
	assert_int_equal(irq_alloc(timer_tick, NULL, 2), E_NOTSUP);
	assert_int_equal(irq_alloc(timer_tick, NULL, 3), E_NOTSUP);
	irq_free(vector);
}

static void vectors_run_out(void **state)
{
	(void)state;
	start(HAS_X2APIC, FIRMWARE_BASE);
	for (int vector = FIRST; vector <= LAST; vector++)
		assert_int_equal(irq_alloc(timer_tick, NULL, 0), vector);
	assert_int_equal(irq_alloc(timer_tick, NULL, 0), E_NOMEM);
	irq_free(100);
	assert_int_equal(irq_alloc(timer_tick, NULL, 0), 100);
}

// Half an hour is as good as four seconds: the alarm is armed again when it ends.
static void timer(void **state)
{
	(void)state;
	start(HAS_X2APIC, FIRMWARE_BASE);
	apic_enable();
	apic_timer_start();
	assert_int_equal(x2apic[REG_TIMER_INITIAL], ~0u);
	x2apic[REG_TIMER_CURRENT] = ~0u - 100000; // 100 MHz
	apic_timer_calibrate(~0u - apic_timer_left(), 1000000);
	assert_int_equal(x2apic[REG_TIMER_INITIAL], 0);
	apic_timer_arm(1000000);
	assert_in_range(x2apic[REG_TIMER_INITIAL], 99999, 100001);
	apic_timer_arm(1);
	assert_int_equal(x2apic[REG_TIMER_INITIAL], 1); // 0 would stop it
	apic_timer_arm(1800ull * 1000000000);
	assert_in_range(x2apic[REG_TIMER_INITIAL], 50000000, 60000000);
}

// ---- I/O APICs ----------------------------------------------------------------------------------------------------

static uint32_t window[0x10 + 2 * 24], selected;
static struct fake_mmio ioapic_registers = { .bytes = 0x1000, .phys = 0xFEC00000 };

static uint64_t read_ioapic(struct fake_mmio *dev, uint64_t offset, uint32_t width)
{
	(void)dev, (void)width;
	assert_int_equal(offset, IOAPIC_WINDOW);
	return selected == IOAPIC_VERSION ? 23 << 16 | 0x20 : window[selected];
}

static void write_ioapic(struct fake_mmio *dev, uint64_t offset, uint32_t width, uint64_t value)
{
	(void)dev, (void)width;
	if (offset == 0)
		selected = value;
	else
		window[selected] = value;
}

static void add(uint32_t *at, const void *entry, uint32_t bytes)
{
	memcpy(madt + *at, entry, bytes);
	*at += bytes;
	((struct acpi_header *)madt)->length = *at;
}

static void lines(void **state)
{
	static const uint8_t ioapic[12] = { MADT_IOAPIC, 12, 0, 0, 0, 0, 0xC0, 0xFE };
	static const uint8_t timer_is_2[10] = { MADT_OVERRIDE, 10, 0, 0, 2 };
	static const uint8_t acpi_is_level[10] = { MADT_OVERRIDE, 10, 0, 9, 9, 0, 0, 0, 0xF };
	static uint8_t page[0x1000];
	uint32_t at = 44;
	(void)state;
	start(HAS_X2APIC, FIRMWARE_BASE);
	ioapic_registers.base = page;
	ioapic_registers.read = read_ioapic;
	ioapic_registers.write = write_ioapic;
	fake_mmio_add(&ioapic_registers);
	assert_int_equal(irq_route(4, IRQ_ISA, 40), E_NODEV); // no I/O APIC
	add(&at, ioapic, sizeof(ioapic));
	add(&at, timer_is_2, sizeof(timer_is_2));
	add(&at, acpi_is_level, sizeof(acpi_is_level));
	cpus[1].apic_id = 0x5A;
	int vector = irq_alloc(timer_tick, NULL, 1);
	assert_int_equal(irq_route(0, IRQ_ISA, vector), E_OK); // by its override: pin 2, edge, high
	assert_int_equal(window[IOAPIC_ENTRY + 4], vector);
	assert_int_equal(window[IOAPIC_ENTRY + 5], 0x5Au << 24);
	assert_int_equal(irq_route(9, IRQ_ISA, vector), E_OK); // level, low
	assert_int_equal(window[IOAPIC_ENTRY + 18], (uint32_t)vector | 0xA000);
	assert_int_equal(irq_route(24, IRQ_ISA, vector), E_NODEV); // no such pin
	irq_mask(0, IRQ_ISA);
	assert_int_equal(window[IOAPIC_ENTRY + 4], ENTRY_MASKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(x2apic_where_the_processor_has_it),
		FAKE_TEST(xapic_elsewhere),
		FAKE_TEST(ids_beyond_255),
		FAKE_TEST(ipi_is_one_write),
		FAKE_TEST(ipi_in_halves),
		FAKE_TEST(xapic_reaches_254),
		FAKE_TEST(devices_reach_254),
		FAKE_TEST(vectors_run_out),
		FAKE_TEST(timer),
		FAKE_TEST(lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
