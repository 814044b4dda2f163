// The class of network interfaces: numbers them, gives them frames, and carries the calls of programs to them.
#include <net.h>
#include <log.h>
#include <mem.h>
#include <program.h>
#include <smp.h>
#include <time.h>

#define CLASSIC_BUFFERS 256 // NET_CONFIG
#define FRAME_STEP 64
#define FRAME_LEAST 256 // bytes of a buffer
#define FRAMES_LEAST 64 // of a queue
#define COPY_US 5000    // how long b_net_tx waits for a device that is full
#define POOL_BYTES (NET_POOL_FRAMES * NET_FRAME_BYTES)
#define COPY_BYTES (NET_COPY_FRAMES * NET_FRAME_BYTES)

static void *nets[CLASS_MAX];

static ALWAYS_INLINE struct net_dev *net_find(uint32_t index)
{
	return index < CLASS_MAX ? nets[index] : NULL;
}

// The interface if this queue of it is open.
static ALWAYS_INLINE struct net_dev *net_open_find(uint32_t index, uint32_t queue)
{
	struct net_dev *net = net_find(index);
	return likely(net && queue < net->info.queues_open) ? net : NULL;
}

// ---- Frames --------------------------------------------------------------------------------------------------

// Makes frames of `memory`; what is not contiguous for the device is left out.
static void net_carve(struct ingot_pool *pool, const char *memory, size_t bytes, uint32_t frame_bytes)
{
	const char *end = memory + bytes;
	*pool = (struct ingot_pool){ 0 };
	for (; memory + frame_bytes <= end; memory += frame_bytes) {
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
	}
	pool->total = pool->available;
}

// Starts it with frames of the program's memory, or one queue with its own.
static int net_start(struct net_dev *net, uint32_t queues, const char *memory, size_t bytes, uint32_t frame_bytes)
{
	uint32_t mtu = net->mtu_max;
	if (!memory) {
		memory = net->memory;
		bytes = POOL_BYTES;
		frame_bytes = NET_FRAME_BYTES;
		queues = 1;
	}
	bytes = ALIGN_DOWN(bytes / queues, FRAME_STEP);
	for (uint32_t i = 0; i < queues; i++, memory += bytes) {
		struct net_queue *q = net->queue[i];
		net_carve(&q->pool, memory, bytes, frame_bytes);
		if (q->pool.total < FRAMES_LEAST)
			return E_INVAL;
	}
	if (frame_bytes <= NET_FRAME_BYTES && mtu > 1500)
		mtu = 1500;
	net->info.mtu = min_u64(mtu, frame_bytes - NET_DATA - 18);
	int rc = net->ops->start(net, queues);
	if (rc == E_OK) {
		net->info.queues_open = queues;
		net->queue[0]->held = ingot_frame_get(&net->queue[0]->pool);
	}
	return rc;
}

static void net_quick(struct net_dev *net)
{
	struct classic_net *quick = &net->queue[0]->classic;
	classic_net[net->index] = net->info.queues_open ? quick : &classic_none;
}

// To other frames, or back to its own.
static int net_restart(struct net_dev *net, uint32_t queues, void *memory, size_t bytes, uint32_t frame_bytes)
{
	net->info.queues_open = 0;
	net_quick(net);
	net->ops->stop(net);
	int rc = net_start(net, queues, memory, bytes, frame_bytes);
	if (rc != E_OK && memory) {
		net->offload = false;
		net_start(net, 0, NULL, 0, 0);
	}
	net_quick(net);
	return rc;
}

int net_open(uint32_t index, uint32_t queues, void *memory, size_t bytes, uint32_t frame_bytes)
{
	struct net_dev *net = net_find(index);
	if (!net)
		return E_NODEV;
	if (memory &&
		(queues - 1 >= net->info.queues || frame_bytes < FRAME_LEAST || ((uintptr_t)memory | frame_bytes) % FRAME_STEP))
		return E_INVAL;
	net->offload = memory;
	return net_restart(net, queues, memory, bytes, frame_bytes);
}

void net_close(uint32_t index)
{
	net_open(index, 0, NULL, 0, 0);
}

// ---- The register interface ----------------------------------------------------------------------------------

// For drivers without their own, under the lock.
static uint32_t net_send(struct net_queue *q, const void *data, uint64_t len)
{
	uint32_t sent = 0;
	struct ingot_frame *frame = ingot_frame_get(&q->copies);
	if (likely(frame)) {
		net_copy(frame, data, len);
		frame->length = len;
		sent = q->net->tx(q, &frame, 1);
		if (unlikely(!sent))
			ingot_frame_put(frame);
	}
	return sent;
}

static KEEPS_REGISTERS uint64_t net_receive(struct classic_net *classic)
{
	(void)classic;
	return 1;
}

// When the first attempt has failed.
void net_classic_tx(const void *data, uint64_t len, uint32_t index)
{
	struct net_dev *net = net_open_find(index, 0);
	uint64_t end = time_deadline(COPY_US), sent;
	if (!net)
		return;
	struct net_queue *q = net->queue[0];
	if (net_classic_fits(len))
		do {
			uint64_t flags = irq_save(); // a callback may send, too
			lock_take(&q->lock);
			net->tx(q, NULL, 0);
			sent = CONFIG_ON(NET_CLASSIC) && q->classic.send == classic_none.send && net_send(q, data, len);
			lock_drop(&q->lock);
			if (!sent)
				sent = q->classic.send(&q->classic, data, 0, len);
			irq_restore(flags);
			if (sent)
				return;
		} while (!time_passed(end));
	q->stats.tx_errors++;
}

uint64_t net_classic_rx(uint32_t index, void **data)
{
	struct net_dev *net = net_open_find(index, 0);
	struct ingot_frame *frame;
	if (!net || !net->rx(net->queue[0], &frame, 1))
		return 0;
	ingot_frame_put(net->queue[0]->held);
	net->queue[0]->held = frame;
	*data = frame->data;
	return frame->length;
}

uint64_t net_classic_status(uint32_t index)
{
	struct net_dev *net = net_find(index);
	uint64_t mac = 0;
	if (net)
		memcpy(&mac, net->info.mac, 6);
	return __builtin_bswap64(mac) >> 16;
}

void net_classic_config(void *memory, uint32_t index)
{
	struct net_dev *net = net_find(index);
	if (!net)
		return;
	net->offload = false; // b_net_rx can't tell that a checksum is still to be filled in
	net_restart(net, 1, memory, CLASSIC_BUFFERS * NET_FRAME_BYTES, NET_FRAME_BYTES);
}

// ---- The native interface ------------------------------------------------------------------------------------

uint32_t net_count(void)
{
	return class_count(nets);
}

int net_info(uint32_t index, struct ingot_net_info *out)
{
	struct net_dev *net = net_find(index);
	if (!net)
		return E_NODEV;
	uint32_t speed = net->ops->link(net);
	net->info.link = speed != 0;
	net->info.speed = speed == 1 ? 0 : speed;
	return give_info(out, &net->info, sizeof(*out));
}

int net_stats(uint32_t index, struct ingot_net_stats *out)
{
	struct net_dev *net = net_find(index);
	if (!net)
		return E_NODEV;
	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < net->info.queues; i++)
		for (uint32_t n = 0; n < sizeof(*out) / 8; n++)
			((uint64_t *)out)[n] += ((const uint64_t *)&net->queue[i]->stats)[n];
	if (net->ops->stats)
		net->ops->stats(net, out);
	return E_OK;
}

struct ingot_pool *net_pool(uint32_t index, uint32_t queue)
{
	struct net_dev *net = net_open_find(index, queue);
	if (!net)
		return NULL;
	net->tx(net->queue[queue], NULL, 0);
	return &net->queue[queue]->pool;
}

HOT uint32_t net_tx(uint32_t index, uint32_t queue, struct ingot_frame *const *frames, uint32_t count)
{
	struct net_dev *net = net_open_find(index, queue);
	return net ? net->tx(net->queue[queue], frames, count) : 0;
}

HOT uint32_t net_rx(uint32_t index, uint32_t queue, struct ingot_frame **frames, uint32_t max)
{
	struct net_dev *net = net_open_find(index, queue);
	return net ? net->rx(net->queue[queue], frames, max) : 0;
}

int net_promiscuous(uint32_t index, int on)
{
	struct net_dev *net = net_find(index);
	int rc = !net ? E_NODEV : net->ops->promiscuous ? net->ops->promiscuous(net, on) : E_NOTSUP;
	if (rc == E_OK)
		net->info.promiscuous = on != 0;
	return rc;
}

static void net_interrupt(void *arg)
{
	struct net_dev *net = arg;
	program_callback(net->on_receive, net->arg);
}

int net_on_receive(uint32_t index, ingot_callback fn, void *arg)
{
	struct net_dev *net = net_find(index);
	if (!net || !net->ops->interrupt)
		return net ? E_NOTSUP : E_NODEV;
	if (fn) {
		net->arg = arg;
		net->on_receive = fn;
	}
	return net->ops->interrupt(net, fn ? net_interrupt : NULL, net, smp_self());
}

// ---- Registration --------------------------------------------------------------------------------------------

int net_register(struct net_dev *net)
{
	struct net_queue *q = net->queue[0];
	if (!CONFIG_ON(NET_CLASSIC) && !q->classic.send) // the driver's option doesn't select it
		return E_NOTSUP;
	net->memory = mem_alloc(POOL_BYTES + COPY_BYTES, NET_FRAME_BYTES); // no frame crosses a page
	if (!net->memory)
		return E_NOMEM;
	q->net = net;
	if (CONFIG_ON(NET_CLASSIC) && !q->classic.send)
		q->classic = (struct classic_net){ classic_none.send, net_receive, 0, classic_none.refill };
	net_carve(&q->copies, (char *)net->memory + POOL_BYTES, COPY_BYTES, NET_FRAME_BYTES);
	int rc = net_start(net, 0, NULL, 0, 0);
	if (rc == E_OK) {
		rc = class_add(net->dev, "net", nets, net, (struct class_names *)net->info.name);
		if (rc >= 0) {
			net->index = rc;
			net_quick(net);
			log(" %012lx %u queues", net_classic_status(rc), net->info.queues);
			return E_OK;
		}
		net->ops->stop(net);
	}
	mem_free(net->memory, POOL_BYTES + COPY_BYTES);
	return rc;
}

void net_unregister(struct net_dev *net)
{
	nets[net->index] = NULL;
	classic_net[net->index] = &classic_none;
	net->ops->stop(net);
	mem_free(net->memory, POOL_BYTES + COPY_BYTES);
}
