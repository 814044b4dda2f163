; The boot core as another one sees it: RESET takes it out of its program, which has interrupts off; then it takes work
; like any other.  So it does when its program has returned to the kernel, which is what it does first.
%include "flat.inc"

start:	system SMP_ID
	mov [self], rax
	xor edx, edx
.next:	lea rax, [other]
	system SMP_SET
	jnc .done
	inc edx
	jmp .next
.done:	add rsp, 8			; back to the kernel
	ret

	align 16
other:	system SMP_BUSY			; until the boot core is idle
	test eax, eax
	jnz other
	call give
	say "ended: fine", 10
	mov byte [hangs], 1
	lea rax, [hang]
	mov rdx, [self]
	system SMP_SET
	must nc, "work for the boot core, again"
.wait:	pause
	cmp byte [hangs], 2
	jne .wait
	mov rax, 0x77
	system RESET
	cmp rax, 0x77
	must e, "RESET changes RAX"
	system SMP_BUSY
	test eax, eax
	must z, "the boot core has work behind RESET"
	call give
	say "reset: fine", 10
	system SHUTDOWN

give:	mov byte [done], 0
	mov rdx, [self]
	lea rax, [work]
	system SMP_SET
	must nc, "work for the boot core"
.wait:	pause
	cmp byte [done], 1
	jne .wait
.idle:	system SMP_BUSY
	test eax, eax
	jnz .idle
	ret

	align 16
hang:	cli
	mov byte [hangs], 2
.more:	hlt
	jmp .more

	align 16
work:	system SMP_ID
	cmp [self], rax
	must e, "work of the boot core on another one"
	mov byte [done], 1
	ret

self:	dq 0
hangs:	db 0
done:	db 0
