// The second stage: checks the machine, asks the BIOS what only it knows, loads kernel and program, enters the kernel
// as include/boot_info.h says.  In the order in which it runs, in real mode but for copy_high and the last steps;
// segments are 0 wherever nothing else is said.  disk_read, checksum and refuse are the boot sector's.
//
// scripts/image.py writes the header and, in boot_info, the program's size and kind and the arguments.
// Specifications: Intel SDM volume 3 (SDM), ACPI 6.4 (ACPI), VESA BIOS Extension 3.0 (VBE), VBE/DDC 1.1 (DDC),
// EDID 1.4 (EDID).

#define KERNEL 0x100000		// KERNEL_PHYS
#define MAP_MAX 128		// BOOT_MAP_MAX
#define BOUNCE 0x10000		// what INT 13h reads goes here first: 32 KiB that cross no 64 KiB boundary
#define KERNEL_STACK 0x20000	// down to the end of the bounce buffer
#define PAGE_TABLES 0x20000	// 6 pages
#define MAX_READ 64		// sectors in one INT 13h call; older BIOSes take 127
#define SECTOR_SHIFT 9
#define PAGE_SHIFT 12
#define MIB_PAGES 0x100
#define MODES_MAX 512
#define A20_WAIT 0x8000
#define CODE64 8
#define FLAT 16

#define VBE_VERSION vbe_info + 5	// VBE 4.3
#define VBE_MODES vbe_info + 14
#define MODE_ATTRIBUTES mode_info	// VBE 4.4
#define MODE_PITCH mode_info + 0x10
#define MODE_SIZE mode_info + 0x12
#define MODE_BITS mode_info + 0x19
#define MODE_MASKS mode_info + 0x1F
#define MODE_PHYS mode_info + 0x28
#define MODE_LINEAR_PITCH mode_info + 0x32
#define EDID_TIMING edid + 54	// pixel clock, then width and height in pieces (EDID 3.10.2)

	.section .stage2, "ax"
	.code16
	.global stage2_start, last_sector, boot_info, map
stage2_start:
	jmp check_cpu
	.balign 4
header:			// in scripts/image.py too
	.ascii "IngotSt2"
text_mode:	.long 0		// 1: no graphics
last_sector:	.long 0		// of the image
kernel:		.long 0, 0, 0	// a module: first sector, sectors, checksum
program:	.long 0, 0, 0	// 0 sectors: none
#define SECTORS 4
#define CHECKSUM 8

check_cpu:
	movl $0x80000000, %eax
	cpuid
	cmpl $0x80000001, %eax
	jb no_long_mode
	movl $0x80000001, %eax
	cpuid
	btl $29, %edx		// SDM volume 2, CPUID: Intel 64
	jnc no_long_mode
	btl $20, %edx		// execute disable, which setup programs can hide
	movw $no_xd, %si
	jnc refuse
	popl tsc_start		// from the boot sector
	popl tsc_start + 4

// ---- A20: address line 20, held low by default for programs of 1981 ------------------------------------------------

	call a20_is_on
	jne a20_done
	movw $0x2401, %ax
	int $0x15
	call a20_is_on
	jne a20_done
	inb $0x92, %al		// system control port A
	orb $2, %al
	andb $~1, %al		// 1 would be a reset
	outb %al, $0x92
	call a20_is_on
	jne a20_done
	call keyboard_ready
	movb $0xD1, %al		// 8042: write the output port
	outb %al, $0x64
	call keyboard_ready
	movb $0xDF, %al
	outb %al, $0x60
	call keyboard_ready
	movw $no_a20, %si
	call a20_is_on
	je refuse
	jmp a20_done

keyboard_ready:
	movw $A20_WAIT, %cx
1:	inb $0x64, %al
	testb $2, %al		// 8042: input buffer full
	loopnz 1b
	ret

// Zero flag clear if the last word of the boot sector is not also found 1 MiB higher.  Waits for slow ones.
a20_is_on:
	movw $0xFFFF, %ax
	movw %ax, %fs
	movw $A20_WAIT, %cx
1:	incw boot_start + 510
	outb %al, $0x80		// about a microsecond
	movw boot_start + 510, %ax
	cmpw %ax, %fs:boot_start + 510 + 16
	loope 1b
	ret
a20_done:

// ---- Memory map: INT 15h, AX=E820h (ACPI 15.1) ----------------------------------------------------------------------

	movw $map, %di
	xorl %ebx, %ebx
	movw $2 * MAP_MAX, %bp	// calls; a BIOS that never comes to an end is not waited for
next_range:
	movl $1, 20(%di)	// the attributes, should the BIOS not know them
	movl $24, %ecx
	movl $0x534D4150, %edx	// "SMAP"
	movl $0xE820, %eax
	int $0x15
	jc 2f			// some set it behind the last one
	cmpl $0x534D4150, %eax
	jne 2f
	testb $1, 20(%di)	// ACPI 15.1, table 15.375: ignore if clear
	jz 1f
	movl 8(%di), %eax
	orl 12(%di), %eax
	jz 1f
	addw $24, %di
	incw map_count
	cmpw $map + 24 * MAP_MAX, %di
	je 2f
1:	testl %ebx, %ebx
	jz 2f
	decw %bp
	jnz next_range
2:	movw $no_map, %si
	cmpw $0, map_count
	je refuse

// ---- Where the program goes: the top of the RAM that begins at 1 MiB or below --------------------------------------
// All in pages.  %ebp = end of that RAM, 0 if there is none.

	xorl %ebp, %ebp
	movw $find_ram, %bx
	call for_each_range
	movw $cut_reserved, %bx
	call for_each_range
	movl program + SECTORS, %eax
	addl $7, %eax
	shrl $PAGE_SHIFT - SECTOR_SHIFT, %eax
	subl %eax, %ebp
	jb too_small
	cmpl $2 * MIB_PAGES, %ebp	// the kernel has everything from 1 to 2 MiB
	jae load_modules

// Says how much would do: 2 MiB for the kernel, the program, and 1 MiB for what firmware takes and programs need.
too_small:
	addl $4 * MIB_PAGES - 1, %eax
	shrl $8, %eax		// MiB
	movl $10, %ebx
	xorw %cx, %cx
1:	xorl %edx, %edx
	divl %ebx
	pushw %dx
	incw %cx
	testl %eax, %eax
	jnz 1b
	movw $needs_number, %di
2:	popw %ax
	addb $'0', %al
	stosb
	loop 2b
	movw $mib, %si
	movw $5, %cx
	rep movsb
	movw $needs, %si
	jmp refuse

// Calls %bx for every range with %ecx = its first page, %edx = the page behind its last one, ZF set if it is RAM.
for_each_range:
	movw $map, %si
	movw map_count, %di
next:	movl (%si), %eax
	movl 4(%si), %edx
	call page_of
	movl %eax, %ecx
	movl (%si), %eax
	movl 4(%si), %edx
	addl 8(%si), %eax
	adcl 12(%si), %edx
	call page_of
	movl %eax, %edx
	cmpl $1, 16(%si)
	call *%bx
	addw $24, %si
	decw %di
	jnz next
skip:	ret

page_of:			// of address %edx:%eax, all ones from 16 TiB on
	shrdl $PAGE_SHIFT, %edx, %eax
	shrl $PAGE_SHIFT, %edx
	negl %edx
	sbbl %edx, %edx
	orl %edx, %eax
	ret

find_ram:
	jne skip
	cmpl $MIB_PAGES, %ecx
	ja skip
	cmpl $MIB_PAGES, %edx
	jbe skip
	movl $0x100000, %ebp	// 4 GiB
	cmpl %ebp, %edx
	ja skip
	movl %edx, %ebp
	ret

cut_reserved:			// ranges may overlap: what is not RAM wins
	je skip
	cmpl $MIB_PAGES, %edx
	jbe skip
	cmpl %ebp, %ecx
	ja skip
	movl %ecx, %ebp
	ret

// ---- Kernel and program --------------------------------------------------------------------------------------------

load_modules:
	movl $BOUNCE << 12, disk_buffer	// segment and offset
	movl last_sector, %eax
	movl %eax, disk_lba
	movw $1, %cx
	call disk_read		// whoever has cut the image short is told so, wherever the cut is
	movl $KERNEL, %edi
	movw $kernel, %si
	call load
	movw $program, %si
	cmpl $0, SECTORS(%si)
	je set_mode
	shll $PAGE_SHIFT, %ebp
	movl %ebp, program_phys
	movl %ebp, %edi
	call load
	jmp set_mode

// Loads the module %si to %edi.
load:
	movl (%si), %eax
	movl %eax, disk_lba
	movl SECTORS(%si), %edx
	movl $CHECKSUM_SEED, %ebx
1:	movl $MAX_READ, %ecx
	cmpl %ecx, %edx
	jae 2f
	movl %edx, %ecx
2:	subl %ecx, %edx
	call disk_read
	addl %ecx, disk_lba
	call copy_high
	testl %edx, %edx
	jnz 1b
	cmpl %ebx, CHECKSUM(%si)
	jne damaged
	ret

// Takes %ecx sectors of the bounce buffer into the checksum %ebx and copies them to %edi, which moves on.
copy_high:
	pushw %si
	pushw %cx
	pushw $BOUNCE >> 4
	popw %ds
	xorw %si, %si
	call checksum
	popw %cx
	shlw $SECTOR_SHIFT - 2, %cx
	movl $BOUNCE, %esi
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl gdt_pointer
	movl %cr0, %eax
	incw %ax		// PE: protected mode, for segments of 4 GiB; the code segment stays as it is
	movl %eax, %cr0
	jmp 1f
1:	pushw $FLAT
	popw %ds
	pushw $FLAT
	popw %es
	rep movsl %ds:(%esi), %es:(%edi)
	decw %ax
	movl %eax, %cr0
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	sti
	popw %si
	ret

// ---- Graphics mode: the display's own size, else 1024 x 768, else text ---------------------------------------------

set_mode:
	cmpb $0, text_mode
	jne enter_kernel
	movw $vbe_info, %di
	movl $0x32454256, (%di)	// "VBE2": all of the block, please (VBE 4.3)
	movw $0x4F00, %ax
	call vbe
	jne enter_kernel
	cmpb $2, VBE_VERSION
	jb enter_kernel		// no linear frame buffer before VBE 2

	movw $edid, %di
	xorw %cx, %cx		// controller 0
	xorw %dx, %dx		// block 0
	movw $0x4F15, %ax
	movb $1, %bl		// DDC: read EDID
	call vbe
	jne 1f
	cmpl $0xFFFFFF00, edid	// EDID 3.3: header
	jne 1f
	cmpw $0, EDID_TIMING	// EDID 3.10: the first detailed timing is the preferred one, unless it is no timing
	je 1f
	movb EDID_TIMING + 7, %ah
	shrb $4, %ah
	movb EDID_TIMING + 5, %al
	shll $16, %eax
	movb EDID_TIMING + 4, %ah
	shrb $4, %ah
	movb EDID_TIMING + 2, %al
	call try_size
1:	movl $768 << 16 | 1024, %eax
	call try_size
	jmp enter_kernel

// Sets a mode that is %eax = height << 16 | width in size and goes to enter_kernel; returns if there is none.
try_size:
	movl %eax, %ebp
	lfsw VBE_MODES, %si
	movw $MODES_MAX, %di
try_mode:
	movw %fs:(%si), %cx
	incw %si
	incw %si
	cmpw $-1, %cx
	je 1f
	pushw %di
	movw $mode_info, %di
	movw $0x4F01, %ax
	call vbe
	popw %di
	jne next_mode
	movb MODE_ATTRIBUTES, %al
	notb %al
	testb $0x91, %al	// VBE 4.4: supported, graphics, linear frame buffer
	jnz next_mode
	cmpl %ebp, MODE_SIZE
	jne next_mode
	cmpb $32, MODE_BITS
	jne next_mode
	cmpl $0x08081008, MODE_MASKS	// size and position: red 8 at 16, green 8 at 8,
	jne next_mode
	cmpw $0x0008, MODE_MASKS + 4	// blue 8 at 0
	jne next_mode
	cmpl $0, MODE_PHYS
	je next_mode
	movw %cx, %bx
	orb $0x40, %bh		// VBE 4.5: linear
	movw $0x4F02, %ax
	call vbe
	je have_mode
next_mode:
	decw %di
	jnz try_mode
1:	ret

have_mode:
	movzwl MODE_PITCH, %eax
	cmpb $3, VBE_VERSION
	jb 1f
	cmpw $0, MODE_LINEAR_PITCH
	je 1f
	movw MODE_LINEAR_PITCH, %ax
1:	shrl $2, %eax
	movl %eax, pitch
	movzwl MODE_SIZE, %eax
	movl %eax, width
	movzwl MODE_SIZE + 2, %eax
	movl %eax, height
	movl $32, bits
	movl MODE_PHYS, %eax
	movl %eax, framebuffer
	jmp enter_kernel

vbe:	int $0x10
	cmpw $0x004F, %ax	// VBE 3: supported, and successful
	ret

// ---- Long mode (SDM 9.8.5) ------------------------------------------------------------------------------------------

enter_kernel:
	cli
	movw $PAGE_TABLES >> 4, %ax
	movw %ax, %es
	xorw %di, %di
	xorl %eax, %eax
	movw $6 * 1024, %cx
	cld
	rep stosl
	movl $PAGE_TABLES + 0x1003, %es:0	// PML4: one entry, present and writable
	movw $0x1000, %di			// page directory pointers: four
	movl $PAGE_TABLES + 0x2003, %eax
1:	stosl
	addw $4, %di
	addw $0x1000, %ax
	cmpw $0x1020, %di
	jne 1b
	movw $0x2000, %di			// page directories: 2048 entries
	movl $0x83, %eax			// 2 MiB, present and writable
2:	stosl
	addw $4, %di
	addl $0x200000, %eax
	jnc 2b

	movl $0x20, %eax
	movl %eax, %cr4		// PAE
	movl $PAGE_TABLES, %eax
	movl %eax, %cr3
	movl $0xC0000080, %ecx	// EFER
	rdmsr
	orb $1, %ah		// LME
	wrmsr
	lgdtl gdt_pointer
	movl %cr0, %eax
	orb $1, %al		// PE first
	movl %eax, %cr0
	orl $0x80000000, %eax	// PG
	movl %eax, %cr0
	ljmpl $CODE64, $1f

	.code64
1:	movl $FLAT, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	xorl %eax, %eax
	mov %eax, %fs
	mov %eax, %gs
	movl $KERNEL_STACK, %esp
	movl $boot_info, %edi
	movl $KERNEL, %eax
	jmp *%rax

// ---- Data -----------------------------------------------------------------------------------------------------------

no_xd:	.asciz "execute disable (NX, XD) is missing, or off in the firmware's setup"
no_a20:	.asciz "address line A20 can't be switched on"
no_map:	.asciz "the BIOS gives no memory map"
mib:	.asciz " MiB"
needs:	.ascii "too little memory: this image needs at least "
needs_number:
	.skip 10

	.balign 8
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
	.balign 8
gdt:	.quad 0
	.quad 0x00AF9A000000FFFF	// CODE64
	.quad 0x00CF92000000FFFF	// FLAT: 4 GiB
gdt_end:

// struct boot_info of include/boot_info.h.  Its head ends stage2.bin, its map is the first thing behind that.
	.section .stage2.info, "ax"
	.balign 8
boot_info:
	.long 0x746F676E, 1	// magic, version
tsc_start:	.quad 0
rsdp:		.quad 0		// the kernel looks for it
program_phys:	.quad 0
program_bytes:	.quad 0
framebuffer:	.quad 0
width:		.long 0
height:		.long 0
pitch:		.long 0
bits:		.long 0
mode:		.byte 'B'
program_kind:	.byte 0
map_count:	.word 0
reserved:	.long 0
arguments:	.skip 256

	.bss
map:	.skip 24 * MAP_MAX

vbe_info:	.skip 512
mode_info:	.skip 256
edid:	.skip 128
