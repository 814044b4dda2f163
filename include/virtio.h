// Bus: virtio.  "v." = section of the Virtual I/O Device (VIRTIO) specification 1.2.  One transport over PCI (modern
// interface, also of transitional devices) and one over MMIO; split virtqueues with event index.
#pragma once
#include <driver.h>
#include <irq.h>
#include <mmio.h>

#define VIRTIO_API_VERSION 1

#define VIRTIO_VENDOR 0x1AF4
#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32
#define VIRTIO_F_ACCESS_PLATFORM 33
#define VIRTIO_F_ORDER_PLATFORM 36

#define VIRTQ_DESC_NEXT 1
#define VIRTQ_DESC_WRITE 2
#define VIRTQ_DESC_INDIRECT 4
#define VIRTQ_USED_NO_NOTIFY 1 // v.2.7.8

struct virtq_desc { // v.2.7.5
	uint64_t phys;
	uint32_t len;
	uint16_t flags, next;
};
_Static_assert(sizeof(struct virtq_desc) == 16, "virtqueue descriptor");

// The available ring always holds every descriptor number once: first those that the device has, then the free ones.
// Entry n is given out as it stands, and when the device finishes its n-th buffer, entry n holds that number
// (virtq_match sees to it), free for the next round.  So there is no other list, and a number that the device has
// already given back, or never had, is not taken.
struct virtq {
	struct virtq_desc *desc;
	uint16_t *ring;           // numbers of descriptors
	volatile uint64_t *used;  // v.2.7.8: length 63:32, number 31:0
	volatile uint16_t *event; // avail_event; without VIRTIO_F_EVENT_IDX the used ring's flags
	volatile void *doorbell;
	uint32_t avail_index; // free-running: next entry to publish; only 16 bits are seen by the device
	uint32_t used_index;  // free-running: next entry to take back
	uint32_t size, mask;  // entries, a power of two; size - 1
	uint16_t room;        // entries that there is memory for
	uint16_t index;       // number of this queue
	bool armed;           // interrupts on
	uint16_t event_mask;  // all ones with VIRTIO_F_EVENT_IDX, 0 without
	bool wide;            // the doorbell is 32 bits wide (MMIO, v.4.2.2), not 16 (PCI, v.4.1.4.4)
	uint16_t rung;        // avail_index when the doorbell was rung last
	uint16_t looks;       // that found nothing finished, for virtq_remind
};

// The words around the rings (v.2.7.6, 2.7.8): the driver's flags, index and used_event, the device's flags and index.
#define virtq_avail_flags(vq) (((volatile uint16_t *)(vq)->ring)[-2])
#define virtq_avail_index(vq) (((volatile uint16_t *)(vq)->ring)[-1])
#define virtq_used_event(vq) (((volatile uint16_t *)(vq)->ring)[(vq)->size])
#define virtq_used_flags(vq) (((volatile uint16_t *)(vq)->used)[-2])
#define virtq_used_index(vq) (((volatile uint16_t *)(vq)->used)[-1])

struct virtio_dev {
	struct device *dev;             // the device underneath, or &id
	volatile uint8_t *common;       // NULL: the device has only the legacy interface
	volatile uint8_t *notify, *isr; // PCI
	volatile uint8_t *config;       // device-specific registers
	uint32_t bytes[4];              // of each of these
	uint32_t notify_multiplier;
	bool mmio;
	uint8_t line;      // MMIO
	uint64_t features; // negotiated
	// Connects the interrupt of queue number `queue` with virtio_interrupt on core `cpu` and returns the vector, or
	// an error; disconnects `vector` if queue is VIRTIO_OFF.
	int (*connect)(struct virtio_dev *vdev, uint32_t queue, uint32_t cpu);
	int vector; // 0: none
	irq_handler handler;
	void *arg;
	struct device id; // what VIRTIO_DRIVERs are matched with: vendor 0x1AF4, device = type
};
enum { VIRTIO_COMMON, VIRTIO_NOTIFY, VIRTIO_ISR, VIRTIO_CONFIG };
#define VIRTIO_OFF (~0u)

// What probe and remove of a driver in the virtio table are given.
static inline struct virtio_dev *to_virtio(struct device *id)
{
	return container_of(id, struct virtio_dev, id);
}

// Reset, ACKNOWLEDGE, DRIVER, features (those of `wanted` that the device offers; VERSION_1 is added and required),
// FEATURES_OK (v.3.1.1).  E_NOTSUP for a legacy-only device, E_TIMEOUT, E_IO if the device refuses.  Logs the cause.
int virtio_start(struct virtio_dev *vdev, uint64_t wanted);

// Sets up queue `index` with at most `max_size` entries (a power of two, 4 or more), without interrupts.  Its memory is
// allocated the first time (*vq is zero then), and stays for the next, which may want less.  E_NODEV if the device has
// no such queue.  Before virtio_ready.
int virtio_queue(struct virtio_dev *vdev, uint32_t index, uint32_t max_size, struct virtq *vq);
// The device has been reset.
void virtio_queue_free(struct virtq *vq);

// DRIVER_OK.
void virtio_ready(struct virtio_dev *vdev);

// Resets the device: it lets go of all memory.  E_TIMEOUT (logged) if it doesn't.
int virtio_reset(struct virtio_dev *vdev);

// A field of the device-specific configuration: the feature that it depends on, its offset and its width: 1, 2 or 4
// bytes.  virtio_config reads it (v.4.1.3.1: in its own width), or gives `otherwise` if the feature wasn't negotiated
// or the device's configuration is shorter.
#define VIRTIO_FIELD(feature, offset, bytes) ((feature) | (offset) << 8 | (bytes) << 16)
uint32_t virtio_config(struct virtio_dev *vdev, uint32_t field, uint32_t otherwise);

// The device's one interrupt: from queue number `queue`, which is armed then, to handler(arg) on core `cpu`; handler
// NULL: off.  After virtio_ready.  A reset leaves it to be switched off.
int virtio_irq(struct virtio_dev *vdev, struct virtq *vq, irq_handler handler, void *arg, uint32_t cpu);
void virtio_interrupt(void *arg); // transports call the handler through this

// Whether feature bit `feature` was negotiated.
static inline bool virtio_has(const struct virtio_dev *vdev, uint32_t feature)
{
	return vdev->features >> feature & 1;
}

// Fills in a descriptor; `flags` with the number of the next one in bits 31:16.
void virtq_describe(struct virtq_desc *desc, const volatile void *data, uint32_t len, uint32_t flags);

// Makes the entries up to avail_index visible, asks for the next interrupt if the queue is armed, and rings the
// doorbell if the device asks for it (v.2.7.10): once a burst.
void virtq_publish(struct virtq *vq);

// Makes entry `at` visible; those before it are.  True if the device asks for the doorbell.
static ALWAYS_INLINE bool virtq_publish_one(struct virtq *vq, uint32_t at)
{
	uint32_t next = at + 1;
	__asm__("" : "+r"(next)); // one register for both
	vq->avail_index = next;
	barrier(); // the entry and its descriptors come first
	virtq_avail_index(vq) = next;
	barrier_store_load();
	// The event's index or, without, flags that are 0 (v.2.7.9: VIRTQ_USED_F_NO_NOTIFY is the only one).
	return *(const uint16_t *)vq->event == (uint16_t)(at & vq->event_mask);
}

// Whether there are entries that virtq_publish would make visible.
static ALWAYS_INLINE bool virtq_unpublished(const struct virtq *vq)
{
	return virtq_avail_index(vq) != (uint16_t)vq->avail_index;
}

// Rings the doorbell.
static ALWAYS_INLINE void virtq_doorbell(const struct virtq *vq)
{
	if (CONFIG_ON(BUS_VIRTIO_MMIO) && vq->wide)
		mmio_write32(vq->doorbell, vq->index);
	else
		mmio_write16(vq->doorbell, vq->index);
}

// The same, for the entries below `end`, and virtq_remind knows it.
static ALWAYS_INLINE void virtq_ring(struct virtq *vq, uint32_t end)
{
	vq->rung = end;
	virtq_doorbell(vq);
}

// Called where the device has finished nothing more.  Now and then it looks whether the device waits for a doorbell
// that has not been rung, and rings it.  (QEMU 7.2's TCG orders nothing on a machine with one processor: both sides may
// then miss what the other has written last.)
void virtq_remind(struct virtq *vq);

// The device has finished another buffer than the one in entry `used_index`: brings the number that it names there.
// False if it names one that it doesn't have: nothing more can be taken from this queue.
bool virtq_reorder(struct virtq *vq);

// The next buffer that the device has finished is the one whose number is in entry `used_index`.  False: see above.
static inline __attribute__((always_inline)) bool virtq_match(struct virtq *vq)
{
	uint32_t slot = vq->used_index & vq->mask;
	return likely((uint32_t)vq->used[slot] == vq->ring[slot]) || virtq_reorder(vq);
}

// The device has been reset: what it had counts as finished, in order, with a length of 0.
void virtq_cancel(struct virtq *vq);

// A used element as it is now: read once.
static ALWAYS_INLINE uint64_t virtq_used(volatile uint64_t *used, uint32_t slot)
{
	uint64_t value;
	__asm__ volatile("mov %1, %0" : "=r"(value) : "m"(((const uint64_t *)used)[slot]));
	return value;
}

// How many entries the device has finished and the driver has not taken back; the device's word for it.
static ALWAYS_INLINE uint32_t virtq_pending(const struct virtq *vq)
{
	uint16_t count = virtq_used_index(vq) - vq->used_index;
	barrier();
	return count;
}
