// storage/nvme.c - NVM Express drives.  "s." = section of the NVM Express Base Specification 2.0c.
// QEMU: -device nvme,drive=d0,serial=x, or -device nvme,serial=x -device nvme-ns,drive=d0.  Completions are polled.
// Not done: interrupts, formats with metadata, scatter lists (PRPs do), zones, the shutdown notification, more
// namespaces than the controller has queues.
#include "nvme_regs.h"
#include <blk.h>
#include <log.h>
#include <mem.h>
#include <mmio.h>
#include <pci.h>
#include <smp.h>
#include <time.h>

#define ENTRIES 64u              // of a submission queue
#define CQ_ENTRIES (2 * ENTRIES) // of a completion queue: more, so that its head is told once in a while
#define CQ_BYTES ((uint32_t)(CQ_ENTRIES * sizeof(struct nvme_cqe)))
#define SLOTS (ENTRIES - 1) // requests that a queue holds
#define ADMIN_ENTRIES 4u    // of an admin queue; one command at a time
#define QUEUES_MOST 64u     // pairs of a controller
#define PAGES_SHIFT_MOST 7  // pages of a request: 128
#define LIST_BYTES (8ul << PAGES_SHIFT_MOST)
#define PAGE_SHIFT_MOST 4 // beyond 4 KiB
#define BLOCK_SHIFT_LEAST 9
#define BLOCK_SHIFT_MOST 12
#define NAMESPACES (NVME_IDENTIFY_BYTES / 4)
#define ADMIN_US 5000000
#define READY_UNIT_US 500000
// Pages of a controller: its admin queues, what Identify returns by CNS, shadow doorbells and event indices.
enum { ADMIN_SQ, ADMIN_CQ, ADMIN_IDENTIFY, ADMIN_SHADOW = ADMIN_IDENTIFY + 3, ADMIN_EVENT, ADMIN_PAGES };
// Of a queue's memory: its SQ, its CQ, then the lists of its slots, and itself.
enum { QUEUE_SQ, QUEUE_CQ, QUEUE_LISTS };

// A command identifier and what belongs to it.
struct nvme_slot {
	uint64_t tag;
	uint64_t *list;         // PRPs, or the range to deallocate
	struct nvme_slot *next; // free
	uint32_t id;            // in 31:16
	bool flying;            // the device has it
};

// A queue pair.  The counters are of bytes and run freely.
struct nvme_queue {
	struct nvme_sqe *sq;
	volatile struct nvme_cqe *cq;
	struct nvme_slot *free;
	uint64_t nsid;           // in 63:32
	uint32_t tail, notified; // of the submission queue; what the device knows
	uint32_t head, reported; // of the completion queue; what the device knows
	uint32_t shift;          // from blocks to bytes
	uint32_t page;
	bool stale; // the controller has been reset: set by any core, cleared by the owner
	uint8_t id;
	volatile uint8_t *bell;
	volatile uint8_t *shadow; // of the doorbells, NULL if there is none
	struct nvme *ctrl;
	struct mem_near near;
	struct nvme_slot slots[SLOTS];
};

struct nvme_drive {
	struct nvme *ctrl;
	struct nvme_drive *next;
	struct blk_dev blk;
};

struct nvme {
	volatile uint8_t *regs;
	struct pci_dev *pci;
	uint8_t *admin;
	struct nvme_drive *drives; // the last one first
	uint32_t page, cc;
	uint32_t stride; // of the doorbells
	uint32_t ready_us;
	uint32_t queue_bytes;
	uint32_t admin_count, result;
	uint32_t queues, queue_last; // pairs that there are; number of the last one in use
	struct lock lock;            // admin commands, recovery
	bool doorbell_buffer, dead;
};

// ---- Data path -----------------------------------------------------------------------------------------------

// Tells the device a new tail (`at` 0) or head (`at`: one doorbell further): in memory if it looks there, and by the
// doorbell itself if it asks for it (s.B.5).
static void nvme_notify(struct nvme_queue *queue, uint32_t at, uint32_t old, uint32_t new)
{
	volatile uint8_t *shadow = queue->shadow;
	if (shadow) {
		*(volatile uint32_t *)(shadow + at) = new;
		barrier_store_load();
		uint32_t event = *(volatile uint32_t *)(shadow + queue->page + at);
		if ((uint16_t)(new - event - 1) >= (uint16_t)(new - old))
			return;
	}
	mmio_write32(queue->bell + at, new);
}

static __attribute__((noinline)) void nvme_publish(struct nvme_queue *queue)
{
	uint32_t old = queue->notified, tail = queue->tail;
	queue->notified = tail;
	if (tail != old)
		nvme_notify(queue, 0, old / sizeof(struct nvme_sqe) % ENTRIES, tail / sizeof(struct nvme_sqe) % ENTRIES);
}

static uint32_t nvme_revive(struct nvme_queue *queue, struct ingot_blk_done *done, uint32_t max);

// The next entry of the submission queue.
static inline struct nvme_sqe *nvme_next(const struct nvme_queue *queue)
{
	return (void *)((char *)queue->sq + queue->tail % (ENTRIES * sizeof(struct nvme_sqe)));
}

// What is not a read or write of one page where data was before.  Several pages (s.4.1.1): the first PRP may begin
// within one, the others are whole pages.
static __attribute__((noinline)) int nvme_describe(struct nvme_queue *queue, const struct ingot_blk_req *req)
{
	struct nvme_sqe *sqe = nvme_next(queue);
	uint64_t *list = queue->free->list, *entry = sqe->prp, first = 0;
	const char *data = req->data;
	uint64_t left = (uint64_t)req->count << queue->shift;
	if (req->op >= INGOT_FLUSH) {
		sqe->prp[0] = (uintptr_t)list;
		sqe->cdw10 = sqe->cdw12 = 0;
		if (req->op == INGOT_FLUSH)
			return E_OK;
		list[0] = (uint64_t)req->count << 32; // attributes, blocks
		list[1] = req->block;
		sqe->head = NVME_DSM | queue->free->id | queue->nsid;
		sqe->cdw10 = (uint64_t)NVME_DSM_DEALLOCATE << 32; // one range
		return E_OK;
	}
	mem_near_set(&queue->near, data);
	for (;;) {
		size_t run;
		uint64_t phys = mem_phys(data, left, &run), chunk = min_u64(queue->page - (phys & (queue->page - 1)), left);
		if (run < chunk || phys & first)
			return E_INVAL;
		*entry++ = phys;
		left -= chunk;
		if (!left)
			break;
		data += chunk;
		if (!first)
			entry = list;
		first = queue->page - 1;
	}
	if (first)
		sqe->prp[1] = entry == list + 1 ? *list : (uintptr_t)list;
	return E_OK;
}

static HOT int nvme_submit(void *owned, const struct ingot_blk_req *req)
{
	struct nvme_queue *queue = owned;
	if (unlikely(queue->stale)) {
		nvme_revive(queue, NULL, 0);
		if (queue->stale)
			return queue->ctrl->dead ? E_IO : E_AGAIN;
	}
	if (unlikely(!queue->free)) {
		nvme_publish(queue);
		return E_AGAIN;
	}
	uint64_t bytes = (uint64_t)req->count << queue->shift, phys;
	bool page = mem_near(&queue->near, req->data, bytes, &phys) && (phys ^ (phys + bytes - 1)) < queue->page;
	struct nvme_sqe *sqe = nvme_next(queue);
	struct nvme_slot *slot = queue->free;
	sqe->head = (NVME_READ - req->op) | slot->id | queue->nsid; // INGOT_READ to INGOT_FLUSH are 2 to 0
	sqe->prp[0] = phys;
	sqe->prp[1] = 0;
	sqe->cdw10 = req->block;
	sqe->cdw12 = req->count - 1;
	if (unlikely(!page || req->op >= INGOT_FLUSH)) {
		int rc = nvme_describe(queue, req);
		if (rc != E_OK)
			return rc;
	}
	queue->free = slot->next;
	slot->tag = req->tag;
	slot->flying = true;
	queue->tail += sizeof(*sqe);
	return E_OK;
}

static void nvme_finish(struct nvme_queue *queue, struct nvme_slot *slot, struct ingot_blk_done *done, int status)
{
	done->tag = slot->tag;
	done->status = status;
	slot->flying = false;
	slot->next = queue->free;
	queue->free = slot;
}

static uint32_t nvme_poll(void *owned, struct ingot_blk_done *done, uint32_t max)
{
	struct nvme_queue *queue = owned;
	struct ingot_blk_done *from = done;
	if (unlikely(queue->stale))
		return nvme_revive(queue, done, max);
	nvme_publish(queue);
	uint32_t head = queue->head;
	for (struct ingot_blk_done *last = done + max; done < last; head += sizeof(struct nvme_cqe)) {
		const volatile struct nvme_cqe *cqe = (void *)((char *)queue->cq + head % CQ_BYTES);
		uint32_t end = cqe->end, id = end & 0xFFFF;
		if (!((end ^ head * (NVME_CQE_PHASE / CQ_BYTES)) & NVME_CQE_PHASE)) // it changes from round to round
			break;
		struct nvme_slot *slot = &queue->slots[id];
		if (id < SLOTS && slot->flying) // one that it doesn't have is passed over
			nvme_finish(queue, slot, done++, end & NVME_CQE_STATUS ? E_IO : E_OK);
	}
	queue->head = head;
	uint32_t reported = queue->reported;
	if (head - reported > CQ_BYTES / 2) { // the rest is for those that may be outstanding
		queue->reported = head;
		nvme_notify(queue, queue->ctrl->stride, reported / sizeof(struct nvme_cqe) % CQ_ENTRIES,
			head / sizeof(struct nvme_cqe) % CQ_ENTRIES);
	}
	return done - from;
}

// ---- Admin commands ------------------------------------------------------------------------------------------

static uint8_t *nvme_page(const struct nvme *ctrl, uint32_t index)
{
	return ctrl->admin + index * ctrl->page;
}

// One command, waited for.  `head`: opcode and namespace; `data`: at most two pages; `cdw10`: with CDW11 above.
static int nvme_admin(struct nvme *ctrl, uint64_t head, const void *data, uint64_t cdw10)
{
	uint32_t count = ctrl->admin_count++, at = count % ADMIN_ENTRIES;
	struct nvme_sqe *sqe = (struct nvme_sqe *)ctrl->admin + at;
	volatile struct nvme_cqe *cqe = (volatile struct nvme_cqe *)(ctrl->admin + ctrl->page) + at;
	volatile uint8_t *bell = ctrl->regs + NVME_DOORBELLS;
	uint64_t deadline = time_deadline(ADMIN_US);
	sqe->head = head;
	sqe->prp[0] = (uintptr_t)data;
	sqe->prp[1] = (uintptr_t)data + ctrl->page;
	sqe->cdw10 = cdw10;
	at = ctrl->admin_count % ADMIN_ENTRIES;
	mmio_write32(bell, at);
	while (!((cqe->end ^ count * (NVME_CQE_PHASE / ADMIN_ENTRIES)) & NVME_CQE_PHASE))
		if (time_passed(deadline))
			return E_TIMEOUT;
	ctrl->result = cqe->result;
	mmio_write32(bell + ctrl->stride, at);
	return cqe->end & NVME_CQE_STATUS ? E_IO : E_OK;
}

// Into the page of this CNS.
static int nvme_identify(struct nvme *ctrl, uint32_t cns, uint64_t nsid)
{
	return nvme_admin(ctrl, NVME_IDENTIFY | nsid << 32, nvme_page(ctrl, ADMIN_IDENTIFY + cns), cns);
}

// ---- The controller ------------------------------------------------------------------------------------------

static int nvme_switch(struct nvme *ctrl, uint32_t cc)
{
	uint64_t deadline = time_deadline(ctrl->ready_us);
	uint32_t wanted = cc & NVME_CC_EN, csts;
	mmio_write32(ctrl->regs + NVME_CC, cc);
	while (csts = mmio_read32(ctrl->regs + NVME_CSTS), (csts & NVME_CSTS_RDY) != wanted)
		if ((wanted && csts & NVME_CSTS_CFS) || time_passed(deadline))
			return E_TIMEOUT;
	return E_OK;
}

// Reset and initialization (s.3.5.1); the I/O queues come later.
static int nvme_start(struct nvme *ctrl)
{
	int rc = nvme_switch(ctrl, 0);
	if (rc != E_OK)
		return rc;
	memset(ctrl->admin, 0, ADMIN_PAGES * ctrl->page);
	ctrl->admin_count = 0;
	mmio_write32(ctrl->regs + NVME_AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	mmio_write64(ctrl->regs + NVME_ASQ, (uintptr_t)ctrl->admin);
	mmio_write64(ctrl->regs + NVME_ACQ, (uintptr_t)ctrl->admin + ctrl->page);
	if ((rc = nvme_switch(ctrl, ctrl->cc)) != E_OK || (rc = nvme_identify(ctrl, NVME_CNS_CONTROLLER, 0)) != E_OK)
		return rc;
	// A page holds the doorbells of all queues, unless they lie far apart.
	const uint8_t *id = nvme_page(ctrl, ADMIN_IDENTIFY + NVME_CNS_CONTROLLER);
	ctrl->doorbell_buffer = *(uint16_t *)(id + NVME_ID_OACS) & NVME_OACS_DOORBELL_BUFFER &&
		ctrl->stride == NVME_STRIDE_LEAST &&
		nvme_admin(ctrl, NVME_DOORBELL_BUFFER, nvme_page(ctrl, ADMIN_SHADOW), 0) == E_OK;
	return nvme_admin(ctrl, NVME_SET_FEATURES, NULL, NVME_FEATURE_QUEUES | (QUEUES_MOST - 1) * 0x1000100000000);
}

// Creates the two queues, empty.
static int nvme_open(struct nvme_queue *queue)
{
	struct nvme *ctrl = queue->ctrl;
	uint64_t id = queue->id;
	queue->tail = queue->notified = queue->head = queue->reported = 0;
	memset((void *)queue->cq, 0, CQ_ENTRIES * sizeof(*queue->cq));
	queue->shadow = NULL;
	if (ctrl->doorbell_buffer) {
		queue->shadow = nvme_page(ctrl, ADMIN_SHADOW) + id * 2 * NVME_STRIDE_LEAST;
		*(volatile uint64_t *)queue->shadow = 0;
	}
	int rc = nvme_admin(ctrl, NVME_CREATE_CQ, (void *)queue->cq,
		id | (CQ_ENTRIES - 1) << 16 | (uint64_t)NVME_QUEUE_CONTIGUOUS << 32);
	if (rc != E_OK)
		return rc;
	return nvme_admin(ctrl, NVME_CREATE_SQ, queue->sq,
		id | (ENTRIES - 1) << 16 | (NVME_QUEUE_CONTIGUOUS | id << 16) << 32);
}

// The controller has been reset, or is about to be: what it had is lost.  With all of that given back, it goes on.
static uint32_t nvme_revive(struct nvme_queue *queue, struct ingot_blk_done *done, uint32_t max)
{
	struct nvme *ctrl = queue->ctrl;
	uint32_t count = 0;
	uint64_t flags = irq_save(); // a callback may come here, too
	lock_take(&ctrl->lock);
	struct nvme_slot *slot = queue->slots;
	for (; slot < queue->slots + SLOTS; slot++) {
		if (!slot->flying)
			continue;
		if (count == max)
			goto unlock;
		nvme_finish(queue, slot, &done[count++], E_TIMEOUT);
	}
	if (!ctrl->dead)
		queue->stale = ctrl->dead = nvme_open(queue) != E_OK;
unlock:
	lock_drop(&ctrl->lock);
	irq_restore(flags);
	return count;
}

// Each queue is brought back by the core that owns it, at its next poll.
static void nvme_recover(struct blk_dev *blk)
{
	struct nvme *ctrl = container_of(blk, struct nvme_drive, blk)->ctrl;
	uint64_t flags = irq_save();
	lock_take(&ctrl->lock);
	if (!((struct nvme_queue *)blk->queue[0])->stale) { // else somebody has just done it
		for (struct nvme_drive *drive = ctrl->drives; drive; drive = drive->next)
			for (uint32_t i = 0; i < drive->blk.info.queues; i++)
				((struct nvme_queue *)drive->blk.queue[i])->stale = true;
		ctrl->dead = nvme_start(ctrl) != E_OK;
		if (ctrl->dead)
			pci_disable(ctrl->pci);
		log("%s: time-out, reset%s\n", ctrl->pci->dev.name, ctrl->dead ? " fails" : "");
	}
	lock_drop(&ctrl->lock);
	irq_restore(flags);
}

static const struct blk_ops nvme_ops = { .recover = nvme_recover };

// ---- Drives --------------------------------------------------------------------------------------------------

static struct nvme_queue *nvme_queue(struct nvme *ctrl)
{
	uint8_t *memory = NULL;
	if (ctrl->queue_last < ctrl->queues)
		memory = mem_alloc(ctrl->queue_bytes, ctrl->page);
	if (!memory)
		return NULL;
	uint8_t *lists = memory + QUEUE_LISTS * ctrl->page;
	struct nvme_queue *queue = (struct nvme_queue *)(lists + SLOTS * LIST_BYTES);
	queue->sq = (struct nvme_sqe *)memory;
	queue->cq = (struct nvme_cqe *)(memory + QUEUE_CQ * ctrl->page);
	queue->page = ctrl->page;
	queue->ctrl = ctrl;
	queue->id = ++ctrl->queue_last;
	queue->bell = ctrl->regs + NVME_DOORBELLS + 2 * queue->id * ctrl->stride;
	struct nvme_slot *slot = queue->slots;
	for (uint32_t id = 0; id < SLOTS; id++, slot++) {
		slot->list = (uint64_t *)lists;
		slot->id = id << 16;
		slot->next = queue->free;
		queue->free = slot;
		lists += LIST_BYTES;
	}
	if (nvme_open(queue) == E_OK)
		return queue;
	mem_free(memory, ctrl->queue_bytes);
	return NULL;
}

// Frees the drive that came last.
static void nvme_drop(struct nvme *ctrl)
{
	struct nvme_drive *drive = ctrl->drives;
	ctrl->drives = drive->next;
	for (uint32_t i = 0; i < drive->blk.info.queues; i++)
		mem_free(((struct nvme_queue *)drive->blk.queue[i])->sq, ctrl->queue_bytes);
	kfree(drive, sizeof(*drive));
}

// Namespace `nsid` as a drive with at most `most` queues.
static int nvme_add(struct nvme *ctrl, uint32_t nsid, uint32_t most)
{
	struct nvme_drive *drive = kzalloc(sizeof(*drive));
	if (!drive)
		return E_NOMEM;
	drive->ctrl = ctrl;
	drive->next = ctrl->drives;
	ctrl->drives = drive;
	struct blk_dev *blk = &drive->blk;
	struct ingot_blk_info *info = &blk->info;
	int rc = nvme_identify(ctrl, NVME_CNS_NAMESPACE, nsid);
	const uint8_t *ns = nvme_page(ctrl, ADMIN_IDENTIFY + NVME_CNS_NAMESPACE);
	const uint8_t *id = nvme_page(ctrl, ADMIN_IDENTIFY + NVME_CNS_CONTROLLER);
	uint32_t flbas = ns[NVME_NS_FLBAS];
	uint32_t format = *(uint32_t *)(ns + NVME_NS_LBAF + 4 * ((flbas & 15) | (flbas >> 1 & 0x30)));
	uint32_t shift = format >> 16 & 0xFF;
	info->blocks = *(uint64_t *)(ns + NVME_NS_NSZE);
	info->features = (ns[NVME_NS_ATTRIBUTES] & NVME_NS_WRITE_PROTECTED) * INGOT_BLK_READONLY +
		(id[NVME_ID_VWC] & NVME_VWC_PRESENT) * INGOT_BLK_FLUSH +
		(id[NVME_ID_ONCS] & NVME_ONCS_DSM) * (INGOT_BLK_DISCARD / NVME_ONCS_DSM);
	info->block_bytes = 1u << shift;
	uint32_t pages = id[NVME_ID_MDTS];
	if (pages - 1 >= PAGES_SHIFT_MOST) // 0: no limit
		pages = PAGES_SHIFT_MOST;
	info->max_blocks = ctrl->page << pages >> shift;
	info->depth = SLOTS;
	info->align = 4; // s.4.1.1
	blk->submit = nvme_submit;
	blk->poll = nvme_poll;
	blk->ops = &nvme_ops;
	blk->dev = &ctrl->pci->dev;
	blk->kind = BLK_NVME;
	blk->identity = (const char *)id + NVME_ID_TEXT;
	if (rc == E_OK && ((uint16_t)format || shift - BLOCK_SHIFT_LEAST > BLOCK_SHIFT_MOST - BLOCK_SHIFT_LEAST))
		rc = E_NOTSUP;
	while (rc == E_OK && info->queues < most) {
		struct nvme_queue *queue = nvme_queue(ctrl);
		if (!queue) {
			rc = E_NOMEM;
			break;
		}
		queue->nsid = (uint64_t)nsid << 32;
		queue->shift = shift;
		blk->queue[info->queues++] = queue;
	}
	if (info->queues) // fewer will do
		rc = blk_register(blk);
	if (rc != E_OK) {
		log(" namespace %u left alone", nsid);
		nvme_drop(ctrl);
	}
	return rc;
}

// The active namespaces (s.5.17.2.2); of a controller that has no such list, the first.
static int nvme_add_all(struct nvme *ctrl)
{
	uint32_t *list = (uint32_t *)nvme_page(ctrl, ADMIN_IDENTIFY + NVME_CNS_NAMESPACES), count = 0;
	int rc = E_NOTSUP;
	if (nvme_identify(ctrl, NVME_CNS_NAMESPACES, 0) != E_OK)
		*list = 1;
	while (count < NAMESPACES && list[count])
		count++;
	for (uint32_t i = 0; i < count; i++)
		rc = nvme_add(ctrl, list[i], clamp_u32(ctrl->queues / count, 1, clamp_u32(smp_count(), 1, BLK_QUEUES)));
	return ctrl->drives ? E_OK : rc;
}

static int nvme_setup(struct nvme *ctrl)
{
	uint64_t cap = mmio_read64(ctrl->regs + NVME_CAP);
	uint32_t shift = NVME_CAP_MPSMIN(cap), stride_shift = NVME_CAP_DSTRD(cap) + NVME_STRIDE_SHIFT;
	if (shift > PAGE_SHIFT_MOST || NVME_CAP_MQES(cap) < CQ_ENTRIES - 1) {
		log(" capabilities %lx", cap);
		return E_NOTSUP;
	}
	ctrl->cc = NVME_CC_EN | shift << NVME_CC_MPS_SHIFT | NVME_CC_IOSQES | NVME_CC_IOCQES;
	ctrl->page = NVME_PAGE << shift;
	ctrl->stride = 1u << stride_shift;
	ctrl->ready_us = (NVME_CAP_TO(cap) + 1) * READY_UNIT_US;
	ctrl->admin = mem_alloc(ADMIN_PAGES * ctrl->page, ctrl->page);
	if (!ctrl->admin)
		return E_NOMEM;
	int rc = nvme_start(ctrl);
	if (rc != E_OK) {
		log(" not ready");
		return rc;
	}
	uint32_t result = ctrl->result, most = (ctrl->pci->bar[0].bytes - NVME_DOORBELLS) >> stride_shift >> 1;
	ctrl->queues = min_u64(min_u64((uint16_t)result, result >> 16) + 1, min_u64(most - 1, QUEUES_MOST));
	ctrl->queue_bytes = QUEUE_LISTS * ctrl->page + SLOTS * LIST_BYTES + sizeof(struct nvme_queue);
	return nvme_add_all(ctrl);
}

static void nvme_free(struct nvme *ctrl)
{
	if (ctrl->admin) // else it was never touched
		nvme_switch(ctrl, 0);
	pci_disable(ctrl->pci);
	while (ctrl->drives)
		nvme_drop(ctrl);
	mem_free(ctrl->admin, ADMIN_PAGES * ctrl->page);
	kfree(ctrl, sizeof(*ctrl));
}

static int nvme_probe(struct device *dev, const struct dev_id *row)
{
	struct nvme *ctrl = kzalloc(sizeof(*ctrl));
	(void)row;
	if (!ctrl)
		return E_NOMEM;
	dev->drvdata = ctrl;
	ctrl->pci = to_pci(dev);
	pci_enable(ctrl->pci);
	ctrl->regs = pci_map_bar(ctrl->pci, 0);
	int rc = ctrl->regs ? nvme_setup(ctrl) : E_INVAL;
	if (rc != E_OK)
		nvme_free(ctrl);
	return rc;
}

static void nvme_remove(struct device *dev)
{
	struct nvme *ctrl = dev->drvdata;
	for (struct nvme_drive *drive = ctrl->drives; drive; drive = drive->next)
		blk_unregister(&drive->blk);
	nvme_free(ctrl);
}

static const struct dev_id nvme_ids[] = { DEV_ID_CLASS(0x010802, 0xFFFFFF, 0) };
static const struct driver nvme = { "nvme", DEV_IDS(nvme_ids), .probe = nvme_probe, .remove = nvme_remove };
PCI_DRIVER(nvme);
