// The end: what happened, where, and how it came to that, on every console.
#include "core.h"
#include <pio.h>

// Vectors 0 to 21 (Intel SDM vol. 3, 6.3.1).
// clang-format off
static const char mnemonics[][3] = {
	"DE", "DB", "NM", "BP", "OF", "BR", "UD", "NM", "DF", "CS", "TS",
	"NP", "SS", "GP", "PF", "??", "MF", "AC", "MC", "XF", "VE", "CP",
};
#define UNKNOWN 15
// As they lie in struct trap, four on a line.
static const char registers[][6] = {
	"\nr15 ", " r14 ", " r13 ", " r12 ", "\nr11 ", " r10 ", " r9  ", " r8  ",
	"\nrdi ", " rsi ", " rbp ", " rbx ", "\nrdx ", " rcx ", " rax ",
};
// clang-format on

void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

// The first core to panic reports; the others stop where they are.
static void begin(void)
{
	static uint32_t once;
	__asm__ volatile("cli");
	if (__atomic_exchange_n(&once, 1, __ATOMIC_RELAXED))
		halt();
	console_unlock();
}

// QEMU's isa-debug-exit at its usual port: a test sees a non-zero exit.  Ports of a real machine are left alone.
static void end(void) __attribute__((noreturn));
static void end(void)
{
	if (cpu_hypervisor())
		pio_write8(0xF4, 0x10);
	halt();
}

static bool readable(uint64_t address)
{
	uint64_t run;
	page_lookup(address, &run);
	return run >= 8;
}

// What on the stack points behind a call instruction: E8 with four bytes, or FF /2 in one of its lengths.
static bool is_return(uint64_t address)
{
	if (!readable(address - 8))
		return false;
	const uint8_t *at = (const uint8_t *)address;
	if (at[-5] == 0xE8)
		return true;
	for (int back = 2; back < 8; back++)
		if (at[-back] == 0xFF && (at[1 - back] & 0x38) == 0x10)
			return true;
	return false;
}

static void backtrace(uint64_t stack)
{
	log("\ncalls:");
	for (uint64_t end = stack + 2048; stack < end && readable(stack); stack += 8) {
		uint64_t value = *(const uint64_t *)stack;
		if (is_return(value))
			log(" %lx", value);
	}
}

void panic(const char *why)
{
	begin();
	log("PANIC: %s\n", why);
	end();
}

void panic_trap(const struct trap *trap)
{
	uint64_t cr2;
	uint32_t vector = trap_vector(trap);
	begin();
	smp_stop();
	__asm__("mov %%cr2, %0" : "=r"(cr2));
	log("\nPANIC: exception %u #%s at %lx, core %u, error %lx, address %lx", vector,
		mnemonics[vector < ARRAY_SIZE(mnemonics) ? vector : UNKNOWN], trap->rip, smp_self(), trap->error, cr2);
	const uint64_t *value = &trap->r15;
	for (uint32_t i = 0; i < ARRAY_SIZE(registers); i++)
		log("%s%016lx", registers[i], value[i]);
	log(" rsp %016lx\nflags %lx", trap->rsp, trap->rflags);
	if (CONFIG_ON(CORE_BACKTRACE))
		backtrace(trap->rsp);
	log("\n");
	end();
}
