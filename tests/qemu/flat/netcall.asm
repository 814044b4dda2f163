; CALLBACK_NETWORK: a routine for each of two interfaces, and a program that only sleeps.  A frame of type 88B6 on
; interface 1 ends; with interface 0 switched off before, frames wait there until they are asked for.
%include "flat.inc"

start:	lea rax, [first]
	xor edx, edx
	system CALLBACK_NETWORK
	lea rax, [second]
	mov edx, 1
	system CALLBACK_NETWORK
	say "ready", 10
	sleep_until e, dword [count], 7		; the test sends so many to interface 0,
	sleep_until e, dword [count + 4], 4	; and to interface 1
	say "both", 10
	xor eax, eax
	xor edx, edx
	system CALLBACK_NETWORK
	say "off", 10
	sleep_until e, byte [ended], 1
	cmp dword [count], 7
	must e, "a callback that is off is called"
	cmp dword [count + 4], 4
	must e, "frames of one interface are told to the other"
	xor edx, edx
	call [abs b_net_rx]
	must nz, "the frame that came meanwhile is lost"
	say "polled", 10
	ret

first:	xor edx, edx
	jmp take
second:	mov edx, 1
take:	call [abs b_net_rx]		; all that there are
	jz .done
	cmp word [rdi + 12], 0xB688
	je .last
	lea r8, [count]
	inc dword [r8 + 4 * rdx]
	jmp take
.last:	mov byte [ended], 1
	jmp take
.done:	ret

count:	dd 0, 0
ended:	db 0
