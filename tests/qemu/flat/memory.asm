; Program memory from end to end, page by page; that physical memory lies at its own addresses, too; that what has no
; memory at 0x410000 reads as zero.
%include "flat.inc"

start:	cmp byte [abs 0x410000], 0
	must e, "a RAM drive at 0x410000"
	system FREE_MEMORY
	system DUMP_RAX
	cmp eax, [abs 0x110104]
	must e, "the word at 0x110104"
	shl rax, 20
	mov rdx, BASE
	lea r15, [rdx + rax]		; its end
	lea rbx, [end + 4095]
	and rbx, -4096
	mov rdi, rbx
.zero:	cmp qword [rdi], 0		; behind the program
	must e, "memory behind the program is not zero"
	add rdi, 4096
	lea rax, [rbx + 0x100000]
	cmp rdi, rax
	jb .zero
	mov rdi, rbx
.fill:	mov [rdi], rdi
	mov [rdi + 4088], rdi
	add rdi, 4096
	cmp rdi, r15
	jb .fill
	mov rdi, rbx
.look:	cmp [rdi], rdi
	must e, "a page's first word"
	cmp [rdi + 4088], rdi
	must e, "a page's last word: two pages are one"
	add rdi, 4096
	cmp rdi, r15
	jb .look
	; Identity map: the page that says BASE + x is program memory's.  The memory map tells where to look.
	mov rsi, 0x6000
	xor r14d, r14d			; pages found
.range:	mov rdi, [rsi]
	mov rcx, [rsi + 8]
	test rcx, rcx
	jz .done
	cmp dword [rsi + 16], 1
	jne .skip
	add rcx, rdi
	add rdi, 4095
	and rdi, -4096
	cmp rdi, 0x200000		; below lies the kernel
	jae .page
	mov edi, 0x200000
.page:	lea rax, [rdi + 4096]
	cmp rax, rcx
	ja .skip
	mov rax, [rdi]
	cmp rax, rbx
	jb .other
	cmp rax, r15
	jae .other
	cmp rax, [rdi + 4088]
	jne .other
	inc r14
	not qword [rdi]			; seen through the other map
	not rax
	mov rdx, rax
	not rdx
	cmp [rdx], rax
	must e, "the maps show different memory"
.other:	add rdi, 4096
	jmp .page
.skip:	add rsi, 32
	jmp .range
.done:	mov rax, r15
	sub rax, rbx
	shr rax, 12
	cmp rax, r14
	must e, "pages of program memory that the identity map lacks"
	say "memory: fine", 10
	ret
end:
