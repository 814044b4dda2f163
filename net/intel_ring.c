// The rings of Intel's network controllers: the data path, the same for all of them.  A device that writes nonsense
// gets its frame dropped; indices are the driver's own.
#include "intel_ring.h"
#include <mem.h>
#include <mmio.h>

#define TELL (8 * RING_ENTRY)

#define TX_ROOM (RING_MASK - NET_COPY_FRAMES * RING_ENTRY) // for net_tx; b_net_tx finds room for each of its frames

// Out of the way: what calls them keeps its values in registers.
#define ASIDE __attribute__((noinline)) KEEPS_REGISTERS

// Takes back runs that are sent, while they are b_net_tx's alone.
static HOT ASIDE void intel_reclaim_copies(struct net_queue *queue)
{
	struct intel_pair *pair = intel_pair(queue);
	uint32_t from = pair->tx_clean, next = pair->tx_next, at = next, newest = (next - RING_ENTRY) & RING_MASK;
	if (from == next)
		return;
	if (unlikely(!(intel_at(pair, newest)->tx_desc->info & DESC_DD)))
		for (at = from; at != next && intel_at(pair, at & RING_MASK)->tx_desc->info & DESC_DD;)
			at += RING_ENTRY;
	if (at == from)
		return;
	net_copies_put(&queue->copies, intel_at(pair, from & RING_MASK)->tx_run,
		intel_at(pair, (at - RING_ENTRY) & RING_MASK)->tx_run, intel_at(pair, newest)->tx_run);
	pair->tx_clean = at;
}

// Takes back runs that are sent.  Only the last descriptor of a run asks the device for a report.
static ASIDE void intel_reclaim(struct net_queue *queue)
{
	struct intel_pair *pair = intel_pair(queue);
	uint32_t next = pair->tx_next;
	if (!queue->mixed) {
		intel_reclaim_copies(queue);
		return;
	}
	for (uint32_t at = pair->tx_clean; at != next;) {
		const struct net_run *run = intel_at(pair, at & RING_MASK)->tx_run;
		uint32_t end = net_run_end(run, at + RING_ENTRY);
		if (!(intel_at(pair, (end - RING_ENTRY) & RING_MASK)->tx_desc->info & DESC_DD))
			break;
		net_run_put(run, (end - at) / RING_ENTRY);
		pair->tx_clean = at = end;
	}
	queue->mixed = pair->tx_clean != next;
}

static ASIDE void intel_pad(struct net_queue *queue, struct ingot_frame *frame)
{
	(void)queue; // keeps its register
	volatile uint8_t *data = frame->data;
	for (uint32_t at = frame->length; at < TX_LEAST; at++)
		data[at] = 0;
}

uint32_t intel_tx(struct net_queue *queue, struct ingot_frame *const *frames, uint32_t count)
{
	struct intel_pair *pair = intel_pair(queue);
	uint32_t at = pair->tx_next;
	uint64_t bytes = 0;
	if (pair->tx_clean != at)
		intel_reclaim(queue);
	uint32_t used = at - pair->tx_clean, room = used < TX_ROOM ? (TX_ROOM - used) / RING_ENTRY : 0;
	if (unlikely(count > room))
		count = room;
	if (!count)
		return 0;
	const uint32_t end = at + count * RING_ENTRY;
	queue->mixed = true;
	queue->stats.tx_frames += count;
	do {
		struct ingot_frame *frame = *frames, *next;
		struct ingot_pool *pool = frame->pool;
		struct net_run *run = intel_at(pair, at & RING_MASK)->tx_run;
		struct intel_desc *desc;
		run->first = frame;
		for (;;) {
			desc = intel_at(pair, at & RING_MASK)->tx_desc;
			desc->phys = frame->phys;
			uint64_t len = frame->length;
			if (unlikely(len < TX_LEAST)) {
				intel_pad(queue, frame);
				len = TX_LEAST;
			}
			bytes += len;
			desc->info = len * pair->tx_scale | pair->tx_command;
			at += RING_ENTRY;
			frames++;
			if (at == end || (next = *frames)->pool != pool)
				break;
			frame->next = next;
			frame = next;
		}
		((volatile uint8_t *)&desc->info)[3] |= TX_RS >> 24;
		run->last = frame;
		*net_run_mark(frame) = at;
	} while (at != end);
	pair->tx_next = at;
	queue->stats.tx_bytes += bytes;
	mmio_write32(pair->tx_tail, (at & RING_MASK) / RING_ENTRY);
	return count;
}

// Length to bits 15:0, status and errors to 63:32.
static ALWAYS_INLINE uint64_t intel_info(const struct intel_desc *desc, uint32_t rotate)
{
	uint64_t info = desc->info;
	__asm__("rolq %%cl, %0" : "+r"(info) : "c"(rotate));
	return info;
}

// Gives descriptors back to the device, several at once.
static ALWAYS_INLINE void intel_tell(struct intel_pair *pair, uint32_t at)
{
	if (at - pair->rx_told >= TELL) {
		pair->rx_told = at;
		mmio_write32(pair->rx_tail, ((at - RING_ENTRY) & pair->rx_mask) / RING_ENTRY);
	}
}

// The frame that b_net_rx has returned last is still the one of its descriptor, which the device is about to get back.
static __attribute__((noinline)) void intel_keep(struct net_queue *queue)
{
	struct intel_pair *pair = intel_pair(queue);
	uint32_t at = pair->rx_next, slot = (at - RING_ENTRY) & pair->rx_mask;
	struct intel_rings *rings = intel_at(pair, slot);
	struct ingot_frame *frame = rings->rx_slot->frame;
	rings->rx_slot->frame = queue->held;
	rings->rx_desc->phys = queue->held->phys;
	queue->held = frame;
	pair->rx_seen = at;
}

// Nothing is there, or what comes next is not a whole good frame and goes back to the device: a frame longer than a
// buffer takes several descriptors, and all of it goes.
static __attribute__((noinline)) uint32_t intel_rx_odd(struct net_queue *queue, struct ingot_frame **frames,
	uint32_t max)
{
	struct intel_pair *pair = intel_pair(queue);
	uint64_t info, bits = pair->rx_bits;
	for (uint32_t left = max ? INTEL_RING : 0; left; left--) {
		uint32_t slot = pair->rx_next & pair->rx_mask;
		struct intel_desc *desc = intel_at(pair, slot)->rx_desc;
		info = intel_info(desc, pair->rx_rotate) & bits;
		if (!(info & DESC_DD))
			break;
		if (info - RX_FIRST <= pair->rx_limit && pair->rx_good)
			return intel_rx(queue, frames, max);
		pair->rx_good = 0;
		if (info & DESC_EOP) {
			pair->rx_good = bits;
			if (info >> 34)
				queue->stats.rx_errors++;
			else
				queue->stats.rx_dropped++;
		}
		desc->phys = intel_at(pair, slot)->rx_slot->frame->phys;
		desc->info = 0;
		pair->rx_next += RING_ENTRY;
		pair->rx_seen = pair->rx_next;
	}
	intel_tell(pair, pair->rx_next);
	return 0;
}

// A frame is handed out only if another takes its place.  The device has all descriptors but the one taken last.
uint32_t intel_rx(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	struct intel_pair *pair = intel_pair(queue);
	if (unlikely(pair->rx_next != pair->rx_seen))
		intel_keep(queue);
	if (unlikely(max > queue->pool.available)) {
		intel_reclaim(queue);
		if (max > queue->pool.available)
			max = queue->pool.available;
	}
	struct ingot_frame *spare = queue->pool.free, **const stop = frames + max;
	uint32_t at = pair->rx_next, rotate = pair->rx_rotate;
	uint64_t bytes = 0;
	while (frames != stop) {
		// One comparison for all: DD and EOP are set, no error is, the length lies between a frame's least and most.
		struct intel_rings *rings = intel_at(pair, at & pair->rx_mask);
		uint64_t len = (intel_info(rings->rx_desc, rotate) & pair->rx_good) - RX_FIRST;
		if (unlikely(len > pair->rx_limit))
			break;
		struct ingot_frame *frame = rings->rx_slot->frame;
		rings->rx_slot->frame = spare;
		rings->rx_desc->phys = spare->phys;
		rings->rx_desc->info = 0;
		spare = spare->next;
		len += 14;
		frame->length = len;
		frame->flags = 0;
		bytes += len;
		at += RING_ENTRY;
		*frames++ = frame;
	}
	uint32_t count = (at - pair->rx_next) / RING_ENTRY;
	if (unlikely(!count))
		return intel_rx_odd(queue, frames, max);
	pair->rx_next = pair->rx_seen = at;
	pair->rx_quota = pair->rx_mask / (2 * RING_ENTRY);
	queue->pool.free = spare;
	queue->pool.available -= count;
	queue->stats.rx_frames += count;
	queue->stats.rx_bytes += bytes;
	intel_tell(pair, at);
	return count;
}

// b_net_tx with a frame of its own at hand; what is sent comes back when there is none.
static HOT KEEPS_REGISTERS uint64_t intel_send(struct classic_net *classic, const void *data, uint64_t unused,
	uint64_t len)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	struct intel_pair *pair = intel_pair(queue);
	(void)unused;
	if (!net_classic_fits(len))
		return 0;
	lock_take(&queue->lock);
	struct ingot_frame *frame = queue->copies.free;
	if (unlikely(!frame)) {
		lock_drop(&queue->lock);
		return 0;
	}
	queue->copies.free = frame->next;
	net_copy(frame, data, len);
	if (unlikely(len < TX_LEAST)) {
		frame->length = len;
		intel_pad(queue, frame);
		len = TX_LEAST;
	}
	uint32_t at = pair->tx_next;
	struct intel_rings *rings = intel_at(pair, at & RING_MASK);
	rings->tx_run->first = rings->tx_run->last = frame;
	rings->tx_desc->phys = frame->phys;
	queue->stats.tx_frames++;
	queue->stats.tx_bytes += len;
	rings->tx_desc->info = len * pair->tx_scale | pair->tx_command | TX_RS;
	at += RING_ENTRY;
	pair->tx_next = at;
	mmio_write32(pair->tx_tail, (at & RING_MASK) / RING_ENTRY);
	lock_drop(&queue->lock);
	return (uintptr_t)classic;
}

static HOT KEEPS_REGISTERS uint64_t intel_refill(struct classic_net *classic)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	lock_take(&queue->lock);
	if (likely(!queue->mixed))
		intel_reclaim_copies(queue);
	lock_drop(&queue->lock);
	return 0;
}

// b_net_rx of a good frame.  It stays its descriptor's own, which the device gets back behind the next one.
static HOT KEEPS_REGISTERS uint64_t intel_receive(struct classic_net *classic)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	struct intel_pair *pair = intel_pair(queue);
	struct intel_rings *rings = intel_at(pair, pair->rx_next & pair->rx_mask);
	uint64_t len = (intel_info(rings->rx_desc, pair->rx_rotate) & pair->rx_good) - pair->rx_first;
	if (unlikely(len > pair->rx_limit)) {
		barrier();                               // rx_first is read anew: one register less for all
		return (len + pair->rx_first) >> 32 & 1; // DD: it is there, but not a good one
	}
	if (unlikely(!--pair->rx_quota)) {
		pair->rx_quota = 1; // until intel_rx has done it
		return 1;
	}
	len += 14;
	classic->length = len;
	queue->stats.rx_frames++;
	queue->stats.rx_bytes += len;
	len = (uintptr_t)rings->rx_slot->frame + NET_DATA;
	rings->rx_desc->phys = len;
	rings->rx_desc->info = 0;
	pair->rx_next += RING_ENTRY;
	return len;
}

int intel_alloc(struct net_dev *net, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct intel_pair *pair = mem_alloc(sizeof(*pair), 128);
		if (!pair)
			return E_NOMEM;
		pair->tx_scale = 1;
		pair->tx_command = TX_EOP | TX_IFCS;
		pair->queue.classic = (struct classic_net){ intel_send, intel_receive, 0, intel_refill };
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
	pair->rx_mask = (size - 1) * RING_ENTRY;
	pair->rx_good = pair->rx_bits;
	pair->rx_limit = most - 14;
	pair->rx_first = RX_FIRST;
	pair->rx_quota = size / 2;
	for (uint32_t i = 0; i < size; i++) {
		struct ingot_frame *frame = ingot_frame_get(pool);
		pair->rings.rx_slot[i].frame = frame;
		pair->rings.rx_desc[i].phys = frame->phys;
		pair->rings.rx_desc[i].info = 0;
	}
	pair->rx_tail = intel_ring(rx_regs, pair->rings.rx_desc, size);
	pair->tx_tail = intel_ring(tx_regs, pair->rings.tx_desc, INTEL_RING);
}

void intel_go(struct intel_pair *pair)
{
	mmio_write32(pair->rx_tail, pair->rx_mask / RING_ENTRY);
}

void intel_drop(struct net_dev *net)
{
	for (uint32_t i = 0; i < net->info.queues; i++) {
		struct intel_pair *pair = intel_pair(net->queue[i]);
		for (uint32_t n = 0; n < INTEL_RING; n++) {
			pair->rings.tx_desc[n].info |= DESC_DD;
			if (pair->rings.rx_slot[n].frame)
				ingot_frame_put(pair->rings.rx_slot[n].frame);
			pair->rings.rx_slot[n].frame = NULL;
		}
		intel_reclaim(&pair->queue);
		pair->tx_next = pair->tx_clean = pair->rx_next = pair->rx_told = pair->rx_seen = 0;
	}
}
