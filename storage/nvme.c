// storage/nvme.c - NVM Express drives.  "s." = section of the NVM Express Base Specification 2.0c.
// QEMU: -device nvme,drive=d0,serial=x, or -device nvme,serial=x -device nvme-ns,drive=d0.  Completions are polled.
// Not done: formats with metadata, scatter lists (PRPs do), zones, multipath, the power states.
#include "nvme_regs.h"
#include <blk.h>
#include <log.h>
#include <mem.h>
#include <mmio.h>
#include <pci.h>
#include <smp.h>
#include <time.h>

#define SQ_ENTRIES 128u		// of an I/O queue; the device may want fewer
#define CQ_SHIFT 8		// 256: more, so that the head's doorbell is rung once in a while
#define ADMIN_ENTRIES 16u	// one command at a time
#define RINGS 64u		// I/O queue pairs of a controller
#define PAGES_SHIFT_MOST 7	// pages of a request: 128
#define LIST_BYTES_LEAST 64u
#define PAGE_SHIFT_LEAST 12
#define PAGE_SHIFT_MOST 16
#define BLOCK_SHIFT_LEAST 9
#define BLOCK_SHIFT_MOST 12
#define NAMESPACES (NVME_IDENTIFY_BYTES / 4)
#define NAMESPACES_OLD 16u	// looked at where there is no list
#define ADMIN_US 5000000
#define SHUTDOWN_US 2000000
#define READY_UNIT_US 500000
enum { ADMIN_SQ, ADMIN_CQ, ADMIN_DATA, ADMIN_SHADOW, ADMIN_EVENT, ADMIN_PAGES };	// one page each
enum { RING_SQ = 0, RING_CQ = 2, RING_LISTS = 3 };	// in pages

#define FLYING 1		// nvme_slot.status: the device has it

// A command identifier and what belongs to it.
struct nvme_slot {
	uint64_t tag;
	uint64_t *list;			// PRPs, or the range to deallocate
	struct nvme_view *view;		// owner
	struct nvme_slot *next;		// free, or done
	int32_t status;
	uint32_t id;			// command identifier in 31:16
};

// What a drive's queue is: its part of a queue pair.
struct nvme_view {
	struct nvme_ring *ring;
	struct nvme_slot *free, *done, **last;
	uint64_t nsid;			// in 63:32
	uint32_t shift;			// from blocks to bytes
};

// A queue pair.  All counters run freely.
struct nvme_ring {
	struct nvme_sqe *sq;
	volatile struct nvme_cqe *cq;
	uint32_t sq_mask, cq_shift;
	uint32_t tail, notified;	// of the submission queue; what the device knows
	uint32_t head, reported;	// of the completion queue; what the device knows
	uint32_t spare;			// completions that need not be reported yet
	uint32_t page;
	volatile uint8_t *bell;
	volatile uint8_t *shadow;	// of the doorbells, NULL if there is none
	bool stale;			// the controller has been reset since; set by any core, cleared by the owner
	uint8_t id, views;
	struct nvme *ctrl;
	struct lock lock;		// if several namespaces have to share
	struct nvme_slot slots[SQ_ENTRIES];
};

struct nvme_drive {
	struct blk_dev blk;
	struct nvme *ctrl;
	struct nvme_drive *next;
	struct nvme_view views[BLK_QUEUES];
};

struct nvme {
	volatile uint8_t *regs;
	struct pci_dev *pci;
	uint8_t *admin;
	uint32_t page_shift, page;
	uint32_t stride;		// of the doorbells
	uint32_t ready_us;
	uint32_t cq_shift, sq_entries;
	uint32_t most_bytes;		// of a request
	uint32_t list_bytes, ring_bytes;
	uint32_t admin_count, result;
	uint32_t rings_most, ring_next;
	uint16_t features;
	bool shared, doorbell_buffer, dead;
	struct lock lock;		// admin commands, recovery
	struct nvme_drive *drives;	// the last one first
	struct nvme_ring *rings[RINGS];
	char identity[NVME_ID_TEXT_BYTES];
};

// ---- Data path -----------------------------------------------------------------------------------------------

// Tells the device a new tail (`at` 0) or head (`at`: one doorbell further): in memory if it looks there, and by the
// doorbell itself if it asks for it (s.B.5).
static void nvme_notify(struct nvme_ring *ring, uint32_t at, uint32_t old, uint32_t new)
{
	volatile uint8_t *shadow = ring->shadow;
	if (shadow) {
		*(volatile uint32_t *)(shadow + at) = new;
		barrier_store_load();
		uint32_t event = *(volatile uint32_t *)(shadow + ring->page + at);
		if ((uint16_t)(new - event - 1) >= (uint16_t)(new - old))
			return;
	}
	mmio_write32(ring->bell + at, new);
}

static void nvme_revive(struct nvme_ring *ring);

// The device gets what has been submitted.
static void nvme_publish(struct nvme_ring *ring)
{
	uint32_t old = ring->notified, tail = ring->tail;
	if (unlikely(__atomic_load_n(&ring->stale, __ATOMIC_RELAXED)))
		return nvme_revive(ring);
	if (old == tail)
		return;
	ring->notified = tail;
	nvme_notify(ring, 0, old & ring->sq_mask, tail & ring->sq_mask);
}

// PRP entries for `left` bytes (s.4.1.1): the first may begin within a page, the others are whole pages.
static int nvme_describe(struct nvme_sqe *sqe, const char *data, uint64_t left, uint64_t *list, uint32_t page)
{
	size_t run;
	uint64_t phys = mem_phys(data, left, &run), *entry = list;
	uint32_t chunk = page - (phys & (page - 1));
	sqe->prp[0] = phys;
	while (chunk < left) {
		if (run < chunk)
			return E_INVAL;
		left -= chunk;
		data += chunk;
		phys += chunk;
		run -= chunk;
		if (!run) {
			phys = mem_phys(data, left, &run);
			if (phys & (page - 1))
				return E_INVAL;
		}
		*entry++ = phys;
		chunk = page;
	}
	if (run < left)
		return E_INVAL;
	phys = (uintptr_t)list;
	if (entry <= list + 1)
		phys = entry == list ? 0 : *list;
	sqe->prp[1] = phys;
	return E_OK;
}

static int nvme_submit(void *queue, const struct ingot_blk_req *req)
{
	static const uint8_t opcodes[] = { NVME_READ, NVME_WRITE, NVME_FLUSH, NVME_DSM };
	struct nvme_view *view = queue;
	struct nvme_ring *ring = view->ring;
	struct nvme_slot *slot = view->free;
	if (!slot) {
		nvme_publish(ring);
		return E_AGAIN;
	}
	struct nvme_sqe *sqe = &ring->sq[ring->tail & ring->sq_mask];
	const void *data = req->data;
	uint64_t bytes = (uint64_t)req->count << view->shift;
	uint32_t op = req->op;
	sqe->cdw10 = req->block;
	sqe->cdw12 = req->count - 1;
	if (op >= INGOT_FLUSH) {
		struct nvme_range *range = (struct nvme_range *)slot->list;
		range->blocks = req->count;
		range->first = req->block;
		data = range;
		bytes = sizeof(*range);
		sqe->cdw10 = op == INGOT_FLUSH ? 0 : (uint64_t)NVME_DSM_DEALLOCATE << 32;	// one range
		sqe->cdw12 = 0;
	}
	int rc = nvme_describe(sqe, data, bytes, slot->list, ring->page);
	if (rc != E_OK)
		return rc;
	sqe->head = opcodes[op] | slot->id | view->nsid;
	view->free = slot->next;
	slot->tag = req->tag;
	slot->status = FLYING;
	ring->tail++;
	return E_OK;
}

static void nvme_done(struct nvme_slot *slot, int status)
{
	struct nvme_view *view = slot->view;
	slot->status = status;
	slot->next = NULL;
	*view->last = slot;
	view->last = &slot->next;
}

// Takes over all that the device has completed.  An identifier that it doesn't have is passed over.
static void nvme_reap(struct nvme_ring *ring)
{
	uint32_t shift = ring->cq_shift;
	for (;;) {
		uint32_t end = ring->cq[ring->head & ((1u << shift) - 1)].end, id = end & 0xFFFF;
		if (((end >> NVME_CQE_PHASE_SHIFT) & 1) == ((ring->head >> shift) & 1))
			break;
		ring->head++;
		if (id < SQ_ENTRIES && ring->slots[id].status == FLYING)
			nvme_done(&ring->slots[id], end & NVME_CQE_STATUS ? E_IO : E_OK);
	}
	uint32_t mask = (1u << shift) - 1, reported = ring->reported;
	if (ring->head - reported > ring->spare) {
		ring->reported = ring->head;
		nvme_notify(ring, ring->ctrl->stride, reported & mask, ring->head & mask);
	}
}

static uint32_t nvme_poll(void *queue, struct ingot_blk_done *done, uint32_t max)
{
	struct nvme_view *view = queue;
	struct nvme_ring *ring = view->ring;
	nvme_publish(ring);
	nvme_reap(ring);
	uint32_t count = 0;
	for (struct nvme_slot *slot; count < max && (slot = view->done); count++, done++) {
		done->tag = slot->tag;
		done->status = slot->status;
		if (!(view->done = slot->next))
			view->last = &view->done;
		slot->next = view->free;
		view->free = slot;
	}
	return count;
}

// With interrupts off: a callback may come to the same lock.
static uint64_t nvme_enter(struct lock *lock)
{
	uint64_t flags = irq_save();
	lock_take(lock);
	return flags;
}

static void nvme_leave(struct lock *lock, uint64_t flags)
{
	lock_drop(lock);
	irq_restore(flags);
}

// More namespaces than queues: each drive's queue has an owner, but they meet in one ring.
static int nvme_submit_shared(void *queue, const struct ingot_blk_req *req)
{
	struct lock *lock = &((struct nvme_view *)queue)->ring->lock;
	uint64_t flags = nvme_enter(lock);
	int rc = nvme_submit(queue, req);
	nvme_leave(lock, flags);
	return rc;
}

static uint32_t nvme_poll_shared(void *queue, struct ingot_blk_done *done, uint32_t max)
{
	struct lock *lock = &((struct nvme_view *)queue)->ring->lock;
	uint64_t flags = nvme_enter(lock);
	uint32_t count = nvme_poll(queue, done, max);
	nvme_leave(lock, flags);
	return count;
}

// ---- Admin commands ------------------------------------------------------------------------------------------

// One command, waited for.  `head`: opcode and namespace; `cdw10`: with CDW11 above.
static int nvme_admin(struct nvme *ctrl, uint64_t head, const void *data, uint64_t cdw10)
{
	uint32_t count = ctrl->admin_count++, at = count % ADMIN_ENTRIES, id = count & 0xFFFF;
	struct nvme_sqe *sqe = (struct nvme_sqe *)ctrl->admin + at;
	volatile struct nvme_cqe *cqe = (volatile struct nvme_cqe *)(ctrl->admin + (ADMIN_CQ << ctrl->page_shift)) + at;
	volatile uint8_t *bell = ctrl->regs + NVME_DOORBELLS;
	uint64_t deadline = time_deadline(ADMIN_US);
	uint32_t end;
	sqe->head = head | id << 16;
	sqe->prp[0] = (uintptr_t)data;
	sqe->prp[1] = head == NVME_DOORBELL_BUFFER ? (uintptr_t)data + ctrl->page : 0;
	sqe->cdw10 = cdw10;
	at = (at + 1) % ADMIN_ENTRIES;
	mmio_write32(bell, at);
	while (end = cqe->end, (end >> NVME_CQE_PHASE_SHIFT & 1) == (count / ADMIN_ENTRIES & 1))
		if (time_passed(deadline))
			return E_TIMEOUT;
	ctrl->result = cqe->result;
	mmio_write32(bell + ctrl->stride, at);
	return end & NVME_CQE_STATUS || (end & 0xFFFF) != id ? E_IO : E_OK;
}

static const uint8_t *nvme_data(const struct nvme *ctrl)
{
	return ctrl->admin + (ADMIN_DATA << ctrl->page_shift);
}

static int nvme_identify(struct nvme *ctrl, uint32_t cns, uint64_t nsid)
{
	return nvme_admin(ctrl, NVME_IDENTIFY | nsid << 32, nvme_data(ctrl), cns);
}

// ---- The controller ------------------------------------------------------------------------------------------

static int nvme_switch(struct nvme *ctrl, uint32_t cc)
{
	uint64_t deadline = time_deadline(ctrl->ready_us);
	uint32_t ready = cc & NVME_CC_EN, csts;
	mmio_write32(ctrl->regs + NVME_CC, cc);
	while (csts = mmio_read32(ctrl->regs + NVME_CSTS), (csts & NVME_CSTS_RDY) != ready) {
		if (ready && csts & NVME_CSTS_CFS)
			return E_IO;
		if (time_passed(deadline))
			return E_TIMEOUT;
	}
	return E_OK;
}

// Reset and initialization (s.3.5.1); the I/O queues come later.
static int nvme_start(struct nvme *ctrl)
{
	uint8_t *admin = ctrl->admin;
	uint32_t shift = ctrl->page_shift;
	int rc = nvme_switch(ctrl, 0);
	if (rc != E_OK)
		return rc;
	memset(admin, 0, ADMIN_PAGES << shift);
	ctrl->admin_count = 0;
	mmio_write32(ctrl->regs + NVME_AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	mmio_write64(ctrl->regs + NVME_ASQ, (uintptr_t)admin);
	mmio_write64(ctrl->regs + NVME_ACQ, (uintptr_t)admin + ctrl->page);
	rc = nvme_switch(ctrl, NVME_CC_EN | (shift - PAGE_SHIFT_LEAST) << NVME_CC_MPS_SHIFT |
		NVME_CC_IOSQES | NVME_CC_IOCQES);
	if (rc == E_OK)
		rc = nvme_admin(ctrl, NVME_SET_FEATURES, NULL, NVME_FEATURE_QUEUES | (RINGS - 1) * 0x1000100000000);
	uint32_t queues = clamp_u32(ctrl->result >> 16, 0, ctrl->result & 0xFFFF) + 1;
	if (rc == E_OK)
		rc = nvme_identify(ctrl, NVME_CNS_CONTROLLER, 0);
	if (rc != E_OK)
		return rc;
	ctrl->rings_most = clamp_u32(queues, 0, ctrl->rings_most);
	// A page holds the doorbells of all rings.
	ctrl->doorbell_buffer = ctrl->stride * 2 * (RINGS + 1) <= ctrl->page &&
		*(uint16_t *)(nvme_data(ctrl) + NVME_ID_OACS) & NVME_OACS_DOORBELL_BUFFER &&
		nvme_admin(ctrl, NVME_DOORBELL_BUFFER, admin + (ADMIN_SHADOW << shift), 0) == E_OK;
	return E_OK;
}

// Creates the queues of a ring, empty.
static int nvme_open(struct nvme_ring *ring)
{
	struct nvme *ctrl = ring->ctrl;
	uint32_t id = ring->id, bell = 2 * id * ctrl->stride;
	volatile uint8_t *shadow = ctrl->admin + (ADMIN_SHADOW << ctrl->page_shift) + bell;
	ring->bell = ctrl->regs + NVME_DOORBELLS + bell;
	ring->shadow = NULL;
	if (ctrl->doorbell_buffer) {
		ring->shadow = shadow;
		*(volatile uint32_t *)shadow = *(volatile uint32_t *)(shadow + ctrl->stride) = 0;
	}
	ring->tail = ring->notified = ring->head = ring->reported = 0;
	memset((void *)ring->cq, 0, sizeof(*ring->cq) << CQ_SHIFT);
	int rc = nvme_admin(ctrl, NVME_CREATE_CQ, (void *)ring->cq,
		id | ((1u << ring->cq_shift) - 1) << 16 | (uint64_t)NVME_QUEUE_CONTIGUOUS << 32);
	if (rc == E_OK)
		rc = nvme_admin(ctrl, NVME_CREATE_SQ, ring->sq,
			id | ring->sq_mask << 16 | (uint64_t)(NVME_QUEUE_CONTIGUOUS | id << 16) << 32);
	return rc;
}

// The controller has been reset: what it had is lost.  With a dead one, this happens at every poll.
static void nvme_revive(struct nvme_ring *ring)
{
	struct nvme *ctrl = ring->ctrl;
	uint64_t flags = nvme_enter(&ctrl->lock);
	for (struct nvme_slot *slot = ring->slots; slot < ring->slots + SQ_ENTRIES; slot++)
		if (slot->status == FLYING)
			nvme_done(slot, E_TIMEOUT);
	if (!ctrl->dead && nvme_open(ring) == E_OK)
		ring->stale = false;
	nvme_leave(&ctrl->lock, flags);
}

// Each ring is brought back by the core that owns it, at its next poll.
static void nvme_recover(struct blk_dev *blk)
{
	struct nvme *ctrl = container_of(blk, struct nvme_drive, blk)->ctrl;
	uint64_t flags = nvme_enter(&ctrl->lock);
	if (!((struct nvme_view *)blk->queue[0])->ring->stale) {	// else somebody has just done it
		for (uint32_t i = 0; i < RINGS; i++)
			if (ctrl->rings[i])
				__atomic_store_n(&ctrl->rings[i]->stale, true, __ATOMIC_SEQ_CST);
		int rc = nvme_start(ctrl);
		ctrl->dead = rc != E_OK;
		log("%s: time-out, reset%s\n", blk->info.address, rc ? " failed" : "");
	}
	nvme_leave(&ctrl->lock, flags);
}

static const struct blk_ops nvme_ops = { .recover = nvme_recover };

// ---- Drives --------------------------------------------------------------------------------------------------

static struct nvme_ring *nvme_ring(struct nvme *ctrl, uint32_t index)
{
	uint8_t *memory = mem_alloc(ctrl->ring_bytes, ctrl->page);
	if (!memory)
		return NULL;
	uint8_t *lists = memory + (RING_LISTS << ctrl->page_shift);
	struct nvme_ring *ring = (struct nvme_ring *)(lists + SQ_ENTRIES * ctrl->list_bytes);
	ring->sq = (struct nvme_sqe *)memory;
	ring->cq = (struct nvme_cqe *)(memory + (RING_CQ << ctrl->page_shift));
	ring->sq_mask = ctrl->sq_entries - 1;
	ring->cq_shift = ctrl->cq_shift;
	ring->spare = (1u << ctrl->cq_shift) - ctrl->sq_entries;
	ring->page = ctrl->page;
	ring->ctrl = ctrl;
	ring->id = index + 1;
	for (uint32_t i = 0; i < SQ_ENTRIES; i++) {
		ring->slots[i].list = (uint64_t *)(lists + i * ctrl->list_bytes);
		ring->slots[i].id = i << 16;
	}
	if (nvme_open(ring) != E_OK) {
		mem_free(memory, ctrl->ring_bytes);
		return NULL;
	}
	return ctrl->rings[index] = ring;
}

// A queue of a drive: the next ring, or a part of it.
static int nvme_view(struct nvme *ctrl, struct nvme_view *view, uint32_t depth)
{
	uint32_t index = ctrl->ring_next++ % ctrl->rings_most;
	struct nvme_ring *ring = ctrl->rings[index];
	if (!ring && !(ring = nvme_ring(ctrl, index)))
		return E_NOMEM;
	view->ring = ring;
	view->last = &view->done;
	struct nvme_slot *slot = &ring->slots[depth * ring->views++];
	while (depth--) {
		slot->view = view;
		slot->next = view->free;
		view->free = slot++;
	}
	return E_OK;
}

// Fills in what Identify Namespace says; false if it isn't a drive for us.
static bool nvme_format(struct nvme_drive *drive, const uint8_t *ns)
{
	struct ingot_blk_info *info = &drive->blk.info;
	uint32_t flbas = ns[NVME_NS_FLBAS];
	uint32_t format = *(uint32_t *)(ns + NVME_NS_LBAF + 4 * ((flbas & 15) | (flbas >> 1 & 0x30)));
	uint32_t shift = format >> 16 & 0xFF;
	info->blocks = *(uint64_t *)(ns + NVME_NS_NSZE);
	info->block_bytes = 1u << (shift & 31);
	drive->views->shift = shift;
	if (ns[NVME_NS_ATTRIBUTES] & NVME_NS_WRITE_PROTECTED)
		info->features |= INGOT_BLK_READONLY;
	return info->blocks && !(format & 0xFFFF) && shift - BLOCK_SHIFT_LEAST <= BLOCK_SHIFT_MOST - BLOCK_SHIFT_LEAST;
}

// Namespace `nsid` as a drive with at most `queues` queues of `depth` requests.
static int nvme_add(struct nvme *ctrl, uint32_t nsid, uint32_t queues, uint32_t depth)
{
	int rc = nvme_identify(ctrl, NVME_CNS_NAMESPACE, nsid);
	if (rc != E_OK)
		return rc;
	struct nvme_drive *drive = kzalloc(sizeof(*drive));
	if (!drive)
		return E_NOMEM;
	struct blk_dev *blk = &drive->blk;
	struct ingot_blk_info *info = &blk->info;
	struct nvme_view *view = drive->views;
	info->features = ctrl->features;
	rc = E_NOTSUP;
	if (!nvme_format(drive, nvme_data(ctrl))) {
		log(" namespace %u: format not supported", nsid);
		goto free_drive;
	}
	uint32_t shift = view->shift;
	while (info->queues < queues && (rc = nvme_view(ctrl, view, depth)) == E_OK) {
		view->nsid = (uint64_t)nsid << 32;
		view->shift = shift;
		blk->queue[info->queues++] = view++;
	}
	if (!info->queues)
		goto free_drive;
	info->depth = depth;
	info->align = 4;	// s.4.1.1
	info->max_blocks = ctrl->most_bytes >> shift;
	blk->submit = ctrl->shared ? nvme_submit_shared : nvme_submit;
	blk->poll = ctrl->shared ? nvme_poll_shared : nvme_poll;
	blk->ops = &nvme_ops;
	blk->dev = &ctrl->pci->dev;
	blk->kind = BLK_NVME;
	blk->identity = ctrl->identity;
	drive->ctrl = ctrl;
	rc = blk_register(blk);
	if (rc == E_OK) {
		drive->next = ctrl->drives;
		ctrl->drives = drive;
		return E_OK;
	}
free_drive:
	kfree(drive, sizeof(*drive));
	return rc;
}

// The active namespaces (s.5.17.2.2), or with a controller of before 1.1 all there might be.
static int nvme_add_all(struct nvme *ctrl, uint32_t most)
{
	uint32_t *list = mem_alloc(NVME_IDENTIFY_BYTES, 64), count = 0;
	int rc = E_NOMEM;
	if (!list)
		return rc;
	if (nvme_identify(ctrl, NVME_CNS_NAMESPACES, 0) == E_OK)
		memcpy(list, nvme_data(ctrl), NVME_IDENTIFY_BYTES);
	else
		for (; count < most && count < NAMESPACES_OLD; count++)
			list[count] = count + 1;
	for (count = 0; count < NAMESPACES && list[count];)
		count++;
	uint32_t rings = ctrl->rings_most, sharers = count ? (count + rings - 1) / rings : 1;
	ctrl->shared = sharers > 1;
	rc = E_NODEV;
	for (uint32_t i = 0; i < count; i++)
		rc = nvme_add(ctrl, list[i], clamp_u32(rings / count, 1, clamp_u32(smp_count(), 1, BLK_QUEUES)),
			(ctrl->sq_entries - 1) / sharers);
	mem_free(list, NVME_IDENTIFY_BYTES);
	return ctrl->drives ? E_OK : rc;
}

// What Identify Controller says, once.
static int nvme_setup(struct nvme *ctrl)
{
	uint64_t cap = mmio_read64(ctrl->regs + NVME_CAP);
	uint32_t shift = PAGE_SHIFT_LEAST + NVME_CAP_MPSMIN(cap), entries = NVME_CAP_MQES(cap) + 1;
	uint64_t bells = (ctrl->pci->bar[0].bytes - NVME_DOORBELLS) >> (NVME_CAP_DSTRD(cap) + 3);
	ctrl->page_shift = shift;
	ctrl->page = 1u << shift;
	ctrl->stride = 4u << NVME_CAP_DSTRD(cap);
	ctrl->ready_us = (NVME_CAP_TO(cap) + 1) * READY_UNIT_US;
	ctrl->rings_most = clamp_u32(min_u64(bells, RINGS + 1) - 1, 0, RINGS);
	ctrl->cq_shift = CQ_SHIFT;
	while (1u << ctrl->cq_shift > entries)
		ctrl->cq_shift--;
	ctrl->sq_entries = clamp_u32(1u << ctrl->cq_shift, 0, SQ_ENTRIES);
	if (shift > PAGE_SHIFT_MOST || !ctrl->rings_most || ctrl->sq_entries < 2) {
		log(" capabilities %lx", cap);
		return E_NOTSUP;
	}
	if (!(ctrl->admin = mem_alloc(ADMIN_PAGES << shift, ctrl->page)))
		return E_NOMEM;
	int rc = nvme_start(ctrl);
	if (rc != E_OK) {
		log(" not ready");
		return rc;
	}
	const uint8_t *id = nvme_data(ctrl);
	uint32_t pages = (uint8_t)(id[NVME_ID_MDTS] - 1) < PAGES_SHIFT_MOST ? id[NVME_ID_MDTS] : PAGES_SHIFT_MOST;
	ctrl->most_bytes = ctrl->page << pages;
	ctrl->list_bytes = clamp_u32(8 << pages, LIST_BYTES_LEAST, ~0u);
	ctrl->ring_bytes = (RING_LISTS << shift) + SQ_ENTRIES * ctrl->list_bytes + sizeof(struct nvme_ring);
	ctrl->features = (id[NVME_ID_VWC] & NVME_VWC_PRESENT ? INGOT_BLK_FLUSH : 0) |
		(id[NVME_ID_ONCS] & NVME_ONCS_DSM ? INGOT_BLK_DISCARD : 0);
	memcpy(ctrl->identity, id + NVME_ID_TEXT, NVME_ID_TEXT_BYTES);
	rc = nvme_add_all(ctrl, *(uint32_t *)(id + NVME_ID_NN));
	if (rc == E_NODEV) {
		log(" no namespace");
		rc = E_NOTSUP;
	}
	return rc;
}

// Orderly, where it runs: caches are written (s.3.6.1).
static void nvme_stop(struct nvme *ctrl)
{
	volatile uint8_t *regs = ctrl->regs;
	uint32_t cc = mmio_read32(regs + NVME_CC);
	if (cc & NVME_CC_EN) {
		mmio_write32(regs + NVME_CC, cc | NVME_CC_SHN_NORMAL);
		mmio_wait32(regs + NVME_CSTS, NVME_CSTS_SHST, NVME_CSTS_SHST_DONE, SHUTDOWN_US);
	}
	nvme_switch(ctrl, 0);
}

static void nvme_free(struct nvme *ctrl)
{
	if (ctrl->admin)	// else it was never touched
		nvme_stop(ctrl);
	pci_disable(ctrl->pci);
	for (uint32_t i = 0; i < RINGS; i++)
		if (ctrl->rings[i])
			mem_free(ctrl->rings[i]->sq, ctrl->ring_bytes);
	mem_free(ctrl->admin, ADMIN_PAGES << ctrl->page_shift);
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
	for (struct nvme_drive *drive; (drive = ctrl->drives);) {
		ctrl->drives = drive->next;
		blk_unregister(&drive->blk);
		kfree(drive, sizeof(*drive));
	}
	nvme_free(ctrl);
}

static const struct dev_id nvme_ids[] = { DEV_ID_CLASS(0x010802, 0xFFFFFF, 0) };
static const struct driver nvme = { "nvme", DEV_IDS(nvme_ids), .probe = nvme_probe, .remove = nvme_remove };
PCI_DRIVER(nvme);
