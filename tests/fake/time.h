// include/ comes before the system's headers and has a time.h of its own: give those that need libc's (pthread.h)
// both.
#pragma once
#include "/usr/include/time.h"
#include_next <time.h>
