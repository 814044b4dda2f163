// A worse BIOS: stands in the boot sector's place, hooks SeaBIOS, then starts the real one, which test_boot_bios.py has
// put into sector BOOT_SECTOR.
//
// RANGES: file, what INT 15h AX=E820h says, 24 bytes a range; ENTRY_BYTES of each are given.  ENDLESS: it begins anew
// with the second one.  A20_OFF: address line 20 is low; NO_A20: and INT 15h AX=2401h doesn't raise it.  NO_EXTENSIONS:
// of INT 13h.  READ_ERRORS: so many extended reads fail before the first that doesn't.
#define SMAP 0x534D4150

	.code16
	.global start
start:	cli			// linked at 0x600
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7C00, %sp
	movw %sp, %si
	movw $start, %di
	movw $256, %cx
	cld
	rep movsw
	ljmp $0, $1f
1:	sti
	movb $0x42, %ah
	movw $packet, %si
	int $0x13
	movl 0x13 * 4, %eax
	movl %eax, bios_13
	movl $int_13, 0x13 * 4
	movl 0x15 * 4, %eax
	movl %eax, bios_15
	movl $int_15, 0x15 * 4
#ifdef A20_OFF
	inb $0x92, %al
	andb $~3, %al
	outb %al, $0x92
#endif
	ljmp $0, $0x7C00

int_13:
#ifdef NO_EXTENSIONS
	cmpb $0x41, %ah
	je fail
#endif
	cmpb $0x42, %ah
	jne 1f
	cmpb $0, %cs:errors
	je 1f
	decb %cs:errors
	movw $0, 2(%si)		// sectors read
	movb $4, %ah
	jmp fail
1:	ljmp *%cs:bios_13

int_15:
#ifdef NO_A20
	cmpw $0x2401, %ax
	je fail
#endif
#ifdef RANGES
	cmpl $0xE820, %eax
	je 2f
#endif
	ljmp *%cs:bios_15
2:	cmpw $ranges_end - ranges, %bx
	jae fail
	pushw %si
	pushw %di
	pushw %ds
	pushw %cs
	popw %ds
	leaw ranges(%bx), %si
	movw $ENTRY_BYTES, %cx
	rep movsb
	popw %ds
	popw %di
	popw %si
	addw $24, %bx
	cmpw $ranges_end - ranges, %bx
	jne 3f
#ifdef ENDLESS
	movw $24, %bx
#else
	xorw %bx, %bx
#endif
3:	movl $SMAP, %eax
	movl $ENTRY_BYTES, %ecx
	pushw %bp
	movw %sp, %bp
	andb $~1, 6(%bp)
	popw %bp
	iret

fail:	pushw %bp
	movw %sp, %bp
	orb $1, 6(%bp)		// carry flag
	popw %bp
	iret

bios_13: .long 0
bios_15: .long 0
errors:	.byte READ_ERRORS
packet:	.word 16, 1, 0x7C00, 0
	.long BOOT_SECTOR, 0
ranges:
#ifdef RANGES
	.incbin RANGES
#endif
ranges_end:
	.org 510
	.word 0xAA55
