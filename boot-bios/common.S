// What the boot sectors of disks (boot.S), CDs (cd.S) and the network (pxe.S) share: the first instructions, the check
// of the second stage, and the sentence that says why not.  Each of them includes this first and brings
//
//	load_stage2	brings to stage2_start what the firmware hasn't
//	disk_read	reads %cx sectors (64 at most) from disk_lba to disk_buffer; doesn't return if that fails
//
// It stays in memory: the second stage is linked with it and uses its disk_read, checksum and refuse.
// scripts/image.py writes the partition table and the two fields named stage2_*.
// Specification: 16550 UART data sheet (UART).

#define COM1 0x3F8
#define SECTOR 512

	.section .boot, "ax"
	.code16
	.global boot_start
boot_start:
	jmp start
	.org 0x40		// some BIOSes write drive parameters here, taking a stick for a floppy disk; xorriso a table

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
1:	call load_stage2
	movw stage2_sectors, %cx
	movw $stage2_start, %si
	movl $CHECKSUM_SEED, %ebx
	call checksum
	cmpl stage2_checksum, %ebx
	je stage2_start
damaged:
	movw $is_damaged, %si
	jmp stop
	.global damaged

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

before:		.asciz "Ingot: "
behind:		.asciz ".\r\n"
is_damaged:	.asciz "the boot image is damaged"
is_32_bit:	.asciz "this is a 32-bit CPU"
drive:		.byte 0

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
	movb $COM1 & 0xFF, %dl
	outw %ax, %dx
	movb $3, %al
	movb $(COM1 + 3) & 0xFF, %dl
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
