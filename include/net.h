// Class: network interfaces.  A driver fills a struct net_dev and registers it; programs reach it through
// ingot_api and b_net_*.
#pragma once
#include <driver.h>
#include <ingot.h>

#define NET_FRAME_BYTES 2048	// a buffer of the driver's own pool
#define NET_POOL_FRAMES 192	// how many, for queue 0
#define NET_HEADROOM 64		// bytes in front of frame->data that a driver may use (virtio's header)

// A queue pair belongs to one core.  The counts are the driver's to keep; bytes and frames once a burst.
struct net_queue {
	struct ingot_pool pool;		// rx refill and tx frames come from here
	struct ingot_frame *held;	// what b_net_rx returned last
	struct ingot_net_stats stats;
};

struct net_dev {
	// Data path, called by the core that owns `queue` (< queues_open), in any context that isn't an interrupt.
	// tx takes frames of any pool, each 14 bytes or more and at most 14 + mtu + 4, and returns how many it accepted
	// (they return to their pools when they are sent, lazily: at the next tx or rx of this queue); 0 if the ring is
	// full.  rx fills frames[] with at most `max` whole frames (data, length and flags set) and refills its ring from
	// the pool; it leaves descriptors empty rather than take from an empty pool, and fills them later.
	uint32_t (*tx)(struct net_dev *net, uint32_t queue, struct ingot_frame *const *frames, uint32_t count);
	uint32_t (*rx)(struct net_dev *net, uint32_t queue, struct ingot_frame **frames, uint32_t max);

	struct net_queue *queue;	// by net_register, `queues` of them
	const struct net_ops *ops;
	struct device *dev;
	uint8_t mac[6];
	uint16_t mtu;			// largest that the device does with the frames that it was started with
	uint16_t queues;		// pairs the device has, at most smp_count()
	uint16_t queues_open;
	uint16_t features;		// INGOT_NET_*
	uint8_t index;			// "net0" is 0
	uint8_t promiscuous;
	uint32_t classic_lock;		// b_net_tx
	void *own_pool;			// memory of the driver-owned frames
	struct net_dev *next;
};

// Control path: boot core or a control call, never beside the data path of the same interface.
struct net_ops {
	// Starts `queues` pairs: takes frames from queue[i].pool for the receive rings.  After probe and after stop.
	int (*start)(struct net_dev *net, uint32_t queues);
	// The device lets go of every frame (reset or disable); all of them go back to their pools.
	void (*stop)(struct net_dev *net);
	uint32_t (*link)(struct net_dev *net);			// 0: down, else Mbit/s (1 if unknown)
	int (*promiscuous)(struct net_dev *net, int on);	// NULL: can't
	// Interrupt on reception on core `cpu`, on (handler) or off (NULL).  NULL: can't.
	int (*interrupt)(struct net_dev *net, uint32_t queue, irq_handler handler, void *arg, uint32_t cpu);
	void (*stats)(struct net_dev *net, struct ingot_net_stats *stats);	// adds hardware counters; NULL: none
};

// Numbers the interface, gives it queue structures and a pool for queue 0, starts it with one queue, and logs its
// part of the device's line ("net0 52:54:00:12:34:56 4 queues").  On error nothing is registered.
int net_register(struct net_dev *net);

// Stops it and frees what net_register took.
void net_unregister(struct net_dev *net);
