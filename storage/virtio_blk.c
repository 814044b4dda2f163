// storage/virtio_blk.c - virtio block device.  "v." = section of the VIRTIO specification 1.2.
// QEMU: -device virtio-blk-pci, or virtio-blk-device on microvm.  Not done: write zeroes, secure erase.
#include <blk.h>
#include <virtio.h>
#include <mem.h>
#include <smp.h>

// Features (v.5.2.3)
#define F_SIZE_MAX 1
#define F_SEG_MAX 2
#define F_RO 5
#define F_BLK_SIZE 6
#define F_FLUSH 9
#define F_MQ 12
#define F_DISCARD 13
#define BIT(feature) (1ul << (feature))
#define WANTED (BIT(F_SIZE_MAX) | BIT(F_SEG_MAX) | BIT(F_RO) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_MQ) | \
	BIT(F_DISCARD) | BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX))

// Configuration (v.5.2.4)
#define CONFIG_CAPACITY 0	// in 512 bytes, whatever the block size
#define CONFIG_SIZE_MAX 8
#define CONFIG_SEG_MAX 12
#define CONFIG_BLK_SIZE 20
#define CONFIG_QUEUES 34

#define SECTOR 512u
#define STATUS_OK 0		// v.5.2.6
#define STATUS_UNSUPPORTED 2
#define STATUS_NONE 0xFF

#define RING 128u
#define CHAIN_SHIFT 3
#define CHAIN (1u << CHAIN_SHIFT)	// descriptors of a request: header, pieces of data, status
#define MOST_BYTES (8u << 20)	// of a request

// What a request needs beside its data.
struct vblk_slot {
	uint32_t type, reserved;	// header (v.5.2.6)
	uint64_t sector;
	uint64_t first;			// discard segment (v.5.2.6)
	uint32_t sectors, flags;
	uint64_t tag;
	volatile uint8_t status;
};
_Static_assert(sizeof(struct vblk_slot) == 48, "header and discard segment");

struct vblk_queue {
	struct virtq vq;
	struct vblk_slot *slots;	// `depth` of them
	struct virtq_desc *chains;	// CHAIN for each slot: indirect tables, or the ring's own descriptors
	uint16_t depth;			// 0: the device is dead
};

struct vblk {
	struct blk_dev blk;	// first
	struct virtio_dev *vdev;
	uint32_t pieces, piece_bytes;	// most that the device takes
	uint32_t shift;			// block number to sector number
	struct vblk_queue queue[];	// info.queues
};

static int vblk_submit(struct blk_dev *blk, uint32_t queue, const struct ingot_blk_req *req)
{
	static const uint8_t types[] = { 0, 1, 4, 11 };	// v.5.2.6: IN, OUT, FLUSH, DISCARD
	struct vblk *disk = container_of(blk, struct vblk, blk);
	struct vblk_queue *q = &disk->queue[queue];
	struct virtq *vq = &q->vq;
	if ((uint16_t)(vq->avail_index - vq->used_index) >= q->depth) {
		if (!q->depth)
			return E_IO;
		virtq_publish(vq);
		return E_AGAIN;
	}
	uint32_t id = vq->ring[vq->avail_index & (vq->size - 1)];
	bool direct = q->chains == vq->desc;
	uint32_t number = direct ? id >> CHAIN_SHIFT : id, next = direct ? id : 0;
	struct vblk_slot *slot = &q->slots[number];
	struct virtq_desc *first = q->chains + number * CHAIN, *desc = first;
	slot->type = types[req->op];
	slot->sector = req->op == INGOT_FLUSH ? 0 : req->block << disk->shift;
	slot->tag = req->tag;
	slot->status = STATUS_NONE;
	*desc = (struct virtq_desc){ (uintptr_t)slot, 16, VIRTQ_DESC_NEXT, ++next };
	const char *data = req->data;
	size_t left = (uint64_t)req->count << (disk->shift + 9);
	if (req->op >= INGOT_FLUSH) {
		slot->first = slot->sector;
		slot->sectors = left / SECTOR;
		data = (const char *)&slot->first;
		left = req->op == INGOT_FLUSH ? 0 : 16;
	}
	while (left) {
		size_t run;
		uint64_t phys = mem_phys(data, left, &run);
		if (run > disk->piece_bytes)
			run = disk->piece_bytes;
		if (!run || desc == first + disk->pieces)
			return E_INVAL;
		*++desc = (struct virtq_desc){ phys, run, VIRTQ_DESC_NEXT | (req->op == INGOT_READ ? VIRTQ_DESC_WRITE : 0), ++next };
		data += run;
		left -= run;
	}
	*++desc = (struct virtq_desc){ (uintptr_t)&slot->status, 1, VIRTQ_DESC_WRITE, 0 };
	vq->avail_index++;
	return E_OK;
}

static uint32_t vblk_poll(struct blk_dev *blk, uint32_t queue, struct ingot_blk_done *done, uint32_t max)
{
	struct vblk_queue *q = &container_of(blk, struct vblk, blk)->queue[queue];
	struct virtq *vq = &q->vq;
	uint32_t mask = vq->size - 1, count;
	if (vq->notified != vq->avail_index)
		virtq_publish(vq);
	uint16_t pending = virtq_pending(vq);
	if (pending > (uint16_t)(vq->avail_index - vq->used_index))	// nonsense
		return 0;
	for (count = 0; count < max && count < pending; count++) {
		uint32_t at = vq->used_index & mask;
		if (unlikely((uint32_t)vq->used[at] != vq->ring[at]) && !virtq_reorder(vq))
			break;
		uint32_t id = vq->ring[at];
		vq->ring[(at + q->depth) & mask] = id;
		vq->used_index++;
		struct vblk_slot *slot = &q->slots[q->chains == vq->desc ? id >> CHAIN_SHIFT : id];
		uint8_t status = slot->status;
		done[count].tag = slot->tag;
		done[count].status = status == STATUS_OK ? E_OK : status == STATUS_UNSUPPORTED ? E_NOTSUP : E_IO;
	}
	return count;
}

// The reset takes every request from the device; it stays off.
static void vblk_recover(struct blk_dev *blk, uint32_t queue)
{
	struct vblk *disk = container_of(blk, struct vblk, blk);
	(void)queue;
	virtio_reset(disk->vdev);
	for (uint32_t i = 0; i < blk->info.queues; i++)
		disk->queue[i].depth = 0;
}

static const struct blk_ops vblk_ops = { .recover = vblk_recover };

static size_t vblk_queue_bytes(uint32_t depth)
{
	return depth * (CHAIN * sizeof(struct virtq_desc) + sizeof(struct vblk_slot));
}

static int vblk_start_queue(struct vblk *disk, uint32_t index)
{
	struct vblk_queue *q = &disk->queue[index];
	bool indirect = virtio_has(disk->vdev, VIRTIO_F_INDIRECT_DESC);
	int rc = virtio_queue(disk->vdev, index, RING, &q->vq);
	if (rc != E_OK)
		return rc;
	q->depth = indirect ? q->vq.size : q->vq.size / CHAIN;
	struct virtq_desc *memory = mem_alloc(vblk_queue_bytes(q->depth), 64);
	if (!memory)
		return E_NOMEM;
	q->slots = (struct vblk_slot *)(memory + q->depth * CHAIN);
	q->chains = indirect ? memory : q->vq.desc;
	for (uint32_t i = 0; i < q->depth; i++) {
		q->vq.ring[i] = indirect ? i : i * CHAIN;
		if (indirect)
			q->vq.desc[i] = (struct virtq_desc){ (uintptr_t)(memory + i * CHAIN), CHAIN * 16, VIRTQ_DESC_INDIRECT, 0 };
	}
	disk->blk.info.depth = q->depth;
	return E_OK;
}

static void vblk_free(struct vblk *disk)
{
	virtio_reset(disk->vdev);
	for (uint32_t i = 0; i < disk->blk.info.queues; i++) {
		struct vblk_queue *q = &disk->queue[i];
		if (q->slots)
			mem_free((struct virtq_desc *)q->slots - disk->blk.info.depth * CHAIN, vblk_queue_bytes(disk->blk.info.depth));
		virtio_queue_free(&q->vq);
	}
	kfree(disk, sizeof(*disk) + disk->blk.info.queues * sizeof(disk->queue[0]));
}

static int vblk_probe(struct device *dev, const struct dev_id *row)
{
	struct virtio_dev *vdev = to_virtio(dev);
	uint32_t queues = 1, block = SECTOR;
	int rc = virtio_start(vdev, WANTED);
	(void)row;
	if (rc != E_OK)
		return rc;
	if (virtio_has(vdev, F_MQ))
		queues = min_u64(max_u64(virtio_config(vdev, CONFIG_QUEUES, 2), 1), smp_count());
	struct vblk *disk = kzalloc(sizeof(*disk) + queues * sizeof(disk->queue[0]));
	if (!disk)
		return E_NOMEM;
	struct ingot_blk_info *info = &disk->blk.info;
	dev->drvdata = disk;
	disk->vdev = vdev;
	disk->pieces = CHAIN - 2;
	disk->piece_bytes = MOST_BYTES;
	info->queues = queues;
	if (virtio_has(vdev, F_BLK_SIZE))
		block = virtio_config(vdev, CONFIG_BLK_SIZE, 4);
	if (virtio_has(vdev, F_SEG_MAX))
		disk->pieces = min_u64(disk->pieces, virtio_config(vdev, CONFIG_SEG_MAX, 4));
	if (virtio_has(vdev, F_SIZE_MAX))
		disk->piece_bytes = min_u64(MOST_BYTES, virtio_config(vdev, CONFIG_SIZE_MAX, 4));
	while (SECTOR << disk->shift < block)
		disk->shift++;
	info->block_bytes = SECTOR << disk->shift;
	info->blocks = virtio_config(vdev, CONFIG_CAPACITY, 8) >> disk->shift;
	info->max_blocks = min_u64(MOST_BYTES, (uint64_t)disk->piece_bytes * disk->pieces) / info->block_bytes;
	info->align = 1;
	info->features = (virtio_has(vdev, F_RO) ? INGOT_BLK_READONLY : 0) | (virtio_has(vdev, F_FLUSH) ? INGOT_BLK_FLUSH : 0) |
		(virtio_has(vdev, F_DISCARD) ? INGOT_BLK_DISCARD : 0);
	disk->blk.submit = vblk_submit;
	disk->blk.poll = vblk_poll;
	disk->blk.ops = &vblk_ops;
	disk->blk.dev = dev;
	disk->blk.kind = BLK_VIRTIO;
	for (uint32_t i = 0; i < queues && rc == E_OK; i++)
		rc = vblk_start_queue(disk, i);
	if (rc == E_OK) {
		virtio_ready(vdev);
		rc = blk_register(&disk->blk);
	}
	if (rc != E_OK)
		vblk_free(disk);
	return rc;
}

static void vblk_remove(struct device *dev)
{
	struct vblk *disk = dev->drvdata;
	blk_unregister(&disk->blk);
	vblk_free(disk);
}

static const struct dev_id vblk_ids[] = { DEV_ID(VIRTIO_VENDOR, 2, 0) };
static const struct driver virtio_blk = {
	"virtio-blk", DEV_IDS(vblk_ids), .probe = vblk_probe, .remove = vblk_remove
};
VIRTIO_DRIVER(virtio_blk);
