; RESET of a core in the middle of what takes long: reading a slow drive, waiting for who does, a long text, a long dump,
; a long delay.  Nothing stays locked.  Then of one that is idle but for its timer, from a callback.
%include "flat.inc"

BYTES	equ 4 << 20

start:	lea r12, [works]
.next:	movzx ebx, word [r12]
	lea rax, [start]
	add rbx, rax
	mov byte [started], 0
	call other
	mov eax, 30000
	system DELAY
	lea rax, [reads]
	cmp rbx, rax
	jne .one
	call other			; and one that waits for the drive
	mov eax, 30000
	system DELAY
.one:	system RESET
	say 10, "reset", 10
	system SMP_BUSY
	test eax, eax
	must z, "work behind RESET"
	xor eax, eax
	xor edx, edx
	mov ecx, 1
	mov rdi, BASE + BYTES
	call [abs b_nvs_read]
	cmp rcx, 1
	must e, "the drive does not read behind RESET"
	add r12, 2
	lea rax, [works_end]
	cmp r12, rax
	jne .next

	lea rbx, [ticks]
	call other
.idle:	cmp dword [ticked], 10
	jb .idle
	cmp byte [seen_busy], 1
	must e, "SMP_BUSY in an idle core's callback: the boot core has work"
	lea rax, [resets]
	mov edx, 1000
	system CALLBACK_TIMER
	sleep_until e, byte [was_reset], 1
	mov r15d, [ticked]
	mov eax, 50000
	system DELAY
	cmp [ticked], r15d
	must e, "a timer ticks behind RESET"
	say "callbacks: fine", 10
	ret

resets:	system RESET
	xor eax, eax
	system CALLBACK_TIMER
	mov byte [was_reset], 1
	ret

; RBX = what another core is to do; returns when it has begun
other:	xor edx, edx
.next:	mov rax, rbx
	system SMP_SET
	jnc .wait
	inc edx
	cmp edx, 256
	jne .next
	say "FAIL: no other core", 10
	system SHUTDOWN
.wait:	pause
	cmp byte [started], 0
	je .wait
	mov byte [started], 0
	ret

	align 16
reads:	mov byte [started], 1
	xor eax, eax
	xor edx, edx
	mov ecx, BYTES / 4096
	mov rdi, BASE + 2 * BYTES
	call [abs b_nvs_read]
	jmp reads

	align 16
prints:	mov rdi, BASE + 2 * BYTES
	mov ecx, BYTES
	mov al, '.'
	rep stosb
	mov byte [started], 1
	mov rsi, BASE + 2 * BYTES
	mov ecx, BYTES
	call [abs b_output]
	jmp prints

	align 16
dumps:	mov byte [started], 1
	mov rax, BASE
	mov edx, BYTES
	system DUMP_MEM
	jmp dumps

	align 16
delays:	cli
	mov byte [started], 1
	mov eax, -1			; more than an hour
	system DELAY
	jmp delays

	align 16
ticks:	lea rax, [tick]
	mov edx, 2000
	system CALLBACK_TIMER
	mov byte [started], 1
	ret
tick:	inc dword [ticked]
	system SMP_BUSY
	mov [seen_busy], al
	ret

works:	dw reads - start, prints - start, dumps - start, delays - start
works_end:
ticked:	dd 0
started: db 0
seen_busy: db 0
was_reset: db 0
