// Time: a nanosecond clock that never goes back, waits, and one-shot timers on the calling core.
#pragma once
#include <stdint.h>

// Nanoseconds since the kernel's first instruction.
uint64_t time_ns(void);

// Spins for `us` microseconds.
void time_delay_us(uint32_t us);

// A deadline for a wait of one's own:  uint64_t end = time_deadline(us);  while (!done) if (time_passed(end)) ...
uint64_t time_deadline(uint64_t us);
int time_passed(uint64_t deadline);

// Has the boot core's timer interrupt call fn(alarm), once, when time_ns() has reached `at`; 0 calls it off.  An alarm
// that waits may be set again.  Boot core only, with CORE_ALARM; `at` is 0 again when fn is called.
struct time_alarm {
	void (*fn)(struct time_alarm *alarm);
	uint64_t at;
	struct time_alarm *next;
};
void time_alarm(struct time_alarm *alarm, uint64_t at);
