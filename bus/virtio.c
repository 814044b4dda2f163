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
#define GENERATION REG(0x15, 1, 0xFC)
#define QUEUE_SELECT REG(0x16, 2, 0x30)
#define QUEUE_SIZE_MAX REG(0x18, 2, 0x34)
#define QUEUE_SIZE REG(0x18, 2, 0x38)
#define QUEUE_ENABLE REG(0x1C, 2, 0x44)
#define QUEUE_DESC REG(0x20, 4, 0x80)
#define QUEUE_DRIVER REG(0x28, 4, 0x90)
#define QUEUE_DEVICE REG(0x30, 4, 0xA0)
#define HIGH 0x404		// upper half of a 64-bit register
#define PCI_NOTIFY_OFF 0x1E
#define MMIO_NOTIFY 0x50

#define STATUS_ACKNOWLEDGE 1	// v.2.1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define STATUS_FEATURES_OK 8

// With PCI alone a register is one instruction; with both transports a call is the shorter way.
#if CONFIG_ON(BUS_VIRTIO_MMIO)
#define REG_ACCESS __attribute__((noinline))
#else
#define REG_ACCESS inline __attribute__((always_inline))
#endif

static REG_ACCESS uint32_t reg_read(const struct virtio_dev *vdev, uint32_t reg)
{
	const volatile uint8_t *at = vdev->common;
	if (CONFIG_ON(BUS_VIRTIO_MMIO) && vdev->mmio)
		return mmio_read32(at + (uint8_t)(reg >> 8));
	at += (uint8_t)reg;
	return reg >> 16 == 1 ? mmio_read8(at) : reg >> 16 == 2 ? mmio_read16(at) : mmio_read32(at);
}

static REG_ACCESS void reg_write(const struct virtio_dev *vdev, uint32_t reg, uint32_t value)
{
	volatile uint8_t *at = vdev->common;
	if (CONFIG_ON(BUS_VIRTIO_MMIO) && vdev->mmio)
		at += (uint8_t)(reg >> 8);
	else
		at += (uint8_t)reg;
	if ((CONFIG_ON(BUS_VIRTIO_MMIO) && vdev->mmio) || reg >> 16 == 4)
		mmio_write32(at, value);
	else if (reg >> 16 == 2)
		mmio_write16(at, value);
	else
		mmio_write8(at, value);
}

// The address of queue memory: identity-mapped (mem_alloc), and below 4 GiB; the upper half is not for granted in a
// host test.
static void reg_write_address(const struct virtio_dev *vdev, uint32_t reg, const volatile void *address)
{
	reg_write(vdev, reg, (uint32_t)(uintptr_t)address);
	reg_write(vdev, reg + HIGH, (uint64_t)(uintptr_t)address >> 32);
}

int virtio_reset(struct virtio_dev *vdev)
{
	uint64_t end = time_deadline(VIRTIO_RESET_US);
	reg_write(vdev, STATUS, 0);
	while (reg_read(vdev, STATUS))	// v.4.1.4.3.2
		if (time_passed(end)) {
			log(" no reset");
			return E_TIMEOUT;
		}
	return E_OK;
}

int virtio_start(struct virtio_dev *vdev, uint64_t wanted)
{
	uint64_t offered;
	if (!vdev->common) {
		log(" legacy only");
		return E_NOTSUP;
	}
	int rc = virtio_reset(vdev);
	if (rc != E_OK)
		return rc;
	reg_write(vdev, STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	reg_write(vdev, DEVICE_FEATURE_SELECT, 1);
	offered = (uint64_t)reg_read(vdev, DEVICE_FEATURE) << 32;
	reg_write(vdev, DEVICE_FEATURE_SELECT, 0);
	offered |= reg_read(vdev, DEVICE_FEATURE);
	vdev->features = offered & (wanted | 1ul << VIRTIO_F_VERSION_1);
	reg_write(vdev, DRIVER_FEATURE_SELECT, 0);
	reg_write(vdev, DRIVER_FEATURE, vdev->features);
	reg_write(vdev, DRIVER_FEATURE_SELECT, 1);
	reg_write(vdev, DRIVER_FEATURE, vdev->features >> 32);
	reg_write(vdev, STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	if (virtio_has(vdev, VIRTIO_F_VERSION_1) && reg_read(vdev, STATUS) & STATUS_FEATURES_OK)
		return E_OK;
	log(" features refused");
	return E_IO;
}

void virtio_ready(struct virtio_dev *vdev)
{
	reg_write(vdev, STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
}

// One allocation: descriptors, available ring, used ring (v.2.7: 16, 2 and 4 bytes of alignment).  60 bytes between
// the rings keep them out of each other's cache lines and put the used elements on 8-byte boundaries.
static size_t virtq_bytes(uint32_t size)
{
	return 26 * size + 66;
}

int virtio_queue(struct virtio_dev *vdev, uint32_t index, uint32_t max_size, struct virtq *vq)
{
	reg_write(vdev, QUEUE_SELECT, index);
	uint32_t limit = reg_read(vdev, QUEUE_SIZE_MAX), size = max_size;
	while (size > limit)
		size /= 2;
	if (size < 4)
		return E_NODEV;
	char *memory = mem_alloc(virtq_bytes(size), 64);
	if (!memory)
		return E_NOMEM;
	*vq = (struct virtq){
		.desc = (struct virtq_desc *)memory,
		.ring = (uint16_t *)(memory + 16 * size + 4),
		.used = (volatile uint64_t *)(memory + 18 * size + 64),
		.size = size, .index = index, .quiet = 1, .event_index = virtio_has(vdev, VIRTIO_F_EVENT_IDX),
		.wide = CONFIG_ON(BUS_VIRTIO_MMIO) && vdev->mmio, .doorbell = vdev->common + MMIO_NOTIFY,
	};
	for (uint32_t i = 0; i < size; i++)
		vq->ring[i] = i;
	virtq_arm(vq, false);
	reg_write(vdev, QUEUE_SIZE, size);
	reg_write_address(vdev, QUEUE_DESC, vq->desc);
	reg_write_address(vdev, QUEUE_DRIVER, vq->ring - 2);
	reg_write_address(vdev, QUEUE_DEVICE, (volatile char *)vq->used - 4);
	if (CONFIG_ON(BUS_VIRTIO_PCI) && !(CONFIG_ON(BUS_VIRTIO_MMIO) && vdev->mmio)) {	// v.4.1.4.4
		uint64_t at = (uint64_t)mmio_read16(vdev->common + PCI_NOTIFY_OFF) * vdev->notify_multiplier;
		if (at + 2 > vdev->notify_bytes) {
			virtio_queue_free(vq);
			return E_INVAL;
		}
		vq->doorbell = vdev->notify + at;
	}
	reg_write(vdev, QUEUE_ENABLE, 1);
	return E_OK;
}

void virtio_queue_free(struct virtq *vq)
{
	mem_free(vq->desc, virtq_bytes(vq->size));
	vq->desc = NULL;
}

uint64_t virtio_config(struct virtio_dev *vdev, uint32_t offset, uint32_t bytes)
{
	volatile uint8_t *at = vdev->config + offset;
	uint32_t generation;
	uint64_t value;
	if (offset + bytes > vdev->config_bytes)
		return 0;
	switch (bytes) {
	case 1: return mmio_read8(at);
	case 2: return mmio_read16(at);
	case 4: return mmio_read32(at);
	}
	// Bounded: a device that changes it all the time is believed the last time.
	for (uint32_t tries = 0; tries < 16; tries++) {
		generation = reg_read(vdev, GENERATION);
		value = mmio_read32(at) | (uint64_t)mmio_read32(at + 4) << 32;
		if (generation == reg_read(vdev, GENERATION))
			break;
	}
	return value;
}

void virtq_arm(struct virtq *vq, bool on)
{
	vq->quiet = !on;
	if (vq->event_index)
		virtq_used_event(vq) = vq->used_index - vq->quiet;
	else
		virtq_avail_flags(vq) = vq->quiet;	// v.2.7.7: VIRTQ_AVAIL_F_NO_INTERRUPT
	barrier_store_load();
}

void virtq_publish(struct virtq *vq)
{
	uint16_t now = vq->avail_index, before = vq->notified;
	barrier();
	virtq_avail_index(vq) = now;
	vq->notified = now;
	// An event that was just passed is 65535 buffers away.
	virtq_used_event(vq) = vq->used_index - vq->quiet;
	barrier_store_load();
	if (vq->event_index) {
		uint16_t event = virtq_avail_event(vq);
		if ((uint16_t)(now - event - 1) >= (uint16_t)(now - before))
			return;
	} else if (virtq_used_flags(vq) & 1) {	// VIRTQ_USED_F_NO_NOTIFY
		return;
	}
	if (CONFIG_ON(BUS_VIRTIO_MMIO) && vq->wide)
		mmio_write32(vq->doorbell, vq->index);
	else
		mmio_write16(vq->doorbell, vq->index);
}

bool virtq_reorder(struct virtq *vq)
{
	uint16_t *ring = vq->ring;
	uint32_t mask = vq->size - 1;
	uint32_t slot = vq->used_index & mask, id = (uint32_t)vq->used[slot];
	for (uint16_t at = vq->used_index; at != vq->avail_index; at++)
		if (ring[at & mask] == id) {
			ring[at & mask] = ring[slot];
			ring[slot] = id;
			return true;
		}
	return false;
}
