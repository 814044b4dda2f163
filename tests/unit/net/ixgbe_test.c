// ixgbe, against registers that keep the order of things: what the rings do is tested with the gigabit controllers.
#include "intel_pci.h"
#include <net/intel_ring.h>
#include <net/ixgbe_regs.h>

enum stuck { NOT_STUCK, STUCK_RESET, STUCK_EEPROM, STUCK_DMA, STUCK_EERD, STUCK_PATH, STUCK_RX, STUCK_TX };

struct far {
	struct fake_mmio regs;
	uint32_t reg[0x20000 / 4];
	uint16_t eeprom[EEPROM_WORDS];
	struct card card;
	enum stuck stuck;
	bool busy;   // PCIe Master Enable Status never clears
	bool absent; // no EEPROM
	uint8_t mac[6];
	uint32_t resets, full_resets, flushes, doorbells, negotiations;
};

static const struct driver *drv;
static struct far *far;

// ---- The card ------------------------------------------------------------------------------------------------

static uint32_t *at(struct far *dev, uint32_t reg)
{
	return &dev->reg[reg / 4];
}

static void far_reset(struct far *dev, uint32_t how)
{
	uint32_t links = how & CTRL_LRST ? 0 : *at(dev, LINKS);
	uint32_t lost = *at(dev, QPRDC0), errors = *at(dev, CRCERRS);
	dev->resets++;
	dev->full_resets += (how & CTRL_LRST) != 0;
	memset(dev->reg, 0x5A, sizeof(dev->reg)); // nothing may be relied on but what is said here
	for (uint32_t i = 0; i < 64; i++) {
		*at(dev, RX_RINGS + i * RING_STEP + RING_CONTROL) = 0;
		*at(dev, TX_RINGS + i * RING_STEP + RING_CONTROL) = 0;
	}
	*at(dev, CTRL) = dev->stuck == STUCK_RESET ? how : 0;
	*at(dev, STATUS) = STATUS_MASTER_ENABLE;
	*at(dev, LINKS) = links;
	*at(dev, EEC) = (dev->stuck == STUCK_EEPROM ? 0 : EEC_AUTO_RD) | (dev->absent ? 0 : EEC_EE_PRES);
	*at(dev, RDRXCTL) = 8u << 17 | (dev->stuck == STUCK_DMA ? 0 : RDRXCTL_DMAIDONE);
	*at(dev, HLREG0) = HLREG0_TXCRCEN | HLREG0_RXCRCSTRP;
	*at(dev, RTTDCS) = *at(dev, MTQC) = *at(dev, SECRXCTRL) = *at(dev, RXCTRL) = *at(dev, EIMS) = *at(dev, MRQC) = 0;
	*at(dev, DMATXCTL) = *at(dev, AUTOC) = *at(dev, GCR_EXT) = *at(dev, RXCSUM) = *at(dev, CTRL_EXT) = 0;
	*at(dev, RAL0) = *at(dev, RAH0) = 0;
	memcpy(at(dev, RAL0), dev->mac, 6);
	*at(dev, RAH0) |= RAH_AV;
	static const uint32_t counters[] = { RXMPC0, ILLERRC, ERRBC, RLEC, RUC, RFC, ROC, RJC };
	for (uint32_t i = 0; i < ARRAY_SIZE(counters); i++)
		*at(dev, counters[i]) = 0;
	*at(dev, QPRDC0) = lost;
	*at(dev, CRCERRS) = errors;
}

static bool ring_register(uint32_t offset, uint32_t base, uint32_t reg)
{
	return offset >= base && offset < base + 64 * RING_STEP && (offset - base) % RING_STEP == reg;
}

static uint64_t far_read(struct fake_mmio *mmio, uint64_t offset, uint32_t width)
{
	struct far *dev = mmio->arg;
	uint32_t value = dev->reg[offset / 4];
	assert_int_equal(width, 4);
	assert_int_equal(offset % 4, 0);
	if (*at(dev, CTRL) & CTRL_RST)
		assert_true(offset == CTRL || dev->stuck == STUCK_RESET);
	if (ring_register(offset, RX_RINGS, RING_CONTROL) && dev->stuck == STUCK_RX)
		return 0;
	if (ring_register(offset, TX_RINGS, RING_CONTROL) && dev->stuck == STUCK_TX)
		return 0;
	if (offset == STATUS && *at(dev, CTRL) & CTRL_MASTER_DISABLE && !dev->busy)
		return value & ~STATUS_MASTER_ENABLE;
	if (offset == SECRXSTAT)
		return *at(dev, SECRXCTRL) & SECRXCTRL_RX_DIS && dev->stuck != STUCK_PATH;
	if (offset == QPRDC0 || offset == RXMPC0 || (offset >= CRCERRS && offset <= RJC))
		dev->reg[offset / 4] = 0;
	return value;
}

static void far_change(struct far *dev, uint32_t offset, uint32_t value, uint32_t old)
{
	bool running = *at(dev, RXCTRL) & RXCTRL_RXEN;
	switch (offset) {
	case CTRL:
		if (value & (CTRL_RST | CTRL_LRST))
			far_reset(dev, value);
		break;
	case EERD:
		assert_true(value & EERD_START);
		dev->reg[EERD / 4] = dev->stuck == STUCK_EERD ?
			value :
			(uint32_t)dev->eeprom[value >> EERD_ADDRESS_SHIFT & (EEPROM_WORDS - 1)] << EERD_DATA_SHIFT | EERD_DONE;
		break;
	case EIMC:
		*at(dev, EIMS) = 0;
		break;
	case GCR_EXT:
		dev->flushes += (value & ~old & GCR_EXT_BUFFERS_CLEAR) != 0;
		break;
	case AUTOC:
		dev->negotiations += (value & AUTOC_RESTART_AN) != 0;
		*at(dev, AUTOC) &= ~AUTOC_RESTART_AN;
		break;
	case FCTRL:
		assert_false(running);
		break;
	case MTQC:
	case DTXMXSZRQ:
		assert_true(*at(dev, RTTDCS) & RTTDCS_ARBDIS);
		break;
	case RXCTRL:
		if (!(value & ~old & RXCTRL_RXEN))
			break;
		assert_true(*at(dev, SECRXCTRL) & SECRXCTRL_RX_DIS);
		assert_int_equal(*at(dev, RDRXCTL) >> 1 & 1, *at(dev, HLREG0) >> 1 & 1);
		assert_false(*at(dev, RDRXCTL) & RDRXCTL_RSCFRSTSIZE);
		break;
	}
}

static void far_write(struct fake_mmio *mmio, uint64_t offset, uint32_t width, uint64_t value)
{
	struct far *dev = mmio->arg;
	uint32_t old = dev->reg[offset / 4];
	assert_int_equal(width, 4);
	assert_int_equal(offset % 4, 0);
	dev->reg[offset / 4] = value;
	far_change(dev, offset, value, old);
	if (ring_register(offset, TX_RINGS, RING_CONTROL) && value & RING_ENABLE)
		assert_true(*at(dev, DMATXCTL) & DMATXCTL_TE);
	if (ring_register(offset, TX_RINGS, RING_TAIL) || ring_register(offset, RX_RINGS, RING_TAIL)) {
		uint32_t *regs = &dev->reg[(offset - RING_TAIL) / 4];
		assert_true(
			!value || (regs[RING_CONTROL / 4] & RING_ENABLE && value < regs[RING_LEN / 4] / 16 && dev->card.enabled));
		dev->doorbells++;
	}
}

static void eeprom_fill(struct far *dev)
{
	uint16_t sum = 0;
	for (uint32_t i = 0; i < EEPROM_CHECKED; i++)
		dev->eeprom[i] = i >= EEPROM_POINTERS && i < EEPROM_POINTERS_END ? 0xFFFF : i * 77;
	dev->eeprom[5] = 0; // no section either
	dev->eeprom[4] = 0x200;
	dev->eeprom[0x200] = 3;
	dev->eeprom[6] = 0x300;
	dev->eeprom[0x300] = 0xFFFF; // nor here
	for (uint32_t i = 1; i <= 3; i++)
		sum += dev->eeprom[0x200 + i] = 0x1111 * i;
	for (uint32_t i = 0; i < EEPROM_CHECKED - 1; i++)
		sum += dev->eeprom[i];
	dev->eeprom[EEPROM_CHECKED - 1] = EEPROM_SUM - sum;
}

static void plug_device(uint16_t device)
{
	static struct far fars[4];
	static uint32_t next;
	far = &fars[next++ % 4];
	memset(far, 0, sizeof(*far));
	far->regs = (struct fake_mmio){
		.base = far->reg,
		.bytes = sizeof(far->reg),
		.read = far_read,
		.write = far_write,
		.arg = far,
	};
	far->card.regs = far->reg;
	far->card.pci.dev.device = device;
	far->card.pci.bar[0].phys = 0xFEB00000;
	far->card.pci.bar[0].bytes = 0x80000;
	far->card.pci.msix = 0x70;
	memcpy(far->mac, "\x52\x54\0\x82\x59\x99", 6);
	eeprom_fill(far);
	fake_mmio_add(&far->regs);
	far_reset(far, CTRL_RST | CTRL_LRST);
	*at(far, CTRL) = 0;
	far->resets = far->full_resets = 0;
	drv = fake_driver("pci", "ixgbe");
	far->card.pci.dev.driver = drv;
}

static int probe(void)
{
	const struct dev_id *id = drv->ids;
	while (id->device != far->card.pci.dev.device)
		assert_true(++id < drv->ids + drv->id_count);
	return drv->probe(&far->card.pci.dev, id);
}

static void start(void)
{
	plug_device(0x10FB);
	assert_int_equal(probe(), E_OK);
}

static void end(void)
{
	drv->remove(&far->card.pci.dev);
	assert_false(far->card.enabled);
	assert_int_equal(*at(far, RX_RINGS + RING_CONTROL) | *at(far, TX_RINGS + RING_CONTROL) | *at(far, RXCTRL), 0);
	assert_false(*at(far, CTRL_EXT) & CTRL_EXT_DRV_LOAD);
}

static struct intel_desc *ring(uint32_t regs)
{
	uint64_t base = *at(far, regs + RING_BAL) | (uint64_t)*at(far, regs + RING_BAH) << 32;
	assert_true(base && base % 128 == 0);
	return (struct intel_desc *)base;
}

// Writes descriptor `slot` back as received.
static void arrive(uint32_t slot, uint32_t len, uint8_t fill, uint32_t status)
{
	struct intel_desc *desc = ring(RX_RINGS) + slot;
	assert_int_equal(desc->info, 0);
	memset((void *)desc->phys, fill, len);
	desc->phys = 0x1234567800000007; // hash and type
	desc->info = status | (uint64_t)len << 32 | 0xABCDul << 48;
}

static struct ingot_net_stats stats(void)
{
	struct ingot_net_stats now;
	assert_int_equal(net_stats(0, &now), E_OK);
	return now;
}

// ---- Probe ---------------------------------------------------------------------------------------------------

static void probes(void **state)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	fake_cores = 3;
	plug_device(0x10FB);
	*at(far, QPRDC0) = 1000; // from before
	assert_int_equal(probe(), E_OK);
	assert_int_equal(net_info(0, &info), E_OK);
	assert_memory_equal(info.mac, "\x52\x54\0\x82\x59\x99", 6);
	assert_int_equal(info.queues, 3);
	assert_int_equal(info.queues_open, 1);
	assert_int_equal(info.mtu, 1500);
	assert_int_equal(info.link, 0);
	assert_int_equal(far->full_resets, 1);
	assert_int_equal(far->negotiations, 1);
	assert_int_equal(far->flushes, 0);
	assert_true(*at(far, CTRL_EXT) & CTRL_EXT_DRV_LOAD);
	assert_false(*at(far, ESDP) & ESDP_SDP3);
	assert_int_equal(*at(far, MAXFRS) >> 16, 1518);
	assert_int_equal(*at(far, RX_RINGS + RING_SRRCTL), SRRCTL_DROP_EN | SRRCTL_ADVANCED | 2);
	assert_int_equal(*at(far, FCTRL), FCTRL_BAM | FCTRL_MPE);
	assert_int_equal(*at(far, RTTDCS) & RTTDCS_ARBDIS, 0);
	assert_int_equal(*at(far, SECRXCTRL) & SECRXCTRL_RX_DIS, 0);
	assert_int_equal(*at(far, RXCTRL), RXCTRL_RXEN);
	assert_int_equal(*at(far, MRQC), 0);
	for (uint32_t i = 0; i < 128; i++)
		assert_int_equal(*at(far, FTQF + 4 * i) | *at(far, VFTA + 4 * i) | *at(far, MTA + 4 * i), 0);
	assert_int_equal(stats().rx_dropped, 0);
	end();
	assert_int_equal(net_count(), 0);
}

static void probe_fails_cleanly(void **state)
{
	(void)state;
	fake_cores = 2;
	start();
	uint32_t allocations = fake_alloc_count;
	end();
	for (uint32_t i = 1; i <= allocations; i++) {
		plug_device(0x10FB);
		fake_alloc_fail_at = fake_alloc_count + i;
		assert_int_equal(probe(), E_NOMEM);
		assert_int_equal(fake_alloc_live, 0);
		assert_int_equal(net_count(), 0);
		assert_false(far->card.enabled);
	}
	fake_alloc_fail_at = 0;
	plug_device(0x10FB);
	far->card.pci.bar[0].phys = 0;
	assert_int_equal(probe(), E_INVAL);
	plug_device(0x10FB);
	far->card.pci.bar[0].bytes = 0x10000;
	assert_int_equal(probe(), E_INVAL);
	assert_int_equal(far->resets, 0);
}

static void nothing_waits_for_ever(void **state)
{
	static const struct {
		enum stuck stuck;
		int rc;
		const char *said;
	} ways[] = {
		{ STUCK_RESET, E_TIMEOUT, " no reset" },
		{ STUCK_EEPROM, E_TIMEOUT, " no reset" },
		{ STUCK_DMA, E_TIMEOUT, " no reset" },
		{ STUCK_EERD, E_IO, " no good EEPROM" },
		{ STUCK_PATH, E_TIMEOUT, " no queues" },
		{ STUCK_RX, E_TIMEOUT, " no queues" },
		{ STUCK_TX, E_TIMEOUT, " no queues" },
	};
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(ways); i++) {
		plug_device(0x10FB);
		far->stuck = ways[i].stuck;
		uint64_t from = fake_now_ns;
		const char *log = fake_log + strlen(fake_log);
		assert_int_equal(probe(), ways[i].rc);
		assert_string_equal(log, ways[i].said);
		assert_true(fake_now_ns - from < 3000000000);
		assert_int_equal(fake_alloc_live, 0);
		assert_false(far->card.enabled);
	}
	plug_device(0x10FB);
	far->busy = true; // s.5.2.5.3.2: flushed, and reset twice
	assert_int_equal(probe(), E_OK);
	assert_int_equal(far->flushes, 1);
	assert_int_equal(far->resets, 2);
	assert_int_equal(*at(far, HLREG0) & HLREG0_LPBK, 0);
	end();
}

static void eeproms(void **state)
{
	(void)state;
	plug_device(0x10FB);
	far->absent = true;
	assert_int_equal(probe(), E_IO);
	plug_device(0x10FB);
	far->eeprom[0x203] ^= 4; // in a section
	assert_int_equal(probe(), E_IO);
	plug_device(0x10FB);
	far->eeprom[4] = EEPROM_WORDS - 2; // a section that reaches beyond the end
	far->eeprom[EEPROM_WORDS - 2] = 0xFFF0;
	assert_int_equal(probe(), E_IO);
	plug_device(0x10FB);
	far->eeprom[4] = 0xFFFE; // one that lies there
	assert_int_equal(probe(), E_IO);
	plug_device(0x10FB);
	for (uint32_t i = EEPROM_POINTERS; i < EEPROM_POINTERS_END; i++)
		far->eeprom[i] = i; // one that points to itself
	assert_int_equal(probe(), E_IO);
	plug_device(0x1528); // an X540's has another sum
	far->eeprom[1] ^= 1;
	assert_int_equal(probe(), E_OK);
	assert_int_equal(far->negotiations, 0);
	end();
	static const uint8_t bad[][6] = { { 0 }, { 1, 2, 3, 4, 5, 6 }, { 255, 255, 255, 255, 255, 255 } };
	for (uint32_t i = 0; i < ARRAY_SIZE(bad); i++) {
		plug_device(0x10FB);
		memcpy(far->mac, bad[i], 6);
		assert_int_equal(probe(), E_IO);
		assert_true(fake_logged(" no address"));
	}
}

// ---- Frames --------------------------------------------------------------------------------------------------

static void transmits(void **state)
{
	struct ingot_frame *frames[8];
	(void)state;
	start();
	struct ingot_pool *pool = net_pool(0, 0);
	uint32_t available = pool->available, lengths[] = { 14, 16, 17, 59, 60, 61, 1000, 1518 };
	for (uint32_t i = 0; i < 8; i++) {
		frames[i] = ingot_frame_get(pool);
		frames[i]->length = lengths[i];
		memset(frames[i]->data, 0x40 + i, 2 * TX_LEAST);
	}
	uint32_t doorbells = far->doorbells;
	assert_int_equal(net_tx(0, 0, frames, 8), 8);
	assert_int_equal(far->doorbells, doorbells + 1);
	assert_int_equal(*at(far, TX_RINGS + RING_TAIL), 8);
	for (uint32_t i = 0; i < 8; i++) {
		struct intel_desc *desc = ring(TX_RINGS) + i;
		uint32_t len = lengths[i] < TX_LEAST ? TX_LEAST : lengths[i];
		const uint8_t *data = (const uint8_t *)desc->phys;
		// s.7.2.3.2.4: DTALEN, DTYP 3, EOP, IFCS, DEXT; PAYLEN
		assert_int_equal(desc->info & ~(uint64_t)TX_RS, len | 0x23300000ul | (uint64_t)len << 46);
		for (uint32_t n = 0; n < len && n < 2 * TX_LEAST; n++)
			assert_int_equal(data[n], n < lengths[i] ? 0x40 + i : 0); // nothing of what lay there goes out
		if (desc->info & TX_RS) {
			desc->phys = 0;
			desc->info = DESC_DD;
		}
	}
	assert_true(ring(TX_RINGS)[7].info & DESC_DD); // the last one is always reported
	assert_int_equal(net_tx(0, 0, NULL, 0), 0);
	assert_int_equal(pool->available, available);
	assert_int_equal(stats().tx_frames, 8);
	end();
}

static void receives(void **state)
{
	struct ingot_frame *frames[32];
	(void)state;
	start();
	uint32_t entries = *at(far, RX_RINGS + RING_LEN) / 16, slot = 0;
	assert_int_equal(*at(far, RX_RINGS + RING_TAIL), entries - 1);
	for (uint32_t round = 0; round < 1000; round++) {
		uint32_t burst = round % 24 + 1;
		for (uint32_t i = 0; i < burst; i++)
			arrive((slot + i) % entries, 60 + round + i > 1518 ? 1518 : 60 + round + i, i, 3 | 1u << 31); // IPE
		slot = (slot + burst) % entries;
		assert_int_equal(net_rx(0, 0, frames, 32), burst);
		for (uint32_t i = 0; i < burst; i++) {
			assert_int_equal(frames[i]->length, 60 + round + i > 1518 ? 1518 : 60 + round + i);
			assert_int_equal(frames[i]->data[0], i);
			assert_int_equal(frames[i]->phys, (uintptr_t)frames[i]->data);
			ingot_frame_put(frames[i]);
		}
		assert_int_equal(net_rx(0, 0, frames, 32), 0);
	}
	// In pieces, with an error, too short: not given out, the next one is.
	static const struct {
		uint32_t status, len;
	} bad[] = {
		{ 1, 1024 },
		{ 3, 100 },
		{ 3 | RX_RXE, 64 },
		{ 3, 13 },
		{ 3, 1519 },
		{ 3, 0xFFFF & 1920 },
	};
	for (uint32_t i = 0; i < ARRAY_SIZE(bad); i++)
		arrive((slot + i) % entries, bad[i].len, 0x66, bad[i].status);
	arrive((slot + ARRAY_SIZE(bad)) % entries, 64, 0x77, 3);
	assert_int_equal(net_rx(0, 0, frames, 32), 1);
	assert_int_equal(frames[0]->data[0], 0x77);
	assert_int_equal(stats().rx_errors, 1);
	assert_int_equal(stats().rx_dropped, 4);
	end();
}

static void queues_and_jumbo(void **state)
{
	static uint8_t memory[5 * 128 * 10048] __attribute__((aligned(64)));
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	fake_cores = 40;
	start();
	assert_int_equal(net_info(0, &info), E_OK);
	assert_int_equal(info.queues, NET_QUEUES);
	*at(far, LINKS) = LINKS_UP | 3u << LINKS_SPEED_SHIFT;
	far->full_resets = far->negotiations = 0;
	assert_int_equal(net_open(0, 5, memory, sizeof(memory), 10048), E_OK);
	assert_int_equal(far->full_resets, 0); // the link stays up
	assert_int_equal(far->negotiations, 0);
	assert_int_equal(net_info(0, &info), E_OK);
	assert_int_equal(info.mtu, 9710);
	assert_int_equal(*at(far, MAXFRS) >> 16, 9728);
	assert_int_equal(*at(far, MRQC), MRQC_RSS);
	for (uint32_t i = 0; i < 128; i++)
		assert_int_equal(((uint8_t *)at(far, RETA))[i], i % 5);
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t regs = RX_RINGS + i * RING_STEP;
		assert_true(*at(far, regs + RING_CONTROL) & RING_ENABLE);
		assert_int_equal(*at(far, regs + RING_SRRCTL), SRRCTL_DROP_EN | SRRCTL_ADVANCED | 10);
		assert_int_equal(*at(far, regs + RING_LEN), 64 * 16);
		assert_int_equal(*at(far, regs + RING_DCA) & DCA_RXCTRL_RESERVED, 0);
		assert_true(*at(far, TX_RINGS + i * RING_STEP + RING_CONTROL) & RING_ENABLE);
		assert_int_equal(net_pool(0, i)->available, 64 - !i); // one is b_net_rx's
	}
	assert_false(*at(far, RX_RINGS + 5 * RING_STEP + RING_CONTROL) & RING_ENABLE);
	net_close(0);
	assert_int_equal(*at(far, MRQC), 0);
	end();
}

// ---- Control -------------------------------------------------------------------------------------------------

static void links(void **state)
{
	static const struct {
		uint32_t links, speed;
	} x550[] = {
		{ 3u << 28, 10000 },
		{ 2u << 28, 1000 },
		{ 1u << 28, 100 },
		{ 3u << 28 | LINKS_NON_STANDARD, 2500 },
		{ 1u << 28 | LINKS_NON_STANDARD, 5000 },
	};
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	plug_device(0x1563);
	assert_int_equal(probe(), E_OK);
	for (uint32_t i = 0; i < ARRAY_SIZE(x550); i++) {
		*at(far, LINKS) = LINKS_UP | x550[i].links;
		assert_int_equal(net_info(0, &info), E_OK);
		assert_int_equal(info.speed, x550[i].speed);
		assert_int_equal(info.link, 1);
	}
	end();
	start();
	*at(far, LINKS) = LINKS_UP | 3u << 28 | LINKS_NON_STANDARD; // another meaning on the 82599
	assert_int_equal(net_info(0, &info), E_OK);
	assert_int_equal(info.speed, 10000);
	*at(far, LINKS) = 3u << 28;
	far->negotiations = 0;
	for (uint32_t i = 0; i < 100; i++, fake_now_ns += 100000000) {
		assert_int_equal(net_info(0, &info), E_OK);
		assert_int_equal(info.link, 0);
	}
	assert_int_equal(far->negotiations, 2); // in 10 s
	end();
}

static void promiscuous(void **state)
{
	(void)state;
	start();
	assert_int_equal(net_promiscuous(0, 1), E_OK);
	assert_int_equal(*at(far, FCTRL), FCTRL_BAM | FCTRL_MPE | FCTRL_UPE);
	assert_int_equal(*at(far, RXCTRL), RXCTRL_RXEN);
	net_close(0); // starts anew, and stays so
	assert_int_equal(*at(far, FCTRL), FCTRL_BAM | FCTRL_MPE | FCTRL_UPE);
	assert_int_equal(net_promiscuous(0, 0), E_OK);
	assert_int_equal(*at(far, FCTRL), FCTRL_BAM | FCTRL_MPE);
	end();
}

static void nothing(void *arg)
{
	++*(uint32_t *)arg;
}

static void interrupts(void **state)
{
	uint32_t calls = 0;
	(void)state;
	start();
	assert_int_equal(*at(far, EIMS), 0);
	assert_int_equal(net_on_receive(0, nothing, &calls), E_OK);
	assert_int_equal(*at(far, EIMS), EICR_RTXQ0);
	assert_int_equal(*at(far, EIAC), EICR_RTXQ0);
	assert_int_equal(*at(far, IVAR0), IVAR_VALID);
	assert_int_equal(*at(far, GPIE), GPIE_MULTIPLE_MSIX | GPIE_PBA_SUPPORT);
	fake_irq_fire(32);
	assert_int_equal(calls, 1);
	assert_int_equal(net_on_receive(0, nothing, &calls), E_OK); // again, elsewhere
	assert_int_equal(fake_irq_live(), 1);
	net_close(0);
	assert_int_equal(fake_irq_live(), 0);
	assert_int_equal(*at(far, EIMS), 0);
	far->card.refuse_irq = E_NOMEM;
	assert_int_equal(net_on_receive(0, nothing, &calls), E_NOMEM);
	assert_int_equal(net_on_receive(0, NULL, NULL), E_OK);
	far->card.pci.msix = 0;
	assert_int_equal(net_on_receive(0, nothing, &calls), E_NOTSUP);
	end();
	assert_int_equal(far->card.vectors, 0);
}

static void statistics(void **state)
{
	(void)state;
	start();
	for (uint32_t i = 1; i <= 3; i++) {
		*at(far, QPRDC0) = 5;
		*at(far, RXMPC0) = 7;
		*at(far, ROC) = 11;
		*at(far, CRCERRS) = 100;
		*at(far, RUC) = 200;
		assert_int_equal(stats().rx_dropped, 23 * i);
		assert_int_equal(stats().rx_errors, 300 * i);
	}
	*at(far, QPRDC0) = 1; // counted before a reset
	net_close(0);
	assert_int_equal(stats().rx_dropped, 70);
	end();
}

// A card that dies: every frame comes back, it can write no more, and it may recover.
static void dies_and_recovers(void **state)
{
	static uint8_t memory[256 * 2048] __attribute__((aligned(64)));
	struct ingot_frame *frame;
	(void)state;
	start();
	frame = ingot_frame_get(net_pool(0, 0));
	frame->length = 60;
	assert_int_equal(net_tx(0, 0, &frame, 1), 1);
	far->stuck = STUCK_RESET;
	assert_int_equal(net_open(0, 1, memory, sizeof(memory), 2048), E_TIMEOUT);
	assert_false(far->card.enabled);
	assert_int_equal(net_tx(0, 0, &frame, 1), 0);
	assert_int_equal(net_rx(0, 0, &frame, 1), 0);
	far->stuck = NOT_STUCK;
	*at(far, CTRL) = 0;
	assert_int_equal(net_open(0, 1, memory, sizeof(memory), 2048), E_OK);
	assert_true(far->card.enabled);
	assert_true(*at(far, RX_RINGS + RING_CONTROL) & RING_ENABLE);
	frame = ingot_frame_get(net_pool(0, 0));
	frame->length = 60;
	assert_int_equal(net_tx(0, 0, &frame, 1), 1);
	end();
}

static void several(void **state)
{
	struct far *all[3];
	struct ingot_frame *frame;
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		start();
		all[i] = far;
	}
	frame = ingot_frame_get(net_pool(1, 0));
	frame->length = 60;
	assert_int_equal(net_tx(1, 0, &frame, 1), 1);
	assert_int_equal(*at(all[0], TX_RINGS + RING_TAIL), 0);
	assert_int_equal(*at(all[1], TX_RINGS + RING_TAIL), 1);
	assert_int_equal(*at(all[2], TX_RINGS + RING_TAIL), 0);
	for (uint32_t i = 0; i < 3; i++) {
		far = all[i];
		end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(probes),
		FAKE_TEST(probe_fails_cleanly),
		FAKE_TEST(nothing_waits_for_ever),
		FAKE_TEST(eeproms),
		FAKE_TEST(transmits),
		FAKE_TEST(receives),
		FAKE_TEST(queues_and_jumbo),
		FAKE_TEST(links),
		FAKE_TEST(promiscuous),
		FAKE_TEST(interrupts),
		FAKE_TEST(statistics),
		FAKE_TEST(dies_and_recovers),
		FAKE_TEST(several),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
