// net/e1000e.c - Intel gigabit Ethernet on PCIe: 82571 to 82574, 82583, I217 to I219.  "s." = section of the 82574
// datasheet (317694).
// QEMU: -device e1000e (82574).  Not done: checksum offload, segmentation, hash filters (all of multicast is taken),
// the PHYs' power saving (firmware leaves it off).
#include "e1000e_regs.h"
#include "intel_gbe.h"
#include <time.h>

#define MASTER_US 80000 // s.10.2.2.1
#define OWNER_US 100000
#define PHY_US 25000 // its set-up behind a reset
#define RELOADED_US 150000

// s.4.6.2: the bus first, so that nothing is under way.
static int e1000e_reset(struct gbe *nic)
{
	uint32_t ctrl = gbe_read(nic, CTRL) | CTRL_MASTER_DISABLE;
	gbe_write(nic, CTRL, ctrl);
	mmio_wait32(nic->regs + STATUS, STATUS_MASTER_ENABLE, 0, MASTER_US); // it is reset all the same
	if (nic->quirks & GBE_OWNER) {
		gbe_write(nic, EXTCNF_CTRL, gbe_read(nic, EXTCNF_CTRL) | EXTCNF_CTRL_SW_OWNER);
		mmio_wait32(nic->regs + EXTCNF_CTRL, EXTCNF_CTRL_SW_OWNER, EXTCNF_CTRL_SW_OWNER, OWNER_US);
	}
	gbe_write(nic, CTRL, (ctrl & ~CTRL_MASTER_DISABLE) | CTRL_RST);
	time_delay_us(nic->quirks & GBE_OWNER ? PHY_US : 1000);
	uint32_t reg = nic->quirks & GBE_PCH ? STATUS : EECD; // in both the same bit
	int rc = mmio_wait32(nic->regs + reg, RELOADED, RELOADED, RELOADED_US);
	if (nic->quirks & GBE_OWNER)
		gbe_write(nic, EXTCNF_CTRL, gbe_read(nic, EXTCNF_CTRL) & ~EXTCNF_CTRL_SW_OWNER);
	return rc;
}

static void e1000e_start(struct gbe *nic, uint32_t queues)
{
	uint32_t key = 0x6D5A56DA;
	gbe_write(nic, CTRL_EXT, gbe_read(nic, CTRL_EXT) | CTRL_EXT_DRV_LOAD); // management firmware keeps off
	gbe_write(nic, RXCSUM, RXCSUM_PCSD); // s.7.1.11: needed for queues, and so are extended descriptors
	gbe_write(nic, RFCTL, RFCTL_EXSTEN);
	gbe_write(nic, MRQC, 0);
	for (uint32_t i = 0; i < queues; i++)
		gbe_write(nic, TX_RINGS + i * RING_STEP + RING_CONTROL, TXDCTL_GRAN | TXDCTL_COUNT_DESC | TXDCTL_WTHRESH_1);
	if (!(nic->quirks & GBE_RSS))
		return;
	gbe_write(nic, IVAR, IVAR_RXQ0_VALID);
	if (queues == 1)
		return;
	for (uint32_t i = 0; i < RETA_DWORDS; i++)
		gbe_write(nic, RETA + 4 * i, RETA_0_1);
	for (uint32_t i = 0; i < RSSRK_DWORDS; i++)
		gbe_write(nic, RSSRK + 4 * i, key = key * 0x9E3779B1 + 1);
	gbe_write(nic, MRQC, MRQC_RSS);
}

static int e1000e_probe(struct device *dev, const struct dev_id *id)
{
	static const struct gbe_model model = {
		.reset = e1000e_reset,
		.start = e1000e_start,
		.rx_bits = RX_BITS(RX_ERRORS_EXTENDED),
		.rx_rotate = 32,
	};
	return gbe_probe(dev, id, &model);
}

#define INTEL(device, quirks) DEV_ID(0x8086, device, GBE_EERD_SHORT | GBE_FLEXIBLE | (quirks))
#define PCH(device) INTEL(device, GBE_PCH | GBE_OWNER | GBE_NO_EERD)

// clang-format off
static const struct dev_id e1000e_ids[] = {
	INTEL(0x105E, GBE_JUMBO), INTEL(0x105F, GBE_JUMBO | GBE_FIBER), INTEL(0x1060, GBE_JUMBO | GBE_FIBER),	// 82571EB
	INTEL(0x10A4, GBE_JUMBO), INTEL(0x10A5, GBE_JUMBO | GBE_FIBER), INTEL(0x10BC, GBE_JUMBO),
	INTEL(0x10D5, GBE_JUMBO), INTEL(0x10D9, GBE_JUMBO | GBE_FIBER), INTEL(0x10DA, GBE_JUMBO | GBE_FIBER),
	INTEL(0x107D, GBE_JUMBO), INTEL(0x107E, GBE_JUMBO | GBE_FIBER), INTEL(0x107F, GBE_JUMBO | GBE_FIBER),	// 82572EI
	INTEL(0x10B9, GBE_JUMBO),
	INTEL(0x108B, GBE_OWNER), INTEL(0x108C, GBE_OWNER), INTEL(0x109A, GBE_OWNER),	// 82573
	INTEL(0x10D3, GBE_OWNER | GBE_JUMBO | GBE_RSS), INTEL(0x10F6, GBE_OWNER | GBE_JUMBO | GBE_RSS),	// 82574
	INTEL(0x150C, GBE_OWNER),	// 82583V
	PCH(0x153A), PCH(0x153B),	// I217
	PCH(0x155A), PCH(0x1559), PCH(0x15A0), PCH(0x15A1), PCH(0x15A2), PCH(0x15A3),	// I218
	PCH(0x156F), PCH(0x1570), PCH(0x15B7), PCH(0x15B8), PCH(0x15B9), PCH(0x15D6), PCH(0x15D7), PCH(0x15D8),	// I219
	PCH(0x15E3), PCH(0x15BB), PCH(0x15BC), PCH(0x15BD), PCH(0x15BE), PCH(0x15DF), PCH(0x15E0), PCH(0x15E1),
	PCH(0x15E2), PCH(0x0D4C), PCH(0x0D4D), PCH(0x0D4E), PCH(0x0D4F), PCH(0x0D53), PCH(0x0D55), PCH(0x15F4),
	PCH(0x15F5), PCH(0x15F9), PCH(0x15FA), PCH(0x15FB), PCH(0x15FC), PCH(0x1A1C), PCH(0x1A1D), PCH(0x1A1E),
	PCH(0x1A1F),
};
// clang-format on
static const struct driver e1000e = { "e1000e", DEV_IDS(e1000e_ids), .probe = e1000e_probe, .remove = gbe_remove };
PCI_DRIVER(e1000e);
