// core/registry.c: rank and order of matching, declined and failed probes, the device list, platform drivers, scans.
#include "fake.h"
#include <core/registry.c>

static char calls[256]; // names of the drivers whose probe or remove ran, in order
static int results[8];  // of the drivers below
static const struct dev_id *matched;
static struct device inner;

static int called(const char *name, const struct dev_id *id, int result)
{
	strcat(calls, name);
	strcat(calls, " ");
	matched = id;
	return result;
}

#define TEST_DRIVER(number, label, table) \
	static int label##_probe(struct device *dev, const struct dev_id *id) \
	{ \
		(void)dev; \
		return called(#label, id, results[number]); \
	} \
	static void label##_remove(struct device *dev) \
	{ \
		(void)dev; \
		called("-" #label, NULL, 0); \
	} \
	static const struct driver label = { #label, DEV_IDS(table), label##_probe, label##_remove }

static const struct dev_id class_long[] = { DEV_ID_CLASS(0x010802, 0xFFFFFF, 0) };
static const struct dev_id class_short[] = { DEV_ID_CLASS(0x010000, 0xFF0000, 0) };
static const struct dev_id exact[] = { DEV_ID(0x9999, 1, 0), DEV_ID(0x1234, 0x0001, 7),
	DEV_ID_CLASS(0x010800, 0xFFFF00, 8) };
static const struct dev_id sub[] = { DEV_ID_SUBSYSTEM(0x1234, 0x0001, 0xAAAA, 0xBBBB, 0) };
static const struct dev_id vendor_class[] = {
	{ .vendor = 0x1234,
		.device = DEV_ANY,
		.subvendor = DEV_ANY,
		.subdevice = DEV_ANY,
		.class = 0x010000,
		.class_mask = 0xFF0000 },
};
static const struct dev_id exact_again[] = { DEV_ID(0x1234, 0x0001, 0) };
TEST_DRIVER(0, a_class_short, class_short);
TEST_DRIVER(1, b_class_long, class_long);
TEST_DRIVER(2, c_vendor_class, vendor_class);
TEST_DRIVER(3, d_exact, exact);
TEST_DRIVER(4, e_exact_again, exact_again);
TEST_DRIVER(5, f_sub, sub);
PCI_DRIVER(a_class_short);
PCI_DRIVER(b_class_long);
PCI_DRIVER(c_vendor_class);
PCI_DRIVER(d_exact);
PCI_DRIVER(e_exact_again);
PCI_DRIVER(f_sub);

// Stands for virtio on PCI: offers what it found to another table.
static int bridge_probe(struct device *dev, const struct dev_id *id)
{
	(void)id;
	inner = (struct device){ .vendor = 0x1AF4, .device = dev->device - 0x1040 };
	int rc = registry_match(&inner, TABLE_VIRTIO);
	if (rc == E_OK)
		dev->driver = inner.driver;
	return rc;
}
static void bridge_remove(struct device *dev)
{
	(void)dev;
	inner.bound->remove(&inner);
	called("-bridge", NULL, 0);
}
static const struct dev_id bridge_ids[] = { DEV_ID(0x1AF4, DEV_ANY, 0) };
static const struct driver bridge = { "bridge", DEV_IDS(bridge_ids), bridge_probe, bridge_remove };
PCI_DRIVER(bridge);

static const struct dev_id net_ids[] = { DEV_ID(0x1AF4, 1, 0) };
TEST_DRIVER(6, net, net_ids);
VIRTIO_DRIVER(net);

static char stages[32];
static int stage_result;
static int screen_one(void)
{
	strcat(stages, "s");
	return E_OK;
}
static int console_one(void)
{
	strcat(stages, "c");
	return stage_result;
}
static int device_two(void)
{
	strcat(stages, "2");
	return E_NODEV;
}
static int device_one(void)
{
	strcat(stages, "1");
	return E_OK;
}
static const struct platform_driver con = { "con", console_one }, scr = { "scr", screen_one };
static const struct platform_driver dev1 = { "dev1", device_one }, dev2 = { "dev2", device_two };
PLATFORM_DRIVER(dev2);
SCREEN_DRIVER(scr);
PLATFORM_DRIVER(dev1);
CONSOLE_DRIVER(con);

static void scan_b(void)
{
	strcat(stages, "B");
}
static void scan_a(void)
{
	strcat(stages, "A");
}
BUS_SCAN("20", scan_b);
BUS_SCAN("10", scan_a);

static struct device disk;

static void reset(void)
{
	devices = NULL;
	memset(platform_bound, 0, sizeof(platform_bound));
	memset(results, 0, sizeof(results));
	calls[0] = stages[0] = 0;
	matched = NULL;
	disk = (struct device){
		.name = "0000:00:02.0",
		.vendor = 0x1234,
		.device = 0x0001,
		.subvendor = 0xAAAA,
		.subdevice = 0xBBBB,
		.class = 0x010802,
		.kind = DEVICE_PCI,
	};
}

static void best_rank_wins(void **state)
{
	reset();
	assert_int_equal(registry_add(&disk, TABLE_PCI), E_OK);
	assert_string_equal(calls, "f_sub ");
	assert_ptr_equal(disk.driver, &f_sub);
	assert_ptr_equal(disk.bound, &f_sub);
	assert_int_equal(disk.status, E_OK);
	assert_string_equal(fake_log, "0000:00:02.0 1234:0001 010802 f_sub:\n");
}

static void all_decline_in_order_of_rank(void **state)
{
	reset();
	for (uint32_t i = 0; i < ARRAY_SIZE(results); i++)
		results[i] = E_NODEV;
	assert_int_equal(registry_add(&disk, TABLE_PCI), E_NODEV);
	// The driver of two ranks has a turn for each of them.
	assert_string_equal(calls, "f_sub d_exact e_exact_again c_vendor_class b_class_long d_exact a_class_short ");
	assert_null(disk.driver);
	assert_null(disk.bound);
	assert_int_equal(disk.status, E_NODEV);
	assert_true(fake_logged("a_class_short: no driver\n"));
}

static void the_row_that_matched_is_handed_over(void **state)
{
	reset();
	results[5] = E_NODEV;
	assert_int_equal(registry_add(&disk, TABLE_PCI), E_OK);
	assert_string_equal(calls, "f_sub d_exact ");
	assert_int_equal(matched->quirks, 7);
}

static void failure_ends_the_walk(void **state)
{
	reset();
	results[5] = E_NODEV;
	results[3] = E_TIMEOUT;
	assert_int_equal(registry_add(&disk, TABLE_PCI), E_TIMEOUT);
	assert_string_equal(calls, "f_sub d_exact ");
	assert_null(disk.driver);
	assert_null(disk.bound);
	assert_int_equal(disk.status, E_TIMEOUT);
	assert_true(fake_logged(" d_exact:; left alone\n"));
	registry_drop(&disk);
	assert_string_equal(calls, "f_sub d_exact ");
	assert_null(registry_device(0));
}

static void nothing_matches(void **state)
{
	reset();
	disk.vendor = 0x4321;
	disk.class = 0x060000;
	assert_int_equal(registry_add(&disk, TABLE_PCI), E_NODEV);
	assert_string_equal(calls, "");
	assert_string_equal(fake_log, "0000:00:02.0 4321:0001 060000 no driver\n");
	assert_int_equal(registry_add(&inner, TABLE_USB), E_NODEV); // an empty table
}

static void device_on_a_device(void **state)
{
	const char *bus;
	uint32_t bound;
	reset();
	struct device pci = { .name = "0000:00:03.0", .vendor = 0x1AF4, .device = 0x1041 };
	struct device other = { .name = "0000:00:04.0", .vendor = 0x1AF4, .device = 0x1044 };
	assert_int_equal(registry_add(&other, TABLE_PCI), E_NODEV);
	assert_int_equal(registry_add(&pci, TABLE_PCI), E_OK);
	assert_ptr_equal(pci.driver, &net);
	assert_ptr_equal(pci.bound, &bridge);
	assert_string_equal(fake_log,
		"0000:00:04.0 1af4:1044 000000 bridge: no driver\n"
		"0000:00:03.0 1af4:1041 000000 bridge: net:\n");
	assert_ptr_equal(registry_device(0), &other);
	assert_ptr_equal(registry_device(1), &pci);
	assert_null(registry_device(2));
	uint32_t seen = 0;
	for (uint32_t i = 0;; i++) {
		const char *name = registry_driver(i, &bus, &bound);
		if (!name)
			break;
		if (!strcmp(name, "net")) {
			assert_string_equal(bus, "virtio");
			assert_int_equal(bound, 1);
			seen++;
		} else if (!strcmp(name, "bridge")) {
			assert_string_equal(bus, "pci");
			assert_int_equal(bound, 1);
			seen++;
		} else {
			assert_int_equal(bound, 0);
		}
	}
	assert_int_equal(seen, 2);
	registry_drop(&pci);
	assert_string_equal(calls, "net -net -bridge ");
	assert_ptr_equal(registry_device(0), &other);
}

static void platform_stages(void **state)
{
	static const char *const names[] = { "con", "scr", "dev1", "dev2" };
	static const uint32_t found[] = { 0, 1, 1, 0 };
	const char *bus, *name;
	uint32_t bound, first = 0;
	reset();
	stage_result = E_NODEV;
	registry_run(STAGE_CONSOLE);
	assert_string_equal(stages, "c");
	registry_run(STAGE_SCREEN);
	assert_string_equal(stages, "cs");
	registry_run(STAGE_DEVICE);
	assert_string_equal(stages, "cs12");
	while ((name = registry_driver(first, &bus, &bound)) && strcmp(bus, "platform"))
		first++;
	for (uint32_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_string_equal(registry_driver(first + i, &bus, &bound), names[i]);
		assert_string_equal(bus, "platform");
		assert_int_equal(bound, found[i]);
	}
	assert_null(registry_driver(first + 4, &bus, &bound));
	assert_null(registry_driver(UINT32_MAX, &bus, &bound));
}

static void scans_in_order(void **state)
{
	reset();
	registry_scan();
	assert_string_equal(stages, "AB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(best_rank_wins),
		FAKE_TEST(all_decline_in_order_of_rank),
		FAKE_TEST(the_row_that_matched_is_handed_over),
		FAKE_TEST(failure_ends_the_walk),
		FAKE_TEST(nothing_matches),
		FAKE_TEST(device_on_a_device),
		FAKE_TEST(platform_stages),
		FAKE_TEST(scans_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
