// The rings of Intel's network controllers: the data path, the same for all of them.  A device that writes nonsense
// gets its frame dropped; indices are the driver's own.
#include "intel_ring.h"
#include <mem.h>
#include <mmio.h>

#define TELL (8 * RING_ENTRY)

// Out of the way: what calls them keeps its values in registers.
#ifdef INGOT_TEST
#define ASIDE __attribute__((noinline))
#else
#define ASIDE __attribute__((noinline, no_caller_saved_registers))
#endif

// The last frame of a run knows where it ends.
static ALWAYS_INLINE uint32_t *intel_run_end(struct ingot_frame *last)
{
	return (uint32_t *)&last->reserved[1];
}

// Frames of one call that share a pool are a run: linked to go back together.  Only its last descriptor asks the device
// for a report.  What there is to know of a run is at its first descriptor's place.  Takes back runs that are sent.
static ASIDE void intel_reclaim(struct net_queue *queue)
{
	struct intel_pair *pair = intel_pair(queue);
	for (uint32_t at = pair->tx_clean; at != pair->tx_next;) {
		const struct intel_run *run = INTEL_AT(pair->tx_run, at & RING_MASK);
		struct ingot_frame *last = run->last;
		struct ingot_pool *pool = last->pool;
		uint32_t end = *intel_run_end(last);
		if (!(INTEL_AT(pair->tx_desc, (end - RING_ENTRY) & RING_MASK)->info & DESC_DD))
			break;
		last->next = pool->free;
		pool->free = run->first;
		pool->available += (end - at) / RING_ENTRY;
		pair->tx_clean = at = end;
	}
}

static ASIDE void intel_pad(struct net_queue *queue, struct ingot_frame *frame)
{
	(void)queue;	// keeps its register
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
	uint32_t end = at + count * RING_ENTRY;
	if (unlikely(end - pair->tx_clean > RING_MASK || count > INTEL_RING)) {
		end = pair->tx_clean + RING_MASK;
		count = (end - at) / RING_ENTRY;
	}
	if (!count)
		return 0;
	queue->stats.tx_frames += count;
	do {
		struct ingot_frame *frame = *frames, *next;
		struct ingot_pool *pool = frame->pool;
		struct intel_run *run = INTEL_AT(pair->tx_run, at & RING_MASK);
		struct intel_desc *desc;
		run->first = frame;
		for (;;) {
			desc = INTEL_AT(pair->tx_desc, at & RING_MASK);
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
		*intel_run_end(frame) = at;
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

// Nothing is there, or what comes next is not a whole good frame and goes back to the device: a frame longer than a
// buffer takes several descriptors, and all of it goes.
static __attribute__((noinline))
uint32_t intel_rx_odd(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	struct intel_pair *pair = intel_pair(queue);
	uint64_t info, bits = pair->rx_bits;
	for (uint32_t left = max ? INTEL_RING : 0; left; left--) {
		uint32_t slot = pair->rx_next & pair->rx_mask;
		struct intel_desc *desc = INTEL_AT(pair->rx_desc, slot);
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
		desc->phys = INTEL_AT(pair->rx_slot, slot)->frame->phys;
		desc->info = 0;
		pair->rx_next += RING_ENTRY;
	}
	intel_tell(pair, pair->rx_next);
	return 0;
}

// The ring is always full: a frame is handed out only if another takes its place.
uint32_t intel_rx(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	struct intel_pair *pair = intel_pair(queue);
	if (unlikely(max > queue->pool.available)) {
		intel_reclaim(queue);
		if (max > queue->pool.available)
			max = queue->pool.available;
	}
	struct ingot_frame *spare = queue->pool.free, **const stop = frames + max;
	uint32_t at = pair->rx_next, rotate = pair->rx_rotate;
	uint64_t bytes = 0;
	while (frames != stop) {
		uint32_t slot = at & pair->rx_mask;
		// One comparison for all: DD and EOP are set, no error is, the length lies between a frame's least and most.
		uint64_t len = (intel_info(INTEL_AT(pair->rx_desc, slot), rotate) & pair->rx_good) - RX_FIRST;
		if (unlikely(len > pair->rx_limit))
			break;
		struct ingot_frame *frame = INTEL_AT(pair->rx_slot, slot)->frame;
		INTEL_AT(pair->rx_slot, slot)->frame = spare;
		INTEL_AT(pair->rx_desc, slot)->phys = spare->phys;
		INTEL_AT(pair->rx_desc, slot)->info = 0;
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
	pair->rx_next = at;
	queue->pool.free = spare;
	queue->pool.available -= count;
	queue->stats.rx_frames += count;
	queue->stats.rx_bytes += bytes;
	intel_tell(pair, at);
	return count;
}

// b_net_tx with a frame of its own at hand and room in the ring; what is sent comes back when there is none.
static HOT uint64_t intel_send(struct classic_net *classic, const void *data, uint64_t len)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	struct intel_pair *pair = intel_pair(queue);
	if (!net_classic_fits(len))
		return 0;
	while (unlikely(__atomic_exchange_n(&queue->lock.taken, 1, __ATOMIC_ACQUIRE)))
		__builtin_ia32_pause();
	struct ingot_frame *frame = queue->copies.free;
	uint32_t at = pair->tx_next;
	if (unlikely(!frame || at - pair->tx_clean >= RING_MASK)) {
		__atomic_store_n(&queue->lock.taken, 0, __ATOMIC_RELEASE);
		return 0;
	}
	queue->copies.free = frame->next;
	queue->copies.available--;
	net_copy(frame, data, len);
	if (unlikely(len < TX_LEAST)) {
		intel_pad(queue, frame);
		len = TX_LEAST;
	}
	struct intel_run *run = INTEL_AT(pair->tx_run, at & RING_MASK);
	run->first = run->last = frame;
	struct intel_desc *desc = INTEL_AT(pair->tx_desc, at & RING_MASK);
	desc->phys = (uintptr_t)frame + NET_DATA;
	queue->stats.tx_frames++;
	queue->stats.tx_bytes += len;
	desc->info = len * pair->tx_scale | pair->tx_command | TX_RS;
	at += RING_ENTRY;
	*intel_run_end(frame) = pair->tx_next = at;
	mmio_write32(pair->tx_tail, (at & RING_MASK) / RING_ENTRY);
	__atomic_store_n(&queue->lock.taken, 0, __ATOMIC_RELEASE);
	return 1;
}

// b_net_rx of a good frame: the frame that it returned last takes its place.
static HOT int64_t intel_receive(struct classic_net *classic, void **data)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	struct intel_pair *pair = intel_pair(queue);
	uint32_t at = pair->rx_next, slot = at & pair->rx_mask;
	struct intel_desc *desc = INTEL_AT(pair->rx_desc, slot);
	struct ingot_frame *frame, *held = queue->held;
	uint64_t info = intel_info(desc, pair->rx_rotate);
	if (!(info & DESC_DD))
		return 0;
	info = (info & pair->rx_good) - RX_FIRST;
	if (unlikely(info > pair->rx_limit || !held))
		return -1;
	frame = INTEL_AT(pair->rx_slot, slot)->frame;
	INTEL_AT(pair->rx_slot, slot)->frame = held;
	queue->held = frame;
	desc->phys = (uintptr_t)held + NET_DATA;
	desc->info = 0;
	at += RING_ENTRY;
	pair->rx_next = at;
	info += 14;
	queue->stats.rx_frames++;
	queue->stats.rx_bytes += info;
	intel_tell(pair, at);
	*data = (char *)frame + NET_DATA;
	return info;
}

int intel_alloc(struct net_dev *net, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct intel_pair *pair = mem_alloc(sizeof(*pair), 128);
		if (!pair)
			return E_NOMEM;
		pair->tx_scale = 1;
		pair->tx_command = TX_EOP | TX_IFCS;
		pair->queue.classic = (struct classic_net){ intel_send, intel_receive };
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
	for (uint32_t i = 0; i < size; i++) {
		struct ingot_frame *frame = ingot_frame_get(pool);
		pair->rx_slot[i].frame = frame;
		pair->rx_desc[i].phys = frame->phys;
		pair->rx_desc[i].info = 0;
	}
	pair->rx_tail = intel_ring(rx_regs, pair->rx_desc, size);
	pair->tx_tail = intel_ring(tx_regs, pair->tx_desc, INTEL_RING);
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
			pair->tx_desc[n].info |= DESC_DD;
			if (pair->rx_slot[n].frame)
				ingot_frame_put(pair->rx_slot[n].frame);
			pair->rx_slot[n].frame = NULL;
		}
		intel_reclaim(&pair->queue);
		pair->tx_next = pair->tx_clean = pair->rx_next = pair->rx_told = 0;
	}
}
