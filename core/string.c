// What the compiler calls on its own, for size: the string instructions are fast where it matters.
#include <util.h>

void *memcpy(void *to, const void *from, size_t len)
{
	void *at = to;
	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(len) :: "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t len)
{
	char *end = (char *)to + len - 1;
	const char *last = (const char *)from + len - 1;
	if ((uintptr_t)to - (uintptr_t)from >= len)
		return memcpy(to, from, len);
	__asm__ volatile("std; rep movsb; cld" : "+D"(end), "+S"(last), "+c"(len) :: "memory");
	return to;
}

void *memset(void *to, int byte, size_t len)
{
	void *at = to;
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(len) : "a"(byte) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const uint8_t *left = a, *right = b;
	for (; len; len--, left++, right++)
		if (*left != *right)
			return *left - *right;
	return 0;
}

size_t strlen(const char *text)
{
	size_t len = 0;
	while (text[len])
		len++;
	return len;
}
