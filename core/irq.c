// Interrupts: descriptor table, vectors, and what every interrupt goes through.
#include "core.h"
#include <mmio.h>

#define FIRST 32
#define LAST 239
#define STUB_BYTES 8

static irq_handler handlers[256];
static void *args[256];
static uint32_t targets[256]; // APIC id of the core that a vector was given to
uint64_t irq_table[512];
static uint8_t stubs[PAGE] __attribute__((aligned(PAGE)));

int irq_alloc(irq_handler handler, void *arg, uint32_t cpu)
{
	int vector = FIRST;
	if (CONFIG_ON(CORE_X2APIC) && cpus[cpu].apic_id > APIC_ID_MOST)
		return E_NOTSUP;
	while (!__sync_bool_compare_and_swap(&handlers[vector], NULL, handler)) // cores may ask at once
		if (vector++ == LAST)
			return E_NOMEM;
	targets[vector] = cpus[cpu].apic_id; // nothing is sent to it yet
	args[vector] = arg;
	return vector;
}

void irq_free(int vector)
{
	handlers[vector] = NULL;
}

uint32_t irq_target(int vector)
{
	return targets[vector];
}

struct irq_message irq_message(int vector)
{
	return (struct irq_message){ 0xFEE00000u | targets[vector] << 12, vector };
}

uint32_t trap_vector(const struct trap *trap)
{
	return (uint32_t)(trap->stub - (uintptr_t)stubs) / STUB_BYTES;
}

void irq_dispatch(struct trap *trap);
void irq_dispatch(struct trap *trap)
{
	uint32_t vector = trap_vector(trap);
	if (vector == 2) {
		smp_nmi(trap);
		return;
	}
	if (vector < FIRST)
		panic_trap(trap);
	if (handlers[vector])
		handlers[vector](args[vector]);
	if (vector != VECTOR_SPURIOUS)
		apic_eoi();
}

// A stub is a call of irq_common, in 8 bytes.
// Gates: Intel SDM vol. 3, 6.14.1.
void irq_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint8_t *stub = stubs + i * STUB_BYTES;
		uint32_t address = (uintptr_t)stub, *gate = (uint32_t *)&irq_table[2 * i];
		*stub = 0xE8;
		*(uint32_t *)(stub + 1) = (uintptr_t)irq_common - (address + 5);
		gate[0] = 8 << 16 | (uint16_t)address;
		gate[1] = (address & 0xFFFF0000) + 0x8E01 + (i < FIRST); // interrupt gate, stack 1 or 2
	}
	page_map((uintptr_t)stubs, (uintptr_t)stubs, PAGE, MAP_READ | MAP_EXEC);
	handlers[VECTOR_KEY] = key_call;
	handlers[VECTOR_TIMER] = timer_tick;
}
