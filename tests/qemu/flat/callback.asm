; A timer's routine that is another one, with another period, from the tenth call on, and none from the fiftieth on;
; each leaves the vector unit, the x87 stack and the direction flag in disorder.  The interrupted program sees nothing.
%include "flat.inc"

start:	vmovdqu ymm3, [ones]
	fldpi
	lea rax, [first]
	mov edx, 1000
	system CALLBACK_TIMER
	std
.look:	pause
	vmovdqu [now], ymm3
	cmp qword [now + 24], -1
	jne .wrong
	pushf
	pop rax
	test eax, 0x400			; direction
	jz .wrong
	cmp dword [calls], 50
	jb .look
	cld
	fldpi
	fcomip st1
	must e, "the x87 stack is not what it was"
	mov eax, 20000
	system DELAY
	cmp dword [calls], 50
	must e, "called once more"
	say "state: fine", 10
	ret
.wrong:	cld
	say "FAIL: vector register or direction flag", 10
	ret

disorder:
	vzeroall
	fninit
	std
	ret

first:	inc dword [calls]
	cmp dword [calls], 10
	jne disorder
	lea rax, [second]
	mov edx, 3000
	system CALLBACK_TIMER
	jmp disorder

second:	inc dword [calls]
	cmp dword [calls], 50
	jne disorder
	xor eax, eax
	system CALLBACK_TIMER
	jmp disorder

calls:	dd 0
ones:	times 32 db 0xFF
now:	times 32 db 0
