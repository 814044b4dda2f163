// Ingot's interface to programs: C and C++.
//
// A program is entered with a pointer to struct ingot_api (start.S keeps it in `ingot`), a table of functions in the
// C calling convention.  Functions are never removed and never change; new ones are added behind the last, so that
// every program runs on every later kernel.  One that needs a later function than a kernel may have says so
// (INGOT_NEEDS: that kernel refuses it), or asks (INGOT_HAS).  Structures that are filled in begin with their size,
// which the caller sets: they grow at their end, and a program gets as much as it knows.
//
// Results: 0 or more is success, a negative number one of INGOT_E*.  Unless a function says otherwise it may be called
// on any core, doesn't allocate, and returns at once.  What was left out of the kernel when it was configured answers
// with an error, or counts 0.
//
// In this order: results, network, storage, devices and the rest, the table, and what the program does for itself:
// printing, sleeping, cores, locks.  ingot_pci.h has what a driver in a program needs.  docs/program-guide.md shows how
// to build a program and has an example for each part.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_API_VERSION 2 // 2: core_wake, device_claim, device_release, device_irq

enum {
	INGOT_OK = 0,
	INGOT_ENODEV = -1,   // no such device, core, queue or entry
	INGOT_ENOMEM = -2,   // the kernel's own memory is used up
	INGOT_EINVAL = -3,   // an argument makes no sense
	INGOT_ERANGE = -4,   // past the end of the drive
	INGOT_EIO = -5,      // the device reported an error
	INGOT_ETIMEOUT = -6, // the device did not answer in time
	INGOT_EAGAIN = -7,   // the queue is full: take completions, then try again
	INGOT_EBUSY = -8,    // somebody else has it
	INGOT_ERDONLY = -9,  // a write to a read-only drive
	INGOT_ENOTSUP = -10, // this device or this kernel can't
};

// ---- Network -------------------------------------------------------------------------------------------------

// A frame and its buffer.  A pool owns it while it is free; the program from ingot_frame_get or net_rx on; the device
// from net_tx on, until it is back in its pool.  It fills the first 64 bytes of its buffer.
struct ingot_pool;
struct ingot_frame {
	uint8_t *data;            // first byte of the Ethernet header; no FCS
	uint64_t phys;            // the address of data that the device uses
	uint32_t length;          // bytes
	uint32_t room;            // most that data holds
	struct ingot_pool *pool;  // goes back here
	struct ingot_frame *next; // in the pool's list
	uint16_t flags;           // INGOT_TX_*, INGOT_RX_*
	uint16_t csum_start;      // INGOT_TX_CSUM: sum from this byte of data to the end,
	uint16_t csum_offset;     // and put it so many bytes behind csum_start
	uint16_t reserved[9];
};
#define INGOT_TX_CSUM 1      // let the device fill in the checksum (INGOT_NET_CSUM)
#define INGOT_RX_CSUM_GOOD 2 // the device answers for the TCP or UDP checksum; it needn't be in the frame

// Free frames of one queue: a stack, used by the core that owns the queue and nobody else.
struct ingot_pool {
	struct ingot_frame *free;
	uint32_t available; // frames in the list
	uint32_t total;     // frames there are
};

// A frame to fill and send, or NULL: all are with the device or the program.
static inline struct ingot_frame *ingot_frame_get(struct ingot_pool *pool)
{
	struct ingot_frame *frame = pool->free;
	if (frame) {
		pool->free = frame->next;
		pool->available--;
	}
	return frame;
}

// Back to where it came from, which is by the core that owns that queue.
static inline void ingot_frame_put(struct ingot_frame *frame)
{
	struct ingot_pool *pool = frame->pool;
	frame->next = pool->free;
	pool->free = frame;
	pool->available++;
}

struct ingot_net_info {
	uint32_t size; // set by the caller: sizeof(struct ingot_net_info)
	uint8_t mac[6];
	uint16_t mtu; // bytes behind the Ethernet header
	uint8_t link; // 1: up
	uint8_t promiscuous;
	uint16_t queues;      // pairs that the device has
	uint16_t queues_open; // pairs in use
	uint16_t features;    // INGOT_NET_*
	uint32_t speed;       // Mbit/s, 0 if unknown
	char name[8];         // "net0"
	char driver[16];
	char address[16]; // "0000:00:02.0"
};
#define INGOT_NET_CSUM 1 // INGOT_TX_CSUM works, and with frames of net_open INGOT_RX_CSUM_GOOD

struct ingot_net_stats {
	uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
	uint64_t rx_dropped; // no buffer, or longer than the buffers
	uint64_t rx_errors;  // reported by the device
	uint64_t tx_errors;
};

// ---- Storage -------------------------------------------------------------------------------------------------

struct ingot_blk_info {
	uint32_t size;        // set by the caller
	uint32_t block_bytes; // 512 or 4096
	uint64_t blocks;
	uint32_t max_blocks; // most in one request
	uint16_t queues;
	uint16_t depth;    // requests that one queue takes
	uint16_t features; // INGOT_BLK_*
	uint16_t align;    // of data: 1, 2 or 4 bytes
	char name[8];      // "disk0"
	char driver[16];
	char address[16];
};
#define INGOT_BLK_READONLY 1
#define INGOT_BLK_FLUSH 2 // has a volatile cache
#define INGOT_BLK_DISCARD 4

enum { INGOT_READ = 0, INGOT_WRITE = 1, INGOT_FLUSH = 2, INGOT_DISCARD = 3 };

struct ingot_blk_req {
	uint64_t block; // first, in units of block_bytes
	uint32_t count; // blocks; 0 for INGOT_FLUSH
	uint32_t op;    // INGOT_READ...
	void *data;     // in program memory or at its physical address; untouched until the request is done
	uint64_t tag;   // comes back with the completion
};

struct ingot_blk_done {
	uint64_t tag;
	int32_t status; // INGOT_OK, INGOT_EIO, ...
	uint32_t reserved;
};

// ---- Others --------------------------------------------------------------------------------------------------

struct ingot_device_info {
	uint32_t size; // set by the caller
	uint16_t vendor, device, subvendor, subdevice;
	uint32_t class_code; // 0x00BBSSII: base class, subclass, interface
	char address[16];
	char driver[16]; // empty: no driver
	char unit[8];    // "net0", "disk1", empty
	int32_t status;  // 0: bound; INGOT_ENODEV: nobody wanted it; else why its probe failed
};

struct ingot_driver_info {
	uint32_t size; // set by the caller
	char bus[12];  // "pci", "virtio", "usb", "platform"
	char name[16];
	uint32_t devices; // bound to it
};

struct ingot_screen {
	uint32_t size;          // set by the caller
	uint32_t width, height; // pixels
	uint32_t pitch;         // pixels from line to line
	uint32_t bits;          // per pixel: 32, blue lowest
	void *pixels;           // write-combining: write only
};

struct ingot_memory {
	uint32_t size;       // set by the caller
	uint32_t kernel_kib; // used by the kernel itself, code and tables
	uint32_t driver_kib; // used by drivers
	uint32_t ram_mib;    // in the machine
	void *base;          // program memory: contiguous, readable and writable
	uint64_t bytes;
	void *free; // first byte behind the program and its zero-initialised data
};

typedef void (*ingot_callback)(void *arg); // interrupts off; all registers are saved around it; must not wait

// Core numbers are indices, 0 (the boot core) to core_count() - 1.  Interfaces, drives, devices and drivers count from
// 0; of interfaces and drives, one that was taken from its driver leaves a hole (INGOT_ENODEV) below the count.
struct ingot_api {
	uint32_t version;   // INGOT_API_VERSION of the kernel
	uint32_t size;      // of this structure, in the kernel
	const char *kernel; // "Ingot 0.1.0 qemu_q35"

	// Console.  write: `len` bytes with control characters (docs/abi.md), to every console.  read: a character, or 0.
	void (*write)(const char *text, size_t len);
	int (*read)(void);

	// Time: nanoseconds since the kernel's start; a wait.
	uint64_t (*time_ns)(void);
	void (*delay_us)(uint64_t us);

	// Memory.  memory: what the program has, one range of addresses.  phys: the address by which a device knows `ptr`,
	// and in *run how many of `len` bytes are contiguous there (0: not mapped).
	int (*memory)(struct ingot_memory *out);
	uint64_t (*phys)(const void *ptr, size_t len, size_t *run);

	// Cores.  core_start runs fn(arg) on an idle core, on a fresh stack of 64 KiB, until it returns: INGOT_EBUSY if it
	// has work, INGOT_ENODEV if there is no such core.  core_busy: 1 while it has work.  core_self: the caller's index.
	// core_apic_id: as the hardware numbers it, ~0 if there is no such core.
	uint32_t (*core_count)(void);
	uint32_t (*core_self)(void);
	int (*core_start)(uint32_t core, void (*fn)(void *arg), void *arg);
	int (*core_busy)(uint32_t core);
	uint32_t (*core_apic_id)(uint32_t core);

	// Network.  A queue belongs to one core at a time; nothing inside locks.  net_open gives interface `net` `queues`
	// queue pairs (1 to info.queues; they all start anew) and carves the frames of each, `frame_bytes` a piece (a
	// multiple of 64, at least 256; 2048 suits an MTU of 1500), out of `memory` (64-byte aligned, in program memory,
	// the program's again after net_close): pool q of `queues` gets its equal share.  At least 64 frames a queue.
	// net_open with memory NULL, net_close: back to one queue with the driver's own frames.
	uint32_t (*net_count)(void);
	int (*net_info)(uint32_t net, struct ingot_net_info *out);
	int (*net_stats)(uint32_t net, struct ingot_net_stats *out);
	int (*net_open)(uint32_t net, uint32_t queues, void *memory, size_t bytes, uint32_t frame_bytes);
	void (*net_close)(uint32_t net);
	// net_pool: the frames of a queue, those that are sent back among them; NULL if there is no such queue.
	struct ingot_pool *(*net_pool)(uint32_t net, uint32_t queue);
	// Sends a burst; the first `returned` frames are the device's now and go back to their pools when they are sent:
	// at the next net_tx (of no frames, too) or net_pool of this queue.  Frames stay as they are but for length, flags,
	// the checksum's place and the data: data and phys don't move.
	uint32_t (*net_tx)(uint32_t net, uint32_t queue, struct ingot_frame *const *frames, uint32_t count);
	// Receives at most `max` frames; each is the program's until ingot_frame_put.  With the pool empty nothing is given
	// out, and what arrives waits in the device.
	uint32_t (*net_rx)(uint32_t net, uint32_t queue, struct ingot_frame **frames, uint32_t max);
	int (*net_promiscuous)(uint32_t net, int on);

	// Storage.  A queue belongs to one core at a time.  blk_submit never waits; the device gets the requests at the
	// latest by the next blk_poll, all with one notification.  blk_poll takes at most `max` completions.  blk_run
	// submits one request on queue 0 and waits (not beside outstanding ones of one's own).
	uint32_t (*blk_count)(void);
	int (*blk_info)(uint32_t blk, struct ingot_blk_info *out);
	int (*blk_submit)(uint32_t blk, uint32_t queue, const struct ingot_blk_req *req);
	uint32_t (*blk_poll)(uint32_t blk, uint32_t queue, struct ingot_blk_done *done, uint32_t max);
	int (*blk_run)(uint32_t blk, const struct ingot_blk_req *req);

	// Events.  fn NULL ends it.  Called on the core that set it.  timer: every `period_us`, one for each core.
	// on_receive: frames on queue 0; net_open and net_close end it.  The next call comes when net_rx has taken all that
	// there was: take until it returns 0 (with frames left in the pool, else there may be more), and once after
	// on_receive.
	int (*on_timer)(uint64_t period_us, ingot_callback fn, void *arg);
	int (*on_receive)(uint32_t net, ingot_callback fn, void *arg);
	int (*on_key)(ingot_callback fn, void *arg);

	// What is there.  INGOT_ENODEV past the end.
	int (*device_info)(uint32_t index, struct ingot_device_info *out);
	int (*driver_info)(uint32_t index, struct ingot_driver_info *out);
	int (*screen)(struct ingot_screen *out);

	// The log: copies at most `bytes` from position `from` on (counted from the first byte ever logged; what the ring
	// has overwritten is skipped), returns how many, and the position behind them in *next.
	size_t (*log_read)(uint64_t from, char *to, size_t bytes, uint64_t *next);

	// Power.  They don't return.
	void (*reboot)(void);
	void (*shutdown)(void);

	// Wakes a core from ingot_sleep by an interrupt that does nothing else.  INGOT_ENODEV if there is no such core.
	int (*core_wake)(uint32_t core);

	// Devices that the program drives by itself: PCI, by their numbers in ingot_pci.h; one core at a time.
	// INGOT_ENOTSUP: the kernel was configured without CORE_NATIVE_DEVICES.
	// device_claim: no driver of the kernel has it from now on.  INGOT_EBUSY if one has it, unless `how` is
	// INGOT_CLAIM_UNBIND, which takes it away (its interface or drive is gone then, and the numbers of the others
	// stay), or if it is claimed already.  It neither reads nor writes memory until ingot_pci_enable.
	// device_release: silences it (no DMA, no interrupts) and offers it to the kernel's drivers again.
	int (*device_claim)(uint32_t device, uint32_t how);
	int (*device_release)(uint32_t device);
	// Interrupt `index` of a claimed device calls fn(arg), on the calling core; NULL ends it (on that core).  MSI-X if
	// the device has it, with as many indices as its table; else MSI or its line, with index 0 only.  A line may be
	// shared: then fn is called for the others, too, on the core of whoever had the line first.  It must silence the
	// device before it returns.  INGOT_ENOTSUP: there is no such interrupt.
	int (*device_irq)(uint32_t device, uint32_t index, ingot_callback fn, void *arg);
};

#define INGOT_CLAIM_UNBIND 1

// ---- For programs --------------------------------------------------------------------------------------------

extern const struct ingot_api *ingot __attribute__((visibility("hidden"))); // set by start.S before main

// True if the kernel has this function.
#define INGOT_HAS(function) \
	(ingot->size >= offsetof(struct ingot_api, function) + sizeof(ingot->function) && ingot->function != NULL)

// At file scope, INGOT_NEEDS(last_function_used): a kernel whose table ends before it refuses the program with a
// sentence, and so does start.S.  An ELF note: name "Ingot", type 1, the least size of struct ingot_api.
struct ingot_note {
	uint32_t name_bytes, desc_bytes, type;
	char name[8];
	uint32_t api_bytes;
};
// clang-format off
#define INGOT_NEEDS(function) \
	__attribute__((used, aligned(4), section(".note.ingot"))) \
	static const struct ingot_note ingot_needs = { sizeof("Ingot"), 4, 1, "Ingot", \
		(uint32_t)(offsetof(struct ingot_api, function) + sizeof(void *)) }
// clang-format on

// Prints a zero-terminated text.
static inline void ingot_print(const char *text)
{
	size_t len = 0;
	while (text[len])
		len++;
	ingot->write(text, len);
}

// All reads and writes before it are done before those behind it.  The CPU itself changes the order only where a read
// follows a write to another address; the compiler may elsewhere.
static inline void ingot_fence(void)
{
	__asm__ volatile("mfence" ::: "memory");
}

// The same for the compiler alone.  Enough for data that a device gets or gives: the CPU keeps writes among each other
// and reads among each other in their order (Intel SDM vol. 3, 9.2).
static inline void ingot_order(void)
{
	__asm__ volatile("" ::: "memory");
}

// For the inside of a loop that waits: lets the CPU's other thread, and a hypervisor, go first.
static inline void ingot_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}

// Sleeps until an interrupt on this core: a key, a timer, a frame if on_receive is set, a device's, core_wake.
static inline void ingot_sleep(void)
{
	__asm__ volatile("sti; hlt" ::: "memory");
}

// Sleeps until a key is there.  Interrupts stay off from the look to the sleep (STI works one instruction late), so
// that none comes in between and is slept over.
static inline int ingot_wait_key(void)
{
	for (;;) {
		__asm__ volatile("cli" ::: "memory");
		int key = ingot->read();
		if (key) {
			__asm__ volatile("sti" ::: "memory");
			return key;
		}
		ingot_sleep();
	}
}

// Sleeps while *word has this value; whoever changes it calls core_wake for this core, or is a callback on it.
static inline void ingot_sleep_while(const uint32_t *word, uint32_t value)
{
	for (;;) {
		__asm__ volatile("cli" ::: "memory");
		if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
			break;
		ingot_sleep();
	}
	__asm__ volatile("sti" ::: "memory");
}

// Waits until a core is done with what core_start gave it.
static inline void ingot_core_wait(uint32_t core)
{
	while (ingot->core_busy(core) > 0)
		ingot_relax();
	ingot_order();
}

// A variable of which each core has its own, in a cache line that it shares with nobody: at file scope
//	INGOT_PER_CORE(struct statistics, counted);
// and then ingot_mine(counted)->frames++, or ingot_of(counted, core) for another core's.
#define INGOT_CORES_MAX 256
#define INGOT_PER_CORE(type, name) \
	static struct { \
		__attribute__((aligned(64))) type of; \
	} name[INGOT_CORES_MAX]
#define ingot_of(name, core) (&(name)[core].of)
#define ingot_mine(name) ingot_of(name, ingot->core_self())

// A spin lock: zero is free.  Not for callbacks: they would wait for the program that they have interrupted.
struct ingot_lock {
	uint32_t taken;
};

// Waits until nobody has it.
static inline void ingot_lock(struct ingot_lock *lock)
{
	while (__atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&lock->taken, __ATOMIC_RELAXED))
			ingot_relax();
}

// Only by who has it.
static inline void ingot_unlock(struct ingot_lock *lock)
{
	__atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE);
}

// A barrier that `cores` cores pass together, as often as they like.  Starts as { cores, 0, 0 }.
struct ingot_barrier {
	uint32_t cores, arrived, round;
};

// Returns when as many cores have called it.
static inline void ingot_barrier_wait(struct ingot_barrier *barrier)
{
	uint32_t round = __atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE);
	if (__atomic_add_fetch(&barrier->arrived, 1, __ATOMIC_ACQ_REL) == barrier->cores) {
		barrier->arrived = 0;
		__atomic_store_n(&barrier->round, round + 1, __ATOMIC_RELEASE);
		return;
	}
	while (__atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE) == round)
		ingot_relax();
}

#ifdef __cplusplus
}
#endif
