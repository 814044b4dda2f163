// Does to the card what its datasheet forbids, one thing after the other: the model behind it must see each.  Prints
// "poke: NAME" before each; without a driver for the card.
#include <ingot.h>
#include <baremetal.h>

INGOT_NEEDS(shutdown);

static volatile uint8_t *card;
static uint32_t bus;
static uint8_t memory[65536] __attribute__((aligned(4096)));

static uint32_t get(uint32_t reg)
{
	return *(volatile uint32_t *)(card + reg);
}

static void set(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(card + reg) = value;
}

static void master(int on)
{
	b_system(0x51, on ? 0x0406 : 0x0402, bus | 1);
}

static void reset(void)
{
	set(0x3000, 0);
	set(0, get(0) | 4);
	while (get(8) & 1 << 19)
		ingot_relax();
	set(0, 1 << 26 | 1 << 3);
	ingot->delay_us(12000);
	while (get(0) & (1 << 26 | 1 << 3) || !(get(0x10010) & 1 << 9) || !(get(0x2F00) & 1 << 3))
		ingot_relax();
}

#define RX 0x1000
#define TX 0x6000

static uint64_t phys(const void *at)
{
	size_t run;
	return ingot->phys(at, 1, &run);
}

static void ring(uint32_t base, uint32_t at, uint32_t bytes)
{
	set(base, (uint32_t)phys(memory + at));
	set(base + 4, 0);
	set(base + 8, bytes);
}

static void enable(uint32_t base)
{
	set(base + 0x28, 1 << 25);
	while (!(get(base + 0x28) & 1 << 25))
		ingot_relax();
}

static void rx_queue(void)
{
	reset();
	for (uint32_t i = 0; i < 16; i++) {
		*(uint64_t *)(memory + 16 * i) = phys(memory + 16384 + 2048 * i);
		*(uint64_t *)(memory + 16 * i + 8) = 0;
	}
	ring(RX, 0, 256);
	set(RX + 0x0C, get(RX + 0x0C) & ~(1u << 12));
	set(RX + 0x14, 1 << 25 | 2);
	enable(RX);
}

static void tx_queue(void)
{
	reset();
	ring(TX, 4096, 256);
	set(TX + 0x0C, get(TX + 0x0C) & ~(1u << 11));
	set(0x4A80, get(0x4A80) | 1);
	enable(TX);
}

static void tx_desc(uint32_t slot, uint32_t len, uint32_t paylen)
{
	*(uint64_t *)(memory + 4096 + 16 * slot) = phys(memory + 8192);
	*(uint64_t *)(memory + 4096 + 16 * slot + 8) = len | 0x2B300000ul | (uint64_t)paylen << 46;
}

static void dd_set(void)
{
	rx_queue();
	*(uint64_t *)(memory + 24) = 3;
	set(RX + 0x18, 4);
}

static void tail_early(void)
{
	reset();
	ring(RX, 0, 256);
	set(RX + 0x14, 1 << 25 | 2);
	set(RX + 0x28, 1 << 25);
	set(RX + 0x18, 8);
}

static void tx_tail_early(void)
{
	reset();
	ring(TX, 4096, 256);
	set(0x4A80, get(0x4A80) | 1);
	tx_desc(0, 60, 60);
	set(TX + 0x28, 1 << 25);
	set(TX + 0x18, 1);
}

static void paylen(void)
{
	tx_queue();
	tx_desc(0, 60, 64);
	set(0x42A0, get(0x42A0) | 1 << 12);
	set(TX + 0x18, 1);
	ingot->delay_us(50000);
}

static void crc_strip(void)
{
	rx_queue();
	set(0x8D00, 2);
	while (!(get(0x8D04) & 1))
		ingot_relax();
	set(0x2F00, 0); // CRCStrip off, HLREG0.RXCRCSTRP is on
	set(0x3000, 1);
}

static void mtqc(void)
{
	reset();
	set(0x8120, 0xC);
}

static void te_missing(void)
{
	reset();
	ring(TX, 4096, 256);
	set(TX + 0x28, 1 << 25);
}

static void master_off(void)
{
	rx_queue();
	master(0);
	set(RX + 0x18, 8);
	master(1);
}

static void changed(void)
{
	tx_queue();
	set(0x42A0, get(0x42A0) | 1 << 12);
	set(0x4900, 1 << 6); // the arbiter holds it
	tx_desc(0, 60, 60);
	set(TX + 0x18, 1);
	tx_desc(0, 61, 61);
	ingot->delay_us(30000);
	set(0x4900, 0);
	ingot->delay_us(50000);
}

static void ring_length(void)
{
	reset();
	ring(RX, 0, 200);
	set(RX + 0x14, 1 << 25 | 2);
	set(RX + 0x28, 1 << 25);
}

static void ring_place(void)
{
	reset();
	ring(RX, 16, 256);
}

static void width(void)
{
	reset();
	(void)*(volatile uint16_t *)(card + 8);
}

static void in_reset(void)
{
	reset();
	set(0, 1 << 26);
	(void)get(0x42A4);
}

static void reset_busy(void)
{
	rx_queue();
	set(0, 1 << 26);
	ingot->delay_us(12000);
}

static void unready(void)
{
	reset();
	set(0, get(0) | 4);
	set(0, 1 << 26);
	ingot->delay_us(12000);
	ring(RX, 0, 256);
	set(RX + 0x14, 1 << 25 | 2);
	set(RX + 0x28, 1 << 25);
}

static void too_many(void)
{
	rx_queue();
	set(RX + 0x18, 8);
	set(RX + 0x18, 7);
}

static void tail_outside(void)
{
	rx_queue();
	set(RX + 0x18, 16);
}

static void no_memory(void)
{
	rx_queue();
	*(uint64_t *)(memory + 16) = 0xF000000000ul;
	set(RX + 0x18, 4);
}

static void base_moved(void)
{
	rx_queue();
	set(RX, (uint32_t)phys(memory + 128));
}

static void same_buffer(void)
{
	rx_queue();
	*(uint64_t *)(memory + 16) = *(uint64_t *)memory;
	set(RX + 0x18, 4);
}

int main(void)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} tries[] = {
		{ "dd", dd_set },
		{ "rx tail", tail_early },
		{ "tx tail", tx_tail_early },
		{ "paylen", paylen },
		{ "crc", crc_strip },
		{ "mtqc", mtqc },
		{ "te", te_missing },
		{ "master", master_off },
		{ "changed", changed },
		{ "length", ring_length },
		{ "place", ring_place },
		{ "width", width },
		{ "reset", in_reset },
		{ "busy", reset_busy },
		{ "unready", unready },
		{ "many", too_many },
		{ "outside", tail_outside },
		{ "memory", no_memory },
		{ "moved", base_moved },
		{ "same", same_buffer },
	};
	for (uint32_t device = 0; device < 32; device++)
		if ((uint32_t)b_system(0x50, 0, device << 19) == 0x10FB8086)
			bus = device << 19;
	card = (volatile uint8_t *)(uintptr_t)((uint32_t)b_system(0x50, 0, bus | 4) & ~15u);
	master(1);
	for (uint32_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		ingot_print("poke: ");
		ingot_print(tries[i].name);
		ingot_print("\n");
		tries[i].fn();
		ingot_print("poked\n");
		ingot_wait_key();
	}
	reset();
	ingot->shutdown();
	return 0;
}
