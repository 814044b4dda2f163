// The native interface: what a program's struct ingot_api points to (api/ingot.h).
#include "core.h"
#include <console.h>
#include <driver.h>

static int absent(void)
{
	return E_NODEV;
}

static int unsupported(void)
{
	return E_NOTSUP;
}

static uint32_t none(void)
{
	return 0;
}

static int read_key(void)
{
	return program_input();
}

// A program that was built with an older, shorter structure gets just that much.
int give_info(void *out, const void *all, uint32_t bytes)
{
	uint32_t size = *(uint32_t *)out;
	if (size < 4)
		return E_INVAL;
	size = min_u64(size, bytes);
	memcpy((char *)out + 4, (const char *)all + 4, size - 4);
	*(uint32_t *)out = size;
	return E_OK;
}

static int get_memory(struct ingot_memory *out)
{
	return give_info(out, &memory.extent_count, sizeof(*out));
}

static int core_busy(uint32_t core)
{
	return core < smp_listed && cpus[core].state == CPU_BUSY;
}

static uint32_t core_apic_id(uint32_t core)
{
	return core < smp_listed ? cpus[core].apic_id : ~0u;
}

void copy_name(char *to, const char *from, uint32_t room)
{
	while (--room && *from)
		*to++ = *from++;
	*to = 0;
}

// From vendor to address, a device has it as programs see it.
#define DEVICE_INFO_BYTES (offsetof(struct ingot_device_info, driver) - offsetof(struct ingot_device_info, vendor))
_Static_assert(DEVICE_INFO_BYTES == offsetof(struct device, status) - offsetof(struct device, vendor), "device_info");

static int device_info(uint32_t index, struct ingot_device_info *out)
{
	const struct device *dev = registry_device(index);
	if (!dev)
		return E_NODEV;
	struct ingot_device_info all = { .status = dev->status };
	memcpy(&all.vendor, &dev->vendor, DEVICE_INFO_BYTES);
	memcpy(all.unit, dev->unit, sizeof(all.unit));
	if (dev->driver)
		copy_name(all.driver, dev->driver->name, sizeof(all.driver));
	return give_info(out, &all, sizeof(all));
}

static int driver_info(uint32_t index, struct ingot_driver_info *out)
{
	const char *bus;
	struct ingot_driver_info all;
	const char *name = registry_driver(index, &bus, &all.devices);
	if (!name)
		return E_NODEV;
	copy_name(all.name, name, sizeof(all.name));
	copy_name(all.bus, bus, sizeof(all.bus));
	return give_info(out, &all, sizeof(all));
}

static int get_screen(struct ingot_screen *out)
{
	const struct ingot_screen all = { sizeof(all), boot.width, boot.height, boot.pitch, boot.bits,
		(void *)boot.framebuffer };
	return boot.framebuffer ? give_info(out, &all, sizeof(all)) : E_NODEV;
}

#define ABSENT (void *)absent
#define NONE (void *)none
#define NET(function, without) (CONFIG_ON(NET) ? (void *)(function) : (without))
#define BLK(function, without) (CONFIG_ON(STORAGE) ? (void *)(function) : (without))
#define DEVICES(function) (CONFIG_ON(CORE_NATIVE_DEVICES) ? (void *)(function) : (void *)unsupported)
struct ingot_api native = {
	.version = INGOT_API_VERSION,
	.size = sizeof(native),
	.kernel = KERNEL_NAME,
	.write = console_write,
	.read = read_key,
	.time_ns = time_ns,
	.delay_us = sys_delay,
	.memory = get_memory,
	.phys = mem_phys,
	.core_count = smp_count,
	.core_self = smp_self,
	.core_start = smp_start,
	.core_busy = core_busy,
	.core_apic_id = core_apic_id,
	.net_count = NET(net_count, NONE),
	.net_info = NET(net_info, ABSENT),
	.net_stats = NET(net_stats, ABSENT),
	.net_open = NET(net_open, ABSENT),
	.net_close = NET(net_close, NONE),
	.net_pool = NET(net_pool, NONE),
	.net_tx = NET(net_tx, NONE),
	.net_rx = NET(net_rx, NONE),
	.net_promiscuous = NET(net_promiscuous, ABSENT),
	.blk_count = BLK(blk_count, NONE),
	.blk_info = BLK(blk_info, ABSENT),
	.blk_submit = BLK(blk_submit, ABSENT),
	.blk_poll = BLK(blk_poll, NONE),
	.blk_run = BLK(blk_run, ABSENT),
	.on_timer = timer_set,
	.on_receive = NET(net_on_receive, ABSENT),
	.on_key = callback_key,
	.device_info = device_info,
	.driver_info = driver_info,
	.screen = get_screen,
	.log_read = log_read,
	.reboot = power_reboot,
	.shutdown = power_off,
	.core_wake = smp_wake,
	.device_claim = DEVICES(device_claim),
	.device_release = DEVICES(device_release),
	.device_irq = DEVICES(device_irq),
};
