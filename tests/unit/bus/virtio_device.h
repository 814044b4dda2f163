// A virtio device for host tests: registers over MMIO or as PCI's common configuration, strict about widths, and the
// device's side of the rings.  The test says what it does wrong.
#pragma once
#include <fake.h>
#include <virtio.h>

#define DEVICE_QUEUES 9
#define NOTIFY_AT 0x1000	// PCI: offsets in the one BAR
#define ISR_AT 0x2000
#define CONFIG_AT 0x3000
#define NOTIFY_MULTIPLIER 4

struct device_queue {
	uint16_t max, size, ready, last_avail;
	uint64_t desc, driver, device;
	uint32_t notified;
};

struct device {
	struct fake_mmio regs;
	uint8_t memory[0x4000];
	struct virtio_dev vdev;
	bool mmio, stuck, refuse;
	uint64_t offered, accepted;
	uint32_t device_select, driver_select, queue_select;
	uint8_t status, isr;
	uint32_t resets;
	struct device_queue queue[DEVICE_QUEUES];
	uint8_t config[64];
	uint32_t config_bytes;
	uint16_t notify_off;	// added to the queue's own
};
