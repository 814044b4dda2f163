// An 8254x or 82574 for host tests: registers, rings and the device's side of both.  Strict about widths and about who
// owns a descriptor; the test says what it does wrong.
#pragma once
#include "intel_pci.h"
#include <net/intel_gbe.h>
#include <net/e1000e_regs.h>

struct far {
	struct fake_mmio regs;
	uint32_t reg[0x20000 / 4];
	struct card card;
	bool extended, stuck, blank, deaf; // blank: no address in RAL0; deaf: EERD never answers
	uint8_t eeprom[6];
	uint32_t resets, doorbells, reads; // reads: of registers
	uint32_t partial;                  // bytes of a frame that has begun
};

static uint32_t *far_reg(struct far *far, uint32_t reg)
{
	return &far->reg[reg / 4];
}

static void far_reset(struct far *far)
{
	memset(far->reg, 0, sizeof(far->reg));
	far->resets++;
	far->partial = 0;
	*far_reg(far, STATUS) = STATUS_LU | 2 << STATUS_SPEED_SHIFT | STATUS_MASTER_ENABLE;
	*far_reg(far, EECD) = far->stuck ? 0 : RELOADED;
	if (far->stuck)
		*far_reg(far, CTRL) = CTRL_RST;
	if (!far->blank) {
		memcpy(far_reg(far, RAL0), far->eeprom, 6);
		*far_reg(far, RAH0) |= RAH_AV;
	}
}

static uint64_t far_read(struct fake_mmio *dev, uint64_t offset, uint32_t width)
{
	struct far *far = dev->arg;
	uint32_t value = far->reg[offset / 4];
	assert_int_equal(width, 4);
	assert_int_equal(offset % 4, 0);
	far->reads++;
	if (offset == STATUS && *far_reg(far, CTRL) & CTRL_MASTER_DISABLE)
		value &= ~STATUS_MASTER_ENABLE;
	if ((offset == ICR && !far->card.pci.msix) || (offset >= STATISTICS && offset < STATISTICS + 0x100))
		far->reg[offset / 4] = 0;
	if (offset == IMS || offset == RX_RINGS + RING_HEAD || offset == TX_RINGS + RING_HEAD)
		assert_true(false);
	return value;
}

static void far_write(struct fake_mmio *dev, uint64_t offset, uint32_t width, uint64_t value)
{
	struct far *far = dev->arg;
	uint32_t *reg = &far->reg[offset / 4];
	assert_int_equal(width, 4);
	assert_int_equal(offset % 4, 0);
	switch (offset) {
	case CTRL:
		if (value & CTRL_RST)
			far_reset(far);
		else
			*reg = value;
		break;
	case ICR:
		*reg &= ~value;
		break;
	case IMS:
		*reg |= value;
		break;
	case IMC:
		*far_reg(far, IMS) &= ~value;
		break;
	case EERD: {
		uint32_t word = far->extended ? value >> 2 : value >> 8, done = far->extended ? 2 : 16;
		assert_true(value & EERD_START && word < 3);
		*reg = far->deaf ? 0 : (uint32_t)far->eeprom[2 * word] << 16 | (uint32_t)far->eeprom[2 * word + 1] << 24 | done;
		break;
	}
	case TX_RINGS + RING_TAIL:
	case TX_RINGS + RING_STEP + RING_TAIL:
	case RX_RINGS + RING_TAIL:
	case RX_RINGS + RING_STEP + RING_TAIL:
		assert_true(value < reg[-4] / 16 || !value); // RING_LEN
		far->doorbells++;
		/* fall through */
	default:
		*reg = value;
	}
}

static struct far *far_new(uint16_t device, bool extended)
{
	static struct far fars[4];
	static uint32_t next;
	struct far *far = &fars[next++ % 4];
	memset(far, 0, sizeof(*far));
	far->extended = extended;
	far->regs = (struct fake_mmio){
		.base = far->reg,
		.bytes = sizeof(far->reg),
		.read = far_read,
		.write = far_write,
		.arg = far,
	};
	far->card.regs = far->reg;
	far->card.pci.dev.vendor = 0x8086;
	far->card.pci.dev.device = device;
	far->card.pci.bar[0].phys = 0xFEB00000;
	far->card.pci.bar[0].bytes = sizeof(far->reg);
	memcpy(far->card.pci.dev.name, "far", 4);
	memcpy(far->eeprom, "\x52\x54\0\x12\x34\x56", 6);
	fake_mmio_add(&far->regs);
	far_reset(far);
	far->resets = 0;
	return far;
}

// The ring whose registers begin at `regs`.
static struct intel_desc *far_ring(struct far *far, uint32_t regs, uint32_t index)
{
	uint64_t base = *far_reg(far, regs + RING_BAL) | (uint64_t)*far_reg(far, regs + RING_BAH) << 32;
	assert_true(base && base % 128 == 0);
	return (struct intel_desc *)base + index;
}

static uint32_t far_waiting(struct far *far, uint32_t regs)
{
	uint32_t entries = *far_reg(far, regs + RING_LEN) / 16;
	return (*far_reg(far, regs + RING_TAIL) - *far_reg(far, regs + RING_HEAD)) & (entries - 1);
}

static uint32_t far_next(struct far *far, uint32_t regs)
{
	uint32_t *head = far_reg(far, regs + RING_HEAD), at = *head, entries = *far_reg(far, regs + RING_LEN) / 16;
	assert_true(at != *far_reg(far, regs + RING_TAIL));
	*head = (at + 1) & (entries - 1);
	return at;
}

static uint32_t far_buffer(struct far *far)
{
	uint32_t rctl = *far_reg(far, RCTL), flexible = rctl >> RCTL_FLXBUF_SHIFT & 15;
	if (flexible && far->extended)
		return flexible << 10;
	return (rctl & RCTL_BSEX ? 32768 : 2048) >> (rctl / RCTL_BSIZE & 3);
}

// Writes a descriptor back.
static void far_report(struct far *far, struct intel_desc *desc, uint32_t len, uint32_t status, uint32_t errors)
{
	if (far->extended) {
		desc->phys = 0x1234567890ABCDEF;
		desc->info = status | errors << 24 | (uint64_t)len << 32;
	} else {
		desc->info = len | (uint64_t)(status | errors << 8) << 32 | 0xABCD0000; // and a checksum
	}
}

// A frame of `len` bytes, all of them `fill`, on queue `queue`; false: no room.
static bool far_arrive(struct far *far, uint32_t queue, uint32_t len, uint8_t fill, uint32_t errors)
{
	uint32_t regs = RX_RINGS + queue * RING_STEP, most = far_buffer(far);
	assert_true(*far_reg(far, RCTL) & RCTL_EN && far->card.enabled);
	if (far_waiting(far, regs) < (len + most - 1) / most) {
		*far_reg(far, MPC) += 1;
		return false;
	}
	while (len) {
		struct intel_desc *desc = far_ring(far, regs, far_next(far, regs));
		uint32_t part = len < most ? len : most;
		assert_int_equal(desc->info, 0);
		memset((void *)desc->phys, fill, part);
		len -= part;
		far_report(far, desc, part, len ? 1 : 3, len ? 0 : errors);
	}
	*far_reg(far, ICR) |= far->card.pci.msix ? ICR_RXQ0 : ICR_RXT0;
	return true;
}

// Takes the next frame to send; its data and length.
static uint8_t *far_send(struct far *far, uint32_t queue, uint32_t *len, bool *report)
{
	uint32_t regs = TX_RINGS + queue * RING_STEP;
	struct intel_desc *desc = far_ring(far, regs, far_next(far, regs));
	assert_true(*far_reg(far, TCTL) & TCTL_EN && far->card.enabled);
	assert_int_equal(desc->info & (TX_EOP | TX_IFCS), TX_EOP | TX_IFCS);
	assert_false(desc->info & ~((uint64_t)TX_EOP | TX_IFCS | TX_RS | 0xFFFF));
	*len = desc->info & 0xFFFF;
	*report = desc->info & TX_RS;
	if (*report)
		desc->info |= DESC_DD;
	return (uint8_t *)desc->phys;
}
