// Registers of Intel's 10 gigabit controllers, named as in the 82599 datasheet (331520), chapter 8.
#pragma once

#define CTRL 0x00000
#define CTRL_MASTER_DISABLE (1u << 2)
#define CTRL_LRST (1u << 3)
#define CTRL_RST (1u << 26)
#define STATUS 0x00008
#define STATUS_MASTER_ENABLE (1u << 19)
#define CTRL_EXT 0x00018
#define CTRL_EXT_NS_DIS (1u << 16)
#define CTRL_EXT_DRV_LOAD (1u << 28)
#define ESDP 0x00020
#define ESDP_SDP3 (1u << 3) // on boards with SFP+: laser off

#define EEC 0x10010
#define EEC_EE_PRES (1u << 8) // and its signature is good
#define EEC_AUTO_RD (1u << 9)
#define EERD 0x10014
#define EERD_START 1u
#define EERD_DONE (1u << 1)
#define EERD_ADDRESS_SHIFT 2
#define EERD_DATA_SHIFT 16
#define EEPROM_WORDS 0x4000 // that EERD reaches
#define EEPROM_POINTERS 3   // words 3 to 0xE say where sections lie
#define EEPROM_POINTERS_END 0xF
#define EEPROM_CHECKED 0x40
#define EEPROM_SUM 0xBABA

#define EIMS 0x00880
#define EIMC 0x00888
#define EIAC 0x00810
#define GPIE 0x00898
#define GPIE_MULTIPLE_MSIX (1u << 4)
#define GPIE_PBA_SUPPORT (1u << 31)
#define IVAR0 0x00900
#define IVAR_VALID (1u << 7)
#define EICR_RTXQ0 1u

#define LINKS 0x042A4
#define LINKS_UP (1u << 30)
#define LINKS_SPEED_SHIFT 28
#define LINKS_NON_STANDARD (1u << 27) // X550
#define AUTOC 0x042A0
#define AUTOC_RESTART_AN (1u << 12)

#define FCRTH0 0x03260
#define FCRTH0_DEFAULT (0x80000 - 0x6000) // s.4.6.3.2: RXPBSIZE[0] - 0x6000
#define HLREG0 0x04240
#define HLREG0_TXCRCEN 1u
#define HLREG0_RXCRCSTRP (1u << 1)
#define HLREG0_JUMBOEN (1u << 2)
#define HLREG0_TXPADEN (1u << 10)
#define HLREG0_LPBK (1u << 15)
#define MAXFRS 0x04268
#define MAXFRS_MFS_SHIFT 16
#define GCR_EXT 0x11050
#define GCR_EXT_BUFFERS_CLEAR (1u << 30)

#define FCTRL 0x05080
#define FCTRL_MPE (1u << 8)
#define FCTRL_UPE (1u << 9)
#define FCTRL_BAM (1u << 10)
#define RXCSUM 0x05000
#define RXCSUM_PCSD (1u << 13)
#define MRQC 0x0EC80
#define MRQC_RSS 0x00F70001 // TCP, UDP and addresses of IPv4 and IPv6
#define RETA 0x0EB00
#define RETA_DWORDS 32
#define RSSRK 0x0EB80
#define RSSRK_DWORDS 10
#define RAL0 0x0A200
#define RAH0 0x0A204
#define RAH_AV (1u << 31)
#define MTA 0x05200
#define VFTA 0x0A000
#define MPSAR 0x0A600
#define FTQF 0x0E600
#define PFVLVF 0x0F100 // PFVLVFB and PFUTA follow without a gap

#define RXCTRL 0x03000
#define RXCTRL_RXEN 1u
#define SECRXCTRL 0x08D00
#define SECRXCTRL_RX_DIS (1u << 1)
#define SECRXSTAT 0x08D04
#define SECRXSTAT_RDY 1u
#define RDRXCTL 0x02F00
#define RDRXCTL_CRCSTRIP (1u << 1)
#define RDRXCTL_DMAIDONE (1u << 3)
#define RDRXCTL_RSCFRSTSIZE (0x1Fu << 17)
#define RDRXCTL_RSCACKC (1u << 25)
#define RDRXCTL_FCOE_WRFIX (1u << 26)
#define RXPBSIZE1 0x03C04
#define TXPBSIZE1 0x0CC04

#define DMATXCTL 0x04A80
#define DMATXCTL_TE 1u
#define DTXMXSZRQ 0x08100
#define DTXMXSZRQ_MOST 0xFFFu
#define MTQC 0x08120
#define RTTDCS 0x04900
#define RTTDCS_ARBDIS (1u << 6)
#define RTTDQSEL 0x04904
#define RTTBCNRC 0x04984
#define DCA_CTRL 0x11074
#define DCA_CTRL_DIS 1u

// Of each queue, from RDBAL and TDBAL on; the others are in intel_ring.h.
#define RX_RINGS 0x01000
#define TX_RINGS 0x06000
#define RING_STEP 0x40
#define RING_DCA 0x0C                  // DCA_RXCTRL, DCA_TXCTRL
#define DCA_RXCTRL_RESERVED (1u << 12) // s.4.6.7: to be cleared
#define DCA_TXCTRL_WB_RO (1u << 11)
#define RING_SRRCTL 0x14
#define SRRCTL_ADVANCED (1u << 25) // one buffer
#define SRRCTL_DROP_EN (1u << 28)
#define RING_ENABLE (1u << 25) // in RXDCTL and TXDCTL
#define TXDCTL_SWFLSH (1u << 26)
#define TXDCTL_PREFETCH (32 | 1u << 8) // PTHRESH, HTHRESH

// Transmit descriptor (s.7.2.3.2.4)
#define TX_DATA (3u << 20)
#define TX_DEXT (1u << 29)
#define TX_PAYLEN_SHIFT 46
// Error of a receive descriptor (s.7.1.6.2)
#define RX_RXE (1u << 29)

// Cleared when read.
#define QPRDC0 0x01430
#define RXMPC0 0x03FA0
#define CRCERRS 0x04000
#define ILLERRC 0x04004
#define ERRBC 0x04008
#define RLEC 0x04040
#define RUC 0x040A4
#define RFC 0x040A8
#define ROC 0x040AC
#define RJC 0x040B0
