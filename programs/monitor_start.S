// The monitor's first instructions, and its way into a program and back.
//
// It is a flat program that is linked for a payload's room and moves there, so that all of program memory is free for
// what it runs.  Its own stack lies there, too; programs get the one that the kernel gave it, as if the kernel had
// called them.
#include "monitor_run.h"

#define STACK_BYTES 8192
#define RESET 0x7D
#define SHUTDOWN 0x7F
#define SECTOR_SHIFT 12
#define MXCSR_DEFAULT 0x1F80

	.section .text.start, "ax"
	.globl	monitor_start
	.type	monitor_start, @function
monitor_start:
	cld
	lea	monitor_start(%rip), %rsi
	mov	$monitor_start, %edi
	cmp	%rdi, %rsi
	je	1f			// it was loaded as a payload
	mov	$__bss_start, %ecx
	sub	%edi, %ecx
	rep movsb
1:	mov	$moved, %eax
	jmp	*%rax
moved:
	sub	$8, %rsp		// a call from here on leaves the stack as the kernel's call does
	mov	%rsp, program_stack
	mov	$own_stack_end, %esp
	xor	%edi, %edi		// as a flat program is entered: start.S
	xor	%esi, %esi
	call	_start
	mov	program_stack, %rsp	// refused: a kernel without what it needs
	add	$8, %rsp
	ret
	.size	monitor_start, . - monitor_start

// program_call(entry, api, arguments): what the program returned.  Flat: api and arguments are NULL.
	.text
	.globl	program_call
	.type	program_call, @function
program_call:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, own_stack
	mov	program_stack, %rsp
	mov	%rdi, program_entry
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	xor	%eax, %eax
	xor	%ebx, %ebx
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%ebp, %ebp
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d
	call	*program_entry
	.globl	program_leave		// core 0 may jump here from anywhere in the program
program_leave:
	mov	own_stack, %rsp
	push	$MXCSR_DEFAULT		// vector and floating-point units, which the monitor doesn't use
	ldmxcsr	(%rsp)
	add	$8, %rsp
	fninit
	push	$0x202			// interrupts on, everything else off
	popf
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	.size	program_call, . - program_call

// The first core again, after RESET on another one has dropped whatever it did: from the start of its own stack.
	.globl	program_again
	.type	program_again, @function
program_again:
	mov	$own_stack_end, %esp
	call	program_dropped
	.size	program_again, . - program_again

// In b_system's place while a program runs: SHUTDOWN ends the program, and RESET gives the first core back to us.
	.globl	program_system
	.type	program_system, @function
program_system:
	cmp	$SHUTDOWN, %rcx
	je	1f
	cmp	$RESET, %rcx
	je	2f
	jmp	*kernel_system
1:	and	$-16, %rsp
	call	program_shutdown
2:	call	*kernel_system
	push	%rbp
	mov	%rsp, %rbp
	push	%rax
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	and	$-16, %rsp
	call	program_was_reset
	lea	-72(%rbp), %rsp
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rax
	pop	%rbp
	ret
	.size	program_system, . - program_system

// In the place of b_nvs_read and b_nvs_write: RCX = sectors, RDX = drive -> RCX = sectors or 0, the rest as it was.
	.macro counted name, kernel, requests, bytes
	.globl	\name
	.type	\name, @function
\name:
	call	*\kernel
	push	%rcx
	push	%rdx
	movzbl	%dl, %edx
	cmp	$COUNTED_DRIVES, %edx
	jae	2f
	imul	$COUNTS_BYTES, %edx, %edx
	test	%rcx, %rcx
	jz	1f
	shl	$SECTOR_SHIFT, %rcx
	lock addq %rcx, program_drives + \bytes(%rdx)
	lock incq program_drives + \requests(%rdx)
	jmp	2f
1:	lock incq program_drives + COUNTS_ERRORS(%rdx)
2:	pop	%rdx
	pop	%rcx
	ret
	.size	\name, . - \name
	.endm
	counted	program_read, kernel_read, COUNTS_READS, COUNTS_READ_BYTES
	counted	program_write, kernel_write, COUNTS_WRITES, COUNTS_WRITTEN_BYTES

	.data				// .bss is cleared after program_stack has been set
	.balign	8
program_stack:
	.quad	0

	.bss
	.globl	kernel_read, kernel_write, kernel_system
	.balign	16
	.skip	STACK_BYTES
own_stack_end:
own_stack:
	.skip	8			// RSP while a program runs
program_entry:
	.skip	8
kernel_read:
	.skip	8
kernel_write:
	.skip	8
kernel_system:
	.skip	8
	.section .note.GNU-stack, "", @progbits
