// PVH: hvm_start_info (Xen's "x86/HVM direct boot ABI", version 1) becomes a boot_info.  The structures lie in memory
// that the kernel uses later, so all of it is copied, before anything else is written.
#include <pvh.h>
#include <util.h>

struct start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules, command_line, rsdp;
	uint64_t map; // version 1 on
	uint32_t map_count, reserved;
};

struct module {
	uint64_t base, bytes, command_line, reserved;
};

struct map_entry {
	uint64_t base, bytes;
	uint32_t type, reserved;
};

// The word "payload" on the command line makes the module one; all of the line goes to the program.
void pvh_convert(const void *start_info, struct boot_info *boot)
{
	const struct start_info *info = start_info;
	const struct module *module = (const struct module *)info->modules;
	const struct map_entry *entry = (const struct map_entry *)info->map;
	const char *text = (const char *)info->command_line;
	boot->mode = BOOT_PVH;
	boot->rsdp = info->rsdp;
	for (uint32_t i = 0; text && text[i] && i < sizeof(boot->arguments) - 1; i++)
		boot->arguments[i] = text[i];
	if (info->module_count) {
		boot->program = module->base;
		boot->program_bytes = module->bytes;
		boot->program_kind = memcmp(boot->arguments, "payload", 7) ? BOOT_PROGRAM : BOOT_PAYLOAD;
	}
	for (uint32_t i = 0; info->version && i < info->map_count && i < BOOT_MAP_MAX; i++, entry++)
		boot->map[boot->map_count++] = (struct boot_range){ entry->base, entry->bytes, entry->type, 1 };
}
