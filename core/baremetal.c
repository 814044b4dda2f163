// What programs written for BareMetal find at fixed addresses: the information table and a few words that were never
// documented but are read all the same (docs/abi.md).
#include "core.h"
#include <driver.h>

#define INFO(type, address) (*(volatile type *)(uint64_t)(address))
#define MAP_ADDRESS 0x6000ul
#define MAP_ENTRIES 127u
#define BUS_TABLE 0x118000ul
#define BUS_ENTRIES 511u
#define RAM_DRIVE_FLAG 0x410000ul

static void info_processor(void)
{
	struct cpuid id = cpu_id(0x80000008, 0);
	INFO(uint32_t, 0x5008) = cpus[0].apic_id;
	INFO(uint16_t, 0x5010) = time_frequency() / 1000000;
	INFO(uint16_t, 0x5012) = smp_cores;
	INFO(uint16_t, 0x5014) = smp_stacks_count;
	INFO(uint16_t, 0x5016) = id.eax;			// physical and virtual address bits
	INFO(uint32_t, 0x5018) = cpu_id(0, 0).eax;
	INFO(uint32_t, 0x501C) = cpu_id(0x80000000, 0).eax;
	INFO(uint8_t, 0x50E0) = cpu_id(0x80000001, 0).edx >> 26 & 1;
	INFO(uint8_t, 0x50E1) = cpu_id(1, 0).ecx >> 21 & 1;
	uint32_t active = 0;
	for (uint32_t i = 0; i < smp_stacks_count; i++)
		if (cpus[i].state)
			INFO(uint8_t, 0x5100 + active++) = cpus[i].apic_id;
}

static void info_interrupts(void)
{
	const struct madt_ioapic *ioapic;
	const struct madt_override *override;
	uint32_t i;
	for (i = 0; i < 16 && (ioapic = madt_entry(MADT_IOAPIC, i)); i++) {
		INFO(uint32_t, 0x5600 + 16 * i) = ioapic->id;
		INFO(uint32_t, 0x5604 + 16 * i) = ioapic->address;
		INFO(uint32_t, 0x5608 + 16 * i) = ioapic->first_gsi;
	}
	INFO(uint8_t, 0x5030) = i;
	for (i = 0; i < 32 && (override = madt_entry(MADT_OVERRIDE, i)); i++)
		memcpy((void *)(0x5700 + 8ul * i), &override->bus, 8);
	INFO(uint8_t, 0x5031) = i;
	INFO(uint64_t, 0x5060) = msr_read(0x1B) & 0xFFFFFFFFFF000;
}

static void info_firmware(void)
{
	const struct acpi_header *mcfg = acpi_table("MCFG", 0);
	uint64_t hpet = acpi_field("HPET", 44, 8);
	uint32_t segments = mcfg && mcfg->length >= 44 ? (mcfg->length - 44) / 16 : 0;
	INFO(uint64_t, 0x5000) = boot.rsdp;
	INFO(uint32_t, 0x5020) = memory.ram_mib;
	if (hpet && mem_map_device(hpet, PAGE)) {
		uint64_t capabilities = *(volatile uint64_t *)hpet;
		INFO(uint64_t, 0x5040) = hpet;
		INFO(uint32_t, 0x5048) = 1000000000000000ul / max_u64(capabilities >> 32, 1);
		INFO(uint16_t, 0x504C) = acpi_field("HPET", 53, 2);
		INFO(uint8_t, 0x504E) = (capabilities >> 8 & 31) + 1;
	}
	if (segments > 32)
		segments = 32;
	INFO(uint16_t, 0x5090) = segments;
	INFO(uint16_t, 0x5092) = acpi_field("FACP", 109, 2);
	memcpy((void *)0x5400, (const char *)mcfg + 44, segments * 16);
	INFO(uint8_t, 0x50E2) = boot.mode == BOOT_UEFI ? 'U' : 'B';
	INFO(uint64_t, 0x5050) = boot.tsc_start;
	INFO(uint64_t, 0x5058) = boot_tsc;
	if (boot.framebuffer) {
		const uint16_t screen[] = { boot.width, boot.height, boot.pitch, boot.bits };
		INFO(uint64_t, 0x5080) = boot.framebuffer;
		memcpy((void *)0x5088, screen, sizeof(screen));
	}
	for (uint32_t i = 0; i < boot.map_count && i < MAP_ENTRIES; i++)
		memcpy((void *)(MAP_ADDRESS + 32 * i), &boot.map[i], sizeof(boot.map[i]));
}

static void bus_table(void)
{
	const struct device *dev;
	uint8_t *at = (uint8_t *)BUS_TABLE;
	for (uint32_t i = 0; (dev = registry_device(i)) && i < BUS_ENTRIES; i++) {
		if (dev->kind != DEVICE_PCI && dev->kind != DEVICE_PCIE)
			continue;
		*(uint32_t *)at = dev->address << 16;
		*(uint16_t *)(at + 4) = dev->vendor;
		*(uint16_t *)(at + 6) = dev->device;
		*(uint16_t *)(at + 8) = dev->class >> 8;
		at[14] = dev->kind;
		at[15] = dev->driver != NULL;
		at += 16;
	}
	memset(at, 0xFF, 16);
}

void baremetal_init(void)
{
	const char *identity = NULL;
	uint64_t mac = __builtin_bswap64(classic.net_status(0)) >> 16, run;
	memset((void *)0x5000, 0, 0x2000);
	memset((void *)0x110000, 0, 0xA000);
	memset((void *)0x174000, 0, PAGE);
	info_processor();
	info_interrupts();
	info_firmware();
	bus_table();
	INFO(uint32_t, 0x110104) = memory.program_bytes >> 20;
	INFO(uint64_t, 0x110048) = mac;
	INFO(uint16_t, 0x110208) = classic.drive_kind(0, &identity);
	memset((void *)0x174004, ' ', 70);
	if (identity)
		memcpy((void *)0x174004, identity, 70);
	// The monitor of the original looks here for a RAM drive: a zero page where there is no memory.
	page_lookup(RAM_DRIVE_FLAG, &run);
	if (!run) {
		void *zero = mem_alloc(PAGE, PAGE);
		if (zero)
			page_map(RAM_DRIVE_FLAG, (uint64_t)zero, PAGE, MAP_WRITE | MAP_NX);
	} else {
		INFO(uint8_t, RAM_DRIVE_FLAG) = 0;
	}
}
