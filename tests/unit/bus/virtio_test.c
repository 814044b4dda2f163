// Virtio: both transports and the split ring, against the device's side in virtio_device.h.
#include "virtio_device.h"
#include <acpi.h>
#include <boot_info.h>
#include <pci.h>

#define EVENT (1ul << VIRTIO_F_EVENT_IDX)

struct boot_info boot;
static struct acpi_header *dsdt;

const struct acpi_header *acpi_table(const char *signature, uint32_t index)
{
	return index || memcmp(signature, "DSDT", 4) ? NULL : dsdt;
}

// ---- Start and queues ----------------------------------------------------------------------------------------

static void starts(void **state)
{
	for (int mmio = 0; mmio < 2; mmio++) {
		struct far *far = far_new(mmio, 1, EVENT | 1ul << 5 | 1ul << 63);
		(void)state;
		assert_int_equal(virtio_start(&far->vdev, EVENT | 1ul << 63 | 1ul << 7), E_OK);
		assert_int_equal(far->accepted, EVENT | 1ul << 63 | 1ul << VIRTIO_F_VERSION_1);
		assert_int_equal(far->vdev.features, far->accepted);
		virtio_ready(&far->vdev);
		assert_int_equal(far->status, 15);
		assert_int_equal(virtio_start(&far->vdev, 0), E_OK); // again: nothing is left of it
		assert_int_equal(far->vdev.features, 1ul << VIRTIO_F_VERSION_1);
		assert_int_equal(far->resets, 2);
		far->offered |= 1ul << VIRTIO_F_ACCESS_PLATFORM | 1ul << VIRTIO_F_ORDER_PLATFORM; // or it would refuse
		assert_int_equal(virtio_start(&far->vdev, 0), E_OK);
		assert_int_equal(far->accepted,
			1ul << VIRTIO_F_VERSION_1 | 1ul << VIRTIO_F_ACCESS_PLATFORM | 1ul << VIRTIO_F_ORDER_PLATFORM);
	}
}

static void refuses(void **state)
{
	struct far *far = far_new(false, 1, 0);
	(void)state;
	far->stuck = true;
	assert_int_equal(virtio_start(&far->vdev, 0), E_TIMEOUT);
	assert_true(fake_logged("no reset"));
	far->stuck = false;
	far->refuse = true;
	assert_int_equal(virtio_start(&far->vdev, 0), E_IO);
	far->refuse = false;
	far->offered = EVENT; // not modern
	assert_int_equal(virtio_start(&far->vdev, EVENT), E_IO);
	far->vdev.common = NULL;
	assert_int_equal(virtio_start(&far->vdev, 0), E_NOTSUP);
	assert_true(fake_logged("legacy only"));
}

static void queues(void **state)
{
	for (int mmio = 0; mmio < 2; mmio++) {
		struct far *far = far_new(mmio, 1, EVENT);
		struct virtq vq = { 0 };
		(void)state;
		far->queue[1].max = 48; // MMIO allows what isn't a power of two
		far->queue[2].max = 2;
		assert_int_equal(virtio_start(&far->vdev, EVENT), E_OK);
		assert_int_equal(virtio_queue(&far->vdev, 2, 128, &vq), E_NODEV);
		assert_int_equal(virtio_queue(&far->vdev, 100, 128, &vq), E_NODEV);
		fake_alloc_fail_at = fake_alloc_count + 1;
		assert_int_equal(virtio_queue(&far->vdev, 1, 128, &vq), E_NOMEM);
		assert_int_equal(virtio_queue(&far->vdev, 1, 128, &vq), E_OK);
		assert_int_equal(vq.size, 32);
		assert_int_equal(far->queue[1].size, 32);
		assert_int_equal(far->queue[1].address[0], (uintptr_t)vq.desc);
		assert_int_equal(FAR_AVAIL(&far->queue[1])[0], 0); // v.2.7.7.1
		assert_int_equal(FAR_AVAIL(&far->queue[1])[2 + 32], 0xFFFF);
		virtio_reset(&far->vdev);
		assert_int_equal(virtio_start(&far->vdev, 0), E_OK); // the same memory for a smaller one
		assert_int_equal(virtio_queue(&far->vdev, 0, 16, &vq), E_OK);
		assert_int_equal(vq.size, 16);
		assert_int_equal(FAR_AVAIL(&far->queue[0])[0], 1);
		assert_int_equal(fake_alloc_live, 1);
		virtio_queue_free(&vq);
	}
}

static void doorbell_out_of_bounds(void **state)
{
	struct far *far = far_new(false, 1, 0);
	struct virtq vq = { 0 };
	(void)state;
	far->notify_skew = 0x100 / MULTIPLIER;
	assert_int_equal(virtio_start(&far->vdev, 0), E_OK);
	assert_int_equal(virtio_queue(&far->vdev, 0, 16, &vq), E_INVAL);
	virtio_queue_free(&vq);
}

static void configuration(void **state)
{
	struct far *far = far_new(true, 1, 1ul << 3);
	(void)state;
	memcpy(far->config, "\1\2\3\4\5\6\7\10", 8);
	assert_int_equal(virtio_start(&far->vdev, 1ul << 3), E_OK);
	assert_int_equal(virtio_config(&far->vdev, VIRTIO_FIELD(3, 4, 4), 9), 0x08070605);
	assert_int_equal(virtio_config(&far->vdev, VIRTIO_FIELD(3, 2, 2), 9), 0x0403);
	assert_int_equal(virtio_config(&far->vdev, VIRTIO_FIELD(VIRTIO_F_VERSION_1, 1, 1), 9), 2);
	assert_int_equal(virtio_config(&far->vdev, VIRTIO_FIELD(4, 4, 4), 9), 9); // not negotiated
	far->vdev.bytes[VIRTIO_CONFIG] = 7;
	assert_int_equal(virtio_config(&far->vdev, VIRTIO_FIELD(3, 4, 4), 9), 9);
}

// ---- Rings ---------------------------------------------------------------------------------------------------

static struct far *ring_new(struct virtq *vq, uint32_t size, uint64_t features)
{
	struct far *far = far_new(true, 1, features);
	assert_int_equal(virtio_start(&far->vdev, features), E_OK);
	assert_int_equal(virtio_queue(&far->vdev, 0, size, vq), E_OK);
	virtio_ready(&far->vdev);
	return far;
}

// Free-running 16-bit indices wrap many times; the device finishes in any order.
static void wraps(void **state)
{
	struct virtq vq = { 0 };
	struct far *far = ring_new(&vq, 8, EVENT);
	struct far_queue *q = &far->queue[0];
	uint32_t held[8], count = 0, seed = 1, owner[8], given = 0, back = 0, place[8];
	(void)state;
	while (back < 200000) {
		seed = seed * 1103515245 + 12345;
		uint32_t dice = seed >> 16;
		if (dice & 1 && vq.avail_index - vq.used_index < 8) {
			uint32_t id = vq.ring[vq.avail_index++ & vq.mask];
			owner[id] = given++;
			virtq_publish(&vq);
		}
		if (dice & 2 && far_waiting(q))
			held[count++] = far_take(q);
		if (dice & 4 && count) {
			uint32_t pick = (dice >> 4) % count, id = held[pick];
			place[(uint16_t)q->given % 8] = owner[id];
			held[pick] = held[--count];
			far_give(q, id, 0);
		}
		if (dice & 8)
			while (virtq_pending(&vq)) {
				assert_true(virtq_match(&vq));
				uint32_t id = vq.ring[vq.used_index & vq.mask];
				assert_int_equal(owner[id], place[vq.used_index & 7]);
				vq.used_index++;
				back++;
			}
	}
	virtio_queue_free(&vq);
}

static void notifies(void **state)
{
	struct virtq vq = { 0 };
	struct far *far = ring_new(&vq, 16, EVENT);
	struct far_queue *q = &far->queue[0];
	(void)state;
	vq.avail_index = vq.used_index = 0xFFFE; // about to wrap
	virtq_avail_index(&vq) = 0xFFFE;
	far_event(q, 0xFFFE); // tell me when that one is there
	vq.avail_index++;
	virtq_publish(&vq);
	assert_int_equal(q->notified, 1);
	vq.avail_index++; // not again before the next event
	virtq_publish(&vq);
	assert_int_equal(q->notified, 1);
	far_event(q, 2);
	vq.avail_index += 2; // 0 and 1
	virtq_publish(&vq);
	assert_int_equal(q->notified, 1);
	vq.avail_index += 3; // 2 to 4 in one burst
	virtq_publish(&vq);
	assert_int_equal(q->notified, 2);
	virtq_publish(&vq); // nothing new
	assert_int_equal(q->notified, 2);
	virtio_queue_free(&vq);

	vq = (struct virtq){ 0 };
	far = ring_new(&vq, 16, 0);
	q = &far->queue[0];
	vq.avail_index++;
	virtq_publish(&vq);
	assert_int_equal(q->notified, 1);
	FAR_USED(q)[0] = 1; // VIRTQ_USED_F_NO_NOTIFY
	vq.avail_index++;
	virtq_publish(&vq);
	assert_int_equal(q->notified, 1);
	virtio_queue_free(&vq);
}

static void hostile_numbers(void **state)
{
	struct virtq vq = { 0 };
	struct far *far = ring_new(&vq, 8, 0);
	struct far_queue *q = &far->queue[0];
	static const uint32_t bad[] = { 8, 0x10000, 0xFFFFFFFF, 5 }; // 5 is one that it doesn't have
	(void)state;
	vq.avail_index = 4;
	virtq_publish(&vq);
	for (uint32_t i = 0; i < ARRAY_SIZE(bad); i++) {
		far_give(q, bad[i], 0);
		assert_false(virtq_match(&vq));
		q->given--;
	}
	far_give(q, 2, 0);
	assert_true(virtq_match(&vq));
	vq.used_index++;
	far_give(q, 2, 0); // twice
	assert_false(virtq_match(&vq));
	uint32_t seen = 0;
	for (uint32_t i = 0; i < 8; i++)
		seen |= 1 << vq.ring[i];
	assert_int_equal(seen, 0xFF);
	virtq_cancel(&vq);
	assert_int_equal(virtq_pending(&vq), 3);
	for (; virtq_pending(&vq); vq.used_index++)
		assert_true(virtq_match(&vq));
	virtio_queue_free(&vq);
}

// ---- PCI -----------------------------------------------------------------------------------------------------

static uint8_t space[256]; // configuration space
static struct far *on_bus;
static int match_result, enabled, removed;
static struct virtio_dev *offered;
static irq_handler pci_handler;
static void *pci_arg;

uint32_t pci_read(uint32_t address, uint32_t offset, uint32_t width)
{
	uint32_t value = 0;
	(void)address;
	if (offset + width <= sizeof(space))
		memcpy(&value, space + offset, width);
	return value;
}

uint32_t pci_capability(const struct pci_dev *pci, uint32_t id, uint32_t from)
{
	(void)pci;
	for (uint32_t at = from ? space[from + 1] : space[0x34]; at; at = space[at + 1])
		if (space[at] == id)
			return at;
	return 0;
}

volatile void *pci_map_bar(struct pci_dev *pci, uint32_t n)
{
	(void)pci;
	return n == 4 ? on_bus->regs.base : NULL;
}

void pci_enable(struct pci_dev *pci)
{
	(void)pci;
	enabled++;
}

void pci_disable(struct pci_dev *pci)
{
	(void)pci;
	enabled--;
}

int pci_irq(struct pci_dev *pci, uint32_t index, irq_handler handler, void *arg, uint32_t cpu)
{
	(void)pci;
	assert_true(index == 0 && cpu == 0);
	pci_handler = handler;
	pci_arg = arg;
	return 77;
}

void pci_irq_free(struct pci_dev *pci, uint32_t index, int vector)
{
	(void)pci;
	assert_true(index == 0 && vector == 77);
	pci_handler = NULL;
}

static void remove_child(struct device *dev)
{
	(void)dev;
	removed++;
}

static const struct driver child = { .name = "child", .remove = remove_child };

int registry_match(struct device *dev, enum driver_table table)
{
	assert_int_equal(table, TABLE_VIRTIO);
	offered = to_virtio(dev);
	dev->driver = dev->bound = match_result == E_OK ? &child : NULL;
	strcpy(dev->unit, "net7");
	return match_result;
}

static uint8_t capability(uint8_t at, uint8_t type, uint8_t bar, uint32_t offset, uint32_t length)
{
	static uint8_t last;
	space[last && at != 0x40 ? last + 1 : 0x34] = at;
	last = at;
	space[at] = 9;
	space[at + 1] = 0;
	space[at + 2] = 20;
	space[at + 3] = type;
	space[at + 4] = bar;
	memcpy(space + at + 8, &offset, 4);
	memcpy(space + at + 12, &length, 4);
	space[at + 16] = MULTIPLIER;
	return at;
}

static void pci_device(struct pci_dev *pci, uint16_t device, uint16_t subdevice)
{
	*pci = (struct pci_dev){ .dev = { .vendor = VIRTIO_VENDOR, .device = device, .subdevice = subdevice } };
	pci->bar[4].bytes = sizeof(on_bus->memory);
	memset(space, 0, sizeof(space));
	match_result = E_OK;
	enabled = removed = 0;
	offered = NULL;
}

static void all_capabilities(void)
{
	capability(0x40, 1, 4, sizeof(on_bus->memory) - 0x20, 0x38); // past the end of the BAR
	capability(0x54, 1, 6, 0, 0x38);                             // no such BAR
	capability(0x68, 1, 4, 0, 0x38);
	capability(0x7C, 1, 4, 0x400, 0x38); // the first one counts
	capability(0x90, 5, 4, 0, 0x10);     // PCI configuration access: not ours
	capability(0xA4, 2, 4, NOTIFY_AT, 0x100);
	capability(0xB8, 3, 4, ISR_AT, 1);
	capability(0xCC, 4, 4, CONFIG_AT, 64);
}

static void finds_structures(void **state)
{
	const struct driver *drv = fake_driver("pci", "virtio");
	struct pci_dev pci;
	(void)state;
	on_bus = far_new(false, 0, EVENT);
	pci_device(&pci, 0x1041, 0);
	all_capabilities();
	assert_int_equal(drv->probe(&pci.dev, drv->ids), E_OK);
	assert_int_equal(offered->id.device, 1);
	assert_ptr_equal(offered->common, on_bus->regs.base);
	assert_int_equal(offered->notify_multiplier, MULTIPLIER);
	assert_int_equal(offered->bytes[VIRTIO_CONFIG], 64);
	assert_int_equal(virtio_start(offered, EVENT), E_OK);
	assert_string_equal(pci.dev.unit, "net7");
	assert_ptr_equal(pci.dev.driver, &child);
	assert_int_equal(enabled, 1);
	drv->remove(&pci.dev);
	assert_int_equal(removed, 1);
	assert_int_equal(enabled, 0);
}

static void transitional_and_legacy(void **state)
{
	const struct driver *drv = fake_driver("pci", "virtio");
	struct pci_dev pci;
	(void)state;
	on_bus = far_new(false, 0, 0);
	pci_device(&pci, 0x1000, 1);
	all_capabilities();
	assert_int_equal(drv->probe(&pci.dev, drv->ids), E_OK);
	assert_int_equal(offered->id.device, 1);
	drv->remove(&pci.dev);
	for (int missing = 0; missing < 3; missing++) {
		pci_device(&pci, 0x1001, 2);
		match_result = E_NOTSUP; // what a driver says after virtio_start
		if (missing) {
			all_capabilities();
			space[missing == 1 ? 0xA4 + 3 : 0xB8 + 3] = 9; // no notifications; no ISR
		}
		assert_int_equal(drv->probe(&pci.dev, drv->ids), E_NOTSUP);
		assert_int_equal(enabled, 0);
	}
	pci_device(&pci, 0x1110, 0); // not a virtio device
	assert_int_equal(drv->probe(&pci.dev, drv->ids), E_NODEV);
	assert_null(offered);
	pci_device(&pci, 0x1041, 0);
	fake_alloc_fail_at = fake_alloc_count + 1;
	assert_int_equal(drv->probe(&pci.dev, drv->ids), E_NOMEM);
}

static uint32_t fired;

static void handler(void *arg)
{
	fired += *(uint32_t *)arg;
}

static void pci_interrupts(void **state)
{
	const struct driver *drv = fake_driver("pci", "virtio");
	struct pci_dev pci;
	struct virtq vq = { 0 };
	uint32_t by = 3;
	(void)state;
	for (int msix = 0; msix < 2; msix++) {
		on_bus = far_new(false, 0, EVENT);
		pci_device(&pci, 0x1041, 0);
		all_capabilities();
		pci.msix = msix;
		assert_int_equal(drv->probe(&pci.dev, drv->ids), E_OK);
		assert_int_equal(virtio_start(offered, EVENT), E_OK);
		assert_int_equal(virtio_queue(offered, 3, 16, &vq), E_OK);
		virtio_ready(offered);
		vq.used_index = 5;
		fired = 0;
		assert_int_equal(virtio_irq(offered, &vq, handler, &by, 0), E_OK);
		assert_int_equal(on_bus->queue[3].vector, msix);
		assert_int_equal(FAR_AVAIL(&on_bus->queue[3])[2 + 16], 5);
		pci_handler(pci_arg); // a neighbour's, if it is INTx
		assert_int_equal(fired, msix ? 3 : 0);
		on_bus->isr = 1;
		pci_handler(pci_arg);
		assert_int_equal(fired, msix ? 6 : 3);
		assert_int_equal(virtio_irq(offered, &vq, NULL, NULL, 0), E_OK);
		assert_null(pci_handler);
		assert_int_equal(FAR_AVAIL(&on_bus->queue[3])[2 + 16], 4);
		virtio_queue_free(&vq);
		vq = (struct virtq){ 0 };
		drv->remove(&pci.dev);
	}
}

// ---- MMIO ----------------------------------------------------------------------------------------------------

struct slot {
	struct fake_mmio regs;
	uint32_t words[128];
};

static void slot_add(struct slot *slot, uint64_t phys, uint32_t version, uint32_t type)
{
	memset(slot, 0, sizeof(*slot));
	slot->words[0] = 0x74726976;
	slot->words[1] = version;
	slot->words[2] = type;
	slot->regs = (struct fake_mmio){ .base = slot->words, .bytes = sizeof(slot->words), .phys = phys };
	fake_mmio_add(&slot->regs);
}

extern void (*const __bus_scan_start[])(void), (*const __bus_scan_end[])(void);

static void scan(void)
{
	for (void (*const *fn)(void) = __bus_scan_start; fn != __bus_scan_end; fn++)
		(*fn)();
}

static void drop_devices(void)
{
	for (uint32_t i = 0; i < fake_device_count; i++)
		mem_free(to_virtio(fake_devices[i]), sizeof(struct virtio_dev));
	fake_device_count = 0;
}

static void slots_by_command_line(void **state)
{
	static struct slot slots[4];
	(void)state;
	dsdt = NULL;
	slot_add(&slots[0], 0xFEB00E00, 2, 1);
	slot_add(&slots[1], 0xD0000000, 2, 2);
	slot_add(&slots[2], 0xFEB00C00, 2, 0); // empty
	slot_add(&slots[3], 0xFEB00A00, 1, 1); // legacy
	strcpy(boot.arguments,
		"console=ttyS0 virtio_mmio.device=512@0xfeb00e00:23 virtio_mmio.device=4K@0xD0000000:5:0 "
		"virtio_mmio.device=512@0xfeb00c00:22 virtio_mmio.device=512@0xfeb00a00:21 quiet");
	scan();
	assert_int_equal(fake_device_count, 3);
	assert_string_equal(fake_devices[0]->name, "mmio feb00e00");
	assert_int_equal(to_virtio(fake_devices[0])->line, 23);
	assert_int_equal(fake_devices[0]->device, 1);
	assert_int_equal(fake_devices[0]->kind, DEVICE_VIRTIO_MMIO);
	assert_string_equal(fake_devices[1]->name, "mmio d0000000");
	assert_int_equal(to_virtio(fake_devices[1])->line, 5);
	assert_int_equal(virtio_start(to_virtio(fake_devices[2]), 0), E_NOTSUP);
	drop_devices();
	static const char *const odd[] = { "virtio_mmio.device=", "virtio_mmio.device=512", "virtio_mmio.device=512@",
		"virtio_mmio.device=512@0xfeb00e00", "virtio_mmio.devic" };
	for (uint32_t i = 0; i < ARRAY_SIZE(odd); i++) {
		memset(boot.arguments, 0, sizeof(boot.arguments));
		strcpy(boot.arguments, odd[i]);
		scan();
	}
	assert_int_equal(fake_device_count, 0);
	boot.arguments[0] = 0;
}

static void slots_by_acpi(void **state)
{
	static const uint8_t template[] = { 0x86, 9, 0, 1, 0, 0x0E, 0xB0, 0xFE, 0, 2, 0, 0, 0x89, 6, 0, 9, 1, 23, 0, 0, 0,
		0x79, 0 };
	static struct slot slot;
	static struct {
		struct acpi_header header;
		uint8_t aml[100];
	} table;
	(void)state;
	slot_add(&slot, 0xFEB00E00, 2, 2);
	memcpy(table.aml + 3, template, sizeof(template)); // somebody else's resources
	memcpy(table.aml + 40, "LNRO0005", 9);
	memcpy(table.aml + 60, template, sizeof(template));
	dsdt = &table.header;
	for (uint32_t bytes = 0; bytes <= 100; bytes++) { // cut anywhere
		table.header.length = sizeof(table.header) + bytes;
		scan();
		assert_int_equal(fake_device_count, bytes >= 81);
		if (fake_device_count)
			assert_int_equal(to_virtio(fake_devices[0])->line, 23);
		drop_devices();
	}
	dsdt = NULL;
}

static void mmio_interrupts(void **state)
{
	struct far *far = far_new(true, 1, 0);
	struct slot slot;
	struct virtq vq = { 0 };
	uint32_t by = 1;
	(void)state;
	slot_add(&slot, 0xFEB00000, 2, 1);
	strcpy(boot.arguments, "virtio_mmio.device=512@0xfeb00000:20");
	scan();
	far->vdev.connect = to_virtio(fake_devices[0])->connect; // the transport's
	far->vdev.line = 20;
	drop_devices();
	boot.arguments[0] = 0;
	assert_int_equal(virtio_start(&far->vdev, 0), E_OK);
	assert_int_equal(virtio_queue(&far->vdev, 0, 16, &vq), E_OK);
	virtio_ready(&far->vdev);
	fired = 0;
	far->isr = 1; // from before
	assert_int_equal(virtio_irq(&far->vdev, &vq, handler, &by, 0), E_OK);
	assert_int_equal(far->isr, 0);
	assert_int_equal(FAR_AVAIL(&far->queue[0])[0], 0);
	far->isr = 3;
	assert_true(fake_line_fire(20));
	assert_int_equal(far->isr, 0);
	assert_int_equal(fired, 1);
	assert_int_equal(virtio_irq(&far->vdev, &vq, handler, &by, 0), E_OK); // anew
	assert_int_equal(fake_irq_live(), 1);
	assert_int_equal(virtio_irq(&far->vdev, &vq, NULL, NULL, 0), E_OK);
	assert_int_equal(fake_irq_live(), 0);
	assert_int_equal(FAR_AVAIL(&far->queue[0])[0], 1);
	fake_irq_refuse = true;
	assert_int_equal(virtio_irq(&far->vdev, &vq, handler, &by, 0), E_NOMEM);
	assert_false(vq.armed);
	virtio_queue_free(&vq);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(starts),
		FAKE_TEST(refuses),
		FAKE_TEST(queues),
		FAKE_TEST(doorbell_out_of_bounds),
		FAKE_TEST(configuration),
		FAKE_TEST(wraps),
		FAKE_TEST(notifies),
		FAKE_TEST(hostile_numbers),
		FAKE_TEST(finds_structures),
		FAKE_TEST(transitional_and_legacy),
		FAKE_TEST(pci_interrupts),
		FAKE_TEST(slots_by_command_line),
		FAKE_TEST(slots_by_acpi),
		FAKE_TEST(mmio_interrupts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
