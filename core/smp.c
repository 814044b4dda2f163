// The other cores: started together, given work, called back.  Intel SDM vol. 3, 9.4.4 (start-up by INIT and SIPI).
#include "core.h"
#include <mmio.h>

#define TRAMPOLINE 0x8000ul
#define TRAMPOLINE_BYTES 96 // at most
#define INIT_US 10u
#define START_US 200u      // between the start-up IPIs
#define ONLINE_US 200000u  // a core that has not come by then is not waited for
#define RESET_US 20000000u // and one that has not come back: longer than a drive's time-out and its recovery

extern const char trampoline[];
void system_smp_wait(void);

uint32_t smp_ticket = 1;
static struct cpu *smp_end = cpus + 1; // behind the last that is listed
static bool mwait, stopping;

// ---- What another core does -----------------------------------------------------------------------------------

void smp_idle(void)
{
	struct cpu *cpu = smp_cpu();
	for (;;) {
		cpu->work = NULL;
		uint32_t state = __atomic_exchange_n(&cpu->state, CPU_IDLE, __ATOMIC_ACQ_REL);
		if (state == CPU_BUSY)
			__atomic_sub_fetch(&smp_busy, 1, __ATOMIC_RELAXED);
		if (state == CPU_ABSENT)
			__atomic_add_fetch(&smp_cores, 1, __ATOMIC_RELEASE);
		for (;;) {
			__asm__ volatile("cli");
			if (mwait) // before the look: from here on a store to work ends MWAIT, and so does an interrupt
				__asm__ volatile("monitor" : : "a"(&cpu->work), "c"(0), "d"(0) : "memory");
			if (__atomic_load_n(&cpu->work, __ATOMIC_ACQUIRE))
				break;
			if (mwait)
				__asm__ volatile("sti; mwait" : : "a"(0), "c"(0) : "memory"); // to C1, like HLT
			else
				__asm__ volatile("sti; hlt" ::: "memory");
		}
		run_on_stack(cpu->work, cpu->arg, NULL, (void *)cpu->stack);
	}
}

static struct cpu *find(uint64_t apic_id)
{
	for (struct cpu *cpu = cpus; cpu < smp_end; cpu++)
		if (cpu->apic_id == apic_id)
			return cpu;
	return NULL;
}

// From the trampoline, on the stack that its ticket gave it.
void core_main(uint32_t stack) __attribute__((noreturn));
void core_main(uint32_t stack)
{
	cpu_paging(page_root);
	apic_enable();
	struct cpu *cpu = find(apic_self());
	if (!cpu)
		halt();
	cpu_setup(cpu, stack);
	smp_idle();
}

// ---- Start --------------------------------------------------------------------------------------------------------

// To the other cores that have come, or to those that have not.
static void send_all(uint32_t command, bool come)
{
	for (struct cpu *cpu = cpus; cpu < smp_end; cpu++)
		if ((cpu->state != CPU_ABSENT) == come && cpu != smp_cpu())
			apic_ipi(cpu->apic_id, command);
}

// Waits until all have come.
static void start(uint32_t command, uint32_t us)
{
	uint64_t deadline = time_deadline(us);
	send_all(command, false);
	while (__atomic_load_n(&smp_cores, __ATOMIC_ACQUIRE) < smp_listed && !time_passed(deadline))
		;
}

static void no_answer(const struct cpu *cpu)
{
	log("core with APIC id %u does not answer\n", cpu->apic_id);
}

// The enabled entries of the MADT (a.5.2.12.2, 5.2.12.12), behind the boot core.
void smp_list(void)
{
	const uint8_t *entry;
	// NOLINTNEXTLINE(bugprone-too-small-loop-variable): 0 and 9
	for (uint8_t type = MADT_LAPIC; type <= MADT_X2APIC; type += MADT_X2APIC)
		for (uint32_t i = 0; (entry = madt_entry(type, i)); i++) {
			uint32_t id = type ? *(const uint32_t *)(entry + 4) : entry[3];
			if (!(entry[type ? 8 : 4] & 1) || smp_listed == CPU_MAX || !apic_reaches(id) || find(id))
				continue;
			smp_end->index = smp_listed++;
			smp_end++->apic_id = id;
		}
}

void smp_init(void)
{
	memcpy((void *)TRAMPOLINE, trampoline, TRAMPOLINE_BYTES);
	page_map(TRAMPOLINE, TRAMPOLINE, PAGE, MAP_READ | MAP_EXEC);
	mwait = (cpu_id(1, 0).ecx & 0x80000008) == 8; // there, and no hypervisor, to which it would be an exit
	start(IPI_INIT, INIT_US);
	start(IPI_START | TRAMPOLINE >> 12, START_US);
	start(IPI_START | TRAMPOLINE >> 12, ONLINE_US);
	for (struct cpu *cpu = cpus; cpu < smp_end; cpu++)
		if (!cpu->state)
			no_answer(cpu);
	log("cores: %u of %u started\n", smp_cores, smp_listed);
}

// ---- Work ---------------------------------------------------------------------------------------------------------

int smp_wake(uint32_t core)
{
	if (core >= smp_listed)
		return E_NODEV;
	apic_ipi(cpus[core].apic_id, IPI_FIXED | VECTOR_WAKE);
	return E_OK;
}

static int give(struct cpu *cpu, void (*fn)(void *), void *arg)
{
	uint32_t expected = CPU_IDLE;
	if (!__atomic_compare_exchange_n(&cpu->state, &expected, CPU_BUSY, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return expected == CPU_ABSENT ? E_NODEV : E_BUSY;
	__atomic_add_fetch(&smp_busy, 1, __ATOMIC_RELAXED);
	cpu->arg = arg;
	__atomic_store_n(&cpu->work, fn, __ATOMIC_RELEASE);
	if (!mwait)
		apic_ipi(cpu->apic_id, IPI_FIXED | VECTOR_WAKE);
	return E_OK;
}

// SMP_SET: by APIC id; true if the core refuses.
bool smp_set(uint64_t code, uint64_t apic_id)
{
	struct cpu *cpu = find(apic_id);
	return !cpu || code & 15 || give(cpu, (void (*)(void *))code, NULL) != E_OK;
}

int smp_start(uint32_t core, void (*fn)(void *arg), void *arg)
{
	return core < smp_listed ? give(&cpus[core], fn, arg) : E_NODEV;
}

// ---- RESET and panic: non-maskable, since the program may have switched interrupts off -----------------------------

static void idle_again(void)
{
	timer_set(0, NULL, NULL);
	smp_idle();
}

// A core in the middle of a kernel call holds locks and half a descriptor: it is asked again until it is out.  Calls
// that may last look at smp_dropped(), but for the wait of SMP_LOCK and lock_wait, which holds nothing.
void smp_nmi(struct trap *trap)
{
	struct cpu *cpu = smp_cpu();
	if (stopping)
		halt();
	if (!cpu->drop)
		panic_trap(trap);
	__atomic_store_n(&cpu->drop, DROP_ANSWERED, __ATOMIC_RELEASE); // the next one may be sent
	if (trap->rip < (uintptr_t)system_smp_wait) // it ends the kernel's code, and no program lies below
		return;
	apic_eoi(); // it may have been in a callback
	trap->rip = (uint64_t)idle_again;
	trap->rsp = cpu->stack + PAGE - 8;
	trap->rflags = 2;
}

// Asks it until it is idle, and once if it is: it may hang in a callback.  One that never answers stays asked, since an
// NMI that came late would find no reason for it, and panic.
static void take_back(struct cpu *cpu)
{
	uint64_t end = time_deadline(RESET_US);
	cpu->timer.next = 0;
	do {
		cpu->drop = DROP_ASKED;
		apic_ipi(cpu->apic_id, IPI_NMI);
		while (__atomic_load_n(&cpu->drop, __ATOMIC_ACQUIRE) == DROP_ASKED)
			if (time_passed(end)) {
				no_answer(cpu);
				return;
			}
	} while (cpu->state == CPU_BUSY && !time_passed(end));
	cpu->drop = DROP_NOT;
}

void smp_reset(void)
{
	static struct lock resetting; // or two cores would wait for each other
	uint64_t flags = irq_save();  // a callback may reset, too
	lock_wait(&resetting);
	for (struct cpu *cpu = cpus; cpu < smp_end; cpu++)
		if (cpu != smp_cpu() && cpu->state != CPU_ABSENT)
			take_back(cpu);
	lock_drop(&resetting);
	irq_restore(flags);
}

void smp_stop(void)
{
	stopping = true;
	send_all(IPI_NMI, true);
}
