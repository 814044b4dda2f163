// Registers of Intel's gigabit controllers, 8254x and their PCIe successors, named as in the PCI/PCI-X Family of
// Gigabit Ethernet Controllers Software Developer's Manual (317453), chapter 13.
#pragma once

#define CTRL 0x0000
#define CTRL_MASTER_DISABLE (1u << 2) // PCIe
#define CTRL_LRST (1u << 3)
#define CTRL_SLU (1u << 6)
#define CTRL_FRCSPD (1u << 11)
#define CTRL_FRCDPX (1u << 12)
#define CTRL_RST (1u << 26)
#define CTRL_RFCE (1u << 27)
#define CTRL_TFCE (1u << 28)
#define CTRL_VME (1u << 30)
#define CTRL_FD 1u
// No reset of the link, nothing forced, no flow control, VLAN tags stay in the frames
#define CTRL_OFF (CTRL_LRST | CTRL_FRCSPD | CTRL_FRCDPX | CTRL_RFCE | CTRL_TFCE | CTRL_VME)

#define STATUS 0x0008
#define STATUS_LU 2u
#define STATUS_SPEED_SHIFT 6 // 10, 100, 1000, 1000

#define EERD 0x0014
#define EERD_START 1u
#define EERD_DATA_SHIFT 16

#define ICR 0x00C0
#define ICR_RXT0 (1u << 7)
#define ICR_RXQ0 (1u << 20) // 82574
#define IMS 0x00D0
#define IMC 0x00D8

#define RCTL 0x0100
#define RCTL_EN (1u << 1)
#define RCTL_UPE (1u << 3)
#define RCTL_MPE (1u << 4)
#define RCTL_LPE (1u << 5)
#define RCTL_BAM (1u << 15)
#define RCTL_BSIZE (1u << 16)
#define RCTL_BSEX (1u << 25)
#define RCTL_SECRC (1u << 26)
#define RCTL_FLXBUF_SHIFT 27 // KiB; PCIe

#define TXCW 0x0178
#define TXCW_FD (1u << 5)
#define TXCW_ANE (1u << 31)
#define RXCW 0x0180
#define RXCW_C (1u << 29)

#define TCTL 0x0400
#define TCTL_EN (1u << 1)
#define TCTL_PSP (1u << 3)
#define TCTL_CT (0xFu << 4)
#define TCTL_COLD (0x3Fu << 12)
#define TIPG 0x0410
#define TIPG_802_3 0x00602008 // s.13.4.34

#define RX_RINGS 0x2800 // RDBAL0
#define TX_RINGS 0x3800 // TDBAL0
#define RING_STEP 0x100

#define STATISTICS 0x4000 // cleared when read
#define CRCERRS 0x4000
#define RXERRC 0x400C
#define MPC 0x4010
#define ECOL 0x4018
#define LATECOL 0x401C
#define RUC 0x40A4
#define RFC 0x40A8
#define ROC 0x40AC
#define RJC 0x40B0

#define RAL0 0x5400
#define RAH0 0x5404
#define RAH_AV (1u << 31)

// Errors of a receive descriptor, beside its status (s.3.2.3.2): CE, SE, SEQ, CXE, RXE.
#define RX_ERRORS 0x97
#define RX_ERRORS_LEGACY (RX_ERRORS << 8)
#define RX_ERRORS_EXTENDED ((uint32_t)RX_ERRORS << 24)
