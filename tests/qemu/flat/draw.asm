; Draws through the frame buffer: pixel (x, y) has red x, green y, blue x + y, 8 bits each.  Then waits for a key.
%include "flat.inc"

start:	system SCREEN_LFB_GET
	mov rdi, rax
	cmp rax, [abs 0x5080]
	must e, "the frame buffer in the information table"
	system SCREEN_X_GET
	mov r8d, eax
	cmp ax, [abs 0x5088]
	must e, "the width in the information table"
	system SCREEN_Y_GET
	mov r9d, eax
	cmp ax, [abs 0x508A]
	must e, "the height in the information table"
	system SCREEN_PPSL_GET
	mov r10d, eax
	cmp ax, [abs 0x508C]
	must e, "the line's pixels in the information table"
	system SCREEN_BPP_GET
	cmp ax, [abs 0x508E]
	must e, "the pixel's bits in the information table"
	cmp eax, 32
	must e, "32 bits a pixel"
	say "drawing", 10
	xor edx, edx			; y
.line:	xor ecx, ecx			; x
.pixel:	movzx eax, cl
	shl eax, 8
	mov al, dl
	shl eax, 8
	lea ebx, [rcx + rdx]
	mov al, bl
	mov [rdi + 4 * rcx], eax
	inc ecx
	cmp ecx, r8d
	jb .pixel
	lea rdi, [rdi + 4 * r10]
	inc edx
	cmp edx, r9d
	jb .line
	lea rax, [serial]		; nothing may scroll the picture away
	mov [abs b_output], rax
	say "drawn", 10
look:	hlt
	call [abs b_input]
	jz look
	ret

; b_output to the serial port alone
serial:	push rax
	push rdx
	push rcx
	push rsi
.next:	mov dx, 0x3FD
.full:	in al, dx
	test al, 0x20
	jz .full
	lodsb
	mov dx, 0x3F8
	out dx, al
	loop .next
	pop rsi
	pop rcx
	pop rdx
	pop rax
	ret
