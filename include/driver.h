// The registry: descriptors of drivers in a linker section, and the walk that matches devices to them.
//
// A driver is one constant struct driver and one line that registers it with its bus:
//
//	static const struct dev_id dn100_ids[] = { DEV_ID(0x1234, 0x0100, 0) };
//	static const struct driver dn100 = { "dn100", DEV_IDS(dn100_ids), .probe = dn100_probe, .remove = dn100_remove };
//	PCI_DRIVER(dn100);
//
// The section holds pointers, sorted by the linker: by bus, then priority, then name.
#pragma once
#include <util.h>

// Each interface has a version, which rises when a driver written for it would have to be changed: NET in net.h, and so
// on; DRIVER is this header and the services of the core.  An outside driver says at its top what it was written for:
//
//	API_VERSION(NET, 1);
#define DRIVER_API_VERSION 1
#define API_VERSION(interface, version) \
	_Static_assert(interface##_API_VERSION == (version), \
		"written for version " #version " of the interface " #interface ", which is another here: see its header")

// One row of a match table.  0xFFFF (and class mask 0) match anything; the rank follows from what is not a wildcard:
// subsystem > vendor and device > vendor and class > class, the longer class mask first.
#define DEV_ANY 0xFFFF
struct dev_id {
	uint16_t vendor, device, subvendor, subdevice;
	uint32_t class, class_mask; // base class, subclass and interface: 0x00BBSSII
	uintptr_t quirks;           // the driver's own
};

// clang-format off
#define DEV_ID(v, d, q) { .vendor = (v), .device = (d), .subvendor = DEV_ANY, .subdevice = DEV_ANY, .quirks = (q) }
#define DEV_ID_SUBSYSTEM(v, d, sv, sd, q) \
	{ .vendor = (v), .device = (d), .subvendor = (sv), .subdevice = (sd), .quirks = (q) }
#define DEV_ID_CLASS(c, mask, q) \
	{ .vendor = DEV_ANY, .device = DEV_ANY, .subvendor = DEV_ANY, .subdevice = DEV_ANY, \
	  .class = (c), .class_mask = (mask), .quirks = (q) }
// clang-format on
#define DEV_IDS(table) .ids = (table), .id_count = ARRAY_SIZE(table)

struct driver;

// What every discovered device has in common.  Filled by its bus, which owns it; it is never freed while bound.
struct device {
	struct device *next;         // registry: all devices in the order of discovery
	const struct driver *driver; // what runs it, or NULL; a transport puts in its place the driver that it found
	const struct driver *bound;  // whose probe succeeded and whose remove will be called: the registry's
	void *drvdata;               // the bound driver's
	char unit[8];                // what it became: "net0", "disk1"; set by its class
	uint32_t address;            // PCI: segment 31:16, bus 15:8, device and function 7:0
	uint16_t vendor, device, subvendor, subdevice;
	uint32_t class; // 0x00BBSSII
	char name[16];  // address: "0000:00:02.0", "mmio feb00e00", "usb 1-2"
	int16_t status; // E_OK if bound, E_NODEV if nobody wanted it, else why the probe failed
	uint8_t kind;   // DEVICE_*
};
enum { DEVICE_PCI = 1, DEVICE_PCIE = 2, DEVICE_VIRTIO_MMIO = 3, DEVICE_USB = 4 };

struct driver {
	const char *name;
	const struct dev_id *ids;
	uint32_t id_count;
	// Claims, resets and registers the device with its class.  E_OK binds; E_NODEV declines (nothing was touched,
	// the next driver is tried); any other error leaves the device unbound and nobody else tries.  A failing
	// probe logs the cause in a few words with log(), without a newline: the line already names the device.
	int (*probe)(struct device *dev, const struct dev_id *id);
	// Leaves the device silent: DMA off, interrupts masked; frees what probe took.
	void (*remove)(struct device *dev);
};

#define PRIO_OVERRIDE "10" // an outside driver that replaces one of the tree
#define PRIO_NORMAL "50"
#define PRIO_FALLBACK "90" // last resort, by class code
// clang-format off
#define DRIVER_ENTRY(bus, prio, drv) \
	static const struct driver *const drv##_entry \
		__attribute__((used, section(".drivers." bus "." prio "." #drv))) = &drv
// clang-format on
#define PCI_DRIVER_AT(drv, prio) DRIVER_ENTRY("pci", prio, drv)
#define PCI_DRIVER(drv) PCI_DRIVER_AT(drv, PRIO_NORMAL)
#define VIRTIO_DRIVER(drv) DRIVER_ENTRY("virtio", PRIO_NORMAL, drv) // vendor 0x1AF4, device = virtio device type
#define USB_DRIVER(drv) DRIVER_ENTRY("usb", PRIO_NORMAL, drv)       // class = interface class, subclass, protocol

// What cannot be discovered (serial port, PS/2, VGA, boot frame buffer): tried once, in this order.  Consoles first:
// CONSOLE_DRIVER runs before memory is set up (ports only, no allocation); SCREEN_DRIVER once memory can be mapped;
// PLATFORM_DRIVER when interrupts work.  Nothing there: return E_NODEV and log nothing.
struct platform_driver {
	const char *name;
	int (*probe)(void);
};
// clang-format off
#define PLATFORM_ENTRY(stage, drv) \
	static const struct platform_driver *const drv##_entry \
		__attribute__((used, section(".drivers.platform." stage "." #drv))) = &drv
// clang-format on
#define CONSOLE_DRIVER(drv) PLATFORM_ENTRY("1console", drv)
#define SCREEN_DRIVER(drv) PLATFORM_ENTRY("2screen", drv)
#define PLATFORM_DRIVER(drv) PLATFORM_ENTRY("3device", drv)

// A bus finds devices and offers them: registry_add() logs the device's line, matches it against the bus's table
// and probes.  `dev` is the bus's, filled in but for driver, drvdata, unit and status.
enum driver_table { TABLE_PCI, TABLE_VIRTIO, TABLE_USB };
int registry_add(struct device *dev, enum driver_table table);

// The second half of it, for a device that is in the list and bound to nobody.
int registry_offer(struct device *dev, enum driver_table table);

// Matches and probes only; for a device that sits on another (virtio on PCI): no line, no entry in the list.
int registry_match(struct device *dev, enum driver_table table);

// The device goes away (unplugged): remove() is called if it is bound, and it leaves the list.
void registry_drop(struct device *dev);

// For class layers (core/class.c): puts `owner` into a free place of table[CLASS_MAX], names the device after it
// ("net0"), copies unit, driver and address to where programs read them, and logs the unit.  Returns the number, or
// E_NOMEM.
#define CLASS_MAX 100
struct class_names {
	char unit[8], driver[16], address[16];
};
int class_add(struct device *dev, const char *class, void **table, void *owner, struct class_names *names);
uint32_t class_count(void *const *table); // one more than the highest number given

// Every bus registers how it scans; run in this order: the value is the first argument.
#define BUS_SCAN(order, fn) \
	static void (*const fn##_entry)(void) __attribute__((used, section(".bus_scan." order "." #fn))) = fn

// Boot order: runs the platform drivers of a stage; the buses' scans.
enum driver_stage { STAGE_CONSOLE, STAGE_SCREEN, STAGE_DEVICE };
void registry_run(enum driver_stage stage);
void registry_scan(void);

// For those who show them: device and driver number `index`, NULL past the end.  A driver by its name, with its bus
// and how many devices it runs.
struct device *registry_device(uint32_t index);
const char *registry_driver(uint32_t index, const char **bus, uint32_t *bound);
