// Registers, rings and contexts of the eXtensible Host Controller Interface (Intel, revision 1.2).
#pragma once
#include <stdint.h>

// Capability registers (s.5.3)
#define CAPLENGTH 0x00 // 8 bits
#define HCSPARAMS1 0x04
#define HCS1_SLOTS(value) ((value)&0xFF)
#define HCS1_PORTS(value) ((value) >> 24)
#define HCSPARAMS2 0x08
#define HCS2_SCRATCHPADS(value) (((value) >> 16 & 0x3E0) | (value) >> 27)
#define HCCPARAMS1 0x10
#define HCC1_CSZ 0x4 // contexts of 64 bytes
#define HCC1_XECP(value) ((value) >> 16 << 2)
#define DBOFF 0x14
#define RTSOFF 0x18

// Operational registers (s.5.4), from CAPLENGTH on
#define USBCMD 0x00
#define USBCMD_RS 0x1
#define USBCMD_HCRST 0x2
#define USBCMD_INTE 0x4
#define USBSTS 0x04
#define USBSTS_HCH 0x1
#define USBSTS_EINT 0x8
#define USBSTS_CNR 0x800
#define PAGESIZE 0x08
#define CRCR 0x18
#define CRCR_RCS 0x1
#define CRCR_CA 0x4
#define DCBAAP 0x30
#define CONFIG 0x38
#define PORTSC(port) (0x3F0 + 0x10 * (port)) // ports count from 1
#define PORTSC_CCS 0x1
#define PORTSC_PR 0x10
#define PORTSC_PLS(value) ((value) >> 5 & 15)
#define PLS_INACTIVE 6
#define PORTSC_PP 0x200
#define PORTSC_SPEED 0x3C00
#define PORTSC_KEEP 0x0E00C200  // what a write must give back: power, indicator, wake bits
#define PORTSC_CHANGES 0xFE0000 // written ones clear them
#define PORTSC_WPR 0x80000000

// Runtime registers (s.5.5), from RTSOFF on: interrupter 0
#define IMAN 0x20
#define IMAN_IP 0x1
#define IMAN_IE 0x2
#define ERSTSZ 0x28
#define ERSTBA 0x30
#define ERDP 0x38
#define ERDP_EHB 0x8

// Extended capabilities (s.7)
#define XECP_ID(value) ((value)&0xFF)
#define XECP_NEXT(value) (((value) >> 8 & 0xFF) << 2)
#define XECP_LEGACY 1 // s.7.1
#define LEGACY_BIOS 0x10000
#define LEGACY_OS 0x1000000
#define LEGACY_CONTROL 4
#define LEGACY_SMI 0xE011        // enables
#define LEGACY_EVENTS 0xE0000000 // written ones clear them

// Transfer request blocks (s.6.4)
struct trb {
	uint64_t param;
	uint32_t status, control;
};
_Static_assert(sizeof(struct trb) == 16, "s.4.11");
#define TRB_CYCLE 0x1
#define TRB_TOGGLE 0x2      // link
#define TRB_ISP 0x4         // interrupt on short packet
#define TRB_IOC 0x20        // interrupt on completion
#define TRB_IDT 0x40        // immediate data
#define TRB_IN 0x10000      // data and status stage
#define TRB_TRT_OUT 0x20000 // setup stage: a data stage follows
#define TRB_TRT_IN 0x30000
#define TRB_TYPE(type) ((type) << 10)
#define TRB_TYPE_OF(control) ((control) >> 10 & 63)
#define TRB_ENDPOINT(dci) ((uint32_t)(dci) << 16)
#define TRB_ENDPOINT_OF(control) ((control) >> 16 & 31)
#define TRB_SLOT(slot) ((uint32_t)(slot) << 24)
#define TRB_SLOT_OF(control) ((control) >> 24)
#define TRB_CODE_OF(status) ((status) >> 24)
#define TRB_LEFT_OF(status) ((status)&0xFFFFFF)
#define TRB_PORT_OF(param) ((param) >> 24 & 0xFF)
enum { // s.6.4.6
	TRB_NORMAL = 1,
	TRB_SETUP,
	TRB_DATA,
	TRB_STATUS,
	TRB_LINK = 6,
	TRB_ENABLE_SLOT = 9,
	TRB_DISABLE_SLOT,
	TRB_ADDRESS,
	TRB_CONFIGURE,
	TRB_EVALUATE,
	TRB_RESET_ENDPOINT,
	TRB_SET_DEQUEUE = 16,
	TRB_EVENT_TRANSFER = 32,
	TRB_EVENT_COMMAND,
	TRB_EVENT_PORT,
};
enum { CODE_SUCCESS = 1, CODE_SHORT = 13 }; // s.6.4.5

// Event ring segment table (s.6.5)
struct erst {
	uint64_t base;
	uint32_t size, reserved;
};

// Contexts (s.6.2), as dwords
enum { INPUT_DROP, INPUT_ADD };           // s.6.2.5
enum { SLOT_ROUTE, SLOT_PORTS, SLOT_TT }; // s.6.2.2
#define SLOT_SPEED(speed) ((uint32_t)(speed) << 20)
#define SLOT_HUB 0x4000000
#define SLOT_ENTRIES(count) ((uint32_t)(count) << 27)
#define SLOT_ROOT_PORT(port) ((uint32_t)(port) << 16)
#define SLOT_PORT_COUNT(count) ((uint32_t)(count) << 24)
#define SLOT_THINK(time) ((uint32_t)(time) << 16)
enum { ENDPOINT_INTERVAL, ENDPOINT_TYPE, ENDPOINT_DEQUEUE, ENDPOINT_DEQUEUE_HIGH, ENDPOINT_LENGTHS }; // s.6.2.3
#define ENDPOINT_EXPONENT(value) ((uint32_t)(value) << 16)
#define ENDPOINT_CONTROL 0x26      // type 4, three tries
#define ENDPOINT_INTERRUPT_IN 0x3E // type 7, three tries
#define ENDPOINT_PACKET(bytes) ((uint32_t)(bytes) << 16)
#define ENDPOINT_PAYLOAD(bytes) ((uint32_t)(bytes) << 16)
