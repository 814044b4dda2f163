; CALLBACK_TIMER, on the boot core and on another: its period, who is called, and that every register of the interrupted
; program is what it was.  TIMECOUNTER, TSC, DELAY; REBOOT at the end.
%include "flat.inc"

TICKS		equ 100
PERIOD_US	equ 2000

start:	call clocks
	xor r15d, r15d
	lea rdi, [boot_core]
	call measure
	say "boot core: ticks", 10
	system SMP_ID
	cmp [boot_core.id], rax
	must e, "called on another core"
	xor ebx, ebx			; any other core
.next:	mov edx, ebx
	lea rax, [on_other]
	system SMP_SET
	jnc .started
	inc ebx
	cmp ebx, 256
	jne .next
	say "FAIL: no other core", 10
	ret
.started:
	pause
	cmp byte [finished], 1
	jne .started
	cmp [other_core.id], rbx
	must e, "the other core's timer calls elsewhere"
	say "other core: ticks", 10
	system REBOOT

	align 16
on_other:
	lea rdi, [other_core]
	call measure
	mov byte [finished], 1
	ret

; RDI = counters; waits for TICKS of them, with a pattern in every register
measure:
	mov [current], rdi
	system TIMECOUNTER
	mov r14, rax
	lea rax, [tick]
	mov edx, PERIOD_US
	system CALLBACK_TIMER
	mov rbx, 0x0123456789ABCDEF
	movq xmm0, rbx
	movq xmm15, rbx
	mov rbp, rbx
	mov rsi, rbx
	mov r8, rbx
	mov r9, rbx
	mov r10, rbx
	mov r11, rbx
	mov r12, rbx
	mov r13, rbx
	mov [rsp - 8], rbx		; the red zone isn't the kernel's either
	mov [rsp - 128], rbx
.wait:	movq rcx, xmm0
	movq rdx, xmm15
	cmp rcx, rbx
	jne .changed
	cmp rdx, rbx
	jne .changed
	cmp rbp, rbx
	jne .changed
	cmp rsi, rbx
	jne .changed
	cmp r8, rbx
	jne .changed
	cmp r9, rbx
	jne .changed
	cmp r10, rbx
	jne .changed
	cmp r11, rbx
	jne .changed
	cmp r12, rbx
	jne .changed
	cmp r13, rbx
	jne .changed
	cmp [rsp - 8], rbx
	jne .changed
	cmp [rsp - 128], rbx
	jne .changed
	cmp qword [rdi], TICKS
	jb .wait
	xor eax, eax
	xor edx, edx
	system CALLBACK_TIMER
	system TIMECOUNTER
	sub rax, r14
	cmp rax, (TICKS - 1) * PERIOD_US * 1000
	must ae, "the timer is too fast"
	mov r13, [rdi]
	mov eax, 5 * PERIOD_US
	system DELAY
	cmp r13, [rdi]
	must e, "a timer that is off ticks"
	ret
.changed:
	say "FAIL: a register is not what it was", 10
	system SHUTDOWN

tick:	mov rdi, [current]
	system SMP_ID
	mov [rdi + 8], rax
	inc qword [rdi]
	mov rbx, -1			; nothing has to be kept
	mov rbp, rbx
	mov rsi, rbx
	mov r8, rbx
	mov r9, rbx
	mov r10, rbx
	mov r11, rbx
	mov r12, rbx
	mov r13, rbx
	mov r14, rbx
	movq xmm0, rbx
	movq xmm15, rbx
	ret

; Time goes on, and a delay is as long as it says.
clocks:	mov r8d, 1000
	system TIMECOUNTER
	mov rbx, rax
	system TSC
	mov rdx, rax
.next:	system TIMECOUNTER
	cmp rax, rbx
	must ae, "TIMECOUNTER goes back"
	mov rbx, rax
	system TSC
	cmp rax, rdx
	must a, "TSC does not go on"
	mov rdx, rax
	dec r8d
	jnz .next
	system TIMECOUNTER
	mov rbx, rax
	mov eax, 20000
	system DELAY
	cmp eax, 20000
	must e, "DELAY changes RAX"
	system TIMECOUNTER
	sub rax, rbx
	cmp rax, 20000000
	must ae, "DELAY is too short"
	say "time: fine", 10
	ret

current: dq 0
boot_core: dq 0
.id:	dq -1
other_core: dq 0
.id:	dq -1
finished: db 0
