// What came with version 2 of the native interface: sleeping and waking, each core's own, and devices that change
// hands between the kernel's drivers and a program.  For 4 cores, two virtio-net and a virtio-blk with 8 MiB.
#include <ingot.h>
#include <ingot_pci.h>
#include <lib.h>

INGOT_NEEDS(device_irq);

#define CORES 4
#define ROUNDS 40

static const char *failed;

#define CHECK(condition) \
	do { \
		if (!(condition) && !failed) \
			failed = #condition; \
	} while (0)

// ---- Cores -----------------------------------------------------------------------------------------------------

static struct ingot_barrier barrier = { CORES, 0, 0 };
static uint32_t ball, asleep;
INGOT_PER_CORE(uint64_t, counted);

static void count(void *arg)
{
	for (uint32_t i = 0; i < ROUNDS; i++) {
		(*ingot_mine(counted))++;
		ingot_barrier_wait(&barrier);
		for (uint32_t core = 0; core < CORES; core++)
			if (*ingot_of(counted, core) != i + 1)
				*(uint32_t *)arg = 1;
		ingot_barrier_wait(&barrier);
	}
}

// Sleeps until the ball is at its own number, and gives it to the next.
static void play(void *arg)
{
	uint32_t self = ingot->core_self(), at;
	(void)arg;
	for (uint32_t round = 0; round < ROUNDS / CORES; round++) {
		while ((at = __atomic_load_n(&ball, __ATOMIC_ACQUIRE)) % CORES != self)
			ingot_sleep_while(&ball, at);
		__atomic_store_n(&ball, at + 1, __ATOMIC_RELEASE);
		for (uint32_t core = 0; core < CORES; core++)
			CHECK(ingot->core_wake(core) == INGOT_OK);
	}
}

static void sleep_once(void *arg)
{
	(void)arg;
	__atomic_store_n(&asleep, 1, __ATOMIC_RELEASE);
	ingot_sleep();
	__atomic_store_n(&asleep, 2, __ATOMIC_RELEASE);
}

static void on_all(void (*fn)(void *arg), void *arg)
{
	for (uint32_t core = 1; core < CORES; core++)
		CHECK(ingot->core_start(core, fn, arg) == INGOT_OK);
	fn(arg);
	for (uint32_t core = 1; core < CORES; core++)
		ingot_core_wait(core);
}

static void check_cores(void)
{
	uint32_t wrong = 0;
	CHECK(ingot->core_count() == CORES);
	CHECK(sizeof(counted[0]) == 64 && !((uintptr_t)ingot_of(counted, 1) & 63));
	on_all(count, &wrong);
	CHECK(!wrong);
	on_all(play, NULL);
	CHECK(ball == ROUNDS / CORES * CORES);
	CHECK(ingot->core_start(1, sleep_once, NULL) == INGOT_OK);
	while (!__atomic_load_n(&asleep, __ATOMIC_ACQUIRE))
		ingot_relax();
	ingot->delay_us(20000);
	CHECK(__atomic_load_n(&asleep, __ATOMIC_ACQUIRE) == 1); // nothing else wakes it
	ingot->core_wake(1);
	ingot_core_wait(1);
	CHECK(asleep == 2);
	CHECK(ingot->core_wake(CORES) == INGOT_ENODEV);
}

// ---- Devices ---------------------------------------------------------------------------------------------------

static uint8_t block[4096] __attribute__((aligned(4096)));

static int read_block(void)
{
	const struct ingot_blk_req req = { 8, 1, INGOT_READ, block, 0 };
	block[0] = 0;
	return ingot->blk_run(0, &req) == INGOT_OK && block[0] == 0x5A;
}

static int has_driver(uint32_t device, const char *driver, const char *unit)
{
	struct ingot_device_info info = { .size = sizeof(info) };
	for (uint32_t i = 0; ingot->device_info(i, &info) == INGOT_OK; i++) {
		if (ingot_pci_address(info.address) != device)
			continue;
		for (uint32_t at = 0; driver[at] || info.driver[at]; at++)
			if (driver[at] != info.driver[at])
				return 0;
		for (uint32_t at = 0; unit[at] || info.unit[at]; at++)
			if (unit[at] != info.unit[at])
				return 0;
		return 1;
	}
	return 0;
}

static uint16_t command(uint32_t device)
{
	return ingot_pci_read16(device, INGOT_PCI_COMMAND);
}

static void nothing(void *arg)
{
	(void)arg;
}

static void check_addresses(void)
{
	CHECK(ingot_pci_address("0000:00:00.0") == 0 && ingot_pci_address("0001:a2:1F.7") == 0x1A2FF);
	static const char *const wrong[] = { "", "0000:00:00.", "0000:00:00.8", "0000:00:20.0", "0000:00:00.00",
		"000g:00:00.0", "usb 1-2", "mmio feb00e00" };
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CHECK(ingot_pci_address(wrong[i]) == INGOT_PCI_NONE);
	CHECK(ingot_pci_find(0x1AF4, 0x1000, 2) == INGOT_PCI_NONE);
	CHECK(ingot_pci_read32(INGOT_PCI_NONE, 0) == 0xFFFFFFFF);
}

static void check_config_space(uint32_t nic)
{
	struct ingot_pci_bar bar;
	CHECK(ingot_pci_read32(nic, 0) == 0x10001AF4 && ingot_pci_read16(nic, 2) == 0x1000 &&
		ingot_pci_read8(nic, 1) == 0x1A);
	CHECK(ingot_pci_read_bar(nic, 0, &bar) == INGOT_OK && bar.is_io && bar.bytes == 32);
	CHECK(ingot_pci_read_bar(nic, 1, &bar) == INGOT_OK && !bar.is_io && bar.bytes == 4096);
	CHECK(ingot_pci_read_bar(nic, 2, &bar) == INGOT_ENODEV && ingot_pci_read_bar(nic, 6, &bar) == INGOT_ENODEV);
	CHECK(ingot_pci_read_bar(nic, 4, &bar) == INGOT_OK && bar.bytes == 16384);
	CHECK(!ingot_pci_map(nic, 0, NULL) && ingot_pci_map(nic, 4, NULL));
	uint32_t vendor = ingot_pci_capability(nic, 9, 0), count = 0;
	for (uint32_t at = vendor; at; at = ingot_pci_capability(nic, 9, at))
		count++;
	CHECK(count == 5 && ingot_pci_capability(nic, 0x11, 0) && !ingot_pci_capability(nic, 0x01, 0));
	ingot_pci_enable(nic);
	CHECK((command(nic) & 7) == 7);
	CHECK(ingot_port_read8((uint16_t)(ingot_pci_read32(nic, 0x10) & ~3u)) ==
		ingot_port_read32((uint16_t)(ingot_pci_read32(nic, 0x10) & ~3u)) % 256);
}

static void check_claims(void)
{
	uint32_t nic = ingot_pci_find(0x1AF4, 0x1000, 0), other = ingot_pci_find(0x1AF4, 0x1000, 1);
	struct ingot_net_info info = { .size = sizeof(info) };
	CHECK(nic != INGOT_PCI_NONE && other != INGOT_PCI_NONE && nic != other);
	CHECK(ingot->net_count() == 2 && has_driver(nic, "virtio-net", "net0"));
	CHECK(ingot->device_claim(nic, 0) == INGOT_EBUSY && has_driver(nic, "virtio-net", "net0"));
	CHECK(ingot->device_claim(nic, 6) == INGOT_EINVAL && ingot->device_claim(INGOT_PCI_NONE, 0) == INGOT_ENODEV);
	CHECK(ingot->device_release(nic) == INGOT_ENODEV && ingot->device_irq(nic, 0, nothing, NULL) == INGOT_ENODEV);
	CHECK(ingot->device_claim(nic, INGOT_CLAIM_UNBIND) == INGOT_OK && has_driver(nic, "program", ""));
	CHECK(!(command(nic) & INGOT_PCI_COMMAND_MASTER));
	CHECK(ingot->net_info(0, &info) == INGOT_ENODEV && ingot->net_info(1, &info) == INGOT_OK);
	CHECK(ingot->device_claim(nic, INGOT_CLAIM_UNBIND) == INGOT_EBUSY);
	check_config_space(nic);
	for (uint32_t index = 0; index < 3; index++) // vectors=3
		CHECK(ingot->device_irq(nic, index, nothing, NULL) == INGOT_OK);
	CHECK(ingot->device_irq(nic, 3, nothing, NULL) == INGOT_ENOTSUP);
	CHECK(ingot_pci_read16(nic, ingot_pci_capability(nic, 0x11, 0) + 2) & 0x8000);
	CHECK(ingot->device_release(nic) == INGOT_OK && has_driver(nic, "virtio-net", "net0"));
	CHECK(ingot->net_info(0, &info) == INGOT_OK && info.link && ingot->net_count() == 2 &&
		has_driver(other, "virtio-net", "net1"));
}

// A drive taken from its driver and given back, with data before and after.
static void check_drive(void)
{
	uint32_t drive = ingot_pci_find(0x1AF4, 0x1001, 0);
	const struct ingot_blk_req req = { 8, 1, INGOT_READ, block, 0 };
	struct ingot_memory before = { .size = sizeof(before) }, after = before;
	CHECK(read_block());
	ingot->memory(&before);
	for (uint32_t i = 0; i < 20; i++) { // nothing is lost on the way
		CHECK(ingot->device_claim(drive, INGOT_CLAIM_UNBIND) == INGOT_OK && ingot->blk_count() == 0);
		CHECK(ingot->blk_run(0, &req) == INGOT_ENODEV);
		CHECK(ingot->device_irq(drive, 0, nothing, NULL) == INGOT_OK);
		CHECK(ingot->device_release(drive) == INGOT_OK && ingot->blk_count() == 1 && read_block());
	}
	ingot->memory(&after);
	CHECK(before.bytes == after.bytes);
}

int main(void)
{
	CHECK(ingot->version == INGOT_API_VERSION && ingot->size == sizeof(*ingot));
	CHECK(INGOT_HAS(core_wake) && INGOT_HAS(device_irq));
	check_cores();
	check_addresses();
	check_claims();
	check_drive();
	verdict("native", failed);
	return 0;
}
