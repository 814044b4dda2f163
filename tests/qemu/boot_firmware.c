// Firmware as we don't have it: starts the loader (LOADER, embedded) in the circumstances that SETTINGS names, among
// them such as no OVMF brings about.  An EFI application, built and run by test_boot_efi.py.
#include <efi.h>
#include <stdbool.h>

#define EDID 1           // the screen says that it is WIDTH x HEIGHT
#define STALE 2          // the memory map's key is stale twice
#define STUCK 4          // and always
#define PIECES 8         // the map in pieces, all of them RAM, in no order
#define HOLES 16         // the map with far more ranges than boot_info holds
#define LEVELS 32        // 5-level paging
#define LOADER_LOW 64    // the loader lies between 1 and 2 MiB
#define KERNEL_TAKEN 128 // a runtime service does
#define NO_MEMORY 256    // nothing can be allocated
#define NO_CONSOLE 512
#define SWAPPED 1024  // the screen has red lowest
#define OLD_ACPI 2048 // only ACPI 1.0's table
#define OPTIONS 4096  // load options: OPTIONS_TEXT
#define BINARY_OPTIONS 8192
#define DAMAGE 16384      // one bit of the loader's file is wrong, at each of the offsets DAMAGED
#define HIGH_ACPI 32768   // ACPI's table lies above 4 GiB
#define LOADER_HIGH 65536 // so does the loader
#define PAIRS 200         // of pages, in the map's pieces and holes

#define GIB4 0x100000000ull

#ifndef DAMAGED
#define DAMAGED 0
#endif
#ifndef OPTIONS_TEXT
#define OPTIONS_TEXT u""
#endif

__asm__(".section .data\n"
		".balign 8\n"
		"loader: .incbin \"" LOADER "\"\n"
		"loader_end:\n"
		".text\n"
		// five_levels(tables): a table of level 5 with the current level 4 as its entry; the page lies below 4 GiB.
		"five_levels:\n"
		"	pushf\n"
		"	cli\n"
		"	push %rbx\n"
		"	push %rbp\n"
		"	mov %cr3, %rax\n"
		"	or $3, %rax\n"
		"	mov %rax, (%rdi)\n"
		"	mov %cs, %ebp\n"
		"	sgdt old_gdt(%rip)\n"
		"	lea gdt(%rip), %rax\n"
		"	mov %rax, 2 + gdt_pointer(%rip)\n"
		"	lgdt gdt_pointer(%rip)\n"
		"	mov %ss, %ebx\n"
		"	mov %rsp, %rsi\n"
		"	push $8\n"
		"	lea 1f(%rip), %rax\n"
		"	push %rax\n"
		"	lea 2f(%rip), %rdx\n"
		"	lretq\n"
		"	.code32\n"
		"1:	mov $0x10, %eax\n"
		"	mov %eax, %ss\n"
		"	mov %eax, %ds\n"
		"	mov %cr0, %eax\n"
		"	btr $31, %eax\n"
		"	mov %eax, %cr0\n"
		"	mov %cr4, %eax\n"
		"	bts $12, %eax\n"
		"	mov %eax, %cr4\n"
		"	mov %edi, %cr3\n"
		"	mov %cr0, %eax\n"
		"	bts $31, %eax\n"
		"	mov %eax, %cr0\n"
		"	push $0x18\n"
		"	push %edx\n"
		"	lret\n"
		"	.code64\n"
		"2:	mov %esi, %esp\n"
		"	lgdt old_gdt(%rip)\n"
		"	mov %ebx, %ss\n"
		"	mov %ebx, %ds\n"
		"	push %rbp\n"
		"	lea 3f(%rip), %rax\n"
		"	push %rax\n"
		"	lretq\n"
		"3:	pop %rbp\n"
		"	pop %rbx\n"
		"	popf\n"
		"	ret\n"
		".data\n"
		".balign 8\n"
		"gdt:	.quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF, 0x00AF9A000000FFFF\n"
		"gdt_pointer: .word 31\n"
		"	.quad 0\n"
		"old_gdt: .quad 0, 0\n"
		".text\n");
extern uint8_t loader[], loader_end[];
void five_levels(void *tables);

static EFI_SYSTEM_TABLE *system_table;
static EFI_BOOT_SERVICES *bs;
static EFI_GET_MEMORY_MAP real_map;
static EFI_EXIT_BOOT_SERVICES real_exit;
static EFI_GRAPHICS_OUTPUT_PROTOCOL_QUERY_MODE real_query;
static unsigned exits;

void *memset(void *to, int byte, unsigned long count)
{
	void *at = to;
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(count) : "a"(byte) : "memory");
	return to;
}

void *memcpy(void *to, const void *from, unsigned long count)
{
	void *at = to;
	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(count) : : "memory");
	return to;
}

// On COM1: the console may be gone.
static void put(const char *text)
{
	for (; *text; text++)
		__asm__ volatile("outb %0, %1" : : "a"(*text), "Nd"((uint16_t)0x3F8));
}

static void line(const char *name, uint64_t value)
{
	put(name);
	put("=");
	for (int shift = 60; shift >= 0; shift -= 4)
		put((char[]){ "0123456789abcdef"[value >> shift & 15], 0 });
	put("\n");
}

static bool has(unsigned setting)
{
	return (SETTINGS)&setting;
}

// ---- The memory map ----

static EFI_MEMORY_DESCRIPTOR *nth(void *map, UINTN bytes, UINTN n)
{
	return (EFI_MEMORY_DESCRIPTOR *)((uint8_t *)map + n * bytes);
}

static bool is_free(const EFI_MEMORY_DESCRIPTOR *descriptor)
{
	return descriptor->Type == EfiConventionalMemory;
}

// The last pages of the longest free range become ranges of their own: types that are all RAM, or every second one not.
static UINTN split(void *map, UINTN count, UINTN each)
{
	static const uint32_t free_types[] = {
		EfiLoaderCode,
		EfiBootServicesCode,
		EfiConventionalMemory,
		EfiBootServicesData,
	};
	EFI_MEMORY_DESCRIPTOR *longest = map;
	for (UINTN i = 0; i < count; i++) {
		EFI_MEMORY_DESCRIPTOR *at = nth(map, each, i);
		if (is_free(at) && (!is_free(longest) || at->NumberOfPages > longest->NumberOfPages))
			longest = at;
	}
	longest->NumberOfPages -= 2 * PAIRS;
	EFI_PHYSICAL_ADDRESS at = longest->PhysicalStart + longest->NumberOfPages * 4096;
	for (UINTN i = 0; i < 2 * PAIRS; i++, at += 4096) {
		EFI_MEMORY_DESCRIPTOR *piece = nth(map, each, count++);
		memset(piece, 0, each);
		piece->Type = has(PIECES) ? free_types[i % 4] : i % 2 ? EfiRuntimeServicesData : EfiBootServicesData;
		piece->PhysicalStart = at;
		piece->NumberOfPages = 1;
		piece->Attribute = EFI_MEMORY_WB;
	}
	return count;
}

static void shuffle(void *map, UINTN count, UINTN each)
{
	uint8_t copy[256];
	uint32_t random = 1;
	for (UINTN i = count - 1; i; i--) {
		random = random * 1664525 + 1013904223;
		EFI_MEMORY_DESCRIPTOR *one = nth(map, each, i), *other = nth(map, each, (random >> 8) % (i + 1));
		memcpy(copy, one, each);
		memcpy(one, other, each);
		memcpy(other, copy, each);
	}
}

static EFI_STATUS EFIAPI hooked_map(UINTN *bytes, EFI_MEMORY_DESCRIPTOR *map, UINTN *key, UINTN *each, UINT32 *version)
{
	UINTN room = *bytes, extra = 2 * PAIRS * 48, used = room > extra ? room - extra : 0;
	EFI_STATUS status = real_map(&used, map, key, each, version);
	*bytes = used + extra;
	if (status != EFI_SUCCESS)
		return status;
	UINTN count = split(map, used / *each, *each);
	shuffle(map, count, *each);
	*bytes = count * *each;
	return EFI_SUCCESS;
}

static uint64_t free_pages(void)
{
	static uint8_t map[64 * 1024];
	UINTN bytes = sizeof(map), key, each;
	UINT32 version;
	uint64_t pages = 0;
	if (bs->GetMemoryMap(&bytes, (void *)map, &key, &each, &version) != EFI_SUCCESS)
		return 0;
	for (UINTN i = 0; i < bytes / each; i++)
		if (is_free(nth(map, each, i)))
			pages += nth(map, each, i)->NumberOfPages;
	return pages;
}

// Takes, or gives back, all free memory but where the loader shall go: from 1 to 2 MiB, or above 4 GiB.
static void take_all(bool take)
{
	static struct {
		EFI_PHYSICAL_ADDRESS base;
		UINTN pages;
	} taken[256];
	static uint8_t map[64 * 1024];
	static UINTN count;
	UINTN bytes = sizeof(map), key, each;
	UINT32 version;
	if (!take) {
		while (count--)
			bs->FreePages(taken[count].base, taken[count].pages);
		return;
	}
	if (bs->GetMemoryMap(&bytes, (void *)map, &key, &each, &version) != EFI_SUCCESS)
		return;
	for (UINTN i = 0; i < bytes / each && count < 255; i++) {
		const EFI_MEMORY_DESCRIPTOR *at = nth(map, each, i);
		EFI_PHYSICAL_ADDRESS base = at->PhysicalStart, end = base + at->NumberOfPages * 4096;
		if (!is_free(at))
			continue;
		if (has(LOADER_LOW) && base <= 0x100000 && end > 0x100000)
			base = 0x200000;
		if (has(LOADER_HIGH) && end > GIB4)
			end = GIB4;
		UINTN pages = base < end ? (end - base) / 4096 : 0;
		if (pages && bs->AllocatePages(AllocateAddress, EfiLoaderData, pages, &base) == EFI_SUCCESS) {
			taken[count].base = base;
			taken[count++].pages = pages;
		}
	}
}

// ---- The other services ----

static EFI_STATUS EFIAPI hooked_exit(EFI_HANDLE image, UINTN key)
{
	void *pool;
	if (exits++ < 2 || has(STUCK))
		bs->AllocatePool(EfiBootServicesData, 100000, &pool);
	return real_exit(image, key);
}

static EFI_STATUS EFIAPI no_pages(EFI_ALLOCATE_TYPE type, EFI_MEMORY_TYPE memory, UINTN pages,
	EFI_PHYSICAL_ADDRESS *base)
{
	(void)type, (void)memory, (void)pages, (void)base;
	return EFI_OUT_OF_RESOURCES;
}

static EFI_STATUS EFIAPI hooked_query(EFI_GRAPHICS_OUTPUT_PROTOCOL *gop, UINT32 number, UINTN *bytes,
	EFI_GRAPHICS_OUTPUT_MODE_INFORMATION **mode)
{
	EFI_STATUS status = real_query(gop, number, bytes, mode);
	if (status == EFI_SUCCESS)
		(*mode)->PixelFormat = PixelRedGreenBlueReserved8BitPerColor;
	return status;
}

static void screens(void)
{
	static EFI_GUID gop_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID, edid_guid = EFI_EDID_ACTIVE_PROTOCOL_GUID;
	static uint8_t data[128] = { 0, 255, 255, 255, 255, 255, 255, 0, [54] = 1, 1 };
	static EFI_EDID_ACTIVE_PROTOCOL edid = { sizeof(data), data };
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;
	EFI_HANDLE *handles;
	UINTN count;
#ifdef WIDTH
	data[56] = (WIDTH)&255, data[58] = (WIDTH) >> 8 << 4;
	data[59] = (HEIGHT)&255, data[61] = (HEIGHT) >> 8 << 4;
#endif
	for (int i = 0; i < 127; i++)
		data[127] -= data[i];
	if (bs->LocateHandleBuffer(ByProtocol, &gop_guid, NULL, &count, &handles) != EFI_SUCCESS)
		return;
	for (UINTN i = 0; i < count; i++) {
		if (has(EDID))
			bs->InstallProtocolInterface(&handles[i], &edid_guid, EFI_NATIVE_INTERFACE, &edid);
		bs->HandleProtocol(handles[i], &gop_guid, (void **)&gop);
		if (has(SWAPPED)) {
			gop->Mode->Info->PixelFormat = PixelRedGreenBlueReserved8BitPerColor;
			real_query = gop->QueryMode;
			gop->QueryMode = hooked_query;
		}
	}
}

static void acpi(void)
{
	static const EFI_GUID guid = ACPI_20_TABLE_GUID;
	EFI_PHYSICAL_ADDRESS page = GIB4 + GIB4 / 4;
	for (UINTN i = 0; i < system_table->NumberOfTableEntries; i++) {
		EFI_CONFIGURATION_TABLE *table = &system_table->ConfigurationTable[i];
		if (table->VendorGuid.Data1 != guid.Data1)
			continue;
		if (has(OLD_ACPI))
			table->VendorGuid.Data1++;
		if (has(HIGH_ACPI) && bs->AllocatePages(AllocateAddress, EfiACPIReclaimMemory, 1, &page) == EFI_SUCCESS)
			table->VendorTable = memcpy((void *)page, table->VendorTable, 36);
	}
}

// ---- The loader ----

static void start(EFI_HANDLE self)
{
	static EFI_GUID loaded_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
	static const CHAR16 text[] = OPTIONS_TEXT;
	static const uint8_t binary[] = { 0x4E, 0xAC, 0x08, 0x81, 0x11, 0x9F, 0x59, 0x4D };
	EFI_LOADED_IMAGE *loaded;
	EFI_HANDLE image;
	if (has(LOADER_LOW | LOADER_HIGH))
		take_all(true);
	EFI_STATUS status = bs->LoadImage(FALSE, self, NULL, loader, loader_end - loader, &image);
	if (has(LOADER_LOW | LOADER_HIGH))
		take_all(false);
	if (status != EFI_SUCCESS) {
		line("load", status);
		return;
	}
	bs->HandleProtocol(image, &loaded_guid, (void **)&loaded);
	line("loader", (uint64_t)loaded->ImageBase);
	if (has(OPTIONS)) {
		loaded->LoadOptions = (void *)text;
		loaded->LoadOptionsSize = sizeof(text);
	}
	if (has(BINARY_OPTIONS)) {
		loaded->LoadOptions = (void *)binary;
		loaded->LoadOptionsSize = sizeof(binary);
	}
	line("status", bs->StartImage(image, NULL, NULL));
}

static void damage(EFI_HANDLE self)
{
	static const UINTN offsets[] = { DAMAGED };
	for (unsigned i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
		loader[offsets[i]] ^= 1 << i % 8;
		start(self);
		loader[offsets[i]] ^= 1 << i % 8;
	}
}

static void prepare(void)
{
	EFI_PHYSICAL_ADDRESS base = 0x180000;
	if (has(EDID | SWAPPED))
		screens();
	if (has(OLD_ACPI | HIGH_ACPI))
		acpi();
	if (has(NO_CONSOLE))
		system_table->ConOut = NULL;
	if (has(KERNEL_TAKEN))
		line("taken", bs->AllocatePages(AllocateAddress, EfiRuntimeServicesData, 1, &base));
	if (has(LEVELS)) {
		base = 0xFFFFFFFF;
		bs->AllocatePages(AllocateMaxAddress, EfiBootServicesData, 1, &base);
		memset((void *)base, 0, 4096);
		five_levels((void *)base);
		put("5 levels\n");
	}
	if (has(STALE | STUCK)) {
		real_exit = bs->ExitBootServices;
		bs->ExitBootServices = hooked_exit;
	}
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
	system_table = system;
	bs = system->BootServices;
	prepare();
	if (has(PIECES | HOLES)) {
		real_map = bs->GetMemoryMap;
		bs->GetMemoryMap = hooked_map;
	}
	EFI_ALLOCATE_PAGES real_pages = bs->AllocatePages;
	line("free", free_pages());
	if (has(DAMAGE))
		damage(self);
	else if (!has(NO_MEMORY | KERNEL_TAKEN))
		start(self);
	else
		for (int i = 0; i < 20; i++) { // what leaks shows
			if (has(NO_MEMORY))
				bs->AllocatePages = no_pages;
			start(self);
			bs->AllocatePages = real_pages;
		}
	line("free", free_pages());
	put("back\n");
	for (;;)
		__asm__ volatile("outw %0, %1" : : "a"((uint16_t)0x2000), "Nd"((uint16_t)0x604));
}
