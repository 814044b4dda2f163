// What programs call: core/native.c and core/syscall.c own the tables.  Buses fill in their functions when the
// first device registers; those of a class of the configuration are there from the start.
#pragma once
#include <util.h>
#include <ingot.h>

// The native interface, as a program sees it.
extern struct ingot_api native;

// Behind the register interface (docs/abi.md): core/entry.S saves the registers and calls these.  Numbers of
// interfaces and drives are already cut to 8 bits.
struct classic_calls {
	void (*net_tx)(const void *frame, uint64_t len, uint32_t net); // takes a copy; drops what it can't send
	uint64_t (*net_rx)(uint32_t net, void **frame);                // length, 0 if none; valid until the next call
	uint64_t (*net_status)(uint32_t net);                          // MAC in bits 47:0, first byte highest; 0: none
	void (*net_config)(void *memory, uint32_t net);                // at most 256 buffers of 2048 bytes, NULL: own pool
	// Sectors of 4096 bytes; returns how many were done: all or 0.
	uint64_t (*nvs)(uint32_t op, uint64_t sector, uint64_t count, void *data, uint32_t drive);
	uint32_t (*drive_kind)(uint32_t drive, const char **identity); // BLK_*, 0: none; identity as in struct blk_dev
	int (*on_receive)(uint32_t net, ingot_callback fn, void *arg); // on the calling core; NULL ends it
	uint8_t (*input)(void);                                        // one character, 0 if none waits
	bool input_polled; // a source has no interrupt: halted programs need a tick
	// Configuration space; bits 47:32 segment, 31:24 bus, 23:16 device and function, 15:0 number of the dword.
	// `function`: BUS_READ or BUS_WRITE.
	uint64_t (*bus)(uint32_t value, uint64_t address, uint32_t function);
};
extern struct classic_calls classic;

// What b_net_tx (with interrupts off) and b_net_rx try first: functions of the interface's driver that send or receive
// one frame in the usual case and leave all others to the calls above.  Arguments are where programs put them.
struct classic_net {
	uint64_t (*send)(struct classic_net *net, const void *frame, uint64_t unused,
		uint64_t len) KEEPS_REGISTERS_TYPE; // 0: not sent
	uint64_t (*receive)(
		struct classic_net *net) KEEPS_REGISTERS_TYPE; // the frame's address; 0: none is there; 1: not done
	uint64_t length;                                   // of that frame
	uint64_t (*refill)(
		struct classic_net *net) KEEPS_REGISTERS_TYPE; // what is sent comes back, so that `send` may do it
};
extern struct classic_net classic_none; // of an interface that there isn't
extern struct classic_net *classic_net[256];

// Gives a program as much of `all` as its own, maybe older structure holds; both begin with their size.  (CORE_NATIVE)
int give_info(void *out, const void *all, uint32_t bytes);

// net/net.c, if CONFIG_NET
void net_classic_tx(const void *frame, uint64_t len, uint32_t net);
uint64_t net_classic_rx(uint32_t net, void **frame);
uint64_t net_classic_status(uint32_t net);
void net_classic_config(void *memory, uint32_t net);
uint32_t net_count(void);
int net_info(uint32_t net, struct ingot_net_info *out);
int net_stats(uint32_t net, struct ingot_net_stats *out);
int net_open(uint32_t net, uint32_t queues, void *memory, size_t bytes, uint32_t frame_bytes);
void net_close(uint32_t net);
struct ingot_pool *net_pool(uint32_t net, uint32_t queue);
uint32_t net_tx(uint32_t net, uint32_t queue, struct ingot_frame *const *frames, uint32_t count);
uint32_t net_rx(uint32_t net, uint32_t queue, struct ingot_frame **frames, uint32_t max);
int net_promiscuous(uint32_t net, int on);
int net_on_receive(uint32_t net, ingot_callback fn, void *arg);

// storage/blk.c, if CONFIG_STORAGE
uint64_t blk_classic_nvs(uint32_t op, uint64_t sector, uint64_t count, void *data, uint32_t drive);
uint32_t blk_classic_kind(uint32_t drive, const char **identity);
uint32_t blk_count(void);
int blk_info(uint32_t blk, struct ingot_blk_info *out);
int blk_submit(uint32_t blk, uint32_t queue, const struct ingot_blk_req *req);
uint32_t blk_poll(uint32_t blk, uint32_t queue, struct ingot_blk_done *done, uint32_t max);
int blk_run(uint32_t blk, const struct ingot_blk_req *req);

// bus/pci_program.c, if CONFIG_CORE_NATIVE_DEVICES
int device_claim(uint32_t address, uint32_t how);
int device_release(uint32_t address);
int device_irq(uint32_t address, uint32_t index, ingot_callback fn, void *arg);

// hid/input.c, if CONFIG_INPUT
uint8_t input_read(void);

// From an interrupt handler: calls a program's routine on this core, its vector registers kept.
void program_callback(ingot_callback fn, void *arg);

// A character has been put where classic.input finds it: wakes the program, has its routine called (on_key).  With
// interrupts off.
void program_key(void);
