// The other cores: started together, given work, called back.  Intel SDM vol. 3, 9.4.4 (start-up by INIT and SIPI).
#include "core.h"
#include <mmio.h>

#define TRAMPOLINE 0x8000ul
#define TRAMPOLINE_BYTES 112 // at most
#define INIT_US 10u
#define START_US 200u      // between the start-up IPIs
#define ONLINE_US 200000u  // a core that has not come by then is given up
#define DROP_US 100000u    // RESET waits so long for a core to leave the kernel
#define ANSWER_US 5000000u // and so long for a core to take an interrupt; emulated ones share few real ones

extern const char trampoline[];
void system_smp_lock(void), system_smp_lock_end(void);
extern char __text_end[];

uint32_t smp_ticket = 1;
static struct cpu *smp_end = cpus + 1; // behind the last that is listed
static bool mwait, stopping;

// ---- What another core does -----------------------------------------------------------------------------------

// Done with what it had, or just come.
static void idle(struct cpu *cpu) __attribute__((noreturn));
static void idle(struct cpu *cpu)
{
	for (;;) {
		cpu->work = NULL;
		uint32_t state = __atomic_exchange_n(&cpu->state, CPU_IDLE, __ATOMIC_ACQ_REL);
		if (state == CPU_BUSY)
			__atomic_sub_fetch(&smp_busy, 1, __ATOMIC_RELAXED);
		if (state == CPU_ABSENT)
			__atomic_add_fetch(&smp_cores, 1, __ATOMIC_RELEASE);
		for (;;) {
			__asm__ volatile("cli");
			if (__atomic_load_n(&cpu->work, __ATOMIC_ACQUIRE))
				break;
			if (mwait) // an interrupt ends it too, and so does a store to work
				__asm__ volatile("monitor; sti; mwait" ::"a"(&cpu->work), "c"(0), "d"(0) : "memory");
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
	idle(cpu);
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
			log("core with APIC id %u does not answer\n", cpu->apic_id);
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

// SMP_SET: by APIC id; E_INVAL if the address is not aligned.
int smp_set(uint64_t code, uint64_t apic_id)
{
	struct cpu *cpu = find(apic_id);
	if (!cpu)
		return E_NODEV;
	return code & 15 ? E_INVAL : give(cpu, (void (*)(void *))code, NULL);
}

int smp_start(uint32_t core, void (*fn)(void *arg), void *arg)
{
	return core < smp_listed ? give(&cpus[core], fn, arg) : E_NODEV;
}

// ---- RESET and panic: non-maskable, since the program may have switched interrupts off -----------------------------

static void idle_again(void)
{
	struct cpu *cpu = smp_cpu();
	cpu->timer.next = 0;
	idle(cpu);
}

// A core in the middle of a kernel call holds locks and half a descriptor: it is asked again until it is out, which
// SMP_LOCK alone may never be.
void smp_nmi(struct trap *trap)
{
	struct cpu *cpu = smp_cpu();
	if (stopping)
		halt();
	uint32_t drop = cpu->drop;
	if (!drop)
		panic_trap(trap);
	__atomic_store_n(&cpu->drop, 0, __ATOMIC_RELEASE); // answered: the next one may be sent
	if ((cpu->state != CPU_BUSY || drop == 1) && trap->rip < (uintptr_t)__text_end && // no program lies below
		(trap->rip < (uintptr_t)system_smp_lock || trap->rip >= (uintptr_t)system_smp_lock_end))
		return;
	apic_eoi(); // it may have been in a callback
	trap->rip = (uint64_t)idle_again;
	trap->rsp = cpu->stack + PAGE - 8;
	trap->rflags = 2;
}

void smp_reset(void)
{
	for (struct cpu *cpu = cpus + 1; cpu < smp_end; cpu++) {
		uint64_t deadline = time_deadline(DROP_US);
		while (cpu->state == CPU_BUSY && cpu != smp_cpu()) {
			uint64_t answer = time_deadline(ANSWER_US);
			cpu->drop = time_passed(deadline) + 1;
			apic_ipi(cpu->apic_id, IPI_NMI);
			// One at a time: an NMI that came late would find no reason for it, and panic.
			while (__atomic_load_n(&cpu->drop, __ATOMIC_ACQUIRE) && !time_passed(answer))
				;
		}
	}
}

void smp_stop(void)
{
	stopping = true;
	send_all(IPI_NMI, true);
}
