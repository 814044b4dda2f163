// net/virtio_net.c - virtio network interface.  "v." = section of the VIRTIO specification 1.2.
// QEMU: -device virtio-net-pci, or virtio-net-device on microvm.  Not done: mergeable buffers, segmentation offload, RSS.
#include <net.h>
#include <virtio.h>
#include <log.h>
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
#define CONFIG_MAC 0
#define CONFIG_STATUS 6
#define CONFIG_PAIRS 8
#define CONFIG_MTU 10
#define CONFIG_SPEED 12

// The header in front of each frame (v.5.1.6): flags, then what is 0 without segmentation, then the place of the
// checksum.  It lies in the frame's headroom, in one piece with the frame.
#define HEADER 12
#define HDR_CSUM_START_SHIFT 48
#define HDR_F_NEEDS_CSUM 1
#define HDR_F_DATA_VALID 2
#define FRAME_LEAST 14

#define COMMAND_RX_PROMISC 0x0000	// v.5.1.6.5.1; class in the low byte, as it lies in memory
#define COMMAND_RX_ALLMULTI 0x0100
#define COMMAND_MQ_PAIRS_SET 0x0004	// v.5.1.6.5.5
#define COMMAND_US 1000000

#define RING 256u

struct vnet_pair {
	struct virtq rx, tx;
};

struct vnet {
	struct net_dev net;		// first
	struct virtio_dev *vdev;
	struct virtq ctrl;
	struct {
		uint16_t command, value;
		uint8_t ack;
	} request;
	uint16_t ctrl_index;
	struct vnet_pair pair[];	// info.queues
};

// Frames that are sent go back to their pools.
static void vnet_reclaim(struct virtq *vq)
{
	uint16_t pending = virtq_pending(vq), sent = vq->avail_index - vq->used_index;
	if (pending > sent)	// nonsense
		return;
	for (; pending; pending--) {
		uint32_t slot = vq->used_index & (vq->size - 1), id = vq->ring[slot];
		if (unlikely((uint32_t)vq->used[slot] != id)) {
			if (!virtq_reorder(vq))
				return;
			id = vq->ring[slot];
		}
		vq->used_index++;
		ingot_frame_put(net_frame(vq->desc[id].phys + HEADER));
	}
}

static uint32_t vnet_tx(struct net_dev *net, uint32_t queue, struct ingot_frame *const *frames, uint32_t count)
{
	struct virtq *vq = &container_of(net, struct vnet, net)->pair[queue].tx;
	vnet_reclaim(vq);
	uint16_t at = vq->avail_index;
	uint32_t room = (uint16_t)(vq->used_index + vq->size - at);
	if (count > room)
		count = room;
	if (!count)
		return 0;
	uint64_t bytes = 0;
	struct virtq_desc *desc = vq->desc;
	uint32_t mask = vq->size - 1;
	const uint16_t *ring = vq->ring;
	for (uint32_t i = 0; i < count; i++, at++) {
		struct ingot_frame *frame = frames[i];
		struct virtq_desc *to = desc + ring[at & mask];
		uint64_t *header = (uint64_t *)((char *)frame + NET_DATA - HEADER);
		header[0] = 0;
		*(uint32_t *)(header + 1) = 0;
		if (unlikely(frame->flags & INGOT_TX_CSUM)) {
			header[0] = HDR_F_NEEDS_CSUM | (uint64_t)frame->csum_start << HDR_CSUM_START_SHIFT;
			*(uint32_t *)(header + 1) = frame->csum_offset;
		}
		to->phys = (uintptr_t)header;
		uint32_t len = frame->length;
		bytes += len;
		to->len = len + HEADER;
	}
	vq->avail_index = at;
	net->queue[queue].stats.tx_frames += count;
	net->queue[queue].stats.tx_bytes += bytes;
	virtq_publish(vq);
	return count;
}

// The ring is always full: a frame is handed out only if another takes its place.
static uint32_t vnet_rx(struct net_dev *net, uint32_t queue, struct ingot_frame **frames, uint32_t max)
{
	struct vnet_pair *pair = &container_of(net, struct vnet, net)->pair[queue];
	struct virtq *vq = &pair->rx;
	struct net_queue *q = &net->queue[queue];
	uint32_t slot = vq->used_index & (vq->size - 1), count = virtq_pending(vq);
	if (count > vq->size - slot)	// to the end of the ring; the rest by the next call
		count = vq->size - slot;
	if (count > max)
		count = max;
	if (unlikely(count > q->pool.available)) {
		vnet_reclaim(&pair->tx);
		count = min_u64(count, q->pool.available);
	}
	if (!count)
		return 0;
	struct ingot_frame *spare = q->pool.free, **out = frames;
	struct virtq_desc *desc = vq->desc;
	uint64_t limit = desc->len - HEADER - FRAME_LEAST, bytes = 0;
	const uint32_t end = slot + count;
	for (; slot < end; slot++) {
		// One comparison for both: the number is the expected one, the length lies between a frame's least and most.
		uint64_t id = vq->ring[slot], used = vq->used[slot] - id;
		uint64_t more = (used << 32 | used >> 32) - (HEADER + FRAME_LEAST);
		if (unlikely(more > limit)) {
			vq->used_index = ALIGN_DOWN(vq->used_index, vq->size) + slot;
			if ((uint32_t)used) {
				if (!virtq_reorder(vq))
					break;
				slot--;
				continue;
			}
			q->stats.rx_dropped++;	// the device has the same frame again
			continue;
		}
		uint64_t header = desc[id].phys;
		struct ingot_frame *frame = net_frame(header + HEADER);
		desc[id].phys = (uintptr_t)spare + NET_DATA - HEADER;
		spare = spare->next;
		frame->length = more + FRAME_LEAST;
		bytes += frame->length;
		frame->flags = 0;
		if (unlikely(*(const uint8_t *)header & (HDR_F_NEEDS_CSUM | HDR_F_DATA_VALID)))
			frame->flags = INGOT_RX_CSUM_GOOD;
		*out++ = frame;
	}
	count = out - frames;
	q->pool.free = spare;
	q->pool.available -= count;
	q->stats.rx_frames += count;
	q->stats.rx_bytes += bytes;
	vq->used_index = ALIGN_DOWN(vq->used_index, vq->size) + slot;
	vq->avail_index = vq->used_index + vq->size;
	virtq_publish(vq);
	return count;
}

static int vnet_command(struct vnet *nic, uint32_t command, uint32_t value)
{
	struct virtq *vq = &nic->ctrl;
	uint64_t end = time_deadline(COMMAND_US);
	if (!vq->desc)
		return E_NOTSUP;
	nic->request.command = command;
	nic->request.value = value;
	nic->request.ack = 1;
	uint64_t phys = (uintptr_t)&nic->request;
	uint32_t value_bytes = command == COMMAND_MQ_PAIRS_SET ? 2 : 1;
	vq->desc[0] = (struct virtq_desc){ phys, 2 + value_bytes, VIRTQ_DESC_NEXT, 1 };
	vq->desc[1] = (struct virtq_desc){ phys + 4, 1, VIRTQ_DESC_WRITE, 0 };
	vq->ring[vq->avail_index++ & (vq->size - 1)] = 0;
	virtq_publish(vq);
	while (!virtq_pending(vq))
		if (time_passed(end))
			return E_TIMEOUT;
	vq->used_index++;
	return *(volatile uint8_t *)&nic->request.ack ? E_IO : E_OK;
}

static int vnet_promiscuous(struct net_dev *net, int on)
{
	struct vnet *nic = container_of(net, struct vnet, net);
	return virtio_has(nic->vdev, F_CTRL_RX) ? vnet_command(nic, COMMAND_RX_PROMISC, on) : E_NOTSUP;
}

static void vnet_stop(struct net_dev *net)
{
	struct vnet *nic = container_of(net, struct vnet, net);
	virtio_irq(nic->vdev, 0, NULL, NULL, 0);
	virtio_reset(nic->vdev);
	for (struct vnet_pair *pair = nic->pair; pair < nic->pair + net->info.queues; pair++) {
		struct virtq *vq = &pair->tx;
		for (; vq->desc && vq->used_index != vq->avail_index; vq->used_index++)
			ingot_frame_put(net_frame(vq->desc[vq->ring[vq->used_index & (vq->size - 1)]].phys + HEADER));
		virtio_queue_free(vq);
		vq = &pair->rx;
		for (uint32_t i = 0; vq->desc && i < vq->size; i++)
			ingot_frame_put(net_frame(vq->desc[i].phys + HEADER));
		virtio_queue_free(vq);
	}
	virtio_queue_free(&nic->ctrl);
}

static int vnet_start_pair(struct vnet *nic, uint32_t index)
{
	struct vnet_pair *pair = &nic->pair[index];
	struct ingot_pool *pool = &nic->net.queue[index].pool;
	uint32_t size = RING;
	while (size > pool->total - NET_SPARE)
		size /= 2;
	int rc = virtio_queue(nic->vdev, 2 * index + 1, RING, &pair->tx);
	if (rc == E_OK)
		rc = virtio_queue(nic->vdev, 2 * index, size, &pair->rx);
	if (rc != E_OK)
		return rc;
	for (uint32_t i = 0; i < pair->rx.size; i++) {
		struct ingot_frame *frame = ingot_frame_get(pool);
		pair->rx.desc[i] = (struct virtq_desc){ frame->phys - HEADER, frame->room + HEADER, VIRTQ_DESC_WRITE, 0 };
	}
	pair->rx.avail_index = pair->rx.size;
	return E_OK;
}

static int vnet_start(struct net_dev *net, uint32_t queues)
{
	struct vnet *nic = container_of(net, struct vnet, net);
	int rc = virtio_start(nic->vdev, WANTED);
	if (rc != E_OK)
		return rc;
	for (uint32_t i = 0; i < queues && rc == E_OK; i++)
		rc = vnet_start_pair(nic, i);
	if (rc == E_OK && virtio_has(nic->vdev, F_CTRL_VQ))
		rc = virtio_queue(nic->vdev, nic->ctrl_index, 4, &nic->ctrl);
	if (rc == E_OK) {
		virtio_ready(nic->vdev);
		for (uint32_t i = 0; i < queues; i++)
			virtq_publish(&nic->pair[i].rx);
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
	struct virtio_dev *vdev = container_of(net, struct vnet, net)->vdev;
	if (virtio_has(vdev, F_STATUS) && !(virtio_config(vdev, CONFIG_STATUS, 2) & 1))
		return 0;
	int32_t speed = virtio_has(vdev, F_SPEED_DUPLEX) ? virtio_config(vdev, CONFIG_SPEED, 4) : 0;
	return speed > 0 ? speed : 1;	// v.5.1.4.2: all ones if unknown
}

static int vnet_interrupt(struct net_dev *net, irq_handler handler, void *arg, uint32_t cpu)
{
	struct vnet *nic = container_of(net, struct vnet, net);
	int rc = virtio_irq(nic->vdev, 0, handler, arg, cpu);
	virtq_arm(&nic->pair[0].rx, handler && rc == E_OK);
	return rc;
}

static const struct net_ops vnet_ops = {
	.start = vnet_start, .stop = vnet_stop, .link = vnet_link, .promiscuous = vnet_promiscuous,
	.interrupt = vnet_interrupt,
};

static int vnet_probe(struct device *dev, const struct dev_id *row)
{
	struct virtio_dev *vdev = to_virtio(dev);
	uint32_t pairs = 1, queues;
	int rc = virtio_start(vdev, WANTED);
	(void)row;
	if (rc != E_OK)
		return rc;
	if (virtio_has(vdev, F_MQ) && virtio_has(vdev, F_CTRL_VQ))
		pairs = virtio_config(vdev, CONFIG_PAIRS, 2);
	queues = min_u64(pairs, smp_count());
	struct vnet *nic = kzalloc(sizeof(*nic) + queues * sizeof(nic->pair[0]));
	if (!nic)
		return E_NOMEM;
	nic->vdev = vdev;
	nic->ctrl_index = 2 * pairs;
	nic->net.tx = vnet_tx;
	nic->net.rx = vnet_rx;
	nic->net.ops = &vnet_ops;
	nic->net.dev = dev;
	nic->net.mtu_max = virtio_has(vdev, F_MTU) ? virtio_config(vdev, CONFIG_MTU, 2) : 0xFFFF;
	nic->net.info.queues = queues;
	nic->net.info.features = virtio_has(vdev, F_CSUM) && virtio_has(vdev, F_GUEST_CSUM) ? INGOT_NET_CSUM : 0;
	// Without an address of the device's own: a locally administered one, from where its registers are.
	uint64_t mac = 2 | (uint64_t)(uintptr_t)vdev->common << 16;
	for (uint32_t i = 0; i < 6; i++)
		nic->net.info.mac[i] = virtio_has(vdev, F_MAC) ? virtio_config(vdev, CONFIG_MAC + i, 1) : mac >> 8 * i;
	dev->drvdata = nic;
	rc = net_register(&nic->net);
	if (rc != E_OK)
		kfree(nic, sizeof(*nic) + queues * sizeof(nic->pair[0]));
	return rc;
}

static void vnet_remove(struct device *dev)
{
	struct vnet *nic = dev->drvdata;
	net_unregister(&nic->net);
	kfree(nic, sizeof(*nic) + nic->net.info.queues * sizeof(nic->pair[0]));
}

static const struct dev_id vnet_ids[] = { DEV_ID(VIRTIO_VENDOR, 1, 0) };
static const struct driver virtio_net = {
	"virtio-net", DEV_IDS(vnet_ids), .probe = vnet_probe, .remove = vnet_remove
};
VIRTIO_DRIVER(virtio_net);
