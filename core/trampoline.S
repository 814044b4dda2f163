// Where the other cores start: copied to TRAMPOLINE, entered there in real mode by the start-up IPI, all cores at
// once; interrupts are off and DS is 0 (Intel SDM vol. 3, table 9-1).  Straight to long mode with the kernel's own page
// tables and descriptors, then to core_main on a stack of their own.
	.section .text.trampoline, "ax"
	.set TRAMPOLINE, 0x8000
	.set CORE_STACKS, 0x18000	// core.h
	.set here, trampoline - TRAMPOLINE
	.global trampoline
	.code16
trampoline:
	mov $page_root, %eax
	mov %eax, %cr3
	lgdt gdt_pointer - here
	mov $0x20, %eax			// CR4.PAE
	mov %eax, %cr4
	mov $0xC0000080, %ecx		// EFER: LME, NXE
	rdmsr
	or $0x900, %ax
	wrmsr
	mov $0x80010033, %eax		// PG, WP, NE, ET, MP, PE
	mov %eax, %cr0
	ljmp $8, $1f - here
	.code64
1:	mov $1, %eax			// a ticket: the how-manieth core am I
	lock xadd %eax, smp_ticket
	imul $CORE_STACKS, %eax, %edi
	add smp_stacks, %edi
	mov %edi, %esp
	mov $core_main, %eax		// core_main(stack)
	call *%rax			// doesn't return
gdt_pointer:
	.word 15
	.long gdt
	.org trampoline + 96		// smp.c copies so much

	.section .note.GNU-stack, "", @progbits
