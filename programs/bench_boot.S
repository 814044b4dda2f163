// A flat program that says when it was entered and when it has said its line: the time-stamp counter, its lowest byte
// first, to port 0x80, where scripts/bench.py finds it in QEMU's trace.
	.globl	_start
_start:
	call	report_time
	lea	text(%rip), %rsi
	mov	$text_end - text, %ecx
	call	*0x100018		// b_output
	call	report_time
	mov	$0x7F, %ecx		// SHUTDOWN
	call	*0x100040		// b_system
	ret

report_time:
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	mov	$8, %ecx
1:	out	%al, $0x80
	shr	$8, %rax
	loop	1b
	ret

text:	.ascii	"Hello from Ingot\n"
text_end:
	.section .note.GNU-stack, "", @progbits
