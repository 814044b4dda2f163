// What loaders put before kernel.bin and enter at 1 MiB with RDI = boot_info: it moves itself and kernel.bin out of
// the way, unpacks the kernel's image to 1 MiB and enters that.  Nothing but RDI, and a stack outside 1 to 2 MiB, is
// needed.  It is linked to the place that it moves to; the bytes up to the jump don't care where they are.
#include "unpack.h"

	.section .start, "ax"
	.global unpack_start
unpack_start:
	push %rdi
	mov $UNPACK_IMAGE, %esi
	mov $UNPACK_AWAY, %edi
	mov packed - UNPACK_AWAY(%rsi), %ecx	// its bytes
	add $packed - UNPACK_AWAY + 7, %ecx
	shr $3, %ecx
	cld
	rep movsq
	mov $1f, %eax
	jmp *%rax
1:
	mov $packed, %edi
	call unpack
	pop %rdi
	mov $UNPACK_IMAGE, %eax
	jmp *%rax

	.section .note.GNU-stack, "", @progbits
