// The end of disk_read, whose registers are on the stack: %cx blocks of the medium, as `packet` says (EDD 5.2); tried
// three times.
#define TRIES 3

	movb $TRIES, %bl
1:	movw %cx, packet_count	// the BIOS overwrites it when it fails
	movw $packet, %si
	movb $0x42, %ah
	call disk_service
	jnc 2f
	xorw %ax, %ax		// reset
	call disk_service
	decb %bl
	jnz 1b
	movw $no_read, %si
	jmp stop
2:	popal
	ret

disk_service:
	movb drive, %dl
	int $0x13
	ret

no_read:	.asciz "the disk can't be read"
