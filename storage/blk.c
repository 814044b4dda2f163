// The class of drives: numbers them, checks requests, and carries the calls of programs to them.
#include <blk.h>
#include <log.h>
#include <program.h>
#include <time.h>

#define DISKS 100
#define SECTOR 4096u	// of the register interface

static struct blk_dev *disks[DISKS];
static uint32_t disk_last;	// one more than the highest number given

static struct blk_dev *blk_find(uint32_t index)
{
	return index < DISKS ? disks[index] : NULL;
}

static int blk_check_submit(struct blk_dev *blk, uint32_t queue, const struct ingot_blk_req *req)
{
	const struct ingot_blk_info *info = &blk->info;
	uint32_t op = req->op;
	if (queue >= info->queues)
		return E_NODEV;
	if (op > INGOT_DISCARD)
		return E_INVAL;
	if (op & INGOT_WRITE && info->features & INGOT_BLK_READONLY)	// INGOT_DISCARD has that bit too
		return E_RDONLY;
	if (op >= INGOT_FLUSH && !(info->features & (op == INGOT_FLUSH ? INGOT_BLK_FLUSH : INGOT_BLK_DISCARD)))
		return E_NOTSUP;
	if (op != INGOT_FLUSH) {
		if (!req->count || (op <= INGOT_WRITE && (req->count > info->max_blocks ||
			(uintptr_t)req->data & (info->align - 1))))
			return E_INVAL;
		if (req->block >= info->blocks || req->count > info->blocks - req->block)
			return E_RANGE;
	}
	return blk->submit(blk, queue, req);
}

// Reads or writes any number of blocks on queue 0, or does another request once, and waits.  As much as the device
// takes is in flight at once.
static int blk_wait(struct blk_dev *blk, struct ingot_blk_req req, uint64_t left)
{
	struct ingot_blk_done done[16];
	uint32_t most = blk->info.max_blocks, flying = 0;
	uint64_t end = time_deadline(BLK_TIMEOUT_US);
	bool more = true;
	int status = E_OK;
	lock_take(&blk->lock);	// a callback must not wait, so it never comes here
	do {
		while (more && status == E_OK) {
			if (req.op <= INGOT_WRITE)
				req.count = min_u64(left, most);
			int rc = blk_check_submit(blk, 0, &req);
			if (rc == E_AGAIN && flying)
				break;
			if (rc == E_INVAL && req.count > 1 && req.op <= INGOT_WRITE) {	// in too many pieces
				most = req.count / 2;
				continue;
			}
			status = rc;
			if (rc != E_OK)
				break;
			flying++;
			req.block += req.count;
			req.data = (char *)req.data + (uint64_t)req.count * blk->info.block_bytes;
			left -= req.count;
			more = left && req.op <= INGOT_WRITE;
		}
		if (!flying)
			break;
		uint32_t got = blk->poll(blk, 0, done, ARRAY_SIZE(done));
		for (uint32_t i = 0; i < got; i++)
			if (done[i].status != E_OK)
				status = done[i].status;
		flying -= got;
		if (got) {
			end = time_deadline(BLK_TIMEOUT_US);
		} else if (time_passed(end)) {
			blk->ops->recover(blk, 0);
			status = E_TIMEOUT;
			while (blk->poll(blk, 0, done, ARRAY_SIZE(done)))
				;
			break;
		}
	} while (flying || (more && status == E_OK));
	lock_drop(&blk->lock);
	return status;
}

// ---- The register interface ----------------------------------------------------------------------------------

static uint64_t blk_nvs(uint32_t op, uint64_t sector, uint64_t count, void *data, uint32_t drive)
{
	struct blk_dev *blk = blk_find(drive);
	if (!blk || !count)
		return 0;
	uint32_t per = SECTOR / blk->info.block_bytes;
	uint64_t sectors = blk->info.blocks / per;
	if (sector >= sectors || count > sectors - sector)
		return 0;
	struct ingot_blk_req req = { .block = sector * per, .op = op, .data = data };
	return blk_wait(blk, req, count * per) == E_OK ? count : 0;
}

static uint32_t blk_drive_kind(uint32_t drive, const char **identity)
{
	struct blk_dev *blk = blk_find(drive);
	if (!blk)
		return 0;
	*identity = blk->identity;
	return blk->kind;
}

// ---- The native interface ------------------------------------------------------------------------------------

static uint32_t blk_count(void)
{
	return disk_last;
}

static int blk_info(uint32_t index, struct ingot_blk_info *out)
{
	struct blk_dev *blk = blk_find(index);
	if (!blk)
		return E_NODEV;
	memcpy(out, &blk->info, min_u64(out->size, sizeof(*out)));
	return E_OK;
}

static int blk_submit(uint32_t index, uint32_t queue, const struct ingot_blk_req *req)
{
	struct blk_dev *blk = blk_find(index);
	return blk ? blk_check_submit(blk, queue, req) : E_NODEV;
}

static uint32_t blk_poll(uint32_t index, uint32_t queue, struct ingot_blk_done *done, uint32_t max)
{
	struct blk_dev *blk = blk_find(index);
	return blk && queue < blk->info.queues ? blk->poll(blk, queue, done, max) : 0;
}

static int blk_run(uint32_t index, const struct ingot_blk_req *req)
{
	struct blk_dev *blk = blk_find(index);
	return blk ? blk_wait(blk, *req, req->count) : E_NODEV;
}

// ---- Registration --------------------------------------------------------------------------------------------

int blk_register(struct blk_dev *blk)
{
	struct ingot_blk_info *info = &blk->info;
	uint32_t index = 0;
	while (disks[index])
		if (++index == DISKS)
			return E_NOMEM;
	disks[index] = blk;
	if (disk_last <= index)
		disk_last = index + 1;
	blk->index = index;
	device_unit(blk->dev, "disk", index);
	info->size = sizeof(*info);
	memcpy(info->name, blk->dev->unit, sizeof(info->name));
	memcpy(info->address, blk->dev->name, sizeof(info->address));
	memcpy(info->driver, blk->dev->driver->name, strlen(blk->dev->driver->name));
	classic.nvs = blk_nvs;
	classic.drive_kind = blk_drive_kind;
	if (CONFIG_ON(CORE_NATIVE)) {
		native.blk_count = blk_count;
		native.blk_info = blk_info;
		native.blk_submit = blk_submit;
		native.blk_poll = blk_poll;
		native.blk_run = blk_run;
	}
	log(" %s %lu MiB, %u-byte blocks%s", info->name, info->blocks * info->block_bytes >> 20, info->block_bytes,
		info->features & INGOT_BLK_READONLY ? ", read-only" : "");
	return E_OK;
}

void blk_unregister(struct blk_dev *blk)
{
	disks[blk->index] = NULL;
}
