// The network boot program: the firmware has loaded all of it to 0x7C00, this sector, second stage, kernel and program.
// The last two move to the end of the memory that firmware leaves below 640 KiB, out of the second stage's way, which
// reads them from there as from a disk.
// Specification: Preboot Execution Environment 2.1 (PXE).
#include "common.S"

#define LEAST_SEGMENT 0x2600	// the second stage's page tables end here
#define BOOT_SEGMENT 0x7C0
#define SECTOR_SEGMENT (SECTOR / 16)
#define PXENV_POINTER 0x28	// in the PXENV+ structure: segment and offset of the !PXE structure
#define PXE_ENTRY 0x10		// in the !PXE structure

services:	.word 0x05, 0x70, 0x15, 0	// PXE 4: UNDI_SHUTDOWN, UNLOAD_STACK, STOP_UNDI
parameters:	.skip 12	// of any of them: status, zeros
entry:		.long 0
moved:		.word 0		// segment
disk_buffer:	.long 0		// offset, segment
disk_lba:	.long 0
	.global disk_read, disk_lba, disk_buffer

	.org 0x1B2
stage2_checksum: .long 0
stage2_sectors:	.word 0
	.org 0x1FE
	.word 0xAA55

	.section .stage2.more, "ax"	// there from the start, and not to be written to: the checksum comes later
load_stage2:
	pushw %es
	movw $0x5650, %ax	// PXE 3.3: installation check
	int $0x1A
	jc 2f
	cmpw $0x564E, %ax
	jne 2f
	lesw %es:PXENV_POINTER(%bx), %bx
	cmpl $0x45585021, %es:(%bx)	// "!PXE"
	jne 2f
	movl %es:PXE_ENTRY(%bx), %eax
	movl %eax, entry
	movw $services, %si	// the interface must be silent: the memory that it writes to is another's from now on
1:	lodsw
	testw %ax, %ax
	jz 2f
	pushw %si
	pushw $0
	pushw $parameters
	pushw %ax
	lcallw *entry		// its answer doesn't matter: there is nobody else to ask
	addw $6, %sp
	popw %si
	cld
	jmp 1b
2:	int $0x12		// KiB of memory below 640 KiB
	popw %es
	shlw $6, %ax
	movl last_sector, %ecx
	movzwl stage2_sectors, %edx
	subl %edx, %ecx		// sectors to move
	imull $SECTOR_SEGMENT, %ecx, %ebx
	movw $no_room, %si
	movzwl %ax, %eax
	subl %ebx, %eax
	jb stop
	cmpl $LEAST_SEGMENT, %eax
	jb stop
	movw %ax, moved
	incw %dx
	imulw $SECTOR_SEGMENT, %dx, %dx
	addw $BOOT_SEGMENT, %dx
	addw %bx, %dx		// behind the last sector, as it lies
	addw %bx, %ax		// and as it will
	pushw %ds
	pushw %es
	movw %cx, %bx
1:	subw $SECTOR_SEGMENT, %dx	// backwards: what lies behind may be the same memory
	subw $SECTOR_SEGMENT, %ax
	call copy_sector
	decw %bx
	jnz 1b
	popw %es
	popw %ds
	ret

copy_sector:			// from segment %dx to segment %ax
	movw %dx, %ds
	movw %ax, %es
	xorw %si, %si
	xorw %di, %di
	movw $SECTOR / 4, %cx
	rep movsl
	ret

disk_read:
	pushal
	pushw %ds
	pushw %es
	movw %cx, %bx
	movw disk_lba, %dx
	decw %dx
	subw stage2_sectors, %dx
	imulw $SECTOR_SEGMENT, %dx, %dx
	addw moved, %dx
	movw disk_buffer + 2, %ax	// its offset is 0
1:	call copy_sector
	addw $SECTOR_SEGMENT, %dx
	addw $SECTOR_SEGMENT, %ax
	decw %bx
	jnz 1b
	popw %es
	popw %ds
	popal
	ret

no_room:	.asciz "kernel and program don't fit below 640 KiB"
