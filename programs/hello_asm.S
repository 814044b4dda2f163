// The same as hello.c in assembly, with the register interface alone: a flat program, position-fixed at the start of
// program memory.  It needs neither start.S nor program.ld.
#define B_OUTPUT 0x100018
#define B_SYSTEM 0x100040
#define FREE_MEMORY 0x01
#define SMP_NUMCORES 0x11
#define SHUTDOWN 0x7F

	.globl	_start
_start:
	lea	hello(%rip), %rsi
	call	print
	mov	$SMP_NUMCORES, %ecx
	call	*B_SYSTEM
	call	print_number
	lea	cores(%rip), %rsi
	call	print
	mov	$FREE_MEMORY, %ecx
	call	*B_SYSTEM
	call	print_number
	lea	memory(%rip), %rsi
	call	print
	mov	$SHUTDOWN, %ecx
	call	*B_SYSTEM
	ret

// RSI = text, zero-terminated
print:
	xor	%ecx, %ecx
1:	cmpb	$0, (%rsi, %rcx)
	je	2f
	inc	%rcx
	jmp	1b
2:	jmp	*B_OUTPUT

// RAX = number; its digits are made on the stack, since the code of an ELF program can't be written to
print_number:
	sub	$24, %rsp
	lea	24(%rsp), %rsi
	mov	$10, %edi
	xor	%ecx, %ecx
1:	xor	%edx, %edx
	div	%rdi
	add	$'0', %dl
	dec	%rsi
	mov	%dl, (%rsi)
	inc	%ecx
	test	%rax, %rax
	jnz	1b
	call	*B_OUTPUT
	add	$24, %rsp
	ret

hello:	.asciz	"Hello from Ingot: assembly, "
cores:	.asciz	" cores, "
memory:	.asciz	" MiB\n"
	.section .note.GNU-stack, "", @progbits
