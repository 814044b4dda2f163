// bus/usb.c - the USB core: ports, hubs, enumeration, and what waits in between (include/usb.h).
// "u." = section of the Universal Serial Bus Specification 2.0.
// Not done: more than one driver, configuration or alternate setting of a device; the USB 3 half of hubs, whose USB 2
// half runs what has a driver here.
#include <log.h>
#include <mem.h>
#include <irq.h>
#include <usb.h>

#define WAIT_US 1000000    // for an answer (u.9.2.6.4 allows 500 ms between packets)
#define DEBOUNCE_US 100000 // u.7.1.7.3
#define RESET_LOOKS 20
#define RESET_US 10000    // between looks at the port (u.11.5.1.5: a reset takes 10 to 20 ms; root ports: 50)
#define RECOVERY_US 10000 // u.7.1.7.5
#define ADDRESS_US 2000   // u.9.2.6.3
#define POLL_US 10000     // without an interrupt
#define CONFIG_BYTES 255  // of descriptors that are looked at
#define TRIES 3
#define RECOVERIES 8
#define TIERS 4 // most hubs on the way (u.4.1.1 allows one more, for which a name has no room)
#define PORTS_MOST 30

// Keys of usb_wait: no slot, no address
#define KEY_IDLE 0x100
#define KEY_NONE 0x101

// Requests (u.9.4, u.11.24.2)
#define GET_STATUS 0
#define CLEAR_FEATURE 1
#define SET_FEATURE 3
#define GET_DESCRIPTOR 6
#define SET_CONFIGURATION 9
#define HUB 0x20 // type: class, to the hub, and to its port
#define PORT 0x23
#define PORT_RESET 4
#define PORT_POWER 8
#define C_PORT_CONNECTION 16
#define C_PORT_RESET 20

#define DESCRIPTOR_DEVICE 1 // u.9.4
#define DESCRIPTOR_CONFIGURATION 2
#define DESCRIPTOR_INTERFACE 4
#define DESCRIPTOR_ENDPOINT 5
#define DESCRIPTOR_HUB 0x29

static struct usb_host *hosts;
static uint8_t host_count;

// ---- The host's own stack ------------------------------------------------------------------------------------

// Exchanges stacks: returns when the other side calls it.
static __attribute__((noinline)) void usb_switch(struct usb_host *host)
{
	__asm__ volatile("push %%rbp; push %%rbx; lea 1f(%%rip), %%rax; push %%rax; xchg %%rsp, (%%rdi); ret;"
					 "1: pop %%rbx; pop %%rbp"
					 : "+D"(host)
					 :
					 : "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
					 "cc");
}

int usb_wait(struct usb_host *host, uint64_t key, uint32_t us)
{
	host->awaited = key;
	host->deadline = us ? time_deadline(us) : 0;
	host->result = E_TIMEOUT;
	if (us && host->dead)
		return E_IO;
	usb_switch(host);
	return host->result;
}

static __attribute__((noinline)) void usb_sleep(struct usb_host *host, uint32_t us)
{
	usb_wait(host, KEY_NONE, us);
}

void usb_wake(struct usb_host *host, uint64_t key, int result)
{
	if (key != host->awaited)
		return;
	host->awaited = KEY_NONE;
	host->result = result;
	host->awake = true;
}

void usb_run(struct usb_host *host)
{
	if (host->awake || (host->deadline && time_ns() >= host->deadline)) {
		host->awake = false;
		usb_switch(host);
	}
	time_alarm(&host->alarm, host->polled ? time_deadline(POLL_US) : host->deadline);
}

static void usb_alarm(struct time_alarm *alarm)
{
	struct usb_host *host = container_of(alarm, struct usb_host, alarm);
	host->ops->take(host);
}

void usb_changed(struct usb_dev *hub, uint32_t ports, uint32_t forced)
{
	struct usb_host *host = hub->host;
	hub->changed |= ports;
	hub->forced |= forced;
	usb_wake(host, KEY_IDLE, E_OK);
}

// What runs has failed, or is a hub that doesn't answer: it begins anew, unless that is all it does.
static void usb_failed(struct usb_dev *usb)
{
	uint32_t port = 1u << usb->port;
	if (usb->dev.bound && usb->host->recoveries++ < RECOVERIES)
		usb_changed(usb->hub, port, port);
}

void usb_received(struct usb_dev *usb, int bytes)
{
	usb->listening = false;
	if (bytes < 0)
		usb_failed(usb);
	else if (usb->received)
		usb->received(usb, bytes);
}

// ---- Devices -------------------------------------------------------------------------------------------------

int usb_control(struct usb_dev *usb, uint64_t setup, void *data)
{
	if (setup & USB_IN)
		// cppcheck-suppress nullPointer ; NULL goes with no bytes
		memset(data, 0, setup >> 48); // NOLINT(clang-analyzer-unix.cstring.NullArg)
	int rc = usb->host->ops->control(usb, setup, data);
	if (rc == E_TIMEOUT)
		usb_failed(usb);
	return rc;
}

void usb_listen(struct usb_dev *usb)
{
	if (!usb->listening)
		usb->host->ops->listen(usb);
	usb->listening = true;
}

int usb_open(struct usb_dev *usb)
{
	int rc = usb->host->ops->open(usb);
	return rc == E_OK ? usb_control(usb, USB_SETUP(0, SET_CONFIGURATION, usb->configuration, 0, 0), NULL) : rc;
}

static void usb_drop(struct usb_dev *usb)
{
	struct usb_host *host = usb->host;
	for (struct usb_dev *child = host->dev; child < host->dev + USB_DEVICES; child++)
		if (child->hub == usb)
			usb_drop(child);
	if (usb->dev.kind) {
		registry_drop(&usb->dev);
		log("%s: gone\n", usb->dev.name);
	}
	host->ops->detach(usb);
	memset(usb, 0, sizeof(*usb));
}

// Its first `length` bytes; `least`: a shorter one is no descriptor of this type.
static int usb_descriptor(struct usb_dev *usb, uint32_t type, uint32_t least, uint32_t length)
{
	uint8_t *data = usb->host->config;
	int rc = usb_control(usb, USB_SETUP(USB_IN, GET_DESCRIPTOR, type << 8, 0, length), data);
	return rc == E_OK && (data[0] < least || data[1] != type) ? E_IO : rc;
}

// Offers one; what nobody wanted before it leaves the list.
static int usb_offer(struct usb_dev *usb)
{
	if (usb->dev.kind)
		registry_drop(&usb->dev);
	usb->dev.kind = DEVICE_USB;
	return registry_add(&usb->dev, TABLE_USB);
}

// Goes through the configuration's descriptors (u.9.5 and 9.6), up to the interface that finds a driver.
static void usb_interfaces(struct usb_dev *usb)
{
	const uint8_t *at = usb->host->config, *end = at + (at[3] ? CONFIG_BYTES : at[2]);
	usb->configuration = at[5];
	for (bool found = false;; at += at[0]) {
		bool more = at + 2 <= end && at[0] >= 2 && at + at[0] <= end;
		if (!more || at[1] == DESCRIPTOR_INTERFACE) {
			if ((found && usb_offer(usb) != E_NODEV) || !more)
				return;
			found = at[0] >= 9 && !at[3]; // no alternate setting
			if (!found)
				continue;
			usb->interface = at[2];
			usb->dev.class = at[5] << 16 | at[6] << 8 | at[7];
			usb->endpoint = 0;
		} else if (found && at[1] == DESCRIPTOR_ENDPOINT && at[0] >= 7 && at[2] & USB_IN && (at[3] & 3) == 3 &&
			!usb->endpoint) {
			usb->endpoint = at[2] & 15;
			usb->packet = at[5] & 7 || at[4] > USB_REPORT ? USB_REPORT : at[4];
			usb->interval = at[6];
		}
	}
}

// Asks what the device is.
static int usb_describe(struct usb_dev *usb)
{
	const uint8_t *data = usb->host->config;
	int rc = usb_descriptor(usb, DESCRIPTOR_DEVICE, 18, 8);
	if (rc == E_OK && usb->speed == USB_FULL && data[7] != usb->packet0) { // u.5.5.3: 8, 16, 32 or 64
		usb->packet0 = clamp_u32(data[7], 8, 64);
		rc = usb->host->ops->address(usb);
	}
	if (rc == E_OK)
		rc = usb_descriptor(usb, DESCRIPTOR_DEVICE, 18, 18);
	if (rc != E_OK)
		return rc;
	usb->dev.vendor = data[8] | data[9] << 8;
	usb->dev.device = data[10] | data[11] << 8;
	rc = usb_descriptor(usb, DESCRIPTOR_CONFIGURATION, 9, CONFIG_BYTES);
	if (rc == E_OK)
		usb_interfaces(usb);
	return usb->dev.kind ? E_OK : E_IO;
}

// "usb 0-1.4": host, port of the root hub, ports of the hubs behind it; letters behind 9.
static void usb_name(struct usb_dev *usb)
{
	char *name = usb->dev.name;
	memcpy(name, usb->hub->dev.name, sizeof(usb->dev.name));
	name += 3 + 2 * usb->tier;
	name[0] = usb->tier > 1 ? '.' : '-';
	name[1] = usb->port + (usb->port > 9 ? 'a' - 10 : '0');
}

static int usb_attach(struct usb_dev *hub, uint32_t port, uint32_t speed)
{
	struct usb_host *host = hub->host;
	int slot = host->ops->attach(host);
	if (slot < 0)
		return slot;
	struct usb_dev *usb = &host->dev[slot];
	usb->host = host;
	usb->hub = hub;
	usb->slot = slot;
	usb->port = usb->root_port = port;
	usb->speed = speed;
	usb->tier = hub->tier + 1;
	usb->packet0 = speed >= USB_SUPER ? 512 : speed == USB_HIGH ? 64 : 8;
	if (hub->tier) {
		usb->root_port = hub->root_port;
		usb->route = hub->route | (port < 15 ? port : 15) << 4 * (hub->tier - 1);
		if (speed < USB_HIGH)
			usb->tt = hub->speed == USB_HIGH ? hub->slot | port << 8 : hub->tt;
	}
	usb_name(usb);
	int rc = host->ops->address(usb);
	if (rc == E_OK) {
		usb_sleep(host, ADDRESS_US);
		rc = usb_describe(usb);
	}
	if (rc != E_OK)
		usb_drop(usb);
	return rc;
}

// ---- Ports ---------------------------------------------------------------------------------------------------

static int port_request(struct usb_dev *hub, uint32_t request, uint32_t feature, uint32_t port)
{
	return usb_control(hub, USB_SETUP(PORT, request, feature, port, 0), NULL);
}

// Status as in usb.h, or an error; changes are seen once.
static int port_status(struct usb_dev *hub, uint32_t port)
{
	struct usb_host *host = hub->host;
	if (host->dead)
		return E_IO;
	if (!hub->tier)
		return host->ops->port_status(host, port);
	int rc = usb_control(hub, USB_SETUP(USB_IN | PORT, GET_STATUS, 0, port, 4), host->data);
	uint32_t status = *(uint32_t *)host->data, speed = status >> 9 & 3; // low, high
	for (uint32_t change = C_PORT_CONNECTION; change <= C_PORT_RESET && rc == E_OK; change++)
		if (status >> change & 1)
			rc = port_request(hub, CLEAR_FEATURE, change, port);
	if (rc != E_OK)
		return rc;
	return (status & 0x1F001F) | (speed ? speed + 1 : USB_FULL) << 10;
}

static int port_reset(struct usb_dev *hub, uint32_t port)
{
	struct usb_host *host = hub->host;
	int status = E_OK;
	if (!hub->tier)
		host->ops->port_reset(host, port);
	else
		status = port_request(hub, SET_FEATURE, PORT_RESET, port);
	for (uint32_t looks = RESET_LOOKS; looks-- && status >= 0 && !(status & USB_CHANGED_RESET);) {
		usb_sleep(host, RESET_US);
		status = port_status(hub, port);
	}
	usb_sleep(host, RECOVERY_US);
	return status;
}

// Something happened at this port.
static void port_look(struct usb_dev *hub, uint32_t port)
{
	struct usb_host *host = hub->host;
	uint32_t bit = 1u << port;
	bool forced = hub->forced & bit;
	hub->changed &= ~bit;
	hub->forced &= ~bit;
	int status = port_status(hub, port);
	if (status >= 0 && status & USB_CHANGED)
		host->recoveries = 0;
	else if (status >= 0 && !forced)
		return;
	for (struct usb_dev *usb = host->dev; usb < host->dev + USB_DEVICES; usb++)
		if (usb->hub == hub && usb->port == port)
			usb_drop(usb);
	for (uint32_t tries = TRIES; status >= 0 && status & USB_CONNECTED; tries--) {
		if (!tries) {
			log("%s port %u: no answer\n", hub->dev.name, port);
			break;
		}
		status = port_reset(hub, port);
		if (status >= 0 && usb_attach(hub, port, USB_SPEED(status)) == E_OK)
			break;
	}
}

static struct usb_dev *usb_pending(struct usb_host *host)
{
	for (struct usb_dev *hub = host->dev; hub < host->dev + USB_DEVICES; hub++)
		if (hub->changed)
			return hub;
	return NULL;
}

// What runs on the host's stack.  Quiet first: what is being plugged in bounces.
static void usb_main(struct usb_host *host)
{
	for (struct usb_dev *hub;; usb_wait(host, KEY_IDLE, 0)) {
		usb_sleep(host, DEBOUNCE_US);
		while ((hub = usb_pending(host))) {
			port_look(hub, __builtin_ctz(hub->changed));
			if (!hub->changed && hub->tier)
				usb_listen(hub);
		}
	}
}

// ---- Hubs (u.11.23 and 11.24) --------------------------------------------------------------------------------

// A bit for each port (u.11.12.4); bit 0: its power has failed, so that it begins anew.
static void hub_received(struct usb_dev *hub, uint32_t bytes)
{
	uint32_t ports = *(uint32_t *)hub->report;
	if (bytes < 4)
		ports &= (1u << 8 * bytes) - 1;
	uint32_t known = ports & ((2u << hub->ports) - 1);
	if (ports & 1)
		usb_failed(hub);
	else if (known)
		usb_changed(hub, known, 0);
	else // of nothing that it has: nobody will look, and listen behind that
		usb_listen(hub);
}

static int hub_probe(struct device *dev, const struct dev_id *id)
{
	struct usb_dev *hub = to_usb(dev);
	uint8_t *data = hub->host->data;
	(void)id;
	if (hub->speed >= USB_SUPER || hub->tier > TIERS || !hub->endpoint)
		return E_NODEV;
	int rc = usb_control(hub, USB_SETUP(USB_IN | HUB, GET_DESCRIPTOR, DESCRIPTOR_HUB << 8, 0, 15), data);
	if (rc != E_OK)
		return rc;
	uint32_t delay = data[5] * 2000 + DEBOUNCE_US;
	hub->ports = data[2] < PORTS_MOST ? data[2] : PORTS_MOST;
	hub->think = hub->speed == USB_HIGH ? data[3] >> 5 & 3 : 0;
	rc = usb_open(hub);
	for (uint32_t port = 1; port <= hub->ports && rc == E_OK; port++)
		rc = port_request(hub, SET_FEATURE, PORT_POWER, port);
	if (rc != E_OK)
		return rc;
	usb_sleep(hub->host, delay);
	hub->received = hub_received;
	uint32_t ports = (2u << hub->ports) - 2;
	usb_changed(hub, ports, ports);
	return E_OK;
}

static void hub_remove(struct device *dev)
{
	(void)dev; // usb_drop has taken what was plugged in
}

static const struct dev_id hub_ids[] = { DEV_ID_CLASS(0x090000, 0xFFFF00, 0) };
static const struct driver usb_hub = { "usb-hub", DEV_IDS(hub_ids), .probe = hub_probe, .remove = hub_remove };
USB_DRIVER(usb_hub);

// ---- Hosts ---------------------------------------------------------------------------------------------------

void usb_host_add(struct usb_host *host)
{
	struct usb_dev *root = host->dev;
	struct usb_host **link = &hosts;
	while (*link)
		link = &(*link)->next;
	*link = host;
	root->host = host;
	memcpy(root->dev.name, "usb 0", 6);
	root->dev.name[4] += host_count++;
	host->alarm.fn = usb_alarm;
	host->awaited = KEY_IDLE;
	// As if usb_switch had been called there: aligned as behind a call.
	uint64_t *top = host->stack + ARRAY_SIZE(host->stack) - 2;
	*top = (uintptr_t)usb_main;
	host->stack_pointer = (uintptr_t)top;
}

void usb_host_remove(struct usb_host *host)
{
	struct usb_host **link = &hosts;
	time_alarm(&host->alarm, 0);
	for (struct usb_dev *usb = host->dev; usb < host->dev + USB_DEVICES; usb++)
		if (usb->hub)
			usb_drop(usb);
	while (*link != host)
		link = &(*link)->next;
	*link = host->next;
}

// Behind all other buses: from here on devices are found while the program starts and runs.
static void usb_scan(void)
{
	for (struct usb_host *host = hosts; host; host = host->next) {
		struct usb_dev *root = host->dev;
		uint64_t flags = irq_save();
		uint32_t ports = (2u << root->ports) - 2;
		host->ops->start(host);
		usb_changed(root, ports, ports);
		host->ops->take(host);
		irq_restore(flags);
	}
}
BUS_SCAN("20", usb_scan);
