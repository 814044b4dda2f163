// net/e1000.c - Intel 8254x gigabit Ethernet on PCI and PCI-X.  "s." = section of the PCI/PCI-X Family of Gigabit
// Ethernet Controllers Software Developer's Manual (317453).
// QEMU: -device e1000, e1000-82544gc, e1000-82545em.  Not done: checksum offload, segmentation, hash filters (all of
// multicast is taken), half duplex on the 82547, the 82544's errata on PCI-X buses.
#include "intel_gbe.h"
#include <time.h>

#define RELOAD_US 5000       // of the EEPROM, behind a reset (s.14.3)
#define RELOAD_SLOW_US 20000 // 82541, 82547
#define RESET_US 10000

static int e1000_reset(struct gbe *nic)
{
	gbe_write(nic, CTRL, gbe_read(nic, CTRL) | CTRL_RST);
	time_delay_us(nic->quirks & GBE_EERD_SHORT ? RELOAD_SLOW_US : RELOAD_US);
	return mmio_wait32(nic->regs + CTRL, CTRL_RST, 0, RESET_US);
}

static void e1000_start(struct gbe *nic, uint32_t queues)
{
	(void)queues;
	gbe_write(nic, TIPG, TIPG_802_3);
}

static int e1000_probe(struct device *dev, const struct dev_id *id)
{
	static const struct gbe_model model = {
		.reset = e1000_reset,
		.start = e1000_start,
		.rx_bits = RX_BITS(RX_ERRORS_LEGACY),
	};
	return gbe_probe(dev, id, &model);
}

#define INTEL(device, quirks) DEV_ID(0x8086, device, GBE_JUMBO | (quirks))

// s.5.2, and their later steppings.  The manual gives the 82544 the numbers 0x1107 and 0x1112.
// clang-format off
static const struct dev_id e1000_ids[] = {
	INTEL(0x1008, GBE_NO_EERD), INTEL(0x1009, GBE_NO_EERD | GBE_FIBER),	// 82544EI
	INTEL(0x100C, GBE_NO_EERD), INTEL(0x100D, GBE_NO_EERD),	// 82544GC
	INTEL(0x1107, GBE_NO_EERD), INTEL(0x1112, GBE_NO_EERD),
	INTEL(0x100E, 0), INTEL(0x1015, 0),	// 82540EM
	INTEL(0x1016, 0), INTEL(0x1017, 0), INTEL(0x101E, 0),	// 82540EP
	INTEL(0x100F, 0), INTEL(0x1011, GBE_FIBER),	// 82545EM
	INTEL(0x1026, 0), INTEL(0x1027, GBE_FIBER), INTEL(0x1028, GBE_FIBER),	// 82545GM
	INTEL(0x1010, 0), INTEL(0x1012, GBE_FIBER), INTEL(0x101D, 0),	// 82546EB
	INTEL(0x1079, 0), INTEL(0x107A, GBE_FIBER), INTEL(0x107B, GBE_FIBER), INTEL(0x1099, 0),	// 82546GB
	INTEL(0x1013, GBE_EERD_SHORT), INTEL(0x1018, GBE_EERD_SHORT),	// 82541EI
	INTEL(0x1014, GBE_EERD_SHORT), INTEL(0x1078, GBE_EERD_SHORT),	// 82541ER
	INTEL(0x1076, GBE_EERD_SHORT), INTEL(0x1077, GBE_EERD_SHORT), INTEL(0x107C, GBE_EERD_SHORT),	// 82541GI, PI
	INTEL(0x1019, GBE_EERD_SHORT), INTEL(0x101A, GBE_EERD_SHORT), INTEL(0x1075, GBE_EERD_SHORT),	// 82547
};
// clang-format on
static const struct driver e1000 = { "e1000", DEV_IDS(e1000_ids), .probe = e1000_probe, .remove = gbe_remove };
PCI_DRIVER(e1000);
