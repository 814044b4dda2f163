// The fakes themselves: what other tests build on must not lie.
#include <fake.h>

static uint64_t read_back(struct fake_mmio *dev, uint64_t offset, uint32_t width)
{
	(void)dev;
	return offset << 8 | width;
}

static void remember(struct fake_mmio *dev, uint64_t offset, uint32_t width, uint64_t value)
{
	mmio_write32(dev->base, 1); // plain memory here, not a recursion
	*(uint64_t *)dev->arg = value + offset + width;
}

static void mmio_hooks(void **state)
{
	uint32_t memory[8] = { 0 };
	uint64_t seen = 0;
	struct fake_mmio dev = {
		.base = memory,
		.bytes = 16,
		.phys = 0xFEB00000,
		.read = read_back,
		.write = remember,
		.arg = &seen,
	};
	(void)state;
	fake_mmio_add(&dev);
	assert_int_equal(mmio_read16((char *)memory + 2), 0x202);
	mmio_write32(memory + 1, 100);
	assert_int_equal(seen, 108);
	assert_int_equal(memory[0], 1);
	mmio_write32(memory + 4, 7); // past the device: memory
	assert_int_equal(mmio_read32(memory + 4), 7);
	assert_int_equal(dev.reads, 1);
	assert_int_equal(dev.writes, 1);
	assert_ptr_equal(mem_map_device(0xFEB00004, 4), memory + 1);
}

static uint32_t port_read(struct fake_pio *dev, uint16_t offset, uint32_t width)
{
	(void)width;
	return dev->base + offset;
}

static void ports(void **state)
{
	struct fake_pio dev = { .base = 0x3F8, .count = 8, .read = port_read };
	(void)state;
	fake_pio_add(&dev);
	assert_int_equal(pio_read8(0x3FD), 0xFD);
	assert_int_equal(pio_read32(0x3F9), 0x3F9);
	assert_int_equal(pio_read8(0x60), 0xFF);
	assert_int_equal(pio_read32(0xCF8), 0xFFFFFFFF);
	pio_write8(0x3F8, 1);
	pio_write8(0x80, 1);
	assert_int_equal(dev.writes, 1);
}

static void allocator(void **state)
{
	char *one, *two;
	(void)state;
	fake_alloc_fail_at = 2;
	one = mem_alloc(10, 4096);
	two = mem_alloc(10, 64);
	assert_non_null(one);
	assert_null(two);
	assert_int_equal((uintptr_t)one & 4095, 0);
	assert_int_equal(one[9], 0);
	assert_int_equal(fake_alloc_live, 1);
	mem_free(NULL, 10);
	mem_free(one, 10);
	assert_int_equal(fake_alloc_live, 0);
}

static void physical(void **state)
{
	static char memory[3 * 4096] __attribute__((aligned(4096)));
	size_t run;
	(void)state;
	assert_int_equal(mem_phys(memory + 1, 8192, &run), (uintptr_t)memory + 1);
	assert_int_equal(run, 8192);
	fake_mem_pages = true;
	mem_phys(memory + 1, 8192, &run);
	assert_int_equal(run, 4095);
}

static void clock_and_waits(void **state)
{
	uint32_t reg = 0;
	uint64_t end = time_deadline(50);
	(void)state;
	for (int reads = 0; !time_passed(end); reads++)
		assert_true(reads < 100);
	assert_int_equal(mmio_wait32(&reg, 1, 1, 1000), E_TIMEOUT);
	assert_int_equal(mmio_wait32(&reg, 1, 0, 1000), E_OK);
}

static void logging(void **state)
{
	(void)state;
	log("%s %04x ", "net0", 0x1AF4);
	log("%lu\n", 1UL << 40);
	assert_string_equal(fake_log, "net0 1af4 1099511627776\n");
	assert_true(fake_logged("1af4"));
}

static uint32_t fired;

static void handler(void *arg)
{
	fired += *(uint32_t *)arg;
}

static void interrupts(void **state)
{
	uint32_t by = 5;
	int vector = irq_alloc(handler, &by, 0);
	uint64_t flags = irq_save();
	(void)state;
	irq_restore(flags);
	assert_true(vector >= 32);
	assert_int_equal(irq_route(1, IRQ_ISA, vector), E_OK);
	assert_true(fake_line_fire(1));
	irq_mask(1, IRQ_ISA);
	assert_false(fake_line_fire(1));
	assert_int_equal(fired, 5);
	assert_int_equal(irq_message(vector).data, vector);
	irq_free(vector);
	fake_irq_refuse = true;
	assert_int_equal(irq_alloc(handler, &by, 0), E_NOMEM);
}

static const struct driver sample = { .name = "sample" };
PCI_DRIVER(sample);
static const struct driver earlier = { .name = "earlier" };
PCI_DRIVER_AT(earlier, PRIO_OVERRIDE);

static void tables(void **state)
{
	(void)state;
	assert_ptr_equal(fake_driver("pci", "sample"), &sample);
	assert_ptr_equal(fake_driver("pci", "earlier"), &earlier);
	assert_null(fake_driver("virtio", "sample"));
	assert_null(fake_platform_driver("sample"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_TEST(mmio_hooks),
		FAKE_TEST(ports),
		FAKE_TEST(allocator),
		FAKE_TEST(physical),
		FAKE_TEST(clock_and_waits),
		FAKE_TEST(logging),
		FAKE_TEST(interrupts),
		FAKE_TEST(tables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
