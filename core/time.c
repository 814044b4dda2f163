// Time.  The time-stamp counter is the clock; its frequency comes from the CPU or the hypervisor where they tell it,
// else from a short window against HPET, ACPI's PM timer or the PIT.
#include "core.h"
#include <mmio.h>
#include <pio.h>

#define WINDOW_NS 100000u

static uint64_t frequency;	// Hz
static uint64_t scale;		// ns = ticks * scale >> 32

// ---- Frequency ----------------------------------------------------------------------------------------------------

// Intel SDM vol. 2, CPUID leaf 15H: crystal * numerator / denominator.
static uint64_t cpu_frequency(void)
{
	if (cpu_id(0, 0).eax < 0x15)
		return 0;
	struct cpuid id = cpu_id(0x15, 0);
	return id.eax && id.ebx && id.ecx ? (uint64_t)id.ecx * id.ebx / id.eax : 0;
}

int cpu_hypervisor(void)
{
	return cpu_id(1, 0).ecx >> 31 & 1;
}

struct kvm_clock {	// KVM's pvclock ABI, Linux Documentation/virt/kvm/x86/msr.rst
	uint32_t version, pad;
	uint64_t tsc, ns;
	uint32_t multiplier;
	int8_t shift;
	uint8_t flags, pad2[2];
};

// Leaf 0x40000010 (VMware, KVM, Hyper-V's peers): kHz.  Else KVM's clock: ticks << shift, times multiplier >> 32, are ns.
static uint64_t hypervisor_frequency(void)
{
	if (!cpu_hypervisor())
		return 0;
	struct cpuid id = cpu_id(0x40000000, 0);
	if (id.eax >= 0x40000010 && id.eax < 0x40010000) {
		uint32_t khz = cpu_id(0x40000010, 0).eax;
		if (khz)
			return khz * 1000ul;
	}
	if (id.ebx != 0x4B4D564B || !(cpu_id(0x40000001, 0).eax >> 3 & 1))	// "KVMK...", clock source 2
		return 0;
	struct kvm_clock *clock = kzalloc(sizeof(*clock));
	if (!clock)
		return 0;
	msr_write(0x4B564D01, (uint64_t)clock | 1);
	uint64_t hz = clock->multiplier ? (1000000000ul << 32) / clock->multiplier : 0;
	hz = clock->shift < 0 ? hz << -clock->shift : hz >> clock->shift;
	msr_write(0x4B564D01, 0);
	kfree(clock, sizeof(*clock));
	return hz;
}

// A counter of known frequency.
struct reference {
	uint64_t hz, mask;
	uint64_t address;	// HPET's registers; port of the PM timer; 0: the PIT
};

static uint64_t reference_read(const struct reference *ref)
{
	if (ref->address > 0xFFFF)
		return mmio_read64((void *)(ref->address + 0xF0));
	if (ref->address)
		return pio_read32(ref->address);
	pio_write8(0x43, 0x80);		// latch channel 2; it counts down
	uint64_t low = pio_read8(0x42);
	return -(low | (uint64_t)pio_read8(0x42) << 8);
}

static struct reference reference_find(void)
{
	uint64_t address = acpi_field("HPET", 44, 8);	// IA-PC HPET Specification 1.0a, 3.2.4
	if (address && mem_map_device(address, PAGE)) {
		uint64_t period = mmio_read64((void *)address) >> 32;	// femtoseconds, 2.3.4
		if (period - 1 < 100000000) {
			mmio_write64((void *)(address + 0x10), mmio_read64((void *)(address + 0x10)) | 1);
			return (struct reference){ 1000000000000000ul / period, 0xFFFFFFFF, address };
		}
	}
	uint64_t port = acpi_field("FACP", 76, 4);	// a.4.8.3.3: 3.58 MHz, 24 or 32 bits
	if (port)
		return (struct reference){ 3579545, 0xFFFFFF, port };
	pio_write8(0x61, (pio_read8(0x61) & ~2) | 1);	// gate of channel 2 on, speaker off
	pio_write8(0x43, 0xB4);				// rate generator, low and high byte
	pio_write8(0x42, 0xFF);
	pio_write8(0x42, 0xFF);
	return (struct reference){ 1193182, 0xFFFF, 0 };
}

// The window ends when the reference says so, or after ten million ticks; the reference is read seldom, since each
// read is an exit on a hypervisor.
static uint64_t measured_frequency(uint64_t *window_ns)
{
	struct reference ref = reference_find();
	uint64_t want = ref.hz * WINDOW_NS / 1000000000, passed;
	uint64_t start = reference_read(&ref), first = cpu_tsc(), now;
	do {
		for (now = cpu_tsc(); cpu_tsc() - now < 4000;)
			cpu_pause();
		passed = (reference_read(&ref) - start) & ref.mask;
		now = cpu_tsc();
	} while (passed < want && now - first < 10000000);
	if (!passed)
		return 0;
	*window_ns = passed * 1000000000 / ref.hz;
	return (now - first) * ref.hz / passed;
}

void time_init(void)
{
	const char *source = "CPU";
	uint64_t window_ns = WINDOW_NS;
	frequency = cpu_frequency();
	if (!frequency) {
		frequency = hypervisor_frequency();
		source = "hypervisor";
	}
	apic_timer_calibrate_start();
	if (frequency) {
		scale = (1000000000ul << 32) / frequency;
		time_delay_us(WINDOW_NS / 1000);
	} else {
		frequency = measured_frequency(&window_ns);
		source = "measured";
	}
	if (!frequency) {
		frequency = 1000000000;
		source = "guessed, no timer answers";
	}
	apic_timer_calibrate_end(window_ns);
	scale = (1000000000ul << 32) / frequency;
	log("time: %u MHz, %s\n", (uint32_t)(frequency / 1000000), source);
}

uint64_t time_frequency(void)
{
	return frequency;
}

// ---- Clock --------------------------------------------------------------------------------------------------------

uint64_t time_ns(void)
{
	return (unsigned __int128)(cpu_tsc() - boot_tsc) * scale >> 32;
}

uint64_t time_deadline(uint32_t us)
{
	return time_ns() + us * 1000ul;
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

static void arm(void)
{
	struct cpu *cpu = smp_cpu();
	uint64_t next = cpu->timer.fn ? cpu->timer.next : 0, now = time_ns();
	if (!cpu->index && wake_at && (!next || wake_at < next))
		next = wake_at;
	if (next)
		apic_timer_arm(next > now ? next - now : 1);
}

void timer_wake(bool on)
{
	wake_at = on ? time_ns() + WAKE_NS : 0;
	if (on)
		arm();
}

void timer_tick(void *arg)
{
	struct timer_user *timer = &smp_cpu()->timer;
	(void)arg;
	if (timer->fn && time_ns() >= timer->next) {
		timer->next = max_u64(timer->next + timer->period, time_ns());
		program_callback(timer->fn, timer->arg);
	}
	if (!smp_self() && wake_at)
		wake_at = time_ns() + WAKE_NS;
	arm();
}

int timer_set(uint64_t period_us, ingot_callback fn, void *arg)
{
	struct timer_user *timer = &smp_cpu()->timer;
	if (fn && (!period_us || period_us > 1ul << 40))
		return E_INVAL;
	uint64_t flags = irq_save();
	*timer = (struct timer_user){ fn, arg, period_us * 1000, time_ns() + period_us * 1000 };
	arm();
	irq_restore(flags);
	return E_OK;
}
