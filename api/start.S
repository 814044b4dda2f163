// First bytes of a program, the same for a flat binary and for an ELF file.
//
// Flat: entered at its first byte, all general registers zero; struct ingot_api lies behind the pointer at 0x100050.
// ELF: RDI = const struct ingot_api *, RSI = argument string.  Both: on the boot core, interrupts on, by a call, with
// a stack of 64 KiB.  Sets `ingot`, makes sure that the kernel has what INGOT_NEEDS asks for, splits the argument
// string at blanks, runs the constructors and calls main(argc, argv).  When main returns, so does the program.

#define B_OUTPUT 0x100018
#define API_POINTER 0x100050
#define API_SIZE 4		// offset of struct ingot_api's size
#define NOTE_DESC 20		// offset of a note's number; a note of INGOT_NEEDS is 24 bytes
#define NOTE_BYTES 24
#define ARG_BYTES 256		// of the argument string; what is longer is cut
#define ARG_MAX 64		// entries of argv, the NULL at its end among them

	.section .text.start, "ax"
	.globl	_start
	.type	_start, @function
_start:
	push	%rbp
	mov	%rsp, %rbp
	push	%rbx
	push	%r12
	cld
	test	%rdi, %rdi
	jnz	have_table
	lea	__bss_start(%rip), %rdi	// a flat file ends before .bss
	lea	__bss_end(%rip), %rcx
	sub	%rdi, %rcx
	xor	%eax, %eax
	rep stosb
	mov	API_POINTER, %rdi
have_table:
	mov	%rdi, ingot(%rip)

	lea	__needs_start(%rip), %rcx
	lea	__needs_end(%rip), %rdx
next_need:
	cmp	%rdx, %rcx
	jae	arguments
	test	%rdi, %rdi
	jz	too_old
	mov	NOTE_DESC(%rcx), %eax
	add	$NOTE_BYTES, %rcx
	cmp	%eax, API_SIZE(%rdi)
	jae	next_need
too_old:
	lea	old_kernel(%rip), %rsi
	mov	$old_kernel_end - old_kernel, %ecx
	call	*B_OUTPUT
	jmp	leave

arguments:				// argv lies at RSP, the words behind it
	and	$-16, %rsp
	sub	$ARG_MAX * 8 + ARG_BYTES, %rsp
	lea	no_name(%rip), %rax
	mov	%rax, (%rsp)
	mov	$1, %ebx		// argc
	lea	ARG_MAX * 8(%rsp), %rdi
	lea	ARG_BYTES - 1(%rdi), %rcx
	xor	%edx, %edx		// the byte before: zero in front of a word
	test	%rsi, %rsi
	jz	end_words
next_byte:
	lodsb
	test	%al, %al
	jz	end_words
	cmp	%rcx, %rdi
	je	end_words
	cmp	$' ', %al
	jne	in_word
	xor	%eax, %eax
	jmp	store_byte
in_word:
	test	%dl, %dl
	jnz	store_byte
	cmp	$ARG_MAX - 1, %ebx
	je	end_words
	mov	%rdi, (%rsp, %rbx, 8)
	inc	%ebx
store_byte:
	mov	%eax, %edx
	stosb
	jmp	next_byte
end_words:
	movb	$0, (%rdi)
	movq	$0, (%rsp, %rbx, 8)

	lea	__init_array_start(%rip), %r12
next_constructor:
	lea	__init_array_end(%rip), %rax
	cmp	%rax, %r12
	jae	run
	call	*(%r12)
	add	$8, %r12
	jmp	next_constructor
run:
	mov	%ebx, %edi
	mov	%rsp, %rsi
	call	main
leave:
	lea	-16(%rbp), %rsp
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret
	.size	_start, . - _start

	.section .rodata
old_kernel:
	.ascii	"This program needs a newer kernel, or one with the native interface.\n"
old_kernel_end:
no_name:
	.asciz	"program"

	.bss
	.balign	8
	.globl	ingot
	.type	ingot, @object
	.size	ingot, 8
ingot:
	.skip	8

// What a compiler may call of its own accord.  Weak: a program may bring its own.
	.macro	weak_function name
	.section .text.\name, "ax"
	.weak	\name
	.type	\name, @function
\name:
	.endm

	weak_function memmove
	mov	%rdi, %rax
	sub	%rsi, %rax
	cmp	%rdx, %rax		// the destination begins inside the source: from the end
	mov	%rdi, %rax
	jae	memcpy_forward
	lea	-1(%rdi, %rdx), %rdi
	lea	-1(%rsi, %rdx), %rsi
	mov	%rdx, %rcx
	std
	rep movsb
	cld
	ret

	weak_function memcpy
	mov	%rdi, %rax
memcpy_forward:
	mov	%rdx, %rcx
	shr	$3, %rcx
	rep movsq
	mov	%edx, %ecx
	and	$7, %ecx
	rep movsb
	ret

	weak_function memset
	mov	%rdi, %r8
	movzbl	%sil, %esi
	movabs	$0x0101010101010101, %rax
	imul	%rsi, %rax
	mov	%rdx, %rcx
	shr	$3, %rcx
	rep stosq
	mov	%edx, %ecx
	and	$7, %ecx
	rep stosb
	mov	%r8, %rax
	ret

	weak_function memcmp
	mov	%rdx, %rcx
	xor	%eax, %eax
	xor	%edx, %edx
	cmp	%eax, %edx		// equal, should there be nothing to compare
	repe cmpsb
	je	1f
	movzbl	-1(%rdi), %edx
	movzbl	-1(%rsi), %eax
	sub	%edx, %eax
1:	ret

// C++: a program never ends so that its static objects would have to be destroyed.
	weak_function __cxa_atexit
	xor	%eax, %eax
	ret

	weak_function __cxa_pure_virtual
	ud2

	.section .rodata
	.weak	__dso_handle
__dso_handle:
	.quad	0

	.section .note.GNU-stack, "", @progbits
