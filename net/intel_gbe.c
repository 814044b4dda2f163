// The control path of Intel's gigabit controllers: 8254x and their PCIe successors have these registers in common.
// "s." = section of the PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (317453).
#include "intel_gbe.h"
#include <log.h>
#include <mem.h>
#include <smp.h>
#include <time.h>

#define SETTLE_US 1000 // what is under way on the bus ends
#define EERD_US 10000
#define PARTNER_US 500000
#define JUMBO_MTU 9198 // 9216 bytes with header and VLAN tag: the least transmit FIFO has 10 KiB

static inline struct gbe *to_gbe(struct net_dev *net)
{
	return container_of(net, struct gbe, net);
}

static void gbe_quiet(struct gbe *nic)
{
	gbe_write(nic, IMC, ~0u);
	gbe_read(nic, ICR);
}

// s.14.3
static int gbe_reset(struct gbe *nic)
{
	gbe_quiet(nic);
	gbe_write(nic, RCTL, 0);
	gbe_write(nic, TCTL, TCTL_PSP);
	time_delay_us(SETTLE_US);
	int rc = nic->model->reset(nic);
	gbe_quiet(nic);
	return rc;
}

// ---- Control path --------------------------------------------------------------------------------------------

static void gbe_interrupt_handler(void *arg)
{
	struct gbe *nic = arg;
	uint32_t cause = gbe_read(nic, ICR);
	gbe_write(nic, ICR, cause); // with MSI-X reading does not clear it
	if (cause & nic->cause)
		nic->handler(nic->arg);
}

static int gbe_interrupt(struct net_dev *net, irq_handler handler, void *arg, uint32_t cpu)
{
	struct gbe *nic = to_gbe(net);
	gbe_quiet(nic);
	if (nic->vector > 0)
		pci_irq_free(nic->pci, 0, nic->vector);
	nic->vector = 0;
	if (!handler)
		return E_OK;
	nic->handler = handler;
	nic->arg = arg;
	nic->vector = pci_irq(nic->pci, 0, gbe_interrupt_handler, nic, cpu);
	if (nic->vector < 0)
		return nic->vector;
	gbe_write(nic, IMS, nic->cause);
	return E_OK;
}

static void gbe_stop(struct net_dev *net)
{
	gbe_interrupt(net, NULL, NULL, 0);
	if (gbe_reset(to_gbe(net)) != E_OK)
		pci_disable(to_gbe(net)->pci); // at least it writes no more
	intel_drop(net);
}

// The largest buffer size that fits into `room`, with its bits of RCTL in *rctl; 0: none (s.13.4.22).
static uint32_t gbe_buffer(struct gbe *nic, uint32_t room, uint32_t *rctl)
{
	uint32_t size = 16384, bits = RCTL_BSEX | RCTL_BSIZE;
	if (nic->quirks & GBE_JUMBO && room >= 2048) {
		*rctl |= RCTL_LPE;
		if (nic->quirks & GBE_FLEXIBLE) {
			size = room >> 10 < 16 ? room >> 10 : 15;
			*rctl |= size << RCTL_FLXBUF_SHIFT;
			return size << 10;
		}
	} else if (room >= 1536) { // without long frames no more than 1522 bytes come
		return room < 2048 ? room : 2048;
	}
	for (; size > room; size /= 2)
		bits = size == 4096 ? 0 : bits + RCTL_BSIZE;
	*rctl |= bits;
	return size;
}

static uint32_t gbe_promiscuous_bits(int on)
{
	return on ? RCTL_UPE : 0;
}

static int gbe_promiscuous(struct net_dev *net, int on)
{
	struct gbe *nic = to_gbe(net);
	gbe_write(nic, RCTL, (gbe_read(nic, RCTL) & ~RCTL_UPE) | gbe_promiscuous_bits(on));
	return E_OK;
}

static int gbe_start(struct net_dev *net, uint32_t queues)
{
	struct gbe *nic = to_gbe(net);
	uint32_t rctl = RCTL_EN | RCTL_MPE | RCTL_BAM | RCTL_SECRC | gbe_promiscuous_bits(net->info.promiscuous);
	uint32_t size = gbe_buffer(nic, net->queue[0]->pool.free->room, &rctl);
	if (size < 256)
		return E_INVAL;
	if (net->info.mtu > size - 18)
		net->info.mtu = size - 18;
	gbe_write(nic, CTRL, (gbe_read(nic, CTRL) & ~CTRL_OFF) | CTRL_SLU);
	if (nic->quirks & GBE_FIBER) {
		gbe_write(nic, TXCW, TXCW_ANE | TXCW_FD);
		nic->link_end = time_deadline(PARTNER_US);
	}
	nic->model->start(nic, queues);
	for (uint32_t i = 0; i < queues; i++)
		intel_start(intel_pair(net->queue[i]), nic->regs + RX_RINGS + i * RING_STEP,
			nic->regs + TX_RINGS + i * RING_STEP, size);
	gbe_write(nic, TCTL, gbe_read(nic, TCTL) | TCTL_EN | TCTL_PSP | TCTL_CT | TCTL_COLD);
	gbe_write(nic, RCTL, rctl);
	for (uint32_t i = 0; i < queues; i++)
		intel_go(intel_pair(net->queue[i]));
	return E_OK;
}

// Nobody waits for the link: it is up when it is.  A fiber partner that has not negotiated by now doesn't (s.8.6.3).
static uint32_t gbe_link(struct net_dev *net)
{
	struct gbe *nic = to_gbe(net);
	uint32_t status = gbe_read(nic, STATUS);
	if (status & STATUS_LU)
		return status & 2 << STATUS_SPEED_SHIFT ? 1000 : status & 1 << STATUS_SPEED_SHIFT ? 100 : 10;
	if (nic->quirks & GBE_FIBER && time_passed(nic->link_end)) {
		gbe_write(nic, TXCW, gbe_read(nic, RXCW) & RXCW_C ? TXCW_ANE | TXCW_FD : TXCW_FD);
		gbe_write(nic, CTRL, gbe_read(nic, CTRL) | CTRL_SLU | CTRL_FD);
		nic->link_end = time_deadline(PARTNER_US);
	}
	return 0;
}

// clang-format off
#define COUNTER(reg, field) { ((reg) - STATISTICS) / 4, offsetof(struct ingot_net_stats, field) / 8 }
// clang-format on

static void gbe_stats(struct net_dev *net, struct ingot_net_stats *stats)
{
	// clang-format off
	static const struct { uint8_t reg, field; } counters[] = {
		COUNTER(CRCERRS, rx_errors), COUNTER(RXERRC, rx_errors), COUNTER(RUC, rx_errors), COUNTER(RFC, rx_errors),
		COUNTER(RJC, rx_errors), COUNTER(MPC, rx_dropped), COUNTER(ROC, rx_dropped), COUNTER(ECOL, tx_errors),
		COUNTER(LATECOL, tx_errors),
	};
	// clang-format on
	struct gbe *nic = to_gbe(net);
	uint64_t *counted = (uint64_t *)&nic->counted;
	for (uint32_t i = 0; i < ARRAY_SIZE(counters); i++)
		counted[counters[i].field] += gbe_read(nic, STATISTICS + 4 * counters[i].reg);
	for (uint32_t i = 0; i < sizeof(*stats) / 8; i++)
		((uint64_t *)stats)[i] += counted[i];
}

static const struct net_ops gbe_ops = {
	.start = gbe_start,
	.stop = gbe_stop,
	.link = gbe_link,
	.promiscuous = gbe_promiscuous,
	.interrupt = gbe_interrupt,
	.stats = gbe_stats,
};

// ---- Probe ---------------------------------------------------------------------------------------------------

static bool gbe_mac_good(const uint8_t *mac)
{
	return !(mac[0] & 1) && (mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

// The EEPROM's address is in the first receive address after a reset (s.13.5.2); else from the EEPROM itself (s.5.6.1).
static int gbe_mac(struct gbe *nic, uint8_t *mac)
{
	uint32_t address[2] = { gbe_read(nic, RAL0), gbe_read(nic, RAH0) };
	uint32_t shift = nic->quirks & GBE_EERD_SHORT ? 2 : 8, done = nic->quirks & GBE_EERD_SHORT ? 2 : 16;
	memcpy(mac, address, 6);
	if (address[1] & RAH_AV && gbe_mac_good(mac))
		return E_OK;
	for (uint32_t i = 0; i < 3; i++) {
		gbe_write(nic, EERD, i << shift | EERD_START);
		if (nic->quirks & GBE_NO_EERD || mmio_wait32(nic->regs + EERD, done, done, EERD_US) != E_OK)
			return E_IO;
		((uint16_t *)mac)[i] = gbe_read(nic, EERD) >> EERD_DATA_SHIFT;
	}
	memcpy(address, mac, 6);
	gbe_write(nic, RAL0, address[0]);
	gbe_write(nic, RAH0, (uint16_t)address[1] | RAH_AV);
	return gbe_mac_good(mac) ? E_OK : E_IO;
}

static void gbe_free(struct gbe *nic)
{
	pci_disable(nic->pci);
	intel_free(&nic->net);
	kfree(nic, sizeof(*nic));
}

static int gbe_set_up(struct gbe *nic)
{
	struct net_dev *net = &nic->net;
	uint32_t pairs = nic->quirks & GBE_RSS && smp_count() > 1 ? 2 : 1;
	nic->regs = pci_map_bar(nic->pci, 0);
	if (!nic->regs)
		return E_INVAL;
	int rc = gbe_reset(nic);
	if (rc == E_OK)
		rc = gbe_mac(nic, net->info.mac);
	if (rc != E_OK) {
		log(" no %s", rc == E_IO ? "address" : "reset");
		return rc;
	}
	nic->cause = nic->pci->msix ? ICR_RXQ0 : ICR_RXT0;
	net->mtu_max = nic->quirks & GBE_JUMBO ? JUMBO_MTU : 1500;
	rc = intel_alloc(net, pairs);
	for (uint32_t i = 0; i < pairs && rc == E_OK; i++) {
		intel_pair(net->queue[i])->rx_bits = nic->model->rx_bits;
		intel_pair(net->queue[i])->rx_rotate = nic->model->rx_rotate;
	}
	return rc == E_OK ? net_register(net) : rc;
}

int gbe_probe(struct device *dev, const struct dev_id *id, const struct gbe_model *model)
{
	struct gbe *nic = kzalloc(sizeof(*nic));
	if (!nic)
		return E_NOMEM;
	nic->pci = to_pci(dev);
	nic->model = model;
	nic->quirks = id->quirks;
	nic->net.tx = intel_tx;
	nic->net.rx = intel_rx;
	nic->net.ops = &gbe_ops;
	nic->net.dev = dev;
	dev->drvdata = nic;
	pci_enable(nic->pci);
	int rc = gbe_set_up(nic);
	if (rc != E_OK)
		gbe_free(nic);
	return rc;
}

void gbe_remove(struct device *dev)
{
	struct gbe *nic = dev->drvdata;
	net_unregister(&nic->net);
	gbe_free(nic);
}
