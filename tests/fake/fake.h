// What a host test sees of the kernel it doesn't link: fake devices behind mmio_* and pio_*, an allocator that counts
// and can refuse, a clock that advances by itself, captured log lines, recorded interrupts.
//
// All fakes are weak symbols: a test that links the real source file (core/heap.c, net/net.c, ...) gets that one.
// Every test calls fake_reset() first and fake_check_clean() last; FAKE_TEST() does both.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <blk.h>
#include <console.h>
#include <cpu.h>
#include <driver.h>
#include <input.h>
#include <irq.h>
#include <lock.h>
#include <log.h>
#include <mem.h>
#include <mmio.h>
#include <net.h>
#include <pio.h>
#include <smp.h>
#include <time.h>

// ---- Devices -------------------------------------------------------------------------------------------------

// Registers at `base`: memory of the test, or addresses that nothing lies at.  A callback that is NULL leaves the
// access to plain memory.  Inside a callback the memory may be touched directly, without recursion.
struct fake_mmio {
	volatile void *base;
	uint64_t bytes;
	uint64_t phys; // if not 0, mem_map_device() of an address from here on gives the one at base
	uint64_t (*read)(struct fake_mmio *dev, uint64_t offset, uint32_t width);
	void (*write)(struct fake_mmio *dev, uint64_t offset, uint32_t width, uint64_t value);
	void *arg;              // the test's own
	uint32_t reads, writes; // counted
	struct fake_mmio *next;
};
void fake_mmio_add(struct fake_mmio *dev);

// Ports from `base` on.
struct fake_pio {
	uint16_t base, count;
	uint32_t (*read)(struct fake_pio *dev, uint16_t offset, uint32_t width);
	void (*write)(struct fake_pio *dev, uint16_t offset, uint32_t width, uint32_t value);
	void *arg;
	uint32_t reads, writes;
	struct fake_pio *next;
};
void fake_pio_add(struct fake_pio *dev);

// ---- Memory, time, log ---------------------------------------------------------------------------------------

extern uint32_t fake_alloc_count;   // calls of mem_alloc since fake_reset
extern uint32_t fake_alloc_live;    // blocks not given back
extern uint32_t fake_alloc_fail_at; // this call (1: the next one from fake_reset on) returns NULL; 0: none
extern bool fake_mem_pages;         // mem_phys ends every run at a page boundary
extern bool fake_map_refuse;        // mem_map_device returns NULL
extern uint64_t (*fake_mem_phys)(const void *ptr, size_t len, size_t *run); // NULL: identity

extern uint64_t fake_now_ns;  // the clock
extern uint64_t fake_tick_ns; // it advances by this at every read; fake_reset sets 1000

extern char fake_log[65536];        // everything logged since fake_reset
bool fake_logged(const char *text); // contains

// ---- Cores and interrupts ------------------------------------------------------------------------------------

extern uint32_t fake_cores, fake_self; // smp_count(), smp_self()
extern uint32_t fake_irq_off;          // nesting of irq_save

struct fake_irq {
	irq_handler handler; // NULL: free
	void *arg;
	uint32_t cpu;
};
extern struct fake_irq fake_irqs[256]; // by vector
struct fake_line {
	uint32_t line, kind;
	int vector;
	bool masked;
};
extern struct fake_line fake_lines[16]; // by irq_route, in order
extern uint32_t fake_line_count;
extern bool fake_irq_refuse;        // irq_alloc returns E_NOMEM
uint32_t fake_irq_live(void);       // vectors in use
void fake_irq_fire(int vector);     // fails the test if nobody has it
bool fake_line_fire(uint32_t line); // false: masked or not routed

// ---- The class layers and the registry, as a driver sees them ------------------------------------------------

extern struct net_dev *fake_net[8];
extern uint32_t fake_nets;
extern struct blk_dev *fake_blk[8];
extern uint32_t fake_blks;
extern int fake_register_error; // what net_register and blk_register return if not 0
extern char fake_input[256];    // by input_push
extern uint32_t fake_inputs;
extern struct device *fake_devices[32]; // by registry_add
extern uint32_t fake_device_count;

// The driver of this name in the linker section of `bus` ("pci", "virtio", "usb"), NULL if it isn't linked.
const struct driver *fake_driver(const char *bus, const char *name);
const struct platform_driver *fake_platform_driver(const char *name);

void fake_reset(void);
void fake_check_clean(void); // no allocation, no vector left, interrupts on

// static void name(void) in front; in the table of tests: FAKE_TEST(name).
int fake_setup(void **state);
int fake_teardown(void **state);
#define FAKE_TEST(function) cmocka_unit_test_setup_teardown(function, fake_setup, fake_teardown)
