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
#define RING_CONTROL 0x28	// RXDCTL, TXDCTL

struct intel_desc {
	volatile uint64_t phys;
	volatile uint64_t info;	// length, command; status
};
_Static_assert(sizeof(struct intel_desc) == 16, "descriptor");

// Second quadword.  Transmit: length, command in bits 31:24, DD in bit 32.  Receive, rotated by rx_rotate: length in
// bits 15:0, status and errors in 63:32.
#define TX_EOP (1u << 24)
#define TX_IFCS (1u << 25)
#define TX_RS (1u << 27)
#define TX_LEAST 60	// bytes: some controllers get shorter ones wrong, and none takes less than 17
#define DESC_DD (1ul << 32)
#define DESC_EOP (1ul << 33)
#define RX_BITS(errors) (0xFFFFul | DESC_DD | DESC_EOP | (uint64_t)(errors) << 32)
#define RX_FIRST (DESC_DD | DESC_EOP | 14)	// of what is a whole frame

struct intel_pair {
	volatile void *tx_tail, *rx_tail;
	uint64_t tx_scale;		// a descriptor's second quadword is length * tx_scale | tx_command
	uint32_t tx_command;
	uint64_t rx_good;		// bits that say whether it is a whole good frame; 0 inside of one that is not
	uint64_t rx_bits;		// what rx_good is else: DD, EOP, length, errors
	uint64_t rx_limit;		// most bytes, less 14
	uint32_t tx_next, tx_clean;	// free-running
	uint32_t rx_next, rx_told;	// free-running; what the device has been told
	uint32_t rx_mask;		// entries - 1
	uint32_t rx_rotate;
	struct net_queue queue;
	struct ingot_frame *tx_frame[INTEL_RING], *rx_frame[INTEL_RING];
	struct intel_desc tx_desc[INTEL_RING] __attribute__((aligned(128)));
	struct intel_desc rx_desc[INTEL_RING];
};

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

// Fills the receive ring from the pool and tells the device where the rings are; it holds no frame until rx_tail is
// written with rx_mask.  Before: rx_bits and rx_rotate.
void intel_start(struct intel_pair *pair, volatile uint8_t *rx_regs, volatile uint8_t *tx_regs, uint32_t most);
// The device has been reset: all frames go back to their pools.
void intel_drop(struct net_dev *net);
