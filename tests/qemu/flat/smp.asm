; Work for all ids 0 to 255, ours among them; refusals; locks; SMP_BUSY and SMP_GET; many cores at once in b_output,
; b_nvs_write, b_nvs_read and b_net_tx; RESET while all of them hang.
%include "flat.inc"

LINES	equ 20			; of each core
COUNTS	equ 1000

start:	system SMP_NUMCORES
	mov [cores], rax
	system SMP_ID
	mov [self], rax
	system SMP_BUSY
	test rax, rax
	must z, "SMP_BUSY without work"
	system SMP_GET
	test al, 1
	must nz, "SMP_GET: this core is not there"
	call refusals
	lea rax, [present]
	call everywhere
	call idle
	mov rax, [ran]
	inc rax
	cmp rax, [cores]
	must e, "work has not run once on each core"
	say "work: fine", 10

	lea rax, [count]
	call everywhere
	call count
	call idle
	mov rax, [cores]
	imul rax, rax, COUNTS
	cmp [counter], rax
	must e, "a lock lets two in"
	cmp word [lock_word], 0xABCC
	must e, "the lock's other bits"
	say "locks: fine", 10

	lea rax, [load]
	call everywhere
	call load
	call idle
	cmp qword [wrong], 0
	must e, "sectors of several cores are mixed up"
	say "load: fine", 10

	lea rax, [hang]
	call everywhere
.all:	pause
	mov rax, [hanging]
	inc rax
	cmp rax, [cores]
	jne .all
	system SMP_BUSY
	cmp rax, 1
	must e, "SMP_BUSY with work"
	lea rax, [present]
	xor edx, edx
.busy:	system SMP_SET
	must c, "work for a core that has some"
	inc edx
	cmp edx, 256
	jne .busy
	mov eax, 0x77
	system RESET
	cmp eax, 0x77
	must e, "RESET changes RAX"
	call idle
	mov qword [ran], 0
	lea rax, [present]
	call everywhere
	call idle
	mov rax, [ran]
	inc rax
	cmp rax, [cores]
	must e, "work behind RESET"
	say "reset: fine", 10
	ret

idle:	pause
	system SMP_BUSY
	test rax, rax
	jnz idle
	ret

; RAX = what all other cores are to do
everywhere:
	mov rbx, rax
	xor edx, edx
	mov r8d, 1			; ours is not asked
.next:	mov rax, rbx
	system SMP_SET
	jc .not
	inc r8
.not:	cmp rax, rbx
	must e, "SMP_SET changes RAX"
	inc edx
	cmp edx, 256
	jne .next
	cmp r8, [cores]
	must e, "SMP_SET has not found all cores"
	ret

refusals:
	lea rax, [present]
	mov rdx, [self]
	system SMP_SET
	must c, "work for ourselves"
	add rax, 8
	xor edx, edx
.odd:	system SMP_SET
	must c, "work at an odd address"
	inc edx
	cmp edx, 256
	jne .odd
	sub rax, 8
	mov edx, 0xFFFFFFFF
	system SMP_SET
	must c, "work for nobody"
	ret

	align 16
present:
	system SMP_GET
	lea rdx, [present]
	or rdx, 3			; there, and active
	cmp rax, rdx
	must e, "SMP_GET at work"
	lea rax, [rsp - 60 * 1024]	; 64 KiB of stack
	mov qword [rax], 1
	lock inc qword [ran]
	ret

	align 16
count:	mov r8d, COUNTS
	lea rax, [lock_word]
.next:	system SMP_LOCK
	inc qword [counter]		; not atomic
	system SMP_UNLOCK
	dec r8d
	jnz .next
	ret

; Each core writes its own line, sectors and frames, and reads the sectors back, through calls that serialise inside.
	align 16
load:	system SMP_ID
	mov r15, rax
	shl rax, 16			; 64 KiB of memory for each
	mov r14, BASE + 0x400000
	add r14, rax
	mov r13d, LINES
.again:	mov rdi, r14
	mov rax, r15
	add al, 'A'
	mov ecx, 60
	rep stosb
	mov byte [rdi], 10
	mov rsi, r14
	mov ecx, 61
	call [abs b_output]
	lea rax, [r15 * 4]
	mov ecx, 4
	xor edx, edx
	call [abs b_nvs_write]
	cmp rcx, 4
	jne .wrong
	lea rdi, [r14 + 0x8001]
	lea rax, [r15 * 4]
	call [abs b_nvs_read]
	cmp rcx, 4
	jne .wrong
	mov ecx, 61
	mov rsi, r14
	repe cmpsb
	jne .wrong
	mov rsi, r14
	mov ecx, 60
	call [abs b_net_tx]
	dec r13d
	jnz .again
	ret
.wrong:	lock inc qword [wrong]
	ret

	align 16
hang:	lock inc qword [hanging]
	jmp $

cores:	dq 0
self:	dq 0
ran:	dq 0
counter: dq 0
hanging: dq 0
wrong:	dq 0
lock_word: dw 0xABCC
