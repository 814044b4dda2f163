// What the compiler calls on its own.  Eight bytes at a time: on an emulator each step of a string instruction counts.
#include <util.h>

__attribute__((noinline)) void *memcpy(void *to, const void *from, size_t len)
{
	void *at = to;
	size_t words = len >> 3;
	__asm__ volatile("rep movsq; mov %3, %2; rep movsb" : "+D"(at), "+S"(from), "+c"(words) : "r"(len & 7) : "memory");
	return to;
}

// Downwards by 8 bytes or more, which is all that the kernel moves: memcpy begins at the low end.
void *memmove(void *to, const void *from, size_t len)
{
	return memcpy(to, from, len);
}

__attribute__((noinline)) void *memset(void *to, int byte, size_t len)
{
	void *at = to;
	size_t words = len >> 3;
	__asm__ volatile("rep stosq; mov %2, %1; rep stosb"
					 : "+D"(at), "+c"(words)
					 : "r"(len & 7), "a"((uint8_t)byte * 0x0101010101010101ul)
					 : "memory");
	return to;
}

__attribute__((noinline)) int memcmp(const void *a, const void *b, size_t len)
{
	const uint8_t *left = a, *right = b;
	for (; len; len--, left++, right++)
		if (*left != *right)
			return *left - *right;
	return 0;
}

__attribute__((noinline)) size_t strlen(const char *text)
{
	size_t len = 0;
	while (text[len])
		len++;
	return len;
}
