// PCI devices that a program drives by itself: claimed, they are bound to a driver named "program", whose removal
// leaves them silent like any other's.  Configuration space and BARs need nothing from here (api/ingot_pci.h).
#include <mem.h>
#include <pci.h>
#include <program.h>
#include <smp.h>

struct claimed_irq { // listed in the device's drvdata
	struct claimed_irq *next;
	ingot_callback fn;
	void *arg;
	uint32_t index;
	int vector;
};

static void claimed_interrupt(void *arg)
{
	const struct claimed_irq *irq = arg;
	program_callback(irq->fn, irq->arg);
}

static void claimed_irq_end(struct device *dev, struct claimed_irq **link)
{
	struct claimed_irq *irq = *link;
	pci_irq_free(to_pci(dev), irq->index, irq->vector);
	*link = irq->next;
	kfree(irq, sizeof(*irq));
}

static void claimed_remove(struct device *dev)
{
	while (dev->drvdata)
		claimed_irq_end(dev, (struct claimed_irq **)&dev->drvdata);
	pci_disable(to_pci(dev));
}

static const struct driver claimed = { "program", .remove = claimed_remove };

static struct device *pci_find(uint32_t address)
{
	struct device *dev;
	for (uint32_t i = 0; (dev = registry_device(i)); i++)
		if (dev->address == address && (dev->kind == DEVICE_PCI || dev->kind == DEVICE_PCIE))
			break;
	return dev;
}

static struct device *claimed_find(uint32_t address)
{
	struct device *dev = pci_find(address);
	return dev && dev->bound == &claimed ? dev : NULL;
}

int device_claim(uint32_t address, uint32_t how)
{
	struct device *dev = pci_find(address);
	if (!dev)
		return E_NODEV;
	if (how & ~INGOT_CLAIM_UNBIND)
		return E_INVAL;
	if (dev->bound == &claimed || (dev->bound && !how))
		return E_BUSY;
	if (dev->bound)
		dev->bound->remove(dev);
	dev->driver = dev->bound = &claimed;
	dev->drvdata = NULL;
	dev->unit[0] = 0;
	dev->status = E_OK;
	return E_OK;
}

int device_release(uint32_t address)
{
	struct device *dev = claimed_find(address);
	if (!dev)
		return E_NODEV;
	claimed_remove(dev);
	registry_offer(dev, TABLE_PCI);
	return E_OK;
}

int device_irq(uint32_t address, uint32_t index, ingot_callback fn, void *arg)
{
	struct device *dev = claimed_find(address);
	struct claimed_irq *irq, **link;
	if (!dev)
		return E_NODEV;
	for (link = (struct claimed_irq **)&dev->drvdata; (irq = *link); link = &irq->next)
		if (irq->index == index) {
			claimed_irq_end(dev, link);
			break;
		}
	if (!fn)
		return E_OK;
	irq = kzalloc(sizeof(*irq));
	if (!irq)
		return E_NOMEM;
	*irq = (struct claimed_irq){ dev->drvdata, fn, arg, index, 0 };
	irq->vector = pci_irq(to_pci(dev), index, claimed_interrupt, irq, smp_self());
	if (irq->vector < 0) {
		int rc = irq->vector;
		kfree(irq, sizeof(*irq));
		return rc;
	}
	dev->drvdata = irq;
	return E_OK;
}
