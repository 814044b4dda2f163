; CALLBACK_KEYBOARD: the routine reads the key, in place of the program, which only sleeps.  q ends; off is off.
%include "flat.inc"

start:	lea rax, [key]
	system CALLBACK_KEYBOARD
	say "ready", 10
	sleep_until e, byte [last], 'q'
	xor eax, eax
	system CALLBACK_KEYBOARD
	mov r12, [calls]
	say "off", 10
.poll:	hlt
	call [abs b_input]
	jz .poll
	cmp [calls], r12
	must e, "a callback that is off is called"
	say "polled", 10
	ret

key:	inc qword [calls]
.more:	call [abs b_input]
	jz .done
	mov [last], al
	lea rsi, [last]
	mov ecx, 1
	call [abs b_output]
	jmp .more
.done:	mov ebx, 0x12345678		; nothing has to be kept
	mov rbp, rbx
	pxor xmm5, xmm5
	ret

calls:	dq 0
last:	db 0
