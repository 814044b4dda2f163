// The far side of a virtio network interface with several queue pairs: a vhost-user back-end (QEMU's
// docs/interop/vhost-user.rst; "v." = section of the VIRTIO specification 1.2) that is a mirror.  A frame that comes on
// the transmission queue of a pair goes back on the reception queue of the same pair, in its turn, with its addresses
// exchanged and the number of the pair as the last byte of its source address.  Frames wait while there is no buffer.
//
//	vhost_user_net SOCKET PAIRS [reverse]
//
// SOCKET is the number of an inherited socket that listens, where QEMU's -chardev socket connects.  reverse: buffers
// are finished in another order than the one in which they were given (v.2.7.8 leaves it to the device), and one of
// those that are sent much later; frames keep their order.
// What the specification forbids a driver is a line on standard error, "forbidden: ...", and the queue stops.  When
// QEMU is gone a line on standard output for each queue says what it saw:
//	tx0 frames=2000 starts=1 kicks=70 asked=90 calls=0
// starts: with how many set-ups it ran; kicks: doorbells; asked: how often it asked for one; calls: interrupts that the
// driver asked for, whether or not it gave them a vector.
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIT(n) (1ull << (n))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PAIRS_MOST 16
#define RING_MOST 1024
#define BATCH 16
#define LATE 100 // frames that go before the one that is late
#define REGIONS 8

#define HEADER 12 // v.5.1.6: all 0 without the features that this doesn't offer; num_buffers is 1 in what is received
#define FRAME_LEAST 14
#define FRAME_MOST 65536
#define RX_LEAST 1526 // v.5.1.6.3.1

#define F_MTU 3
#define F_MQ 22
#define F_EVENT_IDX 29
#define F_PROTOCOL_FEATURES 30
#define F_VERSION_1 32
#define OFFERED (BIT(F_MTU) | BIT(F_MQ) | BIT(F_EVENT_IDX) | BIT(F_PROTOCOL_FEATURES) | BIT(F_VERSION_1))
#define PROTOCOL_MQ 0
#define PROTOCOL_REPLY_ACK 3
#define PROTOCOL_MTU 4

#define DESC_NEXT 1 // v.2.7.5
#define DESC_WRITE 2
#define NO_NOTIFY 1    // v.2.7.8
#define NO_INTERRUPT 1 // v.2.7.6

// ---- State ---------------------------------------------------------------------------------------------------

struct desc {
	uint64_t phys;
	uint32_t len;
	uint16_t flags, next;
};

struct ring {
	uint32_t size;
	uint64_t desc_user, avail_user, used_user; // QEMU's addresses
	struct desc *desc;
	uint16_t *avail, *used; // flags, index, entries, event
	int kick, call;
	bool enabled, stopped;     // stopped: by a fault
	uint16_t seen, gone, done; // entries taken; their frames moved; buffers finished
	int32_t late;              // of a buffer whose frame has gone long ago, or -1
	uint64_t late_until;       // so many frames
	uint16_t heads[RING_MOST]; // of the entries from `gone` to `seen`
	struct {
		struct desc desc; // as it was when the driver gave it
		uint8_t *at;      // NULL: it is the driver's
	} given[RING_MOST];
	uint64_t frames, starts, kicks, asked, calls;
};

static struct ring rings[2 * PAIRS_MOST]; // of a pair: reception, then transmission
static struct region {
	uint64_t phys, size, user, offset;
	uint8_t *at;
} regions[REGIONS];
static int qemu;
static uint32_t pairs;
static bool reverse;
static uint64_t features;
static uint32_t frame_most = 1518;
static uint32_t complaints;

static bool is_rx(const struct ring *ring)
{
	return !((ring - rings) & 1);
}

// Its number within its kind: the pair's.
static uint32_t pair_of(const struct ring *ring)
{
	return (uint32_t)(ring - rings) / 2;
}

static bool has(uint32_t feature)
{
	return features >> feature & 1;
}

static uint16_t waiting(const struct ring *ring)
{
	return ring->seen - ring->gone;
}

// False, so that callers can return it.
static __attribute__((format(printf, 2, 3))) bool forbidden(struct ring *ring, const char *format, ...)
{
	va_list args;
	if (complaints++ < 50) {
		va_start(args, format);
		fprintf(stderr, "forbidden: %s%u: ", is_rx(ring) ? "rx" : "tx", pair_of(ring));
		vfprintf(stderr, format, args);
		fputc('\n', stderr);
		va_end(args);
	}
	ring->stopped = true;
	return false;
}

static __attribute__((noreturn)) void fail(const char *what, uint64_t detail)
{
	fprintf(stderr, "failed: %s %lu: %s\n", what, detail, strerror(errno));
	exit(2);
}

// ---- Memory of the guest -------------------------------------------------------------------------------------

static void *by_phys(uint64_t phys, uint64_t len)
{
	for (struct region *r = regions; r < regions + REGIONS; r++)
		if (r->at && phys - r->phys < r->size && len <= r->size - (phys - r->phys))
			return r->at + (phys - r->phys);
	return NULL;
}

static void *by_user(uint64_t user, uint64_t len)
{
	for (struct region *r = regions; r < regions + REGIONS; r++)
		if (r->at && user - r->user < r->size && len <= r->size - (user - r->user))
			return r->at + (user - r->user);
	return NULL;
}

static bool meet(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes)
{
	return (uintptr_t)a < (uintptr_t)b + b_bytes && (uintptr_t)b < (uintptr_t)a + a_bytes;
}

static size_t desc_bytes(const struct ring *ring)
{
	return sizeof(struct desc) * ring->size;
}

static size_t avail_bytes(const struct ring *ring)
{
	return 6 + 2 * ring->size;
}

static size_t used_bytes(const struct ring *ring)
{
	return 6 + 8 * ring->size;
}

// Whether this memory is in use already: the device would write what is another's, or what it reads itself.
static bool clashes(const void *at, uint32_t len, bool write)
{
	for (const struct ring *ring = rings; ring < rings + COUNT(rings); ring++) {
		if (ring->kick < 0)
			continue;
		if (meet(at, len, ring->desc, desc_bytes(ring)) || meet(at, len, ring->avail, avail_bytes(ring)) ||
			meet(at, len, ring->used, used_bytes(ring)))
			return true;
		for (uint32_t i = 0; i < ring->size; i++)
			if (ring->given[i].at && (write || is_rx(ring)) &&
				meet(at, len, ring->given[i].at, ring->given[i].desc.len))
				return true;
	}
	return false;
}

// ---- Rings ---------------------------------------------------------------------------------------------------

// Takes the buffer that starts with this descriptor.
static bool take_chain(struct ring *ring, uint16_t head)
{
	uint32_t len = 0, most = is_rx(ring) ? UINT32_MAX : HEADER + frame_most;
	uint16_t index = head, flags;
	do {
		if (index >= ring->size)
			return forbidden(ring, "descriptor %u of %u", index, ring->size);
		if (ring->given[index].at)
			return forbidden(ring, "descriptor %u is given a second time", index);
		struct desc desc = *(volatile struct desc *)&ring->desc[index];
		flags = desc.flags;
		if (flags & ~(DESC_NEXT | DESC_WRITE))
			return forbidden(ring, "descriptor %u has flags %x", index, flags);
		if (is_rx(ring) != !!(flags & DESC_WRITE))
			return forbidden(ring, "descriptor %u is for the other direction", index);
		uint8_t *at = desc.len ? by_phys(desc.phys, desc.len) : NULL;
		if (!at)
			return forbidden(ring, "%u bytes at %lx are no memory", desc.len, desc.phys);
		if (clashes(at, desc.len, is_rx(ring)))
			return forbidden(ring, "%u bytes at %lx are in use", desc.len, desc.phys);
		ring->given[index].desc = desc;
		ring->given[index].at = at;
		len += desc.len;
		index = desc.next;
	} while (flags & DESC_NEXT);
	if (len < (is_rx(ring) ? RX_LEAST : HEADER + FRAME_LEAST) || len > most)
		return forbidden(ring, "a buffer of %u bytes", len);
	return true;
}

// Takes what the driver has made available.
static void take(struct ring *ring)
{
	uint16_t end = __atomic_load_n(&ring->avail[1], __ATOMIC_ACQUIRE);
	if ((uint16_t)(end - ring->done) > ring->size)
		forbidden(ring, "index %u with %u finished, of %u", end, ring->done, ring->size);
	while (!ring->stopped && ring->seen != end) {
		uint16_t head = ring->avail[2 + ring->seen % ring->size];
		if (take_chain(ring, head))
			ring->heads[ring->seen++ % ring->size] = head;
	}
}

static void gather(const struct ring *ring, uint16_t index, uint8_t *frame, uint32_t *len)
{
	*len = 0;
	for (;; index = ring->given[index].desc.next) {
		const struct desc *desc = &ring->given[index].desc;
		memcpy(frame + *len, ring->given[index].at, desc->len);
		*len += desc->len;
		if (!(desc->flags & DESC_NEXT))
			return;
	}
}

static bool scatter(const struct ring *ring, uint16_t index, const uint8_t *frame, uint32_t len)
{
	for (;; index = ring->given[index].desc.next) {
		const struct desc *desc = &ring->given[index].desc;
		uint32_t part = len < desc->len ? len : desc->len;
		memcpy(ring->given[index].at, frame, part);
		frame += part;
		len -= part;
		if (!len || !(desc->flags & DESC_NEXT))
			return !len;
	}
}

// Gives a buffer back, as the next one that is finished; `publish` makes it visible.
static void finish(struct ring *ring, uint16_t head, uint32_t len)
{
	volatile uint32_t *used = (volatile uint32_t *)(ring->used + 2) + 2 * (ring->done++ % ring->size);
	uint16_t index = head;
	for (bool more = true; more; index = ring->given[index].desc.next) {
		if (memcmp(&ring->given[index].desc, &ring->desc[index], sizeof(struct desc)) != 0)
			forbidden(ring, "descriptor %u was changed while it was the device's", index);
		ring->given[index].at = NULL;
		more = ring->given[index].desc.flags & DESC_NEXT;
	}
	used[0] = head;
	used[1] = len;
	ring->frames++;
}

// The one that is late, if there is one.
static bool finish_late(struct ring *ring)
{
	if (ring->late < 0)
		return false;
	finish(ring, (uint16_t)ring->late, 0);
	ring->late = -1;
	return true;
}

static void publish(struct ring *ring)
{
	uint16_t before = ring->used[1], now = ring->done;
	uint64_t one = 1;
	bool wanted;
	__atomic_store_n(&ring->used[1], now, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (has(F_EVENT_IDX)) // v.2.7.7.2
		wanted = (uint16_t)(now - ring->avail[2 + ring->size] - 1) < (uint16_t)(now - before);
	else
		wanted = !(ring->avail[0] & NO_INTERRUPT);
	ring->calls += wanted;
	if (wanted && ring->call >= 0 && write(ring->call, &one, sizeof(one)) < 0)
		fail("interrupt", ring->calls);
}

// Asks for the doorbell, or that it be left alone (v.2.7.10).  True if there is something without it.
static bool ask(struct ring *ring, bool on)
{
	uint16_t *event = ring->used + 2 + 4 * ring->size;
	if (!has(F_EVENT_IDX)) {
		ring->asked += on && ring->used[0];
		__atomic_store_n(&ring->used[0], on ? 0 : NO_NOTIFY, __ATOMIC_SEQ_CST);
	} else if (on && *event != ring->seen) {
		ring->asked++;
		__atomic_store_n(event, ring->seen, __ATOMIC_SEQ_CST);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&ring->avail[1], __ATOMIC_ACQUIRE) != ring->seen;
}

// ---- The mirror ----------------------------------------------------------------------------------------------

static void reflect(struct ring *rx, uint16_t to, struct ring *tx, uint16_t from)
{
	static const uint8_t empty[HEADER];
	static uint8_t frame[HEADER + FRAME_MOST];
	uint8_t address[6];
	uint32_t len;
	gather(tx, from, frame, &len);
	if (memcmp(frame, empty, HEADER) != 0)
		forbidden(tx, "a header that isn't empty");
	frame[10] = 1;
	memcpy(address, frame + HEADER, 6);
	memcpy(frame + HEADER, frame + HEADER + 6, 6);
	memcpy(frame + HEADER + 6, address, 6);
	frame[HEADER + 11] = (uint8_t)pair_of(tx);
	if (!scatter(rx, to, frame, len))
		forbidden(rx, "no room for a frame of %u bytes", len - HEADER);
	finish(rx, to, len);
}

static bool works(const struct ring *ring)
{
	return ring->kick >= 0 && !ring->stopped;
}

// Of those that wait.
static uint16_t head_of(const struct ring *ring, uint16_t i)
{
	return ring->heads[(uint16_t)(ring->gone + i) % ring->size];
}

// Which of `count` buffers is finished as the i-th.
static uint16_t turned(uint16_t i, uint16_t count)
{
	return reverse ? count - 1 - i : i;
}

static bool message_waits(void)
{
	char byte;
	return recv(qemu, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

// Some frames of a pair.  False if it waits for a doorbell.
static bool move(struct ring *rx, struct ring *tx)
{
	if (!works(rx) || !works(tx))
		return false;
	if (!rx->enabled || !tx->enabled) { // v.5.1.6.5.5; but QEMU may have answered the driver first
		if (ask(tx, true) && !message_waits())
			forbidden(tx, "sends, but is off");
		return false;
	}
	take(rx);
	take(tx);
	if (!works(rx) || !works(tx))
		return false;
	uint16_t count = waiting(tx) < waiting(rx) ? waiting(tx) : waiting(rx);
	if (!count && finish_late(tx)) {
		publish(tx);
		return true;
	}
	if (!count)
		return ask(waiting(tx) ? rx : tx, true);
	ask(rx, false);
	ask(tx, false);
	if (count > BATCH)
		count = BATCH;
	for (uint16_t i = 0; i < count; i++)
		reflect(rx, head_of(rx, turned(i, count)), tx, head_of(tx, i));
	bool hold = reverse && tx->late < 0;
	for (uint16_t i = 0; i < count - hold; i++)
		finish(tx, head_of(tx, turned(i, count)), 0);
	if (hold) {
		tx->late = head_of(tx, 0);
		tx->late_until = tx->frames + LATE;
	} else if (tx->frames >= tx->late_until) {
		finish_late(tx);
	}
	rx->gone += count;
	tx->gone += count;
	publish(tx);
	publish(rx);
	return true;
}

// ---- Messages ------------------------------------------------------------------------------------------------

enum {
	GET_FEATURES = 1,
	SET_FEATURES,
	SET_OWNER,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR,
	SET_VRING_BASE,
	GET_VRING_BASE,
	SET_VRING_KICK,
	SET_VRING_CALL,
	SET_VRING_ERR,
	GET_PROTOCOL_FEATURES,
	SET_PROTOCOL_FEATURES,
	GET_QUEUE_NUM,
	SET_VRING_ENABLE,
	SEND_RARP,
	NET_SET_MTU,
};
#define FLAG_VERSION 1
#define FLAG_REPLY 4
#define FLAG_NEED_REPLY 8
#define NO_FD 0x100

struct message {
	uint32_t request, flags, size;
	union {
		uint64_t number;
		struct {
			uint32_t index, value;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} address;
		struct {
			uint32_t count, padding;
			struct {
				uint64_t phys, size, user, offset;
			} region[REGIONS];
		} memory;
	} __attribute__((packed));
	int fd[REGIONS]; // from here on it doesn't travel
};
#define MESSAGE_HEAD offsetof(struct message, number)
_Static_assert(MESSAGE_HEAD == 12, "message");

static bool receive(struct message *m)
{
	char control[CMSG_SPACE(sizeof(m->fd))];
	struct iovec head = { m, MESSAGE_HEAD };
	struct msghdr msg = { .msg_iov = &head,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	memset(m, 0, sizeof(*m));
	memset(m->fd, 0xFF, sizeof(m->fd));
	ssize_t got = recvmsg(qemu, &msg, MSG_WAITALL);
	if (!got || (got < 0 && errno == ECONNRESET))
		return false;
	if (got != MESSAGE_HEAD || m->size > offsetof(struct message, fd) - MESSAGE_HEAD)
		fail("message", m->size);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_type == SCM_RIGHTS)
			memcpy(m->fd, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	if (m->size && recv(qemu, &m->number, m->size, MSG_WAITALL) != (ssize_t)m->size)
		fail("message", m->request);
	return true;
}

static void answer(const struct message *m, uint64_t number)
{
	struct message reply = { .request = m->request, .flags = FLAG_VERSION | FLAG_REPLY, .size = 8, .number = number };
	if (send(qemu, &reply, MESSAGE_HEAD + 8, MSG_NOSIGNAL) < 0)
		fail("answer", m->request);
}

static struct ring *ring_of(uint32_t index)
{
	if (index >= 2 * pairs)
		fail("queue", index);
	return &rings[index];
}

static void set_memory(const struct message *m)
{
	for (struct region *r = regions; r < regions + REGIONS; r++)
		if (r->at)
			munmap(r->at - r->offset, r->size + r->offset);
	memset(regions, 0, sizeof(regions));
	for (uint32_t i = 0; i < m->memory.count; i++) {
		struct region *r = &regions[i];
		r->phys = m->memory.region[i].phys;
		r->size = m->memory.region[i].size;
		r->user = m->memory.region[i].user;
		r->offset = m->memory.region[i].offset;
		void *at = mmap(NULL, r->size + r->offset, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd[i], 0);
		if (at == MAP_FAILED)
			fail("memory", i);
		r->at = (uint8_t *)at + r->offset;
		close(m->fd[i]);
	}
	for (struct ring *ring = rings; ring < rings + COUNT(rings); ring++)
		if (ring->kick >= 0)
			fail("memory changes under queue", (uint64_t)(ring - rings));
}

// v.2.7: where the parts of a ring may lie.
static void start(struct ring *ring)
{
	ring->desc = by_user(ring->desc_user, desc_bytes(ring));
	ring->avail = by_user(ring->avail_user, avail_bytes(ring));
	ring->used = by_user(ring->used_user, used_bytes(ring));
	ring->starts++;
	ring->stopped = false;
	if (!ring->size || ring->size > RING_MOST || ring->size & (ring->size - 1))
		forbidden(ring, "%u entries", ring->size);
	else if (!ring->desc || !ring->avail || !ring->used)
		forbidden(ring, "a part of the ring is no memory");
	else if (ring->desc_user % 16 || ring->avail_user % 2 || ring->used_user % 4)
		forbidden(ring, "a part of the ring is not aligned");
	else if (ring->used[1] != ring->done)
		forbidden(ring, "finished are %u buffers, but the ring says %u", ring->done, ring->used[1]);
	else if (!has(F_VERSION_1))
		forbidden(ring, "without VIRTIO_F_VERSION_1");
}

static void put(int *fd, int with)
{
	if (*fd >= 0)
		close(*fd);
	*fd = with;
}

static uint64_t stop(struct ring *ring)
{
	if (works(ring) && finish_late(ring))
		publish(ring);
	ring->late = -1;
	put(&ring->kick, -1);
	put(&ring->call, -1);
	for (uint32_t i = 0; i < RING_MOST; i++)
		ring->given[i].at = NULL;
	ring->seen = ring->gone = ring->done; // what was taken and isn't finished is taken again
	return (uint64_t)ring->done << 32 | (uint64_t)(ring - rings);
}

static void set_address(const struct message *m)
{
	struct ring *ring = ring_of(m->address.index);
	ring->desc_user = m->address.desc;
	ring->avail_user = m->address.avail;
	ring->used_user = m->address.used;
}

static void handle(struct message *m)
{
	struct ring *ring =
		m->request >= SET_VRING_NUM && m->request <= SET_VRING_ERR ? ring_of(m->state.index & 0xFF) : NULL;
	switch (m->request) {
	case GET_FEATURES:
		return answer(m, OFFERED);
	case GET_PROTOCOL_FEATURES:
		return answer(m, BIT(PROTOCOL_MQ) | BIT(PROTOCOL_REPLY_ACK) | BIT(PROTOCOL_MTU));
	case GET_QUEUE_NUM:
		return answer(m, pairs);
	case GET_VRING_BASE:
		return answer(m, stop(ring));
	case SET_FEATURES:
		if (m->number & ~OFFERED)
			fail("features", m->number);
		features = m->number;
		break;
	case SET_MEM_TABLE:
		set_memory(m);
		break;
	case SET_VRING_NUM:
		ring->size = m->state.value;
		break;
	case SET_VRING_ADDR:
		set_address(m);
		break;
	case SET_VRING_BASE:
		ring->seen = ring->gone = ring->done = (uint16_t)m->state.value;
		break;
	case SET_VRING_KICK:
		if (m->fd[0] < 0)
			fail("no doorbell for queue", m->number);
		put(&ring->kick, m->fd[0]);
		start(ring);
		break;
	case SET_VRING_CALL:
		put(&ring->call, m->number & NO_FD ? -1 : m->fd[0]);
		break;
	case SET_VRING_ERR:
		put(&m->fd[0], -1);
		break;
	case SET_VRING_ENABLE:
		ring = ring_of(m->state.index);
		ring->enabled = m->state.value;
		if (ring->enabled && ring->kick < 0 && pair_of(ring)) // v.5.1.6.5.5; QEMU does it to the first pair
			forbidden(ring, "is switched on, but not set up");
		break;
	case NET_SET_MTU:
		frame_most = (uint32_t)m->number + 18;
		break;
	case SET_OWNER:
	case SET_PROTOCOL_FEATURES:
		break;
	default:
		fail("request", m->request);
	}
	if (m->flags & FLAG_NEED_REPLY)
		answer(m, 0);
}

// Until QEMU is gone.
static void run(void)
{
	struct pollfd fds[1 + COUNT(rings)];
	struct message message;
	for (;;) {
		bool moved = false;
		for (uint32_t i = 0; i < 2 * pairs; i += 2)
			moved |= move(&rings[i], &rings[i + 1]);
		fds[0] = (struct pollfd){ qemu, POLLIN, 0 };
		for (uint32_t i = 0; i < 2 * pairs; i++)
			fds[1 + i] = (struct pollfd){ rings[i].kick, POLLIN, 0 };
		if (poll(fds, 1 + 2 * pairs, moved ? 0 : -1) < 0)
			fail("poll", pairs);
		for (uint32_t i = 0; i < 2 * pairs; i++) {
			uint64_t kicks;
			if (fds[1 + i].revents & POLLIN && read(rings[i].kick, &kicks, sizeof(kicks)) > 0)
				rings[i].kicks += kicks;
		}
		if (!fds[0].revents)
			continue;
		if (!receive(&message))
			return;
		handle(&message);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	qemu = accept(atoi(argv[1]), NULL, NULL);
	pairs = (uint32_t)atoi(argv[2]);
	reverse = argc > 3 && !strcmp(argv[3], "reverse");
	if (qemu < 0 || !pairs || pairs > PAIRS_MOST)
		return 2;
	for (struct ring *ring = rings; ring < rings + COUNT(rings); ring++)
		ring->kick = ring->call = ring->late = -1;
	run();
	for (uint32_t i = 0; i < 2 * pairs; i++)
		printf("%s%u frames=%lu starts=%lu kicks=%lu asked=%lu calls=%lu\n", i & 1 ? "tx" : "rx", i / 2,
			rings[i].frames, rings[i].starts, rings[i].kicks, rings[i].asked, rings[i].calls);
	return complaints != 0;
}
