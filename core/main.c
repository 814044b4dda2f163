// The order of the boot.  Every stage says what it found; whoever sees it stop knows where.
#include "core.h"
#include <driver.h>

extern char __low_end[], __bss_end[];
extern uint64_t native_pointer;

struct boot_info boot;
uint64_t boot_tsc;

// What the loader hands over lies in memory that is about to be used otherwise.
static void take_over(const void *info)
{
	if (CONFIG_ON(BOOT_PVH) && *(const uint32_t *)info == PVH_MAGIC) {
		pvh_convert(info, &boot);
	} else {
		memcpy(&boot, info, sizeof(boot));
		if (boot.magic != BOOT_INFO_MAGIC || boot.version != BOOT_INFO_VERSION)
			panic("the loader is of another version");
	}
	if (!boot.tsc_start)
		boot.tsc_start = boot_tsc;
	acpi_find();
}

// Fixed words of the register interface, the payload and the early stack are left out (docs/abi.md).
static void memory_start(void)
{
	heap_add((uint64_t)__low_end, 0x110000);
	heap_add((uint64_t)__bss_end, 0x174000);
	heap_add(0x175000, PAYLOAD_BASE);
	if (memory_init() != E_OK)
		panic("not enough memory: Ingot needs 4 MiB");
	memory_remove(boot.program, boot.program + boot.program_bytes); // before page tables take what is free
	page_init();
	heap_add(EARLY_STACK, KERNEL_LIMIT); // the PVH entry's page tables are done with
}

static void cores_start(void)
{
	irq_init();
	apic_enable();
	cpus[0].apic_id = apic_self();
	cpus[0].state = CPU_BUSY;
	if (CONFIG_ON(CORE_SMP))
		smp_list();
	cpu_prepare();
	cpu_setup(&cpus[0], smp_stacks);
	ioapic_init();
	time_init();
	__asm__ volatile("sti");
	if (CONFIG_ON(CORE_SMP))
		smp_init();
}

void kernel_main(const void *info) __attribute__((noreturn));
void kernel_main(const void *info)
{
	boot_tsc = cpu_tsc();
	registry_run(STAGE_CONSOLE);
	log("\n" KERNEL_NAME "\n");
	take_over(info);
	memory_start();
	registry_run(STAGE_SCREEN);
	log("memory: %u MiB\n", memory.ram_mib);
	acpi_init();
	cores_start();
	syscall_init();
	if (CONFIG_ON(CORE_NATIVE))
		native_pointer = (uint64_t)&native;
	memory.kernel_kib = heap_used;
	registry_run(STAGE_DEVICE);
	registry_scan();
	memory.driver_kib = heap_used - memory.kernel_kib;
	program_init();
	// The fixed words are counted.
	memory.kernel_kib = (heap_used - memory.driver_kib + ((uint64_t)__bss_end - KERNEL_PHYS)) >> 10;
	memory.driver_kib >>= 10;
	if (CONFIG_ON(CORE_BAREMETAL_INFO))
		baremetal_init();
	log("kernel %u KiB, drivers %u KiB, program %u MiB\n", memory.kernel_kib, memory.driver_kib,
		(uint32_t)(memory.program_bytes >> 20));
	program_run();
}
