; Prints each key as <HH>; Escape ends.  Sleeps between keys: none may be slept over.
%include "flat.inc"

start:	say "ready", 10
next:	hlt
	call [abs b_input]
	jz next				; the zero flag belongs to the result
	test al, al
	must nz, "b_input clears the zero flag without a character"
	push rax
	mov dl, al
	shr al, 4
	call digit
	mov [hex + 1], al
	mov al, dl
	and al, 15
	call digit
	mov [hex + 2], al
	lea rsi, [hex]
	mov ecx, 4
	call [abs b_output]
	pop rax
	cmp al, 0x1B
	jne next
	ret

digit:	add al, '0'
	cmp al, '9'
	jbe .done
	add al, 7
.done:	ret

hex:	db "<00>"
