// Every device that a driver of the kernel has is taken from it and given back, three times over, with its interrupt
// in the program's hands in between: the driver finds it as after a reset, interfaces and drives are what they were.
// The drives' eighth block begins with 0x5A.
#include <ingot.h>
#include <ingot_pci.h>
#include <lib.h>

INGOT_NEEDS(device_irq);

#define TIMES 3

static const char *failed;
static uint8_t block[4096] __attribute__((aligned(4096)));

#define CHECK(condition) \
	do { \
		if (!(condition) && !failed) \
			failed = #condition; \
	} while (0)

static void nothing(void *arg)
{
	(void)arg;
}

// All drives read, all interfaces know who they are; for a USB keyboard there is another way to be seen.
static void check_units(uint32_t nets, uint32_t drives)
{
	CHECK(ingot->net_count() == nets && ingot->blk_count() == drives);
	for (uint32_t net = 0; net < nets; net++) {
		struct ingot_net_info info = { .size = sizeof(info) };
		CHECK(ingot->net_info(net, &info) == INGOT_OK && info.mac[0] == 0x52 && info.queues_open == 1);
	}
	for (uint32_t drive = 0; drive < drives; drive++) {
		const struct ingot_blk_req req = { 8, 1, INGOT_READ, block, 0 };
		block[0] = 0;
		CHECK(ingot->blk_run(drive, &req) == INGOT_OK && block[0] == 0x5A);
	}
}

static void swap(uint32_t device, const struct ingot_device_info *was)
{
	uint32_t nets = ingot->net_count(), drives = ingot->blk_count();
	print("swap: %s %s\n", was->address, was->driver);
	CHECK(ingot->device_claim(device, INGOT_CLAIM_UNBIND) == INGOT_OK);
	CHECK(!(ingot_pci_read16(device, INGOT_PCI_COMMAND) & INGOT_PCI_COMMAND_MASTER));
	int rc = ingot->device_irq(device, 0, nothing, NULL);
	CHECK(rc == INGOT_OK || rc == INGOT_ENOTSUP);
	CHECK(ingot->device_release(device) == INGOT_OK);
	check_units(nets, drives);
	if (failed) {
		print("swap: %s: %s\n", was->address, failed);
		verdict("swap", failed);
	}
}

int main(void)
{
	static uint32_t devices[64];
	uint32_t count = 0, swaps = 0;
	struct ingot_device_info info = { .size = sizeof(info) };
	if (ingot->net_count()) // with a callback that the driver's removal must end
		CHECK(ingot->on_receive(0, nothing, NULL) != INGOT_ENODEV);
	for (uint32_t i = 0; ingot->device_info(i, &info) == INGOT_OK && count < 64; i++)
		if (ingot_pci_address(info.address) != INGOT_PCI_NONE)
			devices[count++] = ingot_pci_address(info.address);
	for (uint32_t i = 0; i < TIMES * count; i++)
		for (uint32_t n = 0; ingot->device_info(n, &info) == INGOT_OK; n++)
			if (info.driver[0] && ingot_pci_address(info.address) == devices[i % count]) {
				swap(devices[i % count], &info);
				swaps++;
				break;
			}
	print("swap: %u times\n", swaps);
	verdict("swap", failed);
	return 0;
}
