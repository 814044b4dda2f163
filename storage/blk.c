// The class of drives: numbers them, checks requests, and carries the calls of programs to them.
#include <blk.h>
#include <log.h>
#include <mem.h>
#include <program.h>
#include <smp.h>
#include <time.h>

#define SECTOR_SHIFT 12 // of the register interface
#define SECTOR (1u << SECTOR_SHIFT)
#define BOUNCE_BYTES (4 * SECTOR)

static void *disks[CLASS_MAX];

static ALWAYS_INLINE struct blk_dev *blk_find(uint32_t index)
{
	return index < CLASS_MAX ? disks[index] : NULL;
}

static HOT int blk_check(struct blk_dev *blk, uint32_t queue, const struct ingot_blk_req *req)
{
	const struct ingot_blk_info *info = &blk->info;
	uint32_t op = req->op, count = req->count, features = info->features;
	if (unlikely(queue >= info->queues))
		return E_NODEV;
	if (op & INGOT_WRITE && features & INGOT_BLK_READONLY && op <= INGOT_DISCARD) // INGOT_DISCARD has that bit, too
		return E_RDONLY;
	if (likely(op <= INGOT_WRITE)) {
		if (unlikely(count > info->max_blocks || (uintptr_t)req->data & (info->align - 1u)))
			return E_INVAL;
	} else if (op > INGOT_DISCARD) {
		return E_INVAL;
	} else if (!(features & (op == INGOT_FLUSH ? INGOT_BLK_FLUSH : INGOT_BLK_DISCARD))) {
		return E_NOTSUP;
	} else if (op == INGOT_FLUSH) {
		goto good;
	}
	if (unlikely(!count))
		return E_INVAL;
	if (unlikely(req->block >= info->blocks || count > info->blocks - req->block))
		return E_RANGE;
good:
	return blk->submit(blk->queue[queue], req);
}

// Does a request of any number of blocks on queue 0 and waits.  As much as the device takes is in flight at once.  What
// is left in *req is the place behind it.
static int blk_wait(struct blk_dev *blk, struct ingot_blk_req *req, uint64_t left)
{
	struct ingot_blk_done done;
	uint32_t most = req->op <= INGOT_WRITE ? blk->info.max_blocks : ~0u, flying = 0;
	bool more = true;
	int status = E_OK;
	for (;;) {
		if (smp_dropped())
			status = E_BUSY;
		while (more && status == E_OK) {
			req->count = min_u64(left, most);
			int rc = blk_check(blk, 0, req);
			if (rc == E_INVAL && req->count > 1) { // in too many pieces, or too many to discard at once
				most = req->count / 2;
				continue;
			}
			if (rc == E_AGAIN && flying)
				break;
			status = rc;
			if (rc != E_OK)
				break;
			flying++;
			req->block += req->count;
			req->data = (char *)req->data + (uint64_t)req->count * blk->info.block_bytes;
			left -= req->count;
			more = left;
		}
		if (!flying)
			return status;
		uint64_t end = time_deadline(BLK_TIMEOUT_US);
		while (!blk->poll(blk->queue[0], &done, 1))
			if (time_passed(end)) {
				blk->ops->recover(blk);
				while (blk->poll(blk->queue[0], &done, 1))
					;
				return E_TIMEOUT;
			}
		flying--;
		if (done.status != E_OK)
			status = done.status;
	}
}

// Data at an address that the device can't take: through a buffer of our own, piece by piece.
static int blk_bounce(struct blk_dev *blk, struct ingot_blk_req *req, uint64_t left)
{
	uint32_t bytes = blk->info.block_bytes;
	char *data = req->data;
	int rc = E_OK;
	while (left && rc == E_OK) {
		uint32_t count = min_u64(left, BOUNCE_BYTES / bytes);
		req->data = blk->bounce;
		if (req->op == INGOT_WRITE)
			memcpy(blk->bounce, data, count * bytes);
		rc = blk_wait(blk, req, count);
		if (req->op == INGOT_READ)
			memcpy(data, blk->bounce, count * bytes);
		data += count * bytes;
		left -= count;
	}
	return rc;
}

static int blk_locked(struct blk_dev *blk, struct ingot_blk_req *req, uint64_t left)
{
	lock_wait(&blk->lock); // a callback must not wait, so it never comes here
	int rc = CONFIG_ON(STORAGE_BOUNCE) && req->op <= INGOT_WRITE && (uintptr_t)req->data & (blk->info.align - 1) ?
		blk_bounce(blk, req, left) :
		blk_wait(blk, req, left);
	lock_drop(&blk->lock);
	return rc;
}

// ---- The register interface ----------------------------------------------------------------------------------

uint64_t blk_classic_nvs(uint32_t op, uint64_t sector, uint64_t count, void *data, uint32_t drive)
{
	struct blk_dev *blk = blk_find(drive);
	if (!blk)
		return 0;
	uint32_t shift = SECTOR_SHIFT - __builtin_ctz(blk->info.block_bytes);
	uint64_t sectors = blk->info.blocks >> shift;
	if (!count || sector >= sectors || count > sectors - sector)
		return 0;
	struct ingot_blk_req req; // blk_wait counts, and nobody looks at the tag
	req.block = sector << shift;
	req.op = op;
	req.data = data;
	req.tag = 0;
	return blk_locked(blk, &req, count << shift) == E_OK ? count : 0;
}

uint32_t blk_classic_kind(uint32_t drive, const char **identity)
{
	struct blk_dev *blk = blk_find(drive);
	if (!blk)
		return 0;
	*identity = blk->identity;
	return blk->kind;
}

// ---- The native interface ------------------------------------------------------------------------------------

uint32_t blk_count(void)
{
	return class_count(disks);
}

int blk_info(uint32_t index, struct ingot_blk_info *out)
{
	struct blk_dev *blk = blk_find(index);
	return blk ? give_info(out, &blk->info, sizeof(*out)) : E_NODEV;
}

HOT int blk_submit(uint32_t index, uint32_t queue, const struct ingot_blk_req *req)
{
	struct blk_dev *blk = blk_find(index);
	return blk ? blk_check(blk, queue, req) : E_NODEV;
}

HOT uint32_t blk_poll(uint32_t index, uint32_t queue, struct ingot_blk_done *done, uint32_t max)
{
	struct blk_dev *blk = blk_find(index);
	return blk && queue < blk->info.queues ? blk->poll(blk->queue[queue], done, max) : 0;
}

int blk_run(uint32_t index, const struct ingot_blk_req *req)
{
	struct blk_dev *blk = blk_find(index);
	if (!blk)
		return E_NODEV;
	struct ingot_blk_req mine = *req;
	return blk_locked(blk, &mine, mine.count);
}

// ---- Registration --------------------------------------------------------------------------------------------

static void blk_free(struct blk_dev *blk)
{
	if (CONFIG_ON(STORAGE_BOUNCE))
		mem_free(blk->bounce, BOUNCE_BYTES);
}

int blk_register(struct blk_dev *blk)
{
	const struct ingot_blk_info *info = &blk->info;
	if (CONFIG_ON(STORAGE_BOUNCE) && info->align > 1 && !(blk->bounce = mem_alloc(BOUNCE_BYTES, SECTOR)))
		return E_NOMEM;
	int rc = class_add(blk->dev, "disk", disks, blk, (struct class_names *)info->name);
	if (rc < 0) {
		blk_free(blk);
		return rc;
	}
	blk->index = rc;
	log(" %lu MiB, %u-byte blocks%s", info->blocks * info->block_bytes >> 20, info->block_bytes,
		info->features & INGOT_BLK_READONLY ? ", read-only" : "");
	return E_OK;
}

void blk_unregister(struct blk_dev *blk)
{
	disks[blk->index] = NULL;
	blk_free(blk);
}
