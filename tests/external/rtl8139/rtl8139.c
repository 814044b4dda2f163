// Realtek RTL8139C+ fast Ethernet controller, with its descriptor rings: frames go to and from memory without a copy.
// Facts from the RTL8139C+ datasheet (rev. 1.6).  QEMU: -device rtl8139.
// Not done: the older 8139's way, which copies every frame (those revisions are declined), checksum offload, VLAN tags.
#include "rtl8139_regs.h"
#include <log.h>
#include <mem.h>
#include <mmio.h>
#include <net.h>
#include <pci.h>
#include <time.h>

API_VERSION(DRIVER, 1);
API_VERSION(PCI, 1);
API_VERSION(NET, 1);

#define RESET_US 10000
#define TX_LEAST 60 // shorter frames are padded
#define FRAME_LEAST 14
#define CHECKSUM 4 // behind a received frame, in its length and in its buffer

struct rtl8139 {
	struct net_queue queue;
	volatile uint8_t *regs;
	uint32_t tx_next, tx_clean; // free-running; reduced when indexing
	uint32_t rx_next, rx_mask;
	uint32_t rx_limit;   // most bytes of a frame, less FRAME_LEAST
	uint32_t rx_command; // of a descriptor that the device may fill
	struct ingot_frame *tx_frame[RTL_RING], *rx_frame[RTL_RING];
	struct rtl8139_desc tx_desc[RTL_RING] __attribute__((aligned(256)));
	struct rtl8139_desc rx_desc[RTL_RING] __attribute__((aligned(256)));
	struct net_dev net;
	struct pci_dev *pci;
	irq_handler handler;
	void *arg;
	int vector;      // 0: none
	uint64_t missed; // counted by the device before the last reset or reading
};

static inline struct rtl8139 *to_rtl8139(struct net_dev *net)
{
	return container_of(net, struct rtl8139, net);
}

// The last descriptor of a ring says so.
static inline uint32_t rtl8139_end(uint32_t slot, uint32_t mask)
{
	return slot == mask ? DESC_EOR : 0;
}

// ---- Data path -----------------------------------------------------------------------------------------------

// Takes back frames that are sent.
static HOT void rtl8139_reclaim(struct rtl8139 *nic)
{
	uint32_t at = nic->tx_clean;
	while (at != nic->tx_next && !(nic->tx_desc[at % RTL_RING].command & DESC_OWN))
		net_frame_put(nic->tx_frame[at++ % RTL_RING]);
	nic->tx_clean = at;
}

static HOT uint32_t rtl8139_tx(struct net_queue *queue, struct ingot_frame *const *frames, uint32_t count)
{
	struct rtl8139 *nic = container_of(queue, struct rtl8139, queue);
	uint64_t bytes = 0;
	rtl8139_reclaim(nic);
	uint32_t at = nic->tx_next, room = RTL_RING - (at - nic->tx_clean);
	if (count > room)
		count = room;
	if (!count)
		return 0;
	for (uint32_t end = at + count; at != end; at++) {
		struct ingot_frame *frame = *frames++;
		uint32_t slot = at % RTL_RING, len = frame->length;
		for (; unlikely(len < TX_LEAST); len++)
			frame->data[len] = 0;
		nic->tx_frame[slot] = frame;
		nic->tx_desc[slot].phys = frame->phys;
		nic->tx_desc[slot].command = DESC_OWN | DESC_FS | DESC_LS | rtl8139_end(slot, RTL_RING - 1) | len;
		bytes += len;
	}
	nic->tx_next = at;
	queue->stats.tx_frames += count;
	queue->stats.tx_bytes += bytes;
	mmio_write8(nic->regs + TPPOLL, TPPOLL_NPQ);
	return count;
}

// Gives a descriptor to the device; its address is there.
static inline void rtl8139_give(struct rtl8139 *nic, uint32_t slot)
{
	nic->rx_desc[slot].command = nic->rx_command | rtl8139_end(slot, nic->rx_mask);
}

// The ring is always full: a frame is handed out only if another takes its place.
static HOT uint32_t rtl8139_rx(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	struct rtl8139 *nic = container_of(queue, struct rtl8139, queue);
	uint32_t count = 0;
	uint64_t bytes = 0;
	if (unlikely(max > queue->pool.available))
		rtl8139_reclaim(nic);
	for (uint32_t looked = 0; count < max && looked < RTL_RING; looked++) {
		uint32_t slot = nic->rx_next & nic->rx_mask, status = nic->rx_desc[slot].command;
		if (status & DESC_OWN)
			break;
		// One comparison for all: one piece, no error, a length between a frame's least and most.
		uint32_t len =
			(status & (DESC_FS | DESC_LS | DESC_RES | DESC_LENGTH)) - (DESC_FS | DESC_LS | (FRAME_LEAST + CHECKSUM));
		if (likely(len <= nic->rx_limit)) {
			struct ingot_frame *frame = nic->rx_frame[slot], *spare = ingot_frame_get(&queue->pool);
			if (unlikely(!spare))
				break;
			nic->rx_frame[slot] = spare;
			nic->rx_desc[slot].phys = spare->phys;
			frame->length = len + FRAME_LEAST;
			frame->flags = 0;
			bytes += frame->length;
			frames[count++] = frame;
		} else if (status & DESC_RES) {
			queue->stats.rx_errors++;
		} else {
			queue->stats.rx_dropped++;
		}
		rtl8139_give(nic, slot);
		nic->rx_next++;
	}
	queue->stats.rx_frames += count;
	queue->stats.rx_bytes += bytes;
	return count;
}

// ---- Control path --------------------------------------------------------------------------------------------

static int rtl8139_reset(struct rtl8139 *nic)
{
	mmio_write16(nic->regs + IMR, 0);
	mmio_write8(nic->regs + CR, CR_RST);
	uint64_t end = time_deadline(RESET_US);
	while (mmio_read8(nic->regs + CR) & CR_RST)
		if (time_passed(end))
			return E_TIMEOUT;
	return E_OK;
}

static void rtl8139_interrupt_handler(void *arg)
{
	struct rtl8139 *nic = arg;
	uint32_t cause = mmio_read16(nic->regs + ISR);
	mmio_write16(nic->regs + ISR, cause);
	if (cause & (INT_ROK | INT_RDU))
		nic->handler(nic->arg);
}

static int rtl8139_interrupt(struct net_dev *net, irq_handler handler, void *arg, uint32_t cpu)
{
	struct rtl8139 *nic = to_rtl8139(net);
	mmio_write16(nic->regs + IMR, 0);
	if (nic->vector > 0)
		pci_irq_free(nic->pci, 0, nic->vector);
	nic->vector = 0;
	if (!handler)
		return E_OK;
	nic->handler = handler;
	nic->arg = arg;
	nic->vector = pci_irq(nic->pci, 0, rtl8139_interrupt_handler, nic, cpu);
	if (nic->vector < 0)
		return nic->vector;
	mmio_write16(nic->regs + IMR, INT_ROK | INT_RDU);
	return E_OK;
}

static int rtl8139_promiscuous(struct net_dev *net, int on)
{
	mmio_write32(to_rtl8139(net)->regs + RCR, RCR_RXFTH | RCR_MXDMA | RCR_AB | RCR_AM | RCR_APM | (on ? RCR_AAP : 0));
	return E_OK;
}

static void rtl8139_stats(struct net_dev *net, struct ingot_net_stats *stats)
{
	struct rtl8139 *nic = to_rtl8139(net);
	nic->missed += mmio_read32(nic->regs + MPC);
	mmio_write32(nic->regs + MPC, 0);
	stats->rx_dropped += nic->missed;
}

static void rtl8139_stop(struct net_dev *net)
{
	struct rtl8139 *nic = to_rtl8139(net);
	nic->missed += mmio_read32(nic->regs + MPC);
	rtl8139_interrupt(net, NULL, NULL, 0);
	if (rtl8139_reset(nic) != E_OK)
		pci_disable(nic->pci); // at least it writes no more
	for (uint32_t i = 0; i < RTL_RING; i++) {
		nic->tx_desc[i].command = 0;
		if (nic->rx_frame[i])
			ingot_frame_put(nic->rx_frame[i]);
		nic->rx_frame[i] = NULL;
	}
	rtl8139_reclaim(nic);
	nic->tx_next = nic->tx_clean = nic->rx_next = 0;
}

static void rtl8139_fill(struct rtl8139 *nic, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++) {
		struct ingot_frame *frame = ingot_frame_get(&nic->queue.pool);
		nic->rx_frame[i] = frame;
		nic->rx_desc[i].phys = frame->phys;
		rtl8139_give(nic, i);
	}
}

static void rtl8139_ring(volatile uint8_t *reg, const struct rtl8139_desc *ring)
{
	mmio_write32(reg, (uintptr_t)ring);
	mmio_write32(reg + 4, (uint64_t)(uintptr_t)ring >> 32);
}

static int rtl8139_start(struct net_dev *net, uint32_t queues)
{
	struct rtl8139 *nic = to_rtl8139(net);
	volatile uint8_t *regs = nic->regs;
	const struct ingot_pool *pool = &nic->queue.pool;
	uint32_t size = RTL_RING, buffer = min_u64(pool->free->room, DESC_LENGTH) & ~7u;
	(void)queues; // there is one
	while (size > pool->total - NET_SPARE)
		size /= 2;
	net->info.mtu = min_u64(net->info.mtu, buffer - FRAME_LEAST - 4 - CHECKSUM);
	nic->rx_mask = size - 1;
	nic->rx_limit = buffer - FRAME_LEAST - CHECKSUM;
	nic->rx_command = DESC_OWN | buffer;
	rtl8139_fill(nic, size);
	mmio_write16(regs + CPCR, CPCR_TXE | CPCR_RXE | CPCR_MULRW); // first: it says what the others mean
	rtl8139_ring(regs + TNPDS, nic->tx_desc);
	rtl8139_ring(regs + RDSAR, nic->rx_desc);
	mmio_write32(regs + MAR0, ~0u);
	mmio_write32(regs + MAR0 + 4, ~0u);
	mmio_write8(regs + ETTHR, ETTHR_192);
	mmio_write8(regs + CR, CR_RE | CR_TE);
	mmio_write32(regs + TCR, TCR_IFG | TCR_MXDMA);
	return rtl8139_promiscuous(net, net->info.promiscuous);
}

static uint32_t rtl8139_link(struct net_dev *net)
{
	uint32_t status = mmio_read8(to_rtl8139(net)->regs + MSR);
	return status & MSR_LINKB ? 0 : status & MSR_SPEED_10 ? 10 : 100;
}

static const struct net_ops rtl8139_ops = {
	.start = rtl8139_start,
	.stop = rtl8139_stop,
	.link = rtl8139_link,
	.promiscuous = rtl8139_promiscuous,
	.interrupt = rtl8139_interrupt,
	.stats = rtl8139_stats,
};

static int rtl8139_register(struct rtl8139 *nic)
{
	struct net_dev *net = &nic->net;
	uint32_t address[2] = { mmio_read32(nic->regs + IDR0), mmio_read32(nic->regs + IDR0 + 4) };
	memcpy(net->info.mac, address, sizeof(net->info.mac));
	net->info.queues = 1;
	net->queue[0] = &nic->queue;
	net->mtu_max = 1500;
	net->tx = rtl8139_tx;
	net->rx = rtl8139_rx;
	net->ops = &rtl8139_ops;
	net->dev = &nic->pci->dev;
	return net_register(net);
}

// ---- Probe ---------------------------------------------------------------------------------------------------

static void rtl8139_free(struct rtl8139 *nic)
{
	pci_disable(nic->pci);
	mem_free(nic, sizeof(*nic));
}

static int rtl8139_set_up(struct rtl8139 *nic)
{
	nic->regs = pci_map_bar(nic->pci, BAR_REGISTERS);
	if (!nic->regs)
		return E_INVAL;
	int rc = rtl8139_reset(nic);
	if (rc != E_OK) {
		log(" no reset");
		return rc;
	}
	return rtl8139_register(nic);
}

static int rtl8139_probe(struct device *dev, const struct dev_id *id)
{
	(void)id;
	if (pci_read(dev->address, PCI_REVISION, 1) < REVISION_CPLUS)
		return E_NODEV;
	struct rtl8139 *nic = mem_alloc(sizeof(*nic), 256);
	if (!nic)
		return E_NOMEM;
	nic->pci = to_pci(dev);
	dev->drvdata = nic;
	pci_enable(nic->pci);
	int rc = rtl8139_set_up(nic);
	if (rc != E_OK)
		rtl8139_free(nic);
	return rc;
}

static void rtl8139_remove(struct device *dev)
{
	struct rtl8139 *nic = dev->drvdata;
	net_unregister(&nic->net);
	rtl8139_free(nic);
}

static const struct dev_id rtl8139_ids[] = { DEV_ID(0x10EC, 0x8139, 0) };
static const struct driver rtl8139 = {
	"rtl8139",
	DEV_IDS(rtl8139_ids),
	.probe = rtl8139_probe,
	.remove = rtl8139_remove,
};
PCI_DRIVER(rtl8139);
