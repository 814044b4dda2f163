// The kernel's first page, its first instructions, and every place where C's calling convention is not spoken:
// the call table of programs, interrupts, and the start of the other cores.

#define EARLY_STACK 0x1F4000	// 16 KiB below it, until the program runs

// ---- First page: entry, call table, then .data --------------------------------------------------------------
	.section .head.entry, "awx"
	.code64
	.global kernel_entry
kernel_entry:			// 0x100000: RDI = boot_info (or hvm_start_info)
	jmp start
	.balign 8
	.ascii "Ingot\0\0\0"

	.global call_table, native_pointer
call_table:			// docs/abi.md; the second and the last may be replaced by programs
	.quad b_input
	.quad b_output
	.quad b_net_tx
	.quad b_net_rx
	.quad b_nvs_read
	.quad b_nvs_write
	.quad b_system
	.quad b_user
native_pointer:
	.quad 0			// 0x100050: the native interface, for flat programs

	.text
start:	mov $EARLY_STACK, %esp
	mov %rdi, %rdx
	mov $__bss_start, %edi
	mov $__bss_end, %ecx
	sub %edi, %ecx
	shr $3, %ecx
	xor %eax, %eax
	cld
	rep stosq
	mov %rdx, %rdi
	jmp kernel_main

// ---- Interrupts -------------------------------------------------------------------------------------------------
// core/irq.c builds a stub of 8 bytes for each vector: a call whose return address tells the vector.  It comes with its
// own stack (IST), so a program's red zone is safe, and on it 5 words, or 6 with an error code, behind an address that
// is a multiple of 16 (Intel SDM vol. 3, 6.14.2).  Where there is none, an error code of 0 is put in.
	.text
	.global irq_common
irq_common:
	test $8, %spl
	jnz 1f
	push (%rsp)
	andl $0, 8(%rsp)
1:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	mov %rsp, %rdi
	call irq_dispatch
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp		// return address of the stub, error code
	iretq

// callback_call(fn, arg, area, xsave): fn(arg), with the vector registers of whom it interrupts kept in `area`.  A
// routine of the register interface keeps no register but RSP.
	.global callback_call
callback_call:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rax
	and $-16, %rsp
	push %rax
	push %rdx
	mov %rdx, %rbx
	mov %rdi, %r8
	mov %rsi, %rdi
	test %ecx, %ecx
	jz 1f
	or $-1, %eax
	or $-1, %edx
	xsave64 (%rbx)
	call *%r8
	pop %rbx
	or $-1, %eax
	or $-1, %edx
	xrstor64 (%rbx)
	jmp 2f
1:	fxsave64 (%rbx)
	call *%r8
	pop %rbx
	fxrstor64 (%rbx)
2:	pop %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

// ---- Running programs and work ----------------------------------------------------------------------------------
// run_on_stack(fn, arg, second, stack): calls fn(arg, second) on `stack` with all other registers zero and the vector
// unit at its defaults; everything C wants preserved comes back.  RAX is zero unless arg is the native interface.
	.global run_on_stack
run_on_stack:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, -8(%rcx)
	lea -8(%rcx), %rsp
	push %rdi
	push $0x1F80		// MXCSR's default (Intel SDM vol. 1, 11.6.4)
	ldmxcsr (%rsp)
	pop %rax
	fninit
	mov %rsi, %rdi
	mov %rdx, %rsi
	xor %eax, %eax
	xor %ebx, %ebx
	xor %ecx, %ecx
	xor %edx, %edx
	xor %ebp, %ebp
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	xor %r12d, %r12d
	xor %r13d, %r13d
	xor %r14d, %r14d
	xor %r15d, %r15d
	sti
	call *(%rsp)
	cld
	pop %rcx
	pop %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

// ---- The call table's routines: every register that is not an output is preserved ---------------------------------
	.macro save_common
	push %rdx
	push %rsi
	push %r8
	push %r9
	push %r10
	push %r11
	.endm
	.macro restore_common
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rsi
	pop %rdx
	.endm

b_input:			// -> AL, ZF
	push %rax
	push %rcx
	push %rdi
	save_common
	call program_input
	restore_common
	pop %rdi
	pop %rcx
	mov %al, (%rsp)
	pop %rax
	test %al, %al
b_user:
	ret

	.global b_output
b_output:			// RSI = text, RCX = length
	push %rax
	push %rcx
	push %rdi
	save_common
	mov %rsi, %rdi
	mov %rcx, %rsi
	call console_write
	jmp tx_out

b_net_tx:			// RSI = frame, RCX = length, RDX = interface
	push %rax
	push %rdi
	movzbl %dl, %eax
	mov classic_net(,%rax,8), %rdi
	pushf
	cli
	call *(%rdi)
	test %eax, %eax
	jz 1f
2:	popf
	pop %rdi
	pop %rax
	ret
1:	call *24(%rdi)		// what is sent comes back; then another attempt
	call *(%rdi)
	test %eax, %eax
	jnz 2b
	popf
	pop %rdi
	push %rcx
	push %rdi
	save_common
	mov %rsi, %rdi
	mov %rcx, %rsi
	movzbl %dl, %edx
	call *classic + 0
tx_out:	restore_common
	pop %rdi
	pop %rcx
	pop %rax
	ret

b_net_rx:			// RDX = interface -> RDI = frame, RCX = length, ZF
	push %rax
	movzbl %dl, %edi
	mov classic_net(,%rdi,8), %rdi
	call *8(%rdi)
	cmp $1, %rax
	jbe 1f
	mov 16(%rdi), %ecx
	mov %rax, %rdi
	pop %rax
	ret
1:	mov %eax, %ecx		// none, or another attempt
	mov %eax, %edi
	jb 2f
	save_common
	push $0
	mov %rsp, %rsi
	movzbl %dl, %edi
	call *classic + 8
	mov %rax, %rcx
	pop %rdi
	restore_common
2:	pop %rax
	test %rcx, %rcx
	ret

b_nvs_read:			// RAX = sector, RCX = count, RDX = drive, RDI = data -> RCX = count or 0
	push %rax
	push %rdi
	save_common
	xor %r9d, %r9d
	jmp 1f
b_nvs_write:			// the same with RSI = data
	push %rax
	push %rdi
	save_common
	mov %rsi, %rdi
	push $1
	pop %r9
1:	movzbl %dl, %r8d
	mov %rcx, %rdx
	mov %rdi, %rcx
	mov %rax, %rsi
	mov %r9d, %edi
	call *classic + 32
	mov %rax, %rcx
	restore_common
	pop %rdi
	pop %rax
	ret

b_system:			// RCX = function, RAX and RDX = arguments -> RAX
	cmp $0x7F, %rcx
	ja 1f
	jmp *system_table(,%rcx,8)

// What most numbers go through: fn(RAX, RDX, RCX) in C, result in RAX; with those that have none, RAX stays as it is.
	.global system_c, system_c_void
system_c_void:
	push %rax
	call system_c
	pop %rax
	ret

system_c:
	push %rcx
	push %rdi
	save_common
	mov %rax, %rdi
	mov %rdx, %rsi
	mov %ecx, %edx
	mov system_c_table(,%rcx,4), %eax
	call *%rax
	restore_common
	pop %rdi
	pop %rcx
	.global system_nothing
system_nothing:
1:	ret

	.global system_smp_set, system_smp_unlock, system_cores, system_tsc
system_smp_set:			// RAX comes back, the carry flag tells
	push %rax
	push %rcx
	push %rdi
	save_common
	mov %rax, %rdi
	mov %rdx, %rsi
	call smp_set
	neg %al			// CF = (AL != 0); pop and ret leave it
	jmp tx_out

system_smp_unlock:
	lock btrw $0, (%rax)
	ret

system_cores:
	mov smp_cores, %eax
	ret

system_tsc:
	push %rdx
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	pop %rdx
	ret

// The end of the kernel's code: where nothing but a lock is waited for, RESET may take a core away (core/smp.c).
	.section .last.text, "ax"
	.global lock_wait, system_smp_lock, system_smp_wait
lock_wait:			// lock_wait(lock), for C
	mov %rdi, %rax
system_smp_lock:
	lock btsw $0, (%rax)
	jc system_smp_wait
	ret
system_smp_wait:
	pause
	testb $1, (%rax)
	jnz system_smp_wait
	jmp system_smp_lock

// ---- Tables of addresses, which have 32 bits here and would have 64 in C ----------------------------------------
	.section .rodata.tables, "a"
	.balign 4
	.global page_fixed, page_fixed_end
page_fixed:			// core/page.c: from, to, rights (MAP_* of core/core.h); page 0 stays out
	.long 0x1000, 0xA0000, 3
	.long 0xA0000, 0xC0000, 0x1B
	.long 0xC0000, 0x100000, 1
	.long 0x100000, 0x200000, 3
	.long __text_start, __text_end, 0x201
	.long __rodata_start, __rodata_end, 1
	.long 0x1E0000, 0x1F0000, 0x203
page_fixed_end:

	.macro function number, name
	.byte \number
	.word \name - 0x100000
	.endm
	.global system_functions, system_functions_c, system_functions_void, system_functions_end
system_functions:		// core/syscall.c: these have the register interface's own conventions,
	function 0x10, sys_core_id
	function 0x11, system_cores
	function 0x12, system_smp_set
	function 0x14, system_smp_lock
	function 0x15, system_smp_unlock
	function 0x16, sys_others_busy
	function 0x1F, system_tsc
system_functions_c:		// and these C's
	function 0x00, time_ns
	function 0x01, sys_memory
	function 0x13, sys_core_get
	function 0x20, sys_screen
	function 0x21, sys_screen
	function 0x22, sys_screen
	function 0x23, sys_screen
	function 0x24, sys_screen
	function 0x30, sys_net_status
	function 0x50, sys_bus
	function 0x53, sys_output_get
system_functions_void:		// these return nothing
	function 0x31, sys_net_config
	function 0x51, sys_bus
	function 0x52, sys_output_set
	function 0x60, sys_on_timer
	function 0x61, sys_on_receive
	function 0x62, callback_key	// what RDX has is nobody's argument
	function 0x70, sys_dump_memory
	function 0x71, sys_dump_rax
	function 0x72, sys_delay
	function 0x7D, smp_reset
	function 0x7E, power_reboot
	function 0x7F, power_off
system_functions_end:

	.section .note.GNU-stack, "", @progbits
