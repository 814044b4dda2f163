// What the loader brings along: embed.py has put it into one file, EMBEDDED.
	.section .rodata, "a"
	.balign 8
	.global embedded, embedded_end
	.hidden embedded, embedded_end
embedded:
	.incbin EMBEDDED
embedded_end:

	.section .note.GNU-stack, "", @progbits
