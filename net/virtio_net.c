// net/virtio_net.c - virtio network interface.  "v." = section of the VIRTIO specification 1.2.
// QEMU: -device virtio-net-pci, or virtio-net-device on microvm.  Not done: mergeable buffers, segmentation, RSS.
#include <net.h>
#include <virtio.h>
#include <mem.h>
#include <smp.h>
#include <time.h>

// Features (v.5.1.3)
#define F_CSUM 0
#define F_GUEST_CSUM 1
#define F_MTU 3
#define F_MAC 5
#define F_STATUS 16
#define F_CTRL_VQ 17
#define F_CTRL_RX 18
#define F_MQ 22
#define F_SPEED_DUPLEX 63
#define BIT(feature) (1ul << (feature))
#define WANTED \
	(BIT(F_CSUM) | BIT(F_GUEST_CSUM) | BIT(F_MTU) | BIT(F_MAC) | BIT(F_STATUS) | BIT(F_CTRL_VQ) | BIT(F_CTRL_RX) | \
		BIT(F_MQ) | BIT(F_SPEED_DUPLEX) | BIT(VIRTIO_F_EVENT_IDX))

// Configuration (v.5.1.4)
#define CONFIG_MAC(i) VIRTIO_FIELD(F_MAC, i, 1)
#define CONFIG_STATUS VIRTIO_FIELD(F_STATUS, 6, 2)
#define CONFIG_PAIRS VIRTIO_FIELD(F_MQ, 8, 2)
#define CONFIG_MTU VIRTIO_FIELD(F_MTU, 10, 2)
#define CONFIG_SPEED VIRTIO_FIELD(F_SPEED_DUPLEX, 12, 4)

// The header in front of each frame (v.5.1.6): flags, what is 0 without segmentation, the place of the checksum in
// bytes 6 to 9, 0.  It lies in the frame's headroom, in one piece with the frame.
#define HEADER 12
#define HDR_F_NEEDS_CSUM 1
#define HDR_F_DATA_VALID 2
#define FRAME_LEAST 14

#define COMMAND_RX_PROMISC 0x0000 // v.5.1.6.5.1; class in the low byte, as it lies in memory
#define COMMAND_RX_ALLMULTI 0x0100
#define COMMAND_MQ_PAIRS_SET 0x0004 // v.5.1.6.5.5
#define COMMAND_US 1000000

#define RING 256u

struct vnet_pair {
	struct virtq tx, rx; // in front, so that all is near `queue`
	uint64_t rx_limit;   // most bytes of a frame, less the least
	uint32_t rx_quota;   // frames of b_net_rx until the device gets their buffers back
	uint32_t rx_seen;    // rx.used_index when vnet_rx left: frames from there on are b_net_rx's
	struct net_queue queue;
	struct net_run run[RING];
};

struct vnet {
	struct virtq ctrl;
	struct virtio_dev *vdev;
	uint32_t ctrl_index;
	struct {
		uint16_t command, value;
		volatile uint8_t ack;
	} request;
	struct net_dev net;
};

static inline struct vnet *to_vnet(struct net_dev *net)
{
	return container_of(net, struct vnet, net);
}

static inline struct vnet_pair *to_pair(struct net_queue *queue)
{
	return container_of(queue, struct vnet_pair, queue);
}

// ---- Data path -----------------------------------------------------------------------------------------------

// Takes back what is sent, while it is b_net_tx's alone.  With all buffers finished there is no question which; else in
// their turn, and the device must have finished them in the order in which it got them.
static HOT KEEPS_REGISTERS __attribute__((noinline)) void vnet_reclaim_copies(struct vnet_pair *pair)
{
	struct virtq *vq = &pair->tx;
	uint32_t at = vq->used_index, next = vq->avail_index, pending = virtq_pending(vq), mask = vq->mask;
	const uint32_t from = at;
	if (likely(pending == next - at))
		at = next;
	else
		while (at != next && at - from < pending && (uint32_t)virtq_used(vq->used, at & mask) == (at & mask))
			at++;
	if (at == from)
		return;
	net_copies_put(&pair->queue.copies, &pair->run[from & mask], &pair->run[(at - 1) & mask],
		&pair->run[(next - 1) & mask]);
	vq->used_index = at;
}

// Takes back runs that are sent, in their turn.  With all buffers finished there is no question which; else the device
// must have finished those of a run in the order in which it got them, or the run waits.
static HOT void vnet_reclaim(struct vnet_pair *pair)
{
	struct virtq *vq = &pair->tx;
	uint32_t at = vq->used_index, pending = virtq_pending(vq), busy = vq->avail_index - at, mask = vq->mask;
	const uint32_t from = at;
	bool all = pending == busy;
	if (pending > busy) // nonsense
		return;
	if (!pair->queue.mixed) {
		vnet_reclaim_copies(pair);
		at = vq->used_index;
		pending = 0;
	}
	while (at - from < pending) {
		const struct net_run *run = &pair->run[at & mask];
		uint32_t end = net_run_end(run, at + 1), next = at;
		if (!all) {
			if (end - from > pending)
				break;
			for (; next != end; next++)
				if ((uint32_t)virtq_used(vq->used, next & mask) != (next & mask))
					goto done;
		}
		net_run_put(run, end - at);
		at = end;
	}
done:
	vq->used_index = at;
	if (at == vq->avail_index)
		pair->queue.mixed = false;
	else if (at == from)
		virtq_remind(vq);
}

static HOT uint32_t vnet_tx(struct net_queue *queue, struct ingot_frame *const *frames, uint32_t count)
{
	struct vnet_pair *pair = to_pair(queue);
	struct virtq *vq = &pair->tx;
	uint32_t at = vq->avail_index;
	if (vq->used_index != at)
		vnet_reclaim(pair);
	// The rest is for b_net_tx, which finds room for each of its frames.
	int32_t room = vq->used_index + vq->size - NET_COPY_FRAMES - at;
	if (count > INT32_MAX || (int32_t)count > room)
		count = room;
	if ((int32_t)count <= 0)
		return 0;
	uint32_t mask = vq->mask;
	const uint32_t end = at + count;
	queue->mixed = true;
	uint64_t bytes = 0;
	do {
		struct ingot_frame *frame = *frames, *next;
		struct ingot_pool *pool = frame->pool;
		struct net_run *run = &pair->run[at & mask];
		run->first = frame;
		for (;;) {
			uint32_t *header = (uint32_t *)((char *)frame + NET_DATA - HEADER);
			struct virtq_desc *desc = &vq->desc[at & mask];
			header[0] = header[1] = header[2] = 0;
			if (unlikely(frame->flags & INGOT_TX_CSUM)) {
				header[0] = HDR_F_NEEDS_CSUM;
				header[1] = (uint32_t)frame->csum_start << 16;
				header[2] = frame->csum_offset;
			}
			uint32_t len = frame->length + HEADER;
			desc->phys = (uintptr_t)header;
			desc->len = len;
			bytes += len;
			at++;
			frames++;
			if (at == end || (next = *frames)->pool != pool)
				break;
			frame->next = next;
			frame = next;
		}
		run->last = frame;
		*net_run_mark(frame) = at;
	} while (at != end);
	vq->avail_index = at;
	queue->stats.tx_frames += count;
	queue->stats.tx_bytes += bytes - count * HEADER;
	virtq_publish(vq);
	return count;
}

static KEEPS_REGISTERS uint64_t vnet_slow(struct classic_net *classic)
{
	(void)classic;
	return 1;
}

// What comes next may not be a good frame in its turn: brings the right one there, or gives a bad one back to the
// device.
static __attribute__((noinline)) bool vnet_rx_odd(struct net_queue *queue)
{
	struct vnet_pair *pair = to_pair(queue);
	struct virtq *vq = &pair->rx;
	uint32_t slot = vq->used_index & vq->mask;
	uint64_t used = vq->used[slot];
	if ((uint32_t)used != vq->ring[slot]) {
		queue->classic.receive = vnet_slow; // the other counts on order
		return virtq_reorder(vq);
	}
	if ((used >> 32) - (HEADER + FRAME_LEAST) <= pair->rx_limit)
		return false; // no frame to take its place
	queue->stats.rx_dropped++;
	pair->rx_seen = ++vq->used_index;
	vq->avail_index = pair->rx_seen + vq->mask;
	virtq_publish(vq);
	return true;
}

// The frame that b_net_rx has returned last is still the one of its descriptor, which the device is about to get back.
static __attribute__((noinline)) void vnet_keep(struct net_queue *queue)
{
	struct virtq *vq = &to_pair(queue)->rx;
	uint32_t at = vq->used_index;
	struct virtq_desc *desc = &vq->desc[vq->ring[(at - 1) & vq->mask]];
	struct ingot_frame *frame = net_frame(desc->phys + HEADER);
	desc->phys = queue->held->phys - HEADER;
	queue->held = frame;
	to_pair(queue)->rx_seen = at;
}

// A frame is handed out only if another takes its place.  The device has all entries but the one taken last.
static HOT __attribute__((noinline)) uint32_t vnet_rx_burst(struct net_queue *queue, struct ingot_frame **frames,
	uint32_t max)
{
	struct virtq *vq = &to_pair(queue)->rx;
	uint32_t at = vq->used_index;
	if (unlikely(at != to_pair(queue)->rx_seen))
		vnet_keep(queue);
	if (unlikely(max > queue->pool.available)) {
		vnet_reclaim(to_pair(queue));
		if (max > queue->pool.available)
			max = queue->pool.available;
	}
	struct ingot_frame *spare = queue->pool.free;
	struct virtq_desc *desc = vq->desc;
	const uint16_t *ring = vq->ring;
	volatile uint64_t *used = vq->used;
	uint64_t bytes = 0, count = 0;
	uint32_t mask = vq->mask, limit = to_pair(queue)->rx_limit;
	while (count != max) {
		// One comparison for both: the number is the expected one, the length lies between a frame's least and most.
		uint32_t slot = (at + count) & mask;
		uint64_t id = ring[slot], len = virtq_used(used, slot) - id;
		len = (len >> 32 | len << 32) - (HEADER + FRAME_LEAST);
		if (unlikely(len > limit))
			break;
		struct ingot_frame *frame = net_frame(desc[id].phys + HEADER);
		desc[id].phys = (uintptr_t)spare + NET_DATA - HEADER;
		spare = spare->next;
		len += FRAME_LEAST;
		frame->length = len;
		bytes += len;
		*(uint32_t *)&frame->flags = 0; // and what lies beside it: one instruction
		if (unlikely(*((const uint8_t *)frame + NET_DATA - HEADER) & (HDR_F_NEEDS_CSUM | HDR_F_DATA_VALID)))
			*(volatile uint16_t *)&frame->flags = INGOT_RX_CSUM_GOOD;
		frames[count++] = frame;
	}
	if (unlikely(!count))
		return 0;
	at = vq->used_index += count;
	to_pair(queue)->rx_seen = at;
	vq->avail_index = at + mask;
	to_pair(queue)->rx_quota = mask / 2;
	queue->pool.free = spare;
	queue->pool.available -= count;
	queue->stats.rx_frames += count;
	queue->stats.rx_bytes += bytes;
	virtq_publish(vq);
	return count;
}

static HOT uint32_t vnet_rx(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	uint32_t pending, count;
	do {
		pending = virtq_pending(&to_pair(queue)->rx);
		if (max > pending)
			max = pending;
		if (!max)
			return 0;
		count = vnet_rx_burst(queue, frames, max);
	} while (unlikely(!count) && vnet_rx_odd(queue));
	return count;
}

// b_net_tx with a frame of its own at hand; what is sent comes back when there is none.
static HOT KEEPS_REGISTERS uint64_t vnet_send(struct classic_net *classic, const void *data, uint64_t unused,
	uint64_t len)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	struct vnet_pair *pair = to_pair(queue);
	struct virtq *vq = &pair->tx;
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
	uint32_t at = vq->avail_index, slot = at & vq->mask;
	struct net_run *run = &pair->run[slot];
	struct virtq_desc *desc = &vq->desc[slot];
	run->first = run->last = frame;
	desc->phys = (uintptr_t)frame + NET_DATA - HEADER; // nobody else writes there
	desc->len = len + HEADER;
	queue->stats.tx_frames++;
	queue->stats.tx_bytes += len;
	if (likely(virtq_publish_one(vq, at)))
		virtq_doorbell(vq); // without virtq_ring's note: once in a while a reminder too many
	lock_drop(&queue->lock);
	return (uintptr_t)classic;
}

static HOT KEEPS_REGISTERS uint64_t vnet_refill(struct classic_net *classic)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	lock_take(&queue->lock);
	if (likely(!queue->mixed))
		vnet_reclaim_copies(to_pair(queue));
	lock_drop(&queue->lock);
	return 0;
}

// b_net_rx of a good frame in its turn.  It stays the descriptor's own, which the device gets back behind the next one.
static HOT KEEPS_REGISTERS uint64_t vnet_receive(struct classic_net *classic)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	struct virtq *vq = &to_pair(queue)->rx;
	volatile uint64_t *used = vq->used;
	uint64_t at = vq->used_index, len;
	if (((const uint16_t *)used)[-1] == (uint16_t)at)
		return 0;
	barrier();
	if (unlikely(!--to_pair(queue)->rx_quota)) {
		to_pair(queue)->rx_quota = 1; // until vnet_rx has done it
		return 1;
	}
	at &= vq->mask;
	len = virtq_used(used, at) - at;
	len = (len >> 32 | len << 32) - HEADER;
	if (unlikely(len - FRAME_LEAST > to_pair(queue)->rx_limit))
		return 1;
	vq->used_index++;
	classic->length = len;
	queue->stats.rx_frames++;
	queue->stats.rx_bytes += len;
	return vq->desc[at].phys + HEADER;
}

// ---- Control path --------------------------------------------------------------------------------------------

static int vnet_command(struct vnet *nic, uint32_t command, uint32_t value)
{
	struct virtq *vq = &nic->ctrl;
	struct virtq_desc *desc = vq->desc;
	uint64_t end = time_deadline(COMMAND_US);
	if (!desc)
		return E_NOTSUP;
	nic->request.command = command;
	nic->request.value = value;
	nic->request.ack = 1;
	virtq_describe(desc, &nic->request, 3 + (command == COMMAND_MQ_PAIRS_SET), VIRTQ_DESC_NEXT | 1 << 16);
	virtq_describe(desc + 1, &nic->request.ack, 1, VIRTQ_DESC_WRITE);
	vq->ring[vq->avail_index++ & vq->mask] = 0;
	virtq_publish(vq);
	while (!virtq_pending(vq))
		if (time_passed(end))
			return E_TIMEOUT;
	vq->used_index++;
	return nic->request.ack ? E_IO : E_OK;
}

static int vnet_promiscuous(struct net_dev *net, int on)
{
	struct vnet *nic = to_vnet(net);
	return virtio_has(nic->vdev, F_CTRL_RX) ? vnet_command(nic, COMMAND_RX_PROMISC, on) : E_NOTSUP;
}

static int vnet_interrupt(struct net_dev *net, irq_handler handler, void *arg, uint32_t cpu)
{
	struct vnet *nic = to_vnet(net);
	struct vnet_pair *pair = to_pair(net->queue[0]);
	if (handler)
		pair->queue.classic.receive = vnet_slow; // it must be told each time
	return virtio_irq(nic->vdev, &pair->rx, handler, arg, cpu);
}

static void vnet_stop(struct net_dev *net)
{
	vnet_interrupt(net, NULL, NULL, 0);
	virtio_reset(to_vnet(net)->vdev);
	for (uint32_t i = 0; i < net->info.queues; i++) {
		struct vnet_pair *pair = to_pair(net->queue[i]);
		virtq_cancel(&pair->tx);
		vnet_reclaim(pair);
	}
}

static int vnet_set_up(struct vnet *nic, uint32_t index, uint32_t rx_size)
{
	struct vnet_pair *pair = to_pair(nic->net.queue[index]);
	int rc = virtio_queue(nic->vdev, 2 * index, rx_size, &pair->rx);
	if (rc == E_OK)
		rc = virtio_queue(nic->vdev, 2 * index + 1, RING, &pair->tx);
	if (rc == E_OK && pair->tx.size <= NET_COPY_FRAMES)
		rc = E_NOTSUP;
	return rc;
}

static int vnet_start_pair(struct vnet *nic, uint32_t index)
{
	struct net_queue *queue = nic->net.queue[index];
	struct vnet_pair *pair = to_pair(queue);
	struct virtq *vq = &pair->rx;
	uint32_t size = RING;
	while (size > queue->pool.total - NET_SPARE)
		size /= 2;
	int rc = vnet_set_up(nic, index, size);
	if (rc != E_OK)
		return rc;
	vq->avail_index = vq->mask;
	pair->rx_seen = 0;
	pair->rx_quota = vq->mask / 2;
	for (struct virtq_desc *desc = vq->desc, *end = desc + vq->size; desc < end; desc++) {
		struct ingot_frame *frame = ingot_frame_get(&queue->pool);
		virtq_describe(desc, frame->data - HEADER, frame->room + HEADER, VIRTQ_DESC_WRITE);
	}
	pair->rx_limit = vq->desc->len - HEADER - FRAME_LEAST;
	queue->classic.receive = vnet_receive;
	return E_OK;
}

static int vnet_start(struct net_dev *net, uint32_t queues)
{
	struct vnet *nic = to_vnet(net);
	int rc = virtio_start(nic->vdev, net->offload ? WANTED : WANTED & ~BIT(F_GUEST_CSUM));
	if (rc != E_OK)
		return rc;
	if (virtio_has(nic->vdev, F_CTRL_VQ))
		rc = virtio_queue(nic->vdev, nic->ctrl_index, 4, &nic->ctrl);
	for (uint32_t i = 0; i < queues && rc == E_OK; i++)
		rc = vnet_start_pair(nic, i);
	if (rc == E_OK) {
		virtio_ready(nic->vdev);
		for (uint32_t i = 0; i < queues; i++)
			virtq_publish(&to_pair(net->queue[i])->rx);
		if (vnet_promiscuous(net, net->info.promiscuous) == E_OK)
			vnet_command(nic, COMMAND_RX_ALLMULTI, 1);
		if (queues > 1)
			rc = vnet_command(nic, COMMAND_MQ_PAIRS_SET, queues);
	}
	if (rc != E_OK)
		vnet_stop(net);
	return rc;
}

static uint32_t vnet_link(struct net_dev *net)
{
	struct virtio_dev *vdev = to_vnet(net)->vdev;
	int32_t speed = virtio_config(vdev, CONFIG_SPEED, 0);
	if (!(virtio_config(vdev, CONFIG_STATUS, 1) & 1))
		return 0;
	return speed > 0 ? speed : 1; // v.5.1.4.2: all ones if unknown
}

static const struct net_ops vnet_ops = {
	.start = vnet_start,
	.stop = vnet_stop,
	.link = vnet_link,
	.promiscuous = vnet_promiscuous,
	.interrupt = vnet_interrupt,
};

static void vnet_free(struct vnet *nic)
{
	virtio_reset(nic->vdev);
	virtio_queue_free(&nic->ctrl);
	for (uint32_t i = 0; i < NET_QUEUES; i++) {
		struct net_queue *queue = nic->net.queue[i];
		if (!queue)
			continue;
		struct vnet_pair *pair = to_pair(queue);
		virtio_queue_free(&pair->tx);
		virtio_queue_free(&pair->rx);
		kfree(pair, sizeof(*pair));
	}
	kfree(nic, sizeof(*nic));
}

static int vnet_probe(struct device *dev, const struct dev_id *row)
{
	struct virtio_dev *vdev = to_virtio(dev);
	struct vnet *nic = kzalloc(sizeof(*nic));
	(void)row;
	if (!nic)
		return E_NOMEM;
	int rc = virtio_start(vdev, WANTED);
	if (rc != E_OK) {
		kfree(nic, sizeof(*nic));
		return rc;
	}
	struct net_dev *net = &nic->net;
	uint32_t pairs = virtio_config(vdev, CONFIG_PAIRS, 1);
	nic->vdev = vdev;
	nic->ctrl_index = 2 * pairs;
	net->tx = vnet_tx;
	net->rx = vnet_rx;
	net->ops = &vnet_ops;
	net->dev = dev;
	net->mtu_max = virtio_config(vdev, CONFIG_MTU, 0xFFFF);
	net->info.queues = clamp_u32(pairs, 1, min_u64(smp_count(), NET_QUEUES));
	if ((~vdev->features & (BIT(F_CSUM) | BIT(F_GUEST_CSUM))) == 0)
		net->info.features = INGOT_NET_CSUM;
	// Now, for all that net_open may ask for: when the program runs there is no other memory.
	for (uint32_t i = 0; i < net->info.queues && rc == E_OK; i++) {
		struct vnet_pair *pair = kzalloc(sizeof(*pair));
		rc = E_NOMEM;
		if (pair) {
			net->queue[i] = &pair->queue;
			pair->queue.classic.send = vnet_send;
			pair->queue.classic.refill = vnet_refill;
			rc = vnet_set_up(nic, i, RING);
		}
	}
	// Without an address of the device's own: a locally administered one, from where its registers are.
	uint64_t mac = (uint64_t)(uintptr_t)vdev->common << 8 | 2;
	for (uint32_t i = 0; i < 6; i++, mac >>= 8)
		net->info.mac[i] = virtio_config(vdev, CONFIG_MAC(i), mac);
	dev->drvdata = net;
	if (rc == E_OK)
		rc = net_register(net);
	if (rc != E_OK)
		vnet_free(nic);
	return rc;
}

static void vnet_remove(struct device *dev)
{
	struct net_dev *net = dev->drvdata;
	net_unregister(net);
	vnet_free(to_vnet(net));
}

static const struct dev_id vnet_ids[] = { DEV_ID(VIRTIO_VENDOR, 1, 0) };
static const struct driver virtio_net = {
	"virtio-net",
	DEV_IDS(vnet_ids),
	.probe = vnet_probe,
	.remove = vnet_remove,
};
VIRTIO_DRIVER(virtio_net);
