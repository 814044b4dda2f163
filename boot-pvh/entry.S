// PVH: QEMU's -kernel, Cloud Hypervisor and Firecracker enter here, in 32-bit protected mode without paging, EBX =
// hvm_start_info (Xen's "x86/HVM direct boot ABI").  Go to long mode and on to the kernel's entry, which knows the
// structure by its magic number and has core/pvh.c translate it.
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18			// name and descriptor bytes, XEN_ELFNOTE_PHYS32_ENTRY
	.asciz "Xen"
	.long pvh_entry

	.section .text.pvh, "ax"
	.code32
	.set tables, 0x1FA000		// page tables for the way: top level, one below, four of 2 MiB pages
pvh_entry:
	cld
	mov $tables, %edi		// all entries that are not set below are zero
	mov $2 * 1024, %ecx
	xor %eax, %eax
	rep stosl
	mov $0x83, %eax			// present, writable, large
1:	mov %eax, (%edi)
	movl $0, 4(%edi)
	add $8, %edi
	add $0x200000, %eax
	jnc 1b
	movl $tables + 0x1003, tables
	mov $tables + 0x2003, %eax
	mov $tables + 0x1000, %edi
2:	stosl
	add $4, %edi
	add $0x1000, %eax
	cmp $tables + 0x6000, %eax
	jb 2b
	mov $0x20, %eax			// CR4.PAE
	mov %eax, %cr4
	mov $tables, %eax
	mov %eax, %cr3
	mov $0xC0000080, %ecx		// EFER.LME
	rdmsr
	bts $8, %eax
	wrmsr
	mov %cr0, %eax
	bts $31, %eax
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $3f
	.code64
3:	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %ebx, %edi
	jmp kernel_entry

	.section .head, "aw"
	.balign 8
gdt:	.quad 0
	.quad 0x00AF9A000000FFFF	// code, 64 bits
	.quad 0x00CF92000000FFFF	// data
gdt_pointer:
	.word . - gdt - 1
	.long gdt

	.section .note.GNU-stack, "", @progbits
