// Interrupts: descriptor table, vectors, and what every interrupt goes through.
#include "core.h"
#include <mmio.h>

#define FIRST 32
#define LAST 239
#define STUB_BYTES 8
#define PUSHES_ERROR 0x60227D00u	// exceptions with an error code (Intel SDM vol. 3, 6.15): 8, 10-14, 17, 21, 29, 30

struct gate {	// Intel SDM vol. 3, 6.14.1
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "IDT gate");

struct vector {
	irq_handler handler;
	void *arg;
};

static struct vector vectors[256];
static uint8_t owner[256];
static uint8_t *stubs;
struct gate *irq_table;

int irq_alloc(irq_handler handler, void *arg, uint32_t cpu)
{
	for (int vector = FIRST; vector <= LAST; vector++)
		if (!vectors[vector].handler) {
			owner[vector] = cpu;
			vectors[vector].arg = arg;
			barrier();
			vectors[vector].handler = handler;
			return vector;
		}
	return E_NOMEM;
}

void irq_free(int vector)
{
	vectors[vector].handler = NULL;
}

uint32_t irq_cpu(int vector)
{
	return owner[vector];
}

struct irq_message irq_message(int vector)
{
	return (struct irq_message){ 0xFEE00000u | cpus[owner[vector]].apic_id << 12, vector };
}

uint32_t trap_vector(const struct trap *trap)
{
	return (trap->stub - (uint64_t)stubs) / STUB_BYTES;
}

void irq_dispatch(struct trap *trap);
void irq_dispatch(struct trap *trap)
{
	uint32_t number = trap_vector(trap);
	if (number == 2) {
		smp_nmi(trap);
		return;
	}
	if (number < FIRST)
		panic_trap(trap);
	if (vectors[number].handler)
		vectors[number].handler(vectors[number].arg);
	if (number != VECTOR_SPURIOUS)
		apic_eoi();
}

// Another core has work for this one: it is awake now.
static void wake(void *arg)
{
	(void)arg;
	key_check();
}

// A stub is 8 bytes: push of a 0 where the CPU pushes no error code (or a no-op of the same length), call irq_common.
void irq_init(void)
{
	stubs = must_alloc(PAGE, PAGE);
	irq_table = must_alloc(PAGE, PAGE);
	for (uint32_t i = 0; i < 256; i++) {
		uint8_t *stub = stubs + i * STUB_BYTES;
		uint64_t address = (uint64_t)stub;
		*(uint16_t *)stub = i < 32 && PUSHES_ERROR >> i & 1 ? 0x9066 : 0x006A;
		stub[2] = 0xE8;
		*(uint32_t *)(stub + 3) = (uint64_t)irq_common - (address + 7);
		irq_table[i] = (struct gate){
			.offset_low = address, .offset_middle = address >> 16, .offset_high = address >> 32,
			.selector = 8, .ist = i < 32 ? 2 : 1, .type = 0x8E,
		};
	}
	page_map((uint64_t)stubs, (uint64_t)stubs, PAGE, MAP_EXEC);
	vectors[VECTOR_WAKE].handler = wake;
	vectors[VECTOR_TIMER].handler = timer_tick;
}
