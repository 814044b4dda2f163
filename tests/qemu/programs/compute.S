// What a kernel without any option can do: compute, and power off. The number of primes below 10,000 goes to QEMU's
// debug port, since there may be no console. Flat, position-independent, register interface alone.
#define B_SYSTEM 0x100040
#define SHUTDOWN 0x7F
#define DEBUG_PORT 0xE9
#define LIMIT 10000

	.globl	_start
_start:
	xor	%ebx, %ebx		// primes found
	mov	$2, %edi
1:	mov	$2, %ecx
2:	cmp	%edi, %ecx
	je	3f
	xor	%edx, %edx
	mov	%edi, %eax
	div	%ecx
	test	%edx, %edx
	jz	4f
	inc	%ecx
	jmp	2b
3:	inc	%ebx
4:	inc	%edi
	cmp	$LIMIT, %edi
	jb	1b

	mov	%ebx, %eax
	mov	$10, %ecx
	xor	%ebx, %ebx
5:	xor	%edx, %edx
	div	%ecx
	push	%rdx
	inc	%ebx
	test	%eax, %eax
	jnz	5b
6:	pop	%rax
	add	$'0', %al
	out	%al, $DEBUG_PORT
	dec	%ebx
	jnz	6b
	mov	$SHUTDOWN, %ecx
	call	*B_SYSTEM
	hlt
	.section .note.GNU-stack, "", @progbits
