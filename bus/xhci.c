// bus/xhci.c - USB host controllers with the eXtensible Host Controller Interface, any vendor.  "s." = section of its
// specification, revision 1.2 (Intel).  QEMU: -device qemu-xhci or nec-usb-xhci.
// Not done: bulk and isochronous endpoints, streams, power management; the 7 and 8 series chipsets' ports that the
// firmware has left with their EHCI controllers.
#include "xhci_regs.h"
#include <log.h>
#include <mem.h>
#include <mmio.h>
#include <pci.h>
#include <time.h>
#include <usb.h>

#define TRBS 16u // of a transfer or command ring, the link counted
#define EVENTS 256u
#define PORTS_MOST 30
#define HANDOVER_US 1000000
#define HALT_US 16000 // s.5.4.1.1
#define RESET_US 1000000
#define SETTLE_US 1000 // Intel's take no access right behind a reset
#define ANSWER_US 1000000
#define PAGE 4096u

struct ring {
	struct trb trb[TRBS]; // the last one links back to the first
	uint32_t next, cycle;
} __attribute__((aligned(64)));

// No ring may cross a 64 KiB boundary, no context a 4 KiB one (s.6, table 6-1): aligned to 64 KiB.
struct xhci {
	volatile uint8_t *op, *runtime, *doorbell;
	void *scratch;
	uint32_t scratch_bytes;
	uint32_t context_bytes; // of one: 32 or 64
	uint32_t event;         // free-running
	int vector;
	struct usb_host host;
	uint64_t context_table[USB_DEVICES] __attribute__((aligned(64)));
	struct erst segment __attribute__((aligned(64)));
	struct ring command, ring[USB_DEVICES][2]; // endpoint 0, and the interrupt endpoint
	struct trb events[EVENTS] __attribute__((aligned(4096)));
	uint8_t input[4096]; // context of a command
	uint8_t contexts[];  // of devices, 32 each
};
_Static_assert(offsetof(struct xhci, input) <= 0x10000 || USB_STACK > 4096, "rings");
_Static_assert(offsetof(struct xhci, contexts) % 4096 == 0, "contexts");
#define XHCI_BYTES (sizeof(struct xhci) + (USB_DEVICES - 1) * 32 * 64)

static struct xhci *to_xhci(struct usb_host *host)
{
	return container_of(host, struct xhci, host);
}

static void xhci_write64(volatile uint8_t *reg, uint64_t value)
{
	mmio_write32(reg, value);
	mmio_write32(reg + 4, value >> 32);
}

static void xhci_ring(struct xhci *xhci, uint32_t slot, uint32_t target)
{
	mmio_write32(xhci->doorbell + 4 * slot, target);
}

// ---- Rings (s.4.9) -------------------------------------------------------------------------------------------

static void ring_start(struct ring *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->cycle = TRB_CYCLE;
	ring->trb[TRBS - 1].param = (uintptr_t)ring->trb;
}

// Where the next block goes, as commands and contexts want it: with the cycle.
static uint64_t ring_position(const struct ring *ring)
{
	return (uintptr_t)&ring->trb[ring->next] | ring->cycle;
}

// There is always room: what was queued before is done, but for a single transfer.
static struct trb *ring_put(struct ring *ring, uint64_t param, uint32_t status, uint32_t control)
{
	struct trb *trb = &ring->trb[ring->next];
	trb->param = param;
	trb->status = status;
	barrier();
	trb->control = control | ring->cycle;
	if (++ring->next == TRBS - 1) {
		barrier();
		ring->trb[TRBS - 1].control = TRB_TYPE(TRB_LINK) | TRB_TOGGLE | ring->cycle;
		ring->cycle ^= TRB_CYCLE;
		ring->next = 0;
	}
	return trb;
}

// ---- Events --------------------------------------------------------------------------------------------------

static void xhci_event(struct xhci *xhci, uint64_t param, uint32_t status, uint32_t control)
{
	struct usb_host *host = &xhci->host;
	uint32_t slot = TRB_SLOT_OF(control), type = TRB_TYPE_OF(control), code = TRB_CODE_OF(status);
	uint32_t left = TRB_LEFT_OF(status);
	if (type == TRB_EVENT_COMMAND) {
		usb_wake(host, param, code == CODE_SUCCESS ? (int)slot : E_IO);
	} else if (type == TRB_EVENT_PORT) {
		uint32_t port = TRB_PORT_OF(param);
		if (port && port <= host->dev[0].ports)
			usb_changed(host->dev, 1u << port, 0);
	} else if (type == TRB_EVENT_TRANSFER && slot && slot < USB_DEVICES) {
		struct usb_dev *usb = &host->dev[slot];
		bool good = code == CODE_SUCCESS || code == CODE_SHORT;
		if (TRB_ENDPOINT_OF(control) == 1)
			usb_wake(host, slot, good ? E_OK : E_IO);
		else if (usb->listening)
			usb_received(usb, good && left <= usb->packet ? (int)(usb->packet - left) : E_IO);
	}
}

// Interrupt handler, and whenever time has passed for something that waits.
static void xhci_take(void *self)
{
	struct xhci *xhci = self;
	uint32_t taken = 0;
	mmio_write32(xhci->op + USBSTS, USBSTS_EINT); // s.4.17.5: INTx needs it; then the interrupter
	mmio_write32(xhci->runtime + IMAN, IMAN_IP | IMAN_IE);
	for (; taken < EVENTS; taken++, xhci->event++) {
		const volatile struct trb *event = &xhci->events[xhci->event % EVENTS];
		uint32_t control = event->control;
		if ((control ^ ~(xhci->event / EVENTS)) & TRB_CYCLE)
			break;
		barrier();
		xhci_event(xhci, event->param, event->status, control);
	}
	xhci_write64(xhci->runtime + ERDP, (uintptr_t)&xhci->events[xhci->event % EVENTS] | ERDP_EHB);
	usb_run(&xhci->host);
}

static void xhci_take_events(struct usb_host *host)
{
	xhci_take(to_xhci(host));
}

// ---- Commands (s.4.6) ----------------------------------------------------------------------------------------

static void xhci_stop(struct xhci *xhci)
{
	xhci->host.dead = true;
	mmio_write32(xhci->op + USBCMD, 0);
	mmio_wait32(xhci->op + USBSTS, USBSTS_HCH, USBSTS_HCH, HALT_US);
}

// Returns the slot that the completion names, or an error.  A controller that doesn't even let go of a command
// (s.4.6.1.2) is given up, and with it what is plugged in.
static int xhci_command(struct xhci *xhci, uint64_t param, uint32_t control)
{
	struct usb_host *host = &xhci->host;
	struct usb_dev *root = host->dev;
	uint64_t key = (uintptr_t)ring_put(&xhci->command, param, 0, control);
	xhci_ring(xhci, 0, 0);
	int rc = usb_wait(host, key, ANSWER_US);
	if (rc != E_TIMEOUT)
		return rc;
	xhci_write64(xhci->op + CRCR, CRCR_CA);
	rc = usb_wait(host, key, ANSWER_US);
	if (rc == E_TIMEOUT) {
		log("%s: the controller hangs\n", root->dev.name);
		xhci_stop(xhci);
		usb_changed(root, (2u << root->ports) - 2, ~0u);
	}
	return E_IO;
}

// s.6.2.3.6: the interval is a power of two of 125 us; full and low speed devices count it in ms.
static uint32_t xhci_interval(const struct usb_dev *usb)
{
	uint32_t interval = usb->interval | !usb->interval;
	return usb->speed < USB_HIGH ? 34u - __builtin_clz(interval) : (interval > 16 ? 16 : interval) - 1;
}

// A command on the slot and one endpoint, by its index in the device context (s.4.5.1), as usb has them.
static int xhci_apply(struct usb_dev *usb, uint32_t command, uint32_t dci)
{
	struct xhci *xhci = to_xhci(usb->host);
	uint32_t *input = (uint32_t *)xhci->input, *slot = input + xhci->context_bytes / 4;
	uint32_t *endpoint = slot + dci * (xhci->context_bytes / 4), type = ENDPOINT_CONTROL, packet = usb->packet0;
	uint64_t position = ring_position(&xhci->ring[usb->slot][dci > 1]);
	memset(input, 0, sizeof(xhci->input));
	input[INPUT_ADD] = 1 | 1u << dci;
	slot[SLOT_ROUTE] = usb->route | SLOT_SPEED(usb->speed) | SLOT_ENTRIES(dci) | (usb->ports ? SLOT_HUB : 0);
	slot[SLOT_PORTS] = SLOT_ROOT_PORT(usb->root_port) | SLOT_PORT_COUNT(usb->ports);
	slot[SLOT_TT] = usb->tt | SLOT_THINK(usb->think);
	endpoint[ENDPOINT_LENGTHS] = 8;
	if (dci > 1) {
		type = ENDPOINT_INTERRUPT_IN;
		packet = usb->packet;
		endpoint[ENDPOINT_INTERVAL] = ENDPOINT_EXPONENT(xhci_interval(usb));
		endpoint[ENDPOINT_LENGTHS] = packet | ENDPOINT_PAYLOAD(packet);
	}
	endpoint[ENDPOINT_TYPE] = type | ENDPOINT_PACKET(packet);
	*(uint64_t *)(endpoint + ENDPOINT_DEQUEUE) = position;
	int rc = xhci_command(xhci, (uintptr_t)input, TRB_TYPE(command) | TRB_SLOT(usb->slot));
	return rc < 0 ? rc : E_OK;
}

// ---- What the USB core asks for ------------------------------------------------------------------------------

static void xhci_start(struct usb_host *host)
{
	mmio_write32(to_xhci(host)->op + USBCMD, USBCMD_RS | USBCMD_INTE);
}

static int xhci_port_status(struct usb_host *host, uint32_t port)
{
	volatile uint8_t *reg = to_xhci(host)->op + PORTSC(port);
	uint32_t value = mmio_read32(reg);
	mmio_write32(reg, (value & (PORTSC_KEEP | PORTSC_CHANGES)) | PORTSC_PP);
	// The bits are those of u.11.24.2.7, but for the changes, which lie one higher.
	return (value & (PORTSC_SPEED | 0x1F)) | (value >> 1 & 0x1F0000);
}

static void xhci_port_reset(struct usb_host *host, uint32_t port)
{
	volatile uint8_t *reg = to_xhci(host)->op + PORTSC(port);
	uint32_t value = mmio_read32(reg);
	// s.4.19.5.1: a USB 3 link that has failed needs a warm one.
	mmio_write32(reg, (value & PORTSC_KEEP) | (PORTSC_PLS(value) == PLS_INACTIVE ? PORTSC_WPR : PORTSC_PR));
}

static int xhci_attach(struct usb_host *host)
{
	int slot = xhci_command(to_xhci(host), 0, TRB_TYPE(TRB_ENABLE_SLOT));
	if (slot >= USB_DEVICES || !slot || (slot > 0 && host->dev[slot].hub))
		return E_IO;
	return slot;
}

static int xhci_address(struct usb_dev *usb)
{
	struct xhci *xhci = to_xhci(usb->host);
	uint32_t bytes = 32 * xhci->context_bytes;
	uint8_t *context = xhci->contexts + (usb->slot - 1) * bytes;
	uint64_t *entry = &xhci->context_table[usb->slot];
	if (*entry)
		return xhci_apply(usb, TRB_EVALUATE, 1);
	memset(context, 0, bytes);
	*entry = (uintptr_t)context;
	ring_start(xhci->ring[usb->slot]);
	return xhci_apply(usb, TRB_ADDRESS, 1);
}

// An endpoint that has stalled goes on behind what it stalled at (s.4.6.8).
static void xhci_unstall(struct xhci *xhci, const struct usb_dev *usb, const struct ring *ring)
{
	uint32_t target = TRB_SLOT(usb->slot) | TRB_ENDPOINT(1);
	xhci_command(xhci, 0, TRB_TYPE(TRB_RESET_ENDPOINT) | target);
	xhci_command(xhci, ring_position(ring), TRB_TYPE(TRB_SET_DEQUEUE) | target);
}

static int xhci_control(struct usb_dev *usb, uint64_t setup, void *data)
{
	struct xhci *xhci = to_xhci(usb->host);
	struct ring *ring = xhci->ring[usb->slot];
	uint32_t length = setup >> 48, in = setup & USB_IN ? TRB_IN : 0;
	ring_put(ring, setup, 8, TRB_TYPE(TRB_SETUP) | TRB_IDT | (!length ? 0 : in ? TRB_TRT_IN : TRB_TRT_OUT));
	if (length)
		ring_put(ring, (uintptr_t)data, length, TRB_TYPE(TRB_DATA) | in);
	ring_put(ring, 0, 0, TRB_TYPE(TRB_STATUS) | TRB_IOC | (length && in ? 0 : TRB_IN)); // s.4.11.2.2: the other way
	xhci_ring(xhci, usb->slot, 1);
	int rc = usb_wait(usb->host, usb->slot, ANSWER_US);
	if (rc == E_IO)
		xhci_unstall(xhci, usb, ring);
	return rc;
}

static int xhci_open(struct usb_dev *usb)
{
	ring_start(&to_xhci(usb->host)->ring[usb->slot][1]);
	return xhci_apply(usb, TRB_CONFIGURE, 2 * usb->endpoint + 1);
}

static void xhci_listen(struct usb_dev *usb)
{
	struct xhci *xhci = to_xhci(usb->host);
	ring_put(&xhci->ring[usb->slot][1], (uintptr_t)usb->report, usb->packet, TRB_TYPE(TRB_NORMAL) | TRB_IOC | TRB_ISP);
	xhci_ring(xhci, usb->slot, 2 * usb->endpoint + 1);
}

static void xhci_detach(struct usb_dev *usb)
{
	struct xhci *xhci = to_xhci(usb->host);
	xhci_command(xhci, 0, TRB_TYPE(TRB_DISABLE_SLOT) | TRB_SLOT(usb->slot));
	xhci->context_table[usb->slot] = 0;
}

static const struct usb_host_ops xhci_ops = {
	.start = xhci_start,
	.take = xhci_take_events,
	.port_status = xhci_port_status,
	.port_reset = xhci_port_reset,
	.attach = xhci_attach,
	.address = xhci_address,
	.control = xhci_control,
	.open = xhci_open,
	.listen = xhci_listen,
	.detach = xhci_detach,
};

// ---- Start and end -------------------------------------------------------------------------------------------

// s.4.22.1: the firmware lets go, or is let go, and hears of nothing any more.
static void xhci_take_over(volatile uint8_t *at, volatile uint8_t *end)
{
	uint32_t next = HCC1_XECP(mmio_read32(at + HCCPARAMS1));
	while (next && (at += next) < end) {
		uint32_t value = mmio_read32(at);
		next = XECP_NEXT(value);
		if (XECP_ID(value) != XECP_LEGACY)
			continue;
		mmio_write32(at, value | LEGACY_OS);
		mmio_wait32(at, LEGACY_BIOS, 0, HANDOVER_US);
		mmio_write32(at, (value & ~LEGACY_BIOS) | LEGACY_OS);
		at += LEGACY_CONTROL;
		mmio_write32(at, (mmio_read32(at) & ~LEGACY_SMI) | LEGACY_EVENTS);
		break;
	}
}

// s.4.2: from whatever the firmware left.
static int xhci_reset(struct xhci *xhci)
{
	volatile uint8_t *op = xhci->op;
	xhci_stop(xhci);
	mmio_write32(op + USBCMD, USBCMD_HCRST);
	time_delay_us(SETTLE_US);
	if (mmio_wait32(op + USBCMD, USBCMD_HCRST, 0, RESET_US) != E_OK ||
		mmio_wait32(op + USBSTS, USBSTS_CNR, 0, RESET_US) != E_OK) {
		log(" no reset");
		return E_TIMEOUT;
	}
	xhci->host.dead = false;
	return E_OK;
}

// Pages that the controller keeps its own things in (s.4.20).
static int xhci_scratchpads(struct xhci *xhci, uint32_t count)
{
	if (!count)
		return E_OK;
	xhci->scratch_bytes = count * (PAGE + sizeof(uint64_t));
	uint8_t *scratch = xhci->scratch = mem_alloc(xhci->scratch_bytes, PAGE);
	if (!scratch)
		return E_NOMEM;
	uint64_t *table = (uint64_t *)(scratch + count * PAGE);
	xhci->context_table[0] = (uintptr_t)table;
	for (; count--; scratch += PAGE)
		*table++ = (uintptr_t)scratch;
	return E_OK;
}

static void xhci_set_up(struct xhci *xhci)
{
	ring_start(&xhci->command);
	xhci->segment.base = (uintptr_t)xhci->events;
	xhci->segment.size = EVENTS;
	xhci_write64(xhci->op + DCBAAP, (uintptr_t)xhci->context_table);
	xhci_write64(xhci->op + CRCR, ring_position(&xhci->command));
	mmio_write32(xhci->runtime + ERSTSZ, 1);
	xhci_write64(xhci->runtime + ERDP, (uintptr_t)xhci->events);
	xhci_write64(xhci->runtime + ERSTBA, (uintptr_t)&xhci->segment);
	mmio_write32(xhci->runtime + IMAN, IMAN_IE);
}

// It is halted, or hangs: then it can't write to memory any more.
static void xhci_free(struct xhci *xhci, struct pci_dev *pci)
{
	pci_disable(pci);
	if (xhci)
		mem_free(xhci->scratch, xhci->scratch_bytes);
	mem_free(xhci, XHCI_BYTES);
}

static int xhci_begin(struct xhci *xhci, volatile uint8_t *cap, uint64_t bytes)
{
	uint32_t params = mmio_read32(cap + HCSPARAMS1), slots = HCS1_SLOTS(params);
	uint32_t ports = HCS1_PORTS(params);
	if (ports > PORTS_MOST)
		ports = PORTS_MOST;
	uint32_t runtime = mmio_read32(cap + RTSOFF) & ~31u, doorbell = mmio_read32(cap + DBOFF) & ~3u;
	uint32_t op = mmio_read8(cap + CAPLENGTH);
	if (op + PORTSC(ports) + 16 > bytes || runtime + 0x40ul > bytes || doorbell + 4ul * USB_DEVICES > bytes ||
		mmio_read32(cap + op + PAGESIZE) != PAGE >> 12) {
		log(" bad registers");
		return E_IO;
	}
	xhci->op = cap + op;
	xhci->runtime = cap + runtime;
	xhci->doorbell = cap + doorbell;
	xhci->context_bytes = mmio_read32(cap + HCCPARAMS1) & HCC1_CSZ ? 64 : 32;
	xhci->host.dev[0].ports = ports;
	xhci_take_over(cap, cap + bytes - LEGACY_CONTROL);
	int rc = xhci_reset(xhci);
	if (rc == E_OK)
		rc = xhci_scratchpads(xhci, HCS2_SCRATCHPADS(mmio_read32(cap + HCSPARAMS2)));
	if (rc != E_OK)
		return rc;
	mmio_write32(xhci->op + CONFIG, slots < USB_DEVICES ? slots : USB_DEVICES - 1);
	xhci_set_up(xhci);
	return E_OK;
}

static int xhci_probe(struct device *dev, const struct dev_id *id)
{
	struct pci_dev *pci = to_pci(dev);
	int rc = E_NOMEM;
	(void)id;
	pci_enable(pci);
	volatile uint8_t *cap = pci_map_bar(pci, 0);
	struct xhci *xhci = cap ? mem_alloc(XHCI_BYTES, 0x10000) : NULL;
	if (xhci)
		rc = xhci_begin(xhci, cap, pci->bar[0].bytes);
	if (rc != E_OK) {
		xhci_free(xhci, pci);
		return rc;
	}
	dev->drvdata = xhci;
	xhci->vector = pci_irq(pci, 0, xhci_take, xhci, 0);
	xhci->host.polled = xhci->vector < 0;
	xhci->host.ops = &xhci_ops;
	usb_host_add(&xhci->host);
	return E_OK;
}

static void xhci_remove(struct device *dev)
{
	struct xhci *xhci = dev->drvdata;
	if (!xhci->host.polled)
		pci_irq_free(to_pci(dev), 0, xhci->vector);
	xhci_stop(xhci);
	usb_host_remove(&xhci->host);
	xhci_free(xhci, to_pci(dev));
}

static const struct dev_id xhci_ids[] = { DEV_ID_CLASS(0x0C0330, 0xFFFFFF, 0) };
static const struct driver xhci = { "xhci", DEV_IDS(xhci_ids), .probe = xhci_probe, .remove = xhci_remove };
PCI_DRIVER(xhci);
