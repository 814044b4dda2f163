// core/smp.c: an idle core on a processor without hypervisor, where QEMU's MWAIT is a pause; and RESET of a core that
// answers nothing.  Instructions that a host program may not execute end up in a signal handler, which stands in for
// the processor and, between any two of them, for another core.
#define _GNU_SOURCE // names of registers
#include <core/smp.c>
#include <fake.h>
#include <signal.h>
#include <ucontext.h>

struct cpu cpus[CPU_MAX];
uint32_t smp_cores = 1, smp_busy = 1, smp_listed = 1, smp_stacks, cpu_xsave;
uint64_t page_root[1];
const char trampoline[TRAMPOLINE_BYTES];
static struct cpu *me = cpus;

void system_smp_wait(void)
{
}

void lock_wait(struct lock *lock)
{
	lock_take(lock);
}

int timer_set(uint64_t period_us, ingot_callback fn, void *arg)
{
	(void)period_us, (void)fn, (void)arg;
	return E_OK;
}

void cpu_paging(const uint64_t *root)
{
	(void)root;
}

void cpu_setup(struct cpu *cpu, uint32_t stack)
{
	(void)cpu, (void)stack;
}

struct cpu *smp_cpu(void)
{
	return me;
}

const void *madt_entry(uint8_t type, uint32_t index)
{
	(void)type, (void)index;
	return NULL;
}

bool page_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t flags)
{
	(void)virt, (void)phys, (void)bytes, (void)flags;
	return true;
}

bool apic_reaches(uint32_t apic_id)
{
	return apic_id <= APIC_ID_MOST;
}

void apic_enable(void)
{
}

uint32_t apic_self(void)
{
	return 0;
}

void apic_eoi(void)
{
}

void panic_trap(const struct trap *trap)
{
	(void)trap;
	abort();
}

void halt(void)
{
	abort();
}

static uint32_t interrupts; // sent
void apic_ipi(uint32_t apic_id, uint32_t command)
{
	(void)apic_id, (void)command;
	interrupts++;
}

// ---- The processor --------------------------------------------------------------------------------------------------

static sigjmp_buf out;
static uint32_t steps, given_at; // privileged instructions so far; when the other core gives work
static uint64_t monitored;       // what it has armed, 0 if a store there has ended that
static bool slept_for_good;
static uint64_t hint;
static bool is_off; // interrupts

static void work(void *arg)
{
	(void)arg;
}

void run_on_stack(void (*fn)(void *arg), void *arg, const void *second, void *stack)
{
	(void)arg, (void)second, (void)stack;
	assert_true(fn == work);
	siglongjmp(out, 1);
}

static void step(int signal, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	const uint8_t *code = (const uint8_t *)regs[REG_RIP];
	(void)signal, (void)info;
	if (steps++ == given_at && give(&cpus[1], work, NULL) == E_OK && monitored == (uintptr_t)&cpus[1].work)
		monitored = 0;
	if (*code == 0xFA || *code == 0xFB) { // CLI, STI
		is_off = *code == 0xFA;
		regs[REG_RIP]++;
	} else if (code[0] == 0x0F && code[1] == 0x01 && code[2] == 0xC8) { // MONITOR
		monitored = regs[REG_RAX];
		regs[REG_RIP] += 3;
	} else if (code[0] == 0x0F && code[1] == 0x01 && code[2] == 0xC9) { // MWAIT: sleeps until there is a store
		hint = regs[REG_RAX];
		if (monitored && cpus[1].work) {
			slept_for_good = true;
			siglongjmp(out, 1);
		}
		regs[REG_RIP] += 3;
	} else {
		abort();
	}
}

// Whenever the work comes, it is done.
static void work_wakes_an_idle_core(void **state)
{
	const struct sigaction action = { .sa_sigaction = step, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct sigaction segv, ill;
	(void)state;
	mwait = true;
	smp_listed = 2;
	smp_end = cpus + 2;
	me = &cpus[1];
	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGILL, &action, &ill);
	for (given_at = 0; given_at < 12 && !slept_for_good; given_at++) {
		steps = 0;
		monitored = 0;
		interrupts = 0;
		cpus[1].state = CPU_ABSENT;
		cpus[1].work = NULL;
		if (!sigsetjmp(out, 1))
			smp_idle();
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGILL, &ill, NULL);
	assert_false(slept_for_good);
	assert_int_equal(hint, 0); // C1 (SDM vol. 2, MWAIT): from a deeper one waking takes long, and timers may stop
	assert_int_equal(interrupts, 0);
}

// RESET doesn't wait for ever.
static void a_lost_core(void **state)
{
	(void)state;
	smp_listed = 2;
	smp_end = cpus + 2;
	me = cpus;
	cpus[1].state = CPU_BUSY;
	interrupts = 0;
	smp_reset();
	assert_int_equal(interrupts, 1);
	assert_true(fake_now_ns < 60000000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(work_wakes_an_idle_core),
		FAKE_TEST(a_lost_core),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
