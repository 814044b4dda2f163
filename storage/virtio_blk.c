// storage/virtio_blk.c - virtio block device.  "v." = section of the VIRTIO specification 1.2.
// QEMU: -device virtio-blk-pci, or virtio-blk-device on microvm.  Not done: write zeroes, secure erase.
#include <blk.h>
#include <virtio.h>
#include <log.h>
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
#define WANTED \
	(BIT(F_SIZE_MAX) | BIT(F_SEG_MAX) | BIT(F_RO) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_MQ) | BIT(F_DISCARD) | \
		BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX))

// Configuration (v.5.2.4); capacity in 512 bytes, whatever the block size
#define CONFIG_CAPACITY VIRTIO_FIELD(VIRTIO_F_VERSION_1, 0, 4)
#define CONFIG_CAPACITY_HIGH VIRTIO_FIELD(VIRTIO_F_VERSION_1, 4, 4)
#define CONFIG_SIZE_MAX VIRTIO_FIELD(F_SIZE_MAX, 8, 4)
#define CONFIG_SEG_MAX VIRTIO_FIELD(F_SEG_MAX, 12, 4)
#define CONFIG_BLK_SIZE VIRTIO_FIELD(F_BLK_SIZE, 20, 4)
#define CONFIG_QUEUES VIRTIO_FIELD(F_MQ, 34, 2)
#define CONFIG_DISCARD_MOST VIRTIO_FIELD(F_DISCARD, 36, 4)

#define SECTOR_SHIFT 9
#define BLOCK_MOST 4096
#define TYPE_FLUSH 4 // v.5.2.6
#define TYPE_DISCARD 11
#define STATUS_OK 0
#define STATUS_UNSUPPORTED 2
#define STATUS_NONE 0xFF

#define RING 128u
#define CHAIN_SHIFT 3
#define CHAIN (1u << CHAIN_SHIFT) // descriptors of a request: header, pieces of data, status
#define PIECES (CHAIN - 2)
#define MOST_BYTES (8u << 20) // of a request

// What a request needs beside its data.
struct vblk_slot {
	uint32_t type, reserved; // header (v.5.2.6)
	uint64_t sector;
	uint64_t first; // discard segment (v.5.2.6)
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
	struct virtq_desc *table; // CHAIN for each slot: `chains`, or in the ring itself
	uint32_t depth;           // slots in use
	uint32_t limit;           // the same, or 0: the device has been reset
	uint32_t shift;           // from descriptor numbers to slots
	uint32_t base_mask;       // of descriptor numbers: the first of a chain in its table
	struct vblk *disk;
	struct mem_near near;
	struct vblk_slot slots[RING];
	struct virtq_desc chains[RING * CHAIN];
};

struct vblk {
	struct virtio_dev *vdev;
	uint32_t pieces, piece_bytes; // most that the device takes
	uint32_t shift;               // from blocks to sectors
	struct blk_dev blk;
};

static inline struct vblk *to_vblk(struct blk_dev *blk)
{
	return container_of(blk, struct vblk, blk);
}

static int vblk_restart(struct vblk_queue *q, const struct ingot_blk_req *req);

static __attribute__((noinline)) int vblk_full(struct vblk_queue *q, const struct ingot_blk_req *req)
{
	virtq_publish(&q->vq);
	if (q->limit)
		return E_AGAIN;
	return CONFIG_ON(STORAGE_VIRTIO_BLK_RESTART) ? vblk_restart(q, req) : E_IO;
}

// The chain of a request whose data isn't in one piece, or isn't the program's.
static __attribute__((noinline)) int vblk_chain(struct vblk_queue *q, struct virtq_desc *desc, struct vblk_slot *slot,
	const struct ingot_blk_req *req)
{
	uint32_t base = desc->next - 1, next = base, op = req->op;
	const char *data = req->data;
	uint64_t left = (uint64_t)req->count << q->disk->shift << SECTOR_SHIFT;
	if (op >= INGOT_FLUSH) {
		uint64_t sectors = left >> SECTOR_SHIFT;
		slot->first = slot->sector;
		slot->sector = 0;
		slot->sectors = sectors;
		data = (const char *)&slot->first;
		left = SEGMENT_BYTES;
		slot->type = TYPE_DISCARD;
		if (op == INGOT_FLUSH) {
			slot->type = TYPE_FLUSH;
			left = 0;
		} else if (sectors - 1 > virtio_config(q->disk->vdev, CONFIG_DISCARD_MOST, 0) - 1) { // 0: no limit
			return E_INVAL;
		}
	}
	while (left) {
		mem_near_set(&q->near, data);
		size_t run = min_u64(q->near.bytes, left);
		if (!run || next - base == q->disk->pieces)
			return E_INVAL;
		if (run > q->disk->piece_bytes)
			run = q->disk->piece_bytes;
		desc->next = ++next; // of the one before
		desc++;
		desc->phys = (uintptr_t)data + q->near.offset;
		desc->len = run;
		desc->flags = op == INGOT_READ ? VIRTQ_DESC_NEXT | VIRTQ_DESC_WRITE : VIRTQ_DESC_NEXT;
		data += run;
		left -= run;
	}
	desc->next = base + CHAIN - 1;
	q->vq.avail_index++;
	return E_OK;
}

static HOT int vblk_submit(void *queue, const struct ingot_blk_req *req)
{
	struct vblk_queue *q = queue;
	struct virtq *vq = &q->vq;
	if (unlikely(vq->avail_index - vq->used_index >= q->limit))
		return vblk_full(q, req);
	uint32_t id = vq->ring[vq->avail_index & vq->mask], number = id >> q->shift, op = req->op, shift = q->disk->shift;
	struct vblk_slot *slot = &q->slots[number];
	struct virtq_desc *desc = &q->table[number * CHAIN];
	uint64_t bytes = (uint64_t)req->count << shift << SECTOR_SHIFT, phys;
	slot->sector = req->block << shift;
	slot->type = op; // v.5.2.6: IN, OUT
	slot->tag = req->tag;
	slot->status = STATUS_NONE;
	id &= q->base_mask;
	desc->next = id + 1;
	if (unlikely(op >= INGOT_FLUSH || bytes > q->disk->piece_bytes || !mem_near(&q->near, req->data, bytes, &phys)))
		return vblk_chain(q, desc, slot, req);
	desc[1].phys = phys;
	desc[1].len = bytes;
	desc[1].flags = (op ^ INGOT_WRITE) * VIRTQ_DESC_WRITE + VIRTQ_DESC_NEXT;
	desc[1].next = id + CHAIN - 1;
	vq->avail_index++;
	return E_OK;
}

static __attribute__((noinline)) int vblk_error(uint32_t status)
{
	return status == STATUS_UNSUPPORTED ? E_NOTSUP : status == STATUS_NONE ? E_TIMEOUT : E_IO;
}

static HOT uint32_t vblk_poll(void *queue, struct ingot_blk_done *done, uint32_t max)
{
	struct vblk_queue *q = queue;
	struct virtq *vq = &q->vq;
	if (virtq_unpublished(vq))
		virtq_publish(vq);
	uint32_t pending = virtq_pending(vq), from = vq->used_index, at = from, mask = vq->mask;
	uint16_t *ring = vq->ring;
	if (pending > vq->avail_index - at) // nonsense
		max = 0;
	if (max > pending)
		max = pending;
	for (const uint32_t end = at + max; at != end; at++, done++) {
		uint32_t id = ring[at & mask];
		if (unlikely((uint32_t)virtq_used(vq->used, at & mask) != id)) {
			vq->used_index = at;
			if (!virtq_reorder(vq))
				break;
			id = ring[at & mask];
		}
		const struct vblk_slot *slot = &q->slots[id >> q->shift];
		uint32_t status = slot->status;
		ring[(at + q->depth) & mask] = id;
		done->tag = slot->tag;
		done->status = E_OK;
		if (unlikely(status))
			done->status = vblk_error(status);
	}
	vq->used_index = at;
	if (unlikely(at == from) && at != vq->avail_index)
		virtq_remind(vq);
	return at - from;
}

// The reset takes every request from the device, which stays off if it isn't started anew.
static void vblk_recover(struct blk_dev *blk)
{
	log("%s: time-out", blk->info.name);
	virtio_reset(to_vblk(blk)->vdev);
	log("\n");
	for (uint32_t i = 0; i < blk->info.queues; i++) {
		struct vblk_queue *q = blk->queue[i];
		q->limit = 0;
		virtq_cancel(&q->vq);
	}
}

static const struct blk_ops vblk_ops = { .recover = vblk_recover };

static int vblk_start_queue(struct vblk *disk, uint32_t index)
{
	struct vblk_queue *q = disk->blk.queue[index];
	if (!q && !(q = disk->blk.queue[index] = kzalloc(sizeof(*q))))
		return E_NOMEM;
	struct virtq *vq = &q->vq;
	int rc = virtio_queue(disk->vdev, index, RING, vq);
	if (rc != E_OK)
		return rc;
	uint32_t shift = virtio_has(disk->vdev, VIRTIO_F_INDIRECT_DESC) ? 0 : CHAIN_SHIFT;
	struct virtq_desc *desc = shift ? vq->desc : q->chains, *entry = vq->desc;
	struct vblk_slot *slot = q->slots;
	q->disk = disk;
	q->table = desc;
	q->shift = shift;
	q->base_mask = shift ? ~0u : 0;
	disk->blk.info.depth = q->depth = vq->size >> shift;
	if (!CONFIG_ON(STORAGE_VIRTIO_BLK_RESTART))
		q->limit = q->depth;
	else if (!q->depth) // no chain has room: as if it had been reset, for ever
		return E_NOTSUP;
	for (uint32_t i = 0; i < q->depth; i++, slot++, entry++) {
		vq->ring[i] = i << shift;
		if (!shift)
			virtq_describe(entry, desc, CHAIN * sizeof(*desc), VIRTQ_DESC_INDIRECT);
		virtq_describe(desc, slot, HEADER_BYTES, VIRTQ_DESC_NEXT);
		desc += CHAIN;
		virtq_describe(desc - 1, &slot->status, 1, VIRTQ_DESC_WRITE);
	}
	return E_OK;
}

static int vblk_start_queues(struct vblk *disk)
{
	int rc = E_OK;
	for (uint32_t i = 0; i < disk->blk.info.queues && rc == E_OK; i++)
		rc = vblk_start_queue(disk, i);
	if (rc == E_OK)
		virtio_ready(disk->vdev);
	for (uint32_t i = 0; CONFIG_ON(STORAGE_VIRTIO_BLK_RESTART) && rc == E_OK && i < disk->blk.info.queues; i++) {
		struct vblk_queue *q = disk->blk.queue[i]; // its owner may be waiting for this
		q->limit = q->depth;
	}
	return rc;
}

// The device has been reset.  The owner of queue 0, who found it hanging, starts it anew with the next request, as soon
// as the owners of all queues have taken back what they had; theirs wait for that.
static int vblk_restart(struct vblk_queue *q, const struct ingot_blk_req *req)
{
	struct vblk *disk = q->disk;
	if (q != disk->blk.queue[0])
		return E_AGAIN;
	for (uint32_t i = 0; i < disk->blk.info.queues; i++) {
		const struct virtq *vq = &((struct vblk_queue *)disk->blk.queue[i])->vq;
		if (vq->avail_index != vq->used_index)
			return E_AGAIN;
	}
	int rc = virtio_start(disk->vdev, WANTED);
	if (rc == E_OK)
		rc = vblk_start_queues(disk);
	return rc == E_OK ? vblk_submit(q, req) : rc;
}

static void vblk_free(struct vblk *disk)
{
	virtio_reset(disk->vdev);
	for (uint32_t i = 0; i < BLK_QUEUES; i++) {
		struct vblk_queue *q = disk->blk.queue[i];
		if (!q)
			continue;
		virtio_queue_free(&q->vq);
		kfree(q, sizeof(*q));
	}
	kfree(disk, sizeof(*disk));
}

static int vblk_probe(struct device *dev, const struct dev_id *row)
{
	struct virtio_dev *vdev = to_virtio(dev);
	struct vblk *disk = kzalloc(sizeof(*disk));
	(void)row;
	if (!disk)
		return E_NOMEM;
	int rc = virtio_start(vdev, WANTED);
	if (rc != E_OK) {
		kfree(disk, sizeof(*disk));
		return rc;
	}
	struct blk_dev *blk = &disk->blk;
	struct ingot_blk_info *info = &blk->info;
	dev->drvdata = disk;
	disk->vdev = vdev;
	disk->pieces = clamp_u32(virtio_config(vdev, CONFIG_SEG_MAX, PIECES), 1, PIECES);
	disk->piece_bytes = clamp_u32(virtio_config(vdev, CONFIG_SIZE_MAX, MOST_BYTES), 1 << SECTOR_SHIFT, MOST_BYTES);
	uint32_t block = virtio_config(vdev, CONFIG_BLK_SIZE, 0), bytes = 1 << SECTOR_SHIFT;
	for (; bytes < block && bytes < BLOCK_MOST; bytes *= 2)
		disk->shift++;
	info->block_bytes = bytes;
	info->blocks = virtio_config(vdev, CONFIG_CAPACITY_HIGH, 0);
	info->blocks = (info->blocks << 32 | virtio_config(vdev, CONFIG_CAPACITY, 0)) >> disk->shift;
	info->max_blocks = min_u64(disk->piece_bytes * disk->pieces, MOST_BYTES) >> SECTOR_SHIFT >> disk->shift;
	info->align = 1;
	uint32_t features = vdev->features;
	info->features = (features >> F_RO & INGOT_BLK_READONLY) | (features >> (F_FLUSH - 1) & INGOT_BLK_FLUSH) |
		(features >> (F_DISCARD - 2) & INGOT_BLK_DISCARD);
	blk->submit = vblk_submit;
	blk->poll = vblk_poll;
	blk->ops = &vblk_ops;
	blk->dev = dev;
	blk->kind = BLK_VIRTIO;
	info->queues = clamp_u32(virtio_config(vdev, CONFIG_QUEUES, 1), 1, min_u64(smp_count(), BLK_QUEUES));
	rc = vblk_start_queues(disk);
	if (rc == E_OK)
		rc = blk_register(blk);
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
	"virtio-blk",
	DEV_IDS(vblk_ids),
	.probe = vblk_probe,
	.remove = vblk_remove,
};
VIRTIO_DRIVER(virtio_blk);
