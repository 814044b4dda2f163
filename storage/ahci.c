// storage/ahci.c - SATA disks behind an AHCI controller.  "a." = section of the Serial ATA AHCI specification 1.3.1,
// "t." = of ATA8-ACS revision 6a.
// QEMU: the machine q35 has one (-device ide-hd,drive=d,bus=ide.0); -device ahci,id=a on others.
// Not done: port multipliers, hot plug, disks without 48-bit addresses, ATAPI devices (named only).
#include <blk.h>
#include <log.h>
#include <mem.h>
#include <mmio.h>
#include <pci.h>
#include <time.h>
#include "ahci_regs.h"

#define RESET_US 1000000   // a.10.4.3
#define HANDOFF_US 2000000 // a.10.6.3
#define STOP_US 500000     // a.10.3.1
#define PRESENCE_US 20000  // a disk answers a reset of the link within 10 ms (Serial ATA 3.x, 8.4.2)
#define READY_US 10000000  // until it has spun up
#define COMRESET_US 1000   // a.10.4.2

#define PATIENCE 1024 // polls

#define PIECES 8                 // of memory, in a request
#define MOST_BYTES AHCI_PRD_MOST // of a request
#define TRIM_RANGES 64           // of one command: 512 bytes
#define TRIM_MOST (TRIM_RANGES * ATA_TRIM_RANGE)
#define BLOCK_SHIFT_LEAST 9 // 512 or 4096 bytes
#define BLOCK_SHIFT_MOST 12
#define IDENTIFY 8 // beside INGOT_READ...; its data is `trim`

#define PORT(regs, n) ((regs) + PORT_FIRST + (n)*PORT_BYTES)

struct ahci_table { // a.4.2.3
	struct fis_h2d fis;
	uint32_t packet[4];
	// 48 bytes that the HBA has no use for
	uint64_t tag, block;
	uint32_t left; // blocks still to be trimmed from `block` on
	int32_t status;
	uint64_t reserved[3];
	struct ahci_prd prd[PIECES];
};
_Static_assert(sizeof(struct ahci_table) == 256 && offsetof(struct ahci_table, prd) == 128, "command table");

// A port with a disk.  Each slot is free, or in `busy` and exactly one of pending, active and finished.
struct ahci_port {
	volatile uint8_t *regs;
	volatile uint8_t *watch; // register in which bits of `active` vanish: PxSACT or PxCI
	uint32_t busy;           // the slots that there are not, too
	uint32_t pending;        // not yet given to the disk
	uint32_t active;
	uint32_t finished; // to be told by poll
	uint32_t alone;    // of pending and active: not beside others
	uint32_t queued;   // 4: commands with tags (NCQ); 0: one at a time
	uint32_t shift;    // from blocks to bytes
	uint8_t last;      // slot that went alone last
	uint16_t idle;     // polls without a completion
	bool starting;     // after a reset, until `until`
	uint64_t until;    // 0, or when the disk's time is over
	uint64_t reach;    // of the HBA's addresses
	// Memory of one piece: data that begins less than near_bytes behind `near` is as far behind near_phys, all of it.
	uint64_t near, near_phys, near_bytes;
	struct ahci_port *next; // of the same HBA
	struct blk_dev blk;
	uint64_t trim[TRIM_RANGES]; // data of the trim, which goes alone; of IDENTIFY DEVICE
	struct ahci_header list[AHCI_SLOTS] __attribute__((aligned(1024))); // a.4.2.2
	struct ahci_table tables[AHCI_SLOTS];
	struct ahci_fis fis;
};
_Static_assert(offsetof(struct ahci_port, list) == 1024 && offsetof(struct ahci_port, fis) % 256 == 0, "alignment");

// ---- Errors ------------------------------------------------------------------------------------------------------

static int ahci_refuse(void *queue, const struct ingot_blk_req *req)
{
	(void)queue, (void)req;
	return E_IO;
}

// Requests come to their end without the disk.
static void ahci_end(struct ahci_port *p, uint32_t slots, int status)
{
	p->pending &= ~slots;
	p->active &= ~slots;
	p->alone &= ~slots;
	p->finished |= slots;
	for (; slots; slots &= slots - 1)
		p->tables[__builtin_ctz(slots)].status = status;
}

// Takes the port's memory from the HBA (a.10.3).
static void ahci_stop(struct ahci_port *p)
{
	volatile uint8_t *command = p->regs + PORT_CMD;
	mmio_write32(command, PORT_CMD_ON);
	mmio_wait32(command, PORT_CMD_CR, 0, STOP_US);
	mmio_write32(command, PORT_CMD_ON & ~PORT_CMD_FRE);
	mmio_wait32(command, PORT_CMD_FR, 0, STOP_US);
}

// Resets the disk (a.10.4.2); ahci_ready does the rest.
static void ahci_restart(struct ahci_port *p)
{
	ahci_stop(p);
	mmio_write32(p->regs + PORT_CMD, PORT_CMD_ON);
	mmio_write32(p->regs + PORT_SCTL, PORT_SCTL_NO_PM | PORT_SCTL_COMRESET);
	time_delay_us(COMRESET_US);
	mmio_write32(p->regs + PORT_SCTL, PORT_SCTL_NO_PM);
	p->starting = true;
	p->until = time_deadline(READY_US);
}

static void ahci_recover(struct blk_dev *blk)
{
	struct ahci_port *p = container_of(blk, struct ahci_port, blk);
	log("%s: time-out\n", blk->info.name);
	ahci_restart(p);
	ahci_end(p, p->pending | p->active, E_TIMEOUT);
}

// The disk is there after a reset, and takes commands (a.10.1.2).
static bool ahci_ready(struct ahci_port *p)
{
	volatile uint8_t *regs = p->regs;
	if ((mmio_read32(regs + PORT_SSTS) & PORT_SSTS_DET) == PORT_SSTS_DET_READY &&
		!(mmio_read32(regs + PORT_TFD) & (ATA_STATUS_BSY | ATA_STATUS_DRQ))) {
		mmio_write32(regs + PORT_SERR, ~0u);
		mmio_write32(regs + PORT_IS, ~0u);
		mmio_write32(regs + PORT_CMD, PORT_CMD_ON | PORT_CMD_ST);
		p->fis.d2h = p->fis.sdb = 0;
		p->starting = false;
		p->until = 0;
		return true;
	}
	if (time_passed(p->until)) { // given up
		p->blk.submit = ahci_refuse;
		ahci_end(p, p->pending, E_TIMEOUT);
	}
	return false;
}

// An error with `left` of the active requests unfinished.  Which of them it was, the disk would say in a log (t.A.14),
// if it has that; tried again one by one they say so themselves.
static void ahci_fail(struct ahci_port *p, uint32_t left)
{
	uint32_t lost = p->active & left;
	p->finished |= p->active & ~left;
	p->active = 0;
	if (lost & (lost - 1)) {
		p->alone |= lost;
		p->pending |= lost;
	} else {
		ahci_end(p, lost, E_IO);
	}
	ahci_restart(p);
}

// Nothing has come in for a while: is there an error?  The status of one may have been overwritten by that of another
// request; then PxSERR tells.
static __attribute__((noinline)) bool ahci_stuck(struct ahci_port *p)
{
	return mmio_read32(p->regs + PORT_IS) & PORT_IS_FATAL ||
		(p->active & (p->active - 1) && mmio_read32(p->regs + PORT_SERR));
}

// ---- Data path ---------------------------------------------------------------------------------------------------

// The data of a trim (t.7.10.3).  Ranges of no blocks are padding.
static void ahci_trim(struct ahci_port *p, const struct ahci_table *table)
{
	uint64_t block = table->block;
	uint32_t left = table->left;
	for (uint32_t i = 0; i < TRIM_RANGES; i++) {
		uint32_t count = left < ATA_TRIM_RANGE ? left : ATA_TRIM_RANGE;
		p->trim[i] = block | (uint64_t)count << 48;
		block += count;
		left -= count;
	}
}

// Which of the pending requests go next, if some must go alone: nothing beside these, and each in its turn.
static uint32_t ahci_choose(struct ahci_port *p, bool *queued)
{
	uint32_t later = p->pending & ~1u << p->last;
	uint32_t slot = __builtin_ctz(later ? later : p->pending);
	const struct ahci_table *table = &p->tables[slot];
	p->last = slot;
	if (!(p->alone >> slot & 1))
		return p->pending & ~p->alone;
	if (table->left)
		ahci_trim(p, table);
	*queued = table->fis.command >> 4 == ATA_READ_FPDMA_QUEUED >> 4;
	return 1u << slot;
}

static void ahci_kick(struct ahci_port *p)
{
	uint32_t go = p->pending;
	volatile uint8_t *regs = p->regs;
	bool queued = true;
	if (unlikely(p->alone | p->starting)) {
		if (p->active || (p->starting && !ahci_ready(p)))
			return;
		go = ahci_choose(p, &queued);
	}
	p->watch = regs + (queued ? PORT_SACT : PORT_CI);
	p->pending &= ~go;
	p->active |= go;
	if (queued)
		mmio_write32(regs + PORT_SACT, go); // a.5.5.1: first
	mmio_write32(regs + PORT_CI, go);
}

// Describes data to the HBA: the number of pieces, or 0 if they are too many or out of its reach.
static __attribute__((noinline)) uint32_t ahci_scatter(struct ahci_port *p, struct ahci_prd *prd, const char *data,
	uint32_t left)
{
	for (uint32_t count = 1; count <= PIECES; count++, prd++) {
		size_t run;
		uint64_t phys = mem_phys(data, ~0ul >> 1, &run);
		if (!run || phys >= p->reach)
			break;
		run = min_u64(run, p->reach - phys);
		if (run >= MOST_BYTES) {
			p->near = (uintptr_t)data;
			p->near_phys = phys;
			p->near_bytes = run - MOST_BYTES;
		}
		prd->phys = phys;
		prd->last = min_u64(run, left) - 1;
		if (run >= left)
			return count;
		data += run;
		left -= run;
	}
	return 0;
}

// Command, and flags of the header.
#define READS(command) ((command) | AHCI_HEADER_CFL << 8)
#define WRITES(command) ((command) | (AHCI_HEADER_CFL | AHCI_HEADER_WRITE) << 8)

static int ahci_submit(void *queue, const struct ingot_blk_req *req)
{
	// clang-format off
	static const uint16_t commands[] = {
		READS(ATA_READ_DMA_EXT), WRITES(ATA_WRITE_DMA_EXT),
		READS(ATA_FLUSH_CACHE_EXT), WRITES(ATA_DATA_SET_MANAGEMENT),
		READS(ATA_READ_FPDMA_QUEUED), WRITES(ATA_WRITE_FPDMA_QUEUED),
		READS(ATA_FLUSH_CACHE_EXT), WRITES(ATA_DATA_SET_MANAGEMENT), READS(ATA_IDENTIFY_DEVICE)
	};
	// clang-format on
	struct ahci_port *p = queue;
	if (unlikely(!~p->busy)) {
		if (p->pending)
			ahci_kick(p);
		return E_AGAIN;
	}
	uint32_t bytes = req->count << p->shift, pieces = 1, slot = __builtin_ctz(~p->busy);
	struct ahci_table *table = &p->tables[slot];
	const char *data = req->data;
	if (unlikely(req->op >= INGOT_FLUSH)) {
		data = (const char *)p->trim;
		bytes = sizeof(p->trim);
	}
	uint64_t offset = (uintptr_t)data - p->near;
	table->prd[0].phys = p->near_phys + offset;
	table->prd[0].last = bytes - 1;
	if (unlikely(offset >= p->near_bytes)) {
		pieces = ahci_scatter(p, table->prd, data, bytes);
		if (!pieces)
			return E_INVAL;
	}
	uint32_t busy = p->busy | (p->busy + 1), bit = busy ^ p->busy, count = req->count, op = req->op;
	uint64_t block = req->block;
	struct fis_h2d *fis = &table->fis;
	struct ahci_header *header = &p->list[slot];
	uint32_t command = commands[op + p->queued];
	p->busy = busy;
	p->pending |= bit;
	table->tag = req->tag;
	table->left = table->status = 0;
	fis->type = FIS_H2D;
	fis->command = command;
	fis->lba = block;
	fis->lba_high = block >> 24;
	fis->device = FIS_DEVICE_LBA;
	header->table = (uintptr_t)table;
	header->flags = command >> 8;
	header->pieces = pieces;
	if (likely(op < INGOT_FLUSH && p->queued)) {
		fis->features = count;
		fis->features_high = count >> 8;
		count = slot << FIS_TAG_SHIFT;
	} else {
		p->alone |= bit;
		fis->features = 0;
		if (op >= INGOT_FLUSH) {
			fis->lba_high = 0;
			fis->lba = FIS_DEVICE_LBA << 24;
			table->block = block;
			table->left = count;
			fis->features = ATA_DSM_TRIM; // IDENTIFY DEVICE has no use for it, nor for the count
			count = 1;
			if (op == INGOT_FLUSH)
				fis->features = count = table->left = header->pieces = 0;
		}
	}
	fis->count = count;
	return E_OK;
}

// Takes what the disk has finished.  Its FISes in memory say when to look, so that waiting reads no register; but one
// that comes before its register has changed may be missed, and some errors bring none: now and then it looks without.
static uint32_t ahci_look(struct ahci_port *p)
{
	uint32_t active = p->active, came = p->fis.d2h | p->fis.sdb;
	if (!active || (!came && ++p->idle % PATIENCE))
		return 0;
	p->fis.d2h = p->fis.sdb = 0;
	uint32_t left = mmio_read32(p->watch), done = active & ~left;
	if (!came && ahci_stuck(p))
		came = ATA_STATUS_ERR << FIS_STATUS_SHIFT;
	if (came >> FIS_STATUS_SHIFT & ATA_STATUS_ERR) {
		ahci_fail(p, active & (active - 1) ? left : ~0u);
		return p->finished;
	}
	if (!done) {
		if (!p->until)
			p->until = time_deadline(BLK_TIMEOUT_US);
		else if (time_passed(p->until))
			ahci_recover(&p->blk);
		return p->finished;
	}
	p->until = 0;
	p->active = active & left;
	if (unlikely(p->alone & done)) {
		struct ahci_table *table = &p->tables[__builtin_ctz(done)];
		if (table->left > TRIM_MOST) {
			table->left -= TRIM_MOST;
			table->block += TRIM_MOST;
			p->pending |= done;
			return 0;
		}
		p->alone &= ~done;
	}
	return p->finished = done;
}

static uint32_t ahci_poll(void *queue, struct ingot_blk_done *done, uint32_t max)
{
	struct ahci_port *p = queue;
	struct ingot_blk_done *from = done, *end = done + max;
	if (p->pending)
		ahci_kick(p);
	uint32_t finished = p->finished;
	if (!finished)
		finished = ahci_look(p);
	for (; finished && done != end; done++, finished &= finished - 1) {
		const struct ahci_table *table = &p->tables[__builtin_ctz(finished)];
		done->tag = table->tag;
		done->status = table->status;
	}
	p->busy ^= p->finished ^ finished;
	p->finished = finished;
	return done - from;
}

// ---- Set-up ------------------------------------------------------------------------------------------------------

static const struct blk_ops ahci_ops = { .recover = ahci_recover };

// What IDENTIFY DEVICE says (t.7.13).
static int ahci_describe(struct ahci_port *p, uint32_t cap)
{
	const uint16_t *id = (const uint16_t *)p->trim;
	struct ingot_blk_info *info = &p->blk.info;
	uint32_t depth = (cap >> HBA_CAP_NCS_SHIFT & 31) + 1;
	p->shift = BLOCK_SHIFT_LEAST;
	if ((id[ID_SECTOR_SIZE] & ID_SECTOR_SIZE_MASK) == ID_SECTOR_SIZE_OTHER) {
		p->shift = BLOCK_SHIFT_MOST;
		if (id[ID_SECTOR_WORDS] << 1 != 1 << BLOCK_SHIFT_MOST)
			return E_NOTSUP;
	}
	if (!(id[ID_COMMANDS] & ID_COMMANDS_LBA48))
		return E_NOTSUP;
	if (cap & HBA_CAP_SNCQ && id[ID_SATA] & ID_SATA_NCQ) {
		p->queued = 4;
		depth = clamp_u32((id[ID_QUEUE_DEPTH] & 31) + 1, 1, depth);
	}
	p->busy = ~1u << (depth - 1);
	info->block_bytes = 1u << p->shift;
	info->blocks = *(const uint64_t *)(id + ID_SECTORS) << 16 >> 16;
	info->max_blocks = MOST_BYTES >> p->shift;
	info->queues = 1;
	info->depth = depth;
	info->align = 2;
	info->features =
		(id[ID_ENABLED] & ID_ENABLED_CACHE ? INGOT_BLK_FLUSH : 0) | (id[ID_DSM] & ID_DSM_TRIM ? INGOT_BLK_DISCARD : 0);
	return E_OK;
}

// A port has found something.  Asks what it is, which begins with waiting until it has spun up: bounded by ahci_ready
// and ahci_look.
static int ahci_start(struct ahci_port *p, uint32_t cap)
{
	struct ingot_blk_req *identify = (void *)p->trim; // blank up to now
	volatile uint8_t *regs = p->regs;
	struct ingot_blk_done done;
	mmio_write32(regs + PORT_CLB, (uintptr_t)p->list);
	mmio_write32(regs + PORT_CLB + 4, (uint64_t)(uintptr_t)p->list >> 32);
	mmio_write32(regs + PORT_FB, (uintptr_t)&p->fis);
	mmio_write32(regs + PORT_FB + 4, (uint64_t)(uintptr_t)&p->fis >> 32);
	mmio_write32(regs + PORT_CMD, PORT_CMD_ON);
	p->reach = cap & HBA_CAP_S64A ? ~0ul : 1ul << 32;
	p->starting = true;
	identify->op = IDENTIFY;
	ahci_submit(p, identify);
	while (!ahci_poll(p, &done, 1))
		;
	if (mmio_read32(regs + PORT_SIG) == PORT_SIG_ATAPI)
		return E_NODEV;
	if (done.status == E_OK)
		done.status = ahci_describe(p, cap);
	return done.status == E_OK ? blk_register(&p->blk) : done.status;
}

// From the firmware, and through a reset of everything (a.10.6.3, a.10.4.3).
static int ahci_reset(volatile uint8_t *regs)
{
	if (mmio_read32(regs + HBA_CAP2) & HBA_CAP2_BOH) {
		mmio_write32(regs + HBA_BOHC, HBA_BOHC_OOS);
		mmio_wait32(regs + HBA_BOHC, HBA_BOHC_BOS, 0, HANDOFF_US);
	}
	mmio_write32(regs + HBA_GHC, HBA_GHC_AE);
	mmio_write32(regs + HBA_GHC, HBA_GHC_AE | HBA_GHC_HR);
	int rc = mmio_wait32(regs + HBA_GHC, HBA_GHC_HR, 0, RESET_US);
	mmio_write32(regs + HBA_GHC, HBA_GHC_AE);
	return rc;
}

// Port `n`, if something is there.
static struct ahci_port *ahci_port(struct device *dev, volatile uint8_t *regs, uint32_t n, uint32_t cap, uint64_t until)
{
	if (!(mmio_read32(regs + PORT_SSTS) & PORT_SSTS_DET))
		return NULL;
	log(" port %u", n);
	struct ahci_port *p = mem_alloc(sizeof(*p), 1024);
	int rc = E_NOMEM;
	if (p) {
		struct blk_dev *blk = &p->blk;
		p->regs = regs;
		p->until = until;
		blk->submit = ahci_submit;
		blk->poll = ahci_poll;
		blk->ops = &ahci_ops;
		blk->dev = dev;
		blk->kind = BLK_AHCI;
		blk->queue[0] = p;
		rc = ahci_start(p, cap);
		if (rc == E_OK)
			return p;
		ahci_stop(p);
		kfree(p, sizeof(*p));
	}
	log(rc == E_NODEV ? " ATAPI" : " error %u", -rc);
	return NULL;
}

static int ahci_probe(struct device *dev, const struct dev_id *row)
{
	struct pci_dev *pci = to_pci(dev);
	volatile uint8_t *regs = pci_map_bar(pci, AHCI_BAR);
	(void)row;
	if (!regs)
		return E_INVAL;
	pci_enable(pci);
	uint32_t cap = mmio_read32(regs + HBA_CAP), implemented = mmio_read32(regs + HBA_PI);
	int rc = ahci_reset(regs);
	if (rc != E_OK) {
		log(" no reset");
		pci_disable(pci);
		return rc;
	}
	// All start together, also where the HBA leaves that to us (a.10.1.1), and have the same time to find something,
	// and then to spin up.
	if (pci->bar[AHCI_BAR].bytes < PORT_END)
		implemented &= (1u << (pci->bar[AHCI_BAR].bytes - PORT_FIRST) / PORT_BYTES) - 1;
	for (uint32_t n = 0; n < AHCI_PORTS; n++)
		if (implemented >> n & 1) {
			mmio_write32(PORT(regs, n) + PORT_SCTL, PORT_SCTL_NO_PM);
			mmio_write32(PORT(regs, n) + PORT_CMD, PORT_CMD_SUD | PORT_CMD_POD);
		}
	uint64_t until = time_deadline(READY_US);
	struct ahci_port **link = (struct ahci_port **)&dev->drvdata;
	*link = NULL;
	time_delay_us(PRESENCE_US);
	for (uint32_t n = 0; n < AHCI_PORTS; n++)
		if (implemented >> n & 1 && (*link = ahci_port(dev, PORT(regs, n), n, cap, until)))
			link = &(*link)->next;
	return E_OK;
}

// The reset ends everything.
static void ahci_remove(struct device *dev)
{
	struct pci_dev *pci = to_pci(dev);
	struct ahci_port *p = dev->drvdata, *next;
	ahci_reset(pci_map_bar(pci, AHCI_BAR));
	pci_disable(pci);
	for (; p; p = next) {
		next = p->next;
		blk_unregister(&p->blk);
		kfree(p, sizeof(*p));
	}
}

static const struct dev_id ahci_ids[] = { DEV_ID_CLASS(0x010601, 0xFFFFFF, 0) };
static const struct driver ahci = { "ahci", DEV_IDS(ahci_ids), .probe = ahci_probe, .remove = ahci_remove };
PCI_DRIVER(ahci);
