// A program of version 1: knows nothing of what came later, and finds everything where it was.
#include "ingot_v1.h"

static const char *failed;

#define CHECK(condition) \
	do { \
		if (!(condition) && !failed) \
			failed = #condition; \
	} while (0)

static void print(const char *text)
{
	size_t len = 0;
	while (text[len])
		len++;
	ingot->write(text, len);
}

static volatile uint32_t ticks, ran;

static void tick(void *arg)
{
	ticks += (uint32_t)(uintptr_t)arg;
}

static void work(void *arg)
{
	ran = (uint32_t)(uintptr_t)arg + ingot->core_self();
}

static void check_core(void)
{
	uint64_t before = ingot->time_ns();
	ingot->delay_us(100);
	CHECK(ingot->time_ns() - before >= 100000);
	CHECK(ingot->core_count() == 2 && ingot->core_self() == 0);
	CHECK(ingot->core_start(1, work, (void *)100) == INGOT_OK);
	while (ingot->core_busy(1))
		;
	CHECK(ran == 101);
	CHECK(ingot->core_start(2, work, NULL) == INGOT_ENODEV && ingot->core_start(0, work, NULL) == INGOT_EBUSY);
	CHECK(ingot->core_apic_id(0) != ingot->core_apic_id(1));
	CHECK(ingot->on_timer(1000, tick, (void *)1) == INGOT_OK);
	while (ticks < 3)
		__asm__ volatile("hlt");
	CHECK(ingot->on_timer(0, NULL, NULL) == INGOT_OK);
	CHECK(ingot->on_key(tick, NULL) == INGOT_OK && ingot->on_key(NULL, NULL) == INGOT_OK && !ingot->read());
}

// Each structure is as long as it was, and nothing behind it is touched.
static void check_structures(void)
{
	static struct {
		struct ingot_memory memory;
		uint64_t behind_memory;
		struct ingot_net_info net;
		uint64_t behind_net;
		struct ingot_blk_info blk;
		uint64_t behind_blk;
		struct ingot_device_info device;
		uint64_t behind_device;
		struct ingot_driver_info driver;
		uint64_t behind_driver;
	} all;
	size_t run;
	all.memory.size = sizeof(all.memory);
	CHECK(ingot->memory(&all.memory) == INGOT_OK && all.memory.size == sizeof(all.memory));
	CHECK(all.memory.base == (void *)0xFFFF800000000000 && all.memory.bytes > 1 << 20);
	CHECK(
		(char *)all.memory.free > (char *)&all && (char *)all.memory.free < (char *)all.memory.base + all.memory.bytes);
	CHECK(all.memory.kernel_kib && all.memory.driver_kib && all.memory.ram_mib);
	CHECK(ingot->phys(&all, sizeof(all), &run) && run == sizeof(all));
	all.device.size = 8; // an even older structure
	CHECK(ingot->device_info(0, &all.device) == INGOT_OK && all.device.size == 8 && all.device.vendor == 0x8086);
	CHECK(!all.device.subvendor && !all.device.class_code && !all.device.address[0]);
	all.net.size = sizeof(all.net);
	CHECK(ingot->net_count() == 1 && ingot->net_info(0, &all.net) == INGOT_OK);
	CHECK(all.net.size == sizeof(all.net) && all.net.mac[0] == 0x52 && all.net.mtu == 1500 && all.net.link == 1);
	CHECK(all.net.name[0] == 'n' && all.net.driver[0] == 'v' && all.net.address[4] == ':' && all.net.queues >= 1);
	all.blk.size = sizeof(all.blk);
	CHECK(ingot->blk_count() == 1 && ingot->blk_info(0, &all.blk) == INGOT_OK);
	CHECK(all.blk.size == sizeof(all.blk) && all.blk.block_bytes == 512 && all.blk.blocks == 8 << 11);
	CHECK(all.blk.name[0] == 'd' && all.blk.driver[0] == 'v' && all.blk.address[4] == ':');
	all.device.size = sizeof(all.device);
	CHECK(ingot->device_info(0, &all.device) == INGOT_OK && all.device.size == sizeof(all.device));
	CHECK(all.device.vendor == 0x8086 && all.device.class_code >> 16 == 6 && all.device.status == INGOT_ENODEV);
	all.driver.size = sizeof(all.driver);
	CHECK(ingot->driver_info(0, &all.driver) == INGOT_OK && all.driver.size == sizeof(all.driver));
	CHECK(all.driver.bus[0] == 'p' && all.driver.name[0]);
	CHECK(!all.behind_memory && !all.behind_net && !all.behind_blk && !all.behind_device && !all.behind_driver);
}

static void check_devices(void)
{
	static uint8_t block[512] __attribute__((aligned(4096)));
	static struct ingot_frame *frames[8];
	struct ingot_blk_req req = { 3, 1, INGOT_READ, block, 77 };
	struct ingot_blk_done done = { 0, -1, 0 };
	struct ingot_net_stats stats;
	struct ingot_pool *pool = ingot->net_pool(0, 0);
	CHECK(ingot->blk_run(0, &req) == INGOT_OK && block[0] == 0x5A && block[511] == 0x5A);
	block[0] = 0;
	CHECK(ingot->blk_submit(0, 0, &req) == INGOT_OK);
	while (!ingot->blk_poll(0, 0, &done, 1))
		;
	CHECK(done.tag == 77 && done.status == INGOT_OK && block[0] == 0x5A);
	CHECK(pool && pool->available && pool->available <= pool->total);
	if (pool && pool->free) {
		frames[0] = pool->free;
		pool->free = frames[0]->next;
		pool->available--;
		for (uint32_t i = 0; i < 60; i++)
			frames[0]->data[i] = i < 6 ? 0xFF : i;
		frames[0]->length = 60;
		CHECK(ingot->net_tx(0, 0, frames, 1) == 1);
	}
	CHECK(ingot->net_rx(0, 0, frames, 0) == 0);
	for (uint64_t end = ingot->time_ns() + 1000000000; ingot->net_stats(0, &stats) == INGOT_OK && !stats.tx_frames;)
		if (ingot->time_ns() > end)
			break;
	CHECK(stats.tx_frames == 1 && stats.tx_bytes == 60);
}

static void check_log(void)
{
	static char text[64];
	uint64_t next = 0;
	size_t bytes = ingot->log_read(0, text, sizeof(text), &next);
	CHECK(bytes == sizeof(text) && next == sizeof(text));
	CHECK(text[1] == 'I' && text[2] == 'n');
}

int main(int argc, char **argv)
{
	CHECK(ingot->version >= INGOT_API_VERSION && ingot->size >= sizeof(struct ingot_api));
	CHECK(ingot->kernel[0] == 'I');
	for (const uint64_t *entry = (const uint64_t *)&ingot->write; entry <= (const uint64_t *)&ingot->shutdown; entry++)
		CHECK(*entry);
	CHECK(argc == 3 && argv[1][0] == 'o' && argv[2][0] == 't' && !argv[3]);
	check_core();
	check_structures();
	check_devices();
	check_log();
	print(failed ? "old: FAIL: " : "old: PASS");
	print(failed ? failed : "");
	print("\n");
	ingot->shutdown();
	return 0;
}
