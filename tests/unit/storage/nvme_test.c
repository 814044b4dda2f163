// NVMe drives and the class above them, against a controller that is strict about what the specification asks of the
// host, with namespaces of memory.
#include <fake.h>
#include <pci.h>
#include <program.h>
#include <storage/nvme_regs.h>

#define REGS 0x8000
#define QUEUES 32
#define NAMESPACES 4
#define DRIVE_BYTES (1 << 20)

struct far_queue {
	uint64_t sq, cq;
	uint32_t sq_size, cq_size;             // 0: doesn't exist
	uint32_t head, tail, posted, consumed; // indices; posted runs freely
	uint32_t bells, head_bells;
};

// A controller.
struct far {
	struct fake_mmio regs;
	uint8_t memory[REGS];
	struct pci_dev pci;
	uint64_t cap;
	uint32_t cc, csts, aqa;
	uint64_t asq, acq, shadow, events;
	struct far_queue queue[QUEUES];
	uint32_t granted, mdts, oacs, oncs, vwc;
	uint32_t nsid[NAMESPACES + 1], shift[NAMESPACES], metadata[NAMESPACES], protected[NAMESPACES];
	uint8_t drive[NAMESPACES][DRIVE_BYTES];
	bool stuck_off, stuck_on, fatal, asleep, master;
	uint32_t refuse, mute; // admin opcode + 1 that fails, that is never answered
	uint32_t status;       // of I/O commands
	uint32_t shuffle;      // they complete in another order
	uint32_t commands, prps, flushes, resets;
	uint64_t bad_list; // the list of namespaces can't be had
};

static struct far *fars;
static const struct driver *drv;
static uint8_t data[DRIVE_BYTES + 8192] __attribute__((aligned(65536)));

volatile void *pci_map_bar(struct pci_dev *pci, uint32_t n)
{
	struct far *far = container_of(pci, struct far, pci);
	assert_int_equal(n, 0);
	return fake_map_refuse ? NULL : far->memory;
}

void pci_enable(struct pci_dev *pci)
{
	container_of(pci, struct far, pci)->master = true;
}

void pci_disable(struct pci_dev *pci)
{
	container_of(pci, struct far, pci)->master = false;
}

static uint32_t page_bytes(const struct far *far)
{
	return 4096 << (far->cc >> 7 & 15);
}

// ---- The controller's side -----------------------------------------------------------------------------------

static void complete(struct far *far, uint32_t index, uint32_t id, uint32_t status, uint32_t result)
{
	struct far_queue *q = &far->queue[index];
	struct nvme_cqe *cqe = (struct nvme_cqe *)q->cq + q->posted % q->cq_size;
	uint32_t phase = !(q->posted / q->cq_size & 1);
	if (far->shadow && index)
		q->consumed = ((uint32_t *)far->shadow)[2 * index + 1];
	assert_int_not_equal((q->posted + 1) % q->cq_size, q->consumed); // never overfull
	q->posted++;
	*cqe = (struct nvme_cqe){ result, 0, q->head | index << 16, id | phase << 16 | status << 17 };
}

// What a command's PRPs name, copied to or from `to`.
static void transfer(struct far *far, const struct nvme_sqe *sqe, uint8_t *to, uint64_t bytes, bool write)
{
	uint64_t page = page_bytes(far), at = sqe->prp[0], run = page - at % page;
	const uint64_t *list = &sqe->prp[1];
	assert_int_equal(at & 3, 0);
	if (far->mdts)
		assert_true(bytes <= page << far->mdts);
	if (bytes > run + page) {
		list = (const uint64_t *)sqe->prp[1];
		assert_int_equal(sqe->prp[1] & 7, 0);
		assert_true((uint64_t)list % page + (bytes - run + page - 1) / page * 8 <= page); // else it chains
	} else if (bytes <= run) {
		assert_int_equal(sqe->prp[1], 0);
	}
	for (far->prps = 1;; far->prps++) {
		run = min_u64(run, bytes);
		if (write)
			memcpy(to, (void *)at, run);
		else
			memcpy((void *)at, to, run);
		to += run;
		if (!(bytes -= run))
			break;
		at = *list++;
		assert_int_equal(at % page, 0);
		run = page;
	}
}

static void io(struct far *far, const struct nvme_sqe *sqe)
{
	uint32_t opcode = sqe->head & 0xFF, nsid = sqe->head >> 32, ns = 0;
	far->commands++;
	assert_int_equal(sqe->head >> 8 & 0xFF, 0);
	assert_true(!sqe->cdw2 && !sqe->metadata && !sqe->cdw14);
	while (ns < NAMESPACES && far->nsid[ns] != nsid)
		ns++;
	assert_true(ns < NAMESPACES);
	uint64_t blocks = DRIVE_BYTES >> far->shift[ns], count = (uint32_t)sqe->cdw12 + 1;
	if (opcode == NVME_FLUSH) {
		assert_true(!sqe->cdw10 && !sqe->cdw12);
		far->flushes++;
	} else if (opcode == NVME_DSM) {
		uint64_t range[2];
		assert_true(sqe->cdw10 == (uint64_t)NVME_DSM_DEALLOCATE << 32 && !sqe->cdw12);
		transfer(far, sqe, (uint8_t *)range, sizeof(range), true);
		assert_int_equal((uint32_t)range[0], 0);
		assert_true(range[1] + (range[0] >> 32) <= blocks);
		memset(far->drive[ns] + (range[1] << far->shift[ns]), 0, (range[0] >> 32) << far->shift[ns]);
	} else {
		assert_true(opcode == NVME_READ || opcode == NVME_WRITE);
		assert_true(count <= 65536 && sqe->cdw10 + count <= blocks);
		transfer(far, sqe, far->drive[ns] + (sqe->cdw10 << far->shift[ns]), count << far->shift[ns],
			opcode == NVME_WRITE);
	}
}

static void work(struct far *far, uint32_t index)
{
	struct far_queue *q = &far->queue[index];
	uint32_t ids[256], count = 0;
	while (!far->asleep && q->head != q->tail) {
		const struct nvme_sqe *sqe = (const struct nvme_sqe *)q->sq + q->head;
		io(far, sqe);
		ids[count++] = sqe->head >> 16 & 0xFFFF;
		q->head = (q->head + 1) % q->sq_size;
	}
	for (uint32_t i = 0; i < count; i++)
		complete(far, index, ids[far->shuffle && count % far->shuffle ? i * far->shuffle % count : i], far->status, 0);
	if (far->shadow && index) {
		((uint32_t *)far->events)[2 * index] = q->tail;
		((uint32_t *)far->events)[2 * index + 1] = q->consumed;
	}
}

static void identify(struct far *far, uint32_t cns, uint32_t nsid, uint8_t *to)
{
	memset(to, 0, 4096);
	if (cns == NVME_CNS_CONTROLLER) {
		memcpy(to + 4, "SERIAL", 6);
		to[77] = far->mdts;
		memcpy(to + 256, &far->oacs, 2);
		memcpy(to + 520, &far->oncs, 2);
		to[525] = far->vwc;
	} else if (cns == NVME_CNS_NAMESPACES) {
		memcpy(to, far->nsid, sizeof(far->nsid));
	} else {
		for (uint32_t i = 0; i < NAMESPACES; i++) {
			uint64_t blocks = DRIVE_BYTES >> (far->shift[i] & 31);
			if (far->nsid[i] != nsid)
				continue;
			memcpy(to, &blocks, 8);
			to[26] = 2;
			to[99] = far->protected[i];
			to[128 + 8] = far->metadata[i];
			to[128 + 10] = far->shift[i];
		}
	}
}

static uint32_t create(struct far *far, const struct nvme_sqe *sqe, bool cq)
{
	uint32_t id = sqe->cdw10 & 0xFFFF, size = (sqe->cdw10 >> 16 & 0xFFFF) + 1, flags = sqe->cdw10 >> 32;
	struct far_queue *q = &far->queue[id];
	assert_true(id && id <= far->granted && id < QUEUES);
	assert_true(size >= 2 && size <= (far->cap & 0xFFFF) + 1);
	assert_int_equal(sqe->prp[0] % page_bytes(far), 0);
	if (cq) {
		assert_int_equal(flags, 1); // contiguous, no interrupts
		assert_int_equal(q->cq_size, 0);
		*q = (struct far_queue){ .cq = sqe->prp[0], .cq_size = size };
		for (uint32_t i = 0; i < size; i++)
			assert_int_equal(((struct nvme_cqe *)q->cq)[i].end, 0); // no phase tag
	} else {
		assert_int_equal(flags, 1 | id << 16);
		assert_true(q->cq_size && !q->sq_size);
		q->sq = sqe->prp[0];
		q->sq_size = size;
		if (far->shadow)
			assert_int_equal(((uint64_t *)far->shadow)[id], 0);
	}
	return 0;
}

static void admin(struct far *far)
{
	struct far_queue *q = &far->queue[0];
	const struct nvme_sqe *sqe = (const struct nvme_sqe *)q->sq + q->head;
	uint32_t opcode = sqe->head & 0xFF, result = 0, status = 0;
	q->head = (q->head + 1) % q->sq_size;
	if (far->mute == opcode + 1)
		return;
	if (far->refuse == opcode + 1) {
		status = 2;
	} else if (opcode == NVME_IDENTIFY) {
		if (sqe->cdw10 == NVME_CNS_NAMESPACES && far->bad_list)
			status = 2;
		else
			identify(far, sqe->cdw10, sqe->head >> 32, (uint8_t *)sqe->prp[0]);
	} else if (opcode == NVME_SET_FEATURES) {
		assert_int_equal(sqe->cdw10 & 0xFF, 7);
		result = (far->granted - 1) << 16 | (far->granted - 1);
	} else if (opcode == NVME_DOORBELL_BUFFER) {
		assert_true(far->oacs & NVME_OACS_DOORBELL_BUFFER);
		far->shadow = sqe->prp[0];
		far->events = sqe->prp[1];
		assert_int_equal((far->shadow | far->events) % page_bytes(far), 0);
	} else {
		assert_true(opcode == NVME_CREATE_CQ || opcode == NVME_CREATE_SQ);
		status = create(far, sqe, opcode == NVME_CREATE_CQ);
	}
	complete(far, 0, sqe->head >> 16 & 0xFFFF, status, result);
}

static void enable(struct far *far, uint32_t cc)
{
	if (!(cc & 1)) {
		memset(far->queue, 0, sizeof(far->queue));
		far->shadow = 0;
		far->resets += far->cc & 1;
		if (!far->stuck_off)
			far->csts = 0;
	} else if (!(far->cc & 1)) {
		uint32_t page = 4096 << (cc >> 7 & 15), size = (far->aqa & 0xFFF) + 1;
		assert_int_equal(far->csts, 0);
		assert_int_equal(cc, 1 | (cc & 15 << 7) | 6 << 16 | 4 << 20);
		assert_true((cc >> 7 & 15) >= (far->cap >> 48 & 15));
		assert_true(far->master && size >= 2 && far->aqa >> 16 == size - 1);
		assert_true(far->asq && far->acq && (far->asq | far->acq) % page == 0);
		far->queue[0] = (struct far_queue){ .sq = far->asq, .cq = far->acq, .sq_size = size, .cq_size = size };
		far->csts = far->fatal ? 2 : far->stuck_on ? 0 : 1;
	}
	far->cc = cc;
}

static void bell(struct far *far, uint64_t offset, uint32_t value)
{
	uint64_t stride = 4 << (far->cap >> 32 & 15), number = offset / stride;
	struct far_queue *q = &far->queue[number / 2];
	assert_true(offset % stride == 0 && number / 2 < QUEUES);
	if (number & 1) {
		assert_true(q->cq_size && value < q->cq_size);
		q->consumed = value;
		q->head_bells++;
		return;
	}
	assert_true(q->sq_size && value < q->sq_size && value != q->tail);
	q->tail = value;
	q->bells++;
	if (number)
		work(far, number / 2);
	else
		admin(far);
}

static void far_write(struct fake_mmio *regs, uint64_t offset, uint32_t width, uint64_t value)
{
	struct far *far = regs->arg;
	assert_int_equal(width, offset == NVME_ASQ || offset == NVME_ACQ ? 8 : 4);
	if (offset >= NVME_DOORBELLS)
		bell(far, offset - NVME_DOORBELLS, value);
	else if (offset == NVME_CC)
		enable(far, value);
	else if (offset == NVME_AQA)
		far->aqa = value;
	else if (offset == NVME_ASQ)
		far->asq = value;
	else if (offset == NVME_ACQ)
		far->acq = value;
	else
		fail_msg("write to register %x", (uint32_t)offset);
}

static uint64_t far_read(struct fake_mmio *regs, uint64_t offset, uint32_t width)
{
	struct far *far = regs->arg;
	assert_int_equal(width, offset == NVME_CAP ? 8 : 4);
	assert_true(offset == NVME_CAP || offset == NVME_CSTS || offset == NVME_CC);
	return offset == NVME_CAP ? far->cap : offset == NVME_CC ? far->cc : far->csts;
}

// A controller with one namespace of 512-byte blocks.
static struct far *plug(struct far *far)
{
	memset(far, 0, sizeof(*far));
	drv = fake_driver("pci", "nvme");
	far->cap = 0x7FF | 1ull << 16 | 4ull << 24 | 1ull << 37;
	far->granted = 8;
	far->oncs = NVME_ONCS_DSM;
	far->vwc = NVME_VWC_PRESENT;
	far->nsid[0] = 1;
	far->shift[0] = 9;
	far->regs = (struct fake_mmio){ .base = far->memory, .bytes = REGS, .read = far_read, .write = far_write };
	far->regs.arg = far;
	far->pci.bar[0].bytes = REGS;
	far->pci.dev.driver = drv;
	memcpy(far->pci.dev.name, "0000:00:04.0", 13);
	for (uint32_t ns = 0; ns < NAMESPACES; ns++)
		for (uint32_t i = 0; i < DRIVE_BYTES; i++)
			far->drive[ns][i] = i * 13 + (i >> 9) + (i >> 17) + ns;
	fake_mmio_add(&far->regs);
	memset(data, 0xEE, sizeof(data));
	return far;
}

static int probe(struct far *far)
{
	return drv->probe(&far->pci.dev, drv->ids);
}

static struct far *start(void)
{
	struct far *far = plug(fars);
	assert_int_equal(probe(far), E_OK);
	return far;
}

static void end(struct far *far)
{
	drv->remove(&far->pci.dev);
	assert_int_equal(far->cc & 1, 0);
	assert_false(far->master);
}

static struct ingot_blk_info info(uint32_t drive)
{
	struct ingot_blk_info now = { .size = sizeof(now) };
	assert_int_equal(blk_info(drive, &now), E_OK);
	return now;
}

static int submit(uint32_t queue, uint32_t op, uint64_t block, uint32_t count, void *to, uint64_t tag)
{
	const struct ingot_blk_req req = { block, count, op, to, tag };
	return blk_submit(0, queue, &req);
}

static int run(uint32_t drive, uint32_t op, uint64_t block, uint32_t count, void *to)
{
	const struct ingot_blk_req req = { block, count, op, to, 0 };
	return blk_run(drive, &req);
}

// ---- Discovery -----------------------------------------------------------------------------------------------

static void probes(void **state)
{
	const char *identity = NULL;
	(void)state;
	fake_cores = 3;
	struct far *far = start();
	struct ingot_blk_info now = info(0);
	assert_int_equal(now.blocks, DRIVE_BYTES / 512);
	assert_int_equal(now.block_bytes, 512);
	assert_int_equal(now.queues, 3);
	assert_true(now.depth >= 32);
	assert_int_equal(now.max_blocks, 1024);
	assert_int_equal(now.align, 4);
	assert_int_equal(now.features, INGOT_BLK_FLUSH | INGOT_BLK_DISCARD);
	assert_string_equal(now.name, "disk0");
	assert_string_equal(now.driver, "nvme");
	assert_int_equal(blk_classic_kind(0, &identity), BLK_NVME);
	assert_memory_equal(identity, "SERIAL", 7);
	assert_true(fake_logged("disk0 1 MiB, 512-byte blocks"));
	end(far);
	assert_int_equal(blk_count(), 0);
	far = plug(fars);
	far->oncs = far->vwc = 0;
	far->mdts = 3;
	far->protected[0] = 1;
	far->shift[0] = 12;
	far->cc = far->csts = 1; // firmware has left it on
	assert_int_equal(probe(far), E_OK);
	assert_int_equal(far->resets, 1);
	now = info(0);
	assert_int_equal(now.block_bytes, 4096);
	assert_int_equal(now.max_blocks, 8);
	assert_int_equal(now.features, INGOT_BLK_READONLY);
	assert_int_equal(run(0, INGOT_READ, 3, 100, data), E_OK);
	assert_memory_equal(data, far->drive[0] + 3 * 4096, 100 * 4096);
	end(far);
}

static void namespaces(void **state)
{
	(void)state;
	fake_cores = 4;
	struct far *far = plug(fars);
	memcpy(far->nsid, (uint32_t[]){ 2, 3, 77, 0xFFFFFFF0 }, 16);
	memcpy(far->shift, (uint32_t[]){ 12, 9, 13, 9 }, 16);
	far->metadata[1] = 8;
	assert_int_equal(probe(far), E_OK);
	assert_int_equal(blk_count(), 2);
	assert_true(fake_logged("namespace 3 left alone") && fake_logged("namespace 77 left alone"));
	assert_int_equal(info(0).queues, 2); // 8 for four namespaces
	assert_int_equal(info(0).block_bytes, 4096);
	assert_int_equal(info(1).block_bytes, 512);
	assert_int_equal(run(1, INGOT_READ, 5, 1, data), E_OK);
	assert_memory_equal(data, far->drive[3] + 5 * 512, 512);
	assert_int_equal(run(0, INGOT_WRITE, 1, 1, data + 512), E_OK);
	assert_int_equal(far->drive[0][4096], 0xEE);
	end(far);
	far = plug(fars);
	memcpy(far->nsid, (uint32_t[]){ 1, 2, 3, 4 }, 16);
	memcpy(far->shift, (uint32_t[]){ 9, 9, 9, 9 }, 16);
	far->granted = 3;
	assert_int_equal(probe(far), E_OK);
	assert_int_equal(blk_count(), 3);
	assert_true(fake_logged("namespace 4 left alone"));
	end(far);
	far = plug(fars);
	far->bad_list = true;
	assert_int_equal(probe(far), E_OK);
	assert_int_equal(blk_count(), 1);
	end(far);
	far = plug(fars);
	far->nsid[0] = 0;
	assert_int_equal(probe(far), E_NOTSUP);
	assert_int_equal(far->cc & 1, 0);
}

static void wide_doorbells_and_pages(void **state)
{
	(void)state;
	struct far *far = plug(fars);
	far->cap |= 2ull << 32 | 2ull << 48;   // 16 bytes; 16 KiB
	far->oacs = NVME_OACS_DOORBELL_BUFFER; // not with these
	far->mdts = 2;
	far->queue[0].sq_size = 0;
	assert_int_equal(probe(far), E_OK);
	assert_int_equal(far->shadow, 0);
	assert_int_equal(info(0).max_blocks, 128);
	assert_int_equal(run(0, INGOT_READ, 7, 256, data + 12), E_OK);
	assert_memory_equal(data + 12, far->drive[0] + 7 * 512, 256 * 512);
	fake_mem_pages = true; // a page of the device that is not contiguous here
	assert_int_equal(submit(0, INGOT_READ, 0, 16, data, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, 0, 8, data + 8192, 0), E_OK);
	end(far);
	far = plug(fars);
	far->cap |= 5ull << 48; // 128 KiB
	assert_int_equal(probe(far), E_NOTSUP);
	far = plug(fars);
	far->cap = ~0ull; // gone
	assert_int_equal(probe(far), E_NOTSUP);
	far = plug(fars);
	far->cap &= ~0xFFFFull;
	assert_int_equal(probe(far), E_NOTSUP);
	assert_true(fake_logged("capabilities"));
	far = plug(fars);
	far->pci.bar[0].bytes = 0x1020; // doorbells of three queues more
	fake_cores = 8;
	assert_int_equal(probe(far), E_OK);
	assert_int_equal(info(0).queues, 3);
	end(far);
}

static void probe_fails_cleanly(void **state)
{
	static const uint32_t opcodes[] = { NVME_IDENTIFY, NVME_SET_FEATURES, NVME_CREATE_CQ, NVME_CREATE_SQ };
	(void)state;
	fake_cores = 2;
	struct far *far = start();
	uint32_t allocations = fake_alloc_count;
	end(far);
	for (uint32_t i = 1; i <= allocations; i++) {
		far = plug(fars);
		fake_alloc_fail_at = fake_alloc_count + i;
		int rc = probe(far);
		assert_true(rc == E_OK ? info(0).queues == 1 : rc == E_NOMEM); // one queue will do
		if (rc == E_OK)
			end(far);
		assert_int_equal(fake_alloc_live, 0);
		assert_int_equal(far->cc & 1, 0);
		assert_int_equal(blk_count(), 0);
	}
	fake_alloc_fail_at = 0;
	for (uint32_t i = 0; i < 8; i++) {
		far = plug(fars);
		*(i & 1 ? &far->mute : &far->refuse) = opcodes[i / 2] + 1;
		assert_true(probe(far) < 0);
		assert_int_equal(far->cc & 1, 0);
		assert_false(far->master);
		assert_int_equal(fake_alloc_live, 0);
	}
	far = plug(fars);
	far->stuck_off = true; // a reset that never completes
	far->csts = far->cc = 1;
	assert_int_equal(probe(far), E_TIMEOUT);
	assert_true(fake_logged("not ready"));
	far = plug(fars);
	far->stuck_on = true;
	assert_int_equal(probe(far), E_TIMEOUT);
	far = plug(fars);
	far->fatal = true;
	uint64_t before = fake_now_ns;
	assert_int_equal(probe(far), E_TIMEOUT);
	assert_true(fake_now_ns - before < 100000000); // at once
	assert_false(far->master);
	fake_map_refuse = true;
	assert_int_equal(probe(plug(fars)), E_INVAL);
}

static void two_controllers(void **state)
{
	(void)state;
	struct far *far = start(), *other = plug(fars + 1);
	memset(other->drive[0], 0x55, DRIVE_BYTES);
	assert_int_equal(probe(other), E_OK);
	assert_int_equal(run(1, INGOT_READ, 0, 8, data), E_OK);
	assert_int_equal(data[0], 0x55);
	assert_int_equal(run(0, INGOT_READ, 0, 8, data), E_OK);
	assert_memory_equal(data, far->drive[0], 4096);
	end(far);
	assert_int_equal(run(1, INGOT_WRITE, 0, 8, data), E_OK);
	assert_memory_equal(data, other->drive[0], 4096);
	end(other);
}

// ---- Requests ------------------------------------------------------------------------------------------------

static void checks(void **state)
{
	(void)state;
	struct far *far = start();
	const uint64_t blocks = info(0).blocks;
	assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 0), E_NODEV);
	assert_int_equal(submit(0, 4, 0, 1, data, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, 0, 0, data, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, 0, info(0).max_blocks + 1, data, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, 0, 1, data + 2, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, blocks - 1, 2, data, 0), E_RANGE);
	assert_int_equal(submit(0, INGOT_WRITE, UINT64_MAX, 2, data, 0), E_RANGE);
	assert_int_equal(blk_classic_nvs(INGOT_READ, 1, 7, data, 0), 7);
	assert_memory_equal(data, far->drive[0] + 4096, 7 * 4096);
	assert_int_equal(far->commands, 1);
	assert_int_equal(blk_classic_nvs(INGOT_READ, 0, DRIVE_BYTES / 4096, data, 0), DRIVE_BYTES / 4096);
	assert_memory_equal(data, far->drive[0], DRIVE_BYTES);
	assert_int_equal(far->commands, 3);
	end(far);
}

static void operations(void **state)
{
	(void)state;
	struct far *far = start();
	assert_int_equal(run(0, INGOT_FLUSH, 99, 0, NULL), E_OK);
	assert_int_equal(far->flushes, 1);
	assert_int_equal(run(0, INGOT_DISCARD, 3, 2000, NULL), E_OK);
	assert_int_equal(far->drive[0][3 * 512], 0);
	assert_int_equal(far->drive[0][2003 * 512 - 1], 0);
	assert_int_equal(far->drive[0][2003 * 512], (uint8_t)(2003 * 512 * 13 + 2003 + (2003 >> 8)));
	assert_int_equal(far->commands, 2);
	assert_int_equal(run(0, INGOT_WRITE, 1, 2, data), E_OK);
	assert_int_equal(far->drive[0][3 * 512 - 1], 0xEE);
	assert_int_equal(run(0, INGOT_DISCARD, 1, 5000, NULL), E_RANGE);
	end(far);
}

// Every length and offset that makes a difference, with memory in one piece and in pages.
static void every_shape(void **state)
{
	(void)state;
	struct far *far = start();
	for (uint32_t offset = 0; offset < 8192; offset += 508)
		for (uint32_t count = 1; count <= 1024; count = count * 2 + (count & 1)) {
			fake_mem_pages = count & 1;
			memset(data, 0xEE, count * 512 + 8192);
			assert_int_equal(run(0, INGOT_READ, 2, count, data + offset), E_OK);
			assert_int_equal(far->prps, (offset % 4096 + count * 512 + 4095) / 4096);
			assert_memory_equal(data + offset, far->drive[0] + 1024, count * 512);
			assert_true(!offset || data[offset - 1] == 0xEE);
			assert_int_equal(data[offset + count * 512], 0xEE);
		}
	end(far);
}

// Bursts at full depth, completions in any order, many times round the rings.
static void deep(bool shadow)
{
	struct ingot_blk_done done[200];
	static bool seen[256];
	struct far *far = plug(fars);
	far->oacs = shadow ? NVME_OACS_DOORBELL_BUFFER : 0;
	far->shuffle = 7;
	assert_int_equal(probe(far), E_OK);
	assert_int_equal(far->shadow != 0, shadow);
	struct far_queue *q = &far->queue[1];
	uint32_t depth = info(0).depth, total = 0;
	for (uint32_t round = 0; round < 1200; round++) {
		uint32_t burst = 1 + round % depth, got = 0, bells = q->bells, reads = far->regs.reads;
		for (uint32_t i = 0; i < burst; i++)
			assert_int_equal(submit(0, INGOT_READ, (round + i * 3) % 2000, 2, data + i * 1024, i), E_OK);
		assert_int_equal(q->bells, bells);
		memset(seen, 0, sizeof(seen));
		while (got < burst) {
			uint32_t more = blk_poll(0, 0, done, 33);
			assert_true(more && more <= 33);
			for (uint32_t i = 0; i < more; i++) {
				assert_int_equal(done[i].status, E_OK);
				assert_false(seen[done[i].tag]);
				seen[done[i].tag] = true;
			}
			got += more;
		}
		assert_int_equal(q->bells, bells + 1);    // one doorbell
		assert_int_equal(far->regs.reads, reads); // and nothing read
		for (uint32_t i = 0; i < burst; i++)
			assert_memory_equal(data + i * 1024, far->drive[0] + (round + i * 3) % 2000 * 512, 1024);
		total += burst;
		assert_int_equal(blk_poll(0, 0, done, 200), 0);
	}
	assert_true(q->head_bells <= total / 32);
	far->asleep = true;
	for (uint32_t i = 0; i < depth; i++)
		assert_int_equal(submit(0, INGOT_READ, i, 1, data, i), E_OK);
	assert_int_equal(submit(0, INGOT_READ, 0, 1, data, 0), E_AGAIN);
	assert_int_equal((q->tail - q->head) % q->sq_size, depth); // has been told
	end(far);                                                  // with work in flight
}

static void deep_bells(void **state)
{
	(void)state;
	deep(false);
}

static void deep_shadow(void **state)
{
	(void)state;
	deep(true);
}

// While the device is at work, it sees new requests without a doorbell.
static void shadow_saves_bells(void **state)
{
	struct ingot_blk_done done;
	(void)state;
	struct far *far = plug(fars);
	far->oacs = NVME_OACS_DOORBELL_BUFFER;
	assert_int_equal(probe(far), E_OK);
	struct far_queue *q = &far->queue[1];
	far->asleep = true;
	assert_int_equal(submit(0, INGOT_READ, 0, 1, data, 0), E_OK);
	assert_int_equal(blk_poll(0, 0, &done, 1), 0);
	assert_int_equal(q->bells, 1);
	((uint32_t *)far->events)[2] = 40; // it will look by itself until then
	for (uint32_t i = 2; i < 30; i++) {
		assert_int_equal(submit(0, INGOT_READ, 0, 1, data, 0), E_OK);
		assert_int_equal(blk_poll(0, 0, &done, 1), 0);
		assert_int_equal(((uint32_t *)far->shadow)[2], i);
	}
	assert_int_equal(q->bells, 1);
	end(far);
}

static void errors(void **state)
{
	static const uint32_t codes[] = { 0x80, 0x81, 0x281, 0x4002, 1, 0x7FF };
	(void)state;
	struct far *far = start();
	for (uint32_t i = 0; i < ARRAY_SIZE(codes); i++) {
		far->status = codes[i];
		assert_int_equal(run(0, INGOT_READ, 0, 1, data), E_IO);
		assert_int_equal(blk_classic_nvs(INGOT_READ, 0, 100, data, 0), 0);
	}
	far->status = 0;
	assert_int_equal(run(0, INGOT_READ, 0, 1, data), E_OK);
	end(far);
}

static void hostile_completions(void **state)
{
	struct ingot_blk_done done[8];
	(void)state;
	struct far *far = start();
	struct far_queue *q = &far->queue[1];
	far->asleep = true;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(submit(0, INGOT_READ, i, 1, data, i), E_OK);
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	uint32_t id = ((struct nvme_sqe *)q->sq)[1].head >> 16 & 0xFFFF;
	complete(far, 1, 0xFFFF, 0, 0); // never had them
	complete(far, 1, 63, 0, 0);
	complete(far, 1, id, 0, 0);
	complete(far, 1, id, 0, 0); // a second time
	assert_int_equal(blk_poll(0, 0, done, 8), 1);
	assert_int_equal(done[0].tag, 1);
	assert_int_equal(blk_poll(0, 0, done, 8), 0);
	far->asleep = false;
	work(far, 1); // all three again
	assert_int_equal(blk_poll(0, 0, done, 8), 2);
	assert_int_equal(done[0].tag + done[1].tag, 2);
	for (uint32_t i = 0; i < 128; i++) // noise of every phase
		((struct nvme_cqe *)q->cq)[i].end = i * 0x12345;
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(blk_poll(0, 0, done, 8), 0);
	end(far);
}

// Nothing lies behind the first page.
static uint64_t one_page(const void *ptr, size_t len, size_t *run)
{
	*run = (const uint8_t *)ptr < data + 4096 ? min_u64(len, data + 4096 - (const uint8_t *)ptr) : 0;
	return (uintptr_t)ptr;
}

static void unmapped_memory(void **state)
{
	(void)state;
	struct far *far = start();
	fake_mem_phys = one_page;
	for (uint32_t i = 0; i < 300; i++)
		assert_int_equal(submit(0, INGOT_READ, 0, 9, data, 0), E_INVAL);
	assert_int_equal(submit(0, INGOT_READ, 0, 1, data + 4096, 0), E_INVAL);
	assert_int_equal(run(0, INGOT_READ, 0, 8, data), E_OK);
	assert_int_equal(far->commands, 1);
	end(far);
}

// ---- Recovery ------------------------------------------------------------------------------------------------

static void time_out(void **state)
{
	struct ingot_blk_done done[64];
	(void)state;
	fake_cores = 2;
	for (uint32_t shadow = 0; shadow < 2; shadow++) {
		struct far *far = plug(fars);
		far->oacs = shadow ? NVME_OACS_DOORBELL_BUFFER : 0;
		memcpy(far->nsid, (uint32_t[]){ 1, 2 }, 8);
		far->shift[1] = 9;
		assert_int_equal(probe(far), E_OK);
		far->asleep = true;
		for (uint32_t i = 0; i < 40; i++)
			assert_int_equal(submit(1, INGOT_READ, i, 1, data, i), E_OK);
		assert_int_equal(blk_poll(0, 1, done, 64), 0);
		assert_int_equal(run(0, INGOT_READ, 0, 1, data), E_TIMEOUT);
		assert_true(fake_logged("0000:00:04.0: time-out, reset\n"));
		assert_int_equal(far->resets, 1);
		far->asleep = false;
		assert_int_equal(run(0, INGOT_READ, 9, 1, data), E_OK); // it is back
		assert_memory_equal(data, far->drive[0] + 9 * 512, 512);
		assert_int_equal(run(1, INGOT_READ, 9, 1, data), E_OK);           // so is the other drive
		assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 40), E_AGAIN); // the owner has to take these first
		assert_int_equal(blk_poll(0, 1, done, 30), 30);
		for (uint32_t i = 0; i < 30; i++)
			assert_int_equal(done[i].status, E_TIMEOUT);
		assert_int_equal(blk_poll(0, 1, done, 64), 10);
		assert_int_equal(submit(1, INGOT_READ, 0, 1, data, 7), E_OK);
		assert_int_equal(blk_poll(0, 1, done, 64), 1);
		assert_int_equal(done[0].status, E_OK);
		assert_int_equal(far->resets, 1);
		end(far);
	}
}

static void dead(void **state)
{
	(void)state;
	struct far *far = start();
	far->asleep = far->stuck_off = true;
	assert_int_equal(run(0, INGOT_READ, 0, 1, data), E_TIMEOUT);
	assert_true(fake_logged("time-out, reset fails"));
	assert_false(far->master);
	uint64_t before = fake_now_ns;
	assert_int_equal(run(0, INGOT_READ, 0, 1, data), E_IO);
	assert_true(fake_now_ns - before < 1000000); // at once
	end(far);
	far = start();
	far->asleep = true;
	far->mute = NVME_CREATE_SQ + 1; // back, but without a queue
	assert_int_equal(run(0, INGOT_READ, 0, 1, data), E_TIMEOUT);
	assert_int_equal(submit(0, INGOT_READ, 0, 1, data, 0), E_IO);
	end(far);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(probes),
		FAKE_TEST(namespaces),
		FAKE_TEST(wide_doorbells_and_pages),
		FAKE_TEST(probe_fails_cleanly),
		FAKE_TEST(two_controllers),
		FAKE_TEST(checks),
		FAKE_TEST(operations),
		FAKE_TEST(every_shape),
		FAKE_TEST(deep_bells),
		FAKE_TEST(deep_shadow),
		FAKE_TEST(shadow_saves_bells),
		FAKE_TEST(errors),
		FAKE_TEST(hostile_completions),
		FAKE_TEST(unmapped_memory),
		FAKE_TEST(time_out),
		FAKE_TEST(dead),
	};
	fars = calloc(2, sizeof(*fars));
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(fars);
	return failed;
}
