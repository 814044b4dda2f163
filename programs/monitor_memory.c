// peek, poke, hexdump.  A wrong address would end in a panic, so the page tables are asked first (Intel SDM vol. 3,
// 4.5: four levels, as the kernel has them).
#include "monitor.h"

#define PRESENT 1ul
#define WRITABLE 2ul
#define LARGE 0x80ul
#define ADDRESS 0x000FFFFFFFFFF000ul
#define LINE_BYTES 16
#define PAGE 4096ul

// The rights that a page has; 0: it isn't mapped.
static uint64_t page_rights(uint64_t address)
{
	uint64_t table, entry, rights = PRESENT | WRITABLE;
	if (((int64_t)address >> 47) + 1ul > 1) // not canonical
		return 0;
	__asm__("mov %%cr3, %0" : "=r"(table));
	for (uint32_t shift = 39; shift >= 12; shift -= 9) {
		entry = ((const uint64_t *)(table & ADDRESS))[address >> shift & 511];
		rights &= entry;
		if (!(entry & PRESENT) || (entry & LARGE && shift < 39))
			break;
		table = entry;
	}
	return rights & PRESENT ? rights : 0;
}

// 1 if all of these bytes have such rights; else says which haven't.
static int may(uint64_t address, uint64_t bytes, uint64_t rights)
{
	for (uint64_t at = address, step; bytes; at += step, bytes -= step) {
		uint64_t has = page_rights(at);
		if ((has & rights) != rights) {
			print("%lx is %s\n", at, has ? "read-only" : "not mapped");
			return 0;
		}
		step = PAGE - at % PAGE;
		if (step > bytes)
			step = bytes;
	}
	return 1;
}

// The argument behind those that there must be: 32 if it isn't there, 0 if it is none of the widths.
static uint64_t width(const struct request *request, int index)
{
	uint64_t bits = 32;
	if (request->count >= index && !number(request->words[index], &bits))
		return 0;
	return bits == 8 || bits == 16 || bits == 32 || bits == 64 ? bits : 0;
}

int command_peek(struct request *request)
{
	uint64_t address, bits = width(request, 2);
	if (!bits || !number(request->words[1], &address))
		return -1;
	if (!may(address, bits / 8, PRESENT))
		return 0;
	const volatile void *at = (const volatile void *)address;
	if (bits == 8)
		print("%02x\n", *(const volatile uint8_t *)at);
	else if (bits == 16)
		print("%04x\n", *(const volatile uint16_t *)at);
	else if (bits == 32)
		print("%08x\n", *(const volatile uint32_t *)at);
	else
		print("%016lx\n", *(const volatile uint64_t *)at);
	return 0;
}

int command_poke(struct request *request)
{
	uint64_t address, value, bits = width(request, 3);
	if (!bits || !number(request->words[1], &address) || !number(request->words[2], &value))
		return -1;
	if (bits < 64 && value >> bits) {
		print("%lx has more than %lu bits\n", value, bits);
		return 0;
	}
	if (!may(address, bits / 8, PRESENT | WRITABLE))
		return 0;
	volatile void *at = (volatile void *)address;
	if (bits == 8)
		*(volatile uint8_t *)at = (uint8_t)value;
	else if (bits == 16)
		*(volatile uint16_t *)at = (uint16_t)value;
	else if (bits == 32)
		*(volatile uint32_t *)at = (uint32_t)value;
	else
		*(volatile uint64_t *)at = value;
	return 0;
}

static void dump_line(uint64_t address, uint32_t count)
{
	uint8_t bytes[LINE_BYTES]; // each is read once: it may be a device's
	print("%016lx ", address);
	for (uint32_t i = 0; i < LINE_BYTES; i++) {
		if (i >= count) {
			print("   ");
			continue;
		}
		bytes[i] = ((const volatile uint8_t *)address)[i];
		print(" %02x", bytes[i]);
	}
	print("  ");
	for (uint32_t i = 0; i < count; i++)
		put(bytes[i] >= ' ' && bytes[i] < 0x7F ? (char)bytes[i] : '.');
	put('\n');
}

int command_hexdump(struct request *request)
{
	uint64_t address, bytes = 64;
	if (!number(request->words[1], &address) || (request->count == 2 && !number(request->words[2], &bytes)))
		return -1;
	while (bytes && !escape_pressed()) {
		uint32_t count = bytes < LINE_BYTES ? (uint32_t)bytes : LINE_BYTES;
		if (!may(address, count, PRESENT))
			break;
		dump_line(address, count);
		address += count;
		bytes -= count;
	}
	return 0;
}
