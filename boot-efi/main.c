// The UEFI loader: one application that holds kernel and program (embed.S).  It gathers what only the firmware knows
// into one struct boot_info, leaves the firmware, and enters the kernel (handover.S).  "u." = section of the UEFI
// Specification 2.10.
//
// Nothing is changed that can't be undone until the firmware is left: a machine that can't be used is told so in a
// sentence, everything is freed, and the firmware goes on with its next boot option.
#include <efi.h>
#include <boot_info.h>
#include <stdbool.h>
#include <stddef.h>

#define KIB4 0x1000ull
#define MIB2 0x200000ull
#define GIB4 0x100000000ull
#define TABLES 24    // level 5, level 4, 5 for the first 4 GiB; the rest for what lies above: 4 ranges at most
#define MAP_SLACK 64 // descriptors that the memory map may grow by until the firmware is left
#define EXIT_TRIES 8
#define COM1 0x3F8

// What embed.py has written.
struct embedded {
	uint32_t checksum; // over all that follows
	uint32_t kernel_bytes, program_bytes, program_kind;
	uint8_t data[]; // kernel, program; each filled up to 4 bytes
};
extern const struct embedded embedded;
extern const uint8_t embedded_end[];

// Everything that outlives the firmware, in one piece between 2 MiB and 4 GiB.
struct block {
	uint8_t code[KIB4]; // copy of handover_code
	uint8_t stack[2 * KIB4];
	struct boot_info info __attribute__((aligned(KIB4)));
	uint64_t tables[TABLES][512] __attribute__((aligned(KIB4)));
	uint8_t kernel[]; // kernel.bin; then the program, see program_offset
};

struct loader {
	EFI_HANDLE image;
	EFI_SYSTEM_TABLE *system;
	EFI_BOOT_SERVICES *bs;
	EFI_LOADED_IMAGE *loaded;
	uint8_t *map; // the firmware's: descriptors of descriptor_bytes each
	UINTN map_room, map_bytes, map_key, descriptor_bytes;
	struct block *block;
	UINTN block_pages;
	uint32_t tables_used;
};

// handover.S
extern const uint64_t tsc_start;
extern const uint8_t handover_code[], handover_end[];
_Noreturn void handover(struct boot_info *info, const void *kernel, uint64_t bytes, const void *tables,
	const void *code);

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

// ---- What the compiler may call ---------------------------------------------------------------------------------

void *memcpy(void *to, const void *from, size_t bytes)
{
	void *at = to;
	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(bytes) : : "memory");
	return to;
}

void *memset(void *to, int byte, size_t bytes)
{
	void *at = to;
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(byte) : "memory");
	return to;
}

// ---- Saying why not ---------------------------------------------------------------------------------------------

static void port_write(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t port_read(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

// A byte on COM1, 115200 8N1.  Bounded: without a port every read gives 0xFF.
static void serial_put(char byte)
{
	for (uint32_t i = 0; i < 100000 && !(port_read(COM1 + 5) & 0x20); i++) // 16550: transmitter takes a byte
		;
	port_write(COM1, byte);
}

static void serial_say(const char *text)
{
	port_write(COM1 + 3, 0x83); // divisor latch
	port_write(COM1, 1);
	port_write(COM1 + 1, 0);
	port_write(COM1 + 3, 3);
	for (; *text; text++)
		serial_put(*text);
}

static void screen_say(const struct loader *loader, const char *text)
{
	SIMPLE_TEXT_OUTPUT_INTERFACE *out = loader->system->ConOut; // NULL: no console at all
	for (; out && *text; text++)
		out->OutputString(out, (CHAR16[]){ *text, 0 });
}

static EFI_STATUS refuse(const struct loader *loader, EFI_STATUS status, const char *why)
{
	const char *const parts[] = { "\r\nIngot: ", why, ".\r\n" };
	for (uint32_t i = 0; i < 3; i++)
		screen_say(loader, parts[i]);
	for (uint32_t i = 0; i < 3; i++)
		serial_say(parts[i]);
	return status;
}

// ---- What we bring along ----------------------------------------------------------------------------------------

static uint32_t aligned4(uint32_t bytes)
{
	return (bytes + 3) & ~3u;
}

static uint32_t checksum(const uint8_t *data, const uint8_t *end)
{
	uint32_t sum = 0x746F676E;
	for (; data < end; data += 4) {
		sum ^= *(const uint32_t *)data;
		sum = (sum << 5 | sum >> 27) * 0x9E3779B1;
	}
	return sum;
}

// A damaged file may still start: firmware verifies nothing unless Secure Boot is on.
static EFI_STATUS check_embedded(const struct loader *loader)
{
	uint64_t bytes = aligned4(embedded.kernel_bytes) + (uint64_t)aligned4(embedded.program_bytes);
	if (checksum((const uint8_t *)&embedded.kernel_bytes, embedded_end) != embedded.checksum ||
		embedded.data + bytes != embedded_end || embedded.kernel_bytes > KERNEL_LIMIT - KERNEL_PHYS)
		return refuse(loader, EFI_LOAD_ERROR, "the boot image is damaged");
	return EFI_SUCCESS;
}

// ---- The firmware's memory map ----------------------------------------------------------------------------------

// Room first, then the map: allocating changes it (u.7.2.3).
static EFI_STATUS map_allocate(struct loader *loader)
{
	UINT32 version;
	UINTN bytes = 0;
	loader->bs->GetMemoryMap(&bytes, NULL, &loader->map_key, &loader->descriptor_bytes, &version);
	loader->map_room = bytes + MAP_SLACK * loader->descriptor_bytes;
	return loader->bs->AllocatePool(EfiLoaderData, loader->map_room, (void **)&loader->map);
}

static EFI_STATUS map_read(struct loader *loader)
{
	UINT32 version;
	loader->map_bytes = loader->map_room;
	return loader->bs->GetMemoryMap(&loader->map_bytes, (EFI_MEMORY_DESCRIPTOR *)loader->map, &loader->map_key,
		&loader->descriptor_bytes, &version);
}

// The descriptors are larger than this compiler's idea of them (u.7.2.3).
static const EFI_MEMORY_DESCRIPTOR *map_next(const struct loader *loader, const EFI_MEMORY_DESCRIPTOR *last)
{
	const uint8_t *at = last ? (const uint8_t *)last + loader->descriptor_bytes : loader->map;
	return at + loader->descriptor_bytes <= loader->map + loader->map_bytes ? (const EFI_MEMORY_DESCRIPTOR *)at : NULL;
}

static uint32_t type_of(const EFI_MEMORY_DESCRIPTOR *descriptor)
{
	switch (descriptor->Type) { // as in ACPI 6.4, table 15.6
	case EfiLoaderCode:
	case EfiLoaderData:
	case EfiBootServicesCode:
	case EfiBootServicesData:
	case EfiConventionalMemory:
		return descriptor->Attribute & EFI_MEMORY_WB ? BOOT_RAM : BOOT_RESERVED;
	case EfiUnusableMemory:
		return BOOT_BAD;
	case EfiACPIReclaimMemory:
		return BOOT_ACPI;
	case EfiACPIMemoryNVS:
		return BOOT_NVS;
	default: // runtime services, devices, persistent memory, what is not known yet
		return BOOT_RESERVED;
	}
}

static void range_remove(struct boot_info *info, struct boot_range *at)
{
	for (struct boot_range *end = info->map + --info->map_count; at < end; at++)
		*at = at[1];
}

// The smallest range gives way if it is smaller than `bytes`.  What isn't listed isn't used: that costs a little
// memory, and only on a machine with more than BOOT_MAP_MAX ranges after neighbours have become one.
static bool range_drop(struct boot_info *info, uint64_t bytes)
{
	struct boot_range *smallest = info->map;
	for (struct boot_range *at = info->map; at < info->map + info->map_count; at++)
		if (at->bytes < smallest->bytes)
			smallest = at;
	if (smallest->bytes >= bytes)
		return false;
	range_remove(info, smallest);
	return true;
}

static bool range_joins(const struct boot_range *left, const struct boot_range *right)
{
	return left->type == right->type && left->base + left->bytes == right->base;
}

// The map stays sorted, whatever order the firmware's has, and neighbours of one type become one range.
static void range_add(struct boot_info *info, struct boot_range new)
{
	struct boot_range *end = info->map + info->map_count, *at = end;
	while (at > info->map && at[-1].base > new.base)
		at--;
	if (at < end && range_joins(&new, at)) {
		new.bytes += at->bytes;
		range_remove(info, at);
		end--;
	}
	if (at > info->map && range_joins(at - 1, &new)) {
		at[-1].bytes += new.bytes;
	} else if (info->map_count < BOOT_MAP_MAX) {
		for (; end > at; end--)
			*end = end[-1];
		*at = new;
		info->map_count++;
	} else if (range_drop(info, new.bytes)) {
		range_add(info, new);
	}
}

static void map_translate(const struct loader *loader, struct boot_info *info)
{
	info->map_count = 0;
	for (const EFI_MEMORY_DESCRIPTOR *at = NULL; (at = map_next(loader, at));)
		if (at->NumberOfPages)
			range_add(info, (struct boot_range){ at->PhysicalStart, at->NumberOfPages * KIB4, type_of(at), 1 });
}

// ---- The block ----------------------------------------------------------------------------------------------------

// From the start of the block: the program lies on a page of its own, behind the kernel.
static uint64_t program_offset(void)
{
	return sizeof(struct block) + (embedded.kernel_bytes + KIB4 - 1) / KIB4 * KIB4;
}

// The end of the first free range that is long enough.  AllocateMaxAddress could give what lies below 2 MiB.
static EFI_STATUS block_allocate(struct loader *loader)
{
	uint64_t bytes = program_offset() + embedded.program_bytes;
	loader->block_pages = (bytes + KIB4 - 1) / KIB4;
	bytes = loader->block_pages * KIB4;
	for (const EFI_MEMORY_DESCRIPTOR *at = NULL; (at = map_next(loader, at));) {
		if (at->Type != EfiConventionalMemory || type_of(at) != BOOT_RAM)
			continue;
		EFI_PHYSICAL_ADDRESS base = at->PhysicalStart, end = base + at->NumberOfPages * KIB4;
		base = base < KERNEL_LIMIT ? KERNEL_LIMIT : base;
		end = end > GIB4 ? GIB4 : end;
		if (end < base || end - base < bytes)
			continue;
		base = end - bytes;
		if (loader->bs->AllocatePages(AllocateAddress, EfiLoaderData, loader->block_pages, &base) != EFI_SUCCESS)
			continue;
		loader->block = (struct block *)base;
		memset(loader->block, 0, sizeof(*loader->block));
		return EFI_SUCCESS;
	}
	return EFI_OUT_OF_RESOURCES;
}

// ---- Page tables: the kernel's first ones, and ours from the moment we leave the firmware ---------------------------

// Identity, in pages of 2 MiB that may be read, written and executed.
static bool map_identity(struct loader *loader, uint64_t base, uint64_t bytes)
{
	struct block *block = loader->block;
	uint64_t end = base + bytes;
	if (!bytes || end < base || end > 1ull << 47) // the lower half of 4-level paging
		return false;
	for (base &= ~(MIB2 - 1); base < end; base += MIB2) {
		uint64_t *table = block->tables[1];
		for (uint32_t shift = 39; shift > 21; shift -= 9) {
			uint64_t *entry = &table[base >> shift & 511];
			if (!*entry && loader->tables_used == TABLES)
				return false;
			if (!*entry)
				*entry = (uint64_t)block->tables[loader->tables_used++] | 3; // present, writable
			table = (uint64_t *)(*entry & ~(KIB4 - 1));
		}
		table[base >> 21 & 511] = base | 0x83; // present, writable, large
	}
	return true;
}

static EFI_STATUS tables_build(struct loader *loader)
{
	loader->tables_used = 2;
	loader->block->tables[0][0] = (uint64_t)loader->block->tables[1] | 3;
	if (map_identity(loader, 0, GIB4) &&
		map_identity(loader, (uint64_t)loader->loaded->ImageBase, loader->loaded->ImageSize))
		return EFI_SUCCESS;
	return refuse(loader, EFI_LOAD_ERROR, "the firmware put this file where it can't be mapped");
}

// ---- The screen ---------------------------------------------------------------------------------------------------

static bool edid_size(const EFI_EDID_ACTIVE_PROTOCOL *edid, uint32_t *width, uint32_t *height)
{
	const uint8_t *data = edid->Edid;
	uint8_t sum = 0;
	if (edid->SizeOfEdid < 128 || !data)
		return false;
	for (uint32_t i = 0; i < 128; i++)
		sum += data[i];
	data += 54; // EDID 1.4, 3.10.2: the first detailed timing is the native one
	if (sum || !(data[0] | data[1]))
		return false;
	*width = data[2] | (data[4] & 0xF0) << 4;
	*height = data[5] | (data[7] & 0xF0) << 4;
	return true;
}

// Blue in the lowest byte, red in the third (u.12.9).
static bool mode_bgrx(const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode)
{
	const EFI_PIXEL_BITMASK *mask = &mode->PixelInformation;
	return mode->PixelFormat == PixelBlueGreenRedReserved8BitPerColor ||
		(mode->PixelFormat == PixelBitMask && mask->BlueMask == 0xFF && mask->GreenMask == 0xFF00 &&
			mask->RedMask == 0xFF0000);
}

static bool mode_set(const struct loader *loader, EFI_GRAPHICS_OUTPUT_PROTOCOL *gop, uint32_t width, uint32_t height)
{
	for (uint32_t number = 0; number < gop->Mode->MaxMode; number++) {
		EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode;
		UINTN bytes;
		if (gop->QueryMode(gop, number, &bytes, &mode) != EFI_SUCCESS)
			continue;
		bool right = mode->HorizontalResolution == width && mode->VerticalResolution == height && mode_bgrx(mode);
		loader->bs->FreePool(mode);
		if (right && (number == gop->Mode->Mode || gop->SetMode(gop, number) == EFI_SUCCESS))
			return true;
	}
	return false;
}

// The screen that knows its size, else one with a frame buffer, else any.
static EFI_GRAPHICS_OUTPUT_PROTOCOL *screen_find(const struct loader *loader, uint32_t *width, uint32_t *height)
{
	static const EFI_GUID gop_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	static const EFI_GUID edid_guids[] = { EFI_EDID_ACTIVE_PROTOCOL_GUID, EFI_EDID_DISCOVERED_PROTOCOL_GUID };
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop, *best = NULL;
	EFI_EDID_ACTIVE_PROTOCOL *edid;
	EFI_HANDLE *handles;
	UINTN count;
	bool sized = false;
	if (loader->bs->LocateHandleBuffer(ByProtocol, (EFI_GUID *)&gop_guid, NULL, &count, &handles) != EFI_SUCCESS)
		return NULL;
	for (UINTN i = 0; i < count && !sized; i++) {
		if (loader->bs->HandleProtocol(handles[i], (EFI_GUID *)&gop_guid, (void **)&gop) != EFI_SUCCESS)
			continue;
		for (uint32_t source = 0; source < 2 && !sized; source++)
			sized = loader->bs->HandleProtocol(handles[i], (EFI_GUID *)&edid_guids[source], (void **)&edid) ==
					EFI_SUCCESS &&
				edid_size(edid, width, height);
		if (!best || sized || best->Mode->Info->PixelFormat == PixelBltOnly)
			best = gop;
	}
	loader->bs->FreePool(handles);
	return best;
}

static void screen_start(struct loader *loader)
{
	struct boot_info *info = &loader->block->info;
	uint32_t width = 0, height = 0;
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop = screen_find(loader, &width, &height);
	if (!gop)
		return;
	if (!mode_set(loader, gop, width, height))
		mode_set(loader, gop, 1024, 768);
	const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode = gop->Mode->Info;
	uint64_t bytes = 4ull * mode->PixelsPerScanLine * mode->VerticalResolution;
	if (!mode_bgrx(mode) || !gop->Mode->FrameBufferBase || mode->PixelsPerScanLine < mode->HorizontalResolution ||
		!map_identity(loader, gop->Mode->FrameBufferBase, bytes))
		return;
	info->framebuffer = gop->Mode->FrameBufferBase;
	info->width = mode->HorizontalResolution;
	info->height = mode->VerticalResolution;
	info->pitch = mode->PixelsPerScanLine;
	info->bits = 32;
}

// ---- ACPI, arguments ------------------------------------------------------------------------------------------------

static bool guid_equal(const EFI_GUID *left, const EFI_GUID *right)
{
	const uint64_t *a = (const uint64_t *)left, *b = (const uint64_t *)right;
	return a[0] == b[0] && a[1] == b[1];
}

static uint64_t table_find(const struct loader *loader, const EFI_GUID *guid)
{
	const EFI_CONFIGURATION_TABLE *table = loader->system->ConfigurationTable;
	for (UINTN i = 0; i < loader->system->NumberOfTableEntries; i++)
		if (guid_equal(&table[i].VendorGuid, guid))
			return (uint64_t)table[i].VendorTable;
	return 0;
}

static void acpi_find(struct loader *loader)
{
	static const EFI_GUID guids[] = { ACPI_20_TABLE_GUID, ACPI_TABLE_GUID };
	uint64_t rsdp = 0;
	for (uint32_t i = 0; i < 2 && !rsdp; i++)
		rsdp = table_find(loader, &guids[i]);
	if (rsdp && map_identity(loader, rsdp, 36)) // ACPI 6.4, 5.2.5.3
		loader->block->info.rsdp = rsdp;
}

// The load options if they are text: a boot entry may have anything there, firmware's own entries have a GUID.  The
// shell puts its command line there, whose first word is our name (UEFI Shell Specification 2.2, 2.4).
static void arguments_copy(struct loader *loader)
{
	static const EFI_GUID shell = { 0x752F3136, 0x4E16, 0x4FDC, { 0xA2, 0x2A, 0xE5, 0xF4, 0x68, 0x12, 0xF4, 0xCA } };
	char *to = loader->block->info.arguments;
	const CHAR16 *from = loader->loaded->LoadOptions;
	uint32_t count = from ? loader->loaded->LoadOptionsSize / sizeof(*from) : 0, at = 0;
	void *parameters;
	for (uint32_t i = 0; i < count && from[i]; i++)
		if (from[i] < ' ' || from[i] > '~')
			return;
	if (loader->bs->HandleProtocol(loader->image, (EFI_GUID *)&shell, &parameters) == EFI_SUCCESS) {
		while (at < count && from[at] && from[at] != ' ')
			at++;
		while (at < count && from[at] == ' ')
			at++;
	}
	for (uint32_t i = 0; i < sizeof(loader->block->info.arguments) - 1 && at < count && from[at]; i++)
		to[i] = from[at++];
}

// ---- Leaving --------------------------------------------------------------------------------------------------------

static void block_fill(struct loader *loader)
{
	struct block *block = loader->block;
	struct boot_info *info = &block->info;
	uint8_t *program = (uint8_t *)block + program_offset();
	// cppcheck-suppress subtractPointers ; they are the linker's
	memcpy(block->code, handover_code, handover_end - handover_code);
	memcpy(block->kernel, embedded.data, embedded.kernel_bytes);
	memcpy(program, embedded.data + aligned4(embedded.kernel_bytes), embedded.program_bytes);
	info->magic = BOOT_INFO_MAGIC;
	info->version = BOOT_INFO_VERSION;
	info->tsc_start = tsc_start;
	info->mode = BOOT_UEFI;
	info->program_kind = embedded.program_kind;
	info->program_bytes = embedded.program_bytes;
	info->program = embedded.program_bytes ? (uint64_t)program : 0;
}

// All of 1 to 2 MiB must be RAM once the firmware is gone.
static EFI_STATUS check_low_memory(struct loader *loader)
{
	struct boot_info *info = &loader->block->info;
	map_translate(loader, info);
	for (const struct boot_range *at = info->map; at < info->map + info->map_count; at++)
		if (at->type == BOOT_RAM && at->base <= KERNEL_PHYS && at->base + at->bytes >= KERNEL_LIMIT)
			return EFI_SUCCESS;
	return refuse(loader, EFI_UNSUPPORTED, "the firmware uses memory between 1 and 2 MiB, where the kernel goes");
}

// Intel SDM vol. 2, CPUID.  The kernel's page tables have no-execute pages; firmware can hide that the CPU has them.
static bool has_no_execute(void)
{
	uint32_t eax = 0x80000001, ebx, ecx = 0, edx;
	__asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return edx >> 20 & 1;
}

static EFI_STATUS prepare(struct loader *loader)
{
	EFI_STATUS status = check_embedded(loader);
	if (status != EFI_SUCCESS)
		return status;
	if (!has_no_execute())
		return refuse(loader, EFI_UNSUPPORTED, "execute disable (NX, XD) is missing, or off in the firmware's setup");
	if (map_allocate(loader) != EFI_SUCCESS || map_read(loader) != EFI_SUCCESS || block_allocate(loader) != EFI_SUCCESS)
		return refuse(loader, EFI_OUT_OF_RESOURCES, "too little memory");
	if ((status = check_low_memory(loader)) != EFI_SUCCESS || (status = tables_build(loader)) != EFI_SUCCESS)
		return status;
	block_fill(loader);
	acpi_find(loader);
	arguments_copy(loader);
	screen_start(loader);
	return EFI_SUCCESS;
}

// The key is stale if anything, an event's handler for one, has allocated since the map was read; after the first
// attempt only the map may be asked for (u.7.4.6), so this fails without a word on the screen.
static EFI_STATUS leave(struct loader *loader)
{
	EFI_STATUS status = EFI_LOAD_ERROR;
	for (uint32_t i = 0; i < EXIT_TRIES && map_read(loader) == EFI_SUCCESS; i++)
		if ((status = loader->bs->ExitBootServices(loader->image, loader->map_key)) == EFI_SUCCESS)
			return status;
	serial_say("\r\nIngot: the firmware doesn't let go.\r\n");
	return status;
}

static void release(const struct loader *loader)
{
	if (loader->block)
		loader->bs->FreePages((EFI_PHYSICAL_ADDRESS)loader->block, loader->block_pages);
	if (loader->map)
		loader->bs->FreePool(loader->map);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
	static const EFI_GUID loaded_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
	struct loader loader = { .image = image, .system = system, .bs = system->BootServices };
	EFI_STATUS status = loader.bs->HandleProtocol(image, (EFI_GUID *)&loaded_guid, (void **)&loader.loaded);
	if (status == EFI_SUCCESS)
		status = prepare(&loader);
	if (status == EFI_SUCCESS)
		status = leave(&loader);
	if (status != EFI_SUCCESS) {
		release(&loader);
		return status;
	}
	struct block *block = loader.block;
	map_translate(&loader, &block->info);
	handover(&block->info, block->kernel, embedded.kernel_bytes, block->tables, block->code);
}
