// A virtio device for host tests: registers over MMIO or as PCI's common configuration, strict about offsets, widths
// and order, and the device's side of the rings.  The test says what it does wrong.
#pragma once
#include <fake.h>
#include <program.h>
#include <virtio.h>

#define QUEUES 9
#define NOTIFY_AT 0x1000 // PCI: offsets in the one BAR
#define ISR_AT 0x2000
#define CONFIG_AT 0x3000
#define MULTIPLIER 4

struct far_queue {
	uint32_t max, size, ready, notified;
	uint64_t address[3];   // descriptors, driver's area, device's area
	uint16_t taken, given; // free-running
	bool vector;
};

struct far { // the device
	struct fake_mmio regs;
	uint64_t memory[0x800];
	struct virtio_dev vdev;
	bool mmio, stuck, refuse;
	uint64_t offered, accepted;
	uint32_t select[2], queue_select; // select: device's, driver's features
	uint8_t status, isr;
	uint32_t resets;
	struct far_queue queue[QUEUES];
	uint8_t config[64];
	uint32_t notify_skew;
	void (*on_notify)(struct far *far, uint32_t index);
};

enum far_reg {
	R_DEVICE_SELECT,
	R_DEVICE,
	R_DRIVER_SELECT,
	R_DRIVER,
	R_STATUS,
	R_SELECT,
	R_SIZE_MAX,
	R_SIZE,
	R_QUEUE_VECTOR,
	R_ENABLE,
	R_NOTIFY_OFF,
	R_ADDRESS,
	R_NOTIFY,
	R_ISR,
	R_ACK,
	R_CONFIG
};

// Which register an access means, in *part the dword of an address or the byte of the configuration.
static enum far_reg far_decode(struct far *far, uint64_t offset, uint32_t width, bool write, uint32_t *part)
{
	static const struct {
		uint16_t pci, mmio;
		uint8_t width, reg;
	} map[] = {
		{ 0x00, 0x14, 4, R_DEVICE_SELECT },
		{ 0x04, 0x10, 4, R_DEVICE },
		{ 0x08, 0x24, 4, R_DRIVER_SELECT },
		{ 0x0C, 0x20, 4, R_DRIVER },
		{ 0x14, 0x70, 1, R_STATUS },
		{ 0x16, 0x30, 2, R_SELECT },
		{ 0x18, 0x34, 2, R_SIZE_MAX },
		{ 0x18, 0x38, 2, R_SIZE },
		{ 0x1A, 0xFFF, 2, R_QUEUE_VECTOR },
		{ 0x1C, 0x44, 2, R_ENABLE },
		{ 0x1E, 0xFFF, 2, R_NOTIFY_OFF },
		{ 0xFFF, 0x50, 4, R_NOTIFY },
		{ 0xFFF, 0x60, 4, R_ISR },
		{ 0xFFF, 0x64, 4, R_ACK },
	};
	uint32_t config = far->mmio ? 0x100 : CONFIG_AT, addresses = far->mmio ? 0x80 : 0x20, step = far->mmio ? 16 : 8;
	*part = 0;
	if (offset >= config) {
		*part = offset - config;
		assert_true(*part + width <= sizeof(far->config) && *part % width == 0 && !write);
		return R_CONFIG;
	}
	if (!far->mmio && offset >= ISR_AT)
		return R_ISR;
	if (!far->mmio && offset >= NOTIFY_AT) {
		*part = (offset - NOTIFY_AT) / MULTIPLIER;
		assert_int_equal(width, 2);
		return R_NOTIFY;
	}
	if (offset - addresses < 3 * step) {
		*part = (offset - addresses) / step * 2 + (offset - addresses) % step / 4;
		assert_int_equal(width, 4);
		assert_true(write && (offset - addresses) % step < 8);
		return R_ADDRESS;
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(map); i++)
		if (offset == (far->mmio ? map[i].mmio : map[i].pci) && !(map[i].reg == R_SIZE_MAX && write)) {
			assert_int_equal(width, far->mmio ? 4 : map[i].width);
			return map[i].reg;
		}
	fail_msg("no register at %lx", offset);
	return 0;
}

static uint64_t far_read(struct fake_mmio *regs, uint64_t offset, uint32_t width)
{
	struct far *far = regs->arg;
	struct far_queue *q = &far->queue[far->queue_select % QUEUES];
	uint32_t part;
	uint64_t value = 0;
	switch (far_decode(far, offset, width, false, &part)) {
	case R_DEVICE:
		return (uint32_t)(far->offered >> 32 * far->select[0]);
	case R_STATUS:
		return far->status;
	case R_SIZE_MAX:
		return far->queue_select < QUEUES ? q->max : 0;
	case R_NOTIFY_OFF:
		return far->queue_select + far->notify_skew;
	case R_ISR:
		value = far->isr;
		if (!far->mmio)
			far->isr = 0;
		return value;
	case R_CONFIG:
		memcpy(&value, far->config + part, width);
		return value;
	default:
		fail_msg("read of %lx", offset);
	}
	return 0;
}

static void far_write(struct fake_mmio *regs, uint64_t offset, uint32_t width, uint64_t value)
{
	struct far *far = regs->arg;
	struct far_queue *q = &far->queue[far->queue_select % QUEUES];
	uint32_t part;
	switch (far_decode(far, offset, width, true, &part)) {
	case R_DEVICE_SELECT:
		far->select[0] = value;
		break;
	case R_DRIVER_SELECT:
		far->select[1] = value;
		break;
	case R_DRIVER:
		assert_int_equal(far->status, 3); // ACKNOWLEDGE, DRIVER
		far->accepted &= ~(0xFFFFFFFFul << 32 * far->select[1]);
		far->accepted |= value << 32 * far->select[1];
		break;
	case R_STATUS:
		if (value & 8 && !(far->status & 8) && far->refuse)
			value &= ~8;
		if (value & 4)
			assert_int_equal(far->status, 11);
		if (!value) {
			far->resets++;
			for (uint32_t i = 0; i < QUEUES; i++)
				far->queue[i] = (struct far_queue){ .max = far->queue[i].max };
			far->accepted = 0;
		}
		far->status = far->stuck && !value ? 0x40 : value;
		break;
	case R_SELECT:
		far->queue_select = value;
		break;
	case R_SIZE:
		assert_true(value && value <= q->max && !(value & (value - 1)));
		q->size = value;
		break;
	case R_ADDRESS:
		((uint32_t *)q->address)[part] = value;
		break;
	case R_ENABLE:
		assert_int_equal(value, 1);
		assert_true(far->status == 11 && !(q->address[0] & 15) && !(q->address[1] & 1) && !(q->address[2] & 3));
		q->ready = 1;
		break;
	case R_NOTIFY:
		if (!far->mmio)
			assert_int_equal(part, value);
		assert_true(value < QUEUES && far->queue[value].ready && far->status == 15);
		far->queue[value].notified++;
		if (far->on_notify)
			far->on_notify(far, value);
		break;
	case R_ACK:
		far->isr &= ~value;
		break;
	case R_QUEUE_VECTOR:
		q->vector = true;
		break;
	default:
		fail_msg("write of %lx", offset);
	}
}

static inline const struct virtq_desc *far_desc(struct far_queue *q, uint32_t id)
{
	return (const struct virtq_desc *)q->address[0] + id;
}

#define FAR_AVAIL(q) ((volatile uint16_t *)(q)->address[1]) // flags, index, ring, used_event
#define FAR_USED(q) ((volatile uint16_t *)(q)->address[2])  // flags, index, elements, avail_event

static uint16_t far_waiting(struct far_queue *q)
{
	return FAR_AVAIL(q)[1] - q->taken;
}

// The next buffer that the driver offers.
static uint32_t far_take(struct far_queue *q)
{
	assert_true(far_waiting(q));
	uint32_t id = FAR_AVAIL(q)[2 + q->taken++ % q->size];
	assert_true(id < q->size);
	return id;
}

static void far_give(struct far_queue *q, uint32_t id, uint32_t len)
{
	volatile uint32_t *element = (volatile uint32_t *)(FAR_USED(q) + 2) + 2 * (q->given % q->size);
	element[0] = id;
	element[1] = len;
	FAR_USED(q)[1] = ++q->given;
}

// Asks to be told when entry `event` has been offered (event index).
static void far_event(struct far_queue *q, uint16_t event)
{
	*(FAR_USED(q) + 2 + 4 * q->size) = event;
}

// A device that is there; the test changes what it wants before it calls the driver.  With MMIO the registers are at
// memory, with PCI the structures are in its pages.
static struct far *far_new(bool mmio, uint32_t type, uint64_t features)
{
	static struct far fars[128]; // the fakes know them until the test ends
	static uint32_t next;
	struct far *far = &fars[next++ % ARRAY_SIZE(fars)];
	struct virtio_dev *vdev = &far->vdev;
	volatile uint8_t *base = (volatile uint8_t *)far->memory;
	memset(far, 0, sizeof(*far));
	far->mmio = mmio;
	far->offered = features | 1ul << VIRTIO_F_VERSION_1;
	far->status = 0x0F; // whoever was there before us
	far->regs.base = base;
	far->regs.bytes = sizeof(far->memory);
	far->regs.read = far_read;
	far->regs.write = far_write;
	far->regs.arg = far;
	for (uint32_t i = 0; i < QUEUES; i++)
		far->queue[i].max = 256;
	fake_mmio_add(&far->regs);
	vdev->common = base;
	vdev->mmio = mmio;
	vdev->notify = base + NOTIFY_AT;
	vdev->isr = base + ISR_AT;
	vdev->config = base + (mmio ? 0x100 : CONFIG_AT);
	vdev->bytes[VIRTIO_NOTIFY] = 0x100;
	vdev->bytes[VIRTIO_CONFIG] = sizeof(far->config);
	vdev->notify_multiplier = MULTIPLIER;
	vdev->dev = &vdev->id;
	vdev->id.vendor = VIRTIO_VENDOR;
	vdev->id.device = type;
	strcpy(vdev->id.name, "far");
	return far;
}
