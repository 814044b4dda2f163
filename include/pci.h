// Bus: PCI and PCI Express.  Configuration space through ECAM where the MCFG table has it, else ports 0xCF8/0xCFC.
// "s." = section of the PCI Local Bus Specification 3.0, "e." = of the PCI Express Base Specification 5.0.
#pragma once
#include <driver.h>
#include <irq.h>

#define PCI_API_VERSION 1

#define PCI_CAPABILITIES 20 // as many are looked at

struct pci_bar {
	uint64_t phys;  // 0 if absent or unassigned
	uint64_t bytes; // 0 if absent
	uint8_t io;     // 1: I/O ports, `phys` is the first
	uint8_t wide;   // 64 bits
};

struct pci_dev {
	struct device dev;             // first: to_pci()
	uint16_t msix, msi, pcie;      // offsets of these capabilities, 0 if absent
	uint8_t line;                  // GSI of INTx, 0xFF if none
	volatile uint32_t *msix_table; // mapped by the first pci_irq
	irq_handler handler;           // on INTx
	void *arg;
	struct pci_dev *sharer;                // next one on the same line
	int vector;                            // of the line
	struct pci_bar bar[6];                 // a 64-bit BAR takes its index, the next one is absent
	uint16_t capability[PCI_CAPABILITIES]; // in the order of the list: offset << 8 | id; 0 behind the last
};

// What probe and remove of a driver in the PCI table are given.
static inline struct pci_dev *to_pci(struct device *dev)
{
	return container_of(dev, struct pci_dev, dev);
}

// Configuration space; `width` 1, 2 or 4 bytes, `offset` aligned to it.  `address` as in struct device, so that any
// function can be named, present or not (reads as all ones).  A write of less than a dword writes back what it read
// beside it, which clears status bits there.
uint32_t pci_read(uint32_t address, uint32_t offset, uint32_t width);
void pci_write(uint32_t address, uint32_t offset, uint32_t width, uint32_t value);

// Offset of the first capability `id` behind `from` (0: from the start), or 0.  The list was read once, at discovery:
// loops and bad offsets ended it.
uint32_t pci_capability(const struct pci_dev *pci, uint32_t id, uint32_t from);

// Memory BAR `n`, mapped; NULL (and a logged cause) if it is absent, an I/O BAR or unassigned.
volatile void *pci_map_bar(struct pci_dev *pci, uint32_t n);

// Memory decoding and bus mastering on; what probe calls before the first register access.
void pci_enable(struct pci_dev *pci);
// Bus mastering and interrupts off; what remove and a failing probe call last.
void pci_disable(struct pci_dev *pci);

// One interrupt, `index` 0 up, that calls handler(arg) on core `cpu`: MSI-X where the device has it, else MSI (index 0
// only), else INTx through the I/O APIC (index 0 only).  Returns the vector or an error; E_NOTSUP if `index` is not to
// be had.  With INTx the handler must acknowledge the device; lines may be shared.
int pci_irq(struct pci_dev *pci, uint32_t index, irq_handler handler, void *arg, uint32_t cpu);
void pci_irq_free(struct pci_dev *pci, uint32_t index, int vector);
