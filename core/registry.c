// The registry: which devices there are, which driver runs each, and the walk that brings them together.
#include <driver.h>
#include <log.h>

// Bounds of the tables, which lie behind each other: core/kernel.ld.
extern const struct driver *const __drivers_pci_start[], *const __drivers_virtio_start[], *const __drivers_usb_start[];
extern const struct platform_driver *const __drivers_console_start[], *const __drivers_screen_start[];
extern const struct platform_driver *const __drivers_device_start[], *const __drivers_platform_end[];
extern void (*const __bus_scan_start[])(void), (*const __bus_scan_end[])(void);

#define TABLE_PLATFORM (TABLE_USB + 1) // and one for each stage

static const void *const *const bounds[TABLE_PLATFORM + STAGE_DEVICE + 2] = {
	[TABLE_PCI] = (const void *const *)__drivers_pci_start,
	[TABLE_VIRTIO] = (const void *const *)__drivers_virtio_start,
	[TABLE_USB] = (const void *const *)__drivers_usb_start,
	[TABLE_PLATFORM + STAGE_CONSOLE] = (const void *const *)__drivers_console_start,
	[TABLE_PLATFORM + STAGE_SCREEN] = (const void *const *)__drivers_screen_start,
	[TABLE_PLATFORM + STAGE_DEVICE] = (const void *const *)__drivers_device_start,
	[TABLE_PLATFORM + STAGE_DEVICE + 1] = (const void *const *)__drivers_platform_end,
};

static struct device *devices;      // in the order of discovery
static uint8_t platform_bound[256]; // 1: driver number n of all is a platform driver that has found its hardware

// How specific a row is that matches, 0 if it doesn't: what it names beyond the class, then the length of the mask.
static uint32_t row_rank(const struct dev_id *row, const struct device *dev)
{
	const uint16_t *wanted = &row->vendor, *actual = &dev->vendor; // device, subvendor and subdevice follow both
	uint32_t rank = 1;
	for (uint32_t i = 4; i--;) {
		rank *= 2;
		if (wanted[i] == DEV_ANY)
			continue;
		if (wanted[i] != actual[i])
			return 0;
		rank++;
	}
	if ((row->class ^ dev->class) & row->class_mask)
		return 0;
	return rank << 24 | row->class_mask;
}

int registry_match(struct device *dev, enum driver_table table)
{
	// A driver is tried once for each rank that it has a row of: by rank from the highest, then by place in the table.
	const void *const *tried = NULL, *const *found = NULL;
	const struct dev_id *id = NULL;
	uint32_t limit = ~0u;
	int rc = E_NODEV;
	for (;;) {
		uint32_t best = 0;
		dev->driver = dev->bound = NULL;
		for (const void *const *entry = bounds[table]; rc == E_NODEV && entry < bounds[table + 1]; entry++) {
			const struct driver *drv = *entry;
			const struct dev_id *row = drv->ids;
			for (uint32_t rows = drv->id_count; rows--; row++) {
				uint32_t rank = row_rank(row, dev);
				if (rank <= best || rank > limit || (rank == limit && entry <= tried))
					continue;
				best = rank;
				id = row;
				found = entry;
			}
		}
		if (!best) // no more, or one has failed half-way
			break;
		tried = found;
		limit = best;
		dev->driver = dev->bound = *found;
		log(" %s:", dev->driver->name);
		rc = dev->driver->probe(dev, id);
		if (rc == E_OK)
			break;
	}
	dev->status = rc;
	return rc;
}

int registry_offer(struct device *dev, enum driver_table table)
{
	log("%s %04x:%04x %06x", dev->name, dev->vendor, dev->device, dev->class);
	int rc = registry_match(dev, table);
	log(rc == E_OK ? "\n" : rc == E_NODEV ? " no driver\n" : "; left alone\n");
	return rc;
}

int registry_add(struct device *dev, enum driver_table table)
{
	struct device **link = &devices;
	while (*link)
		link = &(*link)->next;
	dev->next = NULL;
	*link = dev;
	return registry_offer(dev, table);
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
	*bound = platform_bound[index];
	for (struct device *dev = devices; dev; dev = dev->next)
		*bound += dev->driver == *entry || dev->bound == *entry;
	return *(const char *const *)*entry; // both kinds of driver begin with their name
}

void registry_run(enum driver_stage stage)
{
	const void *const *entry = bounds[TABLE_PLATFORM + stage], *const *end = bounds[TABLE_PLATFORM + stage + 1];
	for (; entry < end; entry++)
		if (((const struct platform_driver *)*entry)->probe() == E_OK)
			platform_bound[entry - bounds[0]] = 1;
}

void registry_scan(void)
{
	for (void (*const *scan)(void) = __bus_scan_start; scan != __bus_scan_end; scan++)
		(*scan)();
}
