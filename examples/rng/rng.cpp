// A driver in a program, in C++: virtio's source of random numbers, `-device virtio-rng-pci`.  "v." = section of the
// VIRTIO specification 1.2.  One queue with one buffer; an interrupt says that it is full.
#include <ingot.h>
#include <ingot_pci.h>

INGOT_NEEDS(device_irq);

namespace {

constexpr uint16_t VENDOR = 0x1AF4, DEVICE_MODERN = 0x1044, DEVICE_TRANSITIONAL = 0x1005; // v.4.1.2, 5.4.1
constexpr uint8_t CAPABILITY_VENDOR = 0x09, CAPABILITY_MSIX = 0x11;

struct Common { // v.4.1.4.3
	uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
	uint16_t config_msix_vector, queues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_msix_vector, queue_enable, queue_notify_off;
	uint64_t queue_desc, queue_driver, queue_device;
};
static_assert(sizeof(Common) == 56, "v.4.1.4.3");

enum Structure : uint8_t { COMMON = 1, NOTIFY = 2, ISR = 3 };                          // v.4.1.4
enum Status : uint8_t { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 }; // v.2.1
constexpr uint32_t VERSION_1 = 1;     // feature 32: the lowest bit of the upper half
constexpr uint16_t DEVICE_WRITES = 2; // v.2.7.5

struct Queue { // v.2.7, with a single entry
	struct {
		uint64_t address;
		uint32_t length;
		uint16_t flags, next;
	} descriptor;
	struct {
		uint16_t flags, index, ring, used_event;
	} available;
	struct {
		uint16_t flags, index;
		uint32_t id, length;
		uint16_t available_event;
	} used;
};
alignas(4096) volatile Queue queue;

class Rng {
  public:
	const char *open();
	uint32_t fill(void *buffer, uint32_t bytes); // returns how many came
	void close() const { ingot->device_release(device); }

  private:
	static void interrupt(void *arg);
	volatile uint8_t *find(Structure type, uint32_t *multiplier = nullptr) const;
	const char *start();

	uint32_t device = INGOT_PCI_NONE;
	volatile Common *common = nullptr;
	volatile uint8_t *isr = nullptr;
	volatile uint16_t *doorbell = nullptr;
	bool msix = false;
	uint32_t completed = 0; // counted by the interrupt
};

void Rng::interrupt(void *arg)
{
	Rng *rng = static_cast<Rng *>(arg);
	// v.4.1.4.5: without MSI-X the read tells whether it was this device, and silences it.
	if (rng->msix || *rng->isr & 1)
		__atomic_add_fetch(&rng->completed, 1, __ATOMIC_RELEASE);
}

// v.4.1.4: a structure lies in a BAR, as the capability of its type says.
volatile uint8_t *Rng::find(Structure type, uint32_t *multiplier) const
{
	for (uint32_t at = 0; (at = ingot_pci_capability(device, CAPABILITY_VENDOR, at)) != 0;) {
		uint64_t bytes;
		if (ingot_pci_read8(device, at + 3) != type)
			continue;
		auto *bar = static_cast<volatile uint8_t *>(ingot_pci_map(device, ingot_pci_read8(device, at + 4), &bytes));
		uint64_t offset = ingot_pci_read32(device, at + 8), length = ingot_pci_read32(device, at + 12);
		if (!bar || offset + length > bytes)
			continue;
		if (multiplier)
			*multiplier = ingot_pci_read32(device, at + 16);
		return bar + offset;
	}
	return nullptr;
}

const char *Rng::open()
{
	device = ingot_pci_find(VENDOR, DEVICE_MODERN, 0);
	if (device == INGOT_PCI_NONE)
		device = ingot_pci_find(VENDOR, DEVICE_TRANSITIONAL, 0);
	if (device == INGOT_PCI_NONE)
		return "there is no such device";
	int rc = ingot->device_claim(device, 0);
	if (rc == INGOT_ENOTSUP)
		return "this kernel was configured without CORE_NATIVE_DEVICES";
	if (rc < 0)
		return "somebody else has the device";
	uint32_t multiplier = 0;
	common = reinterpret_cast<volatile Common *>(find(COMMON));
	isr = find(ISR);
	volatile uint8_t *notify = find(NOTIFY, &multiplier);
	if (!common || !isr || !notify)
		return "it has only the legacy interface";
	ingot_pci_enable(device);
	const char *wrong = start();
	if (wrong)
		return wrong;
	doorbell = reinterpret_cast<volatile uint16_t *>(notify + common->queue_notify_off * multiplier);
	return nullptr;
}

// v.3.1.1, and v.4.1.5.1 for the queue
const char *Rng::start()
{
	common->status = 0;
	for (uint64_t end = ingot->time_ns() + 1000000000; common->status != 0;)
		if (ingot->time_ns() > end)
			return "it does not reset";
	common->status = ACKNOWLEDGE | DRIVER;
	common->driver_feature_select = 0;
	common->driver_feature = 0;
	common->driver_feature_select = 1;
	common->driver_feature = VERSION_1;
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
	if (!(common->status & FEATURES_OK))
		return "it refuses the features";
	size_t run;
	uint64_t phys = ingot->phys(const_cast<const Queue *>(&queue), sizeof(queue), &run);
	common->queue_select = 0;
	common->queue_size = 1;
	common->queue_desc = phys + offsetof(Queue, descriptor);
	common->queue_driver = phys + offsetof(Queue, available);
	common->queue_device = phys + offsetof(Queue, used);
	msix = ingot_pci_capability(device, CAPABILITY_MSIX, 0) != 0;
	if (ingot->device_irq(device, 0, interrupt, this) < 0)
		return "it has no interrupt";
	if (msix)
		common->queue_msix_vector = 0;
	common->queue_enable = 1;
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
	return nullptr;
}

uint32_t Rng::fill(void *buffer, uint32_t bytes)
{
	size_t run;
	uint32_t before = __atomic_load_n(&completed, __ATOMIC_ACQUIRE);
	queue.descriptor.address = ingot->phys(buffer, bytes, &run);
	queue.descriptor.length = static_cast<uint32_t>(run);
	queue.descriptor.flags = DEVICE_WRITES;
	queue.available.ring = 0;
	ingot_order();
	queue.available.index = static_cast<uint16_t>(queue.available.index + 1);
	ingot_order();
	*doorbell = 0;
	ingot_sleep_while(&completed, before);
	ingot_order();
	return queue.used.length;
}

void print_hex(const uint8_t *data, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++) {
		char digits[] = { "0123456789abcdef"[data[i] >> 4], "0123456789abcdef"[data[i] & 15] };
		ingot->write(digits, sizeof(digits));
	}
	ingot_print("\n");
}

Rng rng;

} // namespace

int main()
{
	alignas(64) static uint8_t random[32];
	const char *wrong = rng.open();
	for (int round = 0; !wrong && round < 3; round++) {
		uint32_t bytes = rng.fill(random, sizeof(random));
		if (!bytes || bytes > sizeof(random))
			wrong = "it says that it gave nothing, or too much";
		ingot_print("rng: ");
		print_hex(random, bytes);
	}
	rng.close();
	ingot_print(wrong ? "rng: FAIL: " : "rng: PASS");
	ingot_print(wrong ? wrong : "");
	ingot_print("\n");
	ingot->shutdown();
	return 0;
}
