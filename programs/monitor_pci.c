// PCI functions in words: what they are, and all that configuration space tells about one.  "s." = section of the PCI
// Local Bus Specification 3.0, "b." = of the PCI-to-PCI Bridge Architecture Specification 1.2, "e." = of the PCI
// Express Base Specification 5.0.
#include "monitor.h"
#include <ingot_pci.h>

// Registers (s.6.1, b.3.2).
enum {
	ID = 0x00,
	CLASS = 0x08,
	BRIDGE_BUSES = 0x18,
	BRIDGE_IO = 0x1C,
	BRIDGE_MEMORY = 0x20,
	BRIDGE_PREFETCHABLE = 0x24,
	BRIDGE_PREFETCHABLE_BASE_HIGH = 0x28,
	BRIDGE_PREFETCHABLE_LIMIT_HIGH = 0x2C,
	SUBSYSTEM = 0x2C,
	ROM = 0x30,
	BRIDGE_IO_HIGH = 0x30,
	BRIDGE_ROM = 0x38,
	INTERRUPT = 0x3C,
	EXTENDED = 0x100,
};
#define COMMAND_DECODE (INGOT_PCI_COMMAND_IO | INGOT_PCI_COMMAND_MEMORY)
#define COMMAND_INTX_OFF 0x400u
#define CLASS_HOST_BRIDGE 0x0600
#define BAR_IO 1u
#define BAR_64 4u
#define BAR_PREFETCHABLE 8u
#define ROM_ADDRESS 0xFFFFF800u
#define CAPABILITIES_MAX 48 // that fit
#define EXTENDED_MAX 960
#define VENDOR_VIRTIO 0x1AF4

enum { CAP_POWER = 1, CAP_MSI = 5, CAP_VENDOR = 9, CAP_EXPRESS = 0x10, CAP_MSIX = 0x11 };

struct name {
	uint32_t number;
	const char *text;
};

static const char *find_name(const struct name *names, uint32_t count, uint32_t number)
{
	for (uint32_t i = 0; i < count; i++)
		if (names[i].number == number)
			return names[i].text;
	return NULL;
}
#define FIND_NAME(names, number) find_name(names, sizeof(names) / sizeof((names)[0]), number)

// ---- Words ----------------------------------------------------------------------------------------------------------

// Base class, subclass, interface (PCI Code and ID Assignment Specification 1.11).
static const struct name interfaces[] = {
	{ 0x010185, "IDE controller" },
	{ 0x010601, "SATA controller, AHCI" },
	{ 0x010802, "NVMe controller" },
	{ 0x060401, "PCI bridge, subtractive" },
	{ 0x070002, "serial port, 16550" },
	{ 0x0C0300, "USB controller, UHCI" },
	{ 0x0C0310, "USB controller, OHCI" },
	{ 0x0C0320, "USB controller, EHCI" },
	{ 0x0C0330, "USB controller, xHCI" },
};
// clang-format off
static const struct name subclasses[] = {
	{ 0x0100, "SCSI controller" }, { 0x0101, "IDE controller" }, { 0x0104, "RAID controller" },
	{ 0x0105, "ATA controller" }, { 0x0106, "SATA controller" }, { 0x0107, "SAS controller" },
	{ 0x0108, "non-volatile memory controller" }, { 0x0200, "Ethernet controller" },
	{ 0x0207, "InfiniBand controller" }, { 0x0280, "network controller" }, { 0x0300, "VGA controller" },
	{ 0x0302, "3D controller" }, { 0x0380, "display controller" }, { 0x0401, "audio device" },
	{ 0x0403, "HD audio device" }, { 0x0500, "RAM" }, { 0x0502, "CXL memory" }, { 0x0600, "host bridge" },
	{ 0x0601, "ISA bridge" }, { 0x0604, "PCI bridge" }, { 0x0607, "CardBus bridge" }, { 0x0700, "serial port" },
	{ 0x0780, "communication controller" }, { 0x0800, "interrupt controller" }, { 0x0801, "DMA controller" },
	{ 0x0805, "SD host controller" }, { 0x0806, "IOMMU" }, { 0x0880, "system peripheral" },
	{ 0x0C03, "USB controller" }, { 0x0C05, "SMBus" }, { 0x0D11, "Bluetooth" }, { 0x0D80, "wireless controller" },
	{ 0x1180, "signal processing controller" }, { 0x1200, "processing accelerator" },
};
// clang-format on
// clang-format off
static const struct name classes[] = {
	{ 0x00, "device of no class" }, { 0x01, "mass storage" }, { 0x02, "network controller" },
	{ 0x03, "display controller" }, { 0x04, "multimedia device" }, { 0x05, "memory controller" }, { 0x06, "bridge" },
	{ 0x07, "communication controller" }, { 0x08, "system peripheral" }, { 0x09, "input device" },
	{ 0x0A, "docking station" }, { 0x0B, "processor" }, { 0x0C, "serial bus controller" },
	{ 0x0D, "wireless controller" }, { 0x0E, "intelligent I/O controller" }, { 0x0F, "satellite controller" },
	{ 0x10, "encryption controller" }, { 0x11, "signal processing controller" }, { 0x12, "processing accelerator" },
	{ 0x13, "instrumentation" }, { 0xFF, "device of no known class" },
};
// clang-format on

static const char *class_name(uint32_t class_code)
{
	const char *text = FIND_NAME(interfaces, class_code);
	if (!text)
		text = FIND_NAME(subclasses, class_code >> 8);
	if (!text)
		text = FIND_NAME(classes, class_code >> 16);
	return text ? text : "device of a reserved class";
}

// clang-format off
static const struct name vendors[] = {
	{ 0x1000, "Broadcom LSI" }, { 0x1002, "AMD" }, { 0x1013, "Cirrus" }, { 0x1022, "AMD" }, { 0x1033, "NEC" },
	{ 0x10DE, "NVIDIA" }, { 0x10EC, "Realtek" }, { 0x1106, "VIA" }, { 0x1137, "Cisco" }, { 0x1234, "QEMU" },
	{ 0x126F, "Silicon Motion" }, { 0x1344, "Micron" }, { 0x1414, "Microsoft" }, { 0x144D, "Samsung" },
	{ 0x14E4, "Broadcom" }, { 0x15AD, "VMware" }, { 0x15B3, "Mellanox" }, { 0x15B7, "SanDisk" }, { 0x1912, "Renesas" },
	{ 0x1969, "Atheros" }, { 0x1987, "Phison" }, { 0x1AE0, "Google" }, { 0x1AF4, "Red Hat virtio" },
	{ 0x1B21, "ASMedia" }, { 0x1B36, "Red Hat" }, { 0x1B4B, "Marvell" }, { 0x1C5C, "SK hynix" }, { 0x1D0F, "Amazon" },
	{ 0x1D6A, "Aquantia" }, { 0x1E0F, "KIOXIA" }, { 0x8086, "Intel" }, { 0x80EE, "VirtualBox" }, { 0xC0A9, "Crucial" },
};
// clang-format on
// Vendor and device: those of virtual machines, and of which no driver's name says more.
// clang-format off
static const struct name devices[] = {
	{ 0x12341111, "standard VGA" }, { 0x12347E1E, "edu" }, { 0x1AF41000, "net, transitional" },
	{ 0x1AF41001, "block, transitional" }, { 0x1AF41002, "balloon, transitional" },
	{ 0x1AF41003, "console, transitional" }, { 0x1AF41004, "SCSI, transitional" },
	{ 0x1AF41005, "entropy, transitional" }, { 0x1AF41009, "9P, transitional" }, { 0x1AF41041, "net" },
	{ 0x1AF41042, "block" }, { 0x1AF41043, "console" }, { 0x1AF41044, "entropy" }, { 0x1AF41045, "balloon" },
	{ 0x1AF41048, "SCSI" }, { 0x1AF41049, "9P" }, { 0x1AF41050, "GPU" }, { 0x1AF41052, "input" },
	{ 0x1AF41053, "socket" }, { 0x1AF4105A, "file system" }, { 0x1B360001, "PCI bridge" },
	{ 0x1B360008, "PCIe host bridge" }, { 0x1B36000B, "PCIe expander bridge" }, { 0x1B36000C, "PCIe root port" },
	{ 0x1B36000D, "xHCI" }, { 0x1B360010, "NVMe" }, { 0x80861237, "440FX" }, { 0x80867000, "PIIX3 ISA" },
	{ 0x80867010, "PIIX3 IDE" }, { 0x80867113, "PIIX4 power management" }, { 0x808629C0, "Q35" },
	{ 0x80862918, "ICH9 LPC" }, { 0x80862922, "ICH9 AHCI" }, { 0x80862930, "ICH9 SMBus" }, { 0x8086100E, "82540EM" },
	{ 0x8086100F, "82545EM" }, { 0x80861004, "82543GC" }, { 0x808610D3, "82574L" }, { 0x808610FB, "82599ES" },
	{ 0x80EEBEEF, "graphics" }, { 0x80EECAFE, "guest service" }, { 0x15AD0405, "SVGA II" }, { 0x15AD07B0, "VMXNET3" },
};
// clang-format on

// s.h (appendix H), PCI Code and ID Assignment Specification 1.11, 2 and 3.
// clang-format off
static const struct name capabilities[] = {
	{ CAP_POWER, "power management" }, { 0x02, "AGP" }, { 0x03, "vital product data" }, { 0x04, "slot identification" },
	{ CAP_MSI, "MSI" }, { 0x06, "CompactPCI hot swap" }, { 0x07, "PCI-X" }, { 0x08, "HyperTransport" },
	{ CAP_VENDOR, "vendor specific" }, { 0x0A, "debug port" }, { 0x0B, "CompactPCI resources" }, { 0x0C, "hot plug" },
	{ 0x0D, "bridge's subsystem" }, { 0x0E, "AGP 8x" }, { 0x0F, "secure device" }, { CAP_EXPRESS, "PCI Express" },
	{ CAP_MSIX, "MSI-X" }, { 0x12, "SATA" }, { 0x13, "advanced features" }, { 0x14, "enhanced allocation" },
	{ 0x15, "flattening portal bridge" },
};
// clang-format on
// clang-format off
static const struct name extended_capabilities[] = {
	{ 0x01, "advanced error reporting" }, { 0x02, "virtual channel" }, { 0x03, "serial number" },
	{ 0x04, "power budgeting" }, { 0x09, "virtual channel" }, { 0x0B, "vendor specific" }, { 0x0D, "access control" },
	{ 0x0E, "alternative routing id" }, { 0x0F, "address translation" }, { 0x10, "SR-IOV" }, { 0x12, "multicast" },
	{ 0x13, "page requests" }, { 0x15, "resizable BARs" }, { 0x16, "dynamic power allocation" },
	{ 0x17, "TPH requester" }, { 0x18, "latency tolerance" }, { 0x19, "secondary PCI Express" },
	{ 0x1B, "process address space id" }, { 0x1D, "downstream port containment" }, { 0x1E, "L1 substates" },
	{ 0x1F, "precision time measurement" }, { 0x23, "designated vendor specific" }, { 0x25, "data link feature" },
	{ 0x26, "16 GT/s" }, { 0x27, "lane margining" }, { 0x2A, "32 GT/s" }, { 0x2E, "data object exchange" },
};
// clang-format on

// ---- BARs -----------------------------------------------------------------------------------------------------------

struct bar {
	uint64_t value, mask; // mask: what comes back of all ones
};

// Writing ones tells the size (s.6.2.5.1).  Nobody may reach the device in the meantime: nothing is printed (the screen
// may be its memory), and no interrupt comes.  Host bridges keep decoding whatever the command says: they are spared.
static void read_bars(uint32_t device, uint32_t first, uint32_t count, uint32_t ones, struct bar *bars)
{
	uint64_t flags;
	uint16_t command = ingot_pci_read16(device, INGOT_PCI_COMMAND);
	int sized = ingot_pci_read16(device, CLASS + 2) != CLASS_HOST_BRIDGE;
	__asm__ volatile("pushf; pop %0; cli" : "=r"(flags) : : "memory");
	if (sized)
		ingot_pci_write16(device, INGOT_PCI_COMMAND, (uint16_t)(command & ~COMMAND_DECODE));
	for (uint32_t i = 0, at = first; i < count; i++, at += 4) {
		bars[i] = (struct bar){ ingot_pci_read32(device, at), 0 };
		if (!sized)
			continue;
		ingot_pci_write32(device, at, ones);
		bars[i].mask = ingot_pci_read32(device, at);
		ingot_pci_write32(device, at, (uint32_t)bars[i].value);
	}
	if (sized)
		ingot_pci_write16(device, INGOT_PCI_COMMAND, command);
	__asm__ volatile("push %0; popf" : : "r"(flags) : "memory", "cc");
}

static void print_size(uint64_t bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	uint32_t unit = 0;
	for (; bytes >= 1024 && !(bytes % 1024) && unit < 4; unit++)
		bytes /= 1024;
	print(", %lu %s\n", bytes, units[unit]);
}

static void print_range(uint64_t base, uint64_t mask, uint64_t ones)
{
	if (base)
		print(" at %lx", base);
	else
		print(", unassigned");
	mask &= ones;
	if (mask)
		print_size(mask & -mask);
	else
		print("\n");
}

static void show_bars(uint32_t device, uint32_t count)
{
	struct bar bars[6];
	read_bars(device, INGOT_PCI_BAR, count, ~0u, bars);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t kind = (uint32_t)bars[i].value;
		uint64_t base = bars[i].value, mask = bars[i].mask;
		if (!base && !mask)
			continue;
		print("  BAR %u: ", i);
		if (kind & BAR_IO) {
			print("I/O ports");
			print_range(base & ~3ul, mask, 0xFFFC);
			continue;
		}
		if (kind & BAR_64 && i + 1 < count) {
			base |= bars[i + 1].value << 32;
			mask |= bars[++i].mask << 32;
		}
		print("%s%smemory", kind & BAR_64 ? "64-bit " : "", kind & BAR_PREFETCHABLE ? "prefetchable " : "");
		print_range(base & ~15ul, mask, ~15ul);
	}
}

static void show_rom(uint32_t device, uint32_t dword)
{
	struct bar rom;
	read_bars(device, dword, 1, ROM_ADDRESS, &rom);
	if (!(rom.mask & ROM_ADDRESS))
		return;
	print("  ROM%s", rom.value & 1 ? "" : ", off");
	print_range(rom.value & ROM_ADDRESS, rom.mask, ROM_ADDRESS);
}

// ---- Bridges --------------------------------------------------------------------------------------------------------

static void show_window(const char *what, uint64_t base, uint64_t limit)
{
	if (base > limit)
		print("  %s: closed\n", what);
	else
		print("  %s: %lx to %lx\n", what, base, limit);
}

// Windows are closed by a base above the limit (b.3.2.5.6 to 3.2.5.10).
static void show_bridge(uint32_t device)
{
	uint32_t buses = ingot_pci_read32(device, BRIDGE_BUSES), io = ingot_pci_read32(device, BRIDGE_IO);
	uint32_t memory = ingot_pci_read32(device, BRIDGE_MEMORY),
			 prefetchable = ingot_pci_read32(device, BRIDGE_PREFETCHABLE);
	uint32_t io_high = ingot_pci_read32(device, BRIDGE_IO_HIGH);
	uint64_t base = (prefetchable & 0xFFF0ul) << 16, limit = (prefetchable & 0xFFF00000ul) | 0xFFFFF;
	print("  buses: on %x, leads to %x up to %x\n", buses & 0xFF, buses >> 8 & 0xFF, buses >> 16 & 0xFF);
	uint32_t io_base = (io & 0xF0) << 8, io_limit = (io & 0xF000) | 0xFFF;
	if ((io & 15) == 1) {
		io_base |= io_high << 16;
		io_limit |= io_high & 0xFFFF0000;
	}
	show_window("I/O window", io_base, io_limit);
	show_window("memory window", (memory & 0xFFF0ul) << 16, (memory & 0xFFF00000ul) | 0xFFFFF);
	if ((prefetchable & 15) == 1) {
		base |= (uint64_t)ingot_pci_read32(device, BRIDGE_PREFETCHABLE_BASE_HIGH) << 32;
		limit |= (uint64_t)ingot_pci_read32(device, BRIDGE_PREFETCHABLE_LIMIT_HIGH) << 32;
	}
	show_window("prefetchable window", base, limit);
}

// ---- Capabilities ---------------------------------------------------------------------------------------------------

// s.6.8.1
static void show_msi(uint32_t device, uint32_t at, uint32_t head)
{
	uint32_t control = head >> 16, wide = control & 0x80;
	print(": %s, %u of %u vectors%s%s", control & 1 ? "on" : "off", 1u << (control >> 4 & 7), 1u << (control >> 1 & 7),
		wide ? ", 64-bit" : "", control & 0x100 ? ", maskable" : "");
	if (control & 1)
		print(", %lx to %lx", (uint64_t)(ingot_pci_read32(device, at + (wide ? 12 : 8)) & 0xFFFF),
			(wide ? (uint64_t)ingot_pci_read32(device, at + 8) << 32 : 0) | ingot_pci_read32(device, at + 4));
}

// s.6.8.2
static void show_msix(uint32_t device, uint32_t at, uint32_t head)
{
	uint32_t control = head >> 16, table = ingot_pci_read32(device, at + 4), pending = ingot_pci_read32(device, at + 8);
	print(": %s%s, %u vectors, table in BAR %u at %x, pending bits in BAR %u at %x", control & 0x8000 ? "on" : "off",
		control & 0x4000 ? ", masked" : "", (control & 0x7FF) + 1, table & 7, table & ~7u, pending & 7, pending & ~7u);
}

// e.7.5.3
static void show_express(uint32_t device, uint32_t at, uint32_t head)
{
	static const char *const types[] = { "endpoint", "legacy endpoint", NULL, NULL, "root port", "upstream port",
		"downstream port", "PCI bridge", "bridge from PCI", "integrated endpoint", "root complex event collector" };
	static const char *const speeds[] = { "?", "2.5", "5", "8", "16", "32", "64" };
	uint32_t type = head >> 20 & 15, most = ingot_pci_read32(device, at + 12), now = ingot_pci_read16(device, at + 18);
	print(": %s", type < 11 && types[type] ? types[type] : "reserved type");
	if (type >= 9) // integrated: there is no link
		return;
	print(", link x%u at %s of x%u at %s GT/s", now >> 4 & 63, speeds[(now & 15) < 7 ? now & 15 : 0], most >> 4 & 63,
		speeds[(most & 15) < 7 ? most & 15 : 0]);
}

// Virtual I/O Device (VIRTIO) Version 1.2, 4.1.4
static void show_virtio(uint32_t device, uint32_t at, uint32_t head)
{
	static const char *const types[] = { "?", "common", "notifications", "ISR", "device", "through configuration space",
		"?", "?", "shared memory", "vendor" };
	uint32_t type = head >> 24, bar = ingot_pci_read8(device, at + 4);
	print(": virtio %s, BAR %u at %x, %u bytes", types[type < 10 ? type : 0], bar, ingot_pci_read32(device, at + 8),
		ingot_pci_read32(device, at + 12));
}

static void show_capability(uint32_t device, uint32_t at, uint32_t head)
{
	uint32_t id = head & 0xFF;
	const char *text = FIND_NAME(capabilities, id);
	print("  [%02x] %s", at, text ? text : "unknown");
	if (!text)
		print(" capability %02x", id);
	if (id == CAP_MSI)
		show_msi(device, at, head);
	else if (id == CAP_MSIX)
		show_msix(device, at, head);
	else if (id == CAP_EXPRESS)
		show_express(device, at, head);
	else if (id == CAP_POWER)
		print(": D%u", ingot_pci_read8(device, at + 4) & 3); // Power Management Specification 1.2, 3.2.4
	else if (id == CAP_VENDOR && ingot_pci_read16(device, ID) == VENDOR_VIRTIO)
		show_virtio(device, at, head);
	print("\n");
}

// A damaged list may be a ring: so many are looked at as there can be.
static int show_capabilities(uint32_t device)
{
	int express = 0;
	uint32_t at = ingot_pci_read8(device, INGOT_PCI_CAPABILITIES) & 0xFC;
	if (!(ingot_pci_read16(device, INGOT_PCI_STATUS) & INGOT_PCI_STATUS_CAPABILITIES))
		return 0;
	for (uint32_t i = 0; i < CAPABILITIES_MAX && at >= 0x40; i++) {
		uint32_t head = ingot_pci_read32(device, at);
		show_capability(device, at, head);
		express |= (head & 0xFF) == CAP_EXPRESS;
		at = head >> 8 & 0xFC;
	}
	return express;
}

// e.7.6.3
static void show_extended(uint32_t device)
{
	uint32_t at = EXTENDED;
	for (uint32_t i = 0; i < EXTENDED_MAX && at >= EXTENDED; i++) {
		uint32_t head = ingot_pci_read32(device, at), id = head & 0xFFFF;
		const char *text = FIND_NAME(extended_capabilities, id);
		if (!id || id == 0xFFFF)
			break;
		print("  [%03x] %s", at, text ? text : "unknown");
		if (!text)
			print(" extended capability %04x", id);
		print("\n");
		at = head >> 20 & 0xFFC;
	}
}

// ---- The command ----------------------------------------------------------------------------------------------------

static void show_line(const struct ingot_device_info *info)
{
	const char *vendor = FIND_NAME(vendors, info->vendor);
	const char *device = FIND_NAME(devices, (uint32_t)info->vendor << 16 | info->device);
	print("%s %04x:%04x %s: %s%s%s", info->address, info->vendor, info->device, class_name(info->class_code),
		vendor ? vendor : "vendor unknown", device ? " " : "", device ? device : "");
	print("%s%s%s%s\n", info->driver[0] ? ", " : "", info->driver, info->unit[0] ? " " : "", info->unit);
}

static void show_device(uint32_t device)
{
	uint32_t command = ingot_pci_read16(device, INGOT_PCI_COMMAND), interrupt = ingot_pci_read32(device, INTERRUPT);
	uint32_t type = ingot_pci_read8(device, INGOT_PCI_HEADER) & 0x7F, subsystem = ingot_pci_read32(device, SUBSYSTEM);
	print("  class %06x, revision %x", ingot_pci_read32(device, CLASS) >> 8, ingot_pci_read8(device, CLASS));
	if (!type && subsystem)
		print(", subsystem %04x:%04x", subsystem & 0xFFFF, subsystem >> 16);
	print("\n  I/O %s, memory %s, bus master %s", command & INGOT_PCI_COMMAND_IO ? "on" : "off",
		command & INGOT_PCI_COMMAND_MEMORY ? "on" : "off", command & INGOT_PCI_COMMAND_MASTER ? "on" : "off");
	if (interrupt >> 8 & 0xFF)
		print(", INT%c %s, line %u", (char)('A' + (interrupt >> 8 & 0xFF) - 1),
			command & COMMAND_INTX_OFF ? "off" : "on", interrupt & 0xFF);
	print("\n");
	if (type > 1) {
		print("  header of type %u: the rest is not decoded\n", type);
		return;
	}
	show_bars(device, type ? 2 : 6);
	show_rom(device, type ? BRIDGE_ROM : ROM);
	if (type)
		show_bridge(device);
	if (show_capabilities(device))
		show_extended(device);
}

// The number of "0000:00:1f.2", or of "00:1f.2".
static uint32_t parse_address(const char *text)
{
	char whole[sizeof("0000:00:00.0")] = "0000:";
	if (text_length(text) != sizeof("00:00.0") - 1)
		return ingot_pci_address(text);
	for (uint32_t i = 0; i < sizeof("00:00.0"); i++)
		whole[sizeof("0000:") - 1 + i] = text[i];
	return ingot_pci_address(whole);
}

// pci [ADDRESS]: all devices, a line each; or all about one.
int command_pci(struct request *request)
{
	struct ingot_device_info info;
	uint32_t shown = 0, wanted = request->count ? parse_address(request->words[1]) : INGOT_PCI_NONE;
	if (request->count && wanted == INGOT_PCI_NONE)
		return -1;
	for (uint32_t i = 0; info.size = sizeof(info), !ingot->device_info(i, &info); i++) {
		uint32_t device = ingot_pci_address(info.address);
		if (device == INGOT_PCI_NONE || (request->count && device != wanted))
			continue;
		show_line(&info);
		if (request->count)
			show_device(device);
		shown++;
	}
	if (!shown)
		print("no such PCI device\n");
	return 0;
}
