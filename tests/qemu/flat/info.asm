; Shows the information table and the words besides, as bytes, and what the bus says to each entry of its table.
%include "flat.inc"

%macro dump 2
	mov rax, %1
	mov edx, %2
	system DUMP_MEM
%endmacro

start:	dump 0x5000, 0x800
	dump 0x6000, 0x400
	dump 0x110000, 0x210
	dump 0x174000, 0x50
	mov r12d, 0x118000
.next:	dump r12, 16
	cmp dword [r12], -1
	je .done
	mov edx, [r12]			; register 0: vendor and device
	system BUS_READ
	cmp eax, [r12 + 4]
	must e, "BUS_READ: another device than in the table"
	add edx, 15			; the interrupt line is software's alone (PCI 3.0, 6.2.4)
	system BUS_READ
	mov ebx, eax
	xor eax, 0x5A
	system BUS_WRITE
	mov r8d, eax
	system BUS_READ
	xor eax, r8d
	and eax, 0xFF
	must z, "BUS_WRITE"
	mov eax, ebx
	system BUS_WRITE
	add r12, 16
	jmp .next
.done:	mov rdx, 0xFFFF00000000		; no such segment
	system BUS_READ
	cmp eax, -1
	must e, "BUS_READ of nothing"
	say "end", 10
	ret
