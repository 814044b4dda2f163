// core/time.c: where the time-stamp counter's frequency comes from, on machines that no test here has: processors and
// hypervisors that tell it, KVM's clock, and each of the counters that it is measured against.
#include <core/time.c>
#include <fake.h>

uint64_t boot_tsc;
struct acpi_fadt fadt;
static struct cpu cpu;
static struct cpuid leaves[4]; // 0, 0x15, 0x40000000, 0x40000001
static uint32_t hypervisor_khz, timer_ns;
static bool hypervisor;
static struct kvm_clock clock_page;
static uint64_t clock_msr;
static uint64_t hpet_address;
static uint32_t hpet[64];

struct cpu *smp_cpu(void)
{
	return &cpu;
}

static uint32_t apic_mhz, apic_ticks; // as fast; what has been counted
static uint64_t apic_from;

void apic_timer_start(void)
{
	apic_from = fake_now_ns;
}

uint32_t apic_timer_left(void)
{
	return ~0u - (fake_now_ns - apic_from) * apic_mhz / 1000;
}

void apic_timer_calibrate(uint32_t ticks, uint64_t ns)
{
	apic_ticks = ticks;
	timer_ns = ns;
}

static uint64_t armed_ns;

void apic_timer_arm(uint64_t ns)
{
	armed_ns = ns;
}

void program_callback(ingot_callback fn, void *arg)
{
	fn(arg);
}

void *must_alloc(size_t bytes, size_t align)
{
	return mem_alloc(bytes, align);
}

uint64_t acpi_field(const char *signature, uint32_t offset, uint32_t bytes)
{
	(void)signature;
	(void)bytes;
	return offset == 44 ? hpet_address : 0;
}

static struct cpuid id_of(uint32_t leaf, uint32_t subleaf)
{
	const struct cpuid none = { 0, 0, 0, 0 }, features = { 0, 0, hypervisor ? 1u << 31 : 0, 0 };
	const struct cpuid frequency = { hypervisor_khz, 0, 0, 0 };
	(void)subleaf;
	return leaf == 0       ? leaves[0] :
		leaf == 1          ? features :
		leaf == 0x15       ? leaves[1] :
		leaf == 0x40000000 ? leaves[2] :
		leaf == 0x40000001 ? leaves[3] :
		leaf == 0x40000010 ? frequency :
							 none;
}

// KVM fills the structure when the guest names it.
static void clock_write(uint32_t msr, uint64_t value)
{
	if (msr == 0x4B564D01 && value & 1)
		memcpy((void *)(value & ~1ul), &clock_page, sizeof(clock_page));
	clock_msr = value;
}

// Two attempts of three, the hypervisor gives the core to somebody else for ten windows, before its answer or after it.
static bool stolen;
static void steal(uint32_t when)
{
	static uint32_t count;
	if (stolen && count++ % 6 == when)
		fake_now_ns += 10 * WINDOW_NS;
}

static uint64_t hpet_read(struct fake_mmio *dev, uint64_t offset, uint32_t width)
{
	(void)dev;
	(void)width;
	if (offset != 0xF0)
		return offset == 4 ? 10000000 : 0; // 10 ns a tick
	steal(0);
	uint32_t value = fake_now_ns / 10;
	steal(3);
	return value;
}

static uint32_t pm_read(struct fake_pio *dev, uint16_t offset, uint32_t width)
{
	(void)dev;
	(void)offset;
	(void)width;
	return (uint32_t)(fake_now_ns * 3579545 / 1000000000) & 0xFFFFFF;
}

// Channel 2 counts down; the latched value comes low byte first.
static uint16_t latched;
static bool high;
static uint32_t pit_read(struct fake_pio *dev, uint16_t offset, uint32_t width)
{
	(void)dev;
	(void)width;
	if (offset != 2)
		return 0;
	high = !high;
	return high ? latched & 0xFF : latched >> 8;
}

static void pit_write(struct fake_pio *dev, uint16_t offset, uint32_t width, uint32_t value)
{
	(void)dev;
	(void)width;
	if (offset == 3 && value == 0x80) {
		latched = 0xFFFF - fake_now_ns * 1193182 / 1000000000;
		high = false;
	}
}

static void start(void)
{
	memset(leaves, 0, sizeof(leaves));
	memset(&clock_page, 0, sizeof(clock_page));
	hypervisor = false;
	hypervisor_khz = 0;
	hpet_address = fadt.pm_timer = clock_msr = 0;
	fake_cpuid = id_of;
	fake_msr_write = clock_write;
	scale = 1ul << 32;
	boot_tsc = cpu_tsc();
	apic_mhz = 50;
}

static void processor_tells(void **state)
{
	(void)state;
	start();
	leaves[0].eax = 0x16;
	leaves[1] = (struct cpuid){ 2, 176, 24000000, 0 }; // a 24 MHz crystal times 88
	time_init();
	assert_int_equal(time_khz(), 2112000);
	assert_in_range(timer_ns, WINDOW_NS, 2 * WINDOW_NS);
}

static void crystal_unknown(void **state)
{
	(void)state;
	start();
	leaves[0].eax = 0x16;
	leaves[1] = (struct cpuid){ 2, 176, 0, 0 };
	hypervisor = true;
	leaves[2] = (struct cpuid){ 0x40000010, 0, 0, 0 };
	hypervisor_khz = 2894000;
	time_init();
	assert_int_equal(time_khz(), 2894000);
}

static void kvm_clock(void **state)
{
	static const struct {
		uint32_t multiplier;
		int8_t shift;
		uint32_t khz;
	} rows[] = { { 0x80000000, 0, 2000000 }, { 0xA0000000, -1, 3200000 }, { 0xA0000000, 1, 800000 } };
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		start();
		hypervisor = true;
		leaves[2] = (struct cpuid){ 0x40000001, 0x4B4D564B, 0x564B4D56, 0x4D };
		leaves[3].eax = 8;
		clock_page.multiplier = rows[i].multiplier;
		clock_page.shift = rows[i].shift;
		time_init();
		assert_in_range(time_khz(), rows[i].khz - 2, rows[i].khz); // the lowest bit of a multiplier is nothing
		assert_int_equal(clock_msr, 0);                            // the page is taken back from the hypervisor
	}
}

static void near_1_ghz(void)
{
	assert_in_range(time_khz(), 985000, 1015000); // fake_tsc_mhz; reading the fake clock takes time
	assert_in_range(timer_ns, WINDOW_NS, stolen ? 100 * WINDOW_NS : 2 * WINDOW_NS);
	assert_in_range(apic_ticks, timer_ns * apic_mhz / 1000 * 98 / 100, timer_ns * apic_mhz / 1000 * 102 / 100);
}

static void hpet_measures(uint32_t most)
{
	struct fake_mmio dev = { .base = hpet, .bytes = sizeof(hpet), .phys = 0xFED00000, .read = hpet_read };
	start();
	hpet_address = (uint64_t)hpet;
	dev.phys = hpet_address;
	fake_mmio_add(&dev);
	fake_tick_ns = 100;
	time_init();
	near_1_ghz();
	assert_in_range(dev.reads, 2, most); // each is an exit on a hypervisor
}

static void against_hpet(void **state)
{
	(void)state;
	hpet_measures(100);
}

static void on_a_busy_host(void **state)
{
	(void)state;
	stolen = true;
	hpet_measures(100);
	stolen = false;
}

static void against_pm_timer(void **state)
{
	struct fake_pio dev = { .base = 0x608, .count = 4, .read = pm_read };
	(void)state;
	start();
	fadt.pm_timer = 0x608;
	fake_pio_add(&dev);
	fake_tick_ns = 100;
	fake_now_ns = 0xFFFFFF / 3579545. * 1e9 - 40000; // it wraps in the middle
	time_init();
	near_1_ghz();
}

static void against_pit(void **state)
{
	struct fake_pio dev = { .base = 0x40, .count = 4, .read = pit_read, .write = pit_write };
	struct fake_pio speaker = { .base = 0x61, .count = 1 };
	(void)state;
	start();
	fake_pio_add(&dev);
	fake_pio_add(&speaker);
	fake_tick_ns = 100;
	time_init();
	near_1_ghz();
}

static uint32_t stopped_read(struct fake_pio *dev, uint16_t offset, uint32_t width)
{
	(void)dev;
	(void)offset;
	(void)width;
	return 0x1234;
}

static void no_timer(void **state)
{
	struct fake_pio dev = { .base = 0x608, .count = 4, .read = stopped_read };
	(void)state;
	start();
	fadt.pm_timer = 0x608;
	fake_pio_add(&dev);
	time_init();
	assert_true(fake_logged("no timer answers"));
	assert_int_equal(time_khz(), 1000000);
}

static char rung[16];
static struct time_alarm bells[3];

static void ring(struct time_alarm *alarm)
{
	char letter[] = { 'a' + (alarm - bells), 0 };
	assert_int_equal(alarm->at, 0);
	strcat(rung, letter);
	if (alarm == &bells[2] && strlen(rung) < 8)
		time_alarm(alarm, time_ns() + 1000000);
}

static void alarms_in_order(void **state)
{
	(void)state;
	scale = 1ul << 32;
	boot_tsc = cpu_tsc();
	uint64_t now = time_ns();
	for (uint32_t i = 0; i < 3; i++)
		bells[i].fn = ring;
	time_alarm(&bells[0], now + 50000000);
	time_alarm(&bells[1], now + 20000000);
	time_alarm(&bells[2], now + 90000000);
	assert_in_range(armed_ns, 1, 20000000);
	timer_tick(NULL); // too early
	assert_string_equal(rung, "");
	time_alarm(&bells[1], now + 60000000); // put off
	fake_now_ns += 70000000;
	timer_tick(NULL);
	assert_string_equal(rung, "ab");
	time_alarm(&bells[0], time_ns() + 1000);
	time_alarm(&bells[0], 0); // called off
	time_alarm(&bells[1], 0); // it doesn't wait
	for (uint32_t i = 0; i < 20; i++) {
		fake_now_ns += 10000000;
		timer_tick(NULL);
	}
	assert_string_equal(rung, "abcccccc");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(processor_tells),
		FAKE_TEST(crystal_unknown),
		FAKE_TEST(kvm_clock),
		FAKE_TEST(against_hpet),
		FAKE_TEST(on_a_busy_host),
		FAKE_TEST(against_pm_timer),
		FAKE_TEST(against_pit),
		FAKE_TEST(no_timer),
		FAKE_TEST(alarms_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
