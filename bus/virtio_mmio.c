// Virtio over MMIO (v.4.2): the slots that the command line names (virtio_mmio.device=SIZE@ADDRESS:LINE), and those
// that ACPI does (devices LNRO0005).  "v." = section of the VIRTIO specification 1.2, "a." = of ACPI's, 6.4.
#include <virtio.h>
#include <acpi.h>
#include <boot_info.h>
#include <mem.h>

#define SLOT_BYTES 0x200
#define MAGIC_VALUE 0x000 // v.4.2.2
#define VERSION 0x004
#define DEVICE_ID 0x008
#define INTERRUPT_ACK 0x064
#define INTERRUPT_ALL 3
#define CONFIG 0x100
#define MAGIC 0x74726976 // "virt"

#define RES_MEMORY 0x000986    // a.6.4.3.4: 32-bit fixed memory, 9 bytes
#define RES_INTERRUPT 0x000689 // a.6.4.3.6: 6 bytes, so one line

static void virtio_mmio_interrupt(void *arg)
{
	struct virtio_dev *vdev = arg;
	mmio_write32(vdev->common + INTERRUPT_ACK, INTERRUPT_ALL);
	virtio_interrupt(vdev);
}

// Edge-triggered, whatever ACPI says: Firecracker's lines are, and a line that stays high until it is acknowledged has
// its next edge then.  It may be high from before.
static int virtio_mmio_connect(struct virtio_dev *vdev, uint32_t queue, uint32_t cpu)
{
	int vector = vdev->vector, rc = E_OK;
	if (queue != VIRTIO_OFF) {
		mmio_write32(vdev->common + INTERRUPT_ACK, INTERRUPT_ALL);
		vector = irq_alloc(virtio_mmio_interrupt, vdev, cpu);
		if (vector < 0 || (rc = irq_route(vdev->line, IRQ_ISA, vector)) == E_OK)
			return vector;
	}
	irq_mask(vdev->line, IRQ_ISA);
	irq_free(vector);
	return rc;
}

static void virtio_mmio_slot(uint64_t phys, uint32_t line)
{
	volatile uint8_t *regs = mem_map_device(phys, SLOT_BYTES);
	if (!regs || mmio_read32(regs + MAGIC_VALUE) != MAGIC)
		return;
	uint32_t type = mmio_read32(regs + DEVICE_ID);
	struct virtio_dev *vdev = type ? kzalloc(sizeof(*vdev)) : NULL; // 0: nothing there (v.4.2.3.1.1)
	if (!vdev)
		return;
	if (mmio_read32(regs + VERSION) == 2)
		vdev->common = regs;
	vdev->config = regs + CONFIG;
	vdev->bytes[VIRTIO_CONFIG] = SLOT_BYTES - CONFIG;
	vdev->mmio = true;
	vdev->line = line;
	vdev->connect = virtio_mmio_connect;
	vdev->dev = &vdev->id;
	vdev->id.kind = DEVICE_VIRTIO_MMIO;
	vdev->id.vendor = VIRTIO_VENDOR;
	vdev->id.device = type;
	memcpy(vdev->id.name, "mmio ", 5);
	for (uint32_t i = 5; i < 13; i++, phys <<= 4)
		vdev->id.name[i] = "0123456789abcdef"[phys >> 28 & 15];
	registry_add(&vdev->id, TABLE_VIRTIO);
}

// Reads a number, 0x in front if it is hexadecimal, and leaves *text behind it.
static uint64_t virtio_mmio_number(const char **text)
{
	uint64_t value = 0;
	uint32_t base = 10, digit;
	for (;; ++*text) {
		digit = **text | 0x20;
		if (digit == 'x')
			base = 16;
		else if ((digit = digit > '9' ? digit - 'a' + 10 : digit - '0') < base)
			value = value * base + digit;
		else
			return value;
	}
}

static void virtio_mmio_arguments(const char *text)
{
	static const char name[19] = "virtio_mmio.device=";
	while (*text) {
		if (memcmp(text++, name, sizeof(name)) != 0)
			continue;
		while (*text && *text++ != '@')
			;
		uint64_t phys = virtio_mmio_number(&text);
		if (*text++ != ':')
			return;
		virtio_mmio_slot(phys, virtio_mmio_number(&text));
	}
}

// Looks for the name and, behind it, for the encodings of its two resources.
static void virtio_mmio_acpi(const struct acpi_header *table)
{
	struct dword {
		uint32_t value;
	} __attribute__((packed));
	const char *at = (const char *)(table + 1), *end = (const char *)table + table->length;
	uint32_t phys = 0;
	bool named = false;
	for (; end - at >= 9; at++) {
		uint32_t head = ((const struct dword *)at)->value & 0xFFFFFF;
		if (!memcmp(at, "LNRO0005", 8)) {
			named = true;
		} else if (named && head == RES_MEMORY) {
			phys = ((const struct dword *)(at + 4))->value;
		} else if (phys && head == RES_INTERRUPT) {
			virtio_mmio_slot(phys, ((const struct dword *)(at + 5))->value);
			phys = named = 0;
		}
	}
}

// A slot is named in one of the two ways.
static void virtio_mmio_scan(void)
{
	const struct acpi_header *table = acpi_table("DSDT", 0);
	virtio_mmio_arguments(boot.arguments);
	if (table)
		virtio_mmio_acpi(table);
}
BUS_SCAN("20", virtio_mmio_scan);
