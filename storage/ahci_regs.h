// AHCI 1.3.1 (a.), Serial ATA 3.x FISes, ATA8-ACS commands: what the driver uses of them.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define AHCI_BAR 5 // a.2.1.11
#define AHCI_PORTS 32
#define AHCI_SLOTS 32

// HBA (a.3.1)
#define HBA_CAP 0x00
#define HBA_CAP_NCS_SHIFT 8 // command slots - 1
#define HBA_CAP_SNCQ (1u << 30)
#define HBA_CAP_S64A (1u << 31)
#define HBA_GHC 0x04
#define HBA_GHC_HR 1u
#define HBA_GHC_AE (1u << 31)
#define HBA_PI 0x0C
#define HBA_CAP2 0x24
#define HBA_CAP2_BOH 1u
#define HBA_BOHC 0x28
#define HBA_BOHC_BOS 1u // the BIOS has it
#define HBA_BOHC_OOS 2u

// Ports (a.3.3)
#define PORT_FIRST 0x100
#define PORT_BYTES 0x80
#define PORT_END (PORT_FIRST + AHCI_PORTS * PORT_BYTES)
#define PORT_CLB 0x00
#define PORT_FB 0x08
#define PORT_IS 0x10
#define PORT_IS_PCS (1u << 6)   // connection changed
#define PORT_IS_PRCS (1u << 22) // PhyRdy changed
#define PORT_IS_IFS (1u << 27)  // interface
#define PORT_IS_HBDS (1u << 28) // data of the HBA
#define PORT_IS_HBFS (1u << 29) // bus
#define PORT_IS_TFES (1u << 30) // task file
#define PORT_IS_FATAL (PORT_IS_PCS | PORT_IS_PRCS | PORT_IS_IFS | PORT_IS_HBDS | PORT_IS_HBFS | PORT_IS_TFES)
#define PORT_CMD 0x18
#define PORT_CMD_ST 0x0001u
#define PORT_CMD_SUD 0x0002u // spin up
#define PORT_CMD_POD 0x0004u // power on
#define PORT_CMD_FRE 0x0010u
#define PORT_CMD_ON (PORT_CMD_SUD | PORT_CMD_POD | PORT_CMD_FRE)
#define PORT_CMD_FR 0x4000u // FISes are received
#define PORT_CMD_CR 0x8000u // the command list is in use
#define PORT_TFD 0x20
#define PORT_SIG 0x24
#define PORT_SIG_ATAPI 0xEB140101
#define PORT_SSTS 0x28
#define PORT_SSTS_DET 15u
#define PORT_SSTS_DET_READY 3u
#define PORT_SCTL 0x2C
#define PORT_SCTL_COMRESET 1u
#define PORT_SCTL_NO_PM 0x300u // no partial, no slumber
#define PORT_SERR 0x30
#define PORT_SACT 0x34
#define PORT_CI 0x38

#define ATA_STATUS_ERR 0x01u
#define ATA_STATUS_DRQ 0x08u
#define ATA_STATUS_BSY 0x80u

// Command list and tables (a.4.2)
struct ahci_header {
	uint16_t flags, pieces;
	uint32_t transferred; // written by the HBA
	uint64_t table;
	uint32_t reserved[4];
};
_Static_assert(sizeof(struct ahci_header) == 32, "command header");
#define AHCI_HEADER_CFL 5u // dwords of the command FIS
#define AHCI_HEADER_WRITE 0x40u

struct ahci_prd {
	uint64_t phys; // even
	uint32_t reserved;
	uint32_t last; // bytes - 1, odd
};
_Static_assert(sizeof(struct ahci_prd) == 16, "physical region descriptor");
#define AHCI_PRD_MOST (4u << 20)

// Received FISes (a.4.2.1): the first dword of those that end a command, which holds type, flags, status and error.
struct ahci_fis {
	uint8_t dma_setup[0x20], pio_setup[0x20];
	volatile uint32_t d2h;
	uint8_t rest[0x14];
	volatile uint32_t sdb;
	uint8_t rest2[0xA4];
};
_Static_assert(sizeof(struct ahci_fis) == 256 && offsetof(struct ahci_fis, d2h) == 0x40 &&
		offsetof(struct ahci_fis, sdb) == 0x58,
	"received FIS");
#define FIS_STATUS_SHIFT 16

// Register FIS from host to device (Serial ATA 3.x, 10.5.5).  Queued commands have their length in the features, and
// their tag in the count (t.7.28).
struct fis_h2d {
	uint16_t type;
	uint8_t command, features;
	union {
		uint32_t lba; // 23:0
		struct {
			uint8_t lba_bytes[3], device;
		};
	};
	union {
		uint32_t lba_high; // 47:24
		struct {
			uint8_t lba_high_bytes[3], features_high;
		};
	};
	uint32_t count; // 15:0
	uint32_t reserved[12];
};
_Static_assert(sizeof(struct fis_h2d) == 64 && offsetof(struct fis_h2d, count) == 12, "command FIS");
#define FIS_H2D 0x8027u // a command
#define FIS_DEVICE_LBA 0x40u
#define FIS_TAG_SHIFT 3

enum {
	ATA_DATA_SET_MANAGEMENT = 0x06,
	ATA_READ_DMA_EXT = 0x25,
	ATA_WRITE_DMA_EXT = 0x35,
	ATA_READ_FPDMA_QUEUED = 0x60,
	ATA_WRITE_FPDMA_QUEUED = 0x61,
	ATA_FLUSH_CACHE_EXT = 0xEA,
	ATA_IDENTIFY_DEVICE = 0xEC
};
#define ATA_DSM_TRIM 1u
#define ATA_TRIM_RANGE 0xFFFFu // blocks of one range; its length is in bits 63:48, its first block below

// IDENTIFY DEVICE: words
enum {
	ID_QUEUE_DEPTH = 75,
	ID_SATA = 76,
	ID_COMMANDS = 83,
	ID_ENABLED = 85,
	ID_SECTORS = 100,
	ID_SECTOR_SIZE = 106,
	ID_SECTOR_WORDS = 117,
	ID_DSM = 169,
	ID_WORDS = 256
};
#define ID_SATA_NCQ 0x0100u
#define ID_COMMANDS_LBA48 0x0400u
#define ID_ENABLED_CACHE 0x0020u
#define ID_SECTOR_SIZE_MASK 0xD000u // the word is valid, and sectors are not of 512 bytes
#define ID_SECTOR_SIZE_OTHER 0x5000u
#define ID_DSM_TRIM 1u
