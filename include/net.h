// Class: network interfaces.  A driver fills a struct net_dev and registers it; programs reach it through
// ingot_api and b_net_*.
#pragma once
#include <driver.h>
#include <ingot.h>
#include <irq.h>
#include <lock.h>
#include <program.h>

#define NET_API_VERSION 1

#define NET_FRAME_BYTES 2048 // a buffer of the driver's own
#define NET_POOL_FRAMES 161  // how many, for queue 0
#define NET_COPY_FRAMES 32   // and for what b_net_tx copies
#define NET_SPARE 32
#define NET_HEADROOM 64 // bytes in front of frame->data that a driver may use (virtio's header)

#define NET_CLASSIC_LEAST 14 // bytes that b_net_tx takes (docs/abi.md)
#define NET_CLASSIC_MOST 1522

// One comparison for both ends.
static ALWAYS_INLINE bool net_classic_fits(uint64_t len)
{
	return likely(len - NET_CLASSIC_LEAST <= NET_CLASSIC_MOST - NET_CLASSIC_LEAST);
}

// A frame is the first 64 bytes of its buffer, headroom and data follow; all pointers to frames are in the identity
// map, so that the frame is found from the address that the device has, and frame->phys is frame->data.
#define NET_DATA (sizeof(struct ingot_frame) + NET_HEADROOM)
_Static_assert(sizeof(struct ingot_frame) == 64, "frame");

// `phys` as the device has it in its descriptor.
static inline struct ingot_frame *net_frame(uint64_t phys)
{
	return (struct ingot_frame *)(uintptr_t)(phys - NET_DATA);
}

// What b_net_tx copies into a frame.  The last bytes by words that overlap: a frame has 8 at least.
static ALWAYS_INLINE void net_copy(struct ingot_frame *frame, const void *data, uint64_t len)
{
	struct word {
		uint64_t value;
	} __attribute__((packed));
	void *to = (char *)frame + NET_DATA;
	*(struct word *)((char *)to + len - 8) = *(const struct word *)((const char *)data + len - 8);
	__asm__ volatile("shr $3, %2\n\trep movsq" : "+D"(to), "+S"(data), "+c"(len)::"memory", "cc");
}

// The same as ingot_frame_put, always inline.
static ALWAYS_INLINE void net_frame_put(struct ingot_frame *frame)
{
	struct ingot_pool *pool = frame->pool;
	frame->next = pool->free;
	pool->free = frame;
	pool->available++;
}

// Frames of one call that share a pool, linked to go back together when all of them are sent.  A driver keeps this
// where the first of them is in its ring; the last knows the index behind the run.
struct net_run {
	struct ingot_frame *first, *last;
};

// Where the index behind a run of several frames is kept, of which this is the last one.
static ALWAYS_INLINE uint32_t *net_run_mark(struct ingot_frame *last)
{
	return (uint32_t *)&last->reserved[1];
}

// The index behind a run; `next` is the one behind its first frame.
static ALWAYS_INLINE uint32_t net_run_end(const struct net_run *run, uint32_t next)
{
	return run->first == run->last ? next : *net_run_mark(run->last);
}

// All `count` frames of the run, back to their pool at once.
static ALWAYS_INLINE void net_run_put(const struct net_run *run, uint32_t count)
{
	struct ingot_pool *pool = run->last->pool;
	run->last->next = pool->free;
	pool->free = run->first;
	pool->available += count;
}

// While b_net_tx alone has sent, its frames in the ring are linked as they were in `copies`, the newest of them to what
// is there now.  So those of the runs `from` to `last` go back at once.
static ALWAYS_INLINE void net_copies_put(struct ingot_pool *copies, const struct net_run *from,
	const struct net_run *last, const struct net_run *newest)
{
	newest->last->next = from->first;
	last->last->next = copies->free;
	copies->free = from->first;
}

// A queue pair belongs to one core.  The driver's own part lies around it.  The counts are the driver's to keep; bytes
// and frames once a burst.
struct net_queue {
	struct classic_net classic; // of queue 0: the driver's own (frames of `copies`), or the class's (NET_CLASSIC)
	struct net_dev *net;        // of queue 0
	struct ingot_pool pool;     // rx refill and tx frames come from here
	struct ingot_frame *held;   // of queue 0: b_net_rx's, what it has returned or a spare one
	struct lock lock;           // b_net_tx
	struct ingot_pool copies;   // frames for it, not counted: under the lock only; tx leaves room for all of them
	bool mixed;                 // tx has sent since its ring was empty: not all in it are of `copies`
	struct ingot_net_stats stats;
};
#define NET_QUEUES 16

struct net_dev {
	// Data path, called by the core that owns the queue; tx and rx of one queue touch nothing in common, but for the
	// pool if it is empty.
	// tx takes frames of any pool, each 14 bytes or more and at most 14 + mtu + 4, and returns how many it accepted
	// (they return to their pools when they are sent: at the next tx of this queue, also one of no frames, or at an rx
	// that finds its pool empty); fewer than `count` if the ring is full.
	// rx fills frames[] with at most `max` whole frames (length and flags set).  Each is replaced in its ring by one
	// from the pool; with the pool empty what has arrived stays in the ring.
	uint32_t (*tx)(struct net_queue *queue, struct ingot_frame *const *frames, uint32_t count);
	uint32_t (*rx)(struct net_queue *queue, struct ingot_frame **frames, uint32_t max);

	const struct net_ops *ops;
	struct device *dev;
	// What programs see.  The driver sets mac, queues (pairs the device has, at most smp_count() and NET_QUEUES) and
	// features; mtu is made of mtu_max and the room of the frames.
	struct ingot_net_info info;
	uint16_t mtu_max;          // the device's, 1500 or more
	uint8_t index;             // "net0" is 0
	bool offload;              // for start: frames with INGOT_RX_CSUM_GOOD may have no checksum in them
	void *memory;              // the driver's own frames
	ingot_callback on_receive; // a program's
	void *arg;
	struct net_queue *queue[NET_QUEUES]; // the driver's, zero at first: info.queues of them
};

// Control path: boot core or a control call, never beside the data path of the same interface.
struct net_ops {
	// Starts `queues` pairs: takes frames from queue[i]->pool, all of which have the same room, for the receive rings,
	// and leaves NET_SPARE or more of them.  After probe and after stop.  Nothing is started if it fails.
	int (*start)(struct net_dev *net, uint32_t queues);
	// The device lets go of every frame (reset or disable); all of them go back to their pools.  Interrupts are off.
	void (*stop)(struct net_dev *net);
	uint32_t (*link)(struct net_dev *net);           // 0: down, else Mbit/s (1 if unknown)
	int (*promiscuous)(struct net_dev *net, int on); // NULL: can't; start does as info.promiscuous says
	// Interrupt on reception on queue 0, on core `cpu`, on (handler) or off (NULL).  NULL: can't.
	int (*interrupt)(struct net_dev *net, irq_handler handler, void *arg, uint32_t cpu);
	void (*stats)(struct net_dev *net, struct ingot_net_stats *stats); // adds hardware counters; NULL: none
};

// Numbers the interface, gives it frames for queue 0, starts it with one queue, and logs its part of the device's line
// ("net0 525400123456 4 queues").  On error nothing is registered.
int net_register(struct net_dev *net);

// Stops it and frees what net_register took.
void net_unregister(struct net_dev *net);
