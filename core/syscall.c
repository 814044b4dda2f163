// The register interface: b_system's functions and what the call table's routines in entry.S reach (docs/abi.md).
#include "core.h"
#include <console.h>
#include <mmio.h>

extern uint64_t call_table[];
#define OUTPUT_ENTRY 1 // of the call table

// ---- What is there before a class layer is --------------------------------------------------------------------

static KEEPS_REGISTERS uint64_t nothing(void)
{
	return 0;
}

#define NOTHING (void *)nothing
#define NET(function) (CONFIG_ON(NET) ? (void *)(function) : NOTHING)
#define STORAGE(function) (CONFIG_ON(STORAGE) ? (void *)(function) : NOTHING)
struct classic_net *classic_net[256], classic_none = { NOTHING, NOTHING, 0, NOTHING };
struct classic_calls classic = {
	.net_tx = NET(net_classic_tx),
	.net_rx = NET(net_classic_rx),
	.net_status = NET(net_classic_status),
	.net_config = NET(net_classic_config),
	.on_receive = NET(net_on_receive),
	.nvs = STORAGE(blk_classic_nvs),
	.drive_kind = STORAGE(blk_classic_kind),
	.input = CONFIG_ON(INPUT) ? (void *)input_read : NOTHING,
	.bus = NOTHING,
};

// ---- Input: the keyboard's routine runs on the core that asked for it -------------------------------------------

static struct {
	ingot_callback fn;
	void *arg;
	uint32_t core;
} on_key;

uint8_t program_input(void)
{
	uint8_t character = classic.input();
	if (!character)
		timer_wake(classic.input_polled);
	return character;
}

void key_call(void *arg)
{
	(void)arg;
	if (on_key.fn)
		program_callback(on_key.fn, on_key.arg);
}

void program_key(void)
{
	timer_wake(true);
	if (on_key.fn)
		apic_ipi(cpus[on_key.core].apic_id, IPI_FIXED | VECTOR_KEY); // to this core, too
}

int callback_key(ingot_callback fn, void *arg)
{
	on_key.fn = NULL;
	barrier();
	on_key.arg = arg;
	on_key.core = smp_self();
	barrier();
	on_key.fn = fn;
	return E_OK;
}

// ---- b_system: fn(RAX, RDX, number) -> RAX -----------------------------------------------------------------------

// Entry.S names them in its table.
uint64_t sys_memory(void) __attribute__((used));
uint64_t sys_core_get(void) __attribute__((used));
uint64_t sys_screen(uint64_t rax, uint64_t rdx, uint32_t number) __attribute__((used));
uint64_t sys_net_status(uint64_t rax, uint64_t net) __attribute__((used));
void sys_net_config(uint64_t memory, uint64_t net) __attribute__((used));
uint64_t sys_bus(uint32_t value, uint64_t address, uint32_t number) __attribute__((used));
void sys_output_set(uint64_t routine) __attribute__((used));
uint64_t sys_output_get(void) __attribute__((used));
void sys_on_timer(uint64_t routine, uint64_t period_us) __attribute__((used));
void sys_on_receive(uint64_t routine, uint64_t net) __attribute__((used));
void sys_dump_memory(uint64_t address, uint64_t bytes) __attribute__((used));
void sys_dump_rax(uint64_t value) __attribute__((used));

uint64_t sys_memory(void)
{
	return memory.program_bytes >> 20;
}

uint64_t sys_core_get(void)
{
	const struct cpu *cpu = smp_cpu();
	return ((uint64_t)cpu->work & ~15ul) | 1 | (cpu->state & CPU_BUSY);
}

uint64_t sys_screen(uint64_t rax, uint64_t rdx, uint32_t number)
{
	const uint32_t *values = &boot.width; // height, pitch and bits follow
	(void)rax;
	(void)rdx;
	// cppcheck-suppress objectIndex ; boot_info.h has them in this order
	return !boot.framebuffer || number == 0x20 ? boot.framebuffer : values[number - 0x21];
}

uint64_t sys_net_status(uint64_t rax, uint64_t net)
{
	(void)rax;
	return classic.net_status(net & 0xFF);
}

void sys_net_config(uint64_t memory, uint64_t net)
{
	classic.net_config((void *)memory, net & 0xFF);
}

uint64_t sys_bus(uint32_t value, uint64_t address, uint32_t number)
{
	return classic.bus(value, address, number);
}

void sys_output_set(uint64_t routine)
{
	call_table[OUTPUT_ENTRY] = routine;
}

uint64_t sys_output_get(void)
{
	return call_table[OUTPUT_ENTRY];
}

void sys_on_timer(uint64_t routine, uint64_t period_us)
{
	timer_set(period_us, (ingot_callback)routine, NULL);
}

void sys_on_receive(uint64_t routine, uint64_t net)
{
	classic.on_receive(net & 0xFF, (ingot_callback)routine, NULL);
}

// Through the call table: a program may have put its own routine there.
static void output(const char *text, size_t len)
{
	__asm__ volatile("call *%2"
					 : "+S"(text), "+c"(len)
					 : "m"(call_table[OUTPUT_ENTRY])
					 : "rax", "rdx", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
}

static void output_hex(uint64_t value, uint32_t digits, char end)
{
	char text[17];
	text[digits] = end;
	for (uint32_t i = digits; i--; value >>= 4)
		text[i] = (value & 15) < 10 ? '0' + (value & 15) : 'A' - 10 + (value & 15);
	output(text, digits + 1);
}

void sys_dump_memory(uint64_t address, uint64_t bytes)
{
	const uint8_t *at = (const uint8_t *)address;
	for (uint64_t i = 0; i < bytes && !smp_dropped(); i++) {
		if (!(i & 15)) {
			output("\n", i ? 1 : 0);
			output_hex(address + i, 16, ':');
		}
		output(" ", 1);
		output_hex(at[i], 2, ' ');
	}
	output("\n", 1);
}

void sys_dump_rax(uint64_t value)
{
	output_hex(value, 16, ' ');
}

void sys_delay(uint64_t us)
{
	uint64_t deadline = time_deadline(us);
	while (!time_passed(deadline) && !smp_dropped())
		;
}

// ---- The table --------------------------------------------------------------------------------------------------

void system_c(void), system_c_void(void), system_nothing(void);

// Number of each, and address in the kernel's image, in entry.S.
extern const struct function {
	uint8_t number;
	uint16_t address;
} __attribute__((packed)) system_functions[], system_functions_c[], system_functions_void[], system_functions_end[];

void (*system_table[128])(void); // entry.S jumps through this one,
uint32_t system_c_table[128];    // and system_c calls through this one

void syscall_init(void)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(classic_net); i++)
		classic_net[i] = &classic_none;
	for (uint32_t i = 0; i < ARRAY_SIZE(system_table); i++)
		system_table[i] = system_nothing;
	void (*routine)(void) = NULL;
	for (const struct function *fn = system_functions; fn < system_functions_end; fn++) {
		uint32_t address = system_c_table[fn->number] = KERNEL_PHYS + fn->address;
		if (fn == system_functions_c)
			routine = system_c;
		if (fn == system_functions_void)
			routine = system_c_void;
		system_table[fn->number] = routine ? routine : (void (*)(void))(uint64_t)address;
	}
}
