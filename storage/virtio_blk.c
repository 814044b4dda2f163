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

// Configuration (v.5.2.4); capacity in 512 bytes, whatever the block size
#define CONFIG_CAPACITY VIRTIO_FIELD(VIRTIO_F_VERSION_1, 0, 8)
#define CONFIG_SIZE_MAX VIRTIO_FIELD(F_SIZE_MAX, 8, 4)
#define CONFIG_SEG_MAX VIRTIO_FIELD(F_SEG_MAX, 12, 4)
#define CONFIG_BLK_SIZE VIRTIO_FIELD(F_BLK_SIZE, 20, 4)
#define CONFIG_QUEUES VIRTIO_FIELD(F_MQ, 34, 2)

#define SECTOR_SHIFT 9
#define BLOCK_SHIFT_MOST 3	// 4096 bytes
#define STATUS_OK 0		// v.5.2.6
#define STATUS_UNSUPPORTED 2
#define STATUS_NONE 0xFF

#define RING 128u
#define CHAIN_SHIFT 3
#define CHAIN (1u << CHAIN_SHIFT)	// descriptors of a request: header, pieces of data, status
#define PIECES (CHAIN - 2)
#define MOST_BYTES (8u << 20)		// of a request

// What a request needs beside its data.
struct vblk_slot {
	uint32_t type, reserved;	// header (v.5.2.6)
	uint64_t sector;
	uint64_t first;			// discard segment (v.5.2.6)
	uint32_t sectors, flags;
	uint64_t tag;
	volatile uint8_t status;
	uint8_t pad[23];
};
_Static_assert(sizeof(struct vblk_slot) == 64, "a power of two");
#define HEADER_BYTES 16
#define SEGMENT_BYTES 16

struct vblk_queue {
	struct virtq vq;
	struct vblk_slot *slots;	// `depth` of them
	struct virtq_desc *chains;	// CHAIN for each slot: indirect tables, or the ring's own descriptors
	struct virtq_desc *memory;	// of both
	uint32_t depth;			// 0: the device is dead
	uint32_t shift;			// from descriptor numbers to slots
};

struct vblk {
	struct virtio_dev *vdev;
	uint32_t pieces, piece_bytes;	// most that the device takes
	uint32_t shift;			// from blocks to sectors
	struct blk_dev blk;
	struct vblk_queue queue[];	// info.queues
};

static inline struct vblk *to_vblk(struct blk_dev *blk)
{
	return container_of(blk, struct vblk, blk);
}

static int vblk_submit(struct blk_dev *blk, uint32_t queue, const struct ingot_blk_req *req)
{
	static const uint8_t types[] = { 0, 1, 4, 11 };	// v.5.2.6: IN, OUT, FLUSH, DISCARD
	struct vblk *disk = to_vblk(blk);
	struct vblk_queue *q = &disk->queue[queue];
	struct virtq *vq = &q->vq;
	if (vq->avail_index - vq->used_index >= q->depth) {
		if (!q->depth)
			return E_IO;
		virtq_publish(vq);
		return E_AGAIN;
	}
	uint32_t number = vq->ring[vq->avail_index & vq->mask] >> q->shift, op = req->op;
	struct vblk_slot *slot = &q->slots[number];
	struct virtq_desc *desc = &q->chains[number * CHAIN], *last = desc + disk->pieces;
	const char *data = req->data;
	uint64_t sector = req->block << disk->shift, left = (uint64_t)req->count << disk->shift << SECTOR_SHIFT;
	slot->type = types[op];
	slot->tag = req->tag;
	slot->status = STATUS_NONE;
	if (op >= INGOT_FLUSH) {
		slot->first = sector;
		slot->sectors = left >> SECTOR_SHIFT;
		data = (const char *)&slot->first;
		left = op == INGOT_FLUSH ? 0 : SEGMENT_BYTES;
		sector = 0;
	}
	slot->sector = sector;
	while (left) {
		size_t run;
		uint64_t phys = mem_phys(data, left, &run);
		if (!run || desc++ == last)
			return E_INVAL;
		if (run > disk->piece_bytes)
			run = disk->piece_bytes;
		desc->phys = phys;
		desc->len = run;
		desc->flags = op == INGOT_READ ? VIRTQ_DESC_NEXT | VIRTQ_DESC_WRITE : VIRTQ_DESC_NEXT;
		data += run;
		left -= run;
	}
	desc++;
	desc->phys = (uintptr_t)&slot->status;
	desc->len = 1;
	desc->flags = VIRTQ_DESC_WRITE;
	vq->avail_index++;
	return E_OK;
}

static uint32_t vblk_poll(struct blk_dev *blk, uint32_t queue, struct ingot_blk_done *done, uint32_t max)
{
	struct vblk_queue *q = &to_vblk(blk)->queue[queue];
	struct virtq *vq = &q->vq;
	if (vq->notified != (uint16_t)vq->avail_index)
		virtq_publish(vq);
	uint32_t pending = virtq_pending(vq), count = 0;
	if (pending > vq->avail_index - vq->used_index)	// nonsense
		return 0;
	for (; count < pending && count < max && virtq_match(vq); count++, vq->used_index++) {
		uint32_t id = vq->ring[vq->used_index & vq->mask];
		vq->ring[(vq->used_index + q->depth) & vq->mask] = id;
		struct vblk_slot *slot = &q->slots[id >> q->shift];
		uint8_t status = slot->status;
		done[count].tag = slot->tag;
		done[count].status = status == STATUS_OK ? E_OK : status == STATUS_UNSUPPORTED ? E_NOTSUP : E_IO;
	}
	return count;
}

// The reset takes every request from the device; it stays off.
static void vblk_recover(struct blk_dev *blk, uint32_t queue)
{
	struct vblk *disk = to_vblk(blk);
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
	struct virtq *vq = &q->vq;
	int rc = virtio_queue(disk->vdev, index, RING, vq);
	if (rc != E_OK)
		return rc;
	q->shift = virtio_has(disk->vdev, VIRTIO_F_INDIRECT_DESC) ? 0 : CHAIN_SHIFT;
	uint32_t depth = vq->size >> q->shift;
	q->memory = mem_alloc(vblk_queue_bytes(depth), 64);
	if (!q->memory)
		return E_NOMEM;
	disk->blk.info.depth = q->depth = depth;
	q->slots = (struct vblk_slot *)(q->memory + depth * CHAIN);
	q->chains = q->shift ? vq->desc : q->memory;
	for (uint32_t i = 0; i < depth * CHAIN; i++)	// each within its table, or all of them in the ring
		q->chains[i].next = (q->shift ? i : i % CHAIN) + 1;
	for (uint32_t i = 0; i < depth; i++) {
		struct virtq_desc *first = &q->chains[i * CHAIN];
		first->phys = (uintptr_t)&q->slots[i];
		first->len = HEADER_BYTES;
		first->flags = VIRTQ_DESC_NEXT;
		vq->ring[i] = i << q->shift;
		if (q->shift)
			continue;
		vq->desc[i].phys = (uintptr_t)first;
		vq->desc[i].len = CHAIN * sizeof(*first);
		vq->desc[i].flags = VIRTQ_DESC_INDIRECT;
	}
	return E_OK;
}

static void vblk_free(struct vblk *disk)
{
	uint32_t queues = disk->blk.info.queues;
	virtio_reset(disk->vdev);
	for (struct vblk_queue *q = disk->queue; q < disk->queue + queues; q++) {
		mem_free(q->memory, vblk_queue_bytes(q->vq.size >> q->shift));
		virtio_queue_free(&q->vq);
	}
	kfree(disk, sizeof(*disk) + queues * sizeof(disk->queue[0]));
}

static int vblk_probe(struct device *dev, const struct dev_id *row)
{
	struct virtio_dev *vdev = to_virtio(dev);
	int rc = virtio_start(vdev, WANTED);
	(void)row;
	if (rc != E_OK)
		return rc;
	uint32_t queues = max_u64(min_u64(virtio_config(vdev, CONFIG_QUEUES, 1), smp_count()), 1);
	struct vblk *disk = kzalloc(sizeof(*disk) + queues * sizeof(disk->queue[0]));
	if (!disk)
		return E_NOMEM;
	struct ingot_blk_info *info = &disk->blk.info;
	dev->drvdata = disk;
	disk->vdev = vdev;
	disk->pieces = min_u64(PIECES, max_u64(virtio_config(vdev, CONFIG_SEG_MAX, PIECES), 1));
	disk->piece_bytes = min_u64(MOST_BYTES, virtio_config(vdev, CONFIG_SIZE_MAX, MOST_BYTES));
	uint32_t block = virtio_config(vdev, CONFIG_BLK_SIZE, 0);
	while (disk->shift < BLOCK_SHIFT_MOST && 1u << SECTOR_SHIFT << disk->shift < block)
		disk->shift++;
	info->block_bytes = 1u << SECTOR_SHIFT << disk->shift;
	info->blocks = virtio_config(vdev, CONFIG_CAPACITY, 0) >> disk->shift;
	info->max_blocks = min_u64(MOST_BYTES, (uint64_t)disk->piece_bytes * disk->pieces) >> disk->shift >> SECTOR_SHIFT;
	info->align = 1;
	info->queues = queues;
	info->features = (vdev->features >> F_RO & INGOT_BLK_READONLY) | (vdev->features >> (F_FLUSH - 1) & INGOT_BLK_FLUSH) |
		(vdev->features >> (F_DISCARD - 2) & INGOT_BLK_DISCARD);
	disk->blk.submit = vblk_submit;
	disk->blk.poll = vblk_poll;
	disk->blk.ops = &vblk_ops;
	disk->blk.dev = dev;
	disk->blk.kind = BLK_VIRTIO;
	while (queues-- && rc == E_OK)
		rc = vblk_start_queue(disk, queues);
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
