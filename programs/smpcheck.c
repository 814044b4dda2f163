// Checks the cores: work on every one through both interfaces, refusals, busy flags, locks, RESET; and that interrupts
// leave registers, vector registers and the red zone alone.
#include "lib.h"
#include "registers.h"
#include <baremetal.h>
#include <cpuid.h>

INGOT_NEEDS(shutdown);

#define CORES 256
#define WAIT_US 20000000 // under emulation 64 cores share a few real ones
#define COUNTS 2000      // by each core under a lock
#define ROUNDS 200
#define STACK_USE (60 << 10)

static const char *cause;
static uint32_t cores;
static uint64_t have_avx;

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			cause = #condition; \
			return -1; \
		} \
	} while (0)

static int wait_idle(uint32_t core)
{
	for (uint64_t end = deadline(WAIT_US); ingot->core_busy(core); ingot_relax())
		if (passed(end))
			return -1;
	return 0;
}

// A core takes new work a moment before SMP_BUSY no longer counts it.
static int wait_all_idle(void)
{
	for (uint32_t core = 1; core < cores; core++)
		if (wait_idle(core) < 0)
			return -1;
	for (uint64_t end = deadline(WAIT_US); b_system(B_SMP_BUSY, 0, 0); ingot_relax())
		if (passed(end))
			return -1;
	return 0;
}

static int start_others(void (*fn)(void *arg), void *arg)
{
	for (uint32_t core = 1; core < cores; core++)
		if (ingot->core_start(core, fn, arg))
			return -1;
	return 0;
}

// ---- Who is there -----------------------------------------------------------------------------------------------

static int check_ids(void)
{
	cores = ingot->core_count();
	CHECK(cores >= 1 && cores <= CORES);
	CHECK(b_system(B_SMP_NUMCORES, 0, 0) == cores);
	CHECK(ingot->core_self() == 0);
	CHECK(b_system(B_SMP_ID, 0, 0) == ingot->core_apic_id(0));
	for (uint32_t a = 0; a < cores; a++)
		for (uint32_t b = 0; b < a; b++)
			CHECK(ingot->core_apic_id(a) != ingot->core_apic_id(b));
	return 0;
}

// ---- Native work ------------------------------------------------------------------------------------------------

static struct slot {
	uint32_t runs, self, apic_id, stack_fine;
} slots[CORES];

static void use_stack(volatile uint8_t *bytes)
{
	for (uint32_t i = 0; i < STACK_USE; i += 512)
		bytes[i] = (uint8_t)(i >> 9);
}

static void report(void *arg)
{
	struct slot *slot = arg;
	volatile uint8_t stack[STACK_USE];
	uint32_t wrong = ((uintptr_t)__builtin_frame_address(0) & 15) != 0;
	use_stack(stack);
	for (uint32_t i = 0; i < STACK_USE; i += 512)
		wrong += stack[i] != (uint8_t)(i >> 9);
	slot->self = ingot->core_self();
	slot->apic_id = (uint32_t)b_system(B_SMP_ID, 0, 0);
	slot->stack_fine = !wrong;
	slot->runs++;
}

// Every core at once, then each again and again.
static int check_native(void)
{
	for (uint32_t round = 1; round <= ROUNDS; round++) {
		for (uint32_t core = 1; core < cores; core++)
			CHECK(ingot->core_start(core, report, &slots[core]) == INGOT_OK);
		CHECK(wait_all_idle() == 0);
		for (uint32_t core = 1; core < cores; core++) {
			CHECK(slots[core].runs == round);
			CHECK(slots[core].self == core);
			CHECK(slots[core].apic_id == ingot->core_apic_id(core));
			CHECK(slots[core].stack_fine);
		}
		if (cores > 16 && round == 10)
			break;
	}
	return 0;
}

static volatile uint32_t hold;
static volatile uint64_t spinning;

static void spin(void *arg)
{
	(void)arg;
	__atomic_add_fetch(&spinning, 1, __ATOMIC_SEQ_CST);
	while (hold)
		ingot_relax();
}

__attribute__((aligned(16), force_align_arg_pointer)) static void classic_spin(void)
{
	spin(NULL);
}

static int wait_spinning(uint32_t count)
{
	for (uint64_t end = deadline(WAIT_US); spinning != count; ingot_relax())
		if (passed(end))
			return -1;
	return 0;
}

static int check_busy(void)
{
	CHECK(ingot->core_start(0, spin, NULL) < 0); // ourselves
	CHECK(ingot->core_start(cores, spin, NULL) == INGOT_ENODEV);
	CHECK(ingot->core_start(~0u, spin, NULL) == INGOT_ENODEV);
	CHECK(b_system(B_SMP_BUSY, 0, 0) == 0);
	CHECK((b_system(B_SMP_GET, 0, 0) & 1) == 1);
	if (cores == 1)
		return 0;
	hold = 1;
	spinning = 0;
	CHECK(ingot->core_start(cores - 1, spin, NULL) == INGOT_OK);
	CHECK(wait_spinning(1) == 0);
	CHECK(ingot->core_busy(cores - 1) == 1);
	CHECK(b_system(B_SMP_BUSY, 0, 0) == 1);
	CHECK(ingot->core_start(cores - 1, spin, NULL) == INGOT_EBUSY);
	CHECK(b_smp_set(classic_spin, ingot->core_apic_id(cores - 1)) == 1);
	hold = 0;
	CHECK(wait_all_idle() == 0);
	CHECK(b_system(B_SMP_BUSY, 0, 0) == 0);
	CHECK(spinning == 1);
	return 0;
}

// Work may start work.
static void start_next(void *arg)
{
	uint32_t next = ingot->core_self() + 1;
	volatile uint64_t *failed = arg;
	if (next < cores && ingot->core_start(next, start_next, arg))
		(*failed)++;
	__atomic_add_fetch(&spinning, 1, __ATOMIC_SEQ_CST);
}

static int check_chain(void)
{
	uint64_t failed = 0;
	spinning = 0;
	start_next(&failed);
	CHECK(wait_spinning(cores) == 0);
	CHECK(wait_all_idle() == 0);
	CHECK(failed == 0);
	return 0;
}

// ---- Register interface -----------------------------------------------------------------------------------------

static volatile uint32_t classic_runs[CORES];

__attribute__((aligned(16), force_align_arg_pointer)) static void classic_report(void)
{
	uint64_t id = b_system(B_SMP_ID, 0, 0);
	uint64_t state = b_system(B_SMP_GET, 0, 0);
	if (id < CORES && state == ((uint64_t)(uintptr_t)classic_report | 3))
		classic_runs[id]++;
}

// As programs do it: all ids, our own among them.
static int check_classic(void)
{
	uint32_t accepted = 0;
	void (*odd)(void) = (void (*)(void))((uintptr_t)classic_report + 1);
	for (uint32_t id = 0; id < 256; id++)
		CHECK(b_smp_set(odd, id) == 1);
	CHECK(b_system(B_SMP_BUSY, 0, 0) == 0);
	for (uint32_t id = 0; id < 256; id++) {
		uint64_t code = (uint64_t)(uintptr_t)classic_report;
		if (id % 2)
			accepted += !b_smp_set(classic_report, id);
		else
			CHECK(b_system(B_SMP_SET, code, id) == code);
	}
	CHECK(wait_all_idle() == 0);
	uint32_t runs = 0, odd_ids = 0;
	for (uint32_t id = 0; id < CORES; id++)
		runs += classic_runs[id];
	for (uint32_t core = 1; core < cores; core++) {
		CHECK(classic_runs[ingot->core_apic_id(core)] == 1);
		odd_ids += ingot->core_apic_id(core) & 1;
	}
	CHECK(runs == cores - 1);
	CHECK(accepted == odd_ids);
	return 0;
}

static int check_reset(void)
{
	hold = 1;
	spinning = 0;
	CHECK(start_others(spin, NULL) == 0);
	CHECK(wait_spinning(cores - 1) == 0);
	CHECK(b_system(B_SMP_BUSY, 0, 0) == (cores > 1));
	CHECK(b_system(B_RESET, 0x1234, 0) == 0x1234);
	CHECK(wait_all_idle() == 0); // though nobody has let them go
	CHECK(b_system(B_SMP_BUSY, 0, 0) == 0);
	hold = 0;
	spinning = 0;
	CHECK(start_others(spin, NULL) == 0);
	CHECK(wait_all_idle() == 0);
	CHECK(spinning == cores - 1);
	return 0;
}

// ---- Locks ------------------------------------------------------------------------------------------------------

static struct {
	uint16_t classic_lock;
	struct ingot_lock lock;
	struct ingot_barrier barrier;
	volatile uint64_t classic_count, count; // not atomic: that is what the locks are for
	uint64_t early;
} shared;

static void count(void *arg)
{
	(void)arg;
	ingot_barrier_wait(&shared.barrier);
	for (uint32_t i = 0; i < COUNTS; i++) {
		b_smp_lock(&shared.classic_lock);
		shared.classic_count++;
		b_smp_unlock(&shared.classic_lock);
		ingot_lock(&shared.lock);
		shared.count++;
		ingot_unlock(&shared.lock);
	}
	ingot_barrier_wait(&shared.barrier);
	if (shared.count != (uint64_t)COUNTS * cores)
		__atomic_add_fetch(&shared.early, 1, __ATOMIC_SEQ_CST);
}

static int check_locks(void)
{
	shared.barrier.cores = cores;
	shared.classic_lock = 0xABCC; // bits other than 0 aren't the lock's
	CHECK(start_others(count, NULL) == 0);
	count(NULL);
	CHECK(wait_all_idle() == 0);
	CHECK(shared.classic_count == (uint64_t)COUNTS * cores);
	CHECK(shared.count == (uint64_t)COUNTS * cores);
	CHECK(shared.early == 0);
	CHECK(shared.classic_lock == 0xABCC);
	return 0;
}

// ---- Interrupts -------------------------------------------------------------------------------------------------

static volatile uint64_t interrupts_wrong;
static uint64_t spin_count;

static void interrupted(void *arg)
{
	static void *const spin_slot[] = { (void *)registers_spin };
	struct registers in, out;
	uint64_t state = (uint64_t)(uintptr_t)&in;
	for (uint32_t i = 0; i < GENERAL; i++)
		in.general[i] = random_next(&state);
	for (uint32_t i = 0; i < 64; i++)
		in.vector[i / 4][i % 4] = random_next(&state);
	in.general[RCX] = spin_count;
	if (ingot->on_timer(*(uint64_t *)arg, registers_clobber, NULL))
		interrupts_wrong |= 1;
	registers_call(spin_slot, &in, &out, have_avx);
	if (ingot->on_timer(0, NULL, NULL))
		interrupts_wrong |= 2;
	in.general[RCX] = 0;
	for (uint32_t i = 0; i < GENERAL; i++)
		if (in.general[i] != out.general[i])
			interrupts_wrong |= i == RCX ? 4 : 8;
	for (uint32_t i = 0; i < 64; i++)
		if (i % 4 < (have_avx ? 4 : 2) && in.vector[i / 4][i % 4] != out.vector[i / 4][i % 4])
			interrupts_wrong |= 16;
}

// A timer on every core whose callback leaves no vector register alone, for about 100 ms.
static int check_interrupts(void)
{
	uint64_t period_us = 500, before = ingot->time_ns();
	static void *const spin_slot[] = { (void *)registers_spin };
	struct registers in = { .general[RCX] = 100000 }, out;
	registers_call(spin_slot, &in, &out, have_avx);
	spin_count = 100000ull * 100000000 / (ingot->time_ns() - before + 1) + 1;
	CHECK(start_others(interrupted, &period_us) == 0);
	interrupted(&period_us);
	CHECK(wait_all_idle() == 0);
	CHECK(interrupts_wrong == 0);
	CHECK(clobbered >= 10);
	uint64_t now = clobbered;
	ingot->delay_us(5000);
	CHECK(clobbered == now); // it has been switched off
	return 0;
}

static uint64_t find_avx(void)
{
	uint32_t a, b, c, d, low = 0, high;
	if (!__get_cpuid(1, &a, &b, &c, &d) || (c >> 27 & 3) != 3) // OSXSAVE, AVX
		return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (low & 6) == 6;
}

int main(void)
{
	static int (*const checks[])(void) = { check_ids, check_native, check_busy, check_chain, check_classic, check_reset,
		check_locks, check_interrupts };
	static const char *const names[] = { "ids", "native work", "busy", "chain", "register calls", "reset", "locks",
		"interrupts" };
	have_avx = find_avx();
	for (uint32_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		if (checks[i]() < 0) {
			print("smpcheck: %s\n", names[i]);
			verdict("smpcheck", cause);
			return 1;
		}
	}
	print("smpcheck: PASS cores=%u avx=%lu timer callbacks=%lu\n", cores, have_avx, clobbered);
	ingot->shutdown();
	return 0;
}
