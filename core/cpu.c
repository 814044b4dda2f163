// Each core's own state: control registers, descriptor tables, stacks.
#include "core.h"

#define MSR_PAT 0x277
#define PAT 0x00070106   // WB, WC, UC-, UC; twice, so that bit 7 of an entry means nothing for a page of 4 KiB
#define CR0 0x80010033ul // PG, WP, NE, ET, MP, PE: caches on, vector unit on
#define CR4 0x660ul      // PAE, MCE, OSFXSR, OSXMMEXCPT
#define CR4_OSXSAVE 0x40000u
#define XCR0 0xE7u // x87, SSE, AVX, AVX-512: what programs may use, 2688 bytes of state
#define CODE 8     // selectors
#define FIRST_TSS 0x10

// From below: exceptions, interrupts and a program's callbacks, work; under each of them a page that is not there.  In
// the page on top the state of the vector unit during callbacks (cpu->stack points to it), and the idle loop's frame.
#define GUARDED (3 * PAGE)
_Static_assert(2 * GUARDED + PAGE + STACK_BYTES + PAGE == CORE_STACKS, "stacks of a core");

struct cpu cpus[CPU_MAX];
uint32_t smp_cores = 1, smp_busy = 1;
uint32_t smp_listed = 1;
uint32_t cpu_xsave;
uint32_t smp_stacks;
uint64_t gdt[2 + 2 * CPU_MAX];

// The task register names the core: reading it touches no device.
static ALWAYS_INLINE uint32_t task_offset(void)
{
	uint32_t selector;
	__asm__("str %0" : "=r"(selector));
	return selector - FIRST_TSS;
}

static ALWAYS_INLINE struct cpu *self(void)
{
	return (struct cpu *)((char *)cpus + task_offset() * (sizeof(struct cpu) / 16));
}

struct cpu *smp_cpu(void)
{
	return self();
}

// Of b_system; entry.S names it.
uint64_t sys_core_id(void) __attribute__((used)) KEEPS_REGISTERS;
uint64_t sys_core_id(void)
{
	return self()->apic_id;
}

// The caller may be idle, in a callback.
uint64_t sys_others_busy(void) __attribute__((used)) KEEPS_REGISTERS;
uint64_t sys_others_busy(void)
{
	return smp_busy > self()->state / CPU_BUSY;
}

uint32_t smp_self(void)
{
	return task_offset() / 16;
}

uint32_t smp_dropped(void)
{
	return self()->drop;
}

uint32_t smp_count(void)
{
	return smp_cores;
}

// Before a page table that uses them: no-execute pages, and the page attributes.  Then XSAVE (Intel SDM vol. 1, 13.2).
void cpu_paging(const uint64_t *root)
{
	uint32_t cr4_xsave = cpu_id(1, 0).ecx >> 8 & CR4_OSXSAVE;
	__asm__ volatile("wrmsr" : : "c"(MSR_PAT), "a"(PAT), "d"(PAT));
	__asm__ volatile("mov $0xC0000080, %%ecx; rdmsr; or $8, %%ah; wrmsr" : : : "eax", "ecx", "edx"); // EFER.NXE
	__asm__ volatile("mov %0, %%cr4; mov %1, %%cr3; mov %2, %%cr0"
					 :
					 : "r"(CR4 | cr4_xsave), "r"(root), "r"(CR0)
					 : "memory");
	cpu_xsave = cr4_xsave;
	if (cr4_xsave)
		__asm__ volatile("xsetbv" : : "a"(cpu_id(0xD, 0).eax & XCR0), "d"(0), "c"(0));
}

// First thing on each core.  `stack` is the top of its stacks.
void cpu_setup(struct cpu *cpu, uint32_t stack)
{
	static const struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t *base;
	} gdtr = { sizeof(gdt) - 1, gdt }, idtr = { PAGE - 1, irq_table };
	uint32_t selector = FIRST_TSS + 16 * cpu->index, tss = (uintptr_t)&cpu->tss;
	uint32_t *entry = (uint32_t *)((char *)gdt + selector);
	entry[0] = tss << 16 | (sizeof(cpu->tss) - 1); // Intel SDM vol. 3, 8.2.3
	entry[1] = tss >> 16 | 0x8900;                 // 64-bit TSS, available; the kernel lies below 16 MiB
	cpu->stack = stack -= PAGE;
	cpu->tss.ist[0] = stack -= STACK_BYTES + PAGE;
	cpu->tss.ist[1] = stack - GUARDED;
	__asm__ volatile("lgdt %0; lidt %1; pushq %2; pushq $1f; lretq; 1: mov %3, %%ds; mov %3, %%es; mov %3, %%ss;"
					 "mov %3, %%fs; mov %3, %%gs; ltr %w4"
					 :
					 : "m"(gdtr), "m"(idtr), "i"(CODE), "r"(0), "r"(selector)
					 : "memory");
}

// Memory for the cores that there are.
void cpu_prepare(void)
{
	uint32_t bytes = smp_listed * CORE_STACKS;
	uint32_t at = (uintptr_t)must_alloc(bytes, PAGE);
	gdt[CODE / 8] = 0x00209B0000000000; // 64-bit code, accessed: the trampoline can't write here
	smp_stacks = at + CORE_STACKS;
	for (uint32_t end = at + bytes; at < end; at += CORE_STACKS)
		for (uint32_t guard = 0; guard < 3 * GUARDED; guard += GUARDED)
			page_unmap(at + guard, PAGE);
}

// A program's routine, from an interrupt handler on the core that asked for it.
void program_callback(ingot_callback fn, void *arg)
{
	callback_call(fn, arg, (void *)smp_cpu()->stack, cpu_xsave);
}
