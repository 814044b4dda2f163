// Virtio devices and split virtqueues over either transport.  "v." = section of the VIRTIO specification 1.2.
#include <virtio.h>
#include <log.h>
#include <mem.h>
#include <time.h>

// A register of both transports: its offset and width in PCI's common configuration (v.4.1.4.3), and its offset among
// the MMIO registers (v.4.2.2), which are all 32 bits wide.
#define REG(pci, width, mmio) ((pci) | (mmio) << 8 | (width) << 16)
#define DEVICE_FEATURE_SELECT REG(0x00, 4, 0x14)
#define DEVICE_FEATURE REG(0x04, 4, 0x10)
#define DRIVER_FEATURE_SELECT REG(0x08, 4, 0x24)
#define DRIVER_FEATURE REG(0x0C, 4, 0x20)
#define STATUS REG(0x14, 1, 0x70)
#define QUEUE_SELECT REG(0x16, 2, 0x30)
#define QUEUE_SIZE_MAX REG(0x18, 2, 0x34)
#define QUEUE_SIZE REG(0x18, 2, 0x38)
#define QUEUE_ENABLE REG(0x1C, 2, 0x44)
#define QUEUE_DESC REG(0x20, 4, 0x80)
#define QUEUE_DRIVER REG(0x28, 4, 0x90)
#define QUEUE_DEVICE REG(0x30, 4, 0xA0)
#define HIGH 0x404 // from the lower to the upper half of a 64-bit register
#define PCI_NOTIFY_OFF 0x1E
#define MMIO_NOTIFY 0x50

#define STATUS_ACKNOWLEDGE 1 // v.2.1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define STATUS_FEATURES_OK 8
#define STATUS_KNOWN (STATUS_ACKNOWLEDGE | STATUS_DRIVER)

#define RESET_US 1000000
#define REMIND_LOOKS 1024u // a device that is at work may ask for a doorbell for a moment, and see that it needs none

// With PCI alone a register is one instruction; with both transports a call is the shorter way.
#if CONFIG_ON(BUS_VIRTIO_MMIO)
#define REG_ACCESS __attribute__((noinline))
#else
#define REG_ACCESS inline __attribute__((always_inline))
#endif

static inline bool is_mmio(const struct virtio_dev *vdev)
{
	return CONFIG_ON(BUS_VIRTIO_MMIO) && (!CONFIG_ON(BUS_VIRTIO_PCI) || vdev->mmio);
}

static inline uint32_t read_width(const volatile uint8_t *at, uint32_t width)
{
	return width == 1 ? mmio_read8(at) : width == 2 ? mmio_read16(at) : mmio_read32(at);
}

static REG_ACCESS uint32_t reg_read(const struct virtio_dev *vdev, uint32_t reg)
{
	if (is_mmio(vdev))
		return mmio_read32(vdev->common + (uint8_t)(reg >> 8));
	return read_width(vdev->common + (uint8_t)reg, reg >> 16);
}

static REG_ACCESS void reg_write(const struct virtio_dev *vdev, uint32_t reg, uint32_t value)
{
	if (is_mmio(vdev))
		mmio_write32(vdev->common + (uint8_t)(reg >> 8), value);
	else if (reg >> 16 == 1)
		mmio_write8(vdev->common + (uint8_t)reg, value);
	else if (reg >> 16 == 2)
		mmio_write16(vdev->common + (uint8_t)reg, value);
	else
		mmio_write32(vdev->common + (uint8_t)reg, value);
}

static void reg_write_address(const struct virtio_dev *vdev, uint32_t reg, const volatile void *address)
{
	reg_write(vdev, reg, (uint32_t)(uintptr_t)address);
	reg_write(vdev, reg + HIGH, (uint64_t)(uintptr_t)address >> 32);
}

int virtio_reset(struct virtio_dev *vdev)
{
	uint64_t end = time_deadline(RESET_US);
	reg_write(vdev, STATUS, 0);
	while (reg_read(vdev, STATUS)) // v.4.1.4.3.2
		if (time_passed(end)) {
			log(" no reset");
			return E_TIMEOUT;
		}
	return E_OK;
}

int virtio_start(struct virtio_dev *vdev, uint64_t wanted)
{
	if (!vdev->common) {
		log(" legacy only");
		return E_NOTSUP;
	}
	int rc = virtio_reset(vdev);
	if (rc != E_OK)
		return rc;
	reg_write(vdev, STATUS, STATUS_KNOWN);
	// v.6.1, 6.2: addresses are those of the bus, and so is the order of accesses: as they are for any device here.
	wanted |= 1ul << VIRTIO_F_VERSION_1 | 1ul << VIRTIO_F_ACCESS_PLATFORM | 1ul << VIRTIO_F_ORDER_PLATFORM;
	for (uint32_t half = 2; half--;) {
		reg_write(vdev, DEVICE_FEATURE_SELECT, half);
		reg_write(vdev, DRIVER_FEATURE_SELECT, half);
		uint32_t common = reg_read(vdev, DEVICE_FEATURE) & (uint32_t)(wanted >> 32 * half);
		reg_write(vdev, DRIVER_FEATURE, common);
		vdev->features = vdev->features << 32 | common;
	}
	reg_write(vdev, STATUS, STATUS_KNOWN | STATUS_FEATURES_OK);
	if (reg_read(vdev, STATUS) & STATUS_FEATURES_OK && virtio_has(vdev, VIRTIO_F_VERSION_1))
		return E_OK;
	log(" features refused");
	return E_IO;
}

void virtio_ready(struct virtio_dev *vdev)
{
	reg_write(vdev, STATUS, STATUS_KNOWN | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
}

// One allocation: descriptors, available ring, used ring (v.2.7: 16, 2 and 4 bytes of alignment).  54 bytes between
// the rings keep them out of each other's cache lines and put the used elements on 8-byte boundaries.
static size_t virtq_bytes(uint32_t size)
{
	return 26 * size + 66;
}

int virtio_queue(struct virtio_dev *vdev, uint32_t index, uint32_t size, struct virtq *vq)
{
	reg_write(vdev, QUEUE_SELECT, index);
	uint32_t limit = reg_read(vdev, QUEUE_SIZE_MAX);
	while (size > limit)
		size /= 2;
	if (size < 4)
		return E_NODEV;
	if (!vq->desc) {
		vq->desc = mem_alloc(virtq_bytes(size), 64);
		if (!vq->desc)
			return E_NOMEM;
		vq->room = size;
	}
	char *memory = memset(vq->desc, 0, virtq_bytes(size));
	vq->avail_index = vq->used_index = vq->rung = 0;
	vq->armed = false;
	vq->ring = (uint16_t *)(memory + 16 * size + 4);
	vq->used = (volatile uint64_t *)(memory + 18 * size + 64);
	vq->size = size;
	vq->mask = size - 1;
	vq->index = index;
	vq->doorbell = vdev->common + MMIO_NOTIFY;
	vq->wide = is_mmio(vdev);
	if (CONFIG_ON(BUS_VIRTIO_PCI) && !is_mmio(vdev)) { // v.4.1.4.4
		uint64_t at = (uint64_t)mmio_read16(vdev->common + PCI_NOTIFY_OFF) * vdev->notify_multiplier;
		if (at + 2 > vdev->bytes[VIRTIO_NOTIFY])
			return E_INVAL;
		vq->doorbell = vdev->notify + at;
	}
	reg_write(vdev, QUEUE_SIZE, size);
	reg_write_address(vdev, QUEUE_DESC, memory);
	reg_write_address(vdev, QUEUE_DRIVER, vq->ring - 2);
	reg_write_address(vdev, QUEUE_DEVICE, (volatile char *)vq->used - 4);
	reg_write(vdev, QUEUE_ENABLE, 1);
	vq->event_mask = -virtio_has(vdev, VIRTIO_F_EVENT_IDX);
	vq->event = vq->event_mask ? (volatile uint16_t *)(vq->used + vq->size) : &virtq_used_flags(vq);
	virtq_avail_flags(vq) = !vq->event_mask; // v.2.7.7: no interrupts
	virtq_used_event(vq) = -1;
	while (size--)
		vq->ring[size] = size;
	return E_OK;
}

void virtio_queue_free(struct virtq *vq)
{
	mem_free(vq->desc, virtq_bytes(vq->room));
}

uint32_t virtio_config(struct virtio_dev *vdev, uint32_t field, uint32_t otherwise)
{
	uint32_t offset = (uint8_t)(field >> 8), width = field >> 16;
	if (!virtio_has(vdev, (uint8_t)field) || offset + width > vdev->bytes[VIRTIO_CONFIG])
		return otherwise;
	return read_width(vdev->config + offset, width);
}

// ---- Interrupts ----------------------------------------------------------------------------------------------

void virtio_interrupt(void *arg)
{
	struct virtio_dev *vdev = arg;
	vdev->handler(vdev->arg);
}

int virtio_irq(struct virtio_dev *vdev, struct virtq *vq, irq_handler handler, void *arg, uint32_t cpu)
{
	int rc = E_OK;
	if (vdev->vector)
		vdev->connect(vdev, VIRTIO_OFF, 0);
	vdev->vector = 0;
	vdev->handler = handler;
	vdev->arg = arg;
	if (handler && (rc = vdev->connect(vdev, vq->index, cpu)) > 0) {
		vdev->vector = rc;
		rc = E_OK;
	}
	vq->armed = vdev->vector;
	if (vq->event_mask)
		virtq_used_event(vq) = vq->used_index - !vq->armed;
	else
		virtq_avail_flags(vq) = !vq->armed;
	return rc;
}

void virtq_describe(struct virtq_desc *desc, const volatile void *data, uint32_t len, uint32_t flags)
{
	desc->phys = (uintptr_t)data;
	desc->len = len;
	desc->flags = flags;
	desc->next = flags >> 16;
}

// ---- Data path -----------------------------------------------------------------------------------------------

HOT void virtq_publish(struct virtq *vq)
{
	uint16_t now = vq->avail_index;
	if (unlikely(vq->armed))
		virtq_used_event(vq) = vq->used_index;
	uint16_t before = virtq_avail_index(vq);
	barrier(); // the entries and their descriptors come first
	virtq_avail_index(vq) = now;
	barrier_store_load();
	uint16_t event = *vq->event;
	if (vq->event_mask ? (uint16_t)(now - event - 1) < (uint16_t)(now - before) : !(event & VIRTQ_USED_NO_NOTIFY))
		virtq_ring(vq, now);
}

void virtq_remind(struct virtq *vq)
{
	uint16_t event = *vq->event, ahead = vq->event_mask ? event - vq->rung : -(event & VIRTQ_USED_NO_NOTIFY);
	if (!(++vq->looks % REMIND_LOOKS) && ahead < (uint16_t)(vq->avail_index - vq->rung))
		virtq_ring(vq, vq->avail_index);
}

bool virtq_reorder(struct virtq *vq)
{
	uint16_t *slot = &vq->ring[vq->used_index & vq->mask];
	uint32_t id = (uint32_t)vq->used[vq->used_index & vq->mask];
	for (uint32_t at = vq->used_index; at != vq->avail_index; at++) {
		uint16_t *other = &vq->ring[at & vq->mask];
		if (*other == id) {
			*other = *slot;
			*slot = id;
			return true;
		}
	}
	return false;
}

void virtq_cancel(struct virtq *vq)
{
	for (uint32_t at = vq->used_index; at != vq->avail_index; at++)
		vq->used[at & vq->mask] = vq->ring[at & vq->mask];
	if (vq->desc)
		virtq_used_index(vq) = virtq_avail_index(vq) = vq->avail_index; // no doorbell any more
}
