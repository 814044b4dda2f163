// Host stand-ins for the services of core/ and the class layers.  Weak, so that a test may link the real source.
#include "fake.h"
#include <stdio.h>
#include <program.h>

static uint64_t send_nothing(struct classic_net *net, const void *frame, uint64_t unused, uint64_t len)
{
	return 0;
}

static uint64_t receive_nothing(struct classic_net *net)
{
	return 0;
}

struct classic_net *classic_net[256], classic_none = { send_nothing, receive_nothing, 0, receive_nothing };

#define FAKE __attribute__((weak))

// ---- Devices -------------------------------------------------------------------------------------------------

static struct fake_mmio *mmio_devices;
static struct fake_pio *pio_devices;
static int inside; // a callback runs: its own accesses are plain

void fake_mmio_add(struct fake_mmio *dev)
{
	dev->reads = dev->writes = 0;
	dev->next = mmio_devices;
	mmio_devices = dev;
}

static struct fake_mmio *mmio_find(const volatile void *reg)
{
	for (struct fake_mmio *dev = mmio_devices; dev && !inside; dev = dev->next)
		if ((uintptr_t)reg - (uintptr_t)dev->base < dev->bytes)
			return dev;
	return NULL;
}

uint64_t fake_mmio_read(const volatile void *reg, uint32_t width)
{
	struct fake_mmio *dev = mmio_find(reg);
	uint64_t value = 0;
	if (dev)
		dev->reads++;
	if (dev && dev->read) {
		inside++;
		value = dev->read(dev, (uintptr_t)reg - (uintptr_t)dev->base, width);
		inside--;
	} else {
		memcpy(&value, (const void *)(uintptr_t)reg, width);
	}
	return value;
}

void fake_mmio_write(volatile void *reg, uint32_t width, uint64_t value)
{
	struct fake_mmio *dev = mmio_find(reg);
	if (dev)
		dev->writes++;
	if (dev && dev->write) {
		inside++;
		dev->write(dev, (uintptr_t)reg - (uintptr_t)dev->base, width, value);
		inside--;
	} else {
		memcpy((void *)(uintptr_t)reg, &value, width);
	}
}

void fake_pio_add(struct fake_pio *dev)
{
	dev->reads = dev->writes = 0;
	dev->next = pio_devices;
	pio_devices = dev;
}

static struct fake_pio *pio_find(uint16_t port)
{
	for (struct fake_pio *dev = pio_devices; dev; dev = dev->next)
		if ((uint16_t)(port - dev->base) < dev->count)
			return dev;
	return NULL;
}

uint32_t fake_pio_read(uint16_t port, uint32_t width)
{
	struct fake_pio *dev = pio_find(port);
	uint32_t ones = width == 4 ? 0xFFFFFFFF : (1U << width * 8) - 1;
	if (!dev)
		return ones;
	dev->reads++;
	return dev->read ? dev->read(dev, port - dev->base, width) & ones : ones;
}

void fake_pio_write(uint16_t port, uint32_t width, uint32_t value)
{
	struct fake_pio *dev = pio_find(port);
	if (!dev)
		return;
	dev->writes++;
	if (dev->write)
		dev->write(dev, port - dev->base, width, value);
}

// ---- Memory --------------------------------------------------------------------------------------------------

struct block {
	struct block *next;
	void *memory;
	size_t bytes;
};
static struct block *blocks;
uint32_t fake_alloc_count, fake_alloc_live, fake_alloc_fail_at;
bool fake_mem_pages, fake_map_refuse;
uint64_t (*fake_mem_phys)(const void *ptr, size_t len, size_t *run);

// Exactly `bytes`, not rounded, so that the sanitizer sees the first byte too many.  Not below 4 GiB.
FAKE void *mem_alloc(size_t bytes, size_t align)
{
	struct block *block;
	if (!align || align & (align - 1))
		fail_msg("mem_alloc: alignment %zu", align);
	if (++fake_alloc_count == fake_alloc_fail_at)
		return NULL;
	block = malloc(sizeof(*block));
	if (!block || posix_memalign(&block->memory, align < 64 ? 64 : align, bytes))
		abort();
	block->bytes = bytes;
	block->next = blocks;
	blocks = block;
	fake_alloc_live++;
	return memset(block->memory, 0, bytes);
}

FAKE void mem_free(void *memory, size_t bytes)
{
	struct block **link = &blocks, *block;
	if (!memory)
		return;
	while (*link && (*link)->memory != memory)
		link = &(*link)->next;
	block = *link;
	if (!block)
		fail_msg("mem_free of %p, which mem_alloc did not give", memory);
	if (ALIGN_UP(block->bytes, 64) != ALIGN_UP(bytes, 64))
		fail_msg("mem_free of %zu bytes, allocated were %zu", bytes, block->bytes);
	*link = block->next;
	free(block->memory);
	free(block);
	fake_alloc_live--;
}

FAKE uint64_t mem_phys(const void *ptr, size_t len, size_t *run)
{
	size_t page = 4096 - ((uintptr_t)ptr & 4095);
	if (!len)
		fail_msg("mem_phys of no bytes");
	if (fake_mem_phys)
		return fake_mem_phys(ptr, len, run);
	*run = fake_mem_pages && len > page ? page : len;
	return (uintptr_t)ptr;
}

FAKE void *mem_map_device(uint64_t phys, uint64_t bytes)
{
	if (fake_map_refuse || phys + bytes < phys)
		return NULL;
	for (struct fake_mmio *dev = mmio_devices; dev; dev = dev->next)
		if (dev->phys && phys - dev->phys < dev->bytes)
			return (char *)(uintptr_t)dev->base + (phys - dev->phys);
	return (void *)(uintptr_t)phys;
}

FAKE void *mem_map_framebuffer(uint64_t phys, uint64_t bytes)
{
	return mem_map_device(phys, bytes);
}

// ---- Time and log --------------------------------------------------------------------------------------------

uint64_t fake_now_ns, fake_tick_ns = 1000;
char fake_log[65536];
static size_t log_bytes;

FAKE uint64_t time_ns(void)
{
	return fake_now_ns += fake_tick_ns;
}

FAKE void time_delay_us(uint32_t us)
{
	fake_now_ns += us * 1000ULL;
}

FAKE uint64_t time_deadline(uint64_t us)
{
	return time_ns() + us * 1000ULL;
}

FAKE int time_passed(uint64_t deadline)
{
	return time_ns() >= deadline;
}

FAKE int mmio_wait32(const volatile void *reg, uint32_t mask, uint32_t value, uint32_t us)
{
	uint64_t end = time_deadline(us);
	while ((mmio_read32(reg) & mask) != value)
		if (time_passed(end))
			return E_TIMEOUT;
	return E_OK;
}

FAKE void log(const char *format, ...)
{
	va_list args;
	int len;
	va_start(args, format);
	len = vsnprintf(fake_log + log_bytes, sizeof(fake_log) - log_bytes, format, args);
	va_end(args);
	if (len < 0 || log_bytes + len >= sizeof(fake_log))
		fail_msg("more logged than fake_log holds");
	log_bytes += len;
}

bool fake_logged(const char *text)
{
	return strstr(fake_log, text) != NULL;
}

// ---- Cores and interrupts ------------------------------------------------------------------------------------

uint32_t fake_cores = 1, fake_self, fake_irq_off;
struct fake_irq fake_irqs[256];
struct fake_line fake_lines[16];
uint32_t fake_line_count;
bool fake_irq_refuse;

FAKE uint32_t smp_count(void)
{
	return fake_cores;
}

FAKE uint32_t smp_dropped(void)
{
	return 0;
}

FAKE void lock_wait(struct lock *lock)
{
	lock_take(lock);
}

FAKE uint32_t smp_self(void)
{
	return fake_self;
}

FAKE uint64_t irq_save(void)
{
	return fake_irq_off++;
}

FAKE void irq_restore(uint64_t flags)
{
	if (!fake_irq_off || flags != fake_irq_off - 1)
		fail_msg("irq_restore without its irq_save");
	fake_irq_off = flags;
}

FAKE int irq_alloc(irq_handler handler, void *arg, uint32_t cpu)
{
	if (!handler || cpu >= fake_cores)
		fail_msg("irq_alloc: handler %d, core %u of %u", handler != NULL, cpu, fake_cores);
	for (int vector = 32; vector < 240 && !fake_irq_refuse; vector++)
		if (!fake_irqs[vector].handler) {
			fake_irqs[vector] = (struct fake_irq){ handler, arg, cpu };
			return vector;
		}
	return E_NOMEM;
}

FAKE void irq_free(int vector)
{
	if (vector < 32 || vector > 239 || !fake_irqs[vector].handler)
		fail_msg("irq_free of vector %d, which nobody has", vector);
	fake_irqs[vector].handler = NULL;
}

FAKE struct irq_message irq_message(int vector)
{
	return (struct irq_message){ 0xFEE00000 | (uint64_t)fake_irqs[vector].cpu << 12, vector };
}

FAKE int irq_route(uint32_t line, uint32_t kind, int vector)
{
	if (fake_line_count == ARRAY_SIZE(fake_lines))
		return E_NODEV;
	fake_lines[fake_line_count++] = (struct fake_line){ line, kind, vector, false };
	return E_OK;
}

FAKE void irq_mask(uint32_t line, uint32_t kind)
{
	for (uint32_t i = 0; i < fake_line_count; i++)
		if (fake_lines[i].line == line && fake_lines[i].kind == kind)
			fake_lines[i].masked = true;
}

uint32_t fake_irq_live(void)
{
	uint32_t count = 0;
	for (uint32_t vector = 0; vector < 256; vector++)
		count += fake_irqs[vector].handler != NULL;
	return count;
}

void fake_irq_fire(int vector)
{
	if (vector < 0 || vector > 255 || !fake_irqs[vector].handler)
		fail_msg("interrupt %d, which nobody has", vector);
	fake_irqs[vector].handler(fake_irqs[vector].arg);
}

bool fake_line_fire(uint32_t line)
{
	bool fired = false;
	for (uint32_t i = 0; i < fake_line_count; i++)
		if (fake_lines[i].line == line && !fake_lines[i].masked) {
			fake_irq_fire(fake_lines[i].vector);
			fired = true;
		}
	return fired;
}

struct cpuid (*fake_cpuid)(uint32_t leaf, uint32_t subleaf);
uint64_t (*fake_msr_read)(uint32_t msr);
void (*fake_msr_write)(uint32_t msr, uint64_t value);
uint32_t fake_tsc_mhz = 1000;

struct cpuid cpu_id(uint32_t leaf, uint32_t subleaf)
{
	return fake_cpuid ? fake_cpuid(leaf, subleaf) : (struct cpuid){ 0 };
}

uint64_t msr_read(uint32_t msr)
{
	return fake_msr_read ? fake_msr_read(msr) : 0;
}

void msr_write(uint32_t msr, uint64_t value)
{
	if (fake_msr_write)
		fake_msr_write(msr, value);
}

uint64_t cpu_tsc(void)
{
	return (fake_now_ns += fake_tick_ns) * fake_tsc_mhz / 1000;
}

// ---- Class layers and registry -------------------------------------------------------------------------------

struct net_dev *fake_net[8];
struct blk_dev *fake_blk[8];
struct device *fake_devices[32];
uint32_t fake_nets, fake_blks, fake_inputs, fake_device_count;
char fake_input[256];
int fake_register_error;

FAKE int net_register(struct net_dev *net)
{
	if (fake_register_error)
		return fake_register_error;
	assert_true(fake_nets < ARRAY_SIZE(fake_net));
	net->index = fake_nets;
	fake_net[fake_nets++] = net;
	return E_OK;
}

FAKE void net_unregister(struct net_dev *net)
{
	assert_true(fake_nets && fake_net[fake_nets - 1] == net);
	fake_nets--;
}

FAKE int blk_register(struct blk_dev *blk)
{
	if (fake_register_error)
		return fake_register_error;
	assert_true(fake_blks < ARRAY_SIZE(fake_blk));
	blk->index = fake_blks;
	fake_blk[fake_blks++] = blk;
	return E_OK;
}

FAKE void blk_unregister(struct blk_dev *blk)
{
	assert_true(fake_blks && fake_blk[fake_blks - 1] == blk);
	fake_blks--;
}

FAKE void input_push(uint8_t character)
{
	if (fake_inputs < sizeof(fake_input))
		fake_input[fake_inputs++] = character;
}

FAKE void input_scancode(struct keyboard *kbd, uint8_t code)
{
	(void)kbd;
	input_push(code);
}

FAKE int registry_add(struct device *dev, enum driver_table table)
{
	(void)table;
	assert_true(fake_device_count < ARRAY_SIZE(fake_devices));
	fake_devices[fake_device_count++] = dev;
	return dev->status = E_NODEV;
}

// Bounds from tests/unit/tables.ld.
extern const struct driver *const __drivers_pci_start[], *const __drivers_pci_end[];
extern const struct driver *const __drivers_virtio_start[], *const __drivers_virtio_end[];
extern const struct driver *const __drivers_usb_start[], *const __drivers_usb_end[];
extern const struct platform_driver *const __drivers_platform_start[], *const __drivers_platform_end[];

const struct driver *fake_driver(const char *bus, const char *name)
{
	const struct driver *const *from = __drivers_usb_start, *const *end = __drivers_usb_end;
	if (!strcmp(bus, "pci"))
		from = __drivers_pci_start, end = __drivers_pci_end;
	else if (!strcmp(bus, "virtio"))
		from = __drivers_virtio_start, end = __drivers_virtio_end;
	for (; from != end; from++)
		if (!strcmp((*from)->name, name))
			return *from;
	return NULL;
}

const struct platform_driver *fake_platform_driver(const char *name)
{
	for (const struct platform_driver *const *from = __drivers_platform_start; from != __drivers_platform_end; from++)
		if (!strcmp((*from)->name, name))
			return *from;
	return NULL;
}

// ---- Programs ----------------------------------------------------------------------------------------------------

FAKE void program_callback(ingot_callback fn, void *arg)
{
	fn(arg);
}

// As core/native.c has it.
FAKE int give_info(void *out, const void *all, uint32_t bytes)
{
	uint32_t size = min_u64(*(uint32_t *)out, bytes);
	memcpy((char *)out + 4, (const char *)all + 4, size - 4);
	*(uint32_t *)out = size;
	return E_OK;
}

// ---- Around every test ---------------------------------------------------------------------------------------

static void blocks_drop(void)
{
	struct block *block;
	while ((block = blocks)) {
		blocks = block->next;
		free(block->memory);
		free(block);
	}
}

void fake_reset(void)
{
	blocks_drop();
	mmio_devices = NULL;
	pio_devices = NULL;
	inside = 0;
	fake_alloc_count = fake_alloc_live = fake_alloc_fail_at = 0;
	fake_mem_pages = fake_map_refuse = fake_irq_refuse = false;
	fake_mem_phys = NULL;
	fake_now_ns = 0;
	fake_tick_ns = 1000;
	fake_log[0] = 0;
	log_bytes = 0;
	fake_cores = 1;
	fake_self = fake_irq_off = fake_line_count = 0;
	memset(fake_irqs, 0, sizeof(fake_irqs));
	fake_cpuid = NULL;
	fake_msr_read = NULL;
	fake_msr_write = NULL;
	fake_tsc_mhz = 1000;
	fake_nets = fake_blks = fake_inputs = fake_device_count = 0;
	fake_register_error = 0;
}

void fake_check_clean(void)
{
	if (fake_alloc_live)
		fail_msg("%u blocks of memory were not given back", fake_alloc_live);
	if (fake_irq_live())
		fail_msg("%u interrupt vectors were not given back", fake_irq_live());
	if (fake_irq_off)
		fail_msg("interrupts are still off");
}

int fake_setup(void **state)
{
	(void)state;
	fake_reset();
	return 0;
}

int fake_teardown(void **state)
{
	(void)state;
	fake_check_clean();
	return 0;
}
