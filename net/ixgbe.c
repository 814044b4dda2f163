// net/ixgbe.c - Intel 10 gigabit Ethernet: 82599, X540, X550.  "s." = section of the 82599 datasheet (331520, rev. 3).
// QEMU has none; tests/models/ixgbe_82599.c is one: -device x-pci-proxy-dev.  Not done: checksum offload, segmentation,
// the set-up of SFP+ modules over I2C (what the EEPROM has put there stays), flow control, hash filters (all of
// multicast is taken), virtual functions.
#include "intel_ring.h"
#include "ixgbe_regs.h"
#include <log.h>
#include <mem.h>
#include <mmio.h>
#include <pci.h>
#include <smp.h>
#include <time.h>

// Quirks in the id row
#define IXGBE_82599 1 // AUTOC; the EEPROM's sum
#define IXGBE_SFP 2
#define IXGBE_X550 4

#define MASTER_US 80000
#define FLUSH_US 20
#define RESET_US 10000 // s.4.6.3.2: to be waited in any case
#define READY_US 500000
#define EERD_US 10000
#define QUEUE_US 100000
#define LINK_US 4000000
#define JUMBO_MTU 9710 // frames of 9728 bytes: the transmit buffer's threshold is made for 10 KiB
#define BAR_BYTES 0x20000

struct ixgbe {
	volatile uint8_t *regs;
	struct pci_dev *pci;
	uint32_t quirks;
	int broken;                     // what the last reset came to
	int vector;                     // 0: none
	uint64_t link_end;              // when the link is negotiated anew
	struct ingot_net_stats counted; // by the device, so far
	struct net_dev net;
};

static inline struct ixgbe *to_ixgbe(struct net_dev *net)
{
	return container_of(net, struct ixgbe, net);
}

static uint32_t ixgbe_read(struct ixgbe *nic, uint32_t reg)
{
	return mmio_read32(nic->regs + reg);
}

static void ixgbe_write(struct ixgbe *nic, uint32_t reg, uint32_t value)
{
	mmio_write32(nic->regs + reg, value);
}

static void ixgbe_change(struct ixgbe *nic, uint32_t reg, uint32_t off, uint32_t on)
{
	ixgbe_write(nic, reg, (ixgbe_read(nic, reg) & ~off) | on);
}

static int ixgbe_wait(struct ixgbe *nic, uint32_t reg, uint32_t bit)
{
	return mmio_wait32(nic->regs + reg, bit, bit, READY_US);
}

// ---- Reset ---------------------------------------------------------------------------------------------------

// s.5.2.5.3.2: nothing is under way on the bus.
static void ixgbe_master_disable(struct ixgbe *nic)
{
	ixgbe_write(nic, RXCTRL, 0);
	for (uint32_t i = 0; i < NET_QUEUES; i++) {
		ixgbe_write(nic, RX_RINGS + i * RING_STEP + RING_CONTROL, 0);
		ixgbe_write(nic, TX_RINGS + i * RING_STEP + RING_CONTROL, TXDCTL_SWFLSH);
	}
	ixgbe_change(nic, CTRL, 0, CTRL_MASTER_DISABLE);
	if (mmio_wait32(nic->regs + STATUS, STATUS_MASTER_ENABLE, 0, MASTER_US) == E_OK)
		return;
	ixgbe_change(nic, HLREG0, 0, HLREG0_LPBK);
	ixgbe_change(nic, GCR_EXT, 0, GCR_EXT_BUFFERS_CLEAR);
	time_delay_us(FLUSH_US);
	ixgbe_change(nic, HLREG0, HLREG0_LPBK, 0);
	ixgbe_change(nic, GCR_EXT, GCR_EXT_BUFFERS_CLEAR, 0);
	ixgbe_write(nic, CTRL, CTRL_RST);
	time_delay_us(RESET_US);
}

// s.4.6.3.  A link that is up stays up.
static int ixgbe_reset(struct ixgbe *nic)
{
	ixgbe_write(nic, EIMC, ~0u);
	uint32_t reset = ixgbe_read(nic, LINKS) & LINKS_UP ? CTRL_RST : CTRL_RST | CTRL_LRST;
	ixgbe_master_disable(nic);
	ixgbe_write(nic, CTRL, reset);
	time_delay_us(RESET_US);
	int rc = mmio_wait32(nic->regs + CTRL, CTRL_RST | CTRL_LRST, 0, READY_US);
	if (rc == E_OK) {
		ixgbe_write(nic, EIMC, ~0u);
		rc = ixgbe_wait(nic, EEC, EEC_AUTO_RD);
	}
	return nic->broken = rc == E_OK ? ixgbe_wait(nic, RDRXCTL, RDRXCTL_DMAIDONE) : rc;
}

// ---- Control path --------------------------------------------------------------------------------------------

static int ixgbe_interrupt(struct net_dev *net, irq_handler handler, void *arg, uint32_t cpu)
{
	struct ixgbe *nic = to_ixgbe(net);
	ixgbe_write(nic, EIMC, ~0u);
	if (nic->vector > 0)
		pci_irq_free(nic->pci, 0, nic->vector);
	nic->vector = 0;
	if (!handler)
		return E_OK;
	if (!nic->pci->msix)
		return E_NOTSUP;
	nic->vector = pci_irq(nic->pci, 0, handler, arg, cpu);
	if (nic->vector < 0)
		return nic->vector;
	ixgbe_write(nic, GPIE, GPIE_MULTIPLE_MSIX | GPIE_PBA_SUPPORT);
	ixgbe_write(nic, IVAR0, IVAR_VALID); // reception on queue 0: entry 0
	ixgbe_write(nic, EIAC, EICR_RTXQ0);
	ixgbe_write(nic, EIMS, EICR_RTXQ0);
	return E_OK;
}

static void ixgbe_count(struct ixgbe *nic)
{
	static const uint16_t errors[] = { CRCERRS, ILLERRC, ERRBC, RLEC, RUC, RFC, RJC };
	for (uint32_t i = 0; i < ARRAY_SIZE(errors); i++)
		nic->counted.rx_errors += ixgbe_read(nic, errors[i]);
	// All queues count in QPRDC(0) (s.8.2.3.23.71: RQSMR is 0).
	nic->counted.rx_dropped += ixgbe_read(nic, ROC) + ixgbe_read(nic, RXMPC0) + ixgbe_read(nic, QPRDC0);
}

static void ixgbe_stats(struct net_dev *net, struct ingot_net_stats *stats)
{
	struct ixgbe *nic = to_ixgbe(net);
	ixgbe_count(nic);
	stats->rx_errors += nic->counted.rx_errors;
	stats->rx_dropped += nic->counted.rx_dropped;
}

static void ixgbe_stop(struct net_dev *net)
{
	struct ixgbe *nic = to_ixgbe(net);
	ixgbe_interrupt(net, NULL, NULL, 0);
	ixgbe_count(nic);
	if (ixgbe_reset(nic) != E_OK)
		pci_disable(nic->pci); // at least it writes no more
	intel_drop(net);
}

// s.8.2.3.7.1: filters change while reception is off; s.4.6.7: it begins with an empty path.
static int ixgbe_promiscuous(struct net_dev *net, int on)
{
	struct ixgbe *nic = to_ixgbe(net);
	ixgbe_change(nic, SECRXCTRL, 0, SECRXCTRL_RX_DIS);
	int rc = ixgbe_wait(nic, SECRXSTAT, SECRXSTAT_RDY);
	ixgbe_write(nic, RXCTRL, 0);
	ixgbe_write(nic, FCTRL, on ? FCTRL_BAM | FCTRL_MPE | FCTRL_UPE : FCTRL_BAM | FCTRL_MPE);
	ixgbe_write(nic, RXCTRL, RXCTRL_RXEN);
	ixgbe_change(nic, SECRXCTRL, SECRXCTRL_RX_DIS, 0);
	return rc;
}

static void ixgbe_rss(struct ixgbe *nic, uint32_t queues)
{
	for (uint32_t i = 0, queue = 0; i < 4 * RETA_DWORDS; i += 4) {
		uint32_t entries = 0;
		for (uint32_t n = 0; n < 32; n += 8) {
			entries |= queue << n;
			if (++queue == queues)
				queue = 0;
		}
		ixgbe_write(nic, RETA + i, entries);
	}
	// Both directions of a connection have the same hash with this key.
	for (uint32_t i = 0; i < RSSRK_DWORDS; i++)
		ixgbe_write(nic, RSSRK + 4 * i, 0x5A6D5A6D);
	ixgbe_write(nic, MRQC, queues > 1 ? MRQC_RSS : 0);
}

// s.4.6.7, s.4.6.8, s.4.6.11.3.4 (neither DCB nor virtual machines); what is not here is right after a reset.
static void ixgbe_set_up(struct ixgbe *nic)
{
	static const struct {
		uint32_t reg, off, on;
	} changes[] = {
		{ CTRL_EXT, 0, CTRL_EXT_NS_DIS | CTRL_EXT_DRV_LOAD },
		{ FCRTH0, ~0u, FCRTH0_DEFAULT },
		{ RDRXCTL, RDRXCTL_RSCFRSTSIZE, RDRXCTL_CRCSTRIP | RDRXCTL_RSCACKC | RDRXCTL_FCOE_WRFIX },
		{ HLREG0, HLREG0_LPBK, HLREG0_TXCRCEN | HLREG0_RXCRCSTRP | HLREG0_JUMBOEN | HLREG0_TXPADEN },
		{ RXCSUM, 0, RXCSUM_PCSD },
		{ DCA_CTRL, 0, DCA_CTRL_DIS },
		{ MPSAR, 0, 1 },
		{ DTXMXSZRQ, 0, DTXMXSZRQ_MOST },
		{ RTTDCS, RTTDCS_ARBDIS, 0 },
		{ DMATXCTL, 0, DMATXCTL_TE },
	};
	// Tables that a reset leaves as they are, and packet buffers of DCB.
	static const struct {
		uint16_t first, dwords;
	} zero[] = {
		{ MTA, 128 },
		{ VFTA, 128 },
		{ MPSAR, 256 },
		{ FTQF, 128 },
		{ PFVLVF, 64 + 128 + 128 },
		{ RXPBSIZE1, 7 },
		{ TXPBSIZE1, 7 },
		{ MTQC, 1 },
	};
	ixgbe_change(nic, RTTDCS, 0, RTTDCS_ARBDIS);
	for (uint32_t i = 0; i < ARRAY_SIZE(zero); i++)
		for (uint32_t n = 0; n < zero[i].dwords; n++)
			ixgbe_write(nic, zero[i].first + 4 * n, 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(changes); i++)
		ixgbe_change(nic, changes[i].reg, changes[i].off, changes[i].on);
}

static int ixgbe_enable(volatile uint8_t *control, uint32_t value)
{
	mmio_write32(control, value | RING_ENABLE);
	return mmio_wait32(control, RING_ENABLE, RING_ENABLE, QUEUE_US);
}

static int ixgbe_start_pair(struct ixgbe *nic, uint32_t index, uint32_t most)
{
	struct intel_pair *pair = intel_pair(nic->net.queue[index]);
	uint32_t rx = RX_RINGS + index * RING_STEP, tx = TX_RINGS + index * RING_STEP;
	ixgbe_change(nic, rx + RING_DCA, DCA_RXCTRL_RESERVED, 0);
	ixgbe_change(nic, tx + RING_DCA, DCA_TXCTRL_WB_RO, 0); // descriptors come back in order
	ixgbe_write(nic, rx + RING_SRRCTL, SRRCTL_DROP_EN | SRRCTL_ADVANCED | (most + 1023) / 1024);
	ixgbe_write(nic, RTTDQSEL, index); // no rate limit
	ixgbe_write(nic, RTTBCNRC, 0);
	intel_start(pair, nic->regs + rx, nic->regs + tx, most);
	int rc = ixgbe_enable(nic->regs + tx + RING_CONTROL, TXDCTL_PREFETCH);
	if (rc == E_OK)
		rc = ixgbe_enable(nic->regs + rx + RING_CONTROL, 0);
	if (rc == E_OK)
		intel_go(pair);
	return rc;
}

// s.4.6.4.  The EEPROM has said which kind of link.
static void ixgbe_link_start(struct ixgbe *nic)
{
	if (nic->quirks & IXGBE_SFP)
		ixgbe_change(nic, ESDP, ESDP_SDP3, 0);
	if (nic->quirks & IXGBE_82599)
		ixgbe_change(nic, AUTOC, 0, AUTOC_RESTART_AN);
	nic->link_end = time_deadline(LINK_US);
}

// Nobody waits for the link: it is up when it is.  If it doesn't come, it is negotiated again from time to time.
static uint32_t ixgbe_link(struct net_dev *net)
{
	static const uint16_t speeds[] = { 10, 100, 1000, 10000, 10, 5000, 1000, 2500 };
	struct ixgbe *nic = to_ixgbe(net);
	uint32_t links = ixgbe_read(nic, LINKS), speed = links >> LINKS_SPEED_SHIFT & 3;
	if (links & LINKS_UP)
		return speeds[nic->quirks & IXGBE_X550 && links & LINKS_NON_STANDARD ? speed + 4 : speed];
	if (time_passed(nic->link_end))
		ixgbe_link_start(nic);
	return 0;
}

static int ixgbe_start(struct net_dev *net, uint32_t queues)
{
	struct ixgbe *nic = to_ixgbe(net);
	uint32_t most = net->info.mtu + 18; // s.8.2.3.22.15: without CRC, but a VLAN's tag comes on top
	pci_enable(nic->pci);
	int rc = nic->broken ? ixgbe_reset(nic) : E_OK;
	if (rc == E_OK) {
		ixgbe_set_up(nic);
		ixgbe_rss(nic, queues);
		ixgbe_write(nic, MAXFRS, most << MAXFRS_MFS_SHIFT);
	}
	for (uint32_t i = 0; i < queues && rc == E_OK; i++)
		rc = ixgbe_start_pair(nic, i, most);
	if (rc == E_OK)
		rc = ixgbe_promiscuous(net, net->info.promiscuous);
	nic->link_end = 0;
	if (rc == E_OK)
		ixgbe_link(net); // negotiates if there is no link
	else
		ixgbe_stop(net);
	return rc;
}

static const struct net_ops ixgbe_ops = {
	.start = ixgbe_start,
	.stop = ixgbe_stop,
	.link = ixgbe_link,
	.promiscuous = ixgbe_promiscuous,
	.interrupt = ixgbe_interrupt,
	.stats = ixgbe_stats,
};

// ---- Probe ---------------------------------------------------------------------------------------------------

// A word of the EEPROM (s.8.2.3.2.2), or an error.
static int ixgbe_eeprom_word(struct ixgbe *nic, uint32_t at)
{
	if (at >= EEPROM_WORDS)
		return E_RANGE;
	ixgbe_write(nic, EERD, at << EERD_ADDRESS_SHIFT | EERD_START);
	int rc = mmio_wait32(nic->regs + EERD, EERD_DONE, EERD_DONE, EERD_US);
	return rc == E_OK ? (int)(ixgbe_read(nic, EERD) >> EERD_DATA_SHIFT) : rc;
}

static int ixgbe_eeprom_add(struct ixgbe *nic, uint32_t at, uint32_t count, uint16_t *sum)
{
	for (int word; count--; *sum += word)
		if ((word = ixgbe_eeprom_word(nic, at++)) < 0)
			return word;
	return E_OK;
}

// The sum of the first words and of the sections that they point to (s.6.1.1).
static int ixgbe_eeprom(struct ixgbe *nic)
{
	uint16_t sum = 0;
	if (!(ixgbe_read(nic, EEC) & EEC_EE_PRES))
		return E_IO;
	if (!(nic->quirks & IXGBE_82599))
		return E_OK;
	int rc = ixgbe_eeprom_add(nic, 0, EEPROM_CHECKED, &sum);
	for (uint32_t i = EEPROM_POINTERS; i < EEPROM_POINTERS_END && rc >= 0; i++) {
		int section = rc = ixgbe_eeprom_word(nic, i);
		if (rc > 0 && rc != 0xFFFF)
			rc = ixgbe_eeprom_word(nic, section);
		if (rc > 0 && rc != 0xFFFF)
			rc = ixgbe_eeprom_add(nic, section + 1, rc, &sum);
	}
	return rc >= 0 && sum == EEPROM_SUM ? E_OK : E_IO;
}

// s.8.2.3.7.9: the EEPROM's address is in the first receive address after a reset.
static int ixgbe_mac(struct ixgbe *nic)
{
	uint32_t address[2] = { ixgbe_read(nic, RAL0), ixgbe_read(nic, RAH0) };
	memcpy(nic->net.info.mac, address, 6);
	return address[1] & RAH_AV && !(address[0] & 1) && (address[0] | (uint16_t)address[1]) ? E_OK : E_IO;
}

static void ixgbe_free(struct ixgbe *nic)
{
	pci_disable(nic->pci);
	intel_free(&nic->net);
	kfree(nic, sizeof(*nic));
}

static void ixgbe_describe(struct intel_pair *pair)
{
	pair->rx_bits = RX_BITS(RX_RXE);
	pair->rx_rotate = 32;
	pair->tx_scale = 1 | 1ul << TX_PAYLEN_SHIFT;
	pair->tx_command |= TX_DATA | TX_DEXT;
}

static int ixgbe_bring_up(struct ixgbe *nic)
{
	struct net_dev *net = &nic->net;
	const char *missing = "reset";
	nic->regs = pci_map_bar(nic->pci, 0);
	if (!nic->regs || nic->pci->bar[0].bytes < BAR_BYTES)
		return E_INVAL;
	int rc = ixgbe_reset(nic);
	if (rc == E_OK) {
		missing = "good EEPROM";
		rc = ixgbe_eeprom(nic);
	}
	if (rc == E_OK) {
		missing = "address";
		rc = ixgbe_mac(nic);
	}
	if (rc == E_OK) {
		missing = "memory";
		rc = intel_alloc(net, clamp_u32(smp_count(), 1, NET_QUEUES));
	}
	if (rc == E_OK) {
		missing = "queues";
		for (uint32_t i = 0; i < net->info.queues; i++)
			ixgbe_describe(intel_pair(net->queue[i]));
		ixgbe_count(nic); // s.4.6.5: a reset leaves the counters as they are
		nic->counted = (struct ingot_net_stats){ 0 };
		rc = net_register(net);
	}
	if (rc != E_OK)
		log(" no %s", missing);
	return rc;
}

static int ixgbe_probe(struct device *dev, const struct dev_id *id)
{
	struct ixgbe *nic = kzalloc(sizeof(*nic));
	if (!nic)
		return E_NOMEM;
	nic->pci = to_pci(dev);
	nic->quirks = id->quirks;
	nic->net.tx = intel_tx;
	nic->net.rx = intel_rx;
	nic->net.ops = &ixgbe_ops;
	nic->net.dev = dev;
	nic->net.mtu_max = JUMBO_MTU;
	dev->drvdata = nic;
	pci_enable(nic->pci);
	int rc = ixgbe_bring_up(nic);
	if (rc != E_OK)
		ixgbe_free(nic);
	return rc;
}

static void ixgbe_remove(struct device *dev)
{
	struct ixgbe *nic = dev->drvdata;
	net_unregister(&nic->net);
	ixgbe_change(nic, CTRL_EXT, CTRL_EXT_DRV_LOAD, 0);
	ixgbe_free(nic);
}

#define SFP(device) DEV_ID(0x8086, device, IXGBE_82599 | IXGBE_SFP)
#define BACKPLANE(device) DEV_ID(0x8086, device, IXGBE_82599)

// clang-format off
static const struct dev_id ixgbe_ids[] = {
	SFP(0x10FB), SFP(0x1507), SFP(0x154A), SFP(0x154D), SFP(0x1557), SFP(0x1558), SFP(0x152A), SFP(0x154F),
	BACKPLANE(0x10F7), BACKPLANE(0x10F8), BACKPLANE(0x10F9), BACKPLANE(0x10FC), BACKPLANE(0x1514), BACKPLANE(0x1517),
	BACKPLANE(0x151C), BACKPLANE(0x1529),
	DEV_ID(0x8086, 0x1528, 0), DEV_ID(0x8086, 0x1560, 0),				// X540
	DEV_ID(0x8086, 0x1563, IXGBE_X550), DEV_ID(0x8086, 0x15D1, IXGBE_X550),		// X550
};
// clang-format on
static const struct driver ixgbe = { "ixgbe", DEV_IDS(ixgbe_ids), .probe = ixgbe_probe, .remove = ixgbe_remove };
PCI_DRIVER(ixgbe);
