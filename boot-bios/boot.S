// The boot sector of a disk: the second stage lies behind it.
// Specification: BIOS Enhanced Disk Drive 3.0 (EDD).
#include "common.S"

load_stage2:
	movw $no_extensions, %si
	movb $0x41, %ah		// EDD 5.1: are the extensions there
	movw $0x55AA, %bx
	call disk_service
	jc stop
	cmpw $0xAA55, %bx
	jne stop
	testb $1, %cl		// AH=42h and its packet
	jz stop
	movw stage2_sectors, %cx
disk_read:
	pushal
#include "read.S"

no_extensions:	.asciz "the BIOS has no INT 13h extensions"

packet:	.word 16
packet_count:
	.word 0
disk_buffer:	.word stage2_start, 0	// offset, segment
disk_lba:	.long 1, 0
	.global disk_read, disk_lba, disk_buffer

	.org 0x1B2
stage2_checksum: .long 0
stage2_sectors:	.word 0
	.org 0x1B8		// disk signature and partition table
	.org 0x1FE
	.word 0xAA55
