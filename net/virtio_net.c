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
#define WANTED (BIT(F_CSUM) | BIT(F_GUEST_CSUM) | BIT(F_MTU) | BIT(F_MAC) | BIT(F_STATUS) | BIT(F_CTRL_VQ) | \
	BIT(F_CTRL_RX) | BIT(F_MQ) | BIT(F_SPEED_DUPLEX) | BIT(VIRTIO_F_EVENT_IDX))

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

#define COMMAND_RX_PROMISC 0x0000	// v.5.1.6.5.1; class in the low byte, as it lies in memory
#define COMMAND_RX_ALLMULTI 0x0100
#define COMMAND_MQ_PAIRS_SET 0x0004	// v.5.1.6.5.5
#define COMMAND_US 1000000

#define RING 256u
#define TELL_MASK 15u	// see struct vnet_pair

struct vnet_pair {
	struct virtq tx, rx;	// in front, so that all is near `queue`
	uint32_t quick;		// bits of rx.used_index: with all of them 1, b_net_rx tells the device of what it gave back
	struct net_queue queue;
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

// Takes back frames that are sent.
static HOT void vnet_reclaim(struct virtq *vq)
{
	uint32_t at = vq->used_index, end = at + virtq_pending(vq), mask = vq->mask;
	const struct virtq_desc *desc = vq->desc;
	const uint16_t *ring = vq->ring;
	volatile uint64_t *used = vq->used;
	if (end - at > vq->avail_index - at)	// nonsense
		return;
	for (; at != end; at++) {
		if (unlikely((uint32_t)virtq_used(used, at & mask) != ring[at & mask])) {
			vq->used_index = at;
			if (!virtq_reorder(vq))
				break;
		}
		net_frame_put(net_frame(desc[ring[at & mask]].phys + HEADER));
	}
	vq->used_index = at;
}

static HOT uint32_t vnet_tx(struct net_queue *queue, struct ingot_frame *const *frames, uint32_t count)
{
	struct virtq *vq = &to_pair(queue)->tx;
	if (virtq_pending(vq))
		vnet_reclaim(vq);
	uint32_t at = vq->avail_index, room = vq->used_index + vq->size - at, mask = vq->mask;
	struct virtq_desc *desc = vq->desc;
	const uint16_t *ring = vq->ring;
	uint64_t bytes = 0;
	if (count > room)
		count = room;
	if (!count)
		return 0;
	const uint32_t end = at + count;
	do {
		struct ingot_frame *frame = *frames++;
		uint32_t *header = (uint32_t *)((char *)frame + NET_DATA - HEADER);
		struct virtq_desc *to = desc + ring[at & mask];
		header[0] = header[1] = header[2] = 0;
		if (unlikely(frame->flags & INGOT_TX_CSUM)) {
			header[0] = HDR_F_NEEDS_CSUM;
			header[1] = (uint32_t)frame->csum_start << 16;
			header[2] = frame->csum_offset;
		}
		to->phys = (uintptr_t)header;
		bytes += frame->length;
		to->len = frame->length + HEADER;
	} while (++at != end);
	vq->avail_index = at;
	queue->stats.tx_frames += count;
	queue->stats.tx_bytes += bytes;
	virtq_publish(vq);
	return count;
}

static HOT uint32_t vnet_rx(struct net_queue *queue, struct ingot_frame **frames, uint32_t max);

// What comes next is not a good frame in its turn: brings the right one there, or gives the device a bad one back.
static __attribute__((noinline))
uint32_t vnet_rx_odd(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	struct virtq *vq = &to_pair(queue)->rx;
	uint32_t slot = vq->used_index & vq->mask;
	if ((uint32_t)vq->used[slot] == vq->ring[slot]) {
		queue->stats.rx_dropped++;
		vq->used_index++;
		vq->avail_index++;
	} else if (!virtq_reorder(vq)) {
		return 0;
	}
	return vnet_rx(queue, frames, max);
}

// The ring is always full: a frame is handed out only if another takes its place.
static HOT __attribute__((noinline))
uint32_t vnet_rx_burst(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	struct virtq *vq = &to_pair(queue)->rx;
	uint32_t at = vq->used_index;
	if (unlikely(max > queue->pool.available)) {
		vnet_reclaim(&to_pair(queue)->tx);
		if (max > queue->pool.available)
			max = queue->pool.available;
	}
	if (unlikely(!max))
		return 0;
	struct ingot_frame *spare = queue->pool.free, **out = frames;
	struct virtq_desc *desc = vq->desc;
	const uint16_t *ring = vq->ring;
	volatile uint64_t *used = vq->used;
	uint64_t bytes = 0;
	uint32_t mask = vq->mask, end = at + max, limit = desc->len - HEADER - FRAME_LEAST;
	do {
		// One comparison for both: the number is the expected one, the length lies between a frame's least and most.
		uint64_t id = ring[at & mask], len = virtq_used(used, at & mask) - id;
		len = (len >> 32 | len << 32) - (HEADER + FRAME_LEAST);
		if (unlikely(len > limit))
			break;
		struct ingot_frame *frame = net_frame(desc[id].phys + HEADER);
		desc[id].phys = (uintptr_t)spare + NET_DATA - HEADER;
		spare = spare->next;
		len += FRAME_LEAST;
		frame->length = len;
		bytes += len;
		*(uint32_t *)&frame->flags = 0;	// and what lies beside it: one instruction
		if (unlikely(*((const uint8_t *)frame + NET_DATA - HEADER) & (HDR_F_NEEDS_CSUM | HDR_F_DATA_VALID)))
			*(volatile uint16_t *)&frame->flags = INGOT_RX_CSUM_GOOD;
		*out++ = frame;
	} while (++at != end);
	uint32_t count = at - vq->used_index;
	if (unlikely(!count))
		return vnet_rx_odd(queue, frames, max);
	vq->used_index = at;
	vq->avail_index += count;
	queue->pool.free = spare;
	queue->pool.available -= count;
	queue->stats.rx_frames += count;
	queue->stats.rx_bytes += bytes;
	virtq_publish(vq);
	return count;
}

static HOT uint32_t vnet_rx(struct net_queue *queue, struct ingot_frame **frames, uint32_t max)
{
	uint32_t pending = virtq_pending(&to_pair(queue)->rx);
	if (max > pending)
		max = pending;
	return max ? vnet_rx_burst(queue, frames, max) : 0;
}

// b_net_tx with a frame of its own at hand and room in the ring; what is sent comes back when there is none.
static HOT uint64_t vnet_send(struct classic_net *classic, const void *data, uint64_t len)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	struct virtq *vq = &to_pair(queue)->tx;
	uint32_t at, sent = 0;
	if (!net_classic_fits(len))
		goto done;
	while (unlikely(__atomic_exchange_n(&queue->lock.taken, 1, __ATOMIC_ACQUIRE)))
		__builtin_ia32_pause();
	struct ingot_frame *frame = queue->copies.free;
	at = vq->avail_index;
	if (unlikely(!frame || at - vq->used_index >= vq->size))
		goto unlock;
	struct virtq_desc *desc = &vq->desc[vq->ring[at & vq->mask]];
	uint32_t *header = (uint32_t *)((char *)frame + NET_DATA - HEADER);
	queue->copies.free = frame->next;
	queue->copies.available--;
	net_copy(frame, data, len);
	header[0] = header[1] = header[2] = 0;
	desc->phys = (uintptr_t)header;
	desc->len = len + HEADER;
	queue->stats.tx_frames++;
	queue->stats.tx_bytes += len;
	barrier();
	sent = at + 1;
	virtq_avail_index(vq) = vq->notified = vq->avail_index = sent;
	barrier_store_load();
	if (likely(vq->event_index) ? virtq_avail_event(vq) == (uint16_t)at : !(virtq_used_flags(vq) & 1))
		virtq_ring(vq);
	sent = 1;
unlock:
	__atomic_store_n(&queue->lock.taken, 0, __ATOMIC_RELEASE);	// lock_drop, inline
done:
	return sent;
}

// b_net_rx of a good frame in its turn: the frame that it returned last takes its place.
static HOT int64_t vnet_receive(struct classic_net *classic, void **data)
{
	struct net_queue *queue = container_of(classic, struct net_queue, classic);
	struct virtq *vq = &to_pair(queue)->rx;
	uint32_t at = vq->used_index, slot = at & vq->mask;
	struct ingot_frame *held = queue->held;
	struct virtq_desc *desc = vq->desc;
	if (virtq_used_index(vq) == (uint16_t)at)
		return 0;
	barrier();
	uint64_t id = vq->ring[slot], len = virtq_used(vq->used, slot) - id;
	len = (len >> 32 | len << 32) - (HEADER + FRAME_LEAST);
	if (unlikely(len > desc->len - HEADER - FRAME_LEAST || !(~at & to_pair(queue)->quick) || !held))
		return -1;
	desc += id;
	uint64_t phys = desc->phys + HEADER;
	desc->phys = (uintptr_t)held + NET_DATA - HEADER;
	queue->held = net_frame(phys);
	*data = (void *)(uintptr_t)phys;
	vq->used_index++;
	vq->avail_index++;
	len += FRAME_LEAST;
	queue->stats.rx_frames++;
	queue->stats.rx_bytes += len;
	return len;
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
	virtq_describe(desc, &nic->request, command == COMMAND_MQ_PAIRS_SET ? 4 : 3, VIRTQ_DESC_NEXT | 1 << 16);
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
	pair->quick = handler ? 0 : pair->rx.mask & TELL_MASK;	// it must be told each time
	return virtio_irq(nic->vdev, &pair->rx, handler, arg, cpu);
}

static void vnet_stop(struct net_dev *net)
{
	vnet_interrupt(net, NULL, NULL, 0);
	virtio_reset(to_vnet(net)->vdev);
	for (uint32_t i = 0; i < net->info.queues; i++) {
		struct vnet_pair *pair = to_pair(net->queue[i]);
		virtq_cancel(&pair->tx);
		vnet_reclaim(&pair->tx);
		virtq_cancel(&pair->rx);
		vnet_reclaim(&pair->rx);
	}
}

static int vnet_set_up(struct vnet *nic, uint32_t index, uint32_t rx_size)
{
	struct vnet_pair *pair = to_pair(nic->net.queue[index]);
	int rc = virtio_queue(nic->vdev, 2 * index, rx_size, &pair->rx);
	return rc == E_OK ? virtio_queue(nic->vdev, 2 * index + 1, RING, &pair->tx) : rc;
}

static int vnet_start_pair(struct vnet *nic, uint32_t index)
{
	struct net_queue *queue = nic->net.queue[index];
	struct virtq *vq = &to_pair(queue)->rx;
	uint32_t size = RING;
	while (size > queue->pool.total - NET_SPARE)
		size /= 2;
	int rc = vnet_set_up(nic, index, size);
	if (rc != E_OK)
		return rc;
	vq->avail_index = vq->size;
	to_pair(queue)->quick = vq->mask & TELL_MASK;
	for (struct virtq_desc *desc = vq->desc, *end = desc + vq->size; desc < end; desc++) {
		struct ingot_frame *frame = ingot_frame_get(&queue->pool);
		virtq_describe(desc, frame->data - HEADER, frame->room + HEADER, VIRTQ_DESC_WRITE);
	}
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
	return speed > 0 ? speed : 1;	// v.5.1.4.2: all ones if unknown
}

static const struct net_ops vnet_ops = {
	.start = vnet_start, .stop = vnet_stop, .link = vnet_link, .promiscuous = vnet_promiscuous,
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
			pair->queue.classic = (struct classic_net){ vnet_send, vnet_receive };
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
	"virtio-net", DEV_IDS(vnet_ids), .probe = vnet_probe, .remove = vnet_remove
};
VIRTIO_DRIVER(virtio_net);
