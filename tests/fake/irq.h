// include/irq.h, except that a host program may not switch interrupts off: the fake counts how deep they are off.
#pragma once
#define irq_save irq_save_privileged
#define irq_restore irq_restore_privileged
#include_next <irq.h>
#undef irq_save
#undef irq_restore

uint64_t irq_save(void);
void irq_restore(uint64_t flags);
