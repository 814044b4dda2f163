// xHCI, the USB core, hubs and keyboards, against a controller and devices that are strict about what the
// specifications ask of the host.
#include <fake.h>
#include <pci.h>
#include <program.h>
#include <usb.h>
#include <bus/xhci_regs.h>

struct classic_calls classic;

void program_key(void)
{
}

// ---- Devices -------------------------------------------------------------------------------------------------

#define HUB_PORTS 4

struct far_dev {
	uint32_t speed; // USB_*
	uint8_t device[18], config[300];
	uint32_t config_bytes;
	bool mute;                           // answers no control transfer
	uint32_t refuse;                     // request + 1 that stalls
	struct far_dev *port[HUB_PORTS + 1]; // a hub's
	uint32_t status[HUB_PORTS + 1];
	uint8_t configured, protocol, idle;
	uint32_t requests;
};

// clang-format off
static const uint8_t keyboard_config[] = {
	9, 2, 34, 0, 1, 1, 0, 0xA0, 50, 9, 4, 0, 0, 1, 3, 1, 1, 0, 9, 0x21, 0x11, 1, 0, 1, 0x22, 63, 0,
	7, 5, 0x81, 3, 8, 0, 10,
};
// clang-format on
static const uint8_t hub_config[] = {
	9,
	2,
	25,
	0,
	1,
	7,
	0,
	0xE0,
	0,
	9,
	4,
	0,
	0,
	1,
	9,
	0,
	0,
	0,
	7,
	5,
	0x81,
	3,
	1,
	0,
	12,
};

static struct far_dev make(uint32_t speed, uint32_t product, const uint8_t *config, uint32_t bytes)
{
	struct far_dev dev = {
		.speed = speed,
		.config_bytes = bytes,
		.protocol = 1,
		.idle = 1,
		.device = { 18, 1, 0, 2, 0, 0, 0,
			speed == USB_SUPER   ? 9 :
				speed == USB_LOW ? 8 :
								   64,
			0x34, 0x12, product, product >> 8, 0, 1, 0, 0, 0, 1 },
	};
	memcpy(dev.config, config, bytes);
	return dev;
}

static struct far_dev make_keyboard(uint32_t speed)
{
	return make(speed, 0xABCD, keyboard_config, sizeof(keyboard_config));
}

static struct far_dev make_hub(uint32_t speed)
{
	return make(speed, 0x0409, hub_config, sizeof(hub_config));
}

// ---- A controller --------------------------------------------------------------------------------------------

#define REGS 0x1000
#define OP 0x40
#define RUNTIME 0x600
#define BELLS 0x800
#define LEGACY 0x500
#define PORTS 8
#define SLOTS 32

struct far_end { // an endpoint
	uint64_t at;
	uint32_t cycle;
	bool halted;
	uint32_t packet, type;
	uint64_t buffer, trb; // of the transfer that waits; 0: none
	uint32_t length;
};

struct far {
	struct fake_mmio regs;
	uint32_t memory[REGS / 4];
	struct pci_dev pci;
	bool master;
	uint32_t context_bytes, max_slots, scratchpads;
	uint64_t crcr, dcbaap, erstba, erdp;
	uint64_t events, produced;
	uint32_t event_size;
	struct far_end commands;
	struct far_dev *port[PORTS + 1];
	struct far_dev *slot[SLOTS];
	struct far_end end[SLOTS][32];
	bool enabled[SLOTS];
	bool stuck_halt, stuck_reset, stuck_ready, deaf, stubborn;
	uint32_t firmware; // looks at the semaphore until it lets go
	bool pending;      // an interrupt
	int vector;
	irq_handler handler;
	void *arg;
	bool no_irq;
	bool lenient; // endpoints may be anything
	uint32_t addressed, disabled, aborted, resets, reset_endpoints;
	uint32_t last_tt[SLOTS];
};

static struct far *fars[2];

static uint32_t *reg(struct far *far, uint32_t offset)
{
	return &far->memory[offset / 4];
}

static bool running(struct far *far)
{
	return *reg(far, OP + USBCMD) & USBCMD_RS;
}

static void far_event(struct far *far, uint64_t param, uint32_t status, uint32_t control)
{
	struct trb *event;
	if (!running(far))
		return;
	event = (struct trb *)far->events + far->produced % far->event_size;
	event->param = param;
	event->status = status;
	event->control = control | !(far->produced / far->event_size & 1);
	far->produced++;
	far->pending = true;
}

static struct far_dev *child(struct far *far, uint32_t root, uint32_t route)
{
	struct far_dev *dev = root && root <= PORTS ? far->port[root] : NULL;
	for (; dev && route; route >>= 4)
		dev = dev->port[route & 15];
	return dev;
}

// A block that the host has queued, NULL if there is none.
static struct trb *far_take(struct far_end *end)
{
	for (;;) {
		struct trb *trb = (struct trb *)end->at;
		if ((trb->control & TRB_CYCLE) != end->cycle)
			return NULL;
		if (TRB_TYPE_OF(trb->control) != TRB_LINK) {
			end->at += sizeof(*trb);
			return trb;
		}
		assert_int_equal(trb->param & 15, 0);
		if (trb->control & TRB_TOGGLE)
			end->cycle ^= 1;
		end->at = trb->param;
	}
}

static void far_endpoint(struct far *far, uint32_t slot, uint32_t dci, const uint32_t *context)
{
	struct far_end *end = &far->end[slot][dci];
	uint64_t dequeue = context[2] | (uint64_t)context[3] << 32;
	memset(end, 0, sizeof(*end));
	end->at = dequeue & ~15ul;
	end->cycle = dequeue & 1;
	end->packet = context[1] >> 16;
	end->type = context[1] >> 3 & 7;
	assert_int_equal(context[1] >> 1 & 3, 3);
	assert_true(end->at);
	assert_int_equal(end->at >> 16, (end->at + 255) >> 16); // no boundary of 64 KiB
	assert_true(context[4] & 0xFFFF);
}

// Address Device, Configure Endpoint, Evaluate Context: what the input context must say.
static uint32_t far_context(struct far *far, uint32_t type, uint32_t slot, uint64_t input)
{
	uint32_t *control = (uint32_t *)input, *context = control + far->context_bytes / 4, entries = context[0] >> 27;
	uint32_t root = context[1] >> 16 & 0xFF, speed = context[0] >> 20 & 15;
	struct far_dev *dev = child(far, root, context[0] & 0xFFFFF);
	assert_int_equal(input & 63, 0);
	assert_int_equal(input >> 12, (input + 33 * far->context_bytes - 1) >> 12);
	assert_int_equal(control[0], 0);
	assert_in_range(entries, 1, 31);
	if (!dev)
		return 4;
	assert_int_equal(speed, dev->speed);
	far->last_tt[slot] = context[2];
	const uint32_t *ep0 = context + far->context_bytes / 4, *last = context + entries * far->context_bytes / 4;
	if (type == TRB_ADDRESS) {
		uint64_t output = ((uint64_t *)far->dcbaap)[slot];
		assert_true(output);
		assert_int_equal(output & 63, 0);
		assert_int_equal(output >> 12, (output + 32 * far->context_bytes - 1) >> 12);
		for (uint32_t i = 0; i < 8 * far->context_bytes; i++)
			assert_int_equal(((uint32_t *)output)[i], 0);
		memset((void *)output, 0xA5, 32 * far->context_bytes);
		assert_int_equal(control[1], 3);
		assert_int_equal(ep0[1] >> 3 & 7, 4);
		assert_int_equal(ep0[1] >> 16, speed == USB_SUPER ? 512 : speed == USB_HIGH ? 64 : 8);
		far->slot[slot] = dev;
		far->addressed++;
		far_endpoint(far, slot, 1, ep0);
	} else if (type == TRB_EVALUATE) {
		assert_int_equal(control[1] & ~1u, 2);
		far->end[slot][1].packet = ep0[1] >> 16;
	} else {
		assert_int_equal(control[1], 1 | 1u << entries);
		assert_int_equal(last[1] >> 3 & 7, 7);
		if (far->lenient)
			return 1;
		assert_int_equal(last[0] >> 16 & 0xFF, speed < USB_HIGH ? 6 : dev->config[sizeof(hub_config) - 1] - 1);
		far_endpoint(far, slot, entries, last);
		if (dev->config[14] == 9) {
			assert_true(context[0] & SLOT_HUB);
			assert_int_equal(context[1] >> 24, HUB_PORTS);
		}
	}
	return 1;
}

static void far_command(struct far *far, const struct trb *trb)
{
	uint32_t type = TRB_TYPE_OF(trb->control), slot = TRB_SLOT_OF(trb->control), code = 1;
	struct far_end *end;
	if (type == TRB_ENABLE_SLOT) {
		for (slot = 1; slot <= *reg(far, OP + CONFIG) && far->enabled[slot]; slot++)
			;
		if (slot > *reg(far, OP + CONFIG)) {
			slot = 0;
			code = 9;
		}
		far->enabled[slot] = true;
	} else {
		assert_in_range(slot, 1, SLOTS - 1);
		assert_true(far->enabled[slot]);
		end = &far->end[slot][TRB_ENDPOINT_OF(trb->control)];
		if (type == TRB_DISABLE_SLOT) {
			far->enabled[slot] = false;
			far->slot[slot] = NULL;
			memset(far->end[slot], 0, sizeof(far->end[slot]));
			far->disabled++;
		} else if (type == TRB_RESET_ENDPOINT) {
			far->reset_endpoints++;
			code = end->halted ? 1 : 19;
			end->halted = false;
		} else if (type == TRB_SET_DEQUEUE) {
			end->at = trb->param & ~15ul;
			end->cycle = trb->param & 1;
		} else {
			code = far_context(far, type, slot, trb->param);
		}
	}
	far_event(far, (uintptr_t)trb, code << 24, TRB_TYPE(TRB_EVENT_COMMAND) | slot << 24);
}

// What a device answers: the bytes, or -1: it stalls.
static int far_request(struct far_dev *dev, uint64_t setup, uint8_t *data)
{
	uint32_t type = setup & 0xFF, request = setup >> 8 & 0xFF, value = setup >> 16 & 0xFFFF;
	uint32_t index = setup >> 32 & 0xFFFF, length = setup >> 48, bytes = 0;
	const uint8_t *from = NULL;
	uint8_t hub[] = { 9, 0x29, HUB_PORTS, 0x20, 0, 1, 0, 0, 0xFF };
	dev->requests++;
	if (dev->refuse == request + 1)
		return -1;
	if (type == 0x80 && request == 6 && value == 0x100) {
		from = dev->device;
		bytes = 18;
	} else if (type == 0x80 && request == 6 && value == 0x200) {
		from = dev->config;
		bytes = dev->config_bytes;
	} else if (type == 0 && request == 9) {
		dev->configured = value;
	} else if (type == 0x21 && request == 0x0B) {
		dev->protocol = value;
	} else if (type == 0x21 && request == 0x0A) {
		dev->idle = value;
	} else if (type == 0xA0 && request == 6) {
		from = hub;
		bytes = sizeof(hub);
	} else if (type == 0xA3 && request == 0) {
		from = (uint8_t *)&dev->status[index];
		bytes = 4;
	} else if (type == 0x23 && request == 1) {
		dev->status[index] &= ~(1u << value);
	} else if (type == 0x23 && request == 3 && value == 8) {
		assert_int_equal(dev->configured, 7);
		dev->status[index] |= 0x100;
		if (dev->port[index])
			dev->status[index] |= 0x10001 |
				(dev->port[index]->speed == USB_LOW         ? 0x200 :
						dev->port[index]->speed == USB_HIGH ? 0x400 :
															  0);
	} else if (type == 0x23 && request == 3 && value == 4) {
		if (dev->status[index] & 1)
			dev->status[index] |= 0x100002;
	} else if (type == 0x20 && request == 1) {
	} else {
		fail_msg("request %02x %02x %04x", type, request, value);
	}
	if (bytes > length)
		bytes = length;
	if (bytes)
		memcpy(data, from, bytes);
	return bytes;
}

static bool present(const struct far_dev *at, const struct far_dev *dev)
{
	bool found = at == dev;
	for (uint32_t port = 1; at && port <= HUB_PORTS; port++)
		found |= at->port[port] && present(at->port[port], dev);
	return found;
}

static void far_control(struct far *far, uint32_t slot)
{
	struct far_end *end = &far->end[slot][1];
	struct far_dev *dev = far->slot[slot];
	struct trb *setup, *data = NULL, *status;
	uint8_t nothing[1];
	while (!end->halted && (setup = far_take(end))) {
		assert_int_equal(TRB_TYPE_OF(setup->control), TRB_SETUP);
		assert_true(setup->control & TRB_IDT);
		assert_int_equal(setup->status, 8);
		uint32_t length = setup->param >> 48, in = setup->param >> 7 & 1;
		assert_int_equal(setup->control >> 16 & 3, !length ? 0 : in ? 3 : 2);
		if (length) {
			data = far_take(end);
			assert_non_null(data);
			assert_int_equal(TRB_TYPE_OF(data->control), TRB_DATA);
			assert_int_equal(data->status, length);
			assert_int_equal(data->control >> 16 & 1, in);
		}
		status = far_take(end);
		assert_non_null(status);
		assert_int_equal(TRB_TYPE_OF(status->control), TRB_STATUS);
		assert_int_equal(status->control >> 16 & 1, !(length && in));
		assert_true(status->control & TRB_IOC);
		if (!dev || dev->mute)
			return;
		if (dev->speed == USB_FULL && length > 8) // what is longer than a packet needs its size
			assert_int_equal(end->packet, dev->device[7]);
		bool gone = true;
		for (uint32_t root = 1; root <= PORTS && gone; root++)
			gone = !present(far->port[root], dev);
		int rc = gone ? -1 : far_request(dev, setup->param, data ? (uint8_t *)data->param : nothing);
		end->halted = rc < 0;
		far_event(far, (uintptr_t)(rc < 0 && data ? data : status),
			(gone          ? 4u :
					rc < 0 ? 6u :
							 1u)
				<< 24,
			TRB_TYPE(TRB_EVENT_TRANSFER) | 1 << 16 | slot << 24);
	}
}

// What a device's interrupt endpoint has to say; code 0: by length.
static void far_report(struct far *far, struct far_dev *dev, const void *bytes, uint32_t length, uint32_t code)
{
	for (uint32_t slot = 1; slot < SLOTS; slot++) {
		struct far_end *end = &far->end[slot][3];
		if (far->slot[slot] != dev || !end->buffer)
			continue;
		if (length > end->length)
			length = end->length;
		memcpy((void *)end->buffer, bytes, length);
		end->buffer = 0;
		if (!code)
			code = length < end->length ? 13 : 1;
		end->halted = code != 1 && code != 13;
		far_event(far, end->trb, code << 24 | (end->length - length),
			TRB_TYPE(TRB_EVENT_TRANSFER) | 3 << 16 | slot << 24);
		return;
	}
}

static void far_hub_report(struct far *far, struct far_dev *hub)
{
	uint8_t bits = 0;
	for (uint32_t port = 1; port <= HUB_PORTS; port++)
		if (hub->status[port] >> 16)
			bits |= 1 << port;
	if (bits && hub->configured)
		far_report(far, hub, &bits, 1, 0);
}

static void far_bell(struct far *far, uint32_t slot, uint32_t target)
{
	struct trb *trb;
	if (!running(far) || far->deaf)
		return;
	if (!slot) {
		assert_int_equal(target, 0);
		while ((trb = far_take(&far->commands)))
			far_command(far, trb);
	} else if (target == 1) {
		far_control(far, slot);
	} else {
		assert_int_equal(target, 3);
		struct far_end *end = &far->end[slot][3];
		assert_false(end->halted);
		trb = far_take(end);
		assert_non_null(trb);
		assert_true(!end->buffer);
		assert_int_equal(trb->control & ~1u, TRB_TYPE(TRB_NORMAL) | TRB_IOC | TRB_ISP);
		end->trb = (uintptr_t)trb;
		end->buffer = trb->param;
		end->length = trb->status;
		if (far->slot[slot]->config[14] == 9)
			far_hub_report(far, far->slot[slot]);
	}
}

static void far_port(struct far *far, uint32_t port, uint32_t changes)
{
	uint32_t *status = reg(far, OP + PORTSC(port));
	bool quiet = !(*status & PORTSC_CHANGES);
	*status |= changes;
	if (quiet)
		far_event(far, (uint64_t)port << 24, 1 << 24, TRB_TYPE(TRB_EVENT_PORT));
}

static void plug(struct far *far, uint32_t port, struct far_dev *dev)
{
	uint32_t *status = reg(far, OP + PORTSC(port));
	far->port[port] = dev;
	*status = (*status & ~0x3C03u) | (dev ? PORTSC_CCS | dev->speed << 10 : 0);
	if (dev)
		memset(dev->status, 0, sizeof(dev->status));
	far_port(far, port, 1 << 17);
}

static void plug_hub(struct far *far, struct far_dev *hub, uint32_t port, struct far_dev *dev)
{
	hub->port[port] = dev;
	hub->status[port] = 0x10100;
	if (dev)
		hub->status[port] |= 1 | (dev->speed == USB_LOW ? 0x200 : dev->speed == USB_HIGH ? 0x400 : 0);
	far_hub_report(far, hub);
}

static uint64_t far_read(struct fake_mmio *mmio, uint64_t offset, uint32_t width)
{
	struct far *far = mmio->arg;
	uint32_t value = *reg(far, offset & ~3u);
	if (offset == LEGACY && far->firmware && value & LEGACY_OS && !--far->firmware)
		*reg(far, LEGACY) &= ~LEGACY_BIOS;
	if (offset < OP)
		assert_true(width == 4 || (width == 1 && !offset));
	else
		assert_int_equal(width, 4);
	return value;
}

static void far_reset(struct far *far)
{
	far->resets++;
	memset(far->enabled, 0, sizeof(far->enabled));
	memset(far->slot, 0, sizeof(far->slot));
	memset(far->end, 0, sizeof(far->end));
	memset(reg(far, OP), 0, 0x400);
	*reg(far, OP + PAGESIZE) = 1;
	*reg(far, OP + USBSTS) = USBSTS_HCH | (far->stuck_ready ? USBSTS_CNR : 0);
	*reg(far, OP + USBCMD) = far->stuck_reset ? USBCMD_HCRST : 0;
	for (uint32_t port = 1; port <= PORTS; port++)
		*reg(far, OP + PORTSC(port)) =
			PORTSC_PP | (far->port[port] ? PORTSC_CCS | 1 << 17 | far->port[port]->speed << 10 : 0);
}

static void far_write_port(struct far *far, uint32_t port, uint32_t value)
{
	uint32_t *status = reg(far, OP + PORTSC(port));
	assert_false(value & 2); // would disable it
	assert_true(value & PORTSC_PP);
	*status &= ~(value & PORTSC_CHANGES);
	if (value & PORTSC_PR && *status & PORTSC_CCS) {
		*status |= 2;
		far_port(far, port, 1 << 21);
	}
}

static void far_write(struct fake_mmio *mmio, uint64_t offset, uint32_t width, uint64_t value)
{
	struct far *far = mmio->arg;
	uint32_t at = offset - OP;
	assert_int_equal(width, 4);
	if (offset >= BELLS) {
		far_bell(far, (offset - BELLS) / 4, value);
		return;
	}
	if (offset == OP + USBCMD) {
		*reg(far, offset) = value;
		if (value & USBCMD_HCRST)
			far_reset(far);
		else if (value & USBCMD_RS)
			*reg(far, OP + USBSTS) &= ~USBSTS_HCH;
		else if (!far->stuck_halt)
			*reg(far, OP + USBSTS) |= USBSTS_HCH;
		return;
	}
	if (offset == OP + USBSTS || offset == RUNTIME + IMAN)
		return;
	if (offset >= OP + PORTSC(1) && offset < OP + PORTSC(PORTS + 1)) {
		assert_int_equal(at & 15, 0);
		far_write_port(far, (at - 0x3F0) / 16, value);
		return;
	}
	*reg(far, offset) = value;
	if (offset == OP + CRCR && running(far)) {
		assert_int_equal(value, CRCR_CA);
		far->aborted++;
		if (!far->stubborn)
			far_event(far, (uintptr_t)far_take(&far->commands), 25 << 24, TRB_TYPE(TRB_EVENT_COMMAND));
		return;
	}
	if (offset == OP + CRCR + 4 && running(far))
		return;
	uint64_t wide = *reg(far, offset & ~4u) | (uint64_t)*reg(far, offset | 4) << 32;
	if ((offset & ~4u) == OP + CRCR) {
		far->commands.at = wide & ~63ul;
		far->commands.cycle = wide & 1;
	} else if ((offset & ~4u) == OP + DCBAAP) {
		far->dcbaap = wide;
	} else if (offset == RUNTIME + ERSTBA + 4) {
		const struct erst *erst = (const struct erst *)wide;
		far->events = erst->base;
		far->event_size = erst->size;
		far->produced = 0;
		assert_int_equal(*reg(far, RUNTIME + ERSTSZ), 1);
	} else if (offset == RUNTIME + ERDP + 4) {
		assert_true(!far->events || (wide & ~15ul) - far->events < far->event_size * 16);
		assert_true(wide & ERDP_EHB || !running(far));
	}
}

// ---- The bus below, the alarm ----------------------------------------------------------------------------------

static struct time_alarm *alarms[4];

void time_alarm(struct time_alarm *alarm, uint64_t at)
{
	uint32_t free = 4;
	alarm->at = at;
	for (uint32_t i = 0; i < 4; i++) {
		if (alarms[i] == alarm)
			alarms[i] = NULL;
		if (!alarms[i])
			free = i;
	}
	assert_in_range(free, 0, 3);
	if (at)
		alarms[free] = alarm;
}

volatile void *pci_map_bar(struct pci_dev *pci, uint32_t n)
{
	assert_int_equal(n, 0);
	return fake_map_refuse ? NULL : container_of(pci, struct far, pci)->memory;
}

void pci_enable(struct pci_dev *pci)
{
	container_of(pci, struct far, pci)->master = true;
}

void pci_disable(struct pci_dev *pci)
{
	container_of(pci, struct far, pci)->master = false;
}

int pci_irq(struct pci_dev *pci, uint32_t index, irq_handler handler, void *arg, uint32_t cpu)
{
	struct far *far = container_of(pci, struct far, pci);
	assert_int_equal(index, 0);
	return far->no_irq ? E_NOTSUP : (far->vector = irq_alloc(handler, arg, cpu));
}

void pci_irq_free(struct pci_dev *pci, uint32_t index, int vector)
{
	assert_int_equal(vector, container_of(pci, struct far, pci)->vector);
	irq_free(vector);
	container_of(pci, struct far, pci)->vector = 0;
}

static const struct driver *drv;

static struct far *insert(uint32_t n)
{
	struct far *far = fars[n] = calloc(1, sizeof(*far));
	assert_non_null(far);
	far->regs = (struct fake_mmio){ far->memory, REGS, .read = far_read, .write = far_write, .arg = far };
	far->pci.bar[0] = (struct pci_bar){ .phys = 0x1000, .bytes = REGS };
	far->max_slots = SLOTS - 1;
	far->context_bytes = 32;
	*reg(far, 0) = OP | 0x01000000;
	*reg(far, DBOFF) = BELLS;
	*reg(far, RTSOFF) = RUNTIME;
	*reg(far, LEGACY) = 1;
	*reg(far, OP + PAGESIZE) = 1;
	*reg(far, OP + USBCMD) = USBCMD_RS; // as firmware has left it
	fake_mmio_add(&far->regs);
	drv = fake_driver("pci", "xhci");
	return far;
}

static int probe(struct far *far)
{
	*reg(far, HCSPARAMS1) = far->max_slots | 1 << 8 | PORTS << 24;
	*reg(far, HCSPARAMS2) = (far->scratchpads & 31) << 27 | (far->scratchpads >> 5) << 21;
	*reg(far, HCCPARAMS1) = LEGACY / 4 << 16 | (far->context_bytes == 64 ? HCC1_CSZ : 0);
	return drv->probe(&far->pci.dev, drv->ids);
}

// Interrupts and alarms of so many milliseconds.
static void pump(uint32_t ms)
{
	for (uint64_t end = fake_now_ns + ms * 1000000ul; fake_now_ns < end; fake_now_ns += 500000)
		for (uint32_t i = 0; i < 4; i++) {
			struct far *far = i < 2 ? fars[i] : NULL;
			while (far && far->vector && far->pending) {
				far->pending = false;
				fake_irq_fire(far->vector);
			}
			struct time_alarm *alarm = alarms[i];
			if (alarm && alarm->at <= fake_now_ns) {
				alarms[i] = NULL;
				alarm->at = 0;
				alarm->fn(alarm);
			}
		}
}

static void start(void)
{
	registry_scan();
	pump(3000);
}

static void take_out(struct far *far)
{
	drv->remove(&far->pci.dev);
	assert_false(running(far));
	assert_false(far->master);
	for (uint32_t i = 0; i < 4; i++)
		assert_null(alarms[i]);
	assert_null(registry_device(0));
}

static int setup(void **state)
{
	fars[0] = fars[1] = NULL;
	memset(alarms, 0, sizeof(alarms));
	while (input_read())
		;
	return fake_setup(state);
}

static int teardown(void **state)
{
	free(fars[0]);
	free(fars[1]);
	return fake_teardown(state);
}

static void type(struct far *far, struct far_dev *dev, uint8_t modifiers, uint8_t usage)
{
	uint8_t report[8] = { modifiers, 0, usage };
	far_report(far, dev, report, 8, 0);
	pump(far->no_irq ? 12 : 2);
	far_report(far, dev, memset(report, 0, 8), 8, 0);
	pump(far->no_irq ? 12 : 2);
}

static void expect_typing(struct far *far, struct far_dev *dev)
{
	type(far, dev, 2, 0x0B);
	type(far, dev, 0, 0x0C);
	type(far, dev, 0, 0x52);
	type(far, dev, 0, 0x28);
	assert_int_equal(input_read(), 'H');
	assert_int_equal(input_read(), 'i');
	assert_int_equal(input_read(), INPUT_UP);
	assert_int_equal(input_read(), INPUT_ENTER);
	assert_int_equal(input_read(), 0);
}

// ---- Tests ---------------------------------------------------------------------------------------------------

static void empty(void **state)
{
	struct far *far = insert(0);
	(void)state;
	assert_int_equal(probe(far), E_OK);
	start();
	assert_string_equal(fake_log, "");
	take_out(far);
}

static void keyboards(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 8; round++) {
		struct far *far = insert(0);
		struct far_dev dev = make_keyboard(round & 1 ? USB_LOW : USB_FULL), mouse = make_keyboard(USB_FULL);
		far->context_bytes = round & 2 ? 64 : 32;
		far->scratchpads = round & 4 ? 35 : 0;
		far->no_irq = round & 4;
		mouse.config[16] = 2;
		far->port[3] = &dev;
		far->port[4] = &mouse;
		assert_int_equal(probe(far), E_OK);
		assert_int_equal(fake_irq_live(), !(round & 4));
		start();
		assert_true(fake_logged("usb "));
		assert_true(fake_logged("-3 1234:abcd 030101 usb-kbd:\n"));
		assert_true(fake_logged("-4 1234:abcd 030102 no driver\n"));
		assert_int_equal(dev.configured, 1);
		assert_int_equal(dev.protocol, 0);
		assert_int_equal(dev.idle, 0);
		expect_typing(far, &dev);
		take_out(far);
		fake_check_clean();
		free(far);
		setup(state);
	}
}

static void many_keys(void **state)
{
	struct far *far = insert(0);
	struct far_dev dev = make_keyboard(USB_FULL);
	static const uint8_t reports[][8] = {
		{ 0, 0, 4 },
		{ 0, 0, 4, 5 },
		{ 0, 0, 5 },
		{ 2, 0, 5, 6 },
		{ 0x12, 0, 1, 1, 1, 1, 1, 1 },
		{ 0x11, 0, 6 },
		{ 0, 0, 6 },
		{ 0, 0, 0xFF, 0x64, 0xE0, 2, 3, 0x80 },
		{ 0 },
		{ 0, 0, 7, 7 },
		{ 0 },
	};
	(void)state;
	far->port[1] = &dev;
	assert_int_equal(probe(far), E_OK);
	start();
	for (uint32_t i = 0; i < ARRAY_SIZE(reports); i++) {
		far_report(far, &dev, reports[i], 8, 0);
		pump(2);
	}
	assert_int_equal(input_read(), 'a');
	assert_int_equal(input_read(), 'b');
	assert_int_equal(input_read(), 'C');
	assert_int_equal(input_read(), 'd'); // a report that names it twice
	while (input_read())
		;
	far_report(far, &dev, reports[0], 3, 0); // too short
	pump(2);
	assert_int_equal(input_read(), 0);
	for (uint32_t i = 0; i < 700; i++) // all rings wrap
		type(far, &dev, 0, 4 + i % 26), assert_int_equal(input_read(), 'a' + i % 26);
	take_out(far);
}

static void unplugged(void **state)
{
	struct far *far = insert(0);
	struct far_dev dev = make_keyboard(USB_FULL);
	(void)state;
	assert_int_equal(probe(far), E_OK);
	start();
	for (uint32_t i = 0; i < 40; i++) { // more often than there are slots
		plug(far, 1 + i % PORTS, &dev);
		pump(400);
		expect_typing(far, &dev);
		plug(far, 1 + i % PORTS, NULL);
		pump(400);
		assert_null(registry_device(0));
		assert_int_equal(far->disabled, i + 1);
	}
	plug(far, 1, &dev); // bounces
	pump(3);
	plug(far, 1, NULL);
	pump(3);
	plug(far, 1, &dev);
	pump(400);
	expect_typing(far, &dev);
	plug(far, 1, NULL); // out and in again, unseen
	plug(far, 1, &dev);
	pump(400);
	expect_typing(far, &dev);
	assert_int_equal(far->addressed, 42);
	plug(far, 2, &dev);
	for (uint32_t ms = 0; ms < 200; ms++) { // at every point of the enumeration
		pump(100 + ms);
		plug(far, 2, NULL);
		pump(2500);
		assert_null(registry_device(1));
		plug(far, 2, &dev);
	}
	plug(far, 2, NULL);
	pump(1500);
	type(far, &dev, 0, 4);
	assert_int_equal(input_read(), 'a');
	take_out(far);
}

static void hubs(void **state)
{
	struct far *far = insert(0);
	struct far_dev hub = make_hub(USB_HIGH), next = make_hub(USB_FULL);
	struct far_dev low = make_keyboard(USB_LOW), full = make_keyboard(USB_FULL);
	(void)state;
	hub.port[2] = &low;
	far->port[5] = &hub;
	assert_int_equal(probe(far), E_OK);
	start();
	assert_true(fake_logged("-5 1234:0409 090000 usb-hub:\n"));
	assert_true(fake_logged("-5.2 1234:abcd 030101 usb-kbd:\n"));
	assert_int_equal(hub.configured, 7);
	assert_int_equal(far->last_tt[1], 1 << 16); // the hub's think time
	assert_int_equal(far->last_tt[2], 1 | 2 << 8);
	expect_typing(far, &low);
	far_report(far, &hub, "\0", 1, 0); // says nothing, and something about a port that it hasn't got
	far_report(far, &hub, "\x80", 1, 0);
	plug_hub(far, &hub, 1, &full);
	pump(500);
	assert_int_equal(far->last_tt[3], 1 | 1 << 8);
	expect_typing(far, &full);
	expect_typing(far, &low);
	plug_hub(far, &hub, 2, NULL);
	pump(500);
	assert_true(fake_logged("-5.2: gone\n"));
	expect_typing(far, &full);
	plug_hub(far, &hub, 1, NULL);
	next.port[4] = &full;
	plug_hub(far, &hub, 3, &next); // a full speed hub: its devices are translated where it is
	pump(2000);
	assert_true(fake_logged("-5.3.4 1234:abcd 030101 usb-kbd:\n"));
	assert_int_equal(far->last_tt[2], 1 | 3 << 8);
	assert_int_equal(far->last_tt[3], 1 | 3 << 8);
	expect_typing(far, &full);
	plug(far, 5, NULL); // all of it
	pump(500);
	assert_null(registry_device(0));
	assert_int_equal(far->addressed, far->disabled);
	plug(far, 6, &hub);
	pump(2000);
	expect_typing(far, &full);
	take_out(far);
}

static void super_hub(void **state)
{
	struct far *far = insert(0);
	struct far_dev hub = make_hub(USB_SUPER);
	(void)state;
	far->port[5] = &hub;
	assert_int_equal(probe(far), E_OK);
	start();
	assert_true(fake_logged("-5 1234:0409 090000 usb-hub: no driver\n"));
	take_out(far);
}

static void several_interfaces(void **state)
{
	// clang-format off
	static const uint8_t both[] = {
		9, 2, 66, 0, 2, 1, 0, 0xA0, 50, 9, 4, 0, 0, 0, 3, 0, 0, 0, 9, 4, 0, 1, 1, 3, 1, 1, 0, 7, 5, 0x84, 3, 8, 0, 10,
		9, 4, 1, 0, 2, 3, 1, 1, 0, 7, 5, 0x02, 3, 8, 0, 10, 7, 5, 0x83, 2, 8, 0, 10, 7, 5, 0x81, 3, 8, 0, 10, 0, 0,
	};
	// clang-format on
	struct far *far = insert(0);
	struct far_dev dev = make(USB_FULL, 1, both, sizeof(both));
	(void)state;
	far->port[1] = &dev;
	assert_int_equal(probe(far), E_OK);
	start();
	assert_true(fake_logged("1234:0001 030000 no driver\n"));
	assert_true(fake_logged("1234:0001 030101 usb-kbd:\n"));
	assert_null(registry_device(1));
	expect_typing(far, &dev);
	take_out(far);
}

static void refusals(void **state)
{
	struct far *far = insert(0);
	struct far_dev dev = make_keyboard(USB_FULL), bad = make_keyboard(USB_FULL), other = make_keyboard(USB_FULL);
	(void)state;
	dev.refuse = 0x0A + 1; // SET_IDLE: it works without
	bad.refuse = 6 + 1;    // GET_DESCRIPTOR
	other.refuse = 9 + 1;  // SET_CONFIGURATION
	far->port[1] = &dev;
	far->port[2] = &bad;
	far->port[3] = &other;
	assert_int_equal(probe(far), E_OK);
	start();
	assert_int_equal(dev.protocol, 0);
	assert_true(fake_logged(" port 2: no answer\n"));
	assert_true(fake_logged("-3 1234:abcd 030101 usb-kbd:; left alone\n"));
	expect_typing(far, &dev);
	take_out(far);
}

static void mute(void **state)
{
	struct far *far = insert(0);
	struct far_dev dev = make_keyboard(USB_FULL), dead = make_keyboard(USB_LOW), hub = make_hub(USB_HIGH);
	(void)state;
	dead.mute = true;
	far->port[1] = &dead;
	far->port[2] = &dev;
	far->port[3] = &hub;
	assert_int_equal(probe(far), E_OK);
	registry_scan();
	pump(8000);
	assert_true(fake_logged(" port 1: no answer\n"));
	expect_typing(far, &dev);
	assert_int_equal(far->addressed, 5);
	pump(20000);
	assert_int_equal(far->addressed, 5); // that was all
	hub.mute = true;                     // one that runs begins anew, and is given up then
	plug_hub(far, &hub, 1, &dev);
	pump(30000);
	assert_true(fake_logged("-3: gone\n"));
	assert_true(fake_logged(" port 3: no answer\n"));
	take_out(far);
}

static void errors(void **state)
{
	struct far *far = insert(0);
	struct far_dev dev = make_keyboard(USB_FULL);
	(void)state;
	far->port[1] = &dev;
	assert_int_equal(probe(far), E_OK);
	start();
	far_report(far, &dev, "", 0, 4); // transaction error: it begins anew
	pump(500);
	assert_int_equal(far->addressed, 2);
	expect_typing(far, &dev);
	for (uint32_t i = 0; i < 30; i++) {
		far_report(far, &dev, "", 0, 3 + i % 4);
		pump(500);
	}
	assert_in_range(far->addressed, 3, 15); // not for ever
	plug(far, 1, NULL);
	pump(500);
	plug(far, 1, &dev);
	pump(500);
	expect_typing(far, &dev);
	take_out(far);
}

static void many_devices(void **state)
{
	struct far *far = insert(0);
	struct far_dev hub[4], dev[16];
	(void)state;
	for (uint32_t i = 0; i < 4; i++) {
		hub[i] = make_hub(USB_HIGH);
		far->port[i + 1] = &hub[i];
		for (uint32_t j = 0; j < 4; j++) {
			dev[i * 4 + j] = make_keyboard(USB_FULL);
			hub[i].port[j + 1] = &dev[i * 4 + j];
		}
	}
	assert_int_equal(probe(far), E_OK);
	registry_scan();
	pump(20000);
	assert_true(fake_logged("no answer")); // more than fit
	uint32_t count = 0;
	while (registry_device(count))
		count++;
	assert_int_equal(count, USB_DEVICES - 1);
	expect_typing(far, &dev[0]);
	take_out(far);
}

static void few_slots(void **state)
{
	struct far *far = insert(0);
	struct far_dev dev = make_keyboard(USB_FULL), more = make_keyboard(USB_FULL);
	(void)state;
	far->max_slots = 1;
	far->port[1] = &dev;
	far->port[2] = &more;
	assert_int_equal(probe(far), E_OK);
	start();
	expect_typing(far, &dev);
	assert_true(fake_logged(" port 2: no answer\n"));
	take_out(far);
}

static void two_controllers(void **state)
{
	struct far *a = insert(0), *b = insert(1);
	struct far_dev one = make_keyboard(USB_FULL), two = make_keyboard(USB_LOW);
	(void)state;
	a->port[1] = &one;
	b->port[1] = &two;
	b->context_bytes = 64;
	assert_int_equal(probe(a), E_OK);
	assert_int_equal(probe(b), E_OK);
	start();
	expect_typing(a, &one);
	expect_typing(b, &two);
	drv->remove(&a->pci.dev);
	expect_typing(b, &two);
	take_out(b);
}

// ---- What goes wrong with the controller -----------------------------------------------------------------------

static void refused_memory(void **state)
{
	(void)state;
	for (uint32_t at = 1; at <= 2; at++) {
		struct far *far = insert(0);
		far->scratchpads = 3;
		fake_alloc_fail_at = at;
		assert_int_equal(probe(far), E_NOMEM);
		assert_false(far->master);
		fake_check_clean();
		free(far);
		setup(state);
	}
	struct far *far = insert(0);
	fake_map_refuse = true;
	assert_int_not_equal(probe(far), E_OK);
	assert_false(far->master);
}

static void stuck(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 3; round++) {
		struct far *far = insert(0);
		far->stuck_halt = true;
		far->stuck_reset = round == 1;
		far->stuck_ready = round == 2;
		assert_int_equal(probe(far), round ? E_TIMEOUT : E_OK);
		assert_true(fake_now_ns < 3000000000);
		if (round)
			assert_string_equal(fake_log, " no reset");
		else
			drv->remove(&far->pci.dev);
		assert_false(far->master);
		fake_check_clean();
		free(far);
		setup(state);
	}
	fars[0] = NULL;
}

static void bad_registers(void **state)
{
	static const uint32_t bad[][2] = {
		{ DBOFF, REGS - 32 },
		{ DBOFF, ~0u },
		{ RTSOFF, REGS - 32 },
		{ RTSOFF, ~0u },
		{ OP + PAGESIZE, 2 },
		{ OP + PAGESIZE, ~0u },
	};
	(void)state;
	for (uint32_t round = 0; round <= ARRAY_SIZE(bad); round++) {
		struct far *far = insert(0);
		if (round < ARRAY_SIZE(bad))
			*reg(far, bad[round][0]) = bad[round][1];
		else
			memset(far->memory, 0xFF, sizeof(far->memory)), far->pci.bar[0].bytes = 0x800;
		assert_int_equal(probe(far), E_IO);
		assert_string_equal(fake_log, " bad registers");
		assert_int_equal(far->regs.writes, 0);
		fake_check_clean();
		free(far);
		setup(state);
	}
	fars[0] = NULL;
}

static void firmware(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 4; round++) {
		struct far *far = insert(0);
		uint32_t at = LEGACY;
		far->firmware = round == 1 ? 1u << 30 : 5;
		*reg(far, LEGACY) = 1 | LEGACY_BIOS;
		*reg(far, LEGACY + 4) = 0x0000E013;
		if (round == 2) { // behind others
			*reg(far, LEGACY) = 0x02000402;
			at = LEGACY + 16;
			*reg(far, at) = 1 | LEGACY_BIOS;
			*reg(far, at + 4) = 0x0000E013;
			*reg(far, at) &= ~LEGACY_BIOS;
		} else if (round == 3) { // to the end of the registers
			for (uint32_t i = LEGACY; i < RUNTIME; i += 4)
				*reg(far, i) = 0xFF02;
			at = 0;
		}
		assert_int_equal(probe(far), E_OK);
		assert_true(fake_now_ns < 2000000000);
		if (at) {
			assert_int_equal(*reg(far, at) & (LEGACY_OS | LEGACY_BIOS), LEGACY_OS);
			assert_int_equal(*reg(far, at + 4), 0xE0000002);
		}
		drv->remove(&far->pci.dev);
		fake_check_clean();
		free(far);
		setup(state);
	}
	fars[0] = NULL;
}

static void hangs(void **state)
{
	struct far *far = insert(0);
	struct far_dev dev = make_keyboard(USB_FULL), more = make_keyboard(USB_FULL);
	(void)state;
	far->port[1] = &dev;
	assert_int_equal(probe(far), E_OK);
	start();
	expect_typing(far, &dev);
	far->deaf = true; // obeys the abort: the others are tried again
	plug(far, 2, &more);
	pump(10000);
	assert_int_equal(far->aborted, 3);
	assert_true(fake_logged(" port 2: no answer\n"));
	assert_true(running(far));
	far->stubborn = true; // not even that
	plug(far, 2, NULL);
	plug(far, 2, &more);
	pump(10000);
	assert_true(fake_logged("hangs\n"));
	assert_false(running(far));
	assert_null(registry_device(0));
	take_out(far);
}

static void removed_at_work(void **state)
{
	(void)state;
	for (uint32_t ms = 0; ms < 400; ms += 3) {
		struct far *far = insert(0);
		struct far_dev hub = make_hub(USB_HIGH), dev = make_keyboard(USB_FULL);
		hub.port[1] = &dev;
		far->port[1] = &hub;
		assert_int_equal(probe(far), E_OK);
		registry_scan();
		pump(ms);
		take_out(far);
		fake_check_clean();
		free(far);
		setup(state);
	}
	fars[0] = NULL;
}

static uint32_t noise = 1;

static uint32_t random_number(void)
{
	noise ^= noise << 13;
	noise ^= noise >> 17;
	return noise ^= noise << 5;
}

static void hostile_descriptors(void **state)
{
	struct far *far = insert(0);
	(void)state;
	far->lenient = true;
	assert_int_equal(probe(far), E_OK);
	start();
	for (uint32_t round = 0; round < 600; round++) {
		struct far_dev dev = round & 1 ? make_keyboard(USB_FULL) : make_hub(USB_HIGH);
		uint32_t bytes = sizeof(dev.config);
		for (uint32_t i = 34; i < bytes; i++)
			dev.config[i] = random_number();
		for (uint32_t i = 0; i < 3; i++)
			dev.config[random_number() % 36] = random_number() % 4 ? random_number() % 16 : random_number();
		dev.config_bytes = random_number() % 2 ? bytes : random_number() % 40;
		dev.config[3] = random_number() % 2;
		if (random_number() % 8 == 0)
			dev.device[random_number() % 18] = random_number();
		dev.device[7] = dev.speed == USB_FULL ? 8u << random_number() % 4 : 64;
		dev.config[14] = dev.config[14] == 9 && dev.config[9] != 9 ? 8 : dev.config[14];
		dev.refuse = 9 + 1; // goes no further than to be looked at
		plug(far, 1, &dev);
		pump(600);
		plug(far, 1, NULL);
		pump(200);
		assert_null(registry_device(0));
	}
	take_out(far);
}

static void hostile_events(void **state)
{
	struct far *far = insert(0);
	struct far_dev dev = make_keyboard(USB_FULL);
	(void)state;
	far->port[1] = &dev;
	assert_int_equal(probe(far), E_OK);
	start();
	for (uint32_t round = 0; round < 20000; round++) {
		uint32_t type = random_number() % 4 ? 32 + random_number() % 4 : random_number() % 64;
		if (type == TRB_EVENT_COMMAND && random_number() % 2)
			far_event(far, random_number() % 300, random_number(), TRB_TYPE(type) | random_number() << 24);
		else
			far_event(far, (uint64_t)random_number() << 32 | random_number(), random_number(),
				(random_number() & 0xFFFF0000) | TRB_TYPE(type));
		if (round % 200 == 199)
			pump(1);
	}
	take_out(far);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(empty),
		TEST(keyboards),
		TEST(many_keys),
		TEST(unplugged),
		TEST(hubs),
		TEST(super_hub),
		TEST(several_interfaces),
		TEST(refusals),
		TEST(mute),
		TEST(errors),
		TEST(many_devices),
		TEST(few_slots),
		TEST(two_controllers),
		TEST(refused_memory),
		TEST(stuck),
		TEST(bad_registers),
		TEST(firmware),
		TEST(hangs),
		TEST(removed_at_work),
		TEST(hostile_descriptors),
		TEST(hostile_events),
	};
	return cmocka_run_group_tests_name("bus/xhci", tests, NULL, NULL);
}
