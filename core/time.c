// Time.  The time-stamp counter is the clock; its frequency comes from the CPU or the hypervisor where they tell it,
// else from a short window against HPET, ACPI's PM timer or the PIT.
#include "core.h"
#include <mmio.h>
#include <pio.h>

#define WINDOW_NS 100000u
#define SAMPLES 3

static uint32_t khz;
static uint64_t scale = 1ul << 32; // ns = ticks * scale >> 32

// ---- Frequency, in kHz ------------------------------------------------------------------------------------------

int cpu_hypervisor(void)
{
	return cpu_id(1, 0).ecx >> 31;
}

struct kvm_clock { // KVM's pvclock ABI, Linux Documentation/virt/kvm/x86/msr.rst
	uint32_t version, pad;
	uint64_t tsc, ns;
	uint32_t multiplier;
	int8_t shift;
	uint8_t flags, pad2[2];
};

// What the processor tells (Intel SDM vol. 2, CPUID leaf 15H: crystal * numerator / denominator), or the hypervisor:
// leaf 0x40000010 (VMware, KVM), else KVM's clock: ticks << shift, times multiplier >> 32, are nanoseconds.
static uint32_t known_khz(void)
{
	struct cpuid id = cpu_id(0, 0);
	if (id.eax >= 0x15) {
		id = cpu_id(0x15, 0);
		if (id.eax && id.ecx)
			return (uint64_t)id.ecx * id.ebx / (id.eax * 1000ul);
	}
	if (!cpu_hypervisor())
		return 0;
	id = cpu_id(0x40000000, 0);
	if (id.eax - 0x40000010 < 0xFFFF) {
		uint32_t khz = cpu_id(0x40000010, 0).eax;
		if (khz)
			return khz;
	}
	if (id.ebx != 0x4B4D564B || !(cpu_id(0x40000001, 0).eax & 8)) // "KVMK...", clock source 2
		return 0;
	static volatile struct kvm_clock clock __attribute__((aligned(64)));
	msr_write(0x4B564D01, (uintptr_t)&clock | 1);
	uint64_t khz = (1000000ul << 32) / (clock.multiplier | 1); // whatever it says
	// NOLINTNEXTLINE(bugprone-signed-char-misuse): a number
	int shift = clock.shift;
	msr_write(0x4B564D01, 0);
	return shift < 0 ? khz << -shift : khz >> shift;
}

// A counter of known frequency: HPET's registers, the PM timer's port, or 0 for the PIT.
static uint64_t reference;

static uint32_t reference_read(void)
{
	if (reference > 0xFFFF)
		return mmio_read32((void *)(reference + 0xF0));
	if (reference)
		return pio_read32(reference);
	pio_write8(0x43, 0x80); // latch channel 2; it counts down
	uint32_t low = pio_read8(0x42);
	return -(low | pio_read8(0x42) << 8);
}

uint64_t time_hpet(volatile uint32_t **hpet)
{
	uint64_t phys = acpi_field("HPET", 44, 8); // IA-PC HPET Specification 1.0a, 3.2.4
	*hpet = (volatile uint32_t *)phys;
	if (!phys || !mem_map_device(phys, PAGE))
		return 0;
	uint32_t period = mmio_read32(*hpet + 1); // femtoseconds, 2.3.4
	return period ? 1000000000000000ul / period : 0;
}

// Finds one and starts it; returns its frequency in Hz, and what of its value counts.
static uint64_t reference_start(uint32_t *mask)
{
	volatile uint32_t *hpet;
	uint64_t hz = time_hpet(&hpet);
	if (hz) {
		mmio_write32(hpet + 4, mmio_read32(hpet + 4) | 1);
		reference = (uintptr_t)hpet;
		*mask = ~0u;
		return hz;
	}
	reference = fadt.pm_timer; // a.4.8.3.3: 24 or 32 bits
	*mask = 0xFFFFFF;
	if (reference)
		return 3579545;
	pio_write8(0x61, (pio_read8(0x61) & ~2) | 1); // gate of channel 2 on, speaker off
	pio_write8(0x43, 0xB4);                       // rate generator, low and high byte
	pio_write8(0x42, 0xFF);
	pio_write8(0x42, 0xFF);
	*mask = 0xFFFF;
	return 1193182;
}

// What a counter says, and when.  A hypervisor may run somebody else between two instructions: of some attempts the
// shortest is right.
static uint64_t sample(uint32_t (*read)(void), uint32_t *value)
{
	uint64_t at = 0, least = -1;
	*value = 0;
	for (uint32_t tries = SAMPLES; tries--;) {
		uint64_t before = cpu_tsc();
		uint32_t now = read();
		uint64_t took = cpu_tsc() - before;
		if (took < least) {
			least = took;
			at = before + took / 2;
			*value = now;
		}
	}
	return at;
}

// The window ends when the reference says so, or after ten million ticks; the reference is read seldom, since each
// read is an exit on a hypervisor.
static uint32_t measured_khz(void)
{
	uint32_t mask, from, to;
	uint64_t hz = reference_start(&mask), first = sample(reference_read, &from), ns, now;
	do {
		for (now = cpu_tsc(); cpu_tsc() - now < 4000;)
			cpu_pause();
		now = sample(reference_read, &to);
		ns = ((to - from) & mask) * 1000000000ul / hz;
	} while (ns < WINDOW_NS && now - first < 10000000);
	return ns ? (now - first) * 1000000 / ns : 0;
}

static void set_khz(uint32_t value)
{
	khz = value;
	scale = (1000000ul << 32) / khz;
}

// The local APIC's timer counts meanwhile, for as long as the window.
void time_init(void)
{
	uint32_t known = known_khz(), from, to;
	apic_timer_start();
	uint64_t first = sample(apic_timer_left, &from), last;
	if (known) {
		set_khz(known);
		time_delay_us(WINDOW_NS / 1000);
	} else {
		known = measured_khz();
		if (!known)
			log("time: no timer answers, 1 GHz assumed\n");
		set_khz(known ? known : 1000000);
	}
	last = sample(apic_timer_left, &to);
	apic_timer_calibrate(from - to, (last - first) * scale >> 32);
	log("time: %u MHz\n", khz / 1000);
}

uint32_t time_khz(void)
{
	return khz;
}

// ---- Clock --------------------------------------------------------------------------------------------------------

uint64_t time_ns(void)
{
	uint64_t ns = cpu_tsc() - boot_tsc, high;
	// Bits 95:32 of a product of 128; gcc aligns the stack for an integer of so many.
	__asm__("mulq %2; shrd $32, %1, %0" : "+a"(ns), "=d"(high) : "m"(scale) : "cc");
	return ns;
}

uint64_t time_deadline(uint64_t us)
{
	return time_ns() + us * 1000;
}

int time_passed(uint64_t deadline)
{
	cpu_pause();
	return time_ns() >= deadline;
}

void time_delay_us(uint32_t us)
{
	uint64_t deadline = time_deadline(us);
	while (!time_passed(deadline))
		;
}

int mmio_wait32(const volatile void *reg, uint32_t mask, uint32_t value, uint32_t us)
{
	uint64_t deadline = time_deadline(us);
	while ((mmio_read32(reg) & mask) != value)
		if (time_passed(deadline))
			return (mmio_read32(reg) & mask) == value ? E_OK : E_TIMEOUT;
	return E_OK;
}

// ---- Timers -------------------------------------------------------------------------------------------------------

// While a character waits, the boot core is woken every 10 ms: a program that found nothing, and goes to sleep just
// as the key comes, is woken soon after.
#define WAKE_NS 10000000u
static uint64_t wake_at;
static struct time_alarm *alarms; // the first one first

// Times at which something is due: 0, which is never, comes last.
static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a - 1 < b - 1 ? a : b;
}

static bool due(uint64_t at)
{
	return at - 1 < time_ns();
}

static void arm(void)
{
	struct cpu *cpu = smp_cpu();
	uint64_t next = cpu->timer.next;
	if (!cpu->index) {
		next = sooner(next, wake_at);
		if (CONFIG_ON(CORE_ALARM) && alarms)
			next = sooner(next, alarms->at);
	}
	int64_t left = next - time_ns();
	if (next)
		apic_timer_arm(left < 0 ? 0 : left);
}

void timer_wake(bool on)
{
	wake_at = 0;
	if (on) {
		wake_at = time_ns() + WAKE_NS;
		arm();
	}
}

void time_alarm(struct time_alarm *alarm, uint64_t at)
{
	uint64_t flags = irq_save();
	struct time_alarm **link = &alarms;
	while (*link && *link != alarm)
		link = &(*link)->next;
	if (*link)
		*link = alarm->next;
	alarm->at = at;
	if (at) {
		for (link = &alarms; *link && (*link)->at <= at;)
			link = &(*link)->next;
		alarm->next = *link;
		*link = alarm;
		arm();
	}
	irq_restore(flags);
}

static void alarms_ring(void)
{
	for (struct time_alarm *alarm; (alarm = alarms) && due(alarm->at);) {
		alarms = alarm->next;
		alarm->at = 0;
		alarm->fn(alarm);
	}
}

void timer_tick(void *arg)
{
	struct timer_user *timer = &smp_cpu()->timer;
	(void)arg;
	if (due(timer->next)) {
		timer->next = max_u64(timer->next + timer->period, time_ns()); // those that were missed are gone
		program_callback(timer->fn, timer->arg);
	}
	if (!smp_self()) {
		if (wake_at)
			wake_at = time_ns() + WAKE_NS;
		if (CONFIG_ON(CORE_ALARM))
			alarms_ring();
	}
	arm();
}

int timer_set(uint64_t period_us, ingot_callback fn, void *arg)
{
	struct timer_user *timer = &smp_cpu()->timer;
	if (fn && (period_us - 1) >> 40)
		return E_INVAL;
	uint64_t flags = irq_save();
	uint64_t period = period_us * 1000;
	*timer = (struct timer_user){ fn, arg, period, fn ? time_ns() + period : 0 };
	arm();
	irq_restore(flags);
	return E_OK;
}
