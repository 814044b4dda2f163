// Error numbers.  A function that can fail returns E_OK or one of these; data comes back through out-parameters.
#pragma once

enum {
	E_OK = 0,
	E_NODEV = -1,   // not mine, or not there; a probe that returns it has touched nothing
	E_NOMEM = -2,   // the allocator is empty
	E_INVAL = -3,   // an argument, or what a device or table says, makes no sense
	E_RANGE = -4,   // past the end of a drive, a table or a buffer
	E_IO = -5,      // the device reported an error
	E_TIMEOUT = -6, // the device did not answer before its deadline
	E_AGAIN = -7,   // nothing there yet, or the queue is full: try again later
	E_BUSY = -8,    // in use by somebody else
	E_RDONLY = -9,  // write to a read-only drive
	E_NOTSUP = -10, // the device or this configuration cannot do it
};
