// Realtek 8139C+: registers and descriptors, named as in the datasheet.  Offsets in bytes from the memory BAR.
#pragma once
#include <stdint.h>

#define PCI_REVISION 0x08   // in configuration space
#define REVISION_CPLUS 0x20 // descriptor rings from this one on
#define BAR_REGISTERS 1     // BAR 0 has the same registers as I/O ports

#define IDR0 0x00   // Ethernet address, 6 bytes
#define MAR0 0x08   // multicast hash, 8 bytes, written as two dwords
#define TNPDS 0x20  // address of the transmit ring, 64 bits, a multiple of 256
#define CR 0x37     // command, 8 bits
#define IMR 0x3C    // interrupts that are on, 16 bits
#define ISR 0x3E    // interrupts that wait, 16 bits; 1 clears
#define TCR 0x40    // transmit configuration
#define RCR 0x44    // receive configuration
#define MPC 0x4C    // frames missed; a write clears
#define MSR 0x58    // media status, 8 bits
#define TPPOLL 0xD9 // transmit doorbell, 8 bits
#define CPCR 0xE0   // C+ command, 16 bits
#define RDSAR 0xE4  // address of the receive ring, 64 bits, a multiple of 256
#define ETTHR 0xEC  // early transmit threshold in 32 bytes, 8 bits

#define CR_RST 0x10 // clears itself
#define CR_RE 0x08
#define CR_TE 0x04

#define INT_ROK 0x0001
#define INT_RDU 0x0010 // no receive descriptor is the device's

#define TCR_IFG (3u << 24)  // 802.3's gap between frames
#define TCR_MXDMA (7u << 8) // no limit to a burst on the bus

#define RCR_AAP 0x01 // accept: all
#define RCR_APM 0x02 // our address
#define RCR_AM 0x04  // multicast that the hash has
#define RCR_AB 0x08  // broadcast
#define RCR_MXDMA (7u << 8)
#define RCR_RXFTH (7u << 13) // whole frames to memory

#define MSR_LINKB 0x04 // 1: no link
#define MSR_SPEED_10 0x08

#define TPPOLL_NPQ 0x40 // the ring at TNPDS

#define CPCR_TXE 0x0001
#define CPCR_RXE 0x0002
#define CPCR_MULRW 0x0008 // several reads or writes on the bus in one

#define ETTHR_192 6

#define RTL_RING 64 // most descriptors of a ring

struct rtl8139_desc {
	volatile uint32_t command; // and, when the device is done, status
	volatile uint32_t vlan;
	volatile uint64_t phys; // receive: a multiple of 8
};
_Static_assert(sizeof(struct rtl8139_desc) == 16, "descriptor");

#define DESC_OWN (1u << 31) // it is the device's
#define DESC_EOR (1u << 30) // the ring ends here
#define DESC_FS (1u << 29)  // first and last piece of a frame
#define DESC_LS (1u << 28)
#define DESC_RES (1u << 20) // receive: any error
#define DESC_LENGTH 0x1FFFu // receive: of the buffer; then of the frame and its checksum
