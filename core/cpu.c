// Each core's own state: control registers, descriptor tables, stacks.
#include "core.h"

#define MSR_PAT 0x277
#define MSR_EFER 0xC0000080
#define EFER_NXE 0x800
#define PAT 0x0007040600070106ul	// 0 WB, 1 WC, 2 UC-, 3 UC, then the power-up values
#define CR4 0x620ul			// PAE, OSFXSR, OSXMMEXCPT
#define CR4_OSXSAVE 0x40000ul
#define FIRST_TSS 0x18
#define IRQ_STACK 0x2000ul		// interrupts, and a program's callbacks
#define FAULT_STACK 0x1000ul		// exceptions
#define XCR0 0xE7u			// x87, SSE, AVX, AVX-512: what programs may use

struct cpu *cpus;
uint32_t smp_cores = 1, smp_busy = 1;
uint32_t cpu_xsave;
uint64_t smp_stacks;			// top of the first core's
uint32_t smp_stacks_count, smp_stack_stride;
static uint64_t *gdt;

struct cpu *smp_cpu(void)
{
	return &cpus[smp_self()];
}

uint32_t smp_count(void)
{
	return smp_cores;
}

// The task register names the core: reading it touches no device.
uint32_t smp_self(void)
{
	uint32_t selector;
	__asm__("str %0" : "=r"(selector));
	return (selector - FIRST_TSS) >> 4;
}

// Before a page table that uses them: no-execute pages, and the page attributes.
void cpu_paging(uint64_t root)
{
	msr_write(MSR_PAT, PAT);
	msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_NXE);
	__asm__ volatile("mov %0, %%cr4; mov %1, %%cr3" :: "r"(CR4), "r"(root) : "memory");
	__asm__ volatile("mov %%cr0, %%rax; and $0x9FFFFFF3, %%eax; or $0x10022, %%eax; mov %%rax, %%cr0"	// WP, NE, MP
			 ::: "rax", "memory");
}

// Intel SDM vol. 1, 13.2 and 13.5.
static void vector_unit(void)
{
	cpu_xsave = cpu_id(1, 0).ecx >> 26 & 1;
	if (cpu_xsave) {
		__asm__ volatile("mov %0, %%cr4" :: "r"(CR4 | CR4_OSXSAVE));
		__asm__ volatile("xsetbv" :: "a"(cpu_id(0xD, 0).eax & XCR0), "d"(0), "c"(0));
	}
}

static void descriptor_tables(struct cpu *cpu)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} gdtr = { 0xFFFF, (uint64_t)gdt }, idtr = { PAGE - 1, (uint64_t)irq_table };
	uint64_t tss = (uint64_t)&cpu->tss, *entry = gdt + 3 + 2 * cpu->index;
	entry[0] = (sizeof(cpu->tss) - 1) | (tss & 0xFFFFFF) << 16 | 0x89ul << 40 | (tss >> 24 & 0xFF) << 56;
	entry[1] = tss >> 32;
	cpu->tss.io_map = sizeof(cpu->tss);
	__asm__ volatile("lgdt %0; lidt %1; pushq $8; pushq $1f; lretq; 1: mov %2, %%ds; mov %2, %%es; mov %2, %%ss;"
			 "mov %3, %%fs; mov %3, %%gs; ltr %w4"
			 :: "m"(gdtr), "m"(idtr), "r"(0x10), "r"(0), "r"(FIRST_TSS + 16 * cpu->index) : "memory");
}

// First thing on each core.  `stack` is the top of its stacks.
void cpu_setup(struct cpu *cpu, uint64_t stack)
{
	cpu->stack = stack - 256;	// the idle loop's own frame
	cpu->tss.ist[0] = stack - CORE_STACK - PAGE;
	cpu->tss.ist[1] = cpu->tss.ist[0] - IRQ_STACK - PAGE;
	cpu_paging(page_root);
	vector_unit();
	descriptor_tables(cpu);
	apic_enable();
	cpu->apic_id = apic_self();
}

// Memory for `count` cores: each core's stacks have a guard page below each.
void cpu_prepare(uint32_t count)
{
	const uint64_t stride = CORE_STACK + IRQ_STACK + FAULT_STACK + 3 * PAGE;
	uint32_t xsave = cpu_id(1, 0).ecx >> 26 & 1 ? cpu_id(0xD, 0).ecx : 512;
	uint64_t base = (uint64_t)must_alloc(count * stride, PAGE);
	gdt = must_alloc(FIRST_TSS + 16 * count, 64);
	cpus = must_alloc(count * sizeof(*cpus), 64);
	gdt[1] = 0x00AF9B000000FFFF;
	gdt[2] = 0x00CF93000000FFFF;
	smp_stack_stride = stride;
	smp_stacks_count = 1;
	cpus[0].state = CPU_BUSY;
	smp_stacks = base + stride;
	for (uint32_t i = 0; i < count; i++, base += stride) {
		cpus[i].index = i;
		cpus[i].xsave = must_alloc(xsave, 64);
		page_unmap(base, PAGE);
		page_unmap(base + PAGE + FAULT_STACK, PAGE);
		page_unmap(base + 2 * PAGE + FAULT_STACK + IRQ_STACK, PAGE);
	}
}

// A program's routine, from an interrupt handler on the core that asked for it.
void program_callback(ingot_callback fn, void *arg)
{
	callback_call(fn, arg, smp_cpu()->xsave, cpu_xsave);
}
