// A model of Intel's 82599, as a process of its own behind QEMU's x-pci-proxy-dev.  It does what the datasheet (331520)
// says and complains about what the datasheet forbids; "s." = its section.
//
//	ixgbe_82599 QEMU FRAMES CONTROL [OPTION...]
//
// QEMU, FRAMES and CONTROL are numbers of inherited sockets: x-pci-proxy-dev's, one that carries an Ethernet frame
// without FCS a message (SOCK_SEQPACKET, or SOCK_DGRAM with to=PATH), and one of SOCK_SEQPACKET for commands, each
// answered by one message:
//	link 0|1		pulls and returns the cable
//	hang WHAT...		from now on this never completes: reset eeprom dma master path rxq txq tx rx; none: all do
//	lossless 0|1		the peer waits while descriptors are short (as if both sides used PAUSE frames)
//	count			how many of what: NAME=NUMBER lines
//	clear			accesses and doorbells count from 0
//	complaints		all of them
// Options: mac=HEX12 id=HEX to=PATH qtest=PATH (interrupts go through QEMU's qtest socket) eeprom=bad|none nolink
//	autolink (it negotiates by itself behind a reset) memory32 (BAR 0 of 32 bits) hang=WHAT
//	timing=off (virtual time: durations say nothing)
// A complaint is a line on standard error: "forbidden: ..." breaks a rule, "advice: ..." is what the datasheet says one
// should, or a register that it doesn't have.  The exit status is 1 if anything forbidden was seen.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BIT(n) (1u << (n))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define REGISTERS 0x80000
#define QUEUES 128
#define RING_MOST 8192
#define FRAME_MOST 16384
#define RX_BYTES (512 << 10) // packet buffers
#define TX_BYTES (160 << 10)
#define BUDGET 32

// ---- State ---------------------------------------------------------------------------------------------------

struct desc {
	uint64_t q0, q1;
};

struct queue {
	uint32_t entries, head, tail; // what the card has: head to tail - 1
	bool enabled, seen;           // RXDCTL/TXDCTL.ENABLE; the driver has read it as 1
	uint64_t ready_at;            // when it reads as it was written
	struct desc copy[RING_MOST];  // as they were when the driver gave them
	uint64_t frames, dropped, doorbells;
};

enum hang {
	HANG_RESET = 1,
	HANG_EEPROM = 2,
	HANG_DMA = 4,
	HANG_MASTER = 8,
	HANG_PATH = 16,
	HANG_RXQ = 32,
	HANG_TXQ = 64,
	HANG_TX = 128,
	HANG_RX = 256
};
static const char *const hang_names[] = { "reset", "eeprom", "dma", "master", "path", "rxq", "txq", "tx", "rx" };

static uint32_t regs[REGISTERS / 4];
static uint8_t config[256], config_mask[256];
static uint16_t eeprom[0x4000];
static uint8_t msix[64 * 16];
static struct queue rxq[QUEUES], txq[QUEUES];
static struct {
	uint64_t phys, size;
	uint8_t *at;
} memory[8];

static bool sized; // QEMU has sized the BARs: the first reset came
static bool cable = true, negotiated, autolink, timing = true, lossless, good_eeprom = true, has_eeprom = true;
static bool eeprom_seen, dma_seen;
static uint32_t hangs, speed_bits = 3;
static uint64_t reset_at, link_at, path_at, eerd_at;
static bool in_reset;
static uint8_t mac[6] = { 0x52, 0x54, 0x00, 0x82, 0x59, 0x90 };
static int qemu, frames_fd, control, qtest = -1;
static struct sockaddr_un to;
static uint64_t reads, writes, doorbells, sent_bytes, received, filtered, interrupts;

// Frames in the card: received ones wait for descriptors of a queue that may not drop, others for the peer.
struct waiting {
	struct waiting *next;
	uint32_t length;
	uint8_t data[];
};
static struct fifo {
	struct waiting *first, *last;
	uint32_t bytes;
} rx_fifo, tx_fifo;

static bool fifo_put(struct fifo *fifo, uint32_t room, const uint8_t *frame, uint32_t len)
{
	if (fifo->bytes + len > room)
		return false;
	struct waiting *w = malloc(sizeof(*w) + len);
	w->next = NULL;
	w->length = len;
	memcpy(w->data, frame, len);
	*(fifo->first ? &fifo->last->next : &fifo->first) = w;
	fifo->last = w;
	fifo->bytes += len;
	return true;
}

static void fifo_drop(struct fifo *fifo)
{
	struct waiting *first = fifo->first;
	fifo->bytes -= first->length;
	fifo->first = first->next;
	free(first);
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static bool hung(uint32_t what)
{
	return hangs & what;
}

// ---- Complaints ----------------------------------------------------------------------------------------------

static char complaints[60000];
static size_t complaint_bytes;
static uint32_t forbidden_count, advice_count;

static __attribute__((format(printf, 2, 0))) void complain(const char *kind, const char *format, va_list args)
{
	static struct {
		const char *format;
		uint32_t count;
	} seen[256];
	char line[256];
	size_t i = 0, len;
	while (i < COUNT(seen) - 1 && seen[i].format && seen[i].format != format)
		i++;
	seen[i].format = format;
	if (seen[i].count++ >= 10) // of each kind
		return;
	len = (size_t)snprintf(line, sizeof(line) - 1, "%s: ", kind);
	vsnprintf(line + len, sizeof(line) - 1 - len, format, args);
	strcat(line, "\n");
	len = strlen(line);
	fputs(line, stderr);
	if (complaint_bytes + len < sizeof(complaints)) {
		memcpy(complaints + complaint_bytes, line, len);
		complaint_bytes += len;
	}
}

static __attribute__((format(printf, 1, 2))) void forbidden(const char *format, ...)
{
	va_list args;
	forbidden_count++;
	va_start(args, format);
	complain("forbidden", format, args);
	va_end(args);
}

static __attribute__((format(printf, 1, 2))) void advice(const char *format, ...)
{
	va_list args;
	advice_count++;
	va_start(args, format);
	complain("advice", format, args);
	va_end(args);
}

// ---- Memory of the guest -------------------------------------------------------------------------------------

static uint8_t *dma(uint64_t phys, uint64_t len)
{
	for (size_t i = 0; i < COUNT(memory); i++)
		if (memory[i].at && phys - memory[i].phys < memory[i].size && len <= memory[i].size - (phys - memory[i].phys))
			return memory[i].at + (phys - memory[i].phys);
	return NULL;
}

static bool bus_master(void)
{
	return config[4] & 4;
}

// Requests go out (s.5.2.5.3.2).
static bool master_enabled(void)
{
	return !(regs[0] & BIT(2)) || hung(HANG_MASTER);
}

// ---- Registers -----------------------------------------------------------------------------------------------

#define CTRL 0x0
#define CTRL_MASTER_DISABLE BIT(2)
#define CTRL_RESET (BIT(3) | BIT(26))
#define STATUS 0x8
#define EEC 0x10010
#define EERD 0x10014
#define SWSM 0x10140
#define EICR 0x800
#define EICS 0x808
#define EIAC 0x810
#define EIMS 0x880
#define EIMC 0x888
#define EIAM 0x890
#define GPIE 0x898
#define IVAR 0x900
#define RDRXCTL 0x2F00
#define RXCTRL 0x3000
#define RXMPC 0x3FA0
#define HLREG0 0x4240
#define MSCA 0x425C
#define MAXFRS 0x4268
#define AUTOC 0x42A0
#define LINKS 0x42A4
#define RTTDCS 0x4900
#define ARBDIS BIT(6)
#define DMATXCTL 0x4A80
#define FCTRL 0x5080
#define MCSTCTRL 0x5090
#define MTA 0x5200
#define DTXMXSZRQ 0x8100
#define MTQC 0x8120
#define SECRXCTRL 0x8D00
#define SECRXSTAT 0x8D04
#define RAL 0xA200
#define MRQC 0xEC80
#define RETA 0xEB00
#define RSSRK 0xEB80
#define GPRC 0x4074
#define GPTC 0x4080
#define RUC 0x40A4
#define ROC 0x40AC

#define R(reg) regs[(reg) / 4]

// Those that there are (s.8.2.2), with what a write does.
enum kind { RW, RO, RC };
// clang-format off
static const struct { uint32_t first, last; enum kind kind; } known[] = {
	{ 0x0, 0x4, RW }, { 0x8, 0x8, RO }, { 0x18, 0x18, RW }, { 0x20, 0x20, RW }, { 0x28, 0x28, RW },
	{ 0x48, 0x4C, RW }, { 0x200, 0x200, RW }, { 0x600, 0x604, RW }, { 0x700, 0x70C, RW }, { 0x800, 0x800, RW },
	{ 0x808, 0x808, RW }, { 0x810, 0x810, RW }, { 0x820, 0x87C, RW }, { 0x880, 0x880, RW }, { 0x888, 0x888, RW },
	{ 0x890, 0x890, RW }, { 0x898, 0x898, RW }, { 0x900, 0x9FC, RW }, { 0xA00, 0xA00, RW }, { 0xA90, 0xA94, RW },
	{ 0xAA0, 0xAA4, RW }, { 0xAB0, 0xAB4, RW }, { 0xAD0, 0xAD4, RW }, { 0x1000, 0x1FFC, RW },
	{ 0x2140, 0x217C, RW }, { 0x2300, 0x237C, RW }, { 0x2410, 0x2430, RW }, { 0x2F00, 0x2F04, RW },
	{ 0x3000, 0x3000, RW }, { 0x3020, 0x3020, RW }, { 0x3028, 0x3028, RW }, { 0x3190, 0x3190, RO },
	{ 0x3200, 0x320C, RW }, { 0x3220, 0x323C, RW }, { 0x3240, 0x325C, RC }, { 0x3260, 0x327C, RW },
	{ 0x32A0, 0x32A0, RW }, { 0x3C00, 0x3C1C, RW }, { 0x3D00, 0x3D00, RW }, { 0x3F00, 0x3F3C, RC },
	{ 0x3F60, 0x3F6C, RC }, { 0x3FA0, 0x3FBC, RC }, { 0x4000, 0x41FC, RC }, { 0x4200, 0x423C, RW },
	{ 0x4240, 0x4298, RW }, { 0x42A0, 0x42A0, RW }, { 0x42A4, 0x42A4, RO }, { 0x42A8, 0x4330, RW },
	{ 0x4800, 0x4800, RW }, { 0x4900, 0x4994, RW }, { 0x4A80, 0x4A98, RW }, { 0x5000, 0x5008, RW },
	{ 0x5078, 0x5090, RW }, { 0x5100, 0x511C, RW }, { 0x5120, 0x5144, RW }, { 0x5180, 0x51B8, RW },
	{ 0x5200, 0x53FC, RW }, { 0x5400, 0x547C, RW }, { 0x5480, 0x54BC, RW }, { 0x5800, 0x5838, RW },
	{ 0x5840, 0x5840, RW }, { 0x6000, 0x7FFC, RW }, { 0x8000, 0x80FC, RW }, { 0x8100, 0x8100, RW },
	{ 0x8120, 0x8120, RW }, { 0x8200, 0x8220, RW }, { 0x82E0, 0x82E4, RW }, { 0x8600, 0x867C, RW },
	{ 0x8680, 0x86BC, RC }, { 0x8700, 0x877C, RC }, { 0x8780, 0x8788, RC }, { 0x8790, 0x87AC, RW },
	{ 0x8800, 0x8810, RW }, { 0x8900, 0x8914, RW }, { 0x8C00, 0x8C3C, RW }, { 0x8D00, 0x8D00, RW },
	{ 0x8D04, 0x8D04, RO }, { 0x8D08, 0x8D40, RW }, { 0x8E00, 0x8E34, RW }, { 0xA000, 0xA1FC, RW },
	{ 0xA200, 0xA5FC, RW }, { 0xA600, 0xA9FC, RW }, { 0xCC00, 0xCC1C, RW }, { 0xCD00, 0xCD5C, RW },
	{ 0xD000, 0xDFFC, RW }, { 0xE000, 0xE9FC, RW }, { 0xEA00, 0xEAFC, RW }, { 0xEB00, 0xEBA4, RW },
	{ 0xEC00, 0xEC1C, RW }, { 0xEC30, 0xEC30, RW }, { 0xEC60, 0xEC90, RW }, { 0xED00, 0xEDFC, RW },
	{ 0xEE00, 0xEE6C, RW }, { 0xF000, 0xF5FC, RW }, { 0xF600, 0xF63C, RW }, { 0x10010, 0x1001C, RW },
	{ 0x10110, 0x1011C, RW }, { 0x10140, 0x10148, RW }, { 0x10150, 0x10160, RW }, { 0x10200, 0x10200, RW },
	{ 0x11000, 0x11024, RW }, { 0x11040, 0x11090, RW }, { 0x110B0, 0x110F0, RW }, { 0x12300, 0x1247C, RW },
	{ 0x14F00, 0x14F10, RW }, { 0x15F00, 0x15FFC, RW },
};
// clang-format on

// Counters between the registers of receive queues: QPRC, QBRC, QPRDC.
static bool queue_counter(uint32_t reg)
{
	return reg >= 0x1000 && reg < 0x1800 && (reg & 0x3F) >= 0x30 && (reg & 0x3F) <= 0x38;
}

static int kind_of(uint32_t reg)
{
	if (queue_counter(reg))
		return RC;
	for (size_t i = 0; i < COUNT(known); i++)
		if (reg >= known[i].first && reg <= known[i].last)
			return (int)known[i].kind;
	return -1;
}

static struct queue *queue_of(uint32_t reg, uint32_t *base, bool *rx)
{
	*rx = true;
	if (reg >= 0x1000 && reg < 0x2000) {
		*base = reg & ~0x3Fu;
		return &rxq[(reg - 0x1000) / 0x40];
	}
	if (reg >= 0xD000 && reg < 0xE000) {
		*base = reg & ~0x3Fu;
		return &rxq[64 + (reg - 0xD000) / 0x40];
	}
	if (reg >= 0x6000 && reg < 0x8000) {
		*rx = false;
		*base = reg & ~0x3Fu;
		return &txq[(reg - 0x6000) / 0x40];
	}
	return NULL;
}

static uint32_t rx_base(uint32_t index)
{
	return index < 64 ? 0x1000 + 0x40 * index : 0xD000 + 0x40 * (index - 64);
}

static bool queue_on(const struct queue *q)
{
	return q->enabled && now() >= q->ready_at && !in_reset;
}

// What survives: the EEPROM, counters (s.4.6.5), tables in memories, and without LRST the link.
static void reset_registers(bool link)
{
	static const struct {
		uint32_t first, last;
	} kept[] = {
		{ 0x3FA0, 0x3FBC },
		{ 0x4000, 0x41FC },
		{ 0x5200, 0x53FC },
		{ 0xA000, 0xA1FC },
		{ 0xA600, 0xA9FC },
		{ 0xE000, 0xE9FC },
		{ 0xF100, 0xF5FC },
		{ 0x8680, 0x877C },
		{ 0x4984, 0x4984 },
	};
	static uint32_t old[REGISTERS / 4];
	memcpy(old, regs, sizeof(regs));
	uint32_t ctrl = R(CTRL) & ~CTRL_MASTER_DISABLE;
	memset(regs, 0, sizeof(regs));
	for (size_t i = 0; i < COUNT(kept); i++)
		memcpy(&R(kept[i].first), &old[kept[i].first / 4], kept[i].last - kept[i].first + 4);
	for (uint32_t i = 0; i < 16; i++)
		for (uint32_t reg = 0x30; reg <= 0x38; reg += 4) {
			R(0x1000 + 0x40 * i + reg) = old[(0x1000 + 0x40 * i + reg) / 4];
			R(0x1400 + 0x40 * i + reg) = old[(0x1400 + 0x40 * i + reg) / 4];
		}
	R(CTRL) = ctrl;
	R(0x20) = 0x8;           // ESDP: the laser is off
	R(0x3C00) = 0x200 << 10; // RXPBSIZE
	for (uint32_t i = 1; i < 8; i++)
		R(0x3C00 + 4 * i) = 0x200 << 10;
	R(HLREG0) = BIT(0) | BIT(1) | BIT(10) | BIT(27) | BIT(17);
	R(MAXFRS) = 1518 << 16;
	R(AUTOC) = 3 << 13 | BIT(7) | 1 << 8; // 10 Gbit/s serial
	R(0x42A8) = 2 << 16;                  // AUTOC2: SFI
	R(RDRXCTL) = 8 << 17;
	R(0x4950) = 0x96; // TXPBTHRESH
	R(DMATXCTL) = 0x8100u << 16;
	R(DTXMXSZRQ) = 0x10;
	for (uint32_t i = 0; i < 8; i++)
		R(0xCC00 + 4 * i) = 0xA0 << 10; // TXPBSIZE
	R(0x11074) = 1;                     // DCA_CTRL
	R(0x10148) = BIT(15);               // FWSM: firmware runs, without management
	for (uint32_t i = 0; i < QUEUES; i++) {
		R(rx_base(i) + 0x14) = 0x00000002 | 4 << 8; // SRRCTL
		R(rx_base(i) + 0x0C) = BIT(9) | BIT(12) | BIT(13) | BIT(15);
		R(0x6000 + 0x40 * i + 0x0C) = BIT(9) | BIT(11) | BIT(13);
		rxq[i].enabled = rxq[i].seen = txq[i].enabled = txq[i].seen = false;
		rxq[i].head = rxq[i].tail = txq[i].head = txq[i].tail = 0;
	}
	if (has_eeprom) {
		memcpy(&R(RAL), mac, 6);
		R(RAL + 4) |= BIT(31);
	}
	if (link) {
		negotiated = autolink;
		link_at = now() + 20000000;
	}
	while (rx_fifo.first)
		fifo_drop(&rx_fifo);
	while (tx_fifo.first)
		fifo_drop(&tx_fifo);
	eeprom_seen = dma_seen = false;
}

static bool link_up(void)
{
	return cable && negotiated && now() >= link_at;
}

static uint32_t status(void)
{
	return (master_enabled() ? BIT(19) : 0) | (link_up() ? BIT(7) : 0);
}

// ---- Interrupts ----------------------------------------------------------------------------------------------

static void interrupt_message(uint32_t entry)
{
	uint64_t address;
	uint32_t data, control_word;
	char line[64];
	memcpy(&address, msix + 16 * entry, 8);
	memcpy(&data, msix + 16 * entry + 8, 4);
	memcpy(&control_word, msix + 16 * entry + 12, 4);
	if (!(config[0x73] & 0x80) || config[0x73] & 0x40 || control_word & 1) // MSI-X off or masked
		return;
	if (!bus_master())
		return forbidden("an interrupt is due, but Bus Master Enable is off");
	interrupts++;
	if (qtest < 0)
		return;
	int len = snprintf(line, sizeof(line), "writel 0x%lx 0x%x\n", (unsigned long)address, data);
	if (write(qtest, line, (size_t)len) != len)
		perror("qtest");
}

// With GPIE.Multiple_MSIX each bit is an entry (s.7.3.1.2); else all are entry 0.
static void interrupt_send(void)
{
	uint32_t pending = R(EICR) & R(EIMS) & 0x7FFFFFFF;
	if (!pending)
		return;
	if (R(GPIE) & BIT(4)) {
		for (uint32_t i = 0; i < 16; i++)
			if (pending & BIT(i))
				interrupt_message(i);
		for (uint32_t i = 0; i < 2; i++) // others, by IVAR_MISC
			if (pending & 0x7FFF0000 && R(0xA00) >> (8 * i + 7) & 1 && i)
				interrupt_message(R(0xA00) >> 8 & 0x3F);
	} else {
		interrupt_message(0);
	}
	if (R(GPIE) & BIT(30)) // EIAME
		R(EIMS) &= ~(pending & R(EIAM));
	R(EICR) &= ~(pending & R(EIAC));
}

static void interrupt_cause(uint32_t bits)
{
	R(EICR) |= bits;
	interrupt_send();
}

static void queue_interrupt(uint32_t index, bool rx)
{
	uint32_t entry = R(IVAR + 4 * (index / 2)) >> (16 * (index & 1) + (rx ? 0 : 8)) & 0xFF;
	if (index < 64 * 2 && entry & 0x80 && (entry & 0x7F) < 31)
		interrupt_cause(BIT(entry & 0x3F));
}

// ---- Descriptors ---------------------------------------------------------------------------------------------

static struct desc *ring_at(const struct queue *q, uint32_t base, uint32_t slot)
{
	return (struct desc *)dma(R(base) | (uint64_t)R(base + 4) << 32, 16ull * q->entries) + slot;
}

static struct desc desc_read(const struct desc *at)
{
	struct desc d = { __atomic_load_n(&at->q0, __ATOMIC_ACQUIRE), __atomic_load_n(&at->q1, __ATOMIC_ACQUIRE) };
	return d;
}

static uint32_t owned(const struct queue *q)
{
	return (q->tail + q->entries - q->head) % q->entries;
}

static uint32_t rx_buffer_bytes(uint32_t base)
{
	return (R(base + 0x14) & 0x1F) * 1024;
}

static void check_rx_desc(struct queue *q, uint32_t base, uint32_t index, uint32_t slot)
{
	struct desc *d = &q->copy[slot];
	uint32_t bytes = rx_buffer_bytes(base), most = R(HLREG0) & BIT(2) ? R(MAXFRS) >> 16 : 1518;
	if (bytes > most + 4)
		bytes = most + 4;
	// Linux leaves DD and looks at the length, which it clears.
	if (d->q1 & 1 && d->q1 >> 32 & 0xFFFF)
		forbidden("rx queue %u: descriptor %u is given with DD set", index, slot);
	else if (d->q1 & 1)
		advice("rx queue %u: descriptor %u is given with DD set, but no length", index, slot);
	if (!dma(d->q0, bytes))
		forbidden("rx queue %u: descriptor %u: buffer at %#lx is no memory", index, slot, (unsigned long)d->q0);
	for (uint32_t i = q->head; i != slot; i = (i + 1) % q->entries)
		if (q->copy[i].q0 == d->q0)
			forbidden("rx queue %u: descriptors %u and %u have one buffer", index, i, slot);
}

static void check_tx_desc(const struct queue *q, uint32_t index, uint32_t slot)
{
	uint64_t q1 = q->copy[slot].q1;
	if (!(q1 & BIT(29))) {
		advice("tx queue %u: descriptor %u is a legacy one", index, slot);
		return;
	}
	if ((q1 >> 20 & 15) == 2) // context
		return;
	if ((q1 >> 20 & 15) != 3)
		forbidden("tx queue %u: descriptor %u has type %u", index, slot, (unsigned)(q1 >> 20 & 15));
	if (q1 >> 32 & 0xF)
		forbidden("tx queue %u: descriptor %u is given with DD set", index, slot);
	if (!(q1 & 0xFFFF))
		forbidden("tx queue %u: descriptor %u has no bytes", index, slot);
	if (q1 & BIT(26) || q1 & BIT(28) || q1 & 0x00030000)
		forbidden("tx queue %u: descriptor %u has reserved bits set: %#lx", index, slot, (unsigned long)q1);
	if (!dma(q->copy[slot].q0, q1 & 0xFFFF))
		forbidden("tx queue %u: descriptor %u: data at %#lx are no memory", index, slot,
			(unsigned long)q->copy[slot].q0);
}

static void tail_written(struct queue *q, uint32_t base, bool rx, uint32_t value)
{
	uint32_t index = (uint32_t)(q - (rx ? rxq : txq));
	const char *name = rx ? "rx" : "tx";
	q->doorbells++;
	doorbells++;
	if (!q->enabled || !q->seen) {
		if (value != q->head)
			forbidden("%s queue %u: tail %u is written before ENABLE was read as 1", name, index, value);
		else
			doorbells--, q->doorbells--;
		return;
	}
	if (!bus_master())
		forbidden("%s queue %u: tail is written with Bus Master Enable off", name, index);
	if (value >= q->entries) {
		forbidden("%s queue %u: tail %u in a ring of %u", name, index, value, q->entries);
		return;
	}
	uint32_t more = (value + q->entries - q->tail) % q->entries;
	if (owned(q) + more > q->entries - 1)
		forbidden("%s queue %u: tail %u passes the head %u", name, index, value, q->head);
	for (; q->tail != value; q->tail = (q->tail + 1) % q->entries) {
		q->copy[q->tail] = desc_read(ring_at(q, base, q->tail));
		if (rx)
			check_rx_desc(q, base, index, q->tail);
		else
			check_tx_desc(q, index, q->tail);
	}
}

// RXDCTL, TXDCTL.
static void control_written(struct queue *q, uint32_t base, bool rx, uint32_t value)
{
	uint32_t index = (uint32_t)(q - (rx ? rxq : txq));
	const char *name = rx ? "rx" : "tx";
	bool on = value & BIT(25);
	uint64_t phys = R(base) | (uint64_t)R(base + 4) << 32;
	if (on == q->enabled)
		return;
	q->enabled = on;
	q->seen = false;
	q->ready_at = now() + 20000;
	if (!on)
		return;
	q->entries = R(base + 8) / 16;
	q->head = R(base + 0x10);
	q->tail = R(base + 0x18);
	if (!eeprom_seen || !dma_seen)
		advice("%s queue %u is enabled before EEC.Auto_RD and RDRXCTL.DMAIDONE were read as 1 (s.4.6.3)", name, index);
	if (!R(base + 8) || R(base + 8) % 128 || q->entries > RING_MOST)
		forbidden("%s queue %u: a ring of %u bytes", name, index, R(base + 8));
	if (phys % 128 || !dma(phys, R(base + 8)))
		forbidden("%s queue %u: a ring at %#lx", name, index, (unsigned long)phys);
	if (!bus_master())
		forbidden("%s queue %u is enabled with Bus Master Enable off", name, index);
	if (rx && (R(base + 0x14) >> 25 & 7) != 1)
		advice("rx queue %u: SRRCTL %#x: not advanced descriptors of one buffer", index, R(base + 0x14));
	if (rx && (rx_buffer_bytes(base) == 0 || rx_buffer_bytes(base) > 16384))
		forbidden("rx queue %u: SRRCTL %#x: buffer size", index, R(base + 0x14));
	if (rx && R(base + 0x0C) & BIT(12))
		advice("rx queue %u: DCA_RXCTRL bit 12 is not cleared (s.4.6.7)", index);
	if (!rx && R(base + 0x0C) & BIT(11))
		advice("tx queue %u: descriptors are written back in any order (DCA_TXCTRL bit 11)", index);
	if (!rx && !(R(DMATXCTL) & 1))
		forbidden("tx queue %u is enabled before DMATXCTL.TE", index);
	if (!rx && (value & 0x7F) && !(value >> 8 & 0x7F))
		advice("tx queue %u: PTHRESH without HTHRESH", index);
	if (!R(base + 8) || R(base + 8) % 16 || q->entries > RING_MOST || !dma(phys, R(base + 8)))
		q->enabled = false;
}

// ---- Transmission --------------------------------------------------------------------------------------------

static uint32_t sum16(const uint8_t *data, uint32_t len, uint32_t sum)
{
	for (; len > 1; len -= 2, data += 2)
		sum += (uint32_t)data[0] << 8 | data[1];
	return len ? sum + ((uint32_t)*data << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xFFFF) + (sum >> 16);
	return (uint16_t)~sum;
}

// IXSM and TXSM of the descriptor, with the context's lengths (s.7.2.4, 7.2.5).
static void checksums(uint8_t *frame, uint32_t len, uint64_t q1, struct desc context)
{
	uint32_t ip = context.q0 >> 9 & 0x7F, iplen = context.q0 & 0x1FF, type = context.q1 >> 11 & 3, l4 = ip + iplen;
	bool v4 = context.q1 & BIT(10);
	if (ip + iplen > len || l4 + 8 > len) {
		forbidden("a transmit context of %u and %u bytes for a frame of %u", ip, iplen, len);
		return;
	}
	if (q1 >> 40 & 1 && v4) {
		frame[ip + 10] = frame[ip + 11] = 0;
		uint16_t sum = fold(sum16(frame + ip, iplen, 0));
		frame[ip + 10] = (uint8_t)(sum >> 8);
		frame[ip + 11] = (uint8_t)sum;
	}
	if (q1 >> 41 & 1) {
		uint32_t at = l4 + (type == 1 ? 16 : 6);
		if (at + 2 > len)
			return;
		// What is there is the sum of the pseudo header.
		uint32_t end = v4 ? ip + ((uint32_t)frame[ip + 2] << 8 | frame[ip + 3]) : len;
		uint16_t sum = fold(sum16(frame + l4, (end < len ? end : len) - l4, 0));
		if (!sum && type != 1)
			sum = 0xFFFF;
		frame[at] = (uint8_t)(sum >> 8);
		frame[at + 1] = (uint8_t)sum;
	}
}

static bool send_frame(const uint8_t *frame, uint32_t len)
{
	struct sockaddr *address = to.sun_path[0] ? (struct sockaddr *)&to : NULL;
	ssize_t done = sendto(frames_fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL, address, address ? sizeof(to) : 0);
	if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS))
		return false;
	sent_bytes += len;
	return true; // without a peer it is gone
}

static void tx_drain(void)
{
	while (tx_fifo.first && send_frame(tx_fifo.first->data, tx_fifo.first->length))
		fifo_drop(&tx_fifo);
}

static void tx_write_back(struct queue *q, uint32_t base, uint32_t slot)
{
	struct desc *at = ring_at(q, base, slot);
	if (R(base + 0x38) & 1) { // head write-back
		uint32_t *head = (uint32_t *)dma((R(base + 0x38) & ~3u) | (uint64_t)R(base + 0x3C) << 32, 4);
		if (!head)
			forbidden("tx queue %u: head write-back to %#x", (uint32_t)(q - txq), R(base + 0x38));
		else if (q->copy[slot].q1 & BIT(27))
			__atomic_store_n(head, (slot + 1) % q->entries, __ATOMIC_RELEASE);
	} else if (q->copy[slot].q1 & BIT(27)) {
		at->q0 = 0; // reserved: whoever reads it is wrong
		__atomic_store_n(&at->q1, 1ull << 32, __ATOMIC_RELEASE);
	}
}

static void check_frame(uint32_t index, uint8_t *frame, uint32_t len, uint64_t first, uint64_t last,
	struct desc context)
{
	uint32_t paylen = (uint32_t)(first >> 46);
	if (first & BIT(29)) {
		if (first & BIT(31))
			advice("tx queue %u: segmentation is not modelled", index);
		else if (paylen != len)
			forbidden("tx queue %u: PAYLEN %u, but the lengths add up to %u", index, paylen, len);
		if (paylen < 17)
			forbidden("tx queue %u: PAYLEN %u", index, paylen);
		if (first >> 40 & 3)
			checksums(frame, len, first, context);
	}
	if (!(last & BIT(25)))
		forbidden("tx queue %u: a frame without IFCS", index);
	if (len > 15872)
		forbidden("tx queue %u: a frame of %u bytes", index, len);
	if (len < 60 && !(R(HLREG0) & BIT(10)))
		forbidden("tx queue %u: a frame of %u bytes, and HLREG0.TXPADEN is off", index, len);
}

// The descriptor as it was given; it must still be so.
static struct desc tx_take(struct queue *q, uint32_t base, uint32_t slot)
{
	struct desc d = desc_read(ring_at(q, base, slot));
	if (memcmp(&d, &q->copy[slot], sizeof(d)))
		forbidden("tx queue %u: descriptor %u changed while the card owned it", (uint32_t)(q - txq), slot);
	return q->copy[slot];
}

static void tx_done(struct queue *q, uint32_t base, uint32_t end)
{
	for (; q->head != end; q->head = (q->head + 1) % q->entries)
		tx_write_back(q, base, q->head);
	R(base + 0x10) = end;
}

static bool tx_runs(const struct queue *q)
{
	return queue_on(q) && owned(q) && R(DMATXCTL) & 1 && !(R(RTTDCS) & ARBDIS) && link_up() && master_enabled() &&
		!hung(HANG_TX);
}

// One frame, of one or more descriptors.  False: nothing to do, or it must wait.
static bool transmit(uint32_t index)
{
	static uint8_t frame[FRAME_MOST + 65536];
	static struct desc contexts[QUEUES][2];
	struct queue *q = &txq[index];
	uint32_t base = 0x6000 + 0x40 * index, len = 0, slot = q->head;
	uint64_t first = 0, last = 0;
	if (!tx_runs(q))
		return false;
	if (!bus_master()) {
		forbidden("tx queue %u: DMA with Bus Master Enable off", index);
		return false;
	}
	for (uint32_t left = owned(q); !(last & BIT(24)); left--) {
		if (!left)
			return false; // the rest comes with the next tail
		struct desc d = tx_take(q, base, slot);
		uint32_t bytes = d.q1 & 0xFFFF;
		const uint8_t *from = dma(d.q0, bytes);
		slot = (slot + 1) % q->entries;
		if (d.q1 & BIT(29) && (d.q1 >> 20 & 15) == 2) {
			contexts[index][d.q1 >> 36 & 1] = d;
			tx_done(q, base, slot);
			return true;
		}
		if (!first)
			first = d.q1;
		last = d.q1;
		if (from && len + bytes <= sizeof(frame) - 64)
			memcpy(frame + len, from, bytes);
		len += bytes;
	}
	check_frame(index, frame, len, first, last, contexts[index][first >> 36 & 1]);
	if (len < 60) {
		memset(frame + len, 0, 60 - len);
		len = 60;
	}
	if ((tx_fifo.first || !send_frame(frame, len)) && !fifo_put(&tx_fifo, TX_BYTES, frame, len))
		return false;
	tx_done(q, base, slot);
	q->frames++;
	R(GPTC)++;
	R(0x8680 + 4 * (index & 15))++; // QPTC
	queue_interrupt(index, false);
	return true;
}

// ---- Reception -----------------------------------------------------------------------------------------------

static bool mac_passes(const uint8_t *to_mac)
{
	static const uint8_t everybody[6] = { 255, 255, 255, 255, 255, 255 };
	uint32_t fctrl = R(FCTRL);
	if (!memcmp(to_mac, everybody, 6))
		return fctrl & (BIT(10) | BIT(8));
	if (to_mac[0] & 1) {
		uint32_t hash = (to_mac[4] >> 4 | (uint32_t)to_mac[5] << 4) & 0xFFF;
		return fctrl & BIT(8) || (R(MCSTCTRL) & BIT(2) && R(MTA + 4 * (hash >> 5)) >> (hash & 31) & 1);
	}
	if (fctrl & BIT(9))
		return true;
	for (uint32_t i = 0; i < 128; i++)
		if (R(RAL + 8 * i + 4) & BIT(31) && !memcmp(&R(RAL + 8 * i), to_mac, 6))
			return true;
	return false;
}

// Toeplitz (s.7.1.2.8.1).
static uint32_t rss_hash(const uint8_t *data, uint32_t len)
{
	const uint8_t *key = (const uint8_t *)&R(RSSRK);
	uint32_t result = 0, window = (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
	for (uint32_t i = 0; i < len * 8; i++) {
		if (data[i / 8] >> (7 - i % 8) & 1)
			result ^= window;
		uint32_t next = i + 32;
		window = window << 1 | (key[next / 8] >> (7 - next % 8) & 1);
	}
	return result;
}

// The hash and its type (s.7.1.6.2), 0 if the frame has none.
static uint32_t rss(const uint8_t *frame, uint32_t len, uint32_t *hash)
{
	uint32_t fields = R(MRQC) >> 16, at = 14, type = (uint32_t)frame[12] << 8 | frame[13];
	uint8_t input[36];
	*hash = 0;
	if ((R(MRQC) & 15) != 1)
		return 0;
	if (type == 0x8100 && len >= 18) {
		at = 18;
		type = (uint32_t)frame[16] << 8 | frame[17];
	}
	if (type == 0x0800 && len >= at + 20) {
		uint32_t l4 = at + (frame[at] & 15) * 4, protocol = frame[at + 9];
		bool whole = !((frame[at + 6] & 0x3F) | frame[at + 7]) && len >= l4 + 4;
		memcpy(input, frame + at + 12, 8);
		if (whole)
			memcpy(input + 8, frame + l4, 4);
		if (whole && protocol == 6 && fields & BIT(0)) {
			*hash = rss_hash(input, 12);
			return 1;
		}
		if (whole && protocol == 17 && fields & BIT(6)) {
			*hash = rss_hash(input, 12);
			return 7;
		}
		if (fields & BIT(1)) {
			*hash = rss_hash(input, 8);
			return 2;
		}
	}
	if (type == 0x86DD && len >= at + 44) {
		uint32_t protocol = frame[at + 6];
		memcpy(input, frame + at + 8, 32);
		memcpy(input + 32, frame + at + 40, 4);
		if (protocol == 6 && fields & BIT(5)) {
			*hash = rss_hash(input, 36);
			return 3;
		}
		if (protocol == 17 && fields & BIT(7)) {
			*hash = rss_hash(input, 36);
			return 8;
		}
		if (fields & BIT(4)) {
			*hash = rss_hash(input, 32);
			return 5;
		}
	}
	return 0;
}

// Puts it into its queue.  False: there are no descriptors, and the queue may not drop.
static bool deliver(const uint8_t *frame, uint32_t len)
{
	uint32_t hash, type = rss(frame, len, &hash), index = type ? R(RETA + (hash & 0x7C)) >> 8 * (hash & 3) & 15 : 0;
	struct queue *q = &rxq[index];
	uint32_t base = rx_base(index), bytes = rx_buffer_bytes(base), left = len;
	if (!queue_on(q)) { // s.4.6.7: packets directed to a disabled queue are dropped
		q->dropped++;
		R(0x1430)++;
		return true;
	}
	if (!bus_master() || !master_enabled()) {
		if (!bus_master())
			forbidden("rx queue %u: DMA with Bus Master Enable off", index);
		q->dropped++;
		return true;
	}
	if (hung(HANG_RX))
		return true;
	if (owned(q) * (uint64_t)bytes < len) {
		if (!(R(base + 0x14) & BIT(28)))
			return false;
		q->dropped++;
		R(0x1430 + 0x40 * (R(0x2300 + 4 * (index / 4)) >> 8 * (index % 4) & 15))++;
		return true;
	}
	do {
		struct desc *at = ring_at(q, base, q->head), d = desc_read(at);
		uint32_t part = left < bytes ? left : bytes;
		uint8_t *buffer = dma(q->copy[q->head].q0, part);
		if (memcmp(&d, &q->copy[q->head], sizeof(d)))
			forbidden("rx queue %u: descriptor %u changed while the card owned it", index, q->head);
		if (buffer)
			memcpy(buffer, frame + len - left, part);
		left -= part;
		at->q0 = (uint64_t)hash << 32 | type;
		__atomic_store_n(&at->q1, (uint64_t)part << 32 | 1 | (left ? 0 : 2), __ATOMIC_RELEASE);
		q->head = (q->head + 1) % q->entries;
	} while (left);
	R(base + 0x10) = q->head;
	q->frames++;
	R(GPRC)++;
	R(0x1030 + 0x40 * (index & 15))++; // QPRC
	queue_interrupt(index, true);
	return true;
}

static void rx_drain(void)
{
	while (rx_fifo.first && deliver(rx_fifo.first->data, rx_fifo.first->length))
		fifo_drop(&rx_fifo);
}

static void receive(const uint8_t *frame, uint32_t len)
{
	uint32_t most = R(HLREG0) & BIT(2) ? R(MAXFRS) >> 16 : 1518;
	received++;
	if (!link_up() || !(R(RXCTRL) & 1) || R(SECRXCTRL) & BIT(1) || in_reset) {
		filtered++;
		return;
	}
	if (len < 60) { // 64 with its FCS
		R(RUC)++;
		return;
	}
	if (len + 4 > most + (frame[12] == 0x81 && frame[13] == 0 ? 4 : 0)) {
		R(ROC)++;
		return;
	}
	if (!mac_passes(frame)) {
		filtered++;
		return;
	}
	rx_drain();
	if (!rx_fifo.first && deliver(frame, len))
		return;
	if (!fifo_put(&rx_fifo, RX_BYTES, frame, len))
		R(RXMPC)++;
}

// In lossless operation: every queue has descriptors for what may come.
static bool room_for_frames(void)
{
	bool any = false;
	if (!link_up() || !(R(RXCTRL) & 1) || R(SECRXCTRL) & BIT(1))
		return !lossless;
	for (uint32_t i = 0; i < QUEUES; i++)
		if (queue_on(&rxq[i])) {
			any = true;
			if (lossless && owned(&rxq[i]) < 8)
				return false;
		}
	return any || !lossless;
}

// ---- Accesses ------------------------------------------------------------------------------------------------

static void check_crc_strip(void)
{
	if (R(RXCTRL) & 1 && !(R(RDRXCTL) >> 1 & 1) != !(R(HLREG0) >> 1 & 1))
		forbidden("RDRXCTL.CRCStrip %u, HLREG0.RXCRCSTRP %u", R(RDRXCTL) >> 1 & 1, R(HLREG0) >> 1 & 1);
}

static void reset_begins(uint32_t value)
{
	bool active = false;
	for (uint32_t i = 0; i < QUEUES; i++)
		active |= rxq[i].enabled || txq[i].enabled;
	if (active && master_enabled() && !hung(HANG_MASTER))
		forbidden("a reset while queues are on and PCIe Master Enable Status is set (s.5.2.5.3.2)");
	reset_registers(value & BIT(3));
	R(CTRL) = value & ~CTRL_MASTER_DISABLE;
	in_reset = true;
	reset_at = now();
}

static void reset_moves(void)
{
	if (in_reset && now() - reset_at > 500000 && !hung(HANG_RESET)) {
		in_reset = false;
		R(CTRL) &= ~CTRL_RESET;
	}
}

static void check_reset(uint32_t reg, bool write)
{
	uint64_t since = now() - reset_at;
	if (!reset_at)
		return;
	// A read of STATUS may be there to get the write out, as Intel's own driver does.
	if (in_reset && (write || (reg != CTRL && reg != STATUS)))
		forbidden("register %#x is %s before the reset has cleared", reg, write ? "written" : "read");
	// Half of what the datasheet asks for: an emulated guest's idea of a second is not ours to the last percent.
	else if (timing && since < 500000)
		advice("register %#x is accessed %u us after a reset was begun (s.8.2.3.1.1)", reg, (unsigned)(since / 1000));
	else if (timing && since < 5000000)
		advice("register %#x is accessed %u us after a reset (s.4.6.3.2)", reg, (unsigned)(since / 1000));
}

static uint32_t read_queue(uint32_t reg, struct queue *q, uint32_t base, bool rx)
{
	switch (reg - base) {
	case 0x10:
		return q->head;
	case 0x18:
		return q->tail;
	case 0x28: {
		uint32_t value = R(reg) & ~BIT(25);
		bool ready = now() >= q->ready_at && !hung(rx ? HANG_RXQ : HANG_TXQ);
		if (q->enabled == ready) { // on and ready, or off and not yet
			q->seen = q->enabled;
			value |= BIT(25);
		}
		return value;
	}
	}
	return R(reg);
}

static uint32_t read_register(uint32_t reg)
{
	uint32_t value = R(reg), base = 0;
	bool rx;
	struct queue *q = queue_of(reg, &base, &rx);
	if (kind_of(reg) < 0)
		advice("register %#x is read, but there is none", reg);
	if (kind_of(reg) == RC) {
		R(reg) = 0;
		return value;
	}
	if (q)
		return read_queue(reg, q, base, rx);
	switch (reg) {
	case CTRL:
	case CTRL + 4:
		return R(CTRL);
	case STATUS:
		return status();
	case EEC:
		value = has_eeprom ? BIT(8) | 8 << 11 : 0; // 0x4000 words
		if (now() - reset_at > 2000000 && !hung(HANG_EEPROM)) {
			value |= BIT(9);
			eeprom_seen = true;
		}
		return value;
	case EERD:
		return value & ~BIT(1) & ~BIT(0) ? (now() >= eerd_at ? value | BIT(1) : value & ~BIT(1)) : value;
	case RDRXCTL:
		if (now() - reset_at > 3000000 && !hung(HANG_DMA)) {
			value |= BIT(3);
			dma_seen = true;
		}
		return value;
	case LINKS:
		return link_up() ? BIT(30) | speed_bits << 28 : 0;
	case SECRXSTAT:
		return R(SECRXCTRL) & BIT(1) && now() >= path_at && !hung(HANG_PATH) ? 1 : 0;
	case SWSM:
		R(SWSM) |= 1; // whoever reads 0 has it
		return value;
	case EICR:
		R(EICR) = 0;
		return value;
	}
	return value;
}

static void write_queue(uint32_t reg, struct queue *q, uint32_t base, bool rx, uint32_t value)
{
	uint32_t index = (uint32_t)(q - (rx ? rxq : txq)), offset = reg - base;
	switch (offset) {
	case 0x18:
		R(reg) = value;
		tail_written(q, base, rx, value);
		if (!q->enabled)
			q->tail = value;
		return;
	case 0x28:
		R(reg) = value;
		control_written(q, base, rx, value);
		return;
	}
	// SRRCTL.Drop_En may change at any time.
	bool fixed = offset <= 8 || offset == 0x10 || (rx && offset == 0x14 && (R(reg) ^ value) & ~BIT(28));
	if (q->enabled && fixed)
		forbidden("%s queue %u: register %#x is written while the queue is on", rx ? "rx" : "tx", index, reg);
	if (offset == 0x10)
		q->head = value;
	if (!offset && value & 127)
		forbidden("%s queue %u: a ring at %#x", rx ? "rx" : "tx", index, value);
	R(reg) = value;
}

static void write_interrupts(uint32_t reg, uint32_t value, uint32_t old)
{
	switch (reg) {
	case EICR:
		R(EICR) = old & ~value;
		break;
	case EICS:
		R(EICS) = 0;
		interrupt_cause(value);
		break;
	case EIMS:
		R(EIMS) = old | value;
		interrupt_send();
		break;
	case EIMC:
		R(EIMS) &= ~value;
		R(EIMC) = 0;
		break;
	case 0xAB0:
	case 0xAB4: // EIMC_EX
		R(reg - 0x10) &= ~value;
		R(reg) = 0;
		if (reg == 0xAB0)
			R(EIMS) &= ~(value & 0xFFFF);
		break;
	case 0xAA0:
	case 0xAA4: // EIMS_EX: the first 16 are those of EIMS
		R(reg) |= old;
		if (reg == 0xAA0)
			R(EIMS) |= value & 0xFFFF;
		interrupt_send();
		break;
	}
}

static void check_write(uint32_t reg, uint32_t value, uint32_t old)
{
	bool held = !(R(RTTDCS) & ARBDIS) && old != value;
	switch (reg) {
	case HLREG0:
	case RDRXCTL:
		if (old != value)
			check_crc_strip();
		break;
	case RXCTRL:
		if (!(value & ~old & 1))
			break;
		if (!(R(SECRXCTRL) & BIT(1)) || now() < path_at)
			advice("RXCTRL.RXEN is set while the path is on (s.4.6.7)");
		if (R(RDRXCTL) >> 17 & 0x1F)
			advice("RDRXCTL.RSCFRSTSIZE is not 0");
		check_crc_strip();
		break;
	case FCTRL:
		if (R(RXCTRL) & 1 && old != value)
			advice("FCTRL is changed while RXCTRL.RXEN is set (s.8.2.3.7.1)");
		break;
	case MTQC:
		if (held)
			forbidden("MTQC is changed without RTTDCS.ARBDIS");
		break;
	case DTXMXSZRQ:
		if (held)
			advice("DTXMXSZRQ is changed without RTTDCS.ARBDIS (s.4.6.8)");
		break;
	}
	if (reg >= 0xCC00 && reg <= 0xCC1C && held)
		advice("TXPBSIZE is changed without RTTDCS.ARBDIS (s.4.6.8)");
}

static void write_register(uint32_t reg, uint32_t value)
{
	uint32_t base = 0, old = R(reg);
	bool rx;
	struct queue *q = queue_of(reg, &base, &rx);
	if (kind_of(reg) < 0)
		advice("register %#x is written (%#x), but there is none", reg, value);
	if (kind_of(reg) == RO)
		advice("register %#x is written (%#x), but only to be read", reg, value);
	if (kind_of(reg) == RO || kind_of(reg) == RC)
		return;
	if (q)
		return write_queue(reg, q, base, rx, value);
	R(reg) = value;
	switch (reg) {
	case CTRL:
	case CTRL + 4:
		R(CTRL) = value;
		if (value & CTRL_RESET)
			reset_begins(value);
		break;
	case EEC:
		R(EEC) = old;
		break;
	case EERD:
		if (old && now() < eerd_at)
			forbidden("EERD is written while it reads");
		if (value & 1) {
			uint32_t at = value >> 2 & 0x3FFF;
			R(EERD) = (uint32_t)eeprom[at] << 16 | (value & 0xFFFC);
			eerd_at = now() + 10000;
		}
		break;
	case SWSM:
		R(SWSM) = value & 3;
		break;
	case AUTOC:
		if (value & BIT(12)) {
			R(AUTOC) &= ~BIT(12);
			negotiated = true;
			link_at = now() + 20000000;
		}
		break;
	case MSCA:
		R(MSCA) &= ~BIT(30);
		R(0x4260) = 0xFFFF0000;
		break;
	case SECRXCTRL:
		if (value & ~old & BIT(1))
			path_at = now() + 20000;
		break;
	}
	check_write(reg, value, old);
	write_interrupts(reg, value, old);
}

// The place of a register that also has the one it had in the 82598.
static uint32_t alias(uint32_t reg)
{
	if (reg >= 0x2100 && reg < 0x2140) // SRRCTL
		return 0x1014 + (reg - 0x2100) * 16;
	if (reg >= 0x2200 && reg < 0x2240) // DCA_RXCTRL
		return 0x100C + (reg - 0x2200) * 16;
	if (reg >= 0x5400 && reg < 0x5480)
		return RAL + reg - 0x5400;
	if (reg >= 0x5C00 && reg < 0x5C80)
		return RETA + reg - 0x5C00;
	if (reg >= 0x5C80 && reg < 0x5CA8)
		return RSSRK + reg - 0x5C80;
	return reg == 0x5818 ? MRQC : reg;
}

static uint64_t access_registers(uint64_t reg, uint32_t size, bool write, uint64_t value)
{
	if (size == 8 && write && reg == 0xEE28) { // FDIRHASH and FDIRCMD, as Intel's own driver writes them
		write_register(0xEE28, (uint32_t)value);
		write_register(0xEE2C, (uint32_t)(value >> 32));
		return 0;
	}
	if (size != 4 || reg & 3) {
		forbidden("register %#lx is %s with %u bytes", (unsigned long)reg, write ? "written" : "read", size);
		return ~0ull;
	}
	reg = alias((uint32_t)reg);
	reset_moves();
	check_reset((uint32_t)reg, write);
	if (write)
		write_register((uint32_t)reg, (uint32_t)value);
	else
		value = read_register((uint32_t)reg);
	return value;
}

static uint64_t access_msix(uint64_t at, uint32_t size, bool write, uint64_t value)
{
	if (at + size > sizeof(msix))
		return 0; // the pending bits
	if (write)
		memcpy(msix + at, &value, size);
	else
		memcpy(&value, msix + at, size);
	return value;
}

// ---- Configuration space (s.9.3) -----------------------------------------------------------------------------

static struct bar {
	uint32_t at, bytes, flags;
	bool wide;
} bars[] = { { 0x10, REGISTERS, 4, true }, { 0x18, 32, 1, false }, { 0x20, 16384, 4, true } };

static void put(uint32_t at, uint32_t size, uint32_t value, uint32_t mask)
{
	memcpy(config + at, &value, size);
	memcpy(config_mask + at, &mask, size);
}

static void config_init(uint32_t id)
{
	put(0x00, 4, 0x8086 | id << 16, 0);
	put(0x04, 4, 0x00100000, 0x0547);
	put(0x08, 4, 0x02000001, 0); // Ethernet, revision 1
	put(0x0C, 4, 0, 0xFF);
	for (size_t i = 0; i < COUNT(bars); i++) {
		put(bars[i].at, 4, bars[i].flags, ~(bars[i].bytes - 1));
		if (bars[i].wide)
			put(bars[i].at + 4, 4, 0, ~0u);
	}
	put(0x2C, 4, 0x00038086, 0);
	put(0x34, 4, 0x40, 0);
	put(0x3C, 4, 0x0100, 0xFF);
	put(0x40, 4, 0x00235001, 0); // power management
	put(0x44, 4, 0, 0x8103);
	put(0x50, 4, 0x00807005, 0x00010000); // MSI of 64 bits
	put(0x54, 4, 0, ~3u);
	put(0x58, 4, 0, ~0u);
	put(0x5C, 4, 0, 0xFFFF);
	put(0x70, 4, 0x003FA011, 0xC0000000); // MSI-X: 64 entries, BAR 4
	put(0x74, 4, 0x00000004, 0);
	put(0x78, 4, 0x00002004, 0);
	put(0xA0, 4, 0x00020010, 0); // PCI Express endpoint
	put(0xA4, 4, 0x00008CC2, 0);
	put(0xA8, 4, 0x00002810, 0x00007FFF);
	put(0xAC, 4, 0x00034C82, 0);
	put(0xB0, 4, 0x00820000, 0x00000FFF);
	put(0xC4, 4, 0x0000001F, 0);
	put(0xC8, 4, 0, 0x1F);
}

static uint32_t config_read(uint32_t at, uint32_t size)
{
	uint32_t value = 0;
	if (at + size > sizeof(config))
		return ~0u;
	memcpy(&value, config + at, size);
	// QEMU sizes each half as a BAR of its own.
	if (!sized && (at == 0x14 || at == 0x24))
		value = 0;
	return value;
}

static void config_write(uint32_t at, uint32_t size, uint32_t value)
{
	for (uint32_t i = 0; i < size && at + i < sizeof(config); i++)
		config[at + i] = (uint8_t)((config[at + i] & ~config_mask[at + i]) | ((value >> 8 * i) & config_mask[at + i]));
}

static uint64_t bar_access(uint64_t address, uint32_t size, bool is_memory, bool write, uint64_t value)
{
	for (size_t i = 0; i < COUNT(bars); i++) {
		uint32_t low;
		memcpy(&low, config + bars[i].at, 4);
		uint64_t offset = address - (low & ~(bars[i].bytes - 1));
		if (!(bars[i].flags & 1) != is_memory || offset >= bars[i].bytes)
			continue;
		if (i == 1)
			return ~0ull; // IOADDR, IODATA: nobody uses them
		if (write)
			writes++;
		else
			reads++;
		return i ? access_msix(offset, size, write, value) : access_registers(offset, size, write, value);
	}
	return ~0ull;
}

// ---- QEMU ----------------------------------------------------------------------------------------------------

struct header {
	int32_t command;
	uint32_t padding;
	uint64_t size;
};
enum { SYNC_SYSMEM, RET, CONFIG_WRITE, CONFIG_READ, BAR_WRITE, BAR_READ, SET_IRQFD, DEVICE_RESET };

static bool read_all(void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t got = read(qemu, (char *)data + done, len - done);
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

static void reply(uint64_t value)
{
	struct {
		struct header head;
		uint64_t value;
	} answer = { { RET, 0, 8 }, value };
	if (write(qemu, &answer, sizeof(answer)) != sizeof(answer))
		exit(2);
}

static void sync_memory(const uint64_t *body, const int *fds, uint32_t count)
{
	for (size_t i = 0; i < COUNT(memory); i++)
		if (memory[i].at)
			munmap(memory[i].at, memory[i].size);
	memset(memory, 0, sizeof(memory));
	for (uint32_t i = 0; i < count && i < COUNT(memory); i++) {
		memory[i].phys = body[i];
		memory[i].size = body[8 + i];
		memory[i].at = mmap(NULL, body[8 + i], PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], (off_t)body[16 + i]);
		if (memory[i].at == MAP_FAILED) {
			perror("mmap");
			exit(2);
		}
	}
}

// One message.  False: QEMU is gone.
static bool serve(void)
{
	struct header head;
	union {
		uint64_t sysmem[24];
		struct {
			uint32_t address, value;
			int32_t length;
		} config;
		struct {
			uint64_t address, value;
			uint32_t size;
			uint8_t memory;
		} bar;
		uint8_t bytes[256];
	} body = { 0 };
	char space[CMSG_SPACE(8 * sizeof(int))];
	struct iovec io = { &head, sizeof(head) };
	struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	int fds[8];
	uint32_t count = 0;
	ssize_t got = recvmsg(qemu, &message, MSG_WAITALL);
	if (got != sizeof(head) || head.size > sizeof(body) || !read_all(&body, head.size))
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			count = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(c), count * sizeof(int));
		}
	switch (head.command) {
	case SYNC_SYSMEM:
		sync_memory(body.sysmem, fds, count);
		break;
	case CONFIG_WRITE:
		config_write(body.config.address, (uint32_t)body.config.length, body.config.value);
		reply(0);
		break;
	case CONFIG_READ:
		reply(config_read(body.config.address, (uint32_t)body.config.length));
		break;
	case BAR_WRITE:
		bar_access(body.bar.address, body.bar.size, body.bar.memory, true, body.bar.value);
		reply(0);
		break;
	case BAR_READ:
		reply(bar_access(body.bar.address, body.bar.size, body.bar.memory, false, 0));
		break;
	case DEVICE_RESET:
		sized = true;
		config[4] = config[5] = 0;
		reset_registers(true);
		reply(0);
		break;
	}
	for (uint32_t i = 0; i < count; i++)
		close(fds[i]);
	return true;
}

// ---- Commands ------------------------------------------------------------------------------------------------

// A list of words, with blanks or commas between.
static void set_hangs(const char *words)
{
	hangs = 0;
	while (*words) {
		size_t len = strcspn(words, " ,");
		for (size_t i = 0; i < COUNT(hang_names); i++)
			if (strlen(hang_names[i]) == len && !strncmp(words, hang_names[i], len))
				hangs |= BIT(i);
		words += len + (words[len] != 0);
	}
}

static size_t counts(char *text, size_t room)
{
	const struct {
		const char *name;
		uint64_t value;
	} all[] = {
		{ "forbidden", forbidden_count },
		{ "advice", advice_count },
		{ "reads", reads },
		{ "writes", writes },
		{ "doorbells", doorbells },
		{ "sent_bytes", sent_bytes },
		{ "received", received },
		{ "filtered", filtered },
		{ "interrupts", interrupts },
		{ "link", link_up() },
		{ "rxen", R(RXCTRL) & 1 },
		{ "bme", bus_master() },
	};
	size_t len = 0;
	for (size_t i = 0; i < COUNT(all); i++)
		len += (size_t)snprintf(text + len, room - len, "%s=%lu\n", all[i].name, all[i].value);
	for (uint32_t i = 0; i < QUEUES; i++) {
		const struct queue *rx = &rxq[i], *tx = &txq[i];
		if (rx->frames || rx->dropped || rx->enabled)
			len += (size_t)snprintf(text + len, room - len, "rx%u=%lu\nrx%u_dropped=%lu\nrx%u_on=%d\n", i, rx->frames,
				i, rx->dropped, i, rx->enabled);
		if (tx->frames || tx->enabled)
			len += (size_t)snprintf(text + len, room - len, "tx%u=%lu\ntx%u_on=%d\n", i, tx->frames, i, tx->enabled);
	}
	return len;
}

static bool command(void)
{
	char line[256], answer[65536] = "ok";
	ssize_t got = recv(control, line, sizeof(line) - 1, 0);
	size_t len = 2;
	if (got <= 0)
		return false;
	line[got] = 0;
	if (!strncmp(line, "link ", 5))
		cable = line[5] == '1';
	else if (!strncmp(line, "hang ", 5))
		set_hangs(line + 5);
	else if (!strncmp(line, "lossless ", 9))
		lossless = line[9] == '1';
	else if (!strcmp(line, "clear"))
		reads = writes = doorbells = 0;
	else if (!strcmp(line, "count"))
		len = counts(answer, sizeof(answer));
	else if (!strcmp(line, "complaints"))
		memcpy(answer, complaints, len = complaint_bytes);
	else
		len = (size_t)snprintf(answer, sizeof(answer), "what?");
	if (!len)
		answer[len++] = '\n';
	send(control, answer, len, MSG_NOSIGNAL);
	return true;
}

// ---- The process ---------------------------------------------------------------------------------------------

static void eeprom_init(void)
{
	static const uint16_t sections[][3] = { { 3, 0x100, 5 }, { 4, 0x120, 9 }, { 6, 0x140, 1 }, { 0xA, 0x160, 30 } };
	uint16_t sum = 0;
	for (uint32_t i = 0; i < 0x40; i++)
		eeprom[i] = i < 0x10 ? (uint16_t)(i * 0x1357) : 0xFFFF;
	eeprom[0] = 0x40 | 0x2003; // signature 01 in bits 7:6
	for (uint32_t i = 3; i < 0xF; i++)
		eeprom[i] = i & 1 ? 0xFFFF : 0;
	eeprom[0xF] = 0xFFFF; // no firmware module
	for (size_t s = 0; s < COUNT(sections); s++) {
		eeprom[sections[s][0]] = sections[s][1];
		eeprom[sections[s][1]] = sections[s][2];
		for (uint32_t i = 1; i <= sections[s][2]; i++)
			sum = (uint16_t)(sum + (eeprom[sections[s][1] + i] = (uint16_t)(i * 0x2345 + s)));
	}
	for (uint32_t i = 0; i < 0x3F; i++)
		sum = (uint16_t)(sum + eeprom[i]);
	eeprom[0x3F] = (uint16_t)(0xBABA - sum + !good_eeprom);
}

static int qtest_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (int i = 0; i < 500; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (!connect(fd, (struct sockaddr *)&address, sizeof(address))) {
			fcntl(fd, F_SETFL, O_NONBLOCK);
			return fd;
		}
		close(fd);
		usleep(10000);
	}
	return -1;
}

static const char *qtest_path;

static uint32_t option(const char *text, uint32_t id)
{
	unsigned v[6];
	if (sscanf(text, "mac=%2x%2x%2x%2x%2x%2x", v, v + 1, v + 2, v + 3, v + 4, v + 5) == 6)
		for (uint32_t i = 0; i < 6; i++)
			mac[i] = (uint8_t)v[i];
	else if (!strncmp(text, "id=", 3))
		id = (uint32_t)strtoul(text + 3, NULL, 16);
	else if (!strncmp(text, "to=", 3))
		snprintf(to.sun_path, sizeof(to.sun_path), "%s", text + 3);
	else if (!strncmp(text, "qtest=", 6))
		qtest_path = text + 6;
	else if (!strcmp(text, "eeprom=bad"))
		good_eeprom = false;
	else if (!strcmp(text, "eeprom=none"))
		has_eeprom = false;
	else if (!strcmp(text, "nolink"))
		cable = false;
	else if (!strcmp(text, "autolink"))
		autolink = true;
	else if (!strcmp(text, "memory32"))
		bars[0].flags = bars[0].wide = 0;
	else if (!strcmp(text, "timing=off"))
		timing = false;
	else if (!strncmp(text, "hang=", 5))
		set_hangs(text + 5);
	else
		fprintf(stderr, "option %s?\n", text);
	return id;
}

static bool frames_in(void)
{
	static uint8_t frame[FRAME_MOST];
	for (uint32_t i = 0; i < BUDGET && room_for_frames(); i++) {
		ssize_t len = recv(frames_fd, frame, sizeof(frame), MSG_DONTWAIT);
		if (len == 0 && !to.sun_path[0])
			return false; // the peer is gone
		if (len <= 0)
			break;
		receive(frame, (uint32_t)len);
	}
	return true;
}

int main(int argc, char **argv)
{
	uint32_t id = 0x10FB;
	bool peer = true;
	if (argc < 4) {
		fprintf(stderr, "usage: ixgbe_82599 QEMU FRAMES CONTROL [OPTION...]\n");
		return 2;
	}
	qemu = atoi(argv[1]);
	frames_fd = atoi(argv[2]);
	control = atoi(argv[3]);
	to.sun_family = AF_UNIX;
	for (int i = 4; i < argc; i++)
		id = option(argv[i], id);
	config_init(id);
	eeprom_init();
	reset_registers(true);
	for (;;) {
		bool sending = false, more = false;
		for (uint32_t i = 0; i < QUEUES; i++)
			for (uint32_t n = 0; n < BUDGET && txq[i].enabled && owned(&txq[i]); n++) {
				sending = true;
				if (!transmit(i))
					break;
				more = true;
			}
		tx_drain();
		rx_drain();
		bool room = peer && room_for_frames();
		struct pollfd polled[4] = {
			{ qemu, POLLIN, 0 },
			{ control, POLLIN, 0 },
			{ room ? frames_fd : -1, POLLIN, 0 },
			{ qtest, POLLIN, 0 },
		};
		// What waits for time, for the peer or for descriptors is looked at again soon.
		int timeout = more ? 0 : sending || !room || rx_fifo.first || tx_fifo.first ? 1 : 100;
		if (poll(polled, 4, timeout) < 0 && errno != EINTR)
			return 2;
		if (polled[0].revents && !serve())
			break;
		if (qtest < 0 && qtest_path && sized && (qtest = qtest_connect(qtest_path)) < 0)
			return 2;
		if (polled[1].revents && !command())
			control = -1;
		if (polled[2].revents && !frames_in())
			peer = false;
		if (polled[3].revents) {
			char answers[4096];
			if (read(qtest, answers, sizeof(answers)) == 0)
				qtest_path = NULL, qtest = -1;
		}
	}
	while (control >= 0 && command()) // what was seen can still be asked for
		continue;
	return forbidden_count != 0;
}
