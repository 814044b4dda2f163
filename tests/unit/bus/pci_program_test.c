// bus/pci_program.c: who has a device, and what is left behind when it is given up.
#include <bus/pci_program.c>
#include <fake.h>

static struct pci_dev nic, bridge, other_bus;
static uint32_t removed, probed, disabled, called;
static int irq_result; // of pci_irq, if negative
static struct given {
	irq_handler handler;
	void *arg;
	uint32_t cpu;
} given[4]; // by index

int pci_irq(struct pci_dev *pci, uint32_t index, irq_handler handler, void *arg, uint32_t cpu)
{
	assert_ptr_equal(pci, &nic);
	if (irq_result < 0)
		return irq_result;
	assert_true(index < ARRAY_SIZE(given));
	assert_null(given[index].handler);
	given[index] = (struct given){ handler, arg, cpu };
	return 40 + index;
}

void pci_irq_free(struct pci_dev *pci, uint32_t index, int vector)
{
	assert_ptr_equal(pci, &nic);
	assert_int_equal(vector, 40 + index);
	assert_non_null(given[index].handler);
	given[index].handler = NULL;
}

void pci_disable(struct pci_dev *pci)
{
	assert_ptr_equal(pci, &nic);
	for (uint32_t i = 0; i < ARRAY_SIZE(given); i++)
		assert_null(given[i].handler);
	disabled++;
}

void program_callback(ingot_callback fn, void *arg)
{
	fn(arg);
}

static int nic_probe(struct device *dev, const struct dev_id *id)
{
	probed++;
	strcpy(dev->unit, "net0");
	return E_OK;
}

static void nic_remove(struct device *dev)
{
	removed++;
	pci_disable(to_pci(dev));
}

static const struct dev_id nic_ids[] = { DEV_ID(0x1234, 0x0100, 0) };
static const struct driver nic_driver = { "nic", DEV_IDS(nic_ids), .probe = nic_probe, .remove = nic_remove };
PCI_DRIVER(nic_driver);

static void count(void *arg)
{
	called += *(uint32_t *)arg;
}

#define NIC 0x00010208 // 0001:02:01.0

// Three devices, of which the first has a driver.
static void start(void)
{
	for (struct device *dev; (dev = registry_device(0)); registry_drop(dev)) // of a test that failed
		dev->bound = NULL;
	memset(given, 0, sizeof(given));
	nic = (struct pci_dev){ .dev = { .kind = DEVICE_PCIE, .address = NIC, .vendor = 0x1234, .device = 0x0100 } };
	bridge = (struct pci_dev){ .dev = { .kind = DEVICE_PCI, .address = 0x10 } };
	other_bus = (struct pci_dev){ .dev = { .kind = DEVICE_USB, .address = 0x20 } };
	registry_add(&nic.dev, TABLE_PCI);
	registry_add(&bridge.dev, TABLE_PCI);
	registry_add(&other_bus.dev, TABLE_PCI);
	removed = probed = disabled = called = irq_result = 0;
}

static void end(void)
{
	registry_drop(&other_bus.dev);
	registry_drop(&bridge.dev);
	registry_drop(&nic.dev);
}

static void claim(void **state)
{
	start();
	assert_int_equal(device_claim(0x30, 0), E_NODEV);
	assert_int_equal(device_claim(0x20, 0), E_NODEV); // of another bus
	assert_int_equal(device_claim(0x10, 2), E_INVAL);
	assert_int_equal(device_claim(NIC, 0), E_BUSY);
	assert_int_equal(removed, 0);
	assert_string_equal(nic.dev.driver->name, "nic");
	assert_int_equal(device_claim(NIC, INGOT_CLAIM_UNBIND), E_OK);
	assert_int_equal(removed, 1);
	assert_string_equal(nic.dev.driver->name, "program");
	assert_string_equal(nic.dev.unit, "");
	assert_int_equal(device_claim(NIC, INGOT_CLAIM_UNBIND), E_BUSY); // nobody takes it from the program
	assert_int_equal(device_claim(0x10, 0), E_OK);
	bridge.dev.bound = NULL; // to_pci(nic) is all that the stand-ins know
	end();
}

static void release(void **state)
{
	start();
	assert_int_equal(device_release(NIC), E_NODEV); // the kernel's, not the program's
	assert_int_equal(removed, 0);
	device_claim(NIC, INGOT_CLAIM_UNBIND);
	disabled = 0;
	assert_int_equal(device_release(NIC), E_OK);
	assert_int_equal(disabled, 1);
	assert_int_equal(probed, 1); // its driver has it again
	assert_string_equal(nic.dev.unit, "net0");
	assert_int_equal(device_release(NIC), E_NODEV);
	end();
}

static void interrupts(void **state)
{
	uint32_t one = 1, hundred = 100;
	start();
	assert_int_equal(device_irq(NIC, 0, count, &one), E_NODEV);
	device_claim(NIC, INGOT_CLAIM_UNBIND);
	fake_self = 3;
	assert_int_equal(device_irq(NIC, 0, count, &one), E_OK);
	assert_int_equal(device_irq(NIC, 2, count, &hundred), E_OK);
	assert_int_equal(given[0].cpu, 3);
	given[0].handler(given[0].arg);
	given[2].handler(given[2].arg);
	assert_int_equal(called, 101);
	assert_int_equal(device_irq(NIC, 0, count, &hundred), E_OK); // in place of the first
	given[0].handler(given[0].arg);
	assert_int_equal(called, 201);
	assert_int_equal(device_irq(NIC, 0, NULL, NULL), E_OK);
	assert_null(given[0].handler);
	assert_int_equal(device_irq(NIC, 0, NULL, NULL), E_OK); // none there
	assert_int_equal(device_irq(NIC, 1, count, &one), E_OK);
	assert_int_equal(device_release(NIC), E_OK); // with two of them on
	assert_int_equal(fake_alloc_live, 0);
	end();
}

static void refusals(void **state)
{
	uint32_t one = 1;
	start();
	device_claim(NIC, INGOT_CLAIM_UNBIND);
	irq_result = E_NOTSUP;
	assert_int_equal(device_irq(NIC, 0, count, &one), E_NOTSUP);
	assert_int_equal(fake_alloc_live, 0);
	irq_result = 0;
	fake_alloc_fail_at = fake_alloc_count + 1;
	assert_int_equal(device_irq(NIC, 0, count, &one), E_NOMEM);
	assert_null(given[0].handler);
	assert_int_equal(device_irq(NIC, 0, count, &one), E_OK);
	end(); // an unplugged device: as released
	assert_null(given[0].handler);
	assert_int_equal(fake_alloc_live, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(claim),
		FAKE_TEST(release),
		FAKE_TEST(interrupts),
		FAKE_TEST(refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
