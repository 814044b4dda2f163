// The registry: which devices there are, which driver runs each, and the walk that brings them together.
#include <driver.h>
#include <log.h>

// Bounds of the tables, which lie behind each other: core/kernel.ld.
extern const struct driver *const __drivers_pci_start[], *const __drivers_virtio_start[], *const __drivers_usb_start[];
extern const struct platform_driver *const __drivers_console_start[], *const __drivers_screen_start[];
extern const struct platform_driver *const __drivers_device_start[], *const __drivers_platform_end[];
extern void (*const __bus_scan_start[])(void), (*const __bus_scan_end[])(void);

#define TABLE_PLATFORM (TABLE_USB + 1)	// and one for each stage

static const void *const *const bounds[] = {
	[TABLE_PCI] = (const void *const *)__drivers_pci_start,
	[TABLE_VIRTIO] = (const void *const *)__drivers_virtio_start,
	[TABLE_USB] = (const void *const *)__drivers_usb_start,
	[TABLE_PLATFORM + STAGE_CONSOLE] = (const void *const *)__drivers_console_start,
	[TABLE_PLATFORM + STAGE_SCREEN] = (const void *const *)__drivers_screen_start,
	[TABLE_PLATFORM + STAGE_DEVICE] = (const void *const *)__drivers_device_start,
	[TABLE_PLATFORM + STAGE_DEVICE + 1] = (const void *const *)__drivers_platform_end,
};

static struct device *devices;		// in the order of discovery
static uint64_t platform_bound;		// bit n: platform driver n found its hardware

// How specific a row is that matches, 0 if it doesn't: what it names beyond the class, then the length of the mask.
static uint64_t row_rank(const struct dev_id *row, const struct device *dev)
{
	const uint16_t *wanted = &row->vendor, *actual = &dev->vendor;	// device, subvendor and subdevice follow both
	uint32_t rank = 1;
	for (uint32_t i = 0; i < 4; i++) {
		if (wanted[i] == DEV_ANY)
			continue;
		if (wanted[i] != actual[i])
			return 0;
		rank |= 2u << i;
	}
	if ((row->class ^ dev->class) & row->class_mask)
		return 0;
	return (uint64_t)(rank << 24 | row->class_mask) << 32;
}

int registry_match(struct device *dev, enum driver_table table)
{
	const struct dev_id *id = NULL;
	// A driver is tried once for each rank that it has a row of: its key is the rank, then its place in the table.
	// Each round takes the highest key below that of the last one.
	for (uint64_t limit = UINT64_MAX, best; dev->status = E_NODEV, true; limit = best) {
		const struct driver *found = NULL;
		best = 0;
		for (const void *const *entry = bounds[table]; entry != bounds[table + 1]; entry++) {
			const struct driver *drv = *entry;
			for (const struct dev_id *row = drv->ids; row != drv->ids + drv->id_count; row++) {
				uint64_t key = row_rank(row, dev);
				if (!key || (key |= ~(uint32_t)(uintptr_t)entry) >= limit || key <= best)
					continue;
				best = key;
				id = row;
				found = drv;
			}
		}
		dev->driver = dev->bound = found;
		if (!found)
			break;
		log(" %s:", found->name);
		if ((dev->status = found->probe(dev, id)) == E_OK)
			break;
		if (dev->status != E_NODEV) {
			dev->driver = dev->bound = NULL;
			break;
		}
	}
	return dev->status;
}

int registry_add(struct device *dev, enum driver_table table)
{
	struct device **link = &devices;
	while (*link)
		link = &(*link)->next;
	dev->next = NULL;
	*link = dev;
	log("%s %04x:%04x %06x", dev->name, dev->vendor, dev->device, dev->class);
	int rc = registry_match(dev, table);
	log(rc == E_OK ? "\n" : rc == E_NODEV ? " no driver\n" : "; left alone\n");
	return rc;
}

void registry_drop(struct device *dev)
{
	struct device **link = &devices;
	if (dev->bound)
		dev->bound->remove(dev);
	dev->driver = dev->bound = NULL;
	while (*link != dev)
		link = &(*link)->next;
	*link = dev->next;
}

struct device *registry_device(uint32_t index)
{
	struct device *dev = devices;
	while (dev && index--)
		dev = dev->next;
	return dev;
}

const char *registry_driver(uint32_t index, const char **bus, uint32_t *bound)
{
	static const char buses[][9] = { "pci", "virtio", "usb", "platform" };
	const void *const *entry = bounds[0] + index;
	uint32_t table = 0;
	if (entry >= bounds[ARRAY_SIZE(bounds) - 1])
		return NULL;
	while (table < TABLE_PLATFORM && entry >= bounds[table + 1])
		table++;
	*bus = buses[table];
	*bound = 0;
	if (table == TABLE_PLATFORM)
		*bound = platform_bound >> (entry - bounds[TABLE_PLATFORM]) & 1;
	for (struct device *dev = devices; dev; dev = dev->next)
		*bound += dev->driver == *entry || dev->bound == *entry;
	return *(const char *const *)*entry;	// both kinds of driver begin with their name
}

void registry_run(enum driver_stage stage)
{
	const void *const *entry = bounds[TABLE_PLATFORM + stage];
	for (; entry != bounds[TABLE_PLATFORM + stage + 1]; entry++)
		if (((const struct platform_driver *)*entry)->probe() == E_OK)
			platform_bound |= 1ul << (entry - bounds[TABLE_PLATFORM]);
}

void registry_scan(void)
{
	for (void (*const *scan)(void) = __bus_scan_start; scan != __bus_scan_end; scan++)
		(*scan)();
}
