// Virtio over PCI: modern devices, and transitional ones through their modern interface.  "v." = section of the
// VIRTIO specification 1.2.
#include <virtio.h>
#include <pci.h>
#include <mem.h>

#define PCI_CAP_VENDOR 9
// Its dwords (v.4.1.4): type in byte 3 (VIRTIO_COMMON and its followers, from 1 on), BAR in byte 4, offset, length, and
// for VIRTIO_NOTIFY the multiplier.
enum { CAP_TYPE, CAP_BAR, CAP_OFFSET, CAP_LENGTH, CAP_MULTIPLIER, CAP_DWORDS };
#define COMMON_BYTES 0x38 // v.4.1.4.3
#define COMMON_QUEUE_SELECT 0x16
#define COMMON_QUEUE_VECTOR 0x1A

#define DEVICE_TRANSITIONAL 0x1000 // v.4.1.2.1: the type is the subsystem id
#define DEVICE_MODERN 0x1040       // + type
#define DEVICE_LAST 0x107F

static void virtio_pci_interrupt(void *arg)
{
	struct virtio_dev *vdev = arg;
	if (mmio_read8(vdev->isr)) // v.4.1.4.5: the read acknowledges; the line is shared
		virtio_interrupt(vdev);
}

static int virtio_pci_connect(struct virtio_dev *vdev, uint32_t queue, uint32_t cpu)
{
	struct pci_dev *pci = to_pci(vdev->dev);
	if (queue == VIRTIO_OFF) {
		pci_irq_free(pci, 0, vdev->vector);
		return E_OK;
	}
	int vector = pci_irq(pci, 0, pci->msix ? virtio_interrupt : virtio_pci_interrupt, vdev, cpu);
	if (vector > 0 && pci->msix) {
		mmio_write16(vdev->common + COMMON_QUEUE_SELECT, queue);
		mmio_write16(vdev->common + COMMON_QUEUE_VECTOR, 0);
	}
	return vector;
}

// Finds the four structures: for each the first capability of its type that lies within a BAR of the device.
static void virtio_pci_find(struct virtio_dev *vdev, struct pci_dev *pci)
{
	volatile uint8_t **part = &vdev->common; // notify, isr and config follow
	uint32_t at = 0, cap[CAP_DWORDS];
	while ((at = pci_capability(pci, PCI_CAP_VENDOR, at))) {
		for (uint32_t i = 0; i < CAP_DWORDS; i++)
			cap[i] = pci_read(pci->dev.address, at + 4 * i, 4);
		uint32_t type = (cap[CAP_TYPE] >> 24) - 1, bar = (uint8_t)cap[CAP_BAR];
		volatile uint8_t *base;
		if (type > VIRTIO_CONFIG || part[type] || bar > 5 ||
			(uint64_t)cap[CAP_OFFSET] + cap[CAP_LENGTH] > pci->bar[bar].bytes || !(base = pci_map_bar(pci, bar)))
			continue;
		part[type] = base + cap[CAP_OFFSET];
		vdev->bytes[type] = cap[CAP_LENGTH];
		if (type == VIRTIO_NOTIFY)
			vdev->notify_multiplier = cap[CAP_MULTIPLIER];
	}
	if (vdev->bytes[VIRTIO_COMMON] < COMMON_BYTES || !vdev->notify || !vdev->isr)
		vdev->common = NULL;
}

static int virtio_pci_probe(struct device *dev, const struct dev_id *row)
{
	(void)row;
	if (dev->device < DEVICE_TRANSITIONAL || dev->device > DEVICE_LAST)
		return E_NODEV;
	struct virtio_dev *vdev = kzalloc(sizeof(*vdev));
	if (!vdev)
		return E_NOMEM;
	vdev->dev = dev;
	vdev->id = *dev;
	vdev->id.device = dev->device >= DEVICE_MODERN ? dev->device - DEVICE_MODERN : dev->subdevice;
	vdev->connect = virtio_pci_connect;
	virtio_pci_find(vdev, to_pci(dev));
	pci_enable(to_pci(dev));
	int rc = registry_match(&vdev->id, TABLE_VIRTIO);
	if (rc != E_OK) {
		pci_disable(to_pci(dev));
		kfree(vdev, sizeof(*vdev));
		return rc;
	}
	dev->driver = vdev->id.driver;
	dev->drvdata = vdev;
	memcpy(dev->unit, vdev->id.unit, sizeof(dev->unit));
	return E_OK;
}

static void virtio_pci_remove(struct device *dev)
{
	struct virtio_dev *vdev = dev->drvdata;
	vdev->id.bound->remove(&vdev->id);
	pci_disable(to_pci(dev));
	kfree(vdev, sizeof(*vdev));
}

static const struct dev_id virtio_pci_ids[] = { DEV_ID(VIRTIO_VENDOR, DEV_ANY, 0) };
static const struct driver virtio_pci = {
	"virtio",
	DEV_IDS(virtio_pci_ids),
	.probe = virtio_pci_probe,
	.remove = virtio_pci_remove,
};
PCI_DRIVER(virtio_pci);
