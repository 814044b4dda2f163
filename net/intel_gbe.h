// What the drivers of Intel's gigabit controllers share beside their rings.
#pragma once
#include "intel_ring.h"
#include "intel_gbe_regs.h"
#include <mmio.h>
#include <pci.h>

// Quirks in the id row
#define GBE_FIBER 1 // the MAC negotiates (TXCW)
#define GBE_JUMBO 2
#define GBE_EERD_SHORT 4 // EERD: address from bit 2, done in bit 1; else 8 and 4
#define GBE_NO_EERD 8
#define GBE_FLEXIBLE 16 // buffers of any number of KiB
#define GBE_OWNER 32    // a reset needs the PHY's semaphore
#define GBE_PCH 64
#define GBE_RSS 128 // two queues

struct gbe;
struct gbe_model {                                   // the drivers differ in this
	int (*reset)(struct gbe *nic);                   // sets CTRL's RST and waits until the device is back
	void (*start)(struct gbe *nic, uint32_t queues); // registers of its own, before the rings start
	uint64_t rx_bits;                                // struct intel_pair's
	uint32_t rx_rotate;
};

struct gbe {
	volatile uint8_t *regs;
	struct pci_dev *pci;
	const struct gbe_model *model;
	uint32_t quirks;
	uint32_t cause; // interrupt cause: received on queue 0
	int vector;     // 0: none
	irq_handler handler;
	void *arg;
	uint64_t link_end;              // fiber: when a partner that doesn't negotiate is taken as it is
	struct ingot_net_stats counted; // by the device, so far
	struct net_dev net;
};

static inline uint32_t gbe_read(struct gbe *nic, uint32_t reg)
{
	return mmio_read32(nic->regs + reg);
}

static inline void gbe_write(struct gbe *nic, uint32_t reg, uint32_t value)
{
	mmio_write32(nic->regs + reg, value);
}

int gbe_probe(struct device *dev, const struct dev_id *id, const struct gbe_model *model);
void gbe_remove(struct device *dev);
