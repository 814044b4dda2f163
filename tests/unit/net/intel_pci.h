// The PCI side of Intel's controllers for host tests: registers behind BAR 0, bus mastering, one interrupt.
#pragma once
#include <fake.h>
#include <pci.h>
#include <program.h>

struct card {
	struct pci_dev pci;
	volatile void *regs;
	bool enabled; // bus master
	uint32_t vectors;
	int refuse_irq;
};

static struct card *card_of(struct pci_dev *pci)
{
	return container_of(pci, struct card, pci);
}

void pci_enable(struct pci_dev *pci)
{
	card_of(pci)->enabled = true;
}

void pci_disable(struct pci_dev *pci)
{
	card_of(pci)->enabled = false;
}

volatile void *pci_map_bar(struct pci_dev *pci, uint32_t n)
{
	assert_int_equal(n, 0);
	return pci->bar[0].phys ? card_of(pci)->regs : NULL;
}

int pci_irq(struct pci_dev *pci, uint32_t index, irq_handler handler, void *arg, uint32_t cpu)
{
	assert_int_equal(index, 0);
	if (card_of(pci)->refuse_irq)
		return card_of(pci)->refuse_irq;
	card_of(pci)->vectors++;
	return irq_alloc(handler, arg, cpu);
}

void pci_irq_free(struct pci_dev *pci, uint32_t index, int vector)
{
	assert_int_equal(index, 0);
	card_of(pci)->vectors--;
	irq_free(vector);
}
