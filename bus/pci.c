// PCI and PCI Express: configuration space, discovery, base addresses, interrupts.  "s." = section of the PCI Local
// Bus Specification 3.0, "b." = of the PCI-to-PCI Bridge Architecture Specification 1.2, "f." = of the PCI Firmware
// Specification 3.2, "e." = of the PCI Express Base Specification 5.0.
#include <acpi.h>
#include <lock.h>
#include <log.h>
#include <mem.h>
#include <mmio.h>
#include <pci.h>
#include <pio.h>
#include <program.h>

#define PCI_ID 0x00		// s.6.1
#define PCI_COMMAND 0x04
#define PCI_STATUS 0x06
#define PCI_CLASS 0x08
#define PCI_HEADER 0x0E
#define PCI_BAR 0x10
#define PCI_SUBSYSTEM 0x2C
#define PCI_CAPABILITY 0x34
#define PCI_LINE 0x3C
#define BRIDGE_SECONDARY 0x19	// b.3.2
#define BRIDGE_MEMORY 0x20
#define BRIDGE_PREFETCH 0x24
#define BRIDGE_PREFETCH_BASE_HIGH 0x28
#define BRIDGE_PREFETCH_LIMIT_HIGH 0x2C

#define COMMAND_IO 0x001	// s.6.2.2
#define COMMAND_MEMORY 0x002
#define COMMAND_MASTER 0x004
#define COMMAND_INTX_OFF 0x400
#define STATUS_CAPABILITIES 0x10	// s.6.2.3
#define HEADER_BRIDGE 1		// s.6.2.1
#define HEADER_MULTIFUNCTION 0x80
#define CLASS_HOST_BRIDGE 0x0600	// s.D

#define CAP_MSI 0x05		// s.H
#define CAP_PCIE 0x10
#define CAP_MSIX 0x11
#define MSI_CONTROL 2		// s.6.8.1
#define MSI_CONTROL_ENABLE 1
#define MSI_CONTROL_WIDE 0x80
#define MSIX_CONTROL_ENABLE 0x8000	// s.6.8.2
#define MSIX_CONTROL_SIZE 0x7FF
#define MSIX_TABLE 4
#define PCIE_FLAGS 2		// e.7.5.3.2
#define PCIE_ROOT_PORT 4
#define PCIE_DOWNSTREAM_PORT 6

#define PORT_ADDRESS 0xCF8	// s.3.2.2.3.2
#define PORT_DATA 0xCFC
#define NOTHING 0xFFFFFFFF
#define WRITE 8			// pci_access: beside the width

// A row of MCFG (f.4.1.2), behind the header and 8 reserved bytes.
struct region {
	uint64_t base;		// of bus 0, whatever `first` says
	uint16_t segment;
	uint8_t first, last;
	uint32_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct region) == 16, "MCFG");
#define MCFG_REGIONS 44

static const struct region *regions;	// none: the ports are used
static uint32_t region_count;
static struct lock port_lock;

static uint32_t port_access(uint32_t address, uint32_t offset, uint32_t op, uint32_t value)
{
	uint16_t data = PORT_DATA + (offset & 3);
	if (address >> 16 || offset > 0xFF)
		return NOTHING;
	uint64_t flags = irq_save();
	lock_take(&port_lock);
	pio_write32(PORT_ADDRESS, 1u << 31 | address << 8 | (offset & 0xFC));
	if (!(op & WRITE))
		value = pio_read32(PORT_DATA) >> 8 * (offset & 3);
	else if (op & 4)
		pio_write32(data, value);
	else if (op & 2)
		pio_write16(data, value);
	else
		pio_write8(data, value);
	lock_drop(&port_lock);
	irq_restore(flags);
	return value;
}

static uint32_t ecam_access(uint32_t address, uint32_t offset, uint32_t op, uint32_t value)
{
	uint8_t bus = address >> 8;
	const struct region *region = regions;
	while (region->segment != address >> 16 || bus < region->first || bus > region->last)
		if (++region == regions + region_count)
			return NOTHING;
	if (offset > 0xFFF)
		return NOTHING;
	volatile uint8_t *reg = (uint8_t *)(uintptr_t)(region->base + ((address & 0xFFFF) << 12) + offset);
	if (!(op & WRITE))
		return mmio_read32(reg - (offset & 3)) >> 8 * (offset & 3);
	if (op & 4)
		mmio_write32(reg, value);
	else if (op & 2)
		mmio_write16(reg, value);
	else
		mmio_write8(reg, value);
	return value;
}

static uint32_t pci_access(uint32_t address, uint32_t offset, uint32_t op, uint32_t value)
{
	if (CONFIG_ON(BUS_PCI_ECAM) && region_count)
		return ecam_access(address, offset, op, value);
	return port_access(address, offset, op, value);
}

uint32_t pci_read(uint32_t address, uint32_t offset, uint32_t width)
{
	return pci_access(address, offset, width, 0) & (NOTHING >> (32 - 8 * width));
}

void pci_write(uint32_t address, uint32_t offset, uint32_t width, uint32_t value)
{
	pci_access(address, offset, width | WRITE, value);
}

// Behind b_system BUS_READ and BUS_WRITE.
static uint32_t pci_bus(uint64_t bus_address, bool write, uint32_t value)
{
	return pci_access(bus_address >> 16, (uint16_t)bus_address * 4, write ? 4 | WRITE : 4, value);
}

uint32_t pci_capability(const struct pci_dev *pci, uint32_t id, uint32_t from)
{
	for (uint32_t i = 0; i < PCI_CAPABILITIES; i++) {
		uint32_t at = pci->capability[i] >> 8;
		if (!from && at && (uint8_t)pci->capability[i] == id)
			return at;
		if (at == from)
			from = 0;
	}
	return 0;
}

volatile void *pci_map_bar(struct pci_dev *pci, uint32_t n)
{
	struct pci_bar *bar = &pci->bar[n];
	bool memory = n < 6 && bar->bytes && !bar->io;
	volatile void *at = memory && bar->phys ? mem_map_device(bar->phys, bar->bytes) : NULL;
	if (!at)
		log(" BAR %u %s", n, memory && !bar->phys ? "unassigned" : "unusable");
	return at;
}

// Changes the command register.
static void pci_command(struct pci_dev *pci, uint32_t off, uint32_t on)
{
	uint32_t address = pci->dev.address;
	pci_write(address, PCI_COMMAND, 2, (pci_read(address, PCI_COMMAND, 2) & ~off) | on);
}

void pci_enable(struct pci_dev *pci)
{
	pci_command(pci, 0, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_OFF);
}

void pci_disable(struct pci_dev *pci)
{
	uint32_t cap = pci->msix ? pci->msix : pci->msi;
	pci_command(pci, COMMAND_MASTER, COMMAND_INTX_OFF);
	if (cap)
		pci_write(pci->dev.address, cap + MSI_CONTROL, 2, 0);
}

// ---- Interrupts ----------------------------------------------------------------------------------------------

// The first device with a handler on `line`.
static struct pci_dev *intx_user(uint32_t line, struct device *dev)
{
	for (; dev; dev = dev->next)
		if (dev->kind <= DEVICE_PCIE && to_pci(dev)->handler && to_pci(dev)->line == line)
			return to_pci(dev);
	return NULL;
}

static void intx_interrupt(void *arg)
{
	for (struct pci_dev *pci, *next = (void *)registry_device(0); (pci = intx_user((uintptr_t)arg, &next->dev));) {
		pci->handler(pci->arg);
		next = (void *)pci->dev.next;
	}
}

// Firmware puts the interrupt controller's input in the line register.  Below 16 it is an ISA one, for which the MADT
// says how PCI drives it.
static uint32_t intx_kind(const struct pci_dev *pci)
{
	return pci->line < 16 ? IRQ_ISA : IRQ_LEVEL_LOW;
}

static int intx_take(struct pci_dev *pci, irq_handler handler, void *arg, uint32_t cpu)
{
	struct pci_dev *other = intx_user(pci->line, registry_device(0));
	int vector = other ? other->vector : irq_alloc(intx_interrupt, (void *)(uintptr_t)pci->line, cpu);
	if (vector < 0)
		return vector;
	int rc = other ? E_OK : irq_route(pci->line, intx_kind(pci), vector);
	if (rc != E_OK) {
		irq_free(vector);
		return rc;
	}
	pci->arg = arg;
	pci->handler = handler;
	pci_command(pci, COMMAND_INTX_OFF, 0);
	return pci->vector = vector;
}

static void intx_drop(struct pci_dev *pci, int vector)
{
	pci_command(pci, 0, COMMAND_INTX_OFF);
	pci->handler = NULL;
	if (intx_user(pci->line, registry_device(0)))
		return;
	irq_mask(pci->line, intx_kind(pci));
	irq_free(vector);
}

// s.6.8.2.9: entries are masked after a reset, but firmware may have been here.
static int msix_open(struct pci_dev *pci, uint32_t entries)
{
	uint32_t table = pci_read(pci->dev.address, pci->msix + MSIX_TABLE, 4), n = table & 7;
	volatile uint8_t *bar = pci_map_bar(pci, n);
	if (!bar)
		return E_NOTSUP;
	if ((table & ~7u) + 16ul * entries > pci->bar[n].bytes)
		return E_INVAL;
	pci->msix_table = (volatile uint32_t *)(bar + (table & ~7u));
	for (uint32_t i = 0; i < entries; i++)
		mmio_write32(pci->msix_table + 4 * i + 3, 1);
	return E_OK;
}

int pci_irq(struct pci_dev *pci, uint32_t index, irq_handler handler, void *arg, uint32_t cpu)
{
	uint32_t address = pci->dev.address, entries = 1, msi = pci->msi;
	if (pci->msix)
		entries = (pci_read(address, pci->msix + MSI_CONTROL, 2) & MSIX_CONTROL_SIZE) + 1;
	if (index >= entries)
		return E_NOTSUP;
	if (!pci->msix && !msi)
		return CONFIG_ON(BUS_PCI_INTX) && pci->line != 0xFF ? intx_take(pci, handler, arg, cpu) : E_NOTSUP;
	if (pci->msix && !pci->msix_table) {
		int rc = msix_open(pci, entries);
		if (rc != E_OK)
			return rc;
	}
	int vector = irq_alloc(handler, arg, cpu);
	if (vector < 0)
		return vector;
	struct irq_message message = irq_message(vector);	// its address is one of 32 bits (Intel SDM vol. 3, 11.11.1)
	if (pci->msix) {
		volatile uint32_t *entry = pci->msix_table + 4 * index;
		mmio_write32(entry, message.address);
		mmio_write32(entry + 1, 0);
		mmio_write32(entry + 2, message.data);
		mmio_write32(entry + 3, 0);
		pci_write(address, pci->msix + MSI_CONTROL, 2, MSIX_CONTROL_ENABLE);
		return vector;
	}
	pci_write(address, msi + 4, 4, message.address);
	if (pci_read(address, msi + MSI_CONTROL, 2) & MSI_CONTROL_WIDE) {
		pci_write(address, msi + 8, 4, 0);
		msi += 4;
	}
	pci_write(address, msi + 8, 2, message.data);
	pci_write(address, pci->msi + MSI_CONTROL, 2, MSI_CONTROL_ENABLE);
	return vector;
}

void pci_irq_free(struct pci_dev *pci, uint32_t index, int vector)
{
	if (pci->msix)
		mmio_write32(pci->msix_table + 4 * index + 3, 1);
	else if (pci->msi)
		pci_write(pci->dev.address, pci->msi + MSI_CONTROL, 2, 0);
	else if (CONFIG_ON(BUS_PCI_INTX))
		return intx_drop(pci, vector);
	irq_free(vector);
}

// ---- Discovery -----------------------------------------------------------------------------------------------

#define WINDOWS 64

struct scan {
	struct device *first, **tail;	// found, not yet with the registry
	uint32_t window_count;
	struct aml_window windows[WINDOWS];
	uint8_t devices[256];		// of each bus of this segment: how many device numbers to look at
};

static void pci_name(struct device *dev)
{
	uint64_t digits = (uint64_t)(dev->address >> 8) << 12 | (dev->address & 0xF8) << 1 | (dev->address & 7);
	memcpy(dev->name, "0000:00:00.0", 13);
	for (uint32_t i = 12; i--;) {
		if (dev->name[i] != '0')
			continue;
		dev->name[i] = "0123456789abcdef"[digits & 15];
		digits >>= 4;
	}
}

// s.6.7
static void pci_capabilities(struct pci_dev *pci)
{
	uint32_t address = pci->dev.address, at = PCI_CAPABILITY;
	uint64_t seen = 0;
	if (!(pci_read(address, PCI_STATUS, 2) & STATUS_CAPABILITIES))
		return;
	at = pci_read(address, at, 1) & 0xFC;
	for (uint32_t i = 0; i < PCI_CAPABILITIES && at >= 0x40 && !(seen >> at / 4 & 1); i++) {
		uint32_t head = pci_read(address, at, 2);
		seen |= 1ul << at / 4;
		pci->capability[i] = at << 8 | (uint8_t)head;
		at = head >> 8 & 0xFC;
	}
	pci->msix = pci_capability(pci, CAP_MSIX, 0);
	pci->msi = pci_capability(pci, CAP_MSI, 0);
	pci->pcie = pci_capability(pci, CAP_PCIE, 0);
}

// What a base address register answers to all ones (s.6.2.5.1).
static uint32_t pci_bar_mask(uint32_t address, uint32_t at, uint32_t value)
{
	pci_write(address, at, 4, NOTHING);
	uint32_t mask = pci_read(address, at, 4);
	pci_write(address, at, 4, value);
	return mask;
}

static void pci_bars(struct pci_dev *pci, uint32_t count)
{
	uint32_t address = pci->dev.address, command = pci_read(address, PCI_COMMAND, 2);
	pci_write(address, PCI_COMMAND, 2, command & ~(COMMAND_IO | COMMAND_MEMORY));
	for (uint32_t n = 0; n < count; n++) {
		struct pci_bar *bar = &pci->bar[n];
		uint32_t at = PCI_BAR + 4 * n, low = pci_read(address, at, 4), flags = low & 1 ? 3 : 15;
		uint64_t mask = pci_bar_mask(address, at, low) & ~flags;
		bar->io = low & 1;
		bar->phys = low & ~flags;
		if ((low & 7) == 4 && n + 1 < count) {
			uint32_t high = pci_read(address, at + 4, 4);
			mask |= (uint64_t)pci_bar_mask(address, at + 4, high) << 32;
			bar->phys |= (uint64_t)high << 32;
			bar->wide = 1;
			n++;
		}
		bar->bytes = mask & -mask;
	}
	pci_write(address, PCI_COMMAND, 2, command | COMMAND_INTX_OFF);
}

// A bridge's window takes the place of a base address that bridges don't have: nothing else may be put there.
static void pci_bridge_window(struct pci_bar *bar, uint32_t range, uint64_t base_high, uint64_t limit_high)
{
	uint64_t base = (range & 0xFFF0) << 16 | base_high << 32, limit = (range | 0xFFFFF) | limit_high << 32;
	if (base > limit)
		return;
	bar->io = 1;
	bar->phys = base;
	bar->bytes = limit - base + 1;
}

static void pci_bridge(struct scan *scan, struct pci_dev *pci)
{
	uint32_t address = pci->dev.address, secondary = pci_read(address, BRIDGE_SECONDARY, 1);
	uint32_t type = pci->pcie ? pci_read(address, pci->pcie + PCIE_FLAGS, 1) >> 4 : 0;
	if (CONFIG_ON(BUS_PCI_ASSIGN)) {
		pci_bridge_window(&pci->bar[2], pci_read(address, BRIDGE_MEMORY, 4), 0, 0);
		pci_bridge_window(&pci->bar[3], pci_read(address, BRIDGE_PREFETCH, 4),
			pci_read(address, BRIDGE_PREFETCH_BASE_HIGH, 4), pci_read(address, BRIDGE_PREFETCH_LIMIT_HIGH, 4));
	}
	// Numbers only grow on the way down, so that buses that are scanned in their order cannot form a loop.
	if (secondary <= (address >> 8 & 0xFF))
		log("%s: bridge without a bus\n", pci->dev.name);
	else
		scan->devices[secondary] = type == PCIE_ROOT_PORT || type == PCIE_DOWNSTREAM_PORT ? 1 : 32;	// e.7.3.1
}

// Returns true if there are further functions.
static bool pci_function(struct scan *scan, uint32_t address)
{
	uint32_t id = pci_read(address, PCI_ID, 4);
	if ((uint16_t)(id + 1) <= 1)
		return false;
	uint32_t header = pci_read(address, PCI_HEADER, 1), type = header & ~HEADER_MULTIFUNCTION;
	struct pci_dev *pci = kzalloc(sizeof(*pci));
	if (!pci)
		return false;
	struct device *dev = &pci->dev;
	*scan->tail = dev;
	scan->tail = &dev->next;
	dev->address = address;
	dev->vendor = id;
	dev->device = id >> 16;
	dev->class = pci_read(address, PCI_CLASS, 4) >> 8;
	pci_name(dev);
	pci_capabilities(pci);
	dev->kind = pci->pcie ? DEVICE_PCIE : DEVICE_PCI;
	uint32_t line = pci_read(address, PCI_LINE, 2);
	pci->line = line >> 8 && (uint8_t)line ? line : 0xFF;
	if (!type) {
		id = pci_read(address, PCI_SUBSYSTEM, 4);
		dev->subvendor = id;
		dev->subdevice = id >> 16;
	}
	if (type <= HEADER_BRIDGE && dev->class >> 8 != CLASS_HOST_BRIDGE)
		pci_bars(pci, type ? 2 : 6);
	if (type == HEADER_BRIDGE)
		pci_bridge(scan, pci);
	return header & HEADER_MULTIFUNCTION;
}

static void pci_segment(struct scan *scan, uint32_t segment, uint32_t first, uint32_t last)
{
	memset(scan->devices, 0, sizeof(scan->devices));
	scan->devices[first] = 32;
	for (uint32_t i = 0; i < scan->window_count && !segment; i++)
		scan->devices[scan->windows[i].bus_first] = 32;
	for (uint32_t bus = first; bus <= last; bus++)
		for (uint32_t devfn = 0; devfn < scan->devices[bus] * 8u; devfn++)
			if (!pci_function(scan, segment << 16 | bus << 8 | devfn) && !(devfn & 7))
				devfn |= 7;
}

// First place in the window where nothing lies, 0 if there is none.
static uint64_t pci_place(const struct scan *scan, const struct aml_window *window, uint64_t bytes)
{
	uint64_t at = ALIGN_UP(window->min, bytes);
again:
	if (at < window->min || at > window->max || window->max - at < bytes - 1)
		return 0;
	for (struct device *dev = scan->first; dev; dev = dev->next)
		for (struct pci_bar *bar = to_pci(dev)->bar; bar < to_pci(dev)->bar + 6; bar++)
			if (bar->phys && (at - bar->phys < bar->bytes || bar->phys - at < bytes)) {
				at = ALIGN_UP(bar->phys + bar->bytes, bytes);
				goto again;
			}
	return at;
}

// Looks for a place on a root bus; behind bridges the firmware's windows would have to move.
static void pci_assign(const struct scan *scan, struct pci_dev *pci, uint32_t n)
{
	struct pci_bar *bar = &pci->bar[n];
	uint32_t address = pci->dev.address;
	for (const struct aml_window *window = scan->windows; window < scan->windows + scan->window_count; window++) {
		if (window->bus_first != address >> 8 || window->min < 0x100000 || (window->max >> 32 && !bar->wide))
			continue;
		if (!(bar->phys = pci_place(scan, window, bar->bytes)))
			continue;
		pci_write(address, PCI_BAR + 4 * n, 4, bar->phys);
		if (bar->wide)
			pci_write(address, PCI_BAR + 4 * n + 4, 4, bar->phys >> 32);
		return;
	}
}

// Programs find device memory at its physical address, whether a driver runs the device or not.
static void pci_place_all(const struct scan *scan)
{
	for (struct device *dev = scan->first; dev; dev = dev->next)
		for (uint32_t n = 0; n < 6; n++) {
			struct pci_bar *bar = &to_pci(dev)->bar[n];
			if (bar->io || !bar->bytes)
				continue;
			if (CONFIG_ON(BUS_PCI_ASSIGN) && !bar->phys)
				pci_assign(scan, to_pci(dev), n);
			if (bar->phys)
				mem_map_device(bar->phys, bar->bytes);
		}
}

static void pci_find_regions(void)
{
	const struct acpi_header *mcfg = acpi_table("MCFG", 0);
	if (!mcfg)
		return;
	regions = (const struct region *)((const char *)mcfg + MCFG_REGIONS);
	for (uint32_t left = mcfg->length; left >= MCFG_REGIONS + 16; left -= 16) {
		const struct region *region = &regions[region_count];
		if (region->first > region->last || !mem_map_device(region->base + ((uint64_t)region->first << 20),
				(region->last - region->first + 1ul) << 20))
			break;
		region_count++;
	}
}

static void pci_scan(void)
{
	struct scan *scan = kzalloc(sizeof(*scan));
	if (!scan)
		return log("PCI: no memory\n");
	scan->tail = &scan->first;
	scan->window_count = aml_windows(scan->windows, WINDOWS);
	if (CONFIG_ON(BUS_PCI_ECAM))
		pci_find_regions();
	for (uint32_t i = 0; i < region_count; i++)
		pci_segment(scan, regions[i].segment, regions[i].first, regions[i].last);
	if (!region_count)
		pci_segment(scan, 0, 0, 255);
	pci_place_all(scan);
	classic.bus = pci_bus;
	for (struct device *dev = scan->first, *next; dev; dev = next) {
		next = dev->next;
		registry_add(dev, TABLE_PCI);
	}
	kfree(scan, sizeof(*scan));
}
BUS_SCAN("10", pci_scan);
