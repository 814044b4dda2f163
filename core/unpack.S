// What loaders put before kernel.bin and enter at 1 MiB with RDI = boot_info: it moves itself and kernel.bin out of
// the way, unpacks the kernel's image to 1 MiB and enters that.  Nothing but RDI, and a stack outside 1 to 2 MiB, is
// needed.  It is linked to the place that it moves to; the bytes up to the jump don't care where they are.
#include "unpack.h"

#define HERE 0x100000
#define SPLIT 0x140000
#define MODEL 0x180000
#define AWAY 0x190000
#if MODEL + LZMA_MODEL_BYTES > AWAY
#error the model reaches into the unpacker
#endif

// The head of kernel.bin: its bytes, and those of what the stream behind it unpacks to.
#define BYTES 0
#define SPLIT_BYTES 4
#define STREAM 8

	.section .start, "ax"
	.global unpack_start
unpack_start:
	push %rdi
	mov $HERE, %esi
	mov $AWAY, %edi
	mov packed - AWAY + BYTES(%rsi), %ecx
	add $packed - AWAY + 7, %ecx
	shr $3, %ecx
	cld
	rep movsq
	mov $1f, %eax
	jmp *%rax
1:
	mov $MODEL, %edi
	mov $packed + STREAM, %esi
	mov $SPLIT, %edx
	mov packed + SPLIT_BYTES, %ecx
	call lzma_decode
	mov $SPLIT, %edi
	mov $HERE, %esi
	call split_join
	pop %rdi
	mov $HERE, %eax
	jmp *%rax

	.section .note.GNU-stack, "", @progbits
