// Interrupts: one allocator of vectors.  A vector names its core.  Handlers run on the core's interrupt stack with
// interrupts off and only acknowledge and wake; the core sends the end-of-interrupt behind them.
#pragma once
#include <util.h>

typedef void (*irq_handler)(void *arg);

// Gives a vector (32 to 239) on core index `cpu`, with its handler, or E_NOMEM.  E_NOTSUP: interrupts of devices don't
// get to that core (an APIC id beyond 254).
int irq_alloc(irq_handler handler, void *arg, uint32_t cpu);
void irq_free(int vector);

// Message address and data that raise `vector` on its core (Intel SDM vol. 3, 11.11): for MSI and MSI-X.
struct irq_message {
	uint64_t address;
	uint32_t data;
};
struct irq_message irq_message(int vector);

// Routes a line through the I/O APIC to `vector` and unmasks it.  An ISA line (0 to 15) goes through the overrides
// of the MADT; for a PCI line (INTx) give the GSI and IRQ_LEVEL_LOW.  E_NODEV if no I/O APIC serves the line.
#define IRQ_ISA 0       // polarity and trigger as the MADT says for this ISA line, edge high if it says nothing
#define IRQ_LEVEL_LOW 1 // INTx
int irq_route(uint32_t line, uint32_t kind, int vector);
void irq_mask(uint32_t line, uint32_t kind);

// Interrupts off on this core; returns what irq_restore wants.
static inline uint64_t irq_save(void)
{
	uint64_t flags;
	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
	return flags;
}

// On again if they were on.
static inline void irq_restore(uint64_t flags)
{
	__asm__ volatile("pushq %0; popfq" : : "r"(flags) : "memory", "cc");
}
