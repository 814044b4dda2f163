// e1000e: the tests of e1000_test.c with an 82574, and its queues.
#define EXTENDED 1
#define DRIVER "e1000e"
#define DEVICE 0x10D3
#include "e1000_test.c"
