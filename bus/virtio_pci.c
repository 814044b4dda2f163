// Virtio over PCI: modern devices, and transitional ones through their modern interface.  "v." = section of the
// VIRTIO specification 1.2.
#include <virtio.h>
#include <pci.h>
#include <mem.h>

#define PCI_CAP_VENDOR 9
#define CAP_TYPE 3	// v.4.1.4
#define CAP_BAR 4
#define CAP_OFFSET 8
#define CAP_LENGTH 12
#define CAP_MULTIPLIER 16
enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE };
#define COMMON_BYTES 0x38
#define COMMON_QUEUE_SELECT 0x16
#define COMMON_QUEUE_VECTOR 0x1A
#define NO_VECTOR 0xFFFF

#define DEVICE_MODERN 0x1040	// + type (v.4.1.2.1)
#define DEVICE_LAST 0x107F
#define DEVICE_TRANSITIONAL 0x1000	// the type is the subsystem id

// Finds one of the four structures: the first capability of its type that lies within a BAR of the device.
static volatile uint8_t *virtio_pci_find(struct pci_dev *pci, uint32_t type, uint32_t *bytes, uint32_t *cap)
{
	uint32_t at = 0;
	while ((at = pci_capability(pci, PCI_CAP_VENDOR, at))) {
		uint32_t address = pci->dev.address, bar = pci_read(address, at + CAP_BAR, 1);
		uint64_t offset = pci_read(address, at + CAP_OFFSET, 4);
		*bytes = pci_read(address, at + CAP_LENGTH, 4);
		if (pci_read(address, at + CAP_TYPE, 1) != type || bar > 5 || offset + *bytes > pci->bar[bar].bytes)
			continue;
		volatile uint8_t *base = pci_map_bar(pci, bar);
		*cap = at;
		return base ? base + offset : NULL;
	}
	*bytes = 0;
	return NULL;
}

static void virtio_pci_interrupt(void *arg)
{
	struct virtio_dev *vdev = arg;
	if (mmio_read8(vdev->isr))	// v.4.1.4.5: the read acknowledges; lines are shared
		vdev->handler(vdev->arg);
}

static int virtio_pci_irq(struct virtio_dev *vdev, uint32_t queue, irq_handler handler, void *arg, uint32_t cpu)
{
	struct pci_dev *pci = to_pci(vdev->dev);
	if (vdev->vector) {
		pci_irq_free(pci, 0, vdev->vector);
		vdev->vector = 0;
	}
	if (!handler)
		return E_OK;
	vdev->handler = handler;
	vdev->arg = arg;
	int vector = pci->msix ? pci_irq(pci, 0, handler, arg, cpu) : pci_irq(pci, 0, virtio_pci_interrupt, vdev, cpu);
	if (vector < 0)
		return vector;
	vdev->vector = vector;
	if (pci->msix) {
		mmio_write16(vdev->common + COMMON_QUEUE_SELECT, queue);
		mmio_write16(vdev->common + COMMON_QUEUE_VECTOR, 0);
	}
	return E_OK;
}

static int virtio_pci_probe(struct device *dev, const struct dev_id *row)
{
	struct pci_dev *pci = to_pci(dev);
	uint32_t bytes, cap;
	(void)row;
	uint32_t type = dev->device >= DEVICE_MODERN ? dev->device - DEVICE_MODERN : dev->subdevice;
	if (dev->device < DEVICE_TRANSITIONAL || dev->device > DEVICE_LAST)
		return E_NODEV;
	struct virtio_dev *vdev = kzalloc(sizeof(*vdev));
	if (!vdev)
		return E_NOMEM;
	vdev->dev = dev;
	vdev->id = *dev;
	vdev->id.device = type;
	vdev->irq = virtio_pci_irq;
	vdev->config = virtio_pci_find(pci, CFG_DEVICE, &vdev->config_bytes, &cap);
	vdev->isr = virtio_pci_find(pci, CFG_ISR, &bytes, &cap);
	vdev->notify = virtio_pci_find(pci, CFG_NOTIFY, &vdev->notify_bytes, &cap);
	if (vdev->notify)
		vdev->notify_multiplier = pci_read(dev->address, cap + CAP_MULTIPLIER, 4);
	vdev->common = virtio_pci_find(pci, CFG_COMMON, &bytes, &cap);
	if (bytes < COMMON_BYTES || !vdev->notify || !vdev->isr)
		vdev->common = NULL;
	pci_enable(pci);
	int rc = registry_match(&vdev->id, TABLE_VIRTIO);
	if (rc != E_OK) {
		pci_disable(pci);
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
	virtio_pci_irq(vdev, 0, NULL, NULL, 0);
	pci_disable(to_pci(dev));
	kfree(vdev, sizeof(*vdev));
}

static const struct dev_id virtio_pci_ids[] = { DEV_ID(VIRTIO_VENDOR, DEV_ANY, 0) };
static const struct driver virtio_pci = {
	"virtio", DEV_IDS(virtio_pci_ids), .probe = virtio_pci_probe, .remove = virtio_pci_remove
};
PCI_DRIVER(virtio_pci);
