// The boot sector of a CD, without emulation: a file on it has all that lies at the front of a disk, and the firmware
// loads its first CD block, 2048 bytes: this sector and the second stage's first three.
// scripts/image.py has kernel and program begin with a CD block.
// Specifications: El Torito 1.0 (ET); BIOS Enhanced Disk Drive 3.0 (EDD).
#include "common.S"

#define BLOCK_SHIFT 2			// a CD's block is 4 sectors
#define BLOCK_SECTORS (1 << BLOCK_SHIFT)
#define file_block (boot_start + 12)	// xorriso's boot information table: where this file begins

load_stage2:
	movw stage2_sectors, %cx
	subw $BLOCK_SECTORS - 1, %cx
disk_read:			// ET 4.2: in blocks of 2048 bytes
	pushal
	movl disk_lba, %eax
	shrl $BLOCK_SHIFT, %eax
	addl file_block, %eax
	movl %eax, packet_lba
	addw $BLOCK_SECTORS - 1, %cx
	shrw $BLOCK_SHIFT, %cx
#include "read.S"

packet:	.word 16
packet_count:
	.word 0
disk_buffer:	.word boot_start + BLOCK_SECTORS * SECTOR, 0	// offset, segment
packet_lba:	.long 0, 0
disk_lba:	.long BLOCK_SECTORS
	.global disk_read, disk_lba, disk_buffer

	.org 0x1B2
stage2_checksum: .long 0
stage2_sectors:	.word 0
	.org 0x1FE
	.word 0xAA55
