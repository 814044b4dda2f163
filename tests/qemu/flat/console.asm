; Every control character of b_output; zero length; STDOUT_SET and STDOUT_GET, a call of a replaced routine; b_user.
%include "flat.inc"

start:	say "is cleared", 10, 1
	say "newline", 10, "pair", 13, 10, "gone", 13, "return", 13, 10
	say 9, "tab", 9, "b", 9, 9, "c", 10, "1234567", 9, "8", 10, "12345678", 9, "9", 10
	say "erase???", 14, 14, 14, "!", 10
	say "left", 3, 3, 3, 3, "L", 10
	say "right:", 2, 2, "there", 10
	say "over", 3, 3, 2, "R", 10
	say "glyphs: !~", 0x7F, 0x80, 0xFF, ".", 10
	xor ecx, ecx
	lea rsi, [never]
	call [abs b_output]
	system STDOUT_GET
	mov [before], rax
	cmp rax, [abs b_output]
	must e, "STDOUT_GET is not the call table's pointer"
	lea rax, [own]
	system STDOUT_SET
	say "captured"
	mov rdx, rax
	system STDOUT_GET
	cmp rax, rdx
	must e, "STDOUT_GET behind STDOUT_SET"
	mov rax, [before]
	mov [abs b_output], rax		; a program may write it, too
	cmp qword [length], 8
	must e, "the replaced routine's length"
	mov rax, "captured"
	cmp rax, [capture]
	must e, "the replaced routine's text"
	call [abs b_user]
	lea rax, [user]
	mov [abs b_user], rax
	xor ebx, ebx
	call [abs b_user]
	cmp ebx, 77
	must e, "a replaced b_user"
	say "done", 10
look:	hlt				; until the screen has been looked at
	call [abs b_input]
	jz look
	ret

own:	mov [length], rcx
	push rax
	mov rax, [rsi]
	mov [capture], rax
	pop rax
	ret

user:	mov ebx, 77
	ret

never:	db "FAIL"
before:	dq 0
length:	dq 0
capture: dq 0
