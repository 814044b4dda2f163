// kernel.bin as it lies on disk: this stub, and behind it the kernel's image packed by scripts/pack.py in the format
// NRV2B (8-bit) of the UCL library.  The loader enters here, at 1 MiB with RDI = boot_info; the stub moves itself and
// the packed image out of the way, unpacks to 1 MiB and enters the kernel.  Nothing but RDI, and a stack outside 1 to
// 2 MiB, is needed.
	.set HERE, 0x100000
	.set AWAY, 0x1A0000

	.macro bit			// the next one, in CF
	add %bl, %bl
	jnz 0f
	mov (%rsi), %bl
	inc %rsi
	adc %bl, %bl
0:
	.endm

	.text
	.code64
start:	jmp 1f
	.balign 4
bytes:	.long 0				// of kernel.bin; these are filled in by pack.py
limit:	.long 0				// call targets below it have been made absolute,
tag:	.long 0				// and this was added
1:	push %rdi
	mov $HERE, %esi
	mov $AWAY, %edi
	mov bytes - start(%rsi), %ecx
	shr $3, %ecx
	inc %ecx
	cld
	rep movsq
	lea unpack - start + AWAY, %eax
	jmp *%rax

// RSI = packed, RDI = image, RBP = last offset (negative), BL = bits, of which the last 1 is a marker.
unpack:	mov $packed - start + AWAY, %esi
	mov $HERE, %edi
	or $-1, %rbp
	mov $0x80, %bl
	jmp next
literal:
	movsb
next:	bit
	jc literal
	mov $1, %eax
2:	bit
	adc %eax, %eax
	bit
	jnc 2b
	xor %ecx, %ecx
	sub $3, %eax
	jb same				// the offset of the last match
	shl $8, %eax
	lodsb
	not %eax
	test %eax, %eax
	jz done
	movslq %eax, %rbp
same:	bit
	adc %ecx, %ecx
	bit
	adc %ecx, %ecx
	jnz 4f
	inc %ecx
3:	bit
	adc %ecx, %ecx
	bit
	jnc 3b
	add $2, %ecx
4:	cmp $-0xD00, %rbp
	adc $1, %ecx
	push %rsi
	lea (%rdi, %rbp), %rsi
	rep movsb
	pop %rsi
	jmp next

// Calls were packed with their target's place in the image, highest byte first, so that those of one routine are alike.
done:	mov $HERE, %ebx
	mov %edi, %ecx
	sub %ebx, %ecx
	mov %ebx, %edi
	mov $0xE8, %al
6:	repne scasb
	jne 7f
	mov (%rdi), %edx
	bswap %edx
	sub tag - start + AWAY, %edx
	cmp limit - start + AWAY, %edx
	jae 6b
	lea -4(%rdx, %rbx), %edx
	sub %edi, %edx
	scasl
	mov %edx, -4(%rdi)
	sub $4, %ecx
	ja 6b
7:	pop %rdi
	jmp *%rbx
packed:

	.section .note.GNU-stack, "", @progbits
