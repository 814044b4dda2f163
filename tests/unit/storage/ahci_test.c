// The AHCI driver and the class of drives above it, against a controller that knows its specification ("a." = section
// of AHCI 1.3.1) and disks of memory behind it.
#include "fake.h"
#include <pci.h>
#include <program.h>
#include <storage/ahci_regs.h>

#define PORTS 6
#define DISK_BYTES (1 << 20)
#define CAP ((PORTS - 1) | 31 << HBA_CAP_NCS_SHIFT | HBA_CAP_SNCQ | HBA_CAP_S64A)

enum what { EMPTY, DISK, DVD };

struct port {
	enum what what;
	uint32_t reg[PORT_BYTES / 4];
	uint16_t identity[ID_WORDS] __attribute__((aligned(8)));
	uint32_t sector; // bytes
	uint64_t base;   // sector where the memory begins
	uint8_t bytes[DISK_BYTES];
	uint32_t waiting, failed; // slots
	bool asleep;              // commands wait
	bool deaf;                // does not come back from a reset
	bool overwritten;         // an error's status is lost, PxSERR has it
	bool mute;                // posts no FIS
	uint64_t bad;             // sector that can't be accessed
	uint64_t trimmed, trims, flushes;
	uint32_t resets, commands, alone;
	uint32_t order[256]; // first sectors, as they were served
};
static struct port ports[PORTS];
static uint32_t cap, ghc, cap2, bohc, hba_resets;
static bool no_reset, master;
static struct fake_mmio window;
static uint8_t registers[PORT_END];
static struct pci_dev pci;
static const struct driver *drv;
static uint8_t data[DISK_BYTES] __attribute__((aligned(4096)));

volatile void *pci_map_bar(struct pci_dev *dev, uint32_t n)
{
	assert_int_equal(n, AHCI_BAR);
	return fake_map_refuse ? NULL : registers;
}

void pci_enable(struct pci_dev *dev)
{
	master = true;
}

void pci_disable(struct pci_dev *dev)
{
	master = false;
}

static uint64_t low; // an HBA of 32 bits: `data` is at this address, the kernel's memory at LOW_HEAP
static char *heap;
#define LOW_HEAP 0x10000000ul
static uint64_t pages(const void *ptr, size_t len, size_t *run)
{
	size_t page = 4096 - ((uintptr_t)ptr & 4095);
	*run = len > page ? page : len;
	if (!low)
		return (uintptr_t)ptr;
	if ((uintptr_t)ptr - (uintptr_t)data < sizeof(data))
		return (uintptr_t)ptr - (uintptr_t)data + low;
	heap = (char *)ptr;
	return LOW_HEAP;
}

static void *memory(uint64_t phys)
{
	return !low ? (void *)phys : phys == LOW_HEAP ? (void *)heap : (void *)(data + (phys - low));
}

// ---- The controller ------------------------------------------------------------------------------------------

static uint32_t *reg(struct port *port, uint32_t offset)
{
	return &port->reg[offset / 4];
}

static void *received(struct port *port)
{
	uint64_t at = *reg(port, PORT_FB) | (uint64_t)*reg(port, PORT_FB + 4) << 32;
	assert_true(master && at && at % 256 == 0);
	return (void *)at;
}

static void post(struct port *port, uint32_t offset, uint8_t type, uint32_t status)
{
	if (*reg(port, PORT_CMD) & PORT_CMD_FRE && !port->mute)
		*(uint32_t *)((char *)received(port) + offset) = type | status << 16;
}

static void link_up(struct port *port)
{
	*reg(port, PORT_SSTS) = port->what ? 0x123 : 0;
	*reg(port, PORT_TFD) = !port->what ? 0x7F : port->deaf ? ATA_STATUS_BSY : 0x50u;
	*reg(port, PORT_SIG) = port->what == DVD ? PORT_SIG_ATAPI : 0x101;
	*reg(port, PORT_SERR) = 0x04050000;
	*reg(port, PORT_IS) = PORT_IS_PCS | PORT_IS_PRCS;
	port->waiting = port->failed = 0;
	if (port->what && !port->deaf)
		post(port, 0x40, 0x34, 0x0150);
}

static void stop(struct port *port)
{
	*reg(port, PORT_CI) = *reg(port, PORT_SACT) = port->waiting = 0;
}

static void answer(struct port *port, uint32_t slot, bool queued, bool good)
{
	uint32_t bit = 1u << slot;
	if (good)
		*reg(port, queued ? PORT_SACT : PORT_CI) &= ~bit;
	if (queued)
		*reg(port, PORT_CI) &= ~bit;
	if (!good) {
		port->failed |= bit;
		port->waiting = 0; // the disk takes no more
		if (port->overwritten && *reg(port, PORT_SACT) & (*reg(port, PORT_SACT) - 1)) {
			*reg(port, PORT_SERR) = bit;
			return;
		}
		*reg(port, PORT_IS) |= PORT_IS_TFES;
		*reg(port, PORT_TFD) = 0x41;
	}
	post(port, queued ? 0x58 : 0x40, queued ? 0xA1 : 0x34, good ? 0x50u : 0x41u);
}

static void serve(struct port *port, uint32_t slot)
{
	uint64_t list = *reg(port, PORT_CLB) | (uint64_t)*reg(port, PORT_CLB + 4) << 32;
	assert_true(master && list && list % 1024 == 0);
	const struct ahci_header *header = (const struct ahci_header *)list + slot;
	assert_true(header->table % 128 == 0);
	const struct fis_h2d *fis = (const struct fis_h2d *)header->table;
	const struct ahci_prd *prd = (const struct ahci_prd *)(header->table + 128), *end = prd + header->pieces;
	bool queued = fis->command == ATA_READ_FPDMA_QUEUED || fis->command == ATA_WRITE_FPDMA_QUEUED;
	uint64_t lba = (fis->lba & 0xFFFFFF) | (uint64_t)(fis->lba_high & 0xFFFFFF) << 24;
	uint32_t count = queued ? fis->features | (uint32_t)fis->features_high << 8 : fis->count, bytes = 0;
	assert_int_equal(fis->type, 0x8027);
	assert_int_equal(header->flags & 0x1F, 5);
	port->order[port->commands++ % 256] = lba;
	if (port->what == DVD)
		return answer(port, slot, false, false);
	for (const struct ahci_prd *at = prd; at < end; at++) {
		assert_true(at->phys % 2 == 0 && at->last % 2 == 1 && at->last < AHCI_PRD_MOST);
		bytes += at->last + 1;
	}
	switch (fis->command) {
	case ATA_IDENTIFY_DEVICE:
		assert_true(header->flags == 5 && bytes == 512 && header->pieces == 1);
		memcpy(memory(prd->phys), port->identity, 512);
		break;
	case ATA_FLUSH_CACHE_EXT:
		assert_true(header->flags == 5 && !bytes);
		port->flushes++;
		break;
	case ATA_DATA_SET_MANAGEMENT:
		assert_true(header->flags == 0x45 && bytes == 512 && fis->features == 1 && fis->count == 1 && !lba);
		port->trims++;
		for (uint32_t i = 0; i < 64; i++) {
			uint64_t range = ((const uint64_t *)memory(prd->phys))[i];
			if (range >> 48)
				assert_int_equal(range << 16 >> 16, port->base + port->trimmed);
			port->trimmed += range >> 48;
		}
		break;
	default:
		assert_true(queued || fis->command == ATA_READ_DMA_EXT || fis->command == ATA_WRITE_DMA_EXT);
		assert_int_equal(fis->device, 0x40);
		if (queued)
			assert_int_equal(fis->count, slot << 3);
		assert_int_equal(bytes, count * port->sector);
		assert_true(lba >= port->base && (lba - port->base) * port->sector + bytes <= DISK_BYTES);
		if (port->bad - lba < count)
			return answer(port, slot, queued, false);
		for (uint8_t *at = port->bytes + (lba - port->base) * port->sector; prd < end; at += prd++->last + 1)
			if (fis->command == ATA_WRITE_DMA_EXT || fis->command == ATA_WRITE_FPDMA_QUEUED) {
				assert_int_equal(header->flags, 0x45);
				memcpy(at, memory(prd->phys), prd->last + 1);
			} else {
				assert_int_equal(header->flags, 5);
				memcpy(memory(prd->phys), at, prd->last + 1);
			}
	}
	answer(port, slot, queued, true);
}

// Lets a disk that sleeps do these.
static void wake(struct port *port, uint32_t slots)
{
	for (uint32_t slot = 0; slot < 32; slot++)
		if (port->waiting & slots & 1u << slot) {
			port->waiting &= ~(1u << slot);
			serve(port, slot);
		}
}

static void issue(struct port *port, uint32_t slots)
{
	uint32_t running = *reg(port, PORT_CI) | *reg(port, PORT_SACT), queued = *reg(port, PORT_SACT) & slots;
	assert_true(*reg(port, PORT_CMD) & PORT_CMD_ST);
	assert_int_equal(*reg(port, PORT_CI) & slots, 0);
	if (!queued) { // one at a time, and not beside queued ones (a.1.6, a.5.5)
		assert_true(!running && !(slots & (slots - 1)));
		port->alone++;
	} else {
		assert_int_equal(queued, slots);
	}
	*reg(port, PORT_CI) |= slots;
	port->waiting |= slots;
	if (!port->asleep)
		wake(port, slots);
}

static void port_write(struct port *port, uint32_t offset, uint32_t value)
{
	uint32_t *to = reg(port, offset), old = *to;
	switch (offset) {
	case PORT_SERR:
	case PORT_IS:
		*to &= ~value;
		return;
	case PORT_CI:
		return issue(port, value);
	case PORT_SACT:
		assert_int_equal((*to & value), 0);
		*to |= value;
		return;
	case PORT_CMD:
		if (value & PORT_CMD_ST) {
			assert_true(value & PORT_CMD_FRE && !(*reg(port, PORT_TFD) & 0x88));
			value |= PORT_CMD_CR;
		} else {
			stop(port);
		}
		if (old & PORT_CMD_FRE && !(value & PORT_CMD_FRE))
			assert_false(old & PORT_CMD_ST); // a.10.3.2
		if (value & PORT_CMD_FRE) {
			received(port);
			value |= PORT_CMD_FR;
		}
		break;
	case PORT_SCTL:
		assert_false(*reg(port, PORT_CMD) & PORT_CMD_ST);
		if (old & 1 && !(value & 1)) {
			port->resets++;
			*to = value;
			return link_up(port);
		}
		break;
	}
	*to = value;
}

static void hba_reset(void)
{
	hba_resets++;
	for (uint32_t i = 0; i < PORTS; i++) {
		memset(ports[i].reg, 0, sizeof(ports[i].reg));
		link_up(&ports[i]);
	}
	if (!no_reset)
		ghc = 0;
}

static void write_hook(struct fake_mmio *dev, uint64_t offset, uint32_t width, uint64_t value)
{
	assert_int_equal(width, 4);
	if (offset >= PORT_FIRST) {
		assert_true(ghc >> 31);
		assert_true((offset - PORT_FIRST) / PORT_BYTES < PORTS);
		return port_write(&ports[(offset - PORT_FIRST) / PORT_BYTES], offset % PORT_BYTES, value);
	}
	if (offset == HBA_BOHC) {
		bohc = value & ~HBA_BOHC_BOS;
		return;
	}
	assert_int_equal(offset, HBA_GHC);
	ghc = value;
	if (value & HBA_GHC_HR)
		hba_reset();
}

static uint64_t read_hook(struct fake_mmio *dev, uint64_t offset, uint32_t width)
{
	assert_int_equal(width, 4);
	if (offset >= PORT_FIRST) {
		assert_true((offset - PORT_FIRST) / PORT_BYTES < PORTS);
		return ports[(offset - PORT_FIRST) / PORT_BYTES].reg[offset % PORT_BYTES / 4];
	}
	return offset == HBA_CAP ? cap :
		offset == HBA_GHC    ? ghc :
		offset == HBA_PI     ? (1 << PORTS) - 1 :
		offset == HBA_CAP2   ? cap2 :
		offset == HBA_BOHC   ? bohc :
							   0;
}

static void set_up(void)
{
	memset(ports, 0, sizeof(ports));
	memset(&pci, 0, sizeof(pci));
	cap = CAP;
	ghc = cap2 = bohc = hba_resets = low = 0;
	no_reset = master = false;
	drv = fake_driver("pci", "ahci");
	pci.dev.driver = drv;
	pci.bar[AHCI_BAR].bytes = PORT_FIRST + PORTS * PORT_BYTES;
	memset(&window, 0, sizeof(window));
	window.base = registers;
	window.bytes = sizeof(registers);
	window.read = read_hook;
	window.write = write_hook;
	fake_mmio_add(&window);
	memset(data, 0xEE, sizeof(data));
}

static struct port *plug(uint32_t n, uint32_t sector, bool queued)
{
	struct port *port = &ports[n];
	uint16_t *id = port->identity;
	port->what = DISK;
	port->sector = sector;
	port->bad = ~0ul;
	id[ID_COMMANDS] = ID_COMMANDS_LBA48;
	id[ID_ENABLED] = ID_ENABLED_CACHE;
	id[ID_DSM] = ID_DSM_TRIM;
	*(uint64_t *)(id + ID_SECTORS) = DISK_BYTES / sector;
	if (queued) {
		id[ID_SATA] = ID_SATA_NCQ;
		id[ID_QUEUE_DEPTH] = 31;
	}
	if (sector != 512) {
		id[ID_SECTOR_SIZE] = 0x5000;
		id[ID_SECTOR_WORDS] = sector / 2;
	}
	for (uint32_t i = 0; i < DISK_BYTES; i++)
		port->bytes[i] = i * 13 + (i >> 9) + (i >> 17) + n;
	return port;
}

static int probe(void)
{
	return drv->probe(&pci.dev, drv->ids);
}

static void start(void)
{
	assert_int_equal(probe(), E_OK);
}

static void end(void)
{
	drv->remove(&pci.dev);
	assert_false(master);
	for (uint32_t i = 0; i < PORTS; i++)
		assert_int_equal(*reg(&ports[i], PORT_CMD), 0);
	assert_int_equal(blk_count(), 0);
}

static struct port *one(bool queued)
{
	set_up();
	struct port *port = plug(0, 512, queued);
	start();
	port->commands = port->alone = 0;
	return port;
}

static struct ingot_blk_info info(uint32_t drive)
{
	struct ingot_blk_info now = { .size = sizeof(now) };
	assert_int_equal(blk_info(drive, &now), E_OK);
	return now;
}

static int submit(uint32_t op, uint64_t block, uint32_t count, void *to, uint64_t tag)
{
	const struct ingot_blk_req req = { block, count, op, to, tag };
	return blk_submit(0, 0, &req);
}

static int run(uint32_t op, uint64_t block, uint32_t count, void *to)
{
	const struct ingot_blk_req req = { block, count, op, to, 0 };
	return blk_run(0, &req);
}

// Completions up to `count`, in at most `polls` polls: status of each tag.
static uint32_t collect(int *status, uint32_t count, uint32_t polls)
{
	uint32_t got = 0;
	struct ingot_blk_done done[3];
	while (got < count && polls--) {
		uint32_t n = blk_poll(0, 0, done, 3);
		assert_true(n <= 3);
		for (uint32_t i = 0; i < n; i++, got++) {
			assert_true(done[i].tag < count);
			assert_int_equal(status[done[i].tag], 1);
			status[done[i].tag] = done[i].status;
		}
	}
	return got;
}

#define NONE(status, count) \
	for (uint32_t i_ = 0; i_ < (count); i_++) \
	(status)[i_] = 1

// ---- Set-up --------------------------------------------------------------------------------------------------

static void probes(void **state)
{
	const char *identity = "x";
	set_up();
	plug(0, 512, true);
	plug(2, 4096, false)->identity[ID_ENABLED] = 0;
	ports[3].what = DVD;
	start();
	assert_true(fake_logged(" port 0 disk0 1 MiB, 512-byte blocks port 2 disk1 1 MiB, 4096-byte blocks port 3 ATAPI"));
	assert_int_equal(blk_count(), 2);
	struct ingot_blk_info now = info(0);
	assert_int_equal(now.blocks, DISK_BYTES / 512);
	assert_int_equal(now.queues, 1);
	assert_int_equal(now.depth, 32);
	assert_int_equal(now.align, 2);
	assert_int_equal(now.features, INGOT_BLK_FLUSH | INGOT_BLK_DISCARD);
	assert_string_equal(now.name, "disk0");
	assert_string_equal(now.driver, "ahci");
	assert_int_equal(blk_classic_kind(0, &identity), BLK_AHCI);
	now = info(1);
	assert_int_equal(now.block_bytes, 4096);
	assert_int_equal(now.blocks, DISK_BYTES / 4096);
	assert_int_equal(now.features, INGOT_BLK_DISCARD);
	assert_int_equal(*reg(&ports[3], PORT_CMD) & (PORT_CMD_ST | PORT_CMD_FRE), 0);
	assert_int_equal(*reg(&ports[1], PORT_CMD) & (PORT_CMD_ST | PORT_CMD_FRE), 0);
	// One drive's data is not the other's.
	const struct ingot_blk_req req = { 3, 2, INGOT_READ, data, 0 };
	assert_int_equal(blk_run(1, &req), E_OK);
	assert_memory_equal(data, ports[2].bytes + 3 * 4096, 2 * 4096);
	assert_int_equal(run(INGOT_READ, 3, 2, data), E_OK);
	assert_memory_equal(data, ports[0].bytes + 3 * 512, 1024);
	end();
	set_up(); // nothing there, and soon known
	uint64_t before = fake_now_ns;
	start();
	assert_true(fake_now_ns - before < 100000000);
	end();
}

static void firmware_hands_over(void **state)
{
	set_up();
	cap2 = HBA_CAP2_BOH;
	bohc = HBA_BOHC_BOS;
	start();
	assert_int_equal(bohc, HBA_BOHC_OOS);
	end();
}

static void unusable(void **state)
{
	set_up();
	fake_map_refuse = true;
	assert_true(probe() < 0);
	fake_map_refuse = false;
	set_up();
	no_reset = true;
	assert_int_equal(probe(), E_TIMEOUT);
	assert_true(fake_logged("no reset"));
	assert_false(master);
	set_up();
	plug(0, 512, true)->identity[ID_COMMANDS] = 0; // no 48-bit addresses
	plug(1, 512, true)->deaf = true;
	plug(2, 2048, true);
	plug(3, 512, true);
	pci.bar[AHCI_BAR].bytes = PORT_FIRST + 4 * PORT_BYTES; // ports 4 and 5 are said to be there
	plug(4, 512, true);
	fake_tick_ns = 1000000;
	start();
	assert_int_equal(blk_count(), 1);
	assert_true(fake_logged("port 0 error 10 port 1 error 6 port 2 error 10 port 3 disk0"));
	assert_false(fake_logged("port 4"));
	end();
}

static void allocations_refused(void **state)
{
	for (uint32_t i = 1; i < 5; i++) {
		set_up();
		plug(0, 512, true);
		plug(1, 512, true);
		fake_alloc_fail_at = fake_alloc_count + i;
		start();
		assert_int_equal(blk_count(), 1);
		const struct ingot_blk_req req = { 8, 8, INGOT_READ, data, 0 };
		assert_int_equal(blk_run(0, &req), E_OK);
		end();
		assert_int_equal(fake_alloc_live, 0);
	}
}

// ---- Requests ------------------------------------------------------------------------------------------------

static void reads_and_writes(void **state)
{
	for (uint32_t kind = 0; kind < 4; kind++) {
		set_up();
		uint32_t sector = kind & 2 ? 4096 : 512;
		struct port *port = plug(0, sector, kind & 1);
		port->base = 0x123456789AB0;
		*(uint64_t *)(port->identity + ID_SECTORS) = port->base + DISK_BYTES / sector;
		start();
		for (uint32_t count = 1; count <= 64; count *= 4) {
			memset(data, 0, sizeof(data));
			assert_int_equal(run(INGOT_READ, port->base + 5, count, data + 2), E_OK);
			assert_memory_equal(data + 2, port->bytes + 5 * sector, count * sector);
			assert_int_equal(data[count * sector + 2] | data[1], 0);
			memset(data, count, sizeof(data));
			assert_int_equal(run(INGOT_WRITE, port->base + 9, count, data + 4094), E_OK);
			assert_memory_equal(port->bytes + 9 * sector, data, count * sector);
			assert_int_not_equal(port->bytes[(9 + count) * sector + 1], count);
		}
		assert_int_equal(run(INGOT_READ, port->base + DISK_BYTES / sector - 1, 1, data), E_OK);
		assert_int_equal(run(INGOT_READ, port->base + DISK_BYTES / sector, 1, data), E_RANGE);
		assert_int_equal(submit(INGOT_READ, port->base, 1, data + 1, 0), E_INVAL);
		assert_int_equal(run(INGOT_READ, port->base, 16, data + 1), E_OK); // the class moves it
		assert_memory_equal(data + 1, port->bytes, 16 * sector);
		end();
	}
}

static void scatter(void **state)
{
	struct port *port = one(true);
	fake_mem_phys = pages;
	assert_int_equal(submit(INGOT_READ, 0, 64, data, 0), E_OK); // 8 pages
	int status[1] = { 1 };
	assert_int_equal(collect(status, 1, 2), 1);
	assert_int_equal(status[0], E_OK);
	assert_memory_equal(data, port->bytes, 64 * 512);
	assert_int_equal(submit(INGOT_READ, 0, 64, data + 2, 0), E_INVAL); // 9
	assert_int_equal(run(INGOT_READ, 0, 1024, data + 2), E_OK);        // the class cuts it
	assert_memory_equal(data + 2, port->bytes, 1024 * 512);
	end();
	// An HBA of 32 bits, and data that it can't reach.
	set_up();
	cap &= ~HBA_CAP_S64A;
	port = plug(0, 512, true);
	fake_mem_phys = pages;
	low = 0xFFFFE000;
	start();
	assert_int_equal(run(INGOT_READ, 3, 16, data), E_OK);
	assert_memory_equal(data, port->bytes + 3 * 512, 16 * 512);
	assert_int_equal(run(INGOT_READ, 3, 1, data + 8192), E_INVAL);
	assert_int_equal(submit(INGOT_READ, 3, 16, data + 2, 0), E_INVAL);
	end();
	low = 0;
}

static void queue_full(void **state)
{
	struct port *port = one(true);
	int status[32];
	port->asleep = true;
	window.reads = 0;
	for (uint32_t round = 0; round < 40; round++) {
		NONE(status, 32);
		for (uint32_t i = 0; i < 32; i++)
			assert_int_equal(submit(INGOT_READ, i * 8 + round, 8, data + i * 4096, i), E_OK);
		window.writes = 0;
		assert_int_equal(submit(INGOT_READ, 0, 1, data, 99), E_AGAIN);
		assert_int_equal(submit(INGOT_READ, 0, 1, data, 99), E_AGAIN);
		assert_int_equal(window.writes, 2); // one doorbell, of two registers
		assert_int_equal(port->waiting, ~0u);
		assert_int_equal(collect(status, 32, 5), 0);
		wake(port, 0xF0F0A5A5);
		assert_int_equal(collect(status, 32, 10), 16);
		wake(port, ~0u);
		assert_int_equal(collect(status, 32, 10), 16);
		assert_int_equal(window.writes, 2);
		for (uint32_t i = 0; i < 32; i++)
			assert_int_equal(status[i], E_OK);
		assert_memory_equal(data, port->bytes + round * 512, 32 * 4096);
	}
	assert_in_range(window.reads, 2 * 40, 2 * 40 + 12); // and now and then one without need
	assert_int_equal(port->alone, 0);
	end();
}

static void few_slots(void **state)
{
	set_up();
	cap = (cap & ~(31 << HBA_CAP_NCS_SHIFT)) | 3 << HBA_CAP_NCS_SHIFT;
	plug(0, 512, true);
	start();
	assert_int_equal(info(0).depth, 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(submit(INGOT_READ, i, 1, data, i), E_OK);
	assert_int_equal(submit(INGOT_READ, 0, 1, data, 9), E_AGAIN);
	end();
	set_up();
	plug(0, 512, true)->identity[ID_QUEUE_DEPTH] = 0;
	start();
	assert_int_equal(info(0).depth, 1);
	assert_int_equal(run(INGOT_READ, 0, 100, data), E_OK);
	end();
	set_up();
	cap &= ~HBA_CAP_SNCQ;
	struct port *port = plug(0, 512, true);
	start();
	port->alone = 0;
	assert_int_equal(run(INGOT_READ, 0, 100, data), E_OK);
	assert_int_equal(port->alone, 1);
	end();
}

// Without tags the HBA gets one at a time, and none waits for ever.
static void one_at_a_time(void **state)
{
	struct port *port = one(false);
	int status[8];
	NONE(status, 8);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(submit(i & 1 ? INGOT_WRITE : INGOT_READ, i, 1, data + i * 512, i), E_OK);
	assert_int_equal(collect(status, 8, 20), 8);
	assert_int_equal(port->alone, 8);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(port->order[i], (port->order[0] + i) % 8);
	// Slot 0 is used again and again; slot 1 has its turn.
	struct ingot_blk_done done;
	submit(INGOT_READ, 100, 1, data, 0);
	submit(INGOT_READ, 200, 1, data, 1);
	for (uint32_t i = 0; i < 3; i++) {
		while (!blk_poll(0, 0, &done, 1))
			;
		if (done.tag == 1)
			break;
		submit(INGOT_READ, 100, 1, data, 0);
		assert_true(i < 2);
	}
	end();
}

static void flush_waits_for_the_queue(void **state)
{
	struct port *port = one(true);
	int status[5];
	NONE(status, 5);
	port->asleep = true;
	submit(INGOT_WRITE, 0, 1, data, 0);
	submit(INGOT_WRITE, 8, 1, data, 1);
	assert_int_equal(collect(status, 5, 1), 0);
	assert_int_equal(submit(INGOT_FLUSH, 77, 99, NULL, 2), E_OK); // block and count mean nothing
	submit(INGOT_WRITE, 16, 1, data, 3);
	assert_int_equal(collect(status, 5, 3), 0);
	assert_int_equal(port->waiting, 3); // neither the flush nor what came behind it
	wake(port, 1);
	assert_int_equal(collect(status, 5, 3), 1);
	assert_int_equal(port->waiting, 2);
	port->asleep = false;
	wake(port, 2);
	submit(INGOT_WRITE, 24, 1, data, 4);
	assert_int_equal(collect(status, 5, 20), 4);
	assert_int_equal(port->flushes, 1);
	assert_int_equal(port->alone, 1);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(status[i], E_OK);
	end();
}

static void discards(void **state)
{
	struct port *port = one(true);
	assert_int_equal(run(INGOT_DISCARD, 0, 2048, NULL), E_OK);
	assert_int_equal(port->trims, 1);
	assert_int_equal(port->trimmed, 2048);
	assert_int_equal(run(INGOT_DISCARD, 2047, 2, NULL), E_RANGE);
	end();
	set_up();
	port = plug(0, 512, true);
	port->base = 77;
	*(uint64_t *)(port->identity + ID_SECTORS) = 1ul << 40;
	start();
	assert_int_equal(run(INGOT_DISCARD, 77, 0xFFFFFFFF, NULL), E_OK);
	assert_int_equal(port->trimmed, 0xFFFFFFFF);
	assert_int_equal(port->trims, 1025);
	assert_int_equal(run(INGOT_READ, 77, 8, data), E_OK);
	end();
}

// ---- Errors --------------------------------------------------------------------------------------------------

static void error_of_one(void **state)
{
	for (uint32_t kind = 0; kind < 16; kind++) {
		struct port *port = one(kind & 1);
		int status[32];
		port->overwritten = kind & 2;
		port->bad = 13 * 8 + 3;
		if (kind & 4)
			port->asleep = true;
		for (uint32_t round = 0; round < 2; round++) {
			NONE(status, 32);
			for (uint32_t i = 0; i < 32; i++)
				assert_int_equal(submit(kind & 1 ? INGOT_READ : INGOT_WRITE, i * 8, 8, data + i * 4096, i), E_OK);
			if (kind & 4) {
				submit(INGOT_READ, 0, 1, data, 99); // refused, but all go
				port->asleep = false;
				wake(port, kind & 8 ? ~(1u << 13) : 0xFFFF0000);
				wake(port, kind & 1 ? 1u << 13 : ~0u); // the error stops the rest
			}
			assert_int_equal(collect(status, 32, 20000), 32);
			for (uint32_t i = 0; i < 32; i++)
				assert_int_equal(status[i], i == 13 ? E_IO : E_OK);
			if (kind & 1)
				assert_memory_equal(data, port->bytes, 13 * 4096);
			port->asleep = kind & 4;
		}
		assert_true(port->resets >= 2);
		end();
	}
}

static void lost_fis(void **state)
{
	struct port *port = one(true);
	port->mute = true;
	assert_int_equal(run(INGOT_READ, 0, 8, data), E_OK);
	assert_int_equal(run(INGOT_FLUSH, 0, 0, NULL), E_OK);
	assert_memory_equal(data, port->bytes, 4096);
	assert_int_equal(port->resets, 0);
	end();
}

static void fatal_without_fis(void **state)
{
	struct port *port = one(true);
	int status[2] = { 1, 1 };
	port->asleep = true;
	submit(INGOT_READ, 0, 8, data, 0);
	submit(INGOT_READ, 8, 8, data + 4096, 1);
	collect(status, 2, 1);
	*reg(port, PORT_IS) |= PORT_IS_IFS;
	port->asleep = false;
	port->waiting = 0;
	assert_int_equal(collect(status, 2, 5000), 2);
	assert_int_equal(status[0] | status[1], E_OK);
	assert_int_equal(port->resets, 1);
	end();
}

static void time_out(void **state)
{
	for (uint32_t kind = 0; kind < 4; kind++) {
		struct port *port = one(kind & 1);
		int status[8];
		uint64_t before = fake_now_ns;
		fake_tick_ns = 10000000;
		port->asleep = true;
		if (kind & 2) { // through the class
			assert_int_equal(run(INGOT_READ, 0, 8, data), E_TIMEOUT);
			assert_true(fake_logged("disk0: time-out\n"));
		} else {
			NONE(status, 8);
			for (uint32_t i = 0; i < 8; i++)
				submit(INGOT_WRITE, i, 1, data, i);
			assert_int_equal(collect(status, 8, 30000000), 8);
			for (uint32_t i = 0; i < 8; i++)
				assert_int_equal(status[i], E_TIMEOUT);
		}
		assert_true(fake_now_ns - before > 5000000000 && fake_now_ns - before < 12000000000);
		port->asleep = false;
		assert_int_equal(run(INGOT_READ, 0, 8, data), E_OK);
		assert_memory_equal(data, port->bytes, 4096);
		end();
	}
}

static void never_comes_back(void **state)
{
	struct port *port = one(true);
	int status[4];
	NONE(status, 4);
	fake_tick_ns = 1000000;
	port->bad = 0;
	port->deaf = true;
	for (uint32_t i = 0; i < 4; i++)
		submit(INGOT_READ, i, 1, data, i);
	assert_int_equal(collect(status, 4, 30000000), 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_true(status[i] == E_TIMEOUT || (!i && status[i] == E_IO));
	assert_int_equal(submit(INGOT_READ, 9, 1, data, 0), E_IO);
	assert_int_equal(run(INGOT_READ, 9, 1, data), E_IO);
	assert_int_equal(collect(status, 4, 1000), 0);
	end();
}

static void nonsense(void **state)
{
	struct port *port = one(true);
	int status[2] = { 1, 1 };
	port->asleep = true;
	// A FIS, while nothing is asked for; bits that nobody set.
	post(port, 0x58, 0xA1, 0x50);
	assert_int_equal(collect(status, 2, 3), 0);
	submit(INGOT_READ, 0, 1, data, 0);
	assert_int_equal(collect(status, 2, 3), 0);
	*reg(port, PORT_SACT) = 0xFFFFFFFF;
	post(port, 0x58, 0xFF, 0xFE);
	assert_int_equal(collect(status, 2, 3), 0);
	*reg(port, PORT_SACT) = 0xFFFFFFFE;
	post(port, 0x40, 0x77, 0);
	assert_int_equal(collect(status, 2, 3), 1);
	assert_int_equal(status[0], E_OK);
	end();
	set_up();
	memset(plug(0, 512, true)->identity, 0xFF, 512);
	memset(plug(1, 512, true)->identity, 0, 512);
	start();
	end();
}

static void remove_in_flight(void **state)
{
	struct port *port = one(true);
	port->asleep = true;
	for (uint32_t i = 0; i < 8; i++)
		submit(INGOT_READ, i, 1, data, i);
	struct ingot_blk_done done;
	blk_poll(0, 0, &done, 1);
	submit(INGOT_READ, 9, 1, data, 9);
	end();
}

static void wake_all(struct port *port)
{
	wake(port, ~0u);
}

static void max_of_poll(void **state)
{
	struct port *port = one(true);
	struct ingot_blk_done done[2];
	port->asleep = true;
	for (uint32_t i = 0; i < 3; i++)
		submit(INGOT_READ, i, 1, data, i);
	assert_int_equal(blk_poll(0, 0, done, 0), 0);
	wake_all(port);
	assert_int_equal(blk_poll(0, 0, done, 0), 0);
	assert_int_equal(blk_poll(0, 0, done, 2), 2);
	assert_int_equal(submit(INGOT_READ, 5, 1, data, 5), E_OK); // the third is kept
	assert_int_equal(blk_poll(0, 0, done, 2), 1);
	assert_int_equal(done[0].tag, 2);
	wake_all(port);
	assert_int_equal(blk_poll(0, 0, done, 2), 1);
	assert_int_equal(done[0].tag, 5);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(probes),
		FAKE_TEST(firmware_hands_over),
		FAKE_TEST(unusable),
		FAKE_TEST(allocations_refused),
		FAKE_TEST(reads_and_writes),
		FAKE_TEST(scatter),
		FAKE_TEST(queue_full),
		FAKE_TEST(few_slots),
		FAKE_TEST(one_at_a_time),
		FAKE_TEST(flush_waits_for_the_queue),
		FAKE_TEST(discards),
		FAKE_TEST(error_of_one),
		FAKE_TEST(lost_fis),
		FAKE_TEST(fatal_without_fis),
		FAKE_TEST(time_out),
		FAKE_TEST(never_comes_back),
		FAKE_TEST(nonsense),
		FAKE_TEST(remove_in_flight),
		FAKE_TEST(max_of_poll),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
