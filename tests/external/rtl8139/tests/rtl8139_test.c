// The driver and the network class above it, against an 8139C+ that keeps its rings: strict about widths and about who
// owns a descriptor.  The test says what the device does wrong.
#include <fake.h>
#include <program.h>
#include "../rtl8139.c"

struct far { // the device
	struct fake_mmio regs;
	uint8_t reg[0x100];
	struct pci_dev pci;
	uint8_t revision;
	bool enabled, stuck; // bus master; a reset never ends
	uint32_t resets, doorbells, reads, vectors;
	int refuse_irq;
	uint32_t rx_at, tx_at; // descriptors
};

static struct far *far;
static uint8_t memory[256 * 2048] __attribute__((aligned(64))); // of a program

// ---- The kernel below the driver -----------------------------------------------------------------------------

static struct far *far_of(const struct pci_dev *pci)
{
	return container_of((struct pci_dev *)pci, struct far, pci);
}

void pci_enable(struct pci_dev *pci)
{
	far_of(pci)->enabled = true;
}

void pci_disable(struct pci_dev *pci)
{
	far_of(pci)->enabled = false;
}

uint32_t pci_read(uint32_t address, uint32_t offset, uint32_t width)
{
	(void)address;
	assert_int_equal(offset, PCI_REVISION);
	assert_int_equal(width, 1);
	return far->revision;
}

volatile void *pci_map_bar(struct pci_dev *pci, uint32_t n)
{
	assert_int_equal(n, BAR_REGISTERS);
	return pci->bar[n].phys ? far_of(pci)->reg : NULL;
}

int pci_irq(struct pci_dev *pci, uint32_t index, irq_handler handler, void *arg, uint32_t cpu)
{
	assert_int_equal(index, 0);
	if (far_of(pci)->refuse_irq)
		return far_of(pci)->refuse_irq;
	far_of(pci)->vectors++;
	return irq_alloc(handler, arg, cpu);
}

void pci_irq_free(struct pci_dev *pci, uint32_t index, int vector)
{
	assert_int_equal(index, 0);
	far_of(pci)->vectors--;
	irq_free(vector);
}

// ---- The device ----------------------------------------------------------------------------------------------

static uint32_t far_width(uint64_t offset)
{
	switch (offset) {
	case CR:
	case MSR:
	case TPPOLL:
	case ETTHR:
		return 1;
	case IMR:
	case ISR:
	case CPCR:
		return 2;
	default:
		return 4;
	}
}

static void far_reset(struct far *dev)
{
	memset(dev->reg + IMR, 0, sizeof(dev->reg) - IMR);
	dev->reg[CR] = dev->stuck ? CR_RST : 0;
	dev->rx_at = dev->tx_at = 0;
	dev->resets++;
}

static uint64_t far_read(struct fake_mmio *regs, uint64_t offset, uint32_t width)
{
	struct far *dev = regs->arg;
	uint64_t value = 0;
	assert_int_equal(width, far_width(offset));
	memcpy(&value, dev->reg + offset, width);
	dev->reads++;
	return value;
}

static void far_write(struct fake_mmio *regs, uint64_t offset, uint32_t width, uint64_t value)
{
	struct far *dev = regs->arg;
	assert_int_equal(width, far_width(offset));
	if (offset == CR && value & CR_RST) {
		far_reset(dev);
	} else if (offset == ISR) {
		*(uint16_t *)(dev->reg + ISR) &= ~value;
	} else if (offset == MPC) {
		*(uint32_t *)(dev->reg + MPC) = 0;
	} else if (offset == TPPOLL) {
		assert_int_equal(value, TPPOLL_NPQ);
		dev->doorbells++;
	} else {
		// The rings' addresses have a meaning only in C+ mode.
		if (offset == TNPDS || offset == RDSAR)
			assert_true(*(uint16_t *)(dev->reg + CPCR) & CPCR_RXE && value && value % 256 == 0);
		memcpy(dev->reg + offset, &value, width);
	}
}

static struct rtl8139_desc *far_desc(uint32_t ring, uint32_t index)
{
	uint64_t address;
	assert_true(far->enabled);
	memcpy(&address, far->reg + ring, sizeof(address));
	return (struct rtl8139_desc *)address + index;
}

// A descriptor that the device has done with says `status`; where the ring ends stays.
static void far_report(struct rtl8139_desc *desc, uint32_t status)
{
	desc->command = (desc->command & DESC_EOR) | status;
}

// A frame of `len` bytes, all of them `fill`, with `status` instead of a good one's if that isn't 0; false: no room.
static bool far_arrive(uint32_t len, uint8_t fill, uint32_t status)
{
	struct rtl8139_desc *desc = far_desc(RDSAR, far->rx_at);
	assert_true(far->reg[CR] & CR_RE);
	*(uint16_t *)(far->reg + ISR) |= INT_ROK;
	if (!(desc->command & DESC_OWN)) {
		*(uint32_t *)(far->reg + MPC) += 1;
		return false;
	}
	assert_true(len + CHECKSUM <= (desc->command & DESC_LENGTH) && desc->phys % 8 == 0);
	memset((void *)desc->phys, fill, len);
	far->rx_at = desc->command & DESC_EOR ? 0 : far->rx_at + 1;
	far_report(desc, status ? status : DESC_FS | DESC_LS | (len + CHECKSUM));
	return true;
}

static uint32_t far_waiting(void)
{
	uint32_t count = 0;
	while (count < RTL_RING && far_desc(TNPDS, (far->tx_at + count) % RTL_RING)->command & DESC_OWN)
		count++;
	return count;
}

// Sends the next frame; its data and length.
static uint8_t *far_send(uint32_t *len)
{
	struct rtl8139_desc *desc = far_desc(TNPDS, far->tx_at);
	uint32_t command = desc->command;
	assert_true(far->reg[CR] & CR_TE);
	assert_int_equal(command & (DESC_OWN | DESC_FS | DESC_LS), DESC_OWN | DESC_FS | DESC_LS);
	assert_int_equal(!!(command & DESC_EOR), far->tx_at == RTL_RING - 1);
	*len = command & 0xFFFF;
	far->tx_at = command & DESC_EOR ? 0 : far->tx_at + 1;
	far_report(desc, 0);
	return (uint8_t *)desc->phys;
}

static void plug(void)
{
	static struct far fars[4];
	static uint32_t next;
	far = &fars[next++ % 4];
	memset(far, 0, sizeof(*far));
	far->regs = (struct fake_mmio){ .base = far->reg,
		.bytes = sizeof(far->reg),
		.read = far_read,
		.write = far_write,
		.arg = far };
	far->revision = REVISION_CPLUS;
	far->pci.bar[BAR_REGISTERS].phys = 0xFEB00000;
	far->pci.dev.driver = &rtl8139;
	memcpy(far->pci.dev.name, "far", 4);
	memcpy(far->reg, "\x52\x54\0\x12\x34\x56", 6);
	fake_mmio_add(&far->regs);
}

static int probe(void)
{
	return rtl8139.probe(&far->pci.dev, rtl8139.ids);
}

static void start(void)
{
	plug();
	assert_int_equal(probe(), E_OK);
}

static void end(void)
{
	rtl8139.remove(&far->pci.dev);
	assert_false(far->enabled);
	assert_int_equal(far->reg[CR] & (CR_RE | CR_TE), 0);
	assert_int_equal(*(uint16_t *)(far->reg + IMR), 0);
	assert_int_equal(far->vectors, 0);
}

static struct ingot_net_stats stats(void)
{
	struct ingot_net_stats now;
	assert_int_equal(net_stats(0, &now), E_OK);
	return now;
}

// Every frame is in the pool, in a ring or in the program's hands, and one is b_net_rx's.
static void count_frames(uint32_t out)
{
	const struct ingot_pool *pool = net_pool(0, 0);
	const struct rtl8139 *nic = far->pci.dev.drvdata;
	assert_int_equal(pool->available + nic->rx_mask + 1 + (nic->tx_next - nic->tx_clean) + out + 1, pool->total);
}

// ---- Probe ---------------------------------------------------------------------------------------------------

static void probes(void **state)
{
	static const struct {
		uint8_t status;
		uint32_t up, speed;
	} media[] = {
		{ 0, 1, 100 },
		{ MSR_SPEED_10, 1, 10 },
		{ MSR_LINKB, 0, 0 },
	};
	struct ingot_net_info info = { .size = sizeof(info) };
	(void)state;
	start();
	assert_int_equal(far->resets >= 1, 1);
	for (uint32_t i = 0; i < ARRAY_SIZE(media); i++) {
		far->reg[MSR] = media[i].status;
		assert_int_equal(net_info(0, &info), E_OK);
		assert_int_equal(info.link, media[i].up);
		assert_int_equal(info.speed, media[i].speed);
	}
	assert_memory_equal(info.mac, "\x52\x54\0\x12\x34\x56", 6);
	assert_int_equal(info.mtu, 1500);
	assert_int_equal(info.queues, 1);
	assert_int_equal(*(uint32_t *)(far->reg + RCR) & (RCR_AAP | RCR_APM | RCR_AM | RCR_AB), RCR_APM | RCR_AM | RCR_AB);
	assert_int_equal(net_promiscuous(0, 1), E_OK);
	assert_true(far->reg[RCR] & RCR_AAP);
	end();
	assert_int_equal(net_count(), 0);
}

static void declines_what_only_copies(void **state)
{
	(void)state;
	plug();
	far->revision = REVISION_CPLUS - 1;
	assert_int_equal(probe(), E_NODEV);
	assert_int_equal(far->resets + far->reads, 0);
	assert_false(far->enabled);
	assert_int_equal(fake_alloc_count, 0);
}

static void probe_fails_cleanly(void **state)
{
	(void)state;
	start();
	uint32_t allocations = fake_alloc_count;
	end();
	for (uint32_t i = 1; i <= allocations; i++) {
		plug();
		fake_alloc_fail_at = fake_alloc_count + i;
		assert_int_equal(probe(), E_NOMEM);
		assert_int_equal(fake_alloc_live, 0);
		assert_false(far->enabled);
		assert_int_equal(net_count(), 0);
	}
	plug();
	far->stuck = true;
	assert_int_equal(probe(), E_TIMEOUT);
	assert_true(fake_logged(" no reset"));
	assert_false(far->enabled);
	plug();
	far->pci.bar[BAR_REGISTERS].phys = 0;
	assert_int_equal(probe(), E_INVAL);
	assert_int_equal(fake_alloc_live, 0);
}

// ---- Data path -----------------------------------------------------------------------------------------------

static void receives(void **state)
{
	struct ingot_frame *frames[64];
	uint32_t total = 0;
	(void)state;
	start();
	assert_int_equal(net_rx(0, 0, frames, 64), 0);
	uint32_t reads = far->reads;
	for (uint32_t round = 0; round < 2000; round++) { // many times round the ring
		uint32_t burst = round % 33;
		for (uint32_t i = 0; i < burst; i++)
			assert_true(far_arrive(60 + i * 40, i, 0));
		assert_int_equal(net_rx(0, 0, frames, 64), burst);
		for (uint32_t i = 0; i < burst; i++) {
			assert_int_equal(frames[i]->length, 60 + i * 40);
			assert_int_equal(frames[i]->data[0], i);
			assert_int_equal(frames[i]->data[59 + i * 40], i);
			ingot_frame_put(frames[i]);
		}
		total += burst;
		count_frames(0);
	}
	assert_int_equal(far->reads, reads); // not one register
	assert_int_equal(stats().rx_frames, total);
	end();
}

static void full_ring(void **state)
{
	struct ingot_frame *frames[200];
	uint32_t held = 0, got;
	(void)state;
	start();
	for (uint32_t i = 0; i < RTL_RING; i++)
		assert_true(far_arrive(64, i, 0));
	assert_false(far_arrive(64, 200, 0));
	for (uint32_t i = 0; i < RTL_RING; i++) { // nothing accepted is lost
		assert_int_equal(net_rx(0, 0, frames, 1), 1);
		assert_int_equal(frames[0]->data[13], i);
		ingot_frame_put(frames[0]);
	}
	assert_int_equal(stats().rx_dropped, 1);
	do { // a program that keeps what it gets
		for (uint32_t i = 0; i < 16; i++)
			far_arrive(64, i, 0);
		held += got = net_rx(0, 0, frames + held, 16);
	} while (got);
	assert_true(held);
	count_frames(held);
	ingot_frame_put(frames[--held]);
	assert_int_equal(net_rx(0, 0, frames + held, 16), 1);
	end();
}

// What is not a whole good frame never comes out, and the next one does.
static void odd_frames(void **state)
{
	static const uint32_t dropped[] = {
		DESC_FS | DESC_LS,                 // no bytes at all
		DESC_FS | DESC_LS | 17,            // less than a header and the checksum
		DESC_FS | DESC_LS | DESC_LENGTH,   // more than the buffer
		DESC_FS | 100, DESC_LS | 100, 100, // pieces
	};
	struct ingot_frame *frame;
	uint32_t round = 0;
	(void)state;
	start();
	for (; round < 300; round++) {
		assert_true(far_arrive(100, 1, dropped[round % ARRAY_SIZE(dropped)]));
		assert_true(far_arrive(100, 2, DESC_FS | DESC_LS | DESC_RES | 104));
		assert_true(far_arrive(61, 9, 0));
		assert_int_equal(net_rx(0, 0, &frame, 1), 1);
		assert_int_equal(frame->length, 61);
		assert_int_equal(frame->data[60], 9);
		ingot_frame_put(frame);
		count_frames(0);
	}
	assert_int_equal(stats().rx_dropped, round);
	assert_int_equal(stats().rx_errors, round);
	for (uint32_t i = 0; i < RTL_RING; i++) // a ring full of them
		assert_true(far_arrive(100, 7, DESC_FS | 100));
	assert_int_equal(net_rx(0, 0, &frame, 1), 0);
	assert_true(far_arrive(100, 7, 0)); // the device has its descriptors again
	end();
}

static struct ingot_frame *frame_of(uint32_t len, uint8_t fill)
{
	struct ingot_frame *frame = ingot_frame_get(net_pool(0, 0));
	assert_non_null(frame);
	memset(frame->data, fill, len);
	frame->length = len;
	return frame;
}

static void transmits(void **state)
{
	struct ingot_frame *frames[33];
	uint32_t len, total = 0;
	(void)state;
	start();
	uint32_t reads = far->reads;
	for (uint32_t round = 0; round < 2000; round++) {
		uint32_t burst = round % 33;
		far->doorbells = 0;
		for (uint32_t i = 0; i < burst; i++)
			frames[i] = frame_of(40 + i * 8, round + i);
		assert_int_equal(net_tx(0, 0, frames, burst), burst);
		assert_int_equal(far->doorbells, burst != 0);
		for (uint32_t i = 0; i < burst; i++) {
			const uint8_t *data = far_send(&len);
			assert_ptr_equal(data, frames[i]->data);
			assert_int_equal(len, 40 + i * 8 < TX_LEAST ? TX_LEAST : 40 + i * 8);
			assert_int_equal(data[39], (uint8_t)(round + i));
			assert_int_equal(data[len - 1], 40 + i * 8 < TX_LEAST ? 0 : (uint8_t)(round + i));
		}
		total += burst;
		count_frames(0);
	}
	assert_int_equal(far->reads, reads);
	assert_int_equal(stats().tx_frames, total);
	end();
}

static void transmit_ring_full(void **state)
{
	struct ingot_frame *frames[RTL_RING + 4];
	uint32_t len;
	(void)state;
	start();
	uint32_t available = net_pool(0, 0)->available, count = min_u64(available, RTL_RING + 4);
	for (uint32_t i = 0; i < count; i++)
		frames[i] = frame_of(60, i);
	uint32_t sent = net_tx(0, 0, frames, count);
	assert_int_equal(sent, min_u64(count, RTL_RING));
	assert_int_equal(far_waiting(), sent);
	while (sent < count) { // one goes, another fits
		assert_int_equal(net_tx(0, 0, frames + sent, 1), 0);
		far_send(&len);
		assert_int_equal(net_tx(0, 0, frames + sent, 1), 1);
		sent++;
	}
	end(); // with work under way
}

// ---- Control path --------------------------------------------------------------------------------------------

static uint32_t calls;

static void called(void *arg)
{
	(void)arg;
	calls++;
}

static void interrupts(void **state)
{
	struct ingot_frame *frame;
	(void)state;
	start();
	far->refuse_irq = E_NOTSUP;
	assert_int_equal(net_on_receive(0, called, NULL), E_NOTSUP);
	assert_int_equal(*(uint16_t *)(far->reg + IMR), 0);
	far->refuse_irq = 0;
	assert_int_equal(net_on_receive(0, called, NULL), E_OK);
	int vector = ((struct rtl8139 *)far->pci.dev.drvdata)->vector;
	calls = 0;
	fake_irq_fire(vector); // another device's, on the same line
	assert_int_equal(calls, 0);
	assert_true(far_arrive(60, 1, 0));
	fake_irq_fire(vector);
	assert_int_equal(calls, 1);
	assert_int_equal(*(uint16_t *)(far->reg + ISR), 0); // acknowledged
	assert_int_equal(net_rx(0, 0, &frame, 1), 1);
	ingot_frame_put(frame);
	end();
}

static void stops_what_does_not_reset(void **state)
{
	(void)state;
	start();
	for (uint32_t i = 0; i < 5; i++)
		assert_true(far_arrive(64, i, 0));
	far->stuck = true;
	net_open(0, 1, memory, sizeof(memory), 2048);
	assert_false(far->enabled); // it writes no more to the frames that it had
	rtl8139.remove(&far->pci.dev);
	assert_int_equal(net_count(), 0);
}

static void several(void **state)
{
	struct far *fars[3];
	struct ingot_frame *frame;
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		start();
		fars[i] = far;
	}
	for (uint32_t i = 0; i < 3; i++) {
		far = fars[i];
		assert_true(far_arrive(60 + i, i, 0));
		assert_int_equal(net_rx((i + 1) % 3, 0, &frame, 1), 0);
		assert_int_equal(net_rx(i, 0, &frame, 1), 1);
		assert_int_equal(frame->length, 60 + i);
		ingot_frame_put(frame);
	}
	for (uint32_t i = 0; i < 3; i++) {
		far = fars[i];
		end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(probes),
		FAKE_TEST(declines_what_only_copies),
		FAKE_TEST(probe_fails_cleanly),
		FAKE_TEST(receives),
		FAKE_TEST(full_ring),
		FAKE_TEST(odd_frames),
		FAKE_TEST(transmits),
		FAKE_TEST(transmit_ring_full),
		FAKE_TEST(interrupts),
		FAKE_TEST(stops_what_does_not_reset),
		FAKE_TEST(several),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
