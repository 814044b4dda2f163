// virtio SCSI controller: each disk behind it is a drive.  "v." = section of the VIRTIO specification 1.2.
// QEMU: -device virtio-scsi-pci -device scsi-hd,drive=d0.
// Not done: hot plug, several queues for a drive, task management, discards of more than the device takes at once.
#include "virtio_scsi_regs.h"
#include <blk.h>
#include <irq.h>
#include <lock.h>
#include <log.h>
#include <mem.h>
#include <time.h>
#include <virtio.h>

API_VERSION(DRIVER, 1);
API_VERSION(VIRTIO, 1);
API_VERSION(BLK, 1);

#define RING 128u
#define CHAIN_SHIFT 3
#define CHAIN (1u << CHAIN_SHIFT) // descriptors of a request: request, response, pieces of data
#define PIECES (CHAIN - 2)
#define MOST_BYTES (8u << 20) // of a request
#define TARGETS 256
#define LUNS 32 // of a target
#define ANSWER_BYTES (LUN_BYTES * (LUNS + 1))
#define COMMAND_US 5000000
#define ATTEMPTS 4 // a unit tells first what has happened to it, one thing a command

struct scsi_slot {
	struct scsi_request request;
	uint8_t unmap[UNMAP_BYTES];
	uint8_t pad[1];
	struct scsi_response response;
	struct scsi_drive *drive;
	uint64_t tag;
};

// A request queue.  It belongs to one drive, or, where the device has less queues than disks, to several.
struct scsi_queue {
	struct virtq vq;
	struct virtq_desc *table; // CHAIN for each slot: `chains`, or in the ring itself
	uint32_t depth;           // slots in use
	uint32_t limit;           // the same, or 0: the device has been given up
	uint32_t shift;           // from descriptor numbers to slots
	uint32_t pieces;          // most that the device takes
	uint32_t drives;
	struct lock lock; // if there are several
	struct scsi_slot slots[RING];
	struct virtq_desc chains[RING * CHAIN];
};

struct scsi_drive {
	struct scsi_queue *queue;
	uint32_t flying;   // submitted and not yet polled
	uint32_t finished; // of these, in ready[]
	uint32_t block_shift;
	uint8_t lun[LUN_BYTES];
	struct ingot_blk_done ready[RING];
	struct blk_dev blk;
	struct scsi_host *host;
	struct scsi_drive *next;
};

struct scsi_host {
	struct virtio_dev *vdev;
	struct device *dev;
	struct scsi_queue *queue[BLK_QUEUES];
	uint32_t queues;
	uint32_t drive_count;
	struct scsi_drive *drives; // the last one first
	uint8_t *answer;           // to what the probe asks
};

static void put32(uint8_t *to, uint32_t value)
{
	value = __builtin_bswap32(value);
	__builtin_memcpy(to, &value, sizeof(value));
}

static void put64(uint8_t *to, uint64_t value)
{
	value = __builtin_bswap64(value);
	__builtin_memcpy(to, &value, sizeof(value));
}

static uint32_t get32(const uint8_t *from)
{
	uint32_t value;
	__builtin_memcpy(&value, from, sizeof(value));
	return __builtin_bswap32(value);
}

// ---- Data path -----------------------------------------------------------------------------------------------

// The owner of the only drive needs no lock.  A callback of a program may come here, too.
static inline uint64_t scsi_lock(struct scsi_queue *queue)
{
	if (likely(queue->drives <= 1))
		return 0;
	uint64_t flags = irq_save();
	lock_take(&queue->lock);
	return flags;
}

static inline void scsi_unlock(struct scsi_queue *queue, uint64_t flags)
{
	if (likely(queue->drives <= 1))
		return;
	lock_drop(&queue->lock);
	irq_restore(flags);
}

// The slot of the next request of a drive that has so many; NULL if there is no room, and then the device is told.
static inline struct scsi_slot *scsi_slot(struct scsi_queue *queue, uint32_t flying)
{
	struct virtq *vq = &queue->vq;
	if (likely(flying < queue->depth && vq->avail_index - vq->used_index < queue->limit))
		return &queue->slots[vq->ring[vq->avail_index & vq->mask] >> queue->shift];
	virtq_publish(vq);
	return NULL;
}

// Makes the chain of a slot and enters it: request, data to the device, response, data from the device (v.5.6.6.1).
// `flags`: VIRTQ_DESC_WRITE if the device writes the data.
static HOT int scsi_enter(struct scsi_queue *queue, struct scsi_slot *slot, const char *data, size_t left,
	uint32_t flags)
{
	struct virtq *vq = &queue->vq;
	uint32_t number = slot - queue->slots, base = queue->shift ? number << CHAIN_SHIFT : 0, used = 0;
	struct virtq_desc *first = &queue->table[number * CHAIN], *desc = first;
	slot->response.response = RESPONSE_NONE;
	virtq_describe(desc++, &slot->request, sizeof(slot->request), VIRTQ_DESC_NEXT);
	if (flags)
		virtq_describe(desc++, &slot->response, sizeof(slot->response), VIRTQ_DESC_NEXT | VIRTQ_DESC_WRITE);
	for (; left; used++) {
		size_t run;
		uint64_t phys = mem_phys(data, left, &run);
		if (!run || used == queue->pieces)
			return E_INVAL;
		virtq_describe(desc++, (void *)phys, run, VIRTQ_DESC_NEXT | flags);
		data += run;
		left -= run;
	}
	if (!flags)
		virtq_describe(desc++, &slot->response, sizeof(slot->response), VIRTQ_DESC_NEXT | VIRTQ_DESC_WRITE);
	for (struct virtq_desc *at = first; at < desc; at++)
		at->next = base + (at - first) + 1;
	desc[-1].flags &= ~VIRTQ_DESC_NEXT;
	vq->avail_index++;
	return E_OK;
}

// How a request has ended.  What the device has written is read once.
static __attribute__((noinline)) int scsi_error(const volatile struct scsi_response *response)
{
	uint32_t status = response->status, code = response->response, format = response->sense[0] & 0x7F;
	uint32_t key = (format < SENSE_DESCRIPTOR ? response->sense[2] : response->sense[1]) & 0xF;
	if (code == RESPONSE_NONE)
		return E_TIMEOUT;
	if (code != RESPONSE_OK)
		return code == RESPONSE_BAD_TARGET ? E_NODEV : E_IO;
	if (status == STATUS_BUSY || status == STATUS_TASK_SET_FULL)
		return E_AGAIN;
	if (status != STATUS_CHECK_CONDITION)
		return E_IO;
	return key == KEY_UNIT_ATTENTION ? E_AGAIN :
		key == KEY_DATA_PROTECT      ? E_RDONLY :
		key == KEY_ILLEGAL_REQUEST   ? E_NOTSUP :
									   E_IO;
}

static inline int scsi_status(const volatile struct scsi_response *response)
{
	if (likely(!response->status && !response->response))
		return likely(!response->residual) ? E_OK : E_IO;
	return scsi_error(response);
}

static HOT int scsi_submit(void *owned, const struct ingot_blk_req *req)
{
	struct scsi_drive *drive = owned;
	struct scsi_queue *queue = drive->queue;
	uint64_t flags = scsi_lock(queue);
	int rc = E_AGAIN;
	struct scsi_slot *slot = scsi_slot(queue, drive->flying);
	if (likely(slot)) {
		uint8_t *cdb = slot->request.cdb;
		uint64_t block = req->block;
		uint32_t count = req->count, direction = 0;
		size_t bytes = (size_t)count << drive->block_shift;
		const void *data = req->data;
		if (req->op == INGOT_READ) {
			cdb[0] = READ;
			direction = VIRTQ_DESC_WRITE;
		} else if (req->op == INGOT_WRITE) {
			cdb[0] = WRITE;
		} else if (req->op == INGOT_FLUSH) { // block and count 0: all of it
			cdb[0] = SYNCHRONIZE_CACHE;
			block = count = bytes = 0;
		} else {
			put64(slot->unmap, (UNMAP_BYTES - 2ull) << 48 | (UNMAP_BYTES - 8ull) << 32);
			put64(slot->unmap + 8, block);
			put64(slot->unmap + 16, (uint64_t)count << 32);
			cdb[0] = UNMAP;
			block = UNMAP_BYTES << 8; // bytes 7 and 8: how long the list is
			count = 0;
			data = slot->unmap;
			bytes = UNMAP_BYTES;
		}
		cdb[1] = cdb[14] = cdb[15] = 0;
		put64(cdb + 2, block);
		put32(cdb + 10, count);
		__builtin_memcpy(slot->request.lun, drive->lun, LUN_BYTES);
		slot->drive = drive;
		slot->tag = req->tag;
		rc = scsi_enter(queue, slot, data, bytes, direction);
		drive->flying += rc == E_OK;
	} else if (!queue->limit) {
		rc = E_IO;
	}
	scsi_unlock(queue, flags);
	return rc;
}

// Takes from the device what it has finished, and lays it out for the drives that it belongs to.
static HOT void scsi_collect(struct scsi_queue *queue)
{
	struct virtq *vq = &queue->vq;
	if (virtq_unpublished(vq))
		virtq_publish(vq);
	uint32_t pending = virtq_pending(vq);
	if (pending > vq->avail_index - vq->used_index) // nonsense
		return;
	for (; pending && virtq_match(vq); pending--) {
		uint32_t id = vq->ring[vq->used_index & vq->mask];
		struct scsi_slot *slot = &queue->slots[id >> queue->shift];
		struct scsi_drive *drive = slot->drive;
		drive->ready[drive->finished++] =
			(struct ingot_blk_done){ .tag = slot->tag, .status = scsi_status(&slot->response) };
		vq->ring[(vq->used_index + queue->depth) & vq->mask] = id;
		vq->used_index++;
	}
}

static HOT uint32_t scsi_poll(void *owned, struct ingot_blk_done *done, uint32_t max)
{
	struct scsi_drive *drive = owned;
	struct scsi_queue *queue = drive->queue;
	uint64_t flags = scsi_lock(queue);
	scsi_collect(queue);
	uint32_t count = min_u64(drive->finished, max);
	for (uint32_t i = 0; i < count; i++)
		done[i] = drive->ready[--drive->finished];
	drive->flying -= count;
	scsi_unlock(queue, flags);
	return count;
}

// The reset takes every request of every drive from the device; it stays off.
static void scsi_recover(struct blk_dev *blk)
{
	struct scsi_host *host = container_of(blk, struct scsi_drive, blk)->host;
	virtio_reset(host->vdev);
	for (uint32_t i = 0; i < host->queues; i++) {
		struct scsi_queue *queue = host->queue[i];
		uint64_t flags = scsi_lock(queue);
		queue->limit = 0;
		virtq_cancel(&queue->vq);
		scsi_unlock(queue, flags);
	}
}

static const struct blk_ops scsi_ops = { .recover = scsi_recover };

// ---- Questions of the probe ----------------------------------------------------------------------------------

// One command that brings at most `bytes`, which are in host->answer then; waited for.
static int scsi_try(struct scsi_host *host, const uint8_t *lun, const uint8_t *cdb, uint32_t bytes)
{
	struct scsi_queue *queue = host->queue[0];
	struct virtq *vq = &queue->vq;
	struct scsi_slot *slot = scsi_slot(queue, 0);
	uint64_t end = time_deadline(COMMAND_US);
	memset(&slot->request, 0, sizeof(slot->request));
	memset(host->answer, 0, ANSWER_BYTES);
	memcpy(slot->request.lun, lun, LUN_BYTES);
	memcpy(slot->request.cdb, cdb, 16);
	int rc = scsi_enter(queue, slot, (char *)host->answer, bytes, VIRTQ_DESC_WRITE);
	if (rc != E_OK)
		return rc;
	virtq_publish(vq);
	while (!virtq_pending(vq))
		if (time_passed(end))
			return E_TIMEOUT;
	if (virtq_pending(vq) != 1 || !virtq_match(vq))
		return E_IO;
	uint32_t id = vq->ring[vq->used_index & vq->mask];
	vq->ring[(vq->used_index + queue->depth) & vq->mask] = id;
	vq->used_index++;
	slot->response.residual = 0; // it may have less to say
	return scsi_status(&slot->response);
}

static int scsi_ask(struct scsi_host *host, const uint8_t *lun, const uint8_t *cdb, uint32_t bytes)
{
	int rc = E_AGAIN;
	for (uint32_t i = 0; i < ATTEMPTS && rc == E_AGAIN; i++)
		rc = scsi_try(host, lun, cdb, bytes);
	return rc;
}

// ---- Drives --------------------------------------------------------------------------------------------------

// Asks a disk what a drive must know.  E_NOTSUP for what can't be one.
static int scsi_describe(struct scsi_host *host, struct scsi_drive *drive)
{
	static const uint8_t capacity[16] = { READ_CAPACITY, READ_CAPACITY_ACTION, [13] = CAPACITY_BYTES };
	static const uint8_t mode[16] = { MODE_SENSE, 0, MODE_ALL_PAGES, 0, MODE_BYTES };
	struct ingot_blk_info *info = &drive->blk.info;
	const uint8_t *answer = host->answer;
	int rc = scsi_ask(host, drive->lun, capacity, CAPACITY_BYTES);
	if (rc != E_OK)
		return rc;
	uint64_t last = (uint64_t)get32(answer) << 32 | get32(answer + 4);
	uint32_t bytes = get32(answer + 8);
	if (bytes < 512 || bytes > 4096 || bytes & (bytes - 1) || last >> 48)
		return E_NOTSUP;
	info->block_bytes = bytes;
	info->blocks = last + 1;
	info->features = INGOT_BLK_FLUSH | (answer[14] & CAPACITY_LBPME ? INGOT_BLK_DISCARD : 0);
	drive->block_shift = __builtin_ctz(bytes);
	rc = scsi_ask(host, drive->lun, mode, MODE_BYTES);
	if (rc == E_OK && answer[2] & MODE_WRITE_PROTECT)
		info->features |= INGOT_BLK_READONLY;
	return rc == E_TIMEOUT ? rc : E_OK; // a disk need not have modes
}

static int scsi_add(struct scsi_host *host, const uint8_t *lun)
{
	struct scsi_drive *drive = kzalloc(sizeof(*drive));
	if (!drive)
		return E_NOMEM;
	struct blk_dev *blk = &drive->blk;
	struct scsi_queue *queue = host->queue[host->drive_count % host->queues];
	memcpy(drive->lun, lun, LUN_BYTES);
	int rc = scsi_describe(host, drive);
	if (rc == E_OK) {
		drive->host = host;
		drive->queue = queue;
		blk->info.queues = 1;
		blk->info.depth = queue->depth;
		blk->info.align = 1;
		blk->info.max_blocks = clamp_u32(virtio_config(host->vdev, CONFIG_MAX_SECTORS, ~0u), 8, MOST_BYTES / 512) *
			512ul / blk->info.block_bytes;
		blk->queue[0] = drive;
		blk->submit = scsi_submit;
		blk->poll = scsi_poll;
		blk->ops = &scsi_ops;
		blk->dev = host->dev;
		blk->kind = BLK_VIRTIO_SCSI;
		queue->drives++;
		rc = blk_register(blk);
	}
	if (rc != E_OK) {
		kfree(drive, sizeof(*drive));
		return rc;
	}
	host->drive_count++;
	drive->next = host->drives;
	host->drives = drive;
	return E_OK;
}

// Each disk among the logical units of a target becomes a drive; others are named, no more.
static int scsi_target(struct scsi_host *host, uint32_t target)
{
	static const uint8_t report[16] = { REPORT_LUNS, [8] = ANSWER_BYTES >> 8, ANSWER_BYTES & 0xFF };
	static const uint8_t inquiry[16] = { INQUIRY, [4] = INQUIRY_BYTES };
	uint8_t luns[LUNS * LUN_BYTES], lun[LUN_BYTES] = { LUN_FIRST, target, LUN_FLAT };
	int rc = scsi_ask(host, lun, report, ANSWER_BYTES);
	if (rc != E_OK)
		return rc;
	uint32_t count = clamp_u32(get32(host->answer) / LUN_BYTES, 0, LUNS);
	memcpy(luns, host->answer + LUN_BYTES, sizeof(luns));
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *at = &luns[i * LUN_BYTES];
		if ((at[0] & LUN_METHOD) > LUN_FLAT)
			continue;
		lun[2] = at[0] | LUN_FLAT;
		lun[3] = at[1];
		rc = scsi_ask(host, lun, inquiry, INQUIRY_BYTES);
		if (rc == E_OK && host->answer[0] & INQUIRY_QUALIFIER)
			continue; // number 0 is always listed
		if (rc == E_OK && host->answer[0] != INQUIRY_DISK)
			rc = E_NOTSUP;
		if (rc == E_OK)
			rc = scsi_add(host, lun);
		if (rc == E_TIMEOUT || rc == E_NOMEM)
			return rc;
		if (rc != E_OK)
			log(" (target %u unit %u can't be a drive)", target, (lun[2] & ~LUN_METHOD) << 8 | lun[3]);
	}
	return E_OK;
}

// ---- Probe ---------------------------------------------------------------------------------------------------

static int scsi_start_queue(struct scsi_host *host, uint32_t index)
{
	struct scsi_queue *queue = host->queue[index] = kzalloc(sizeof(*queue));
	if (!queue)
		return E_NOMEM;
	struct virtq *vq = &queue->vq;
	int rc = virtio_queue(host->vdev, QUEUE_REQUEST + index, RING, vq);
	if (rc != E_OK)
		return rc;
	bool indirect = virtio_has(host->vdev, VIRTIO_F_INDIRECT_DESC);
	queue->shift = indirect ? 0 : CHAIN_SHIFT;
	queue->table = indirect ? queue->chains : vq->desc;
	queue->depth = queue->limit = vq->size >> queue->shift;
	queue->pieces = clamp_u32(virtio_config(host->vdev, CONFIG_SEG_MAX, PIECES), 1, PIECES);
	for (uint32_t i = 0; i < queue->depth; i++) {
		vq->ring[i] = i << queue->shift;
		if (indirect)
			virtq_describe(&vq->desc[i], &queue->chains[i * CHAIN], CHAIN * sizeof(struct virtq_desc),
				VIRTQ_DESC_INDIRECT);
	}
	return queue->depth ? E_OK : E_NOTSUP;
}

static void scsi_free(struct scsi_host *host)
{
	for (struct scsi_drive *drive = host->drives; drive; drive = drive->next)
		blk_unregister(&drive->blk);
	virtio_reset(host->vdev);
	for (struct scsi_drive *drive = host->drives, *next; drive; drive = next) {
		next = drive->next;
		kfree(drive, sizeof(*drive));
	}
	for (uint32_t i = 0; i < BLK_QUEUES && host->queue[i]; i++) {
		virtio_queue_free(&host->queue[i]->vq);
		kfree(host->queue[i], sizeof(*host->queue[i]));
	}
	kfree(host->answer, ANSWER_BYTES);
	kfree(host, sizeof(*host));
}

// Registers every drive.  A target that isn't there says so at once.
static int scsi_scan(struct scsi_host *host)
{
	uint32_t last = clamp_u32(virtio_config(host->vdev, CONFIG_MAX_TARGET, 0), 0, TARGETS - 1);
	for (uint32_t target = 0; target <= last; target++) {
		int rc = scsi_target(host, target);
		if (rc == E_TIMEOUT || rc == E_NOMEM)
			return rc;
	}
	return E_OK;
}

static int scsi_probe(struct device *dev, const struct dev_id *row)
{
	struct virtio_dev *vdev = to_virtio(dev);
	struct scsi_host *host = kzalloc(sizeof(*host));
	(void)row;
	if (!host)
		return E_NOMEM;
	int rc = virtio_start(vdev, 1ul << VIRTIO_F_INDIRECT_DESC | 1ul << VIRTIO_F_EVENT_IDX);
	if (rc != E_OK) {
		kfree(host, sizeof(*host));
		return rc;
	}
	host->vdev = vdev;
	host->dev = dev;
	dev->drvdata = host;
	host->answer = kzalloc(ANSWER_BYTES);
	if (!host->answer)
		rc = E_NOMEM;
	host->queues = clamp_u32(virtio_config(vdev, CONFIG_NUM_QUEUES, 1), 1, BLK_QUEUES);
	for (uint32_t i = 0; i < host->queues && rc == E_OK; i++)
		rc = scsi_start_queue(host, i);
	if (rc == E_OK) {
		virtio_ready(vdev);
		rc = scsi_scan(host);
	}
	if (rc != E_OK)
		scsi_free(host);
	return rc;
}

static void scsi_remove(struct device *dev)
{
	scsi_free(dev->drvdata);
}

static const struct dev_id scsi_ids[] = { DEV_ID(VIRTIO_VENDOR, TYPE_SCSI_HOST, 0) };
static const struct driver virtio_scsi = { "virtio-scsi", DEV_IDS(scsi_ids), .probe = scsi_probe,
	.remove = scsi_remove };
VIRTIO_DRIVER(virtio_scsi);
