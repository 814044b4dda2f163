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

// Dwords of the header (s.6.1, b.3.2)
enum {
	HEAD_ID,
	HEAD_COMMAND,
	HEAD_CLASS,
	HEAD_TYPE,
	HEAD_BAR,
	HEAD_BUSES = 6,
	HEAD_WINDOW = 8,
	HEAD_PREFETCH,
	HEAD_PREFETCH_BASE,
	HEAD_PREFETCH_LIMIT,
	HEAD_SUBSYSTEM = 11,
	HEAD_CAPABILITY = 13,
	HEAD_LINE = 15,
	HEAD_DWORDS
};
#define PCI_COMMAND 0x04
#define PCI_BAR 0x10

#define COMMAND_IO 0x001 // s.6.2.2
#define COMMAND_MEMORY 0x002
#define COMMAND_MASTER 0x004
#define COMMAND_INTX_OFF 0x400
#define STATUS_CAPABILITIES 0x100000 // s.6.2.3
#define TYPE_BRIDGE 0x010000         // s.6.2.1
#define TYPE_MASK 0x7F0000
#define TYPE_MULTIFUNCTION 0x800000
#define CLASS_HOST_BRIDGE 0x0600 // s.D

#define CAP_MSI 0x05 // s.H
#define CAP_PCIE 0x10
#define CAP_MSIX 0x11
#define MSI_CONTROL 2 // s.6.8.1
#define MSI_CONTROL_ENABLE 1
#define MSI_CONTROL_WIDE 0x80
#define MSIX_CONTROL_ENABLE 0x8000 // s.6.8.2
#define MSIX_CONTROL_SIZE 0x7FF
#define MSIX_TABLE 4
#define PCIE_FLAGS 2 // e.7.5.3.2
#define PCIE_ROOT_PORT 4
#define PCIE_DOWNSTREAM_PORT 6

#define PORT_ADDRESS 0xCF8 // s.3.2.2.3.2
#define PORT_DATA 0xCFC
#define NOTHING 0xFFFFFFFF
#define WRITE 1 // pci_dword: beside the offset

// A row of MCFG (f.4.1.2), behind the header and 8 reserved bytes.
struct mcfg_row {
	uint64_t base; // of bus 0, whatever `first` says
	uint16_t segment;
	uint8_t first, last;
	uint32_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct mcfg_row) == 16, "MCFG");
#define MCFG_ROWS 44

// Configuration space in memory, up to the one whose base is 0.  None: the ports are used.
static struct region {
	uint64_t base;
	uint32_t first, last; // addresses as in struct device
} regions[8 + 1];
static struct lock port_lock;

// Reads, or writes if WRITE is added to the offset.
static uint32_t pci_dword(uint32_t address, uint32_t offset, uint32_t value)
{
	const struct region *region = regions;
	if (CONFIG_ON(BUS_PCI_ECAM) && region->base) {
		while (address < region->first || address > region->last)
			if (!(++region)->base)
				return NOTHING;
		volatile uint32_t *reg = (void *)(uintptr_t)(region->base + ((address & 0xFFFF) << 12) + (offset & 0xFFC));
		if (!(offset & WRITE))
			return mmio_read32(reg);
		mmio_write32(reg, value);
		return value;
	}
	if (address >> 16)
		return NOTHING;
	uint64_t flags = irq_save();
	lock_take(&port_lock);
	pio_write32(PORT_ADDRESS, 1u << 31 | address << 8 | (offset & 0xFC));
	if (offset & WRITE)
		pio_write32(PORT_DATA, value);
	else
		value = pio_read32(PORT_DATA);
	lock_drop(&port_lock);
	irq_restore(flags);
	return value;
}

uint32_t pci_read(uint32_t address, uint32_t offset, uint32_t width)
{
	return pci_dword(address, offset & ~3u, 0) >> (offset & 3) * 8 & NOTHING >> (32 - 8 * width);
}

void pci_write(uint32_t address, uint32_t offset, uint32_t width, uint32_t value)
{
	uint32_t dword = pci_dword(address, offset & ~3u, 0);
	memcpy((char *)&dword + (offset & 3), &value, width);
	pci_dword(address, (offset & ~3u) + WRITE, dword);
}

// Behind b_system's BUS_READ, 0x50, and BUS_WRITE, 0x51.
static uint64_t pci_bus(uint32_t value, uint64_t bus_address, uint32_t function)
{
	uint32_t dword = (uint16_t)bus_address;
	if (dword >= (regions->base ? 1024 : 64))
		return NOTHING;
	return pci_dword(bus_address >> 16, dword * 4 + (function & WRITE), value);
}

// Backwards, so that where the list went in a circle a search goes on behind the last time round.
uint32_t pci_capability(const struct pci_dev *pci, uint32_t id, uint32_t from)
{
	uint32_t match = 0;
	for (uint32_t i = PCI_CAPABILITIES; i--;) {
		uint32_t at = pci->capability[i] >> 8;
		if (from && at == from)
			break;
		if ((uint8_t)pci->capability[i] == id)
			match = at;
	}
	return match;
}

volatile void *pci_map_bar(struct pci_dev *pci, uint32_t n)
{
	const struct pci_bar *bar = pci->bar + n;
	volatile void *at = NULL;
	if (n < 6 && bar->phys && !bar->io)
		at = mem_map_device(bar->phys, bar->bytes);
	if (!at)
		log(" BAR %u unassigned", n);
	return at;
}

static void pci_command(struct pci_dev *pci, uint32_t off, uint32_t on)
{
	uint32_t address = pci->dev.address;
	pci_write(address, PCI_COMMAND, 2, (pci_dword(address, PCI_COMMAND, 0) & ~off) | on);
}

void pci_enable(struct pci_dev *pci)
{
	pci_command(pci, 0, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_OFF);
}

// MSI-X, or else MSI.
static void pci_message_control(struct pci_dev *pci, uint32_t value)
{
	uint32_t at = pci->msix ? pci->msix : pci->msi;
	if (at)
		pci_write(pci->dev.address, at + MSI_CONTROL, 2, value);
}

void pci_disable(struct pci_dev *pci)
{
	pci_command(pci, COMMAND_MASTER, COMMAND_INTX_OFF);
	pci_message_control(pci, 0);
}

// ---- Interrupts ----------------------------------------------------------------------------------------------

#define LINES 32
static struct pci_dev *intx_users[LINES]; // of each line, linked by `sharer`

static void intx_interrupt(void *users)
{
	for (struct pci_dev *pci = *(struct pci_dev **)users; pci; pci = pci->sharer)
		pci->handler(pci->arg);
}

// Firmware puts the interrupt controller's input in the line register.  Below 16 it is an ISA one, for which the MADT
// says how PCI drives it.
static uint32_t intx_kind(const struct pci_dev *pci)
{
	return pci->line < 16 ? IRQ_ISA : IRQ_LEVEL_LOW;
}

static int intx_take(struct pci_dev *pci, irq_handler handler, void *arg, uint32_t cpu)
{
	struct pci_dev **users = &intx_users[pci->line];
	int vector = *users ? (*users)->vector : irq_alloc(intx_interrupt, users, cpu);
	if (vector < 0)
		return vector;
	if (!*users && irq_route(pci->line, intx_kind(pci), vector) != E_OK) {
		irq_free(vector);
		return E_NOTSUP;
	}
	pci->handler = handler;
	pci->arg = arg;
	pci->vector = vector;
	pci->sharer = *users;
	*users = pci;
	pci_command(pci, COMMAND_INTX_OFF, 0);
	return vector;
}

static void intx_drop(struct pci_dev *pci)
{
	struct pci_dev **users = &intx_users[pci->line], **link = users;
	pci_command(pci, 0, COMMAND_INTX_OFF);
	while (*link != pci)
		link = &(*link)->sharer;
	*link = pci->sharer;
	if (*users)
		return;
	irq_mask(pci->line, intx_kind(pci));
	irq_free(pci->vector);
}

// An entry of the MSI-X table (s.6.8.2.9).  Entries are masked after a reset, and firmware uses none.
static volatile uint32_t *msix_entry(struct pci_dev *pci, uint32_t index)
{
	uint32_t table = pci_dword(pci->dev.address, pci->msix + MSIX_TABLE, 0), n = table & 7;
	volatile uint8_t *bar = pci_map_bar(pci, n);
	if (index > (pci_dword(pci->dev.address, pci->msix, 0) >> 16 & MSIX_CONTROL_SIZE) || !bar ||
		table - n + 16ul * index + 16 > pci->bar[n].bytes)
		return NULL;
	pci->msix_table = (volatile uint32_t *)(bar + table - n);
	return pci->msix_table + 4 * index;
}

int pci_irq(struct pci_dev *pci, uint32_t index, irq_handler handler, void *arg, uint32_t cpu)
{
	uint32_t address = pci->dev.address, msi = pci->msi, control = MSI_CONTROL_ENABLE;
	volatile uint32_t *entry = NULL;
	if (pci->msix ? !(entry = msix_entry(pci, index)) : index)
		return E_NOTSUP;
	if (!entry && !msi)
		return CONFIG_ON(BUS_PCI_INTX) && pci->line != 0xFF ? intx_take(pci, handler, arg, cpu) : E_NOTSUP;
	int vector = irq_alloc(handler, arg, cpu);
	if (vector < 0)
		return vector;
	struct irq_message message = irq_message(vector); // its address is one of 32 bits (Intel SDM vol. 3, 11.11.1)
	if (entry) {
		mmio_write32(entry, message.address);
		mmio_write32(entry + 1, 0);
		mmio_write32(entry + 2, message.data);
		mmio_write32(entry + 3, 0);
		control = MSIX_CONTROL_ENABLE;
	} else {
		pci_dword(address, msi + 4 + WRITE, message.address);
		if (pci_dword(address, msi, 0) & MSI_CONTROL_WIDE << 16) {
			msi += 4;
			pci_dword(address, msi + 4 + WRITE, 0);
		}
		pci_dword(address, msi + 8 + WRITE, message.data);
	}
	pci_message_control(pci, control);
	return vector;
}

void pci_irq_free(struct pci_dev *pci, uint32_t index, int vector)
{
	if (pci->msix)
		mmio_write32(pci->msix_table + 4 * index + 3, 1);
	else if (pci->msi)
		pci_message_control(pci, 0);
	else if (CONFIG_ON(BUS_PCI_INTX))
		return intx_drop(pci);
	irq_free(vector);
}

// ---- Discovery -----------------------------------------------------------------------------------------------

static struct device *found, **found_end; // not yet with the registry
static struct aml_window windows[24], *windows_end;
static uint8_t bus_devices[256]; // of this segment: how many device numbers to look at

static void pci_name(struct device *dev)
{
	uint64_t digits = (dev->address & ~0xFFul) << 4 | (dev->address & 0xF8) << 1 | (dev->address & 7);
	memcpy(dev->name, "0000:00:00.0", 13);
	for (char *at = dev->name + 12; --at >= dev->name;)
		if (*at == '0') {
			*at = "0123456789abcdef"[digits & 15];
			digits >>= 4;
		}
}

// s.6.7
static void pci_capabilities(struct pci_dev *pci, uint32_t at)
{
	for (uint32_t i = 0; i < PCI_CAPABILITIES; i++) {
		at &= 0xFC;
		if (at < 0x40)
			break;
		uint32_t head = pci_dword(pci->dev.address, at, 0), id = head & 0xFF;
		pci->capability[i] = at << 8 | id;
		if (id == CAP_MSIX)
			pci->msix = at;
		if (id == CAP_MSI)
			pci->msi = at;
		if (id == CAP_PCIE)
			pci->pcie = at;
		at = head >> 8;
	}
}

// s.6.2.5.1: what a base address register answers to all ones is its size.
static void pci_bars(struct pci_dev *pci, const uint32_t *head, uint32_t count)
{
	uint32_t address = pci->dev.address;
	struct pci_bar *bar = pci->bar, *end = bar + count;
	pci_dword(address, PCI_COMMAND + WRITE, head[HEAD_COMMAND] & 0xFFFF & ~(COMMAND_IO | COMMAND_MEMORY));
	for (uint32_t at = PCI_BAR; bar < end; bar++, at += 4) {
		bar->phys = head[at / 4];
		pci_dword(address, at + WRITE, NOTHING);
		bar->bytes = pci_dword(address, at, 0);
		pci_dword(address, at + WRITE, bar->phys);
	}
	pci_dword(address, PCI_COMMAND + WRITE, (head[HEAD_COMMAND] & 0xFFFF) | COMMAND_INTX_OFF);
	for (bar = pci->bar; bar < end; bar++) {
		uint64_t flags = 15;
		if (bar->phys & 1) {
			bar->io = 1;
			flags = 3;
		} else if (bar->phys & 4 && bar + 1 < end) {
			bar->wide = 1;
			bar->phys |= bar[1].phys << 32;
			bar->bytes |= bar[1].bytes << 32;
			bar[1].phys = bar[1].bytes = 0;
		}
		bar->phys &= ~flags;
		bar->bytes &= ~flags;
		bar->bytes &= -bar->bytes;
	}
}

// A bridge's window takes the place of a base address that bridges don't have: nothing else may be put there.
static void pci_bridge_window(struct pci_bar *bar, uint32_t range, uint64_t base_high, uint64_t limit_high)
{
	bar->io = 1;
	bar->phys = (range & 0xFFF0) << 16 | base_high << 32;
	bar->bytes = ((range | 0xFFFFF) | limit_high << 32) + 1 - bar->phys;
	if ((int64_t)bar->bytes < 0) // closed
		bar->phys = 0;
}

static void pci_bridge(struct pci_dev *pci, const uint32_t *head)
{
	uint32_t secondary = head[HEAD_BUSES] >> 8 & 0xFF;
	uint32_t type = pci->pcie ? pci_dword(pci->dev.address, pci->pcie, 0) >> 20 & 15 : 0;
	if (CONFIG_ON(BUS_PCI_ASSIGN)) {
		pci_bridge_window(&pci->bar[2], head[HEAD_WINDOW], 0, 0);
		pci_bridge_window(&pci->bar[3], head[HEAD_PREFETCH], head[HEAD_PREFETCH_BASE], head[HEAD_PREFETCH_LIMIT]);
	}
	// Numbers only grow on the way down, so that buses that are scanned in their order cannot form a loop.
	if (secondary <= (pci->dev.address >> 8 & 0xFF))
		log("%s: bridge without a bus\n", pci->dev.name);
	else
		bus_devices[secondary] = type == PCIE_ROOT_PORT || type == PCIE_DOWNSTREAM_PORT ? 1 : 32; // e.7.3.1
}

// Returns true if there are further functions.
static bool pci_function(uint32_t address)
{
	uint32_t head[HEAD_DWORDS], id = pci_dword(address, 0, 0);
	if ((uint16_t)(id + 1) <= 1)
		return false;
	struct pci_dev *pci = kzalloc(sizeof(*pci));
	if (!pci)
		return false;
	for (uint32_t i = 0; i < HEAD_DWORDS; i++)
		head[i] = pci_dword(address, 4 * i, 0);
	struct device *dev = &pci->dev;
	*found_end = dev;
	found_end = &dev->next;
	dev->address = address;
	*(uint32_t *)&dev->vendor = id; // and device
	dev->class = head[HEAD_CLASS] >> 8;
	pci_name(dev);
	if (head[HEAD_COMMAND] & STATUS_CAPABILITIES)
		pci_capabilities(pci, head[HEAD_CAPABILITY]);
	dev->kind = pci->pcie ? DEVICE_PCIE : DEVICE_PCI;
	pci->line = 0xFF;
	// It has a pin, and firmware gave it a line.
	if (head[HEAD_LINE] & 0xFF00 && (uint8_t)(head[HEAD_LINE] - 1) < LINES - 1)
		pci->line = head[HEAD_LINE];
	uint32_t type = head[HEAD_TYPE] & TYPE_MASK;
	if (!type)
		*(uint32_t *)&dev->subvendor = head[HEAD_SUBSYSTEM];
	if (type <= TYPE_BRIDGE && dev->class >> 8 != CLASS_HOST_BRIDGE)
		pci_bars(pci, head, type ? 2 : 6);
	if (type == TYPE_BRIDGE)
		pci_bridge(pci, head);
	return head[HEAD_TYPE] & TYPE_MULTIFUNCTION;
}

// All buses from `first` to `last`, as in struct device.  `base` is that of bus 0.
static void pci_region(uint64_t base, uint32_t first, uint32_t last)
{
	struct region *region = regions;
	if (base) {
		while (region->base)
			region++;
		if (region == regions + ARRAY_SIZE(regions) - 1 ||
			!mem_map_device(base + ((first & 0xFFFF) << 12), (last - first + 1ul) << 12))
			return;
		*region = (struct region){ base, first, last };
	}
	memset(bus_devices, 0, sizeof(bus_devices));
	bus_devices[(uint8_t)(first >> 8)] = 32;
	for (struct aml_window *window = windows; window < windows_end && !(first >> 16); window++)
		bus_devices[window->bus_first] = 32;
	for (uint32_t address = first; address - first <= last - first; address++) // the last may be the last number
		if ((address >> 3 & 31) >= bus_devices[(uint8_t)(address >> 8)])
			address |= 0xFF;
		else if (!pci_function(address) && !(address & 7))
			address |= 7;
}

// What lies in a range.
static const struct pci_bar *pci_overlap(uint64_t at, uint64_t bytes)
{
	for (struct device *dev = found; dev; dev = dev->next)
		for (struct pci_bar *bar = to_pci(dev)->bar; bar < to_pci(dev)->bar + 6; bar++)
			if (bar->phys && (at - bar->phys < bar->bytes || bar->phys - at < bytes))
				return bar;
	return NULL;
}

// Takes the first free place on a root bus; behind bridges the firmware's windows would have to move.
static void pci_assign(uint32_t address, uint32_t reg, struct pci_bar *bar)
{
	uint64_t last = bar->bytes - 1, at;
	for (const struct aml_window *window = windows; window < windows_end; window++) {
		const struct pci_bar *other;
		if (window->bus_first != address >> 8 || window->min < 0x100000 || (window->max >> 32 && !bar->wide))
			continue;
		for (at = window->min; at = (at + last) & ~last, (other = pci_overlap(at, last + 1));)
			at = other->phys + other->bytes;
		if (at < window->min || at > window->max || window->max - at < last)
			continue;
		bar->phys = at;
		pci_dword(address, reg + WRITE, at);
		if (bar->wide)
			pci_dword(address, reg + 4 + WRITE, at >> 32);
		return;
	}
}

// Programs find device memory at its physical address, whether a driver runs the device or not.
static void pci_place_all(void)
{
	for (struct device *dev = found; dev; dev = dev->next) {
		struct pci_bar *bar = to_pci(dev)->bar;
		for (uint32_t reg = PCI_BAR; reg < PCI_BAR + 6 * 4; reg += 4, bar++) {
			if (bar->io || !bar->bytes)
				continue;
			if (CONFIG_ON(BUS_PCI_ASSIGN) && !bar->phys)
				pci_assign(dev->address, reg, bar);
			if (bar->phys)
				mem_map_device(bar->phys, bar->bytes);
		}
	}
}

static void pci_scan(void)
{
	const struct acpi_header *mcfg = CONFIG_ON(BUS_PCI_ECAM) ? acpi_table("MCFG", 0) : NULL;
	found_end = &found;
	windows_end = aml_windows(windows, windows + ARRAY_SIZE(windows));
	uint32_t last_bus = windows_end > windows ? windows->bus_last : 255;
	if (!mcfg)
		pci_region(CONFIG_ON(BUS_PCI_ECAM) ? aml_ecam() : 0, 0, last_bus << 8 | 0xFF);
	else
		for (uint32_t at = MCFG_ROWS; at + sizeof(struct mcfg_row) <= mcfg->length; at += sizeof(struct mcfg_row)) {
			const struct mcfg_row *row = (const void *)((const char *)mcfg + at);
			uint32_t segment = (uint32_t)row->segment << 16;
			pci_region(row->base, segment | row->first << 8, segment | row->last << 8 | 0xFF);
		}
	pci_place_all();
	classic.bus = pci_bus;
	for (struct device *dev = found, *next; dev; dev = next) {
		next = dev->next;
		registry_add(dev, TABLE_PCI);
	}
}
BUS_SCAN("10", pci_scan);
