// Calls with every register set beforehand and looked at afterwards: registers.h.
#define FLAGS 15 * 8
#define MXCSR 16 * 8
#define VECTOR 17 * 8

	.macro each_vector operation
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\operation \n
	.endr
	.endm
	.macro load_ymm n
	vmovdqu	VECTOR + \n * 32(%rsi), %ymm\n
	.endm
	.macro load_xmm n
	movdqu	VECTOR + \n * 32(%rsi), %xmm\n
	.endm
	.macro store_ymm n
	vmovdqu	%ymm\n, VECTOR + \n * 32(%rax)
	.endm
	.macro store_xmm n
	movdqu	%xmm\n, VECTOR + \n * 32(%rax)
	.endm
	.macro zero_xmm n
	pxor	%xmm\n, %xmm\n
	.endm

	.text
	.globl	registers_call
	.type	registers_call, @function
// RDI = slot, RSI = in, RDX = out, RCX = avx
registers_call:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, %rax
	mov	14 * 8(%rsi), %r8	// any alignment of the stack: R15's low bits
	and	$15, %r8d
	sub	%r8, %rsp
	push	%rax			// 24(%rsp)
	push	%rcx			// 16(%rsp)
	push	%rdx			// 8(%rsp)
	push	(%rdi)			// (%rsp): what to call
	test	%ecx, %ecx
	jz	1f
	each_vector load_ymm
	jmp	2f
1:	each_vector load_xmm
2:	mov	0 * 8(%rsi), %rax
	mov	1 * 8(%rsi), %rbx
	mov	2 * 8(%rsi), %rcx
	mov	3 * 8(%rsi), %rdx
	mov	5 * 8(%rsi), %rdi
	mov	6 * 8(%rsi), %rbp
	mov	7 * 8(%rsi), %r8
	mov	8 * 8(%rsi), %r9
	mov	9 * 8(%rsi), %r10
	mov	10 * 8(%rsi), %r11
	mov	11 * 8(%rsi), %r12
	mov	12 * 8(%rsi), %r13
	mov	13 * 8(%rsi), %r14
	mov	14 * 8(%rsi), %r15
	mov	4 * 8(%rsi), %rsi
	call	*(%rsp)

	pushfq
	cld
	push	%rax
	mov	24(%rsp), %rax		// out
	mov	%rbx, 1 * 8(%rax)
	mov	%rcx, 2 * 8(%rax)
	mov	%rdx, 3 * 8(%rax)
	mov	%rsi, 4 * 8(%rax)
	mov	%rdi, 5 * 8(%rax)
	mov	%rbp, 6 * 8(%rax)
	mov	%r8, 7 * 8(%rax)
	mov	%r9, 8 * 8(%rax)
	mov	%r10, 9 * 8(%rax)
	mov	%r11, 10 * 8(%rax)
	mov	%r12, 11 * 8(%rax)
	mov	%r13, 12 * 8(%rax)
	mov	%r14, 13 * 8(%rax)
	mov	%r15, 14 * 8(%rax)
	pop	(%rax)			// RAX
	pop	FLAGS(%rax)
	stmxcsr	MXCSR(%rax)
	cmpq	$0, 16(%rsp)
	je	3f
	each_vector store_ymm
	vzeroupper
	jmp	4f
3:	each_vector store_xmm
4:	mov	24(%rsp), %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret

	.globl	registers_spin
	.type	registers_spin, @function
registers_spin:
	.irp n, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128
	movq	$0x5A5A0000 + \n, -\n(%rsp)
	.endr
1:	pause
	dec	%rcx
	jnz	1b
	.irp n, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128
	cmpq	$0x5A5A0000 + \n, -\n(%rsp)
	jne	2f
	.endr
	ret
2:	dec	%rcx
	ret

	.globl	registers_capture
	.type	registers_capture, @function
// RSI = text, RCX = length
registers_capture:
	push	%rcx
	push	%rsi
	push	%rdi
	mov	%rcx, captured_bytes(%rip)
	lea	captured(%rip), %rdi
	cmp	$64, %rcx
	jbe	1f
	mov	$64, %ecx
1:	rep movsb
	pop	%rdi
	pop	%rsi
	pop	%rcx
	ret

	.globl	registers_clobber
	.type	registers_clobber, @function
registers_clobber:
	lock incq clobbered(%rip)
	each_vector zero_xmm
	mov	$0x12345678, %eax
	mov	%rax, %rcx
	mov	%rax, %rdx
	mov	%rax, %rsi
	mov	%rax, %rdi
	mov	%rax, %r8
	mov	%rax, %r9
	mov	%rax, %r10
	mov	%rax, %r11
	mov	%rax, %rbx
	mov	%rax, %rbp
	mov	%rax, %r12
	mov	%rax, %r13
	mov	%rax, %r14
	mov	%rax, %r15
	ret

	.bss
	.globl	captured, captured_bytes, clobbered
	.balign	8
captured:
	.skip	64
captured_bytes:
	.skip	8
clobbered:
	.skip	8
	.section .note.GNU-stack, "", @progbits
