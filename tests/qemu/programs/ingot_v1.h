// Frozen: the structures and numbers of api/ingot.h as of version 1, the interface of programs that were built then.
// Whatever becomes of api/ingot.h, this stays as it is; test_native.py holds today's against it.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INGOT_API_VERSION 1

enum {
	INGOT_OK = 0,
	INGOT_ENODEV = -1,
	INGOT_ENOMEM = -2,
	INGOT_EINVAL = -3,
	INGOT_ERANGE = -4,
	INGOT_EIO = -5,
	INGOT_ETIMEOUT = -6,
	INGOT_EAGAIN = -7,
	INGOT_EBUSY = -8,
	INGOT_ERDONLY = -9,
	INGOT_ENOTSUP = -10,
};

struct ingot_pool;
struct ingot_frame {
	uint8_t *data;
	uint64_t phys;
	uint32_t length;
	uint32_t room;
	struct ingot_pool *pool;
	struct ingot_frame *next;
	uint16_t flags;
	uint16_t csum_start;
	uint16_t csum_offset;
	uint16_t reserved[9];
};
#define INGOT_TX_CSUM 1
#define INGOT_RX_CSUM_GOOD 2

struct ingot_pool {
	struct ingot_frame *free;
	uint32_t available;
	uint32_t total;
};

struct ingot_net_info {
	uint32_t size;
	uint8_t mac[6];
	uint16_t mtu;
	uint8_t link;
	uint8_t promiscuous;
	uint16_t queues;
	uint16_t queues_open;
	uint16_t features;
	uint32_t speed;
	char name[8];
	char driver[16];
	char address[16];
};
#define INGOT_NET_CSUM 1

struct ingot_net_stats {
	uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
	uint64_t rx_dropped;
	uint64_t rx_errors;
	uint64_t tx_errors;
};

struct ingot_blk_info {
	uint32_t size;
	uint32_t block_bytes;
	uint64_t blocks;
	uint32_t max_blocks;
	uint16_t queues;
	uint16_t depth;
	uint16_t features;
	uint16_t align;
	char name[8];
	char driver[16];
	char address[16];
};
#define INGOT_BLK_READONLY 1
#define INGOT_BLK_FLUSH 2
#define INGOT_BLK_DISCARD 4

enum { INGOT_READ = 0, INGOT_WRITE = 1, INGOT_FLUSH = 2, INGOT_DISCARD = 3 };

struct ingot_blk_req {
	uint64_t block;
	uint32_t count;
	uint32_t op;
	void *data;
	uint64_t tag;
};

struct ingot_blk_done {
	uint64_t tag;
	int32_t status;
	uint32_t reserved;
};

struct ingot_device_info {
	uint32_t size;
	uint16_t vendor, device, subvendor, subdevice;
	uint32_t class_code;
	char address[16];
	char driver[16];
	char unit[8];
	int32_t status;
};

struct ingot_driver_info {
	uint32_t size;
	char bus[12];
	char name[16];
	uint32_t devices;
};

struct ingot_screen {
	uint32_t size;
	uint32_t width, height;
	uint32_t pitch;
	uint32_t bits;
	void *pixels;
};

struct ingot_memory {
	uint32_t size;
	uint32_t kernel_kib;
	uint32_t driver_kib;
	uint32_t ram_mib;
	void *base;
	uint64_t bytes;
	void *free;
};

typedef void (*ingot_callback)(void *arg);

struct ingot_api {
	uint32_t version;
	uint32_t size;
	const char *kernel;

	void (*write)(const char *text, size_t len);
	int (*read)(void);

	uint64_t (*time_ns)(void);
	void (*delay_us)(uint64_t us);

	int (*memory)(struct ingot_memory *out);
	uint64_t (*phys)(const void *ptr, size_t len, size_t *run);

	uint32_t (*core_count)(void);
	uint32_t (*core_self)(void);
	int (*core_start)(uint32_t core, void (*fn)(void *arg), void *arg);
	int (*core_busy)(uint32_t core);
	uint32_t (*core_apic_id)(uint32_t core);

	uint32_t (*net_count)(void);
	int (*net_info)(uint32_t net, struct ingot_net_info *out);
	int (*net_stats)(uint32_t net, struct ingot_net_stats *out);
	int (*net_open)(uint32_t net, uint32_t queues, void *memory, size_t bytes, uint32_t frame_bytes);
	void (*net_close)(uint32_t net);

	struct ingot_pool *(*net_pool)(uint32_t net, uint32_t queue);

	uint32_t (*net_tx)(uint32_t net, uint32_t queue, struct ingot_frame *const *frames, uint32_t count);

	uint32_t (*net_rx)(uint32_t net, uint32_t queue, struct ingot_frame **frames, uint32_t max);
	int (*net_promiscuous)(uint32_t net, int on);

	uint32_t (*blk_count)(void);
	int (*blk_info)(uint32_t blk, struct ingot_blk_info *out);
	int (*blk_submit)(uint32_t blk, uint32_t queue, const struct ingot_blk_req *req);
	uint32_t (*blk_poll)(uint32_t blk, uint32_t queue, struct ingot_blk_done *done, uint32_t max);
	int (*blk_run)(uint32_t blk, const struct ingot_blk_req *req);

	int (*on_timer)(uint64_t period_us, ingot_callback fn, void *arg);
	int (*on_receive)(uint32_t net, ingot_callback fn, void *arg);
	int (*on_key)(ingot_callback fn, void *arg);

	int (*device_info)(uint32_t index, struct ingot_device_info *out);
	int (*driver_info)(uint32_t index, struct ingot_driver_info *out);
	int (*screen)(struct ingot_screen *out);

	size_t (*log_read)(uint64_t from, char *to, size_t bytes, uint64_t *next);

	void (*reboot)(void);
	void (*shutdown)(void);
};

extern const struct ingot_api *ingot __attribute__((visibility("hidden")));
