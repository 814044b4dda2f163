// PCI for programs that drive a device by themselves: C and C++.
//
// A device is named by a number: segment in bits 31:16, bus 15:8, device and function 7:0.  A driver in a program goes
//	device = ingot_pci_find(0x1234, 0x11E8, 0)	or ingot_pci_address("0000:00:04.0")
//	ingot->device_claim(device, 0)			no driver of the kernel touches it
//	registers = ingot_pci_map(device, 0, NULL)	BAR 0
//	ingot_pci_enable(device)			it answers, and may read and write memory
//	ingot->device_irq(device, 0, function, arg)
//	...
//	ingot->device_release(device)
// A device knows memory by its physical addresses: ingot->phys().  Memory that it writes is coherent; reads and writes
// of registers go through volatile pointers; ingot_order() stands between these and the memory that they are about.
//
// All but device_claim, device_release and device_irq work on every kernel with PCI.  "s." = section of the PCI Local
// Bus Specification 3.0.
#pragma once
#include <baremetal.h>
#include <ingot.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_PCI_NONE 0xFFFFFFFFu // no device

#define INGOT_PCI_COMMAND 0x04 // s.6.2.2
#define INGOT_PCI_COMMAND_IO 1
#define INGOT_PCI_COMMAND_MEMORY 2
#define INGOT_PCI_COMMAND_MASTER 4
#define INGOT_PCI_STATUS 0x06
#define INGOT_PCI_STATUS_CAPABILITIES 0x10
#define INGOT_PCI_HEADER 0x0E
#define INGOT_PCI_BAR 0x10
#define INGOT_PCI_CAPABILITIES 0x34

// ---- Configuration space -------------------------------------------------------------------------------------

// The dword at `offset` (a multiple of 4, below 256, or 4096 with PCIe); all ones where there is nothing.
static inline uint32_t ingot_pci_read32(uint32_t device, uint32_t offset)
{
	return (uint32_t)b_system(B_BUS_READ, 0, (uint64_t)device << 16 | offset / 4);
}

static inline uint16_t ingot_pci_read16(uint32_t device, uint32_t offset)
{
	return (uint16_t)(ingot_pci_read32(device, offset) >> (offset & 2) * 8);
}

static inline uint8_t ingot_pci_read8(uint32_t device, uint32_t offset)
{
	return (uint8_t)(ingot_pci_read32(device, offset) >> (offset & 3) * 8);
}

// The dword at `offset`, as ingot_pci_read32.
static inline void ingot_pci_write32(uint32_t device, uint32_t offset, uint32_t value)
{
	b_system(B_BUS_WRITE, value, (uint64_t)device << 16 | offset / 4);
}

// Writes its dword; beside the command register that leaves the status bits, which writing ones would clear (s.6.2.3).
static inline void ingot_pci_write16(uint32_t device, uint32_t offset, uint16_t value)
{
	uint32_t shift = (offset & 2) * 8, dword = ingot_pci_read32(device, offset);
	if (offset == INGOT_PCI_COMMAND)
		dword = 0;
	ingot_pci_write32(device, offset, (dword & ~(0xFFFFu << shift)) | (uint32_t)value << shift);
}

// ---- Which device --------------------------------------------------------------------------------------------

// The number of struct ingot_device_info's address, "0000:00:04.0"; INGOT_PCI_NONE if it is none of PCI.
static inline uint32_t ingot_pci_address(const char *text)
{
	static const char form[] = "xxxx:xx:xx.x";
	uint64_t number = 0;
	for (uint32_t i = 0; form[i]; i++) {
		char c = text[i];
		if (form[i] != 'x') {
			if (c != form[i])
				return INGOT_PCI_NONE;
			continue;
		}
		if (c >= '0' && c <= '9')
			c = (char)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			c = (char)((c | 0x20) - 'a' + 10);
		else
			return INGOT_PCI_NONE;
		number = number << 4 | (uint64_t)c;
	}
	if (text[sizeof(form) - 1] || (number & 0xFF0) > 0x1F0 || (number & 0xF) > 7)
		return INGOT_PCI_NONE;
	return (uint32_t)(number >> 4 & ~0xFFull) | (uint32_t)(number >> 1 & 0xF8) | (uint32_t)(number & 7);
}

// The device with these ids that is number `nth` in the order of discovery, from 0; INGOT_PCI_NONE past the last.
static inline uint32_t ingot_pci_find(uint16_t vendor, uint16_t device, uint32_t nth)
{
	struct ingot_device_info info;
	for (uint32_t i = 0;; i++) {
		info.size = sizeof(info);
		if (ingot->device_info(i, &info) < 0)
			return INGOT_PCI_NONE;
		uint32_t address = ingot_pci_address(info.address);
		if (address != INGOT_PCI_NONE && info.vendor == vendor && info.device == device && !nth--)
			return address;
	}
}

// Offset of the first capability `id` behind the one at `from` (0: from the start), or 0 (s.6.7).
static inline uint32_t ingot_pci_capability(uint32_t device, uint8_t id, uint32_t from)
{
	if (!(ingot_pci_read16(device, INGOT_PCI_STATUS) & INGOT_PCI_STATUS_CAPABILITIES))
		return 0;
	uint32_t at = from ? from + 1 : INGOT_PCI_CAPABILITIES;
	for (uint32_t steps = 48; steps--;) { // as many fit; the list of a broken device may be a circle
		at = ingot_pci_read8(device, at) & 0xFCu;
		if (at < 0x40)
			break;
		if (ingot_pci_read8(device, at) == id)
			return at;
		at++;
	}
	return 0;
}

// ---- Memory and ports of a device ----------------------------------------------------------------------------

struct ingot_pci_bar {
	uint64_t address; // physical, or the first port
	uint64_t bytes;
	int is_io; // ports
};

// Base address register `n`, 0 to 5; a 64-bit one takes the next as well.  The device must be claimed: it doesn't
// answer for a moment.  INGOT_ENODEV if there is none, or no address was given to it.
static inline int ingot_pci_read_bar(uint32_t device, uint32_t n, struct ingot_pci_bar *bar)
{
	uint32_t at = INGOT_PCI_BAR + 4 * n, high = 0, mask_high = 0xFFFFFFFF;
	if (n > 5 || ingot_pci_read8(device, INGOT_PCI_HEADER) & 0x7F)
		return INGOT_ENODEV;
	uint16_t command = ingot_pci_read16(device, INGOT_PCI_COMMAND);
	uint32_t low = ingot_pci_read32(device, at);
	int wide = (low & 7) == 4 && n < 5;
	ingot_pci_write16(device, INGOT_PCI_COMMAND,
		(uint16_t)(command & ~(INGOT_PCI_COMMAND_IO | INGOT_PCI_COMMAND_MEMORY)));
	ingot_pci_write32(device, at, 0xFFFFFFFF); // s.6.2.5.1: it answers with its size
	uint32_t mask = ingot_pci_read32(device, at);
	ingot_pci_write32(device, at, low);
	if (wide) {
		high = ingot_pci_read32(device, at + 4);
		ingot_pci_write32(device, at + 4, 0xFFFFFFFF);
		mask_high = ingot_pci_read32(device, at + 4);
		ingot_pci_write32(device, at + 4, high);
	}
	ingot_pci_write16(device, INGOT_PCI_COMMAND, command);
	uint64_t size = (uint64_t)mask_high << 32 | (mask & ~(low & 1 ? 3u : 15u));
	bar->is_io = low & 1;
	bar->address = (uint64_t)high << 32 | (low & ~(low & 1 ? 3u : 15u));
	bar->bytes = size & -size;
	return bar->address && mask ? INGOT_OK : INGOT_ENODEV;
}

// The registers behind memory BAR `n`, and how many bytes there are (NULL: not asked); uncached.  NULL if there are
// none.  The device must be claimed.
static inline volatile void *ingot_pci_map(uint32_t device, uint32_t n, uint64_t *bytes)
{
	struct ingot_pci_bar bar;
	size_t run;
	if (ingot_pci_read_bar(device, n, &bar) < 0 || bar.is_io)
		return NULL;
	volatile void *registers = (volatile void *)(uintptr_t)bar.address;
	ingot->phys((const void *)(uintptr_t)bar.address, 1, &run); // the kernel has mapped all that it could
	if (bytes)
		*bytes = bar.bytes;
	return run ? registers : NULL;
}

// The device answers at its BARs, and may read and write memory.
static inline void ingot_pci_enable(uint32_t device)
{
	ingot_pci_write16(device, INGOT_PCI_COMMAND,
		(uint16_t)(ingot_pci_read16(device, INGOT_PCI_COMMAND) | INGOT_PCI_COMMAND_IO | INGOT_PCI_COMMAND_MEMORY |
			INGOT_PCI_COMMAND_MASTER));
}

// I/O ports, for devices whose BARs are none of memory.
static inline uint32_t ingot_port_read32(uint16_t port)
{
	uint32_t value;
	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint16_t ingot_port_read16(uint16_t port)
{
	uint16_t value;
	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint8_t ingot_port_read8(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

// Done when it returns: the processor waits for it.
static inline void ingot_port_write32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void ingot_port_write16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void ingot_port_write8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

#ifdef __cplusplus
}
#endif
