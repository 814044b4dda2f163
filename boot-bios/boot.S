// The boot sector: loads the second stage, which lies behind it on the disk, and checks it.  It stays in memory: the
// second stage is linked with it and uses its disk_read, checksum and refuse.
//
// scripts/image.py writes the partition table and the two fields named stage2_*.
// Specifications: BIOS Enhanced Disk Drive 3.0 (EDD), 16550 UART data sheet (UART).

#define COM1 0x3F8
#define SECTOR 512
#define DISK_TRIES 3

	.section .boot, "ax"
	.code16
	.global boot_start
boot_start:
	jmp start
	.org 0x3E		// some BIOSes write drive parameters here, taking the stick for a floppy disk

start:	cli
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $boot_start, %sp
	movb %dl, drive
	movl $no_long_mode, 6 * 4	// undefined opcode: a CPU without RDTSC or CPUID
	rdtsc
	pushl %edx		// for boot_info.tsc_start
	pushl %eax
	sti
	cld
	ljmp $0, $1f		// some BIOSes jump to 07C0:0000
1:
	movw $no_extensions, %si
	movb $0x41, %ah		// EDD 5.1: are the extensions there
	movw $0x55AA, %bx
	movb drive, %dl
	int $0x13
	jc stop
	cmpw $0xAA55, %bx
	jne stop
	testb $1, %cl		// AH=42h and its packet
	jz stop

	movw stage2_sectors, %cx
	call disk_read
	movw $stage2_start, %si
	movl $CHECKSUM_SEED, %ebx
	call checksum
	cmpl stage2_checksum, %ebx
	je stage2_start
damaged:
	movw $is_damaged, %si
	jmp stop
	.global damaged

// Reads %cx sectors (64 at most) from disk_lba to disk_buffer; doesn't return if that fails.
	.global disk_read, disk_lba, disk_buffer
disk_read:
	pushal
	movb $DISK_TRIES, %bl
1:	movw %cx, disk_count	// the BIOS overwrites it when it fails (EDD 5.2)
	movw $disk_packet, %si
	movb $0x42, %ah
	movb drive, %dl
	int $0x13
	jnc 2f
	xorw %ax, %ax		// reset
	movb drive, %dl
	int $0x13
	decb %bl
	jnz 1b
	movw $no_read, %si
	jmp stop
2:	popal
	ret

// Takes %cx sectors at %ds:%si into the checksum %ebx.  Every step is invertible, so no change of a single dword goes
// unnoticed.  Also in scripts/image.py.
	.global checksum, CHECKSUM_SEED
	CHECKSUM_SEED = 0x746F676E
checksum:
	shlw $7, %cx		// dwords
1:	lodsl
	xorl %eax, %ebx
	roll $5, %ebx
	imull $0x9E3779B1, %ebx, %ebx
	loop 1b
	ret

// Says on screen and serial why this machine can't be used, %si, and halts.
	.global refuse, no_long_mode
no_long_mode:
	movw $is_32_bit, %si
refuse:
stop:				// in here: clang makes jumps to global symbols twice as long
	movb $0x83, %al		// UART: 8 bits, no parity, 1 stop bit; divisor follows
	movw $COM1 + 3, %dx
	outb %al, %dx
	movw $1, %ax		// 115200 baud
	movw $COM1, %dx
	outw %ax, %dx
	movb $3, %al
	movw $COM1 + 3, %dx
	outb %al, %dx
	pushw %si
	movw $before, %si
	call say
	popw %si
	call say
	movw $behind, %si
	call say
1:	cli
	hlt
	jmp 1b

say:	lodsb
	testb %al, %al
	jz 3f
	pushaw
	movb $0x0E, %ah
	movw $7, %bx
	int $0x10
	movw $COM1 + 5, %dx
	xorw %cx, %cx		// bound: 65536 times
1:	inb %dx, %al
	testb $0x20, %al	// UART: transmitter takes a byte
	loopz 1b
	popaw
	movw $COM1, %dx
	outb %al, %dx
	jmp say
3:	ret

before:		.asciz "Ingot: "
behind:		.asciz ".\r\n"
no_extensions:	.asciz "the BIOS has no INT 13h extensions"
no_read:	.asciz "the disk can't be read"
is_damaged:	.asciz "the boot image is damaged"
is_32_bit:	.asciz "this is a 32-bit CPU"

	.balign 4
disk_packet:	.word 16
disk_count:	.word 0
disk_buffer:	.word stage2_start, 0	// offset, segment
disk_lba:	.long 1, 0
drive:		.byte 0

	.org 0x1B2
stage2_checksum: .long 0
stage2_sectors:	.word 0
	.org 0x1B8		// disk signature and partition table
	.org 0x1FE
	.word 0xAA55
