// In place of a kernel: says on COM1 what a loader handed over, tries what include/boot_info.h promises, and powers
// QEMU's q35 off.  Built and run by test_boot_efi.py; a line is "name=hexadecimal" or "text".
#include <boot_info.h>

static void port_write8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void put(const char *text)
{
	for (; *text; text++)
		port_write8(0x3F8, *text);
}

static void put_number(uint64_t value)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		port_write8(0x3F8, "0123456789abcdef"[value >> shift & 15]);
}

static void line(const char *name, uint64_t value)
{
	put(name);
	put("=");
	put_number(value);
	put("\n");
}

static uint64_t sum(uint64_t base, uint64_t bytes)
{
	uint64_t total = 0;
	for (uint64_t i = 0; i < bytes; i++)
		total = (total << 1 | total >> 63) + ((const volatile uint8_t *)base)[i];
	return total;
}

static void cpu(uint64_t rsp)
{
	uint64_t cr0, cr3, cr4, flags;
	uint32_t low, high;
	uint16_t cs;
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("pushf; pop %0" : "=r"(flags));
	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xC0000080));
	line("cr0", cr0);
	line("cr3", cr3);
	line("cr4", cr4);
	line("efer", low);
	line("flags", flags);
	line("cs", cs);
	line("rsp", rsp);
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	line("tsc", (uint64_t)high << 32 | low);
}

// True if 4-level paging leads from this address to itself, writable at every level (Intel SDM vol. 3, 4.5).
static int identity(uint64_t at)
{
	uint64_t entry, shift = 48;
	__asm__ volatile("mov %%cr3, %0" : "=r"(entry));
	do {
		shift -= 9;
		entry = ((const uint64_t *)(entry & 0xFFFFFFFFFF000ull))[at >> shift & 511];
		if ((entry & 3) != 3)
			return 0;
	} while (shift > 12 && !(entry & 0x80));
	uint64_t mask = (1ull << shift) - 1;
	return (entry & 0xFFFFFFFFFF000ull & ~mask) == (at & ~mask);
}

static void check_mapped(const char *name, uint64_t base, uint64_t bytes)
{
	for (uint64_t at = base & ~0xFFFull; at < base + bytes; at += 0x1000)
		if (!identity(at)) {
			line(name, at);
			return;
		}
}

static void memory(const struct boot_info *info)
{
	check_mapped("unmapped", 0, 1ull << 32);
	check_mapped("unmapped_rsdp", info->rsdp, 36);
	check_mapped("unmapped_screen", info->framebuffer, 4ull * info->pitch * info->height);
	for (uint64_t at = 0x180000; at < KERNEL_LIMIT; at += 8) // the probe lies before
		*(volatile uint64_t *)at = at;
	for (uint64_t at = 0x180000; at < KERNEL_LIMIT; at += 8)
		if (*(volatile uint64_t *)at != at)
			line("not_ram", at);
	for (uint32_t i = 0; i < info->map_count; i++) {
		uint64_t page = info->map[i].base & ~0xFFFull;
		if (info->map[i].type == BOOT_RAM && page && page < 1ull << 32)
			*(volatile uint8_t *)page = *(volatile uint8_t *)page;
	}
}

__attribute__((used)) static void probe(const struct boot_info *info, uint64_t rsp)
{
	line("magic", info->magic);
	line("version", info->version);
	line("tsc_start", info->tsc_start);
	line("mode", info->mode);
	line("info", (uint64_t)info);
	line("rsdp", info->rsdp);
	line("rsdp_text", info->rsdp ? *(const uint64_t *)info->rsdp : 0);
	line("program", info->program);
	line("program_bytes", info->program_bytes);
	line("program_kind", info->program_kind);
	line("program_sum", sum(info->program, info->program_bytes));
	line("framebuffer", info->framebuffer);
	line("width", info->width);
	line("height", info->height);
	line("pitch", info->pitch);
	line("bits", info->bits);
	put("arguments:");
	put(info->arguments);
	put("\n");
	cpu(rsp);
	for (uint32_t i = 0; i < info->map_count; i++) {
		put("range ");
		put_number(info->map[i].base);
		put(" ");
		put_number(info->map[i].bytes);
		put(" ");
		put_number(info->map[i].type);
		put("\n");
	}
	for (uint64_t i = 0; i < (uint64_t)info->pitch * info->height; i++)
		((volatile uint32_t *)info->framebuffer)[i] = i == 0 ? 0xFF0000 : 0x0000FF; // red, then blue
	memory(info);
	put("done\n");
	__asm__ volatile("outw %0, %1" : : "a"((uint16_t)0x2000), "Nd"((uint16_t)0x604));
}

__asm__(".section .start, \"ax\"\n"
		"mov %rsp, %rsi\n"
		"jmp 1f\n"
		".org 8\n"
		".ascii \"Ingot\\0\\0\\0\"\n" // where the test harness looks for a kernel
		"1: call probe\n"
		"hlt\n"
		".text\n");
