// Descriptor rings of Intel's gigabit and 10 gigabit controllers, one buffer a descriptor: legacy, extended (82574) and
// advanced ones (82599) differ in a rotation and in masks.
#pragma once
#include <net.h>

#define INTEL_RING 256u

// Ring registers, from the first one (RDBAL, TDBAL) on: the same in all families.
#define RING_BAL 0x00
#define RING_BAH 0x04
#define RING_LEN 0x08
#define RING_HEAD 0x10
#define RING_TAIL 0x18
#define RING_CONTROL 0x28 // RXDCTL, TXDCTL

struct intel_desc {
	volatile uint64_t phys;
	volatile uint64_t info; // length, command; status
};
_Static_assert(sizeof(struct intel_desc) == 16, "descriptor");

// Second quadword.  Transmit: length, command in bits 31:24, DD in bit 32.  Receive, rotated by rx_rotate: length in
// bits 15:0, status and errors in 63:32.
#define TX_EOP (1u << 24)
#define TX_IFCS (1u << 25)
#define TX_RS (1u << 27)
#define TX_LEAST 60 // bytes: some controllers get shorter ones wrong, and none takes less than 17
#define DESC_DD (1ul << 32)
#define DESC_EOP (1ul << 33)
#define RX_BITS(errors) (0xFFFFul | DESC_DD | DESC_EOP | (uint64_t)(errors) << 32)
#define RX_FIRST (DESC_DD | DESC_EOP | 14) // of what is a whole frame

// An index counts 16 bytes an entry and runs on freely.  What the driver has to remember of an entry is as far apart.
#define RING_ENTRY 16u
#define RING_MASK (INTEL_RING * RING_ENTRY - RING_ENTRY)

struct intel_slot {
	struct ingot_frame *frame;
	uint64_t unused;
};

// All of a pair's arrays have RING_ENTRY bytes an entry: intel_at gives those that begin with the entry of an index.
struct intel_rings {
	struct net_run tx_run[INTEL_RING];
	struct intel_slot rx_slot[INTEL_RING];
	struct intel_desc tx_desc[INTEL_RING];
	struct intel_desc rx_desc[INTEL_RING];
};

struct intel_pair {
	struct net_queue queue;     // first
	uint32_t tx_next, tx_clean; // indices: the next to fill, the next to take back
	uint32_t rx_next, rx_told;  // the next to look at; how far it was when the device was told
	uint32_t rx_seen;           // rx_next when intel_rx left: frames from there on are b_net_rx's
	uint32_t rx_quota;          // frames of b_net_rx until the device gets their descriptors back
	uint32_t rx_mask;
	uint32_t rx_rotate;
	uint64_t rx_good;  // bits that say whether it is a whole good frame; 0 inside of one that is not
	uint64_t rx_limit; // most bytes, less 14
	uint64_t tx_scale; // a descriptor's second quadword is length * tx_scale | tx_command
	uint64_t tx_command;
	volatile void *tx_tail, *rx_tail;
	uint64_t rx_bits;  // what rx_good is else: DD, EOP, length, errors
	uint64_t rx_first; // RX_FIRST, which is too long for an instruction
	struct intel_rings rings __attribute__((aligned(128)));
};

static ALWAYS_INLINE struct intel_rings *intel_at(struct intel_pair *pair, uint64_t index)
{
	return (struct intel_rings *)((char *)&pair->rings + index);
}

static inline struct intel_pair *intel_pair(struct net_queue *queue)
{
	return container_of(queue, struct intel_pair, queue);
}

// net_dev's own.
uint32_t intel_tx(struct net_queue *queue, struct ingot_frame *const *frames, uint32_t count);
uint32_t intel_rx(struct net_queue *queue, struct ingot_frame **frames, uint32_t max);

// Memory for `count` pairs, now: when the program runs there is none.  Transmit descriptors are legacy ones unless the
// driver says otherwise.  E_NOMEM: intel_free takes what there is.
int intel_alloc(struct net_dev *net, uint32_t count);
void intel_free(struct net_dev *net);

// Fills the receive ring from the pool and tells the device where the rings are; it gets the frames by intel_go.
// Before: rx_bits and rx_rotate.
void intel_start(struct intel_pair *pair, volatile uint8_t *rx_regs, volatile uint8_t *tx_regs, uint32_t most);
void intel_go(struct intel_pair *pair);
// The device has been reset: all frames go back to their pools.
void intel_drop(struct net_dev *net);
