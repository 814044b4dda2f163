; Every drive: its size, its first sectors, its last, a transfer over many pages at an odd address, and what must be
; refused.  Sector s of drive d is filled with words of 64 bits, d in bits 63:56, s in 55:16, the word's number below;
; the test looks for them in the images.
%include "flat.inc"

MANY		equ 300			; sectors: more than a MiB
buffer		equ BASE + 0x400000 + 7	; free memory

start:	system FREE_MEMORY
	shl rax, 20
	mov rdx, BASE
	lea r15, [rax + rdx]		; less than a MiB before the end of program memory
	xor ebx, ebx
.each:	xor eax, eax
	mov ecx, 1
	call read
	test rcx, rcx
	jz .done
	call size
	mov rax, r12
	system DUMP_RAX
	call limits
	call sectors
	inc ebx
	jmp .each
.done:	say "drives", 10
	ret

; RAX = first, RCX = how many, of drive EBX to or from buffer; nothing but RCX changes
%macro transfer 3
%1:	mov edx, ebx
	or edx, 0x7700			; only the low 8 bits count
	mov %3, buffer
	mov r8, rax
	mov r9, rdx
	mov r10, %3
	call [abs %2]
	cmp rax, r8
	must e, "a transfer changes RAX"
	cmp rdx, r9
	must e, "a transfer changes RDX"
	cmp %3, r10
	must e, "a transfer changes its address"
	ret
%endmacro
transfer read, b_nvs_read, rdi
transfer write, b_nvs_write, rsi

; R12 = sectors of the drive, by bisection: the first that can't be read
size:	xor r12d, r12d			; can be read
	mov r13, 1 << 32		; can't
.halve:	lea rax, [r12 + r13]
	shr rax, 1
	mov r14, rax
	mov ecx, 1
	call read
	test rcx, rcx
	cmovnz r12, r14
	cmovz r13, r14
	lea rax, [r12 + 1]
	cmp rax, r13
	jb .halve
	inc r12
	ret

%macro refused 3			; first, how many, what it is
	mov rax, %1
	mov rcx, %2
	call read
	test rcx, rcx
	must z, {"read: ", %3}
	mov rax, %1
	mov rcx, %2
	call write
	test rcx, rcx
	must z, {"written: ", %3}
%endmacro

limits:	refused 0, 0, "nothing"
	refused r12, 1, "past the end"
	lea r14, [r12 - 1]
	refused r14, 2, "across the end"
	refused -1, 2, "around the end of numbers"
	refused 0, -1, "more than there is"
	mov r14, 1 << 60
	refused 0, r14, "a count that is 0 in bytes"
	push rbx
	mov ebx, 200
	refused 0, 1, "no drive"
	pop rbx
	lea r14, [r15 - 4096]		; the last page but for what a MiB doesn't tell,
	xor eax, eax
	mov ecx, 1
	mov rdi, r14
	mov edx, ebx
	call [abs b_nvs_read]
	cmp ecx, 1
	must e, "a sector into the end of memory"
	xor eax, eax			; across the end,
	mov ecx, MANY
	call [abs b_nvs_read]
	test rcx, rcx
	must z, "sectors across the end of memory"
	add r14, 0x200000		; and where no memory is
	mov rdi, r14
	mov ecx, 1
	call [abs b_nvs_read]
	test rcx, rcx
	must z, "a sector where no memory is"
	ret

; R13 = first, R14 = how many: fills, writes, wipes, reads and compares
there_and_back:
	call walk
	mov rax, r13
	mov rcx, r14
	call write
	cmp rcx, r14
	must e, "sectors written"
	mov rdi, buffer
	mov rcx, r14
	shl rcx, 9
	mov rax, -1
	rep stosq
	mov rax, r13
	mov rcx, r14
	call read
	cmp rcx, r14
	must e, "sectors read"
	mov byte [compare], 1
	call walk
	mov byte [compare], 0
	cmp rax, rax
	ret

; Writes the words of R13 and those behind into buffer, or compares them with it.
walk:	mov rdi, buffer
	xor r8d, r8d			; word
	mov r10, r14
	shl r10, 9
.word:	mov rax, rbx
	shl rax, 40
	mov rcx, r8
	shr rcx, 9
	add rcx, r13
	or rax, rcx
	shl rax, 16
	mov rcx, r8
	and ecx, 511
	or rax, rcx
	cmp byte [compare], 0
	jne .look
	mov [rdi], rax
.look:	cmp rax, [rdi]
	must e, "other data are read than were written"
	add rdi, 8
	inc r8
	cmp r8, r10
	jb .word
	ret

sectors:
	xor r13d, r13d
	mov r14d, 3
	call there_and_back
	mov r13d, 5
	mov r14d, MANY
	call there_and_back
	lea r13, [r12 - 1]
	mov r14d, 1
	jmp there_and_back

compare: db 0
