// bus/pci.c against made-up configuration spaces: discovery through ECAM and ports, base addresses, capabilities,
// interrupts.
#include "fake.h"
#include <bus/pci.c>

#define ECAM 0xE0000000ul
#define FUNCTIONS 24

struct function {
	uint32_t address;
	uint32_t config[64];
	uint32_t masks[6];  // writable bits of each base address register; the others are as in config
	uint32_t fixed[64]; // read-only bits elsewhere
};
static struct function functions[FUNCTIONS];
static uint32_t function_count, selected, accesses;
static struct fake_mmio ecam, ecam2;
static struct fake_pio ports;

static struct {
	struct acpi_header header;
	uint64_t reserved;
	struct mcfg_row rows[3];
} __attribute__((packed)) mcfg;
static bool mcfg_there;
static struct aml_window given[8];
static uint32_t given_count;
static uint64_t given_ecam;
struct classic_calls classic;

const struct acpi_header *acpi_table(const char *signature, uint32_t index)
{
	return !strcmp(signature, "MCFG") && !index && mcfg_there ? &mcfg.header : NULL;
}

struct aml_window *aml_windows(struct aml_window *out, const struct aml_window *limit)
{
	assert_true(given_count <= limit - out);
	memcpy(out, given, sizeof(*out) * given_count);
	return out + given_count;
}

uint64_t aml_ecam(void)
{
	return given_ecam;
}

static struct function *function_at(uint32_t address)
{
	for (uint32_t i = 0; i < function_count; i++)
		if (functions[i].address == address)
			return &functions[i];
	return NULL;
}

static uint32_t config_read(uint32_t address, uint32_t offset)
{
	struct function *fn = function_at(address);
	accesses++;
	assert_int_equal(offset & 3, 0);
	return !fn ? NOTHING : offset < 256 ? fn->config[offset / 4] : 0;
}

static void config_write(uint32_t address, uint32_t offset, uint32_t value)
{
	struct function *fn = function_at(address);
	uint32_t n = offset / 4 - HEAD_BAR, mask;
	accesses++;
	assert_int_equal(offset & 3, 0);
	if (!fn || offset > 255)
		return;
	mask = ~fn->fixed[offset / 4];
	if (n < (fn->config[HEAD_TYPE] & TYPE_MASK ? 2 : 6)) {
		// Nothing decodes an address while it changes.
		assert_int_equal(fn->config[HEAD_COMMAND] & (COMMAND_IO | COMMAND_MEMORY), 0);
		mask = fn->masks[n];
	} else if (offset == PCI_COMMAND) {
		mask = 0x7FF;
	} else if (offset < 0x40) {
		fail_msg("write to register %#x", offset);
	}
	fn->config[offset / 4] = (fn->config[offset / 4] & ~mask) | (value & mask);
}

static uint64_t ecam_read(struct fake_mmio *dev, uint64_t offset, uint32_t width)
{
	assert_int_equal(width, 4);
	return config_read((dev == &ecam2) << 16 | offset >> 12, offset & 0xFFF);
}

static void ecam_write(struct fake_mmio *dev, uint64_t offset, uint32_t width, uint64_t value)
{
	assert_int_equal(width, 4);
	config_write((dev == &ecam2) << 16 | offset >> 12, offset & 0xFFF, value);
}

static uint32_t port_read(struct fake_pio *dev, uint16_t offset, uint32_t width)
{
	assert_true(offset == 4 && width == 4 && selected >> 31);
	return config_read(selected >> 8 & 0xFFFF, selected & 0xFF);
}

static void port_write(struct fake_pio *dev, uint16_t offset, uint32_t width, uint32_t value)
{
	assert_int_equal(width, 4);
	assert_true(fake_irq_off); // nobody comes between the two ports
	if (!offset)
		selected = value;
	else
		config_write(selected >> 8 & 0xFFFF, selected & 0xFF, value);
}

static struct function *add(uint32_t address, uint32_t id, uint32_t class, uint32_t type)
{
	struct function *fn = &functions[function_count++];
	assert_true(function_count <= FUNCTIONS);
	memset(fn, 0, sizeof(*fn));
	fn->address = address;
	fn->config[HEAD_ID] = id;
	fn->config[HEAD_CLASS] = class << 8;
	fn->config[HEAD_TYPE] = type;
	return fn;
}

static struct function *add_bridge(uint32_t address, uint32_t secondary)
{
	struct function *fn = add(address, 0x00011B36, 0x060400, TYPE_BRIDGE);
	fn->config[HEAD_BUSES] = secondary << 8;
	fn->config[HEAD_WINDOW] = fn->config[HEAD_PREFETCH] = 0x0000FFF0; // closed
	return fn;
}

static void bar_set(struct function *fn, uint32_t n, uint32_t value, uint32_t mask)
{
	fn->config[HEAD_BAR + n] = value;
	fn->masks[n] = mask;
}

// A chain of capabilities from 0x40 on: ids, 16 bytes apart.
static void capabilities_set(struct function *fn, const uint8_t *ids, uint32_t count)
{
	fn->config[HEAD_COMMAND] |= STATUS_CAPABILITIES;
	fn->config[HEAD_CAPABILITY] = 0x40;
	for (uint32_t i = 0; i < count; i++)
		fn->config[16 + 4 * i] = ids[i] | (i + 1 < count ? 0x50 + 16 * i : 0) << 8;
}

static void regions_set(uint32_t count)
{
	mcfg_there = true;
	mcfg.header.length = MCFG_ROWS + count * sizeof(struct mcfg_row);
	mcfg.rows[0] = (struct mcfg_row){ ECAM, 0, 0, 255, 0 };
}

static int start(void **state)
{
	fake_setup(state);
	function_count = selected = accesses = given_count = 0;
	given_ecam = 0;
	mcfg_there = false;
	found = NULL;
	memset(regions, 0, sizeof(regions));
	memset(intx_users, 0, sizeof(intx_users));
	memset(&classic, 0, sizeof(classic));
	ecam = (struct fake_mmio){ .base = (void *)ECAM, .bytes = 1 << 28, .read = ecam_read, .write = ecam_write };
	ecam2 = (struct fake_mmio){ .base = (void *)0x900000000, .bytes = 1 << 28, .read = ecam_read, .write = ecam_write };
	ports = (struct fake_pio){ .base = PORT_ADDRESS, .count = 8, .read = port_read, .write = port_write };
	fake_mmio_add(&ecam);
	fake_mmio_add(&ecam2);
	fake_pio_add(&ports);
	return 0;
}

static int end(void **state)
{
	for (uint32_t i = 0; i < fake_device_count; i++)
		kfree(to_pci(fake_devices[i]), sizeof(struct pci_dev));
	return fake_teardown(state);
}

static struct pci_dev *dev_at(uint32_t address)
{
	for (uint32_t i = 0; i < fake_device_count; i++)
		if (fake_devices[i]->address == address)
			return to_pci(fake_devices[i]);
	return NULL;
}

// ---- Discovery -----------------------------------------------------------------------------------------------

static void add_machine(void)
{
	static const uint8_t port[] = { CAP_PCIE };
	struct function *fn = add(0x0000, 0x12378086, 0x060000, 0);
	fn->config[HEAD_BAR] = 0xFFFFFFFF; // a host bridge is left alone
	fn = add(0x0010, 0x10D38086, 0x020000, TYPE_MULTIFUNCTION);
	fn->config[HEAD_SUBSYSTEM] = 0xBBBBAAAA;
	add(0x0012, 0x10D48086, 0x020000, 0);
	add(0x0018, 0x00051234, 0x010802, 0);
	add(0x0019, 0x00061234, 0x010802, 0); // not looked for: 03.0 has one function
	add(0x0021, 0x00071234, 0x010802, 0); // nor this one: there is no 04.0
	fn = add_bridge(0x0028, 2);           // root port
	capabilities_set(fn, port, 1);
	fn->config[16] |= PCIE_ROOT_PORT << 20;
	add(0x0200, 0x10411AF4, 0x020000, 0);
	add(0x0208, 0x10411AF4, 0x020000, 0); // a port leads to device 0 alone
	add_bridge(0x0030, 1);
	add(0x01F8, 0x10001AF4, 0x010000, 0);
	add_bridge(0x0100, 3);
	add(0x0300, 0x0001ABCD, 0xFF0000, 0);
}

static void check_machine(void)
{
	static const uint32_t order[] = { 0x0000, 0x0010, 0x0012, 0x0018, 0x0028, 0x0030, 0x0100, 0x01F8, 0x0200, 0x0300 };
	assert_int_equal(fake_device_count, ARRAY_SIZE(order));
	for (uint32_t i = 0; i < ARRAY_SIZE(order); i++)
		assert_int_equal(fake_devices[i]->address, order[i]);
	struct pci_dev *pci = dev_at(0x0010);
	assert_string_equal(pci->dev.name, "0000:00:02.0");
	assert_int_equal(pci->dev.vendor, 0x8086);
	assert_int_equal(pci->dev.device, 0x10D3);
	assert_int_equal(pci->dev.subvendor, 0xAAAA);
	assert_int_equal(pci->dev.subdevice, 0xBBBB);
	assert_int_equal(pci->dev.class, 0x020000);
	assert_int_equal(pci->dev.kind, DEVICE_PCI);
	assert_int_equal(dev_at(0x0028)->dev.kind, DEVICE_PCIE);
	assert_string_equal(dev_at(0x0012)->dev.name, "0000:00:02.2");
	assert_string_equal(dev_at(0x01F8)->dev.name, "0000:01:1f.0");
	assert_int_equal(dev_at(0)->bar[0].bytes, 0);
}

static void discovery_by_ecam(void **state)
{
	regions_set(1);
	add_machine();
	pci_scan();
	check_machine();
	assert_int_equal(ports.reads + ports.writes, 0);
	assert_int_equal(pci_read(0x0010, 0x02, 2), 0x10D3);
	assert_int_equal(pci_read(0x0010, 0x0A, 2), 0x0200);
	assert_int_equal(pci_read(0x0010, 0x2E, 1), 0xBB);
	assert_int_equal(pci_read(0x10010, 0, 4), NOTHING);
	assert_int_equal(classic.bus(0, 0x0000000000100002, 0x50), 0x02000000);
	assert_int_equal(classic.bus(0, 0x0000000000100400, 0x50), NOTHING); // past the 4 KiB
	assert_int_equal(classic.bus(0, 0x0000000100100000, 0x50), NOTHING); // no such segment
}

static void discovery_by_ports(void **state)
{
	add_machine();
	pci_scan();
	check_machine();
	assert_int_equal(ecam.reads + ecam.writes, 0);
	assert_int_equal(pci_read(0x0010, 0x02, 2), 0x10D3);
	assert_int_equal(pci_read(0x10010, 0, 4), NOTHING);
	assert_int_equal(classic.bus(0, 0x0000000000100000, 0x50), 0x10D38086);
	assert_int_equal(classic.bus(0, 0x0000000000100040, 0x50), NOTHING); // no extended space
	classic.bus(COMMAND_MEMORY, 0x0000000000100001, 0x51);
	assert_int_equal(pci_read(0x0010, PCI_COMMAND, 2), COMMAND_MEMORY);
}

static void an_empty_bus_costs_little(void **state)
{
	regions_set(1);
	pci_scan();
	assert_int_equal(fake_device_count, 0);
	assert_true(accesses <= 40);
	struct function *fn = add(0x0010, 0x00011234, 0x020000, 0);
	for (uint32_t n = 0; n < 6; n++)
		bar_set(fn, n, 0, 0xFFFFF000);
	accesses = 0;
	memset(regions, 0, sizeof(regions));
	pci_scan();
	assert_true(accesses <= 32 + 40);
}

static void configuration_named_by_the_bridge(void **state)
{
	given_ecam = ECAM;
	given[0] = (struct aml_window){ 1, 0, 0, 3 };
	given_count = 1;
	add_machine();
	pci_scan();
	check_machine();
	assert_int_equal(ports.reads + ports.writes, 0);
	assert_int_equal(pci_read(0x0400, 0, 4), NOTHING); // the bridge ends at bus 3
}

static void segments_and_further_roots(void **state)
{
	regions_set(2);
	mcfg.rows[1] = (struct mcfg_row){ 0x900000000, 1, 0x10, 0x1F, 0 };
	given[0] = (struct aml_window){ 1, 0, 0, 0x7F };
	given[1] = (struct aml_window){ 1, 0, 0x80, 0x81 };
	given_count = 2;
	add(0x11008, 0x00011234, 0x020000, 0);
	add(0x18008, 0x00011234, 0x020000, 0); // outside of segment 1's buses
	add(0x08000, 0x00021234, 0x020000, 0); // root bus 0x80 of segment 0
	add(0x04000, 0x00031234, 0x020000, 0); // on a bus that nothing leads to
	pci_scan();
	assert_int_equal(fake_device_count, 2);
	assert_string_equal(fake_devices[0]->name, "0000:80:00.0");
	assert_string_equal(fake_devices[1]->name, "0001:10:01.0");
}

static void damaged_mcfg(void **state)
{
	add(0x0010, 0x00011234, 0x020000, 0);
	regions_set(0);
	mcfg.header.length = sizeof(struct acpi_header);
	pci_scan();
	assert_int_equal(fake_device_count, 0); // names nothing
}

// The last bus of the last segment is looked at once.
static void last_segment(void **state)
{
	regions_set(1);
	mcfg.rows[0] = (struct mcfg_row){ ECAM, 0xFFFF, 255, 255, 0 };
	pci_scan();
	assert_int_equal(fake_device_count, 0);
}

static void bridges_in_a_circle(void **state)
{
	regions_set(1);
	add_bridge(0x0008, 0); // never set up
	add_bridge(0x0010, 1);
	add_bridge(0x0100, 1); // leads to where it stands
	add_bridge(0x0108, 0); // leads back
	add_bridge(0x0110, 255);
	add_bridge(0xFF00, 5);
	pci_scan();
	assert_int_equal(fake_device_count, 6);
	assert_true(fake_logged("0000:00:01.0: bridge without a bus\n"));
	assert_true(fake_logged("0000:01:00.0: bridge without a bus\n"));
	assert_true(fake_logged("0000:ff:00.0: bridge without a bus\n"));
	assert_false(fake_logged("0000:00:02.0: bridge"));
}

static void no_memory(void **state)
{
	regions_set(1);
	add(0x0010, 0x00011234, 0x020000, 0);
	add(0x0018, 0x00011234, 0x020000, 0);
	fake_alloc_fail_at = 1;
	pci_scan();
	assert_int_equal(fake_device_count, 1);
}

// ---- Capabilities --------------------------------------------------------------------------------------------

static void capability_order(void **state)
{
	static const uint8_t ids[] = { 9, CAP_MSIX, 9, CAP_MSI, CAP_PCIE, 9 };
	regions_set(1);
	capabilities_set(add(0x0010, 0x00011234, 0, 0), ids, sizeof(ids));
	pci_scan();
	struct pci_dev *pci = dev_at(0x0010);
	assert_int_equal(pci->msix, 0x50);
	assert_int_equal(pci->msi, 0x70);
	assert_int_equal(pci->pcie, 0x80);
	assert_int_equal(pci_capability(pci, 9, 0), 0x40);
	assert_int_equal(pci_capability(pci, 9, 0x40), 0x60);
	assert_int_equal(pci_capability(pci, 9, 0x60), 0x90);
	assert_int_equal(pci_capability(pci, 9, 0x90), 0);
	assert_int_equal(pci_capability(pci, 8, 0), 0);
	assert_int_equal(pci_capability(pci, 0, 0), 0);
}

static void capability_loops(void **state)
{
	regions_set(1);
	struct function *fn = add(0x0010, 0x00011234, 0, 0);
	fn->config[HEAD_COMMAND] = STATUS_CAPABILITIES;
	fn->config[HEAD_CAPABILITY] = 0x43; // the low bits are reserved
	fn->config[16] = 9 | 0x50 << 8;
	fn->config[20] = 9 | 0x40 << 8;
	fn = add(0x0018, 0x00021234, 0, 0);
	fn->config[HEAD_COMMAND] = STATUS_CAPABILITIES;
	fn->config[HEAD_CAPABILITY] = 0xFC;
	fn->config[63] = CAP_MSI | 0x10 << 8; // into the header
	fn = add(0x0020, 0x00031234, 0, 0);
	fn->config[HEAD_CAPABILITY] = 0x40; // status says that there is no list
	fn->config[16] = CAP_MSI;
	fn = add(0x0028, 0x00041234, 0, 0);
	fn->config[HEAD_COMMAND] = STATUS_CAPABILITIES;
	fn->config[HEAD_CAPABILITY] = 0x40;
	for (uint32_t i = 16; i < 64; i++)
		fn->config[i] = 9 | (4 * i + 4) << 8;
	pci_scan();
	uint32_t at = 0, count = 0;
	while ((at = pci_capability(dev_at(0x0010), 9, at)))
		assert_true(++count <= 2);
	assert_int_equal(count, 2);
	assert_int_equal(dev_at(0x0018)->msi, 0xFC);
	assert_int_equal(pci_capability(dev_at(0x0018), CAP_MSI, 0xFC), 0);
	assert_int_equal(dev_at(0x0020)->msi, 0);
	for (count = 0; (at = pci_capability(dev_at(0x0028), 9, at));)
		assert_true(++count <= PCI_CAPABILITIES);
	assert_int_equal(count, PCI_CAPABILITIES);
}

// ---- Base addresses ------------------------------------------------------------------------------------------

static void base_addresses(void **state)
{
	static const uint32_t values[] = { 0xFEB00000, 0x0000C041, 0x0000000C, 0x00000008, 0, 0xFEA00004 };
	regions_set(1);
	struct function *fn = add(0x0010, 0x00011234, 0x020000, 0);
	fn->config[HEAD_COMMAND] = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | 0xF9000000;
	bar_set(fn, 0, values[0], 0xFFFE0000);
	bar_set(fn, 1, values[1], 0xFFE0); // 16 bits of ports
	bar_set(fn, 2, values[2], 0);      // 64 bits, 8 GiB at 32 GiB
	bar_set(fn, 3, values[3], 0xFFFFFFFE);
	bar_set(fn, 5, values[5], 0xFFFFF000); // says 64 bits where no register follows
	pci_scan();
	const struct pci_bar *bar = dev_at(0x0010)->bar;
	assert_int_equal(bar[0].phys, 0xFEB00000);
	assert_int_equal(bar[0].bytes, 0x20000);
	assert_int_equal(bar[0].io, 0);
	assert_int_equal(bar[1].phys, 0xC040);
	assert_int_equal(bar[1].bytes, 0x20);
	assert_int_equal(bar[1].io, 1);
	assert_int_equal(bar[2].phys, 0x800000000);
	assert_int_equal(bar[2].bytes, 0x200000000);
	assert_int_equal(bar[2].wide, 1);
	assert_int_equal(bar[3].bytes, 0);
	assert_int_equal(bar[4].bytes, 0);
	assert_int_equal(bar[5].phys, 0xFEA00000);
	assert_int_equal(bar[5].bytes, 0x1000);
	assert_int_equal(bar[5].wide, 0);
	for (uint32_t n = 0; n < 6; n++)
		assert_int_equal(fn->config[HEAD_BAR + n], values[n]);
	assert_int_equal(fn->config[HEAD_COMMAND] & 0x7FF, COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_OFF);
	assert_int_equal((uintptr_t)pci_map_bar(dev_at(0x0010), 0), 0xFEB00000);
	assert_int_equal((uintptr_t)pci_map_bar(dev_at(0x0010), 2), 0x800000000);
	assert_false(fake_logged("BAR"));
	assert_null(pci_map_bar(dev_at(0x0010), 1));
	assert_true(fake_logged(" BAR 1 unassigned"));
	assert_null(pci_map_bar(dev_at(0x0010), 3));
	assert_null(pci_map_bar(dev_at(0x0010), 6));
	assert_null(pci_map_bar(dev_at(0x0010), 7));
}

static void empty_bars_without_windows(void **state)
{
	regions_set(1);
	bar_set(add(0x0010, 0x00011234, 0x020000, 0), 0, 0, 0xFFFFF000);
	pci_scan();
	assert_int_equal(dev_at(0x0010)->bar[0].bytes, 0x1000);
	assert_null(pci_map_bar(dev_at(0x0010), 0));
	assert_true(fake_logged(" BAR 0 unassigned"));
}

static void empty_bars_get_addresses(void **state)
{
	regions_set(1);
	given[0] = (struct aml_window){ 1, 0, 0, 127 };
	given[1] = (struct aml_window){ 0xA0000, 0xBFFFF, 0, 127 }; // the VGA's: too low
	given[2] = (struct aml_window){ 0x8000000000, 0xFFFFFFFFFF, 0, 127 };
	given[3] = (struct aml_window){ 0xC0000800, 0xC00FFFFF, 0, 127 };
	given[4] = (struct aml_window){ 1, 0, 128, 128 };
	given[5] = (struct aml_window){ 0xD0000000, 0xD0001FFF, 128, 128 };
	given_count = 6;
	struct function *first = add(0x0010, 0x00011234, 0x020000, 0);
	bar_set(first, 0, 0, 0xFFFFF000);   // 32 bits: behind what follows
	bar_set(first, 1, 0x4, 0xFFFFC000); // 64 bits: the first window
	bar_set(first, 2, 0, 0xFFFFFFFF);
	bar_set(first, 3, 0, 0xFFF00000); // 1 MiB aligned: no place
	struct function *other = add(0x0018, 0x00021234, 0x020000, 0);
	bar_set(other, 0, 0xC0001000, 0xFFFFF000); // the firmware's
	struct function *bridge = add_bridge(0x0020, 5);
	bridge->config[HEAD_PREFETCH] = 0x0001FFF1; // closed, 64 bits
	struct function *behind = add(0x0500, 0x00031234, 0x020000, 0);
	bar_set(behind, 0, 0, 0xFFFFF000);
	struct function *root = add(0x8000, 0x00041234, 0x020000, 0);
	bar_set(root, 0, 0, 0xFFFFF000);
	bar_set(root, 1, 0, 0xFFFFF000);
	bar_set(root, 2, 0, 0xFFFFF000); // the window is full
	pci_scan();
	assert_int_equal(first->config[HEAD_BAR], 0xC0002000);
	assert_int_equal(dev_at(0x0010)->bar[0].phys, 0xC0002000);
	assert_int_equal(dev_at(0x0010)->bar[1].phys, 0x8000000000);
	assert_int_equal(first->config[HEAD_BAR + 1], 4);
	assert_int_equal(first->config[HEAD_BAR + 2], 0x80);
	assert_int_equal(dev_at(0x0010)->bar[3].phys, 0);
	assert_int_equal(first->config[HEAD_BAR + 3], 0);
	assert_int_equal(other->config[HEAD_BAR], 0xC0001000);
	assert_int_equal(behind->config[HEAD_BAR], 0);
	assert_int_equal(root->config[HEAD_BAR], 0xD0000000);
	assert_int_equal(root->config[HEAD_BAR + 1], 0xD0001000);
	assert_int_equal(root->config[HEAD_BAR + 2], 0);
	assert_int_equal((uintptr_t)pci_map_bar(dev_at(0x8000), 1), 0xD0001000);
}

static void bridge_windows_are_taken(void **state)
{
	regions_set(1);
	given[0] = (struct aml_window){ 1, 0, 0, 255 };
	given[1] = (struct aml_window){ 0xC0000000, 0xC04FFFFF, 0, 255 };
	given_count = 2;
	struct function *fn = add(0x0010, 0x00011234, 0x020000, 0), *bridge = add_bridge(0x0018, 1);
	bar_set(fn, 0, 0, 0xFFF00000);
	bar_set(fn, 1, 0, 0xFFF00000);
	bar_set(fn, 2, 0, 0xFFF00000);
	bridge->config[HEAD_WINDOW] = 0xC000C000;   // C0000000 to C00FFFFF
	bridge->config[HEAD_PREFETCH] = 0xC021C021; // C0200000 to C02FFFFF
	pci_scan();
	assert_int_equal(fn->config[HEAD_BAR], 0xC0100000);
	assert_int_equal(fn->config[HEAD_BAR + 1], 0xC0300000);
	assert_int_equal(fn->config[HEAD_BAR + 2], 0xC0400000);
}

// Its base lies above its limit, at the first place that is looked at.
static void a_closed_window_takes_nothing(void **state)
{
	regions_set(1);
	given[0] = (struct aml_window){ 1, 0, 0, 255 };
	given[1] = (struct aml_window){ 0xFFF00000, 0xFFFFFFFF, 0, 255 };
	given_count = 2;
	struct function *fn = add(0x0010, 0x00011234, 0x020000, 0);
	bar_set(fn, 0, 0, 0xFFF00000);
	add_bridge(0x0018, 1);
	pci_scan();
	assert_int_equal(fn->config[HEAD_BAR], 0xFFF00000);
}

// ---- Command register and interrupts -------------------------------------------------------------------------

static void enable_and_disable(void **state)
{
	static const uint8_t ids[] = { CAP_MSI };
	regions_set(1);
	struct function *fn = add(0x0010, 0x00011234, 0x020000, 0);
	capabilities_set(fn, ids, 1);
	pci_scan();
	pci_enable(dev_at(0x0010));
	assert_int_equal(fn->config[1] & 0xFFFF, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_OFF);
	fn->config[16] |= MSI_CONTROL_ENABLE << 16;
	pci_disable(dev_at(0x0010));
	assert_int_equal(fn->config[1] & 0xFFFF, COMMAND_MEMORY | COMMAND_INTX_OFF);
	assert_int_equal(fn->config[16], CAP_MSI);
}

static uint32_t handled;

static void handler(void *arg)
{
	handled += *(uint32_t *)arg;
}

static void msix(void **state)
{
	static const uint8_t ids[] = { CAP_MSI, CAP_MSIX };
	static volatile uint32_t bar[1024];
	volatile uint32_t *table = bar + 0x800 / 4;
	struct fake_mmio memory = { .base = bar, .bytes = sizeof(bar), .phys = 0xFEB00000 };
	uint32_t one = 1;
	regions_set(1);
	fake_cores = 4;
	fake_mmio_add(&memory);
	struct function *fn = add(0x0010, 0x00011234, 0x020000, 0);
	capabilities_set(fn, ids, 2);
	bar_set(fn, 1, 0xFEB00000, 0xFFFFF000);
	fn->config[20] |= 3 << 16; // 4 entries
	fn->fixed[20] = 0x07FFFFFF;
	fn->config[21] = 0x800 | 1;
	for (uint32_t i = 0; i < 4; i++)
		table[4 * i + 3] = 1;
	pci_scan();
	struct pci_dev *pci = dev_at(0x0010);
	int vector = pci_irq(pci, 2, handler, &one, 3);
	assert_true(vector >= 32);
	assert_int_equal(table[8], 0xFEE03000);
	assert_int_equal(table[9], 0);
	assert_int_equal(table[10], vector);
	assert_int_equal(table[11], 0);
	assert_int_equal(table[3] & table[7] & table[15], 1);
	assert_int_equal(fn->config[20] >> 16, MSIX_CONTROL_ENABLE | 3);
	assert_int_equal(pci_irq(pci, 4, handler, &one, 0), E_NOTSUP);
	int second = pci_irq(pci, 0, handler, &one, 0);
	assert_int_not_equal(second, vector);
	handled = 0;
	fake_irq_fire(vector);
	assert_int_equal(handled, 1);
	pci_irq_free(pci, 2, vector);
	assert_int_equal(table[11], 1);
	assert_int_equal(table[3], 0);
	pci_irq_free(pci, 0, second);
	pci_disable(pci);
	assert_int_equal(fn->config[20] >> 16 & MSIX_CONTROL_ENABLE, 0);
	fake_irq_refuse = true;
	assert_int_equal(pci_irq(pci, 0, handler, &one, 0), E_NOMEM);
}

static void msix_table_outside_of_its_bar(void **state)
{
	static const uint8_t ids[] = { CAP_MSIX };
	static const uint32_t tables[] = { 0xFF0 | 1, 0x1000 | 1, 0xFFFFFFF8 | 1, 2, 7 };
	uint32_t one = 1;
	regions_set(1);
	struct function *fn = add(0x0010, 0x00011234, 0x020000, 0);
	capabilities_set(fn, ids, 1);
	bar_set(fn, 1, 0xFEB00000, 0xFFFFF000);
	fn->config[16] |= 3 << 16;
	pci_scan();
	for (uint32_t i = 0; i < ARRAY_SIZE(tables); i++) {
		fn->config[17] = tables[i];
		assert_int_equal(pci_irq(dev_at(0x0010), 1, handler, &one, 0), E_NOTSUP);
	}
	assert_int_equal(fn->config[16] >> 16 & MSIX_CONTROL_ENABLE, 0);
}

static void msi(void **state)
{
	static const uint8_t ids[] = { CAP_MSI };
	uint32_t one = 1;
	regions_set(1);
	for (uint32_t wide = 0; wide < 2; wide++) {
		struct function *fn = add(0x0010 + 8 * wide, 0x00011234, 0x020000, 0);
		capabilities_set(fn, ids, 1);
		fn->config[16] |= wide ? 0x00FE0000 : 0x007E0000; // firmware asked for 32 messages
		fn->config[18] = fn->config[19] = 0x55555555;
	}
	pci_scan();
	for (uint32_t wide = 0; wide < 2; wide++) {
		struct function *fn = function_at(0x0010 + 8 * wide);
		struct pci_dev *pci = dev_at(0x0010 + 8 * wide);
		assert_int_equal(pci_irq(pci, 1, handler, &one, 0), E_NOTSUP);
		int vector = pci_irq(pci, 0, handler, &one, 0);
		assert_true(vector >= 32);
		assert_int_equal(fn->config[17], 0xFEE00000);
		assert_int_equal(fn->config[18 + wide] & 0xFFFF, vector);
		if (wide)
			assert_int_equal(fn->config[18], 0);
		assert_int_equal(fn->config[16] >> 16 & 0x71, MSI_CONTROL_ENABLE);
		pci_irq_free(pci, 0, vector);
		assert_int_equal(fn->config[16] >> 16 & 1, 0);
	}
}

static void intx_is_shared(void **state)
{
	uint32_t one = 1, ten = 10;
	regions_set(1);
	for (uint32_t i = 0; i < 4; i++)
		add(0x0010 + 8 * i, 0x00011234, 0x020000, 0);
	functions[0].config[HEAD_LINE] = functions[1].config[HEAD_LINE] = 0x10B;
	functions[2].config[HEAD_LINE] = 0x00B; // no pin
	functions[3].config[HEAD_LINE] = 0x112;
	pci_scan();
	struct pci_dev *a = dev_at(0x0010), *b = dev_at(0x0018);
	assert_int_equal(pci_irq(dev_at(0x0020), 0, handler, &one, 0), E_NOTSUP);
	assert_int_equal(pci_irq(a, 1, handler, &one, 0), E_NOTSUP);
	int vector = pci_irq(a, 0, handler, &one, 0);
	assert_int_equal(fake_line_count, 1);
	assert_int_equal(fake_lines[0].line, 11);
	assert_int_equal(fake_lines[0].kind, IRQ_ISA);
	assert_int_equal(functions[0].config[HEAD_COMMAND] & COMMAND_INTX_OFF, 0);
	assert_int_equal(pci_irq(b, 0, handler, &ten, 0), vector);
	assert_int_equal(fake_line_count, 1);
	handled = 0;
	assert_true(fake_line_fire(11));
	assert_int_equal(handled, 11);
	pci_irq_free(a, 0, vector);
	assert_int_equal(functions[0].config[HEAD_COMMAND] & COMMAND_INTX_OFF, COMMAND_INTX_OFF);
	assert_true(fake_line_fire(11));
	assert_int_equal(handled, 21);
	pci_irq_free(b, 0, vector);
	assert_true(fake_lines[0].masked);
	assert_int_equal(fake_irq_live(), 0);
	vector = pci_irq(dev_at(0x0028), 0, handler, &one, 0);
	assert_int_equal(fake_lines[1].line, 18);
	assert_int_equal(fake_lines[1].kind, IRQ_LEVEL_LOW);
	pci_irq_free(dev_at(0x0028), 0, vector);
	fake_line_count = ARRAY_SIZE(fake_lines); // no I/O APIC has the line
	assert_int_equal(pci_irq(a, 0, handler, &one, 0), E_NOTSUP);
	assert_int_equal(fake_irq_live(), 0);
	fake_irq_refuse = true;
	assert_int_equal(pci_irq(a, 0, handler, &one, 0), E_NOMEM);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(discovery_by_ecam),
		TEST(discovery_by_ports),
		TEST(an_empty_bus_costs_little),
		TEST(configuration_named_by_the_bridge),
		TEST(segments_and_further_roots),
		TEST(damaged_mcfg),
		TEST(last_segment),
		TEST(bridges_in_a_circle),
		TEST(no_memory),
		TEST(capability_order),
		TEST(capability_loops),
		TEST(base_addresses),
		TEST(empty_bars_without_windows),
		TEST(empty_bars_get_addresses),
		TEST(bridge_windows_are_taken),
		TEST(a_closed_window_takes_nothing),
		TEST(enable_and_disable),
		TEST(msix),
		TEST(msix_table_outside_of_its_bar),
		TEST(msi),
		TEST(intx_is_shared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
