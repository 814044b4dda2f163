// The class of network interfaces: numbers them, gives them frames, and carries the calls of programs to them.
#include <net.h>
#include <log.h>
#include <mem.h>
#include <program.h>
#include <smp.h>
#include <time.h>

#define NETS 100
#define CLASSIC_LEAST 14
#define CLASSIC_MOST 1522	// docs/abi.md
#define CLASSIC_BUFFERS 256	// NET_CONFIG
#define FRAME_STEP 64
#define FRAMES_LEAST 64		// of a queue
#define COPY_US 5000		// how long b_net_tx waits for a device that is full

static struct net_dev *nets[NETS];
static uint32_t net_last;	// one more than the highest number given

static inline struct net_dev *net_find(uint32_t index)
{
	return index < NETS ? nets[index] : NULL;
}

// ---- Frames --------------------------------------------------------------------------------------------------

// Makes frames of `memory`; what is not contiguous for the device is left out.
static void net_carve(struct ingot_pool *pool, const char *memory, size_t bytes, uint32_t frame_bytes)
{
	*pool = (struct ingot_pool){ 0 };
	for (; bytes >= frame_bytes; memory += frame_bytes, bytes -= frame_bytes) {
		size_t run;
		struct ingot_frame *frame = (struct ingot_frame *)(uintptr_t)mem_phys(memory, frame_bytes, &run);
		if (run < frame_bytes)
			continue;
		frame->data = (uint8_t *)frame + NET_DATA;
		frame->phys = (uintptr_t)frame->data;
		frame->room = frame_bytes - NET_DATA;
		frame->flags = 0;
		frame->pool = pool;
		ingot_frame_put(frame);
		pool->total++;
	}
}

static int net_start(struct net_dev *net, uint32_t queues, const char *memory, size_t bytes, uint32_t frame_bytes)
{
	size_t share = ALIGN_DOWN(bytes / queues, FRAME_STEP);
	for (uint32_t i = 0; i < queues; i++, memory += share) {
		struct net_queue *q = &net->queue[i];
		q->held = NULL;
		net_carve(&q->pool, memory, share, frame_bytes);
		if (q->pool.total < FRAMES_LEAST)
			return E_INVAL;
	}
	net->info.mtu = min_u64(frame_bytes > NET_FRAME_BYTES ? net->mtu_max : min_u64(net->mtu_max, 1500),
		frame_bytes - NET_DATA - 18);
	net->info.queues_open = queues;
	return net->ops->start(net, queues);
}

// To other frames: the program's, or the driver's own.
static int net_restart(struct net_dev *net, uint32_t queues, const char *memory, size_t bytes, uint32_t frame_bytes)
{
	int rc = E_OK;
	net->ops->stop(net);
	if (memory) {
		rc = net_start(net, queues, memory, bytes, frame_bytes);
		if (rc == E_OK)
			return rc;
	}
	int own = net_start(net, 1, net->memory, NET_POOL_FRAMES * NET_FRAME_BYTES, NET_FRAME_BYTES);
	return rc == E_OK ? own : rc;
}

// ---- The register interface ----------------------------------------------------------------------------------

static bool net_send_copy(struct net_dev *net, const void *data, uint64_t len)
{
	uint64_t flags = irq_save();
	uint32_t sent = 0;
	lock_take(&net->lock);
	if (unlikely(!net->copies.free))
		net->tx(net, 0, NULL, 0);
	struct ingot_frame *frame = ingot_frame_get(&net->copies);
	if (frame) {
		frame->length = len;
		memcpy(frame->data, data, len);
		sent = net->tx(net, 0, &frame, 1);
		if (!sent)
			ingot_frame_put(frame);
	}
	lock_drop(&net->lock);
	irq_restore(flags);
	return sent;
}

static void net_classic_tx(const void *data, uint64_t len, uint32_t index)
{
	struct net_dev *net = net_find(index);
	uint64_t end = 0;
	if (!net)
		return;
	if (len - CLASSIC_LEAST <= CLASSIC_MOST - CLASSIC_LEAST)
		do {
			if (likely(net_send_copy(net, data, len)))
				return;
			if (!end)
				end = time_deadline(COPY_US);
		} while (!time_passed(end));
	net->queue->stats.tx_errors++;
}

static uint64_t net_classic_rx(uint32_t index, void **data)
{
	struct net_dev *net = net_find(index);
	struct ingot_frame *frame, *held;
	if (!net || !net->rx(net, 0, &frame, 1))
		return 0;
	held = net->queue->held;
	net->queue->held = frame;
	if (held)
		ingot_frame_put(held);
	*data = frame->data;
	return frame->length;
}

static uint64_t net_classic_status(uint32_t index)
{
	struct net_dev *net = net_find(index);
	uint64_t mac = 0;
	for (uint32_t i = 0; net && i < 6; i++)
		mac = mac << 8 | net->info.mac[i];
	return mac;
}

static void net_classic_config(uint32_t index, void *memory)
{
	struct net_dev *net = net_find(index);
	if (net)
		net_restart(net, 1, memory, CLASSIC_BUFFERS * NET_FRAME_BYTES, NET_FRAME_BYTES);
}

// ---- The native interface ------------------------------------------------------------------------------------

static uint32_t net_count(void)
{
	return net_last;
}

static int net_info(uint32_t index, struct ingot_net_info *out)
{
	struct net_dev *net = net_find(index);
	if (!net)
		return E_NODEV;
	uint32_t speed = net->ops->link(net);
	net->info.link = speed != 0;
	net->info.speed = speed == 1 ? 0 : speed;
	memcpy(out, &net->info, min_u64(out->size, sizeof(*out)));
	return E_OK;
}

static int net_stats(uint32_t index, struct ingot_net_stats *out)
{
	struct net_dev *net = net_find(index);
	if (!net)
		return E_NODEV;
	*out = (struct ingot_net_stats){ 0 };
	for (uint32_t i = 0; i < net->info.queues; i++)
		for (uint32_t n = 0; n < sizeof(*out) / 8; n++)
			((uint64_t *)out)[n] += ((const uint64_t *)&net->queue[i].stats)[n];
	if (net->ops->stats)
		net->ops->stats(net, out);
	return E_OK;
}

static int net_open(uint32_t index, uint32_t queues, void *memory, size_t bytes, uint32_t frame_bytes)
{
	struct net_dev *net = net_find(index);
	if (!net)
		return E_NODEV;
	if (memory && (queues - 1 >= net->info.queues || frame_bytes < 256 ||
		((uintptr_t)memory | frame_bytes) % FRAME_STEP))
		return E_INVAL;
	return net_restart(net, queues, memory, bytes, frame_bytes);
}

static void net_close(uint32_t index)
{
	net_classic_config(index, NULL);
}

static struct net_dev *net_queue_open(uint32_t index, uint32_t queue)
{
	struct net_dev *net = net_find(index);
	return net && queue < net->info.queues_open ? net : NULL;
}

static struct ingot_pool *net_pool(uint32_t index, uint32_t queue)
{
	struct net_dev *net = net_queue_open(index, queue);
	return net ? &net->queue[queue].pool : NULL;
}

static uint32_t net_tx(uint32_t index, uint32_t queue, struct ingot_frame *const *frames, uint32_t count)
{
	struct net_dev *net = net_queue_open(index, queue);
	return net ? net->tx(net, queue, frames, count) : 0;
}

static uint32_t net_rx(uint32_t index, uint32_t queue, struct ingot_frame **frames, uint32_t max)
{
	struct net_dev *net = net_queue_open(index, queue);
	return net ? net->rx(net, queue, frames, max) : 0;
}

static int net_promiscuous(uint32_t index, int on)
{
	struct net_dev *net = net_find(index);
	int rc = !net ? E_NODEV : net->ops->promiscuous ? net->ops->promiscuous(net, on != 0) : E_NOTSUP;
	if (rc == E_OK)
		net->info.promiscuous = on != 0;
	return rc;
}

static void net_interrupt(void *arg)
{
	struct net_dev *net = arg;
	program_callback(net->on_receive, net->arg);
}

static int net_on_receive(uint32_t index, ingot_callback fn, void *arg)
{
	struct net_dev *net = net_find(index);
	if (!net)
		return E_NODEV;
	if (!net->ops->interrupt)
		return E_NOTSUP;
	net->ops->interrupt(net, NULL, NULL, 0);
	net->on_receive = fn;
	net->arg = arg;
	return fn ? net->ops->interrupt(net, net_interrupt, net, smp_self()) : E_OK;
}

// ---- Registration --------------------------------------------------------------------------------------------

static void net_fill_tables(void)
{
	classic.net_tx = net_classic_tx;
	classic.net_rx = net_classic_rx;
	classic.net_status = net_classic_status;
	classic.net_config = net_classic_config;
	classic.on_receive = net_on_receive;
	if (!CONFIG_ON(CORE_NATIVE))
		return;
	native.net_count = net_count;
	native.net_info = net_info;
	native.net_stats = net_stats;
	native.net_open = net_open;
	native.net_close = net_close;
	native.net_pool = net_pool;
	native.net_tx = net_tx;
	native.net_rx = net_rx;
	native.net_promiscuous = net_promiscuous;
	native.on_receive = net_on_receive;
}

static void net_free(struct net_dev *net)
{
	mem_free(net->memory, (NET_POOL_FRAMES + NET_COPY_FRAMES) * NET_FRAME_BYTES);
	mem_free(net->queue, net->info.queues * sizeof(*net->queue));
}

int net_register(struct net_dev *net)
{
	uint32_t index = 0;
	while (nets[index])
		if (++index == NETS)
			return E_NOMEM;
	net->queue = mem_alloc(net->info.queues * sizeof(*net->queue), 64);
	net->memory = mem_alloc((NET_POOL_FRAMES + NET_COPY_FRAMES) * NET_FRAME_BYTES, 64);
	int rc = E_NOMEM;
	if (net->queue && net->memory) {
		net_carve(&net->copies, (char *)net->memory + NET_POOL_FRAMES * NET_FRAME_BYTES,
			NET_COPY_FRAMES * NET_FRAME_BYTES, NET_FRAME_BYTES);
		rc = net_start(net, 1, net->memory, NET_POOL_FRAMES * NET_FRAME_BYTES, NET_FRAME_BYTES);
	}
	if (rc != E_OK) {
		net_free(net);
		return rc;
	}
	nets[index] = net;
	if (net_last <= index)
		net_last = index + 1;
	net->index = index;
	net->info.size = sizeof(net->info);
	device_unit(net->dev, "net", index);
	memcpy(net->info.name, net->dev->unit, sizeof(net->info.name));
	memcpy(net->info.address, net->dev->name, sizeof(net->info.address));
	memcpy(net->info.driver, net->dev->driver->name, strlen(net->dev->driver->name));
	net_fill_tables();
	log(" %s %012lx %u queues", net->info.name, net_classic_status(index), net->info.queues);
	return E_OK;
}

void net_unregister(struct net_dev *net)
{
	nets[net->index] = NULL;
	net->ops->stop(net);
	net_free(net);
}
