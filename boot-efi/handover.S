// The first instructions of the loader, and the last: from the firmware's world into the kernel's.
// "SDM" = Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3.

#define KERNEL 0x100000		// KERNEL_PHYS
#define CODE64 8
#define DATA 0x10
#define CODE32 0x18
#define CR4_PAE 0x20
#define CR4_LA57 0x1000
#define CR0_PG 0x80000000
#define CR0_REST 0x33		// PE, MP, ET, NE: no write protection, caches on

	.text
	.global efi_entry, handover, handover_code, handover_end
	.hidden efi_entry, handover, handover_code, handover_end

// Entry of the EFI image: RCX, RDX = arguments of efi_main.  GNU-EFI's start relocates the image and goes on there.
efi_entry:
	mov %rdx, %r8
	rdtsc
	mov %eax, tsc_start(%rip)
	mov %edx, 4 + tsc_start(%rip)
	mov %r8, %rdx
	jmp _start

	.global _entry
_entry:				// what newer GNU-EFI's start calls; in 3.0.15 it is efi_main
	jmp efi_main

// handover(info, kernel, kernel_bytes, tables, code): everything lies below 4 GiB and outside 1 to 2 MiB, the stack
// goes down from `info`, `code` is a copy of handover_code, `tables` are one table of level 5 and, behind it, that of
// level 4.  From the second MOV to CR3 on nothing of the firmware's is used: its tables, stack, descriptors or this
// image may lie where the kernel goes.  Protection keys, CET, SMAP, PCIDs and the like go off with the rest of CR4.
handover:
	cli
	cld
	mov %cr4, %rax
	and $CR4_PAE | CR4_LA57, %eax
	mov %rax, %cr4
	test $CR4_LA57, %eax
	mov %rcx, %rax
	jnz 1f
	add $0x1000, %rax
1:	mov %rax, %cr3
	mov %rdi, %rsp
	jmp *%r8

// Runs wherever it has been copied to.  The number of levels changes with paging off only (SDM 4.1.2), so all go
// through there; and there no page is read-only or not there while the kernel is put into its place.
handover_code:
	lea gdt(%rip), %rax
	mov %rax, 2 + gdt_pointer(%rip)
	lgdt gdt_pointer(%rip)
	lea 4f(%rip), %rbp
	lea 3f(%rip), %rax
	push $CODE32
	push %rax
	lretq
	.code32
3:	mov $DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	mov $CR0_REST, %eax
	mov %eax, %cr0
	mov $CR4_PAE, %eax
	mov %eax, %cr4
	lea 0x1000(%ecx), %eax
	mov %eax, %cr3
	mov %edi, %ebx
	mov $KERNEL, %edi
	mov %edx, %ecx
	rep movsb
	mov $CR0_PG | CR0_REST, %eax
	mov %eax, %cr0		// EFER.LME is still set (SDM 9.8.5.4)
	push $CODE64
	push %ebp
	lret
	.code64
4:	mov %ebx, %edi
	mov $KERNEL, %eax
	jmp *%rax

	.balign 8
gdt:	.quad 0
	.quad 0x00AF9A000000FFFF	// CODE64
	.quad 0x00CF92000000FFFF	// DATA
	.quad 0x00CF9A000000FFFF	// CODE32
gdt_pointer:
	.word . - gdt - 1
	.quad 0
handover_end:

	.data
	.balign 8
	.global tsc_start
	.hidden tsc_start
tsc_start: .quad 0

	.section .note.GNU-stack, "", @progbits
