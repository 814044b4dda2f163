; Sends every frame of every interface back with its addresses exchanged, in turn from where it has been received (the
; identity map) and from a copy at an odd address (program memory).  A frame of type 88B6 ends.  NET_CONFIG once.
%include "flat.inc"

start:	xor edx, edx
.each:	system NET_STATUS
	test rax, rax
	jz .last
	system DUMP_RAX
	inc edx
	jmp .each
.last:	mov [interfaces], edx
	say "interfaces", 10
	call never_sent
	lea rax, [buffers + 1]		; any alignment
	xor edx, edx
	system NET_CONFIG		; interface 0 receives into the program's own memory
	say "ready", 10
	xor ebx, ebx
.next:	inc ebx
	cmp ebx, [interfaces]
	jb .receive
	xor ebx, ebx
.receive:
	mov rdx, 0x5A00			; only the low 8 bits count
	mov dl, bl
	mov rdi, -1
	call [abs b_net_rx]
	jnz .frame
	test rcx, rcx
	must z, "the zero flag without a frame"
	jmp .next
.frame:	test rcx, rcx
	must nz, "no zero flag with a frame"
	test ebx, ebx
	jnz .kept
	call is_ours
.kept:	cmp word [rdi + 12], 0xB688
	je .end
	mov eax, [rdi]			; exchange the addresses
	mov r8w, [rdi + 4]
	mov r9d, [rdi + 6]
	mov r10w, [rdi + 10]
	mov [rdi], r9d
	mov [rdi + 4], r10w
	mov [rdi + 6], eax
	mov [rdi + 10], r8w
	mov rsi, rdi
	inc dword [count]
	test dword [count], 1
	jz .send
	lea rdi, [copy]
	mov eax, [count]		; any alignment
	and eax, 63
	add rdi, rax
	mov r8, rdi
	mov r9, rcx
	rep movsb
	mov rsi, r8
	mov rcx, r9
.send:	mov r8, rcx
	call [abs b_net_tx]
	cmp rcx, r8
	must e, "b_net_tx changes RCX"
	mov byte [rsi + 20], 0xEE	; the frame is ours again
	jmp .next
.end:	say "end", 10
	ret

; Is the frame at RDI in the memory that NET_CONFIG got?  It may be told by the other map's address: a mark is set
; through one and sought through the other.
is_ours:
	mov r8, [rdi + 20]
	mov r9, 0x1DEA5EEDCAFEF00D
	mov [rdi + 20], r9
	lea rsi, [buffers]
	mov eax, 256 * 2048 - 8		; 256 buffers
.seek:	cmp [rsi], r9
	je .found
	inc rsi
	dec eax
	jnz .seek
.found:	mov [rdi + 20], r8
	test eax, eax
	must nz, "the frame is not where NET_CONFIG said"
	ret

; Too short, too long, nobody there: nothing leaves, nothing breaks.
never_sent:
	lea rsi, [copy]
	xor ecx, ecx
	xor edx, edx
	call [abs b_net_tx]
	mov ecx, 13
	call [abs b_net_tx]
	mov ecx, 20000
	call [abs b_net_tx]
	mov rcx, -1
	call [abs b_net_tx]
	mov ecx, 60
	mov edx, 200
	call [abs b_net_tx]
	xor ecx, ecx
	call [abs b_net_rx]
	must z, "a frame from no interface"
	test rcx, rcx
	must z, "a length from no interface"
	ret

interfaces: dd 0
count:	dd 0
	align 64
copy:	times 2048 + 64 db 0
	align 4096
buffers:				; behind the file: memory is zero there
