// Spin locks of one word.  A lock that an interrupt handler takes too is taken with interrupts off.
#pragma once
#include <stdint.h>

struct lock {
	uint32_t taken;
};

// Waits for it; two instructions if it is free.
static inline void lock_take(struct lock *lock)
{
	__asm__ volatile("1: lock btsl $0, %0; jnc 2f; pause; jmp 1b; 2:" : "+m"(lock->taken)::"memory", "cc");
}

// The same where a program may wait long, with no other lock taken: RESET takes the core away from there.
void lock_wait(struct lock *lock);

// Only by who has taken it.
static inline void lock_drop(struct lock *lock)
{
	__atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE);
}
