; A payload at 0x1E0000: 64 KiB that are there, zero behind the file, writable and executable.  It keeps a flag there:
; RESET doesn't copy it anew.
%define BASE 0x1E0000
%include "flat.inc"

ROOM	equ 0x10000

start:	inc byte [runs]
	lea rdi, [end]
	mov ecx, BASE + ROOM - end
.zero:	cmp byte [rdi], 0
	must e, "the room behind the payload is not zero"
	inc rdi
	dec ecx
	jnz .zero
	mov rsi, routine
	mov edi, BASE + ROOM - 16
	mov ecx, 16
	rep movsb
	mov ebx, 5
	mov eax, BASE + ROOM - 16
	call rax
	cmp ebx, 6
	must e, "code in the last bytes"
	mov eax, 0x1234
	mov edx, 0x5678
	system RESET
	cmp eax, 0x1234
	must e, "RESET changes RAX"
	cmp byte [runs], 1
	must e, "the payload's flag"
	mov al, [abs 0x1F0000 - 16]
	cmp al, [routine]
	must e, "RESET copies the payload anew"
	say "payload: fine", 10
	ret

routine: inc ebx
	ret
	times 16 - ($ - routine) nop
runs:	db 0
end:
