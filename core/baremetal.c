// What programs written for BareMetal find at fixed addresses: the information table and a few words that were never
// documented but are read all the same (docs/abi.md).
#include "core.h"
#include <driver.h>

#define MAP_ADDRESS 0x6000ul
#define MAP_ENTRIES 127u
#define BUS_TABLE 0x118000ul
#define BUS_ENTRIES 511u
#define RAM_DRIVE_FLAG 0x410000ul
#define IDENTITY 0x174004ul

struct info { // at 0x5000
	uint64_t rsdp;
	uint32_t boot_apic_id;
	uint32_t pad0;
	uint16_t mhz, cores, cores_listed;
	uint8_t phys_bits, virt_bits;
	uint32_t leaf, extended_leaf;
	uint32_t ram_mib;
	uint8_t pad1[12];
	uint8_t ioapics, overrides;
	uint8_t pad2[14];
	uint64_t hpet;
	uint32_t hpet_hz;
	uint16_t hpet_tick;
	uint8_t hpet_counters, pad3;
	uint64_t tsc_start, tsc_end;
	uint64_t lapic;
	uint8_t pad4[24];
	uint64_t framebuffer;
	uint16_t width, height, pitch, bits;
	uint16_t segments, boot_flags;
	uint8_t pad5[76];
	uint8_t huge_pages, x2apic, mode;
	uint8_t pad6[29];
	uint8_t apic_ids[256];
	uint8_t pad7[512];
	uint8_t pcie[32][16];
	struct {
		uint32_t id, address, first_gsi, pad;
	} ioapic[16];
	uint64_t override[32];
};
_Static_assert(offsetof(struct info, hpet) == 0x40 && offsetof(struct info, framebuffer) == 0x80 &&
		offsetof(struct info, huge_pages) == 0xE0 && offsetof(struct info, apic_ids) == 0x100 &&
		offsetof(struct info, pcie) == 0x400 && offsetof(struct info, override) == 0x700,
	"information table");

static void info_processor(struct info *info)
{
	info->boot_apic_id = cpus[0].apic_id;
	info->mhz = time_khz() / 1000;
	info->cores = smp_cores;
	info->cores_listed = smp_listed;
	uint32_t bits = cpu_id(0x80000008, 0).eax;
	info->phys_bits = bits;
	info->virt_bits = bits >> 8;
	info->leaf = cpu_id(0, 0).eax;
	info->extended_leaf = cpu_id(0x80000000, 0).eax;
	info->huge_pages = cpu_id(0x80000001, 0).edx >> 26 & 1;
	info->x2apic = cpu_id(1, 0).ecx >> 21 & 1;
	uint8_t *id = info->apic_ids;
	for (uint32_t i = 0; i < smp_listed; i++)
		if (cpus[i].state)
			*id++ = cpus[i].apic_id;
}

static void info_interrupts(struct info *info)
{
	const struct madt_ioapic *ioapic;
	const struct madt_override *override;
	uint32_t i;
	for (i = 0; i < 16 && (ioapic = madt_entry(MADT_IOAPIC, i)); i++) {
		info->ioapic[i].id = ioapic->id;
		info->ioapic[i].address = ioapic->address;
		info->ioapic[i].first_gsi = ioapic->first_gsi;
	}
	info->ioapics = i;
	for (i = 0; i < 32 && (override = madt_entry(MADT_OVERRIDE, i)); i++)
		info->override[i] = *(const uint64_t *)&override->bus;
	info->overrides = i;
	info->lapic = LAPIC_PHYS;
}

static void info_firmware(struct info *info)
{
	const struct acpi_header *mcfg = acpi_table("MCFG", 0);
	volatile uint32_t *hpet;
	uint64_t hpet_hz = time_hpet(&hpet);
	info->rsdp = boot.rsdp;
	info->ram_mib = memory.ram_mib;
	if (hpet_hz) {
		info->hpet = (uintptr_t)hpet;
		info->hpet_hz = hpet_hz;
		info->hpet_tick = acpi_field("HPET", 52, 4) >> 8;
		info->hpet_counters = (*hpet >> 8 & 31) + 1;
	}
	if (mcfg && mcfg->length >= 44) {
		info->segments = min_u64((mcfg->length - 44) / 16, 32);
		memcpy(info->pcie, (const char *)mcfg + 44, info->segments * 16);
	}
	info->boot_flags = fadt.boot_flags;
	info->mode = boot.mode == BOOT_UEFI ? 'U' : 'B';
	info->tsc_start = boot.tsc_start;
	info->tsc_end = boot_tsc;
	if (boot.framebuffer) {
		info->framebuffer = boot.framebuffer;
		info->width = boot.width;
		info->height = boot.height;
		info->pitch = boot.pitch;
		info->bits = boot.bits;
	}
	for (uint32_t i = 0; i < boot.map_count && i < MAP_ENTRIES; i++)
		memcpy((void *)(MAP_ADDRESS + 32 * i), &boot.map[i], sizeof(boot.map[i]));
}

static void bus_table(void)
{
	uint8_t *at = (uint8_t *)BUS_TABLE, *end = at + 16 * BUS_ENTRIES;
	for (const struct device *dev = registry_device(0); dev && at < end; dev = dev->next) {
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
	uint64_t run, base = 0x5000;
	__asm__("" : "+r"(base)); // short addresses, relative to a register
	struct info *info = (struct info *)base;
	memset(info, 0, 0x2000);
	info_processor(info);
	info_interrupts(info);
	info_firmware(info);
	base = 0x110000;
	__asm__("" : "+r"(base));
	memset((void *)base, 0, 0xA000);
	*(uint64_t *)(base + 0x48) = __builtin_bswap64(classic.net_status(0)) >> 16;
	*(uint32_t *)(base + 0x104) = memory.program_bytes >> 20;
	*(uint16_t *)(base + 0x208) = classic.drive_kind(0, &identity);
	bus_table();
	memset((void *)ALIGN_DOWN(IDENTITY, PAGE), 0, PAGE);
	memset((void *)IDENTITY, ' ', 70);
	if (identity)
		memcpy((void *)IDENTITY, identity, 70);
	// The monitor of the original looks here for a RAM drive: a zero page where there is no memory.
	page_lookup(RAM_DRIVE_FLAG, &run);
	if (!run)
		page_map(RAM_DRIVE_FLAG, (uint64_t)must_alloc(PAGE, PAGE), PAGE, MAP_WRITE);
	*(volatile uint8_t *)RAM_DRIVE_FLAG = 0;
}
