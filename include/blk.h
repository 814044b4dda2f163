// Class: drives.  A driver fills a struct blk_dev and registers it; programs reach it through ingot_api and b_nvs_*.
#pragma once
#include <driver.h>
#include <ingot.h>
#include <lock.h>

#define BLK_API_VERSION 1

#define BLK_QUEUES 16

struct blk_dev {
	// Data path, called by the core that owns the queue: one of queue[].  The class has checked op, range and
	// alignment.  submit never waits: E_AGAIN if the queue is full; it walks the buffer with mem_phys.  E_INVAL if
	// the buffer is in more pieces than the device takes, or that is too much to discard at once.  It may leave the
	// doorbell to the next poll, or to the submit that finds the queue full: one doorbell a burst.  poll returns
	// completions in any order.
	int (*submit)(void *queue, const struct ingot_blk_req *req);
	uint32_t (*poll)(void *queue, struct ingot_blk_done *done, uint32_t max);

	const struct blk_ops *ops;
	struct device *dev;
	// What programs see.  The driver sets block_bytes (512 to 4096, a power of two), blocks, max_blocks (as data is
	// contiguous in program memory), queues (at most smp_count() and BLK_QUEUES), depth, features and align (a power of
	// two; a driver that needs more than 1 selects STORAGE_BOUNCE).
	struct ingot_blk_info info;
	void *queue[BLK_QUEUES]; // the driver's, info.queues of them
	uint8_t index;           // "disk0" is 0
	uint8_t kind;            // BLK_*: what programs find at 0x110208
	const char *identity;    // NVMe: serial, model and firmware, 70 bytes; NULL: blanks
	struct lock lock;        // b_nvs_* and blk_run: queue 0
	void *bounce;            // for data that isn't aligned to `align`
};
enum { BLK_NVME = 1, BLK_AHCI = 2, BLK_VIRTIO_SCSI = 4, BLK_VIRTIO = 8 };

struct blk_ops {
	// A request of queue[0] has not completed in BLK_TIMEOUT_US: bring the device back so that every outstanding
	// request has a completion (E_TIMEOUT) waiting in poll, or that submit fails from now on.
	void (*recover)(struct blk_dev *blk);
};
#define BLK_TIMEOUT_US 5000000

// Numbers the drive and logs its part of the device's line ("disk0 64 MiB, 512-byte blocks, read-only").
int blk_register(struct blk_dev *blk);
void blk_unregister(struct blk_dev *blk);
