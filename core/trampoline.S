// Where the other cores start: copied to TRAMPOLINE, entered there in real mode by the start-up IPI, all cores at
// once.  Straight to long mode with the kernel's own page tables, then to core_entry on a stack of their own.
	.section .rodata.trampoline, "a"
	.set TRAMPOLINE, 0x8000
	.set here, trampoline - TRAMPOLINE
	.global trampoline, trampoline_end
	.code16
trampoline:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl gdt_pointer - here
	mov $0x20, %eax			// CR4.PAE
	mov %eax, %cr4
	mov page_root - here, %eax
	mov %eax, %cr3
	mov $0xC0000080, %ecx		// EFER: LME, NXE
	rdmsr
	or $0x900, %ax
	wrmsr
	mov %cr0, %eax
	or $0x80010001, %eax		// PG, WP, PE
	and $0x9FFFFFFF, %eax		// caches on
	mov %eax, %cr0
	ljmpl $8, $1f - here
	.code64
1:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $1, %eax			// a ticket: the how-manieth core am I
	lock xadd %eax, smp_ticket
	cmp smp_stacks_count, %eax
	jae 2f				// too late, the kernel has given up waiting: sleep for good
	imul smp_stack_stride, %eax
	add smp_stacks, %rax
	mov %rax, %rsp
	mov %rax, %rdi			// core_main(stack)
	mov $core_main, %eax
	call *%rax
2:	cli
	hlt
	jmp 2b
	.balign 8
gdt:	.quad 0				// the accessed bits are set: the page is not writable
	.quad 0x00AF9B000000FFFF	// accessed, both: the page is read-only to the CPU, too
	.quad 0x00CF93000000FFFF
gdt_pointer:
	.word . - gdt - 1
	.long gdt - here
	.balign 4
	.global trampoline_root
trampoline_root:
page_root:
	.long 0				// physical address of the top page table
trampoline_end:

	.section .note.GNU-stack, "", @progbits
