// The rings of Intel's network controllers: the data path, the same for all of them.  A device that writes nonsense
// gets its frame dropped; indices are the driver's own.
#include "intel_ring.h"
#include <mem.h>
#include <mmio.h>

#define TELL 8u		// descriptors given back to the device at once

// Takes back frames that are sent.
static void intel_reclaim(struct intel_pair *pair)
{
	uint32_t at = pair->tx_clean;
	while (at != pair->tx_next && pair->tx_desc[at % INTEL_RING].info & DESC_DD)
		ingot_frame_put(pair->tx_frame[at++ % INTEL_RING]);
	pair->tx_clean = at;
}

static uint32_t intel_pad(struct ingot_frame *frame)
{
	memset(frame->data + frame->length, 0, TX_LEAST - frame->length);
	return TX_LEAST;
}

uint32_t intel_tx(struct net_queue *queue, struct ingot_frame *const *frames, uint32_t count)
{
	struct intel_pair *pair = intel_pair(queue);
	intel_reclaim(pair);
	uint32_t at = pair->tx_next, room = pair->tx_clean + INTEL_RING - 1 - at;
	uint64_t bytes = 0;
	if (count > room)
		count = room;
	if (!count)
		return 0;
	const uint32_t end = at + count;
	do {
		struct ingot_frame *frame = *frames++;
		struct intel_desc *desc = &pair->tx_desc[at % INTEL_RING];
		uint64_t len = frame->length;
		if (unlikely(len < TX_LEAST))
			len = intel_pad(frame);
		pair->tx_frame[at % INTEL_RING] = frame;
		desc->phys = frame->phys;
		bytes += len;
		desc->info = len * pair->tx_scale | pair->tx_command;
	} while (++at != end);
	pair->tx_next = at;
	queue->stats.tx_frames += count;
	queue->stats.tx_bytes += bytes;
	mmio_write32(pair->tx_tail, at % INTEL_RING);
	return count;
}

static inline uint64_t intel_rotate(uint64_t value, uint32_t by)
{
	return value >> (by & 63) | value << (-by & 63);
}

// Nothing is there, or what comes next is not a whole good frame and goes back to the device: a frame longer than a
// buffer takes several descriptors, and all of it goes.
static __attribute__((noinline)) uint32_t intel_rx_odd(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	struct intel_pair *pair = intel_pair(queue);
	uint64_t info, bits = pair->rx_bits;
	for (uint32_t i = max ? 0 : ~0u; i <= pair->rx_mask; i++) {
		uint32_t slot = pair->rx_next & pair->rx_mask;
		struct intel_desc *desc = &pair->rx_desc[slot];
		info = intel_rotate(desc->info, pair->rx_rotate) & bits;
		if (!(info & DESC_DD))
			break;
		if (pair->rx_good && info - RX_FIRST <= pair->rx_limit)
			return intel_rx(queue, frames, max);
		pair->rx_good = 0;
		if (info & DESC_EOP) {
			pair->rx_good = bits;
			if (info >> 34)
				queue->stats.rx_errors++;
			else
				queue->stats.rx_dropped++;
		}
		desc->phys = pair->rx_frame[slot]->phys;
		desc->info = 0;
		pair->rx_next++;
	}
	return 0;
}

// The ring is always full: a frame is handed out only if another takes its place.
uint32_t intel_rx(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	struct intel_pair *pair = intel_pair(queue);
	if (unlikely(max > queue->pool.available)) {
		intel_reclaim(pair);
		if (max > queue->pool.available)
			max = queue->pool.available;
	}
	struct ingot_frame *spare = queue->pool.free;
	uint32_t at = pair->rx_next, count = 0;
	uint64_t bytes = 0;
	for (; count < max; at++) {
		uint32_t slot = at & pair->rx_mask;
		struct intel_desc *desc = &pair->rx_desc[slot];
		// One comparison for all: DD and EOP are set, no error is, the length lies between a frame's least and most.
		uint64_t len = (intel_rotate(desc->info, pair->rx_rotate) & pair->rx_good) - RX_FIRST;
		if (unlikely(len > pair->rx_limit))
			break;
		struct ingot_frame *frame = pair->rx_frame[slot];
		pair->rx_frame[slot] = spare;
		desc->phys = (uintptr_t)spare + NET_DATA;
		desc->info = 0;
		spare = spare->next;
		len += 14;
		frame->length = len;
		frame->flags = 0;
		bytes += len;
		frames[count++] = frame;
	}
	if (unlikely(!count))
		return intel_rx_odd(queue, frames, max);
	pair->rx_next = at;
	queue->pool.free = spare;
	queue->pool.available -= count;
	queue->stats.rx_frames += count;
	queue->stats.rx_bytes += bytes;
	if (at - pair->rx_told >= TELL) {
		pair->rx_told = at;
		mmio_write32(pair->rx_tail, (at - 1) & pair->rx_mask);
	}
	return count;
}

int intel_alloc(struct net_dev *net, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct intel_pair *pair = mem_alloc(sizeof(*pair), 128);
		if (!pair)
			return E_NOMEM;
		pair->tx_scale = 1;
		pair->tx_command = TX_EOP | TX_IFCS | TX_RS;
		net->queue[i] = &pair->queue;
	}
	net->info.queues = count;
	return E_OK;
}

void intel_free(struct net_dev *net)
{
	for (uint32_t i = 0; i < NET_QUEUES; i++)
		if (net->queue[i])
			mem_free(intel_pair(net->queue[i]), sizeof(struct intel_pair));
}

static volatile void *intel_ring(volatile uint8_t *regs, const struct intel_desc *desc, uint32_t entries)
{
	uint64_t phys = (uintptr_t)desc;
	mmio_write32(regs + RING_BAL, phys);
	mmio_write32(regs + RING_BAH, phys >> 32);
	mmio_write32(regs + RING_LEN, entries * sizeof(*desc));
	mmio_write32(regs + RING_HEAD, 0);
	mmio_write32(regs + RING_TAIL, 0);
	return regs + RING_TAIL;
}

void intel_start(struct intel_pair *pair, volatile uint8_t *rx_regs, volatile uint8_t *tx_regs, uint32_t most)
{
	struct ingot_pool *pool = &pair->queue.pool;
	uint32_t size = INTEL_RING;
	while (size > pool->total - NET_SPARE)
		size /= 2;
	pair->rx_mask = size - 1;
	pair->rx_good = pair->rx_bits;
	pair->rx_limit = most - 14;
	while (size--) {
		struct ingot_frame *frame = pair->rx_frame[size] = ingot_frame_get(pool);
		pair->rx_desc[size].phys = frame->phys;
		pair->rx_desc[size].info = 0;
	}
	pair->rx_tail = intel_ring(rx_regs, pair->rx_desc, pair->rx_mask + 1);
	pair->tx_tail = intel_ring(tx_regs, pair->tx_desc, INTEL_RING);
}

void intel_drop(struct net_dev *net)
{
	for (uint32_t i = 0; i < net->info.queues; i++) {
		struct intel_pair *pair = intel_pair(net->queue[i]);
		while (pair->tx_clean != pair->tx_next)
			ingot_frame_put(pair->tx_frame[pair->tx_clean++ % INTEL_RING]);
		for (; pair->rx_frame[0] && pair->rx_mask != ~0u; pair->rx_mask--)
			ingot_frame_put(pair->rx_frame[pair->rx_mask]);
		pair->rx_frame[0] = NULL;
		pair->tx_next = pair->tx_clean = pair->rx_next = pair->rx_told = 0;
	}
}
