// Bus: USB.  A host controller's driver (bus/xhci.c) below, the core (bus/usb.c), drivers of interfaces above.
// "u." = section of the Universal Serial Bus Specification 2.0.
//
// Whatever a host has to do - look at ports, give addresses, probe, remove - happens on a stack of its own, one thing
// after the other.  What has to wait there (usb_wait and all that ends in it: usb_control, usb_sleep, usb_open) leaves
// the stack, and the interrupt or the alarm that it waits for comes back to it.  So drivers are written as if they
// could wait, no interrupt handler does, and a device that comes while the machine runs is no special case.
// All of it runs on the boot core with interrupts off.
#pragma once
#include <driver.h>
#include <time.h>

#define USB_API_VERSION 1

#define USB_DEVICES 16 // of a host, its root hub counted: memory for them is taken when the host is found
#define USB_REPORT 64  // bytes of one transfer of usb_listen
#ifndef USB_STACK
#define USB_STACK 4096
#endif

// Speeds as xHCI numbers them; SUPER and more: USB 3.
enum { USB_FULL = 1, USB_LOW, USB_HIGH, USB_SUPER };

// A setup packet (u.9.3): type, request, value, index, length.
#define USB_SETUP(t, r, v, i, l) ((t) | (r) << 8 | (uint64_t)(v) << 16 | (uint64_t)(i) << 32 | (uint64_t)(l) << 48)
#define USB_IN 0x80 // type: from the device

struct usb_dev {
	struct device dev; // first: to_usb().  vendor, device; class is the interface's
	struct usb_host *host;
	struct usb_dev *hub; // that it is plugged into; NULL: this is a root hub, or nothing at all
	uint8_t port;        // of that hub, from 1
	uint8_t slot;        // its place in host->dev
	uint8_t speed;       // USB_*
	uint8_t tier;        // hubs on the way to it; 0: root hub
	uint8_t root_port;
	uint16_t packet0; // most bytes of a packet of endpoint 0
	uint16_t tt;      // hub that translates between speeds: its slot, its port << 8; 0: none
	uint32_t route;   // ports of the hubs below the root, the first lowest, 4 bits each

	// Interface that the drivers are asked about, with its first interrupt IN endpoint
	uint8_t configuration, interface;
	uint8_t endpoint; // its number, 0: there is none
	uint8_t interval; // as its descriptor says
	uint16_t packet;  // most USB_REPORT

	// A hub's
	uint8_t ports;    // most 30; set before usb_open
	uint8_t think;    // of its transaction translator, as the slot context has it
	uint32_t changed; // ports to look at, by bit
	uint32_t forced;  // ports whose device begins anew, whether it has changed or not

	bool listening;

	// The driver's own.  `received` is called from the interrupt handler: it doesn't wait.
	void (*received)(struct usb_dev *usb, uint32_t bytes);
	uint64_t state[4]; // zero at its probe
	uint8_t report[USB_REPORT] __attribute__((aligned(64)));
};

// What probe and remove of a driver in the USB table are given.
static inline struct usb_dev *to_usb(struct device *dev)
{
	return container_of(dev, struct usb_dev, dev);
}

// ---- For drivers of interfaces: in probe ---------------------------------------------------------------------

// A control transfer on endpoint 0.  `data` (below 4 GiB, not across a 64 KiB boundary) is cleared first if the device
// is to fill it: what it leaves out is 0.  E_IO: the device refused.
int usb_control(struct usb_dev *usb, uint64_t setup, void *data);

// Opens the interrupt IN endpoint (which must be there), and sets the configuration.
int usb_open(struct usb_dev *usb);

// Has the next transfer of that endpoint go to usb->report, and `received` called when it has come.  Any context.
void usb_listen(struct usb_dev *usb);

// ---- For drivers of hosts ------------------------------------------------------------------------------------

#define USB_CONNECTED 0x01  // status of a port: u.11.24.2.7, the changes in bits 16 up
#define USB_CHANGED 0x10000 // connected or disconnected
#define USB_CHANGED_RESET 0x100000
#define USB_SPEED(status) ((status) >> 10 & 15) // not as in u.11.24.2.7, but as for USB_FULL

struct usb_host_ops {
	void (*start)(struct usb_host *host);                     // interrupts may come from now on
	void (*take)(struct usb_host *host);                      // what the interrupt handler does
	int (*port_status)(struct usb_host *host, uint32_t port); // takes note of the changes, too
	void (*port_reset)(struct usb_host *host, uint32_t port); // begins; its end is a change
	int (*attach)(struct usb_host *host);                     // a free slot, or an error
	int (*address)(struct usb_dev *usb); // gives the device in its slot an address; later: packet0 is another
	int (*control)(struct usb_dev *usb, uint64_t setup, void *data); // as usb_control
	int (*open)(struct usb_dev *usb);                                // endpoint and hub as usb says
	void (*listen)(struct usb_dev *usb);                             // as usb_listen
	void (*detach)(struct usb_dev *usb);                             // the slot is free, no transfer comes any more
};

struct usb_host {
	uint64_t stack_pointer; // of the stack that doesn't run; first: usb.c
	const struct usb_host_ops *ops;
	struct usb_host *next;
	uint64_t awaited, deadline; // of usb_wait
	int result;
	bool awake;
	bool polled;        // there is no interrupt
	bool dead;          // nothing answers any more
	uint8_t recoveries; // devices that began anew since one was plugged in
	struct time_alarm alarm;
	struct usb_dev dev[USB_DEVICES];                  // by slot; 0: the root hub, whose `ports` the driver sets
	uint8_t config[256] __attribute__((aligned(64))); // a device's descriptors
	uint8_t data[64];                                 // of other control transfers
	uint64_t stack[USB_STACK / 8];
};

// Looks for devices from now on.
void usb_host_add(struct usb_host *host);
void usb_host_remove(struct usb_host *host); // its devices, too; nothing waits any more

// Waits for usb_wake with the same key, at most `us` (0: for ever).  Returns what that says, or E_TIMEOUT, or E_IO if
// the host is dead.  Keys: slots, addresses.
int usb_wait(struct usb_host *host, uint64_t key, uint32_t us);

// From the interrupt handler or usb_host_ops.take.
void usb_wake(struct usb_host *host, uint64_t key, int result);
void usb_changed(struct usb_dev *hub, uint32_t ports, uint32_t forced); // bits by port
void usb_received(struct usb_dev *usb, int bytes);                      // or an error
void usb_run(struct usb_host *host);                                    // last: what has waited goes on
