// Memory: one allocator for everything that the kernel and its drivers need, and the way from pointers to the
// addresses that devices see.  All of this is for set-up: nothing here belongs on a hot path but mem_phys.
#pragma once
#include <util.h>

// Returns `bytes` of zeroed memory, aligned to `align` (a power of two, at least 64 is given), or NULL.  The memory
// is physically contiguous, lies below 4 GiB, and its address is also the address that a device uses (identity map).
// It is the caller's until mem_free.  Sizes are rounded up to 64 bytes.  Boot core only, or inside a control call.
void *mem_alloc(size_t bytes, size_t align);

// Gives back what mem_alloc returned; `bytes` as in the call.  NULL is allowed.
void mem_free(void *memory, size_t bytes);

// A driver's structure, from mem_alloc.
static inline void *kzalloc(size_t bytes)
{
	return mem_alloc(bytes, 64);
}

// `bytes` as they were asked for.
static inline void kfree(void *memory, size_t bytes)
{
	mem_free(memory, bytes);
}

// The physical address of `ptr` and, in *run, how many of the `len` bytes from there are physically contiguous
// (1 to len; 0 if the address is not mapped).  Accepts both maps: identity and program memory.  `len` must not be 0.
uint64_t mem_phys(const void *ptr, size_t len, size_t *run);

// Memory of one piece, where data was found before: spares the requests of a queue the search.
struct mem_near {
	uint64_t from, bytes;
	uint64_t offset; // from addresses there to physical ones
};

// Whether `len` bytes at `data` lie there; their physical address.
static ALWAYS_INLINE bool mem_near(const struct mem_near *near, const void *data, size_t len, uint64_t *phys)
{
	uint64_t at = (uintptr_t)data - near->from;
	*phys = (uintptr_t)data + near->offset;
	return likely(at <= near->bytes && near->bytes - at >= len);
}

// From now on it is there, from `data` to the end of the piece.
static inline void mem_near_set(struct mem_near *near, const void *data)
{
	near->from = (uintptr_t)data;
	near->offset = mem_phys(data, INT64_MAX, &near->bytes) - near->from;
}

// Makes device memory accessible at its physical address: uncached, no-execute, readable and writable.  Mapping the
// same range again is harmless.  Returns the address, or NULL if no memory is left for page tables, the range wraps
// round or lies beyond the CPU's physical addresses.
void *mem_map_device(uint64_t phys, uint64_t bytes);

// The same, write-combining (PAT): for frame buffers, which are written and never read.
void *mem_map_framebuffer(uint64_t phys, uint64_t bytes);
