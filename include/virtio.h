// Bus: virtio.  "v." = section of the Virtual I/O Device (VIRTIO) specification 1.2.  One transport over PCI (modern
// interface, also of transitional devices) and one over MMIO; split virtqueues with event index.
#pragma once
#include <driver.h>
#include <irq.h>
#include <mmio.h>

#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32

#define VIRTQ_DESC_NEXT 1
#define VIRTQ_DESC_WRITE 2
#define VIRTQ_DESC_INDIRECT 4

struct virtq_desc {	// v.2.7.5
	uint64_t phys;
	uint32_t len;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct virtq_desc) == 16, "virtqueue descriptor");

struct virtq_used_elem {	// v.2.7.8
	uint32_t id, len;
};

struct virtq {
	struct virtq_desc *desc;
	uint16_t *avail;		// flags, index, ring[size], used_event
	volatile uint16_t *used;	// flags, index, elements[size] (from byte 4), avail_event
	volatile void *doorbell;
	uint16_t index, size;		// number of this queue; entries, a power of two
	uint16_t avail_index;		// free-running: next entry to publish
	uint16_t used_index;		// free-running: next entry to take back
	uint16_t notified;		// avail_index at the last notification
	bool event_index;
	bool wide;			// the doorbell is 32 bits wide (MMIO, v.4.2.2), not 16 (PCI, v.4.1.4.4)
};

static inline struct virtq_used_elem *virtq_used(const struct virtq *vq, uint16_t index)
{
	return (struct virtq_used_elem *)(uintptr_t)((const volatile char *)vq->used + 4) + (index & (vq->size - 1));
}

struct virtio_transport;

struct virtio_dev {
	struct device *dev;		// the device underneath: for its name, unit and the registry
	struct device id;		// what VIRTIO_DRIVERs are matched with: vendor 0x1AF4, device = type
	const struct virtio_transport *transport;
	volatile uint8_t *common, *notify, *isr, *config;	// config: device-specific registers
	uint32_t notify_multiplier;
	uint64_t features;		// negotiated
	void *bus;			// struct pci_dev, or the MMIO slot
};

static inline struct virtio_dev *to_virtio(struct device *id)
{
	return container_of(id, struct virtio_dev, id);
}

// Reset, ACKNOWLEDGE, DRIVER, features (those of `wanted` that the device offers; VERSION_1 is added and required),
// FEATURES_OK (v.3.1.1).  E_NOTSUP for a legacy-only device, E_TIMEOUT, E_IO if the device refuses.  Logs the cause.
int virtio_start(struct virtio_dev *vdev, uint64_t wanted);

// Sets up queue `index` with at most `max_size` entries (rounded down to a power of two) and memory of its own.
// E_NODEV if the device has no such queue.  Before virtio_ready.
int virtio_queue(struct virtio_dev *vdev, uint32_t index, uint32_t max_size, struct virtq *vq);
void virtio_queue_free(struct virtq *vq);

// DRIVER_OK.
void virtio_ready(struct virtio_dev *vdev);

// Resets the device: it lets go of all memory.  Deadline inside; a device that doesn't reset is named in the log.
void virtio_reset(struct virtio_dev *vdev);

// Device-specific configuration, read consistently (v.2.5.1: generation).
void virtio_config(struct virtio_dev *vdev, uint32_t offset, void *to, uint32_t bytes);

// Interrupt of queue `vq` (call before virtio_ready) to core `cpu`.
int virtio_irq(struct virtio_dev *vdev, struct virtq *vq, irq_handler handler, void *arg, uint32_t cpu);

static inline bool virtio_has(const struct virtio_dev *vdev, uint32_t feature)
{
	return vdev->features >> feature & 1;
}

// Publishes the chain that starts at descriptor `head`.  The device sees it after virtq_publish.
static inline void virtq_put(struct virtq *vq, uint16_t head)
{
	vq->avail[2 + (vq->avail_index++ & (vq->size - 1))] = head;
}

// Makes what was put visible and rings the doorbell if the device asks for it (v.2.7.10): once a burst.
static inline void virtq_publish(struct virtq *vq)
{
	uint16_t now = vq->avail_index, before = vq->notified;
	barrier();
	*(volatile uint16_t *)&vq->avail[1] = now;
	vq->notified = now;
	barrier_store_load();
	if (vq->event_index) {
		uint16_t event = *(const volatile uint16_t *)((const volatile char *)vq->used + 4 + 8 * vq->size);
		if ((uint16_t)(now - event - 1) >= (uint16_t)(now - before))
			return;
	} else if (vq->used[0] & 1) {
		return;
	}
	if (CONFIG_ON(BUS_VIRTIO_MMIO) && vq->wide)
		mmio_write32(vq->doorbell, vq->index);
	else
		mmio_write16(vq->doorbell, vq->index);
}

// How many entries the device has finished and the driver has not taken back.
static inline uint16_t virtq_pending(const struct virtq *vq)
{
	uint16_t count = vq->used[1] - vq->used_index;
	barrier();
	return count;
}
