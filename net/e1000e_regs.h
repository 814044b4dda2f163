// Registers that the PCIe gigabit controllers have beside those of intel_gbe_regs.h, named as in the 82574 datasheet
// (317694), chapter 10.
#pragma once

#define STATUS_MASTER_ENABLE (1u << 19)

#define EECD 0x0010
#define RELOADED (1u << 9) // EECD: AUTO_RD; STATUS of a PCH: LAN_INIT_DONE

#define CTRL_EXT 0x0018
#define CTRL_EXT_DRV_LOAD (1u << 28)

#define IVAR 0x00E4
#define IVAR_RXQ0_VALID (1u << 3) // in MSI-X entry 0

#define EXTCNF_CTRL 0x0F00
#define EXTCNF_CTRL_SW_OWNER (1u << 5)

#define TXDCTL_WTHRESH_1 (1u << 16)
#define TXDCTL_COUNT_DESC (1u << 22)
#define TXDCTL_GRAN (1u << 24)

#define RXCSUM 0x5000
#define RXCSUM_PCSD (1u << 13)
#define RFCTL 0x5008
#define RFCTL_EXSTEN (1u << 15)

#define MRQC 0x5818
#define MRQC_RSS 0x00370001 // TCP and addresses of IPv4 and IPv6
#define RETA 0x5C00
#define RETA_DWORDS 32
#define RETA_0_1 0x80008000 // queue numbers in bit 7 of each byte
#define RSSRK 0x5C80
#define RSSRK_DWORDS 10
