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

#define RESET_US 1000000	// a.10.4.3
#define HANDOFF_US 2000000	// a.10.6.3
#define STOP_US 500000		// a.10.3.1
#define PRESENCE_US 30000	// a disk answers COMRESET within 10 ms (SATA, out of band signalling)
#define READY_US 10000000	// until it has spun up
#define COMRESET_US 1000	// a.10.4.2

#define PIECES 6		// of memory, in a request
#define MOST_BYTES AHCI_PRD_MOST	// of a request
#define TRIM_RANGES 64		// of one command: 512 bytes
#define TRIM_MOST (TRIM_RANGES * ATA_TRIM_RANGE)
#define BLOCK_SHIFT_LEAST 9
#define BLOCK_SHIFT_MOST 12

#define PORT(regs, n) ((regs) + HBA_PORT_FIRST + (n) * HBA_PORT_BYTES)

struct ahci_table {		// a.4.2.3
	uint32_t fis[16], packet[4], reserved[12];
	struct ahci_prd prd[PIECES];
	// Ours
	uint64_t tag, block;
	uint32_t left;		// blocks still to be trimmed from `block` on
	int32_t status;
	uint64_t pad;
};
_Static_assert(sizeof(struct ahci_table) == 256 && offsetof(struct ahci_table, prd) == 128, "command table");

// A port with a disk.  Each slot is free, or in `busy` and exactly one of pending, active and finished.
struct ahci_port {
	volatile uint8_t *regs;
	volatile uint8_t *watch;	// register in which bits of `active` vanish: PxSACT or PxCI
	uint32_t busy;			// the slots that there are not, too
	uint32_t pending;		// not yet given to the disk
	uint32_t active;
	uint32_t finished;		// to be told by poll
	uint32_t alone;			// of pending and active: not beside others
	uint32_t queued;		// 4: commands with tags (NCQ); 0: one at a time
	uint32_t shift;			// from blocks to bytes
	uint8_t last;			// slot that went alone last
	uint8_t idle;			// polls without a completion
	bool starting;			// after a reset, until `until`
	uint64_t until;			// 0, or when the disk's time is over
	uint64_t reach;			// last address that the HBA can access
	struct blk_dev blk;
	uint64_t trim[TRIM_RANGES];	// data of the trim, which goes alone; of IDENTIFY DEVICE
	struct ahci_header list[AHCI_SLOTS] __attribute__((aligned(1024)));	// a.4.2.2
	struct ahci_table tables[AHCI_SLOTS];
	struct ahci_fis fis;
};
_Static_assert(offsetof(struct ahci_port, list) == 1024 && offsetof(struct ahci_port, fis) % 256 == 0, "alignment");

struct ahci {
	volatile uint8_t *regs;
	struct ahci_port *ports[AHCI_PORTS];	// those with disks
};

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

// Takes the command list from the HBA (a.10.3.1).
static void ahci_stop(struct ahci_port *p)
{
	mmio_write32(p->regs + PORT_CMD, PORT_CMD_ON);
	mmio_wait32(p->regs + PORT_CMD, PORT_CMD_CR, 0, STOP_US);
}

// Resets the disk (a.10.4.2); ahci_ready does the rest.
static void ahci_restart(struct ahci_port *p)
{
	ahci_stop(p);
	mmio_write32(p->regs + PORT_SCTL, PORT_SCTL_NO_PM | PORT_SCTL_COMRESET);
	time_delay_us(COMRESET_US);
	mmio_write32(p->regs + PORT_SCTL, PORT_SCTL_NO_PM);
	p->starting = true;
	p->until = time_deadline(READY_US);
}

static void ahci_recover(struct blk_dev *blk)
{
	struct ahci_port *p = container_of(blk, struct ahci_port, blk);
	ahci_restart(p);
	ahci_end(p, p->pending | p->active, E_TIMEOUT);
}

// The disk is there after a reset, and takes commands (a.10.1.2).
static bool ahci_ready(struct ahci_port *p)
{
	volatile uint8_t *regs = p->regs;
	if ((mmio_read32(regs + PORT_SSTS) & PORT_SSTS_DET) == PORT_SSTS_DET_READY &&
	    !(mmio_read32(regs + PORT_TFD) & (ATA_STATUS_BSY | ATA_STATUS_DRQ)) &&
	    !(mmio_read32(regs + PORT_CMD) & PORT_CMD_CR)) {
		mmio_write32(regs + PORT_SERR, ~0u);
		mmio_write32(regs + PORT_IS, ~0u);
		mmio_write32(regs + PORT_CMD, PORT_CMD_ON | PORT_CMD_ST);
		p->fis.d2h = p->fis.sdb = 0;
		p->starting = false;
		p->until = 0;
		return true;
	}
	if (time_passed(p->until)) {	// given up
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
	if (lost & (lost - 1)) {
		p->active = 0;
		p->alone |= lost;
		p->pending |= lost;
	} else {
		ahci_end(p, lost, E_IO);
	}
	ahci_restart(p);
}

// Nothing has come in for a while: is there an error?
static bool ahci_stuck(struct ahci_port *p)
{
	volatile uint8_t *regs = p->regs;
	// The status of an error may have been overwritten by that of another request.
	return mmio_read32(regs + PORT_IS) & PORT_IS_FATAL || mmio_read32(regs + PORT_TFD) & ATA_STATUS_ERR ||
		(p->active & (p->active - 1) && mmio_read32(regs + PORT_SERR));
}

// ---- Data path ---------------------------------------------------------------------------------------------------

// The data of a trim (t.7.10.3).  Ranges of no blocks are padding.
static void ahci_trim(struct ahci_port *p, const struct ahci_table *table)
{
	uint64_t block = table->block;
	uint32_t left = table->left;
	for (uint32_t i = 0; i < TRIM_RANGES; i++) {
		uint32_t count = min_u64(left, ATA_TRIM_RANGE);
		p->trim[i] = block | (uint64_t)count << 48;
		block += count;
		left -= count;
	}
}

// Which of the pending requests go next, if some must go alone: nothing beside these, and each in its turn.
static uint32_t ahci_choose(struct ahci_port *p)
{
	if (p->active || (p->starting && !ahci_ready(p)))
		return 0;
	uint32_t later = p->pending & ~1u << p->last;
	uint32_t slot = __builtin_ctz(later ? later : p->pending);
	const struct ahci_table *table = &p->tables[slot];
	p->last = slot;
	if (!(p->alone >> slot & 1))
		return p->pending & ~p->alone;
	if (table->left)
		ahci_trim(p, table);
	if ((table->fis[0] >> (FIS_COMMAND_SHIFT + 4) & 15) != ATA_READ_FPDMA_QUEUED >> 4)
		p->watch = p->regs + PORT_CI;
	return 1u << slot;
}

static void ahci_kick(struct ahci_port *p)
{
	uint32_t go = p->pending;
	volatile uint8_t *regs = p->regs;
	p->watch = regs + PORT_SACT;
	if (unlikely(p->alone | p->starting)) {
		go = ahci_choose(p);
		if (!go)
			return;
	}
	p->pending &= ~go;
	p->active |= go;
	if (p->watch == regs + PORT_SACT)
		mmio_write32(regs + PORT_SACT, go);	// a.5.5.1: first
	mmio_write32(regs + PORT_CI, go);
}

static int ahci_submit(void *queue, const struct ingot_blk_req *req)
{
	static const uint8_t commands[] = {
		ATA_READ_DMA_EXT, ATA_WRITE_DMA_EXT, ATA_FLUSH_CACHE_EXT, ATA_DATA_SET_MANAGEMENT,
		ATA_READ_FPDMA_QUEUED, ATA_WRITE_FPDMA_QUEUED, ATA_FLUSH_CACHE_EXT, ATA_DATA_SET_MANAGEMENT
	};
	struct ahci_port *p = queue;
	if (unlikely(!~p->busy)) {
		if (p->pending)
			ahci_kick(p);
		return E_AGAIN;
	}
	uint32_t slot = __builtin_ctz(~p->busy), op = req->op, count = req->count, alone = 1u << slot;
	struct ahci_table *table = &p->tables[slot];
	uint32_t fis = FIS_H2D | commands[op + p->queued] << FIS_COMMAND_SHIFT, high = 0, left = count << p->shift;
	uint64_t block = req->block;
	const char *data = req->data;
	table->left = 0;
	if (unlikely(op >= INGOT_FLUSH)) {
		left = 0;
		if (op == INGOT_DISCARD) {
			fis |= ATA_DSM_TRIM << FIS_HIGH_SHIFT;
			table->block = block;
			table->left = count;
			data = (const char *)p->trim;
			left = sizeof(p->trim);
		}
		count = left >> BLOCK_SHIFT_LEAST;
		block = 0;
	} else if (p->queued) {		// t.7.28: the length lies in the features, the tag in the count
		fis |= count << FIS_HIGH_SHIFT;
		high = count >> 8 << FIS_HIGH_SHIFT;
		count = slot << FIS_TAG_SHIFT;
		alone = 0;
	}
	table->fis[0] = fis;
	table->fis[1] = (block & 0xFFFFFF) | FIS_DEVICE_LBA;
	table->fis[2] = block >> 24 | high;
	table->fis[3] = count;
	struct ahci_prd *prd = table->prd;
	while (left) {
		size_t run;
		uint64_t phys = mem_phys(data, left, &run);
		if (!run || prd == table->prd + PIECES || phys + run - 1 > p->reach)
			return E_INVAL;
		prd->phys = phys;
		prd->last = run - 1;
		prd++;
		data += run;
		left -= run;
	}
	p->list[slot].flags = AHCI_HEADER_CFL | (op & 1) << AHCI_HEADER_WRITE_SHIFT |
		(uint32_t)(prd - table->prd) << AHCI_HEADER_PRDTL_SHIFT;
	table->tag = req->tag;
	table->status = E_OK;
	p->alone |= alone;
	p->busy |= 1u << slot;
	p->pending |= 1u << slot;
	return E_OK;
}

// Takes what the disk has finished.  Its FISes in memory say when to look, so that waiting reads no register; but one that comes
// before its register has changed may be missed, and some errors bring none: so now and then it looks without.
static uint32_t ahci_look(struct ahci_port *p)
{
	uint32_t active = p->active, came = p->fis.d2h | p->fis.sdb;
	if (!active || (!came && ++p->idle))
		return 0;
	p->fis.d2h = p->fis.sdb = 0;
	uint32_t left = mmio_read32(p->watch), done = active & ~left;
	if (came ? came >> FIS_STATUS_SHIFT & ATA_STATUS_ERR : ahci_stuck(p)) {
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
	uint32_t count = 0, freed = 0;
	if (p->pending)
		ahci_kick(p);
	uint32_t finished = p->finished;
	if (!finished && !(finished = ahci_look(p)))
		return 0;
	while (finished && count < max) {
		const struct ahci_table *table = &p->tables[__builtin_ctz(finished)];
		done[count].tag = table->tag;
		done[count++].status = table->status;
		freed |= finished & -finished;
		finished &= finished - 1;
	}
	p->finished = finished;
	p->busy &= ~freed;
	return count;
}

// ---- Set-up ------------------------------------------------------------------------------------------------------

static const struct blk_ops ahci_ops = { .recover = ahci_recover };

// What IDENTIFY DEVICE says (t.7.13).
static int ahci_describe(struct ahci_port *p, uint32_t cap)
{
	const uint16_t *id = (const uint16_t *)p->trim;
	struct ingot_blk_info *info = &p->blk.info;
	uint32_t bytes = 1u << BLOCK_SHIFT_LEAST, depth = (cap >> HBA_CAP_NCS_SHIFT & 31) + 1;
	if ((id[ID_SECTOR_SIZE] & ID_SECTOR_SIZE_MASK) == ID_SECTOR_SIZE_OTHER)
		bytes = (id[ID_SECTOR_WORDS] | (uint32_t)id[ID_SECTOR_WORDS + 1] << 16) * 2;
	p->shift = BLOCK_SHIFT_LEAST;
	while (p->shift < BLOCK_SHIFT_MOST && 1u << p->shift < bytes)
		p->shift++;
	info->blocks = *(const uint64_t *)(id + ID_SECTORS) << 16 >> 16;
	if (1u << p->shift != bytes || !(id[ID_COMMANDS] & ID_COMMANDS_LBA48) || !info->blocks)
		return E_NOTSUP;
	if (cap & HBA_CAP_SNCQ && id[ID_SATA] & ID_SATA_NCQ) {
		p->queued = 4;
		depth = min_u64(depth, (id[ID_QUEUE_DEPTH] & 31) + 1);
	}
	p->busy = ~0u << 1 << (depth - 1);
	info->block_bytes = bytes;
	info->max_blocks = MOST_BYTES >> p->shift;
	info->queues = 1;
	info->depth = depth;
	info->align = 2;
	info->features = (id[ID_ENABLED] & ID_ENABLED_CACHE ? INGOT_BLK_FLUSH : 0) |
		(id[ID_DSM] & ID_DSM_TRIM ? INGOT_BLK_DISCARD : 0);
	return E_OK;
}

// Asks the disk what it is, which begins with waiting until it has spun up.  Bounded by ahci_ready and ahci_look.
static int ahci_identify(struct ahci_port *p)
{
	struct ingot_blk_done done;
	struct ahci_table *table = p->tables;
	table->fis[0] = FIS_H2D | ATA_IDENTIFY_DEVICE << FIS_COMMAND_SHIFT;
	table->prd[0].phys = (uintptr_t)p->trim;
	table->prd[0].last = sizeof(p->trim) - 1;
	p->list[0].flags = AHCI_HEADER_CFL | 1 << AHCI_HEADER_PRDTL_SHIFT;
	p->busy = p->pending = p->alone = 1;
	while (!ahci_poll(p, &done, 1))
		;
	return done.status;
}

// The port has found a disk.
static int ahci_port_start(struct ahci_port *p, uint32_t cap)
{
	volatile uint8_t *regs = p->regs;
	for (uint32_t i = 0; i < AHCI_SLOTS; i++)
		p->list[i].table = (uintptr_t)&p->tables[i];
	p->reach = cap & HBA_CAP_S64A ? ~0ul : ~0u;
	p->starting = true;
	mmio_write32(regs + PORT_CLB, (uintptr_t)p->list);
	mmio_write32(regs + PORT_CLB + 4, (uint64_t)(uintptr_t)p->list >> 32);
	mmio_write32(regs + PORT_FB, (uintptr_t)&p->fis);
	mmio_write32(regs + PORT_FB + 4, (uint64_t)(uintptr_t)&p->fis >> 32);
	mmio_write32(regs + PORT_CMD, PORT_CMD_ON);
	int rc = ahci_identify(p);
	if (rc == E_OK)
		rc = ahci_describe(p, cap);
	if (rc == E_OK)
		rc = blk_register(&p->blk);
	else if (mmio_read32(regs + PORT_SIG) == PORT_SIG_ATAPI)
		log(" ATAPI");
	else
		log(" error %u", -rc);
	return rc;
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

// Starts all ports together and returns those that have found something (a.10.1.2, a.10.1.1 for staggered spin-up).
static uint32_t ahci_detect(volatile uint8_t *regs, uint32_t implemented)
{
	uint32_t found = 0;
	uint64_t end = time_deadline(PRESENCE_US);
	for (uint32_t left = implemented; left; left &= left - 1) {
		volatile uint8_t *port = PORT(regs, __builtin_ctz(left));
		mmio_write32(port + PORT_SCTL, PORT_SCTL_NO_PM);
		mmio_write32(port + PORT_CMD, PORT_CMD_SUD | PORT_CMD_POD);
	}
	for (;;) {
		for (uint32_t left = implemented & ~found; left; left &= left - 1)
			if (mmio_read32(PORT(regs, __builtin_ctz(left)) + PORT_SSTS) & PORT_SSTS_DET)
				found |= left & -left;
		if (found == implemented || time_passed(end))
			return found;
		time_delay_us(PRESENCE_US / 32);
	}
}

static void ahci_free(struct ahci *hba, struct pci_dev *pci)
{
	pci_disable(pci);
	for (uint32_t n = 0; n < AHCI_PORTS; n++)
		kfree(hba->ports[n], sizeof(*hba->ports[n]));
	kfree(hba, sizeof(*hba));
}

static int ahci_probe(struct device *dev, const struct dev_id *row)
{
	struct pci_dev *pci = to_pci(dev);
	volatile uint8_t *regs;
	struct ahci *hba;
	(void)row;
	if (pci->bar[AHCI_BAR].bytes < HBA_PORT_FIRST || !(regs = pci_map_bar(pci, AHCI_BAR)))
		return E_INVAL;
	if (!(hba = kzalloc(sizeof(*hba))))
		return E_NOMEM;
	pci_enable(pci);
	hba->regs = regs;
	dev->drvdata = hba;
	uint32_t cap = mmio_read32(regs + HBA_CAP), implemented = mmio_read32(regs + HBA_PI);
	uint32_t room = min_u64((pci->bar[AHCI_BAR].bytes - HBA_PORT_FIRST) / HBA_PORT_BYTES, AHCI_PORTS);
	int rc = ahci_reset(regs);
	if (rc != E_OK) {
		log(" no reset");
		ahci_free(hba, pci);
		return rc;
	}
	uint64_t end = time_deadline(READY_US);
	for (uint32_t left = ahci_detect(regs, implemented & ((1ul << room) - 1)); left; left &= left - 1) {
		uint32_t n = __builtin_ctz(left);
		struct ahci_port *p = mem_alloc(sizeof(*p), 1024);
		log(" port %u", n);
		if (!p) {
			log(" no memory");
			continue;
		}
		p->regs = PORT(regs, n);
		p->until = end;
		p->blk.submit = ahci_submit;
		p->blk.poll = ahci_poll;
		p->blk.ops = &ahci_ops;
		p->blk.dev = dev;
		p->blk.kind = BLK_AHCI;
		p->blk.queue[0] = p;
		if (ahci_port_start(p, cap) == E_OK) {
			hba->ports[n] = p;
			continue;
		}
		ahci_stop(p);
		mmio_write32(p->regs + PORT_CMD, 0);
		mmio_wait32(p->regs + PORT_CMD, PORT_CMD_FR, 0, STOP_US);
		kfree(p, sizeof(*p));
	}
	return E_OK;
}

// The reset ends everything.
static void ahci_remove(struct device *dev)
{
	struct ahci *hba = dev->drvdata;
	for (uint32_t n = 0; n < AHCI_PORTS; n++)
		if (hba->ports[n])
			blk_unregister(&hba->ports[n]->blk);
	ahci_reset(hba->regs);
	ahci_free(hba, to_pci(dev));
}

static const struct dev_id ahci_ids[] = { DEV_ID_CLASS(0x010601, 0xFFFFFF, 0) };
static const struct driver ahci = { "ahci", DEV_IDS(ahci_ids), .probe = ahci_probe, .remove = ahci_remove };
PCI_DRIVER(ahci);
