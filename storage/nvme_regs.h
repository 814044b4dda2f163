// NVM Express: registers, queue entries and data structures, named as in the NVM Express Base Specification 2.0c (the
// sections quoted) and the NVM Command Set Specification 1.0c.
#pragma once
#include <util.h>

// Controller properties (s.3.1.3), offsets into BAR 0
#define NVME_CAP 0x00
#define NVME_CC 0x14
#define NVME_CSTS 0x1C
#define NVME_AQA 0x24
#define NVME_ASQ 0x28
#define NVME_ACQ 0x30
#define NVME_DOORBELLS 0x1000 // SQ 0 tail, CQ 0 head, SQ 1 tail, ...: 4 << CAP.DSTRD bytes from each to the next

// CAP (s.3.1.3.1)
#define NVME_CAP_MQES(cap) ((uint32_t)(cap)&0xFFFF) // entries of a queue, less one
#define NVME_CAP_TO(cap) ((uint32_t)(cap) >> 24)    // in 500 ms
#define NVME_CAP_DSTRD(cap) ((uint32_t)((cap) >> 32) & 15)
#define NVME_STRIDE_SHIFT 2
#define NVME_STRIDE_LEAST 4
#define NVME_PAGE 4096u
#define NVME_CAP_MPSMIN(cap) ((uint32_t)((cap) >> 48) & 15) // pages of 4096 << MPSMIN bytes

// CC (s.3.1.3.5)
#define NVME_CC_EN 1
#define NVME_CC_MPS_SHIFT 7
#define NVME_CC_IOSQES (6 << 16) // entries of 64
#define NVME_CC_IOCQES (4 << 20) // and 16 bytes

// CSTS (s.3.1.3.6)
#define NVME_CSTS_RDY 1
#define NVME_CSTS_CFS 2

// Admin commands (s.5)
#define NVME_CREATE_SQ 0x01
#define NVME_CREATE_CQ 0x05
#define NVME_IDENTIFY 0x06
#define NVME_SET_FEATURES 0x09
#define NVME_DOORBELL_BUFFER 0x7C
#define NVME_QUEUE_CONTIGUOUS 1 // CDW11 of the two that create: PC
#define NVME_FEATURE_QUEUES 7   // s.5.27.1.5

// I/O commands (NVM Command Set, 3)
#define NVME_FLUSH 0
#define NVME_WRITE 1
#define NVME_READ 2
#define NVME_DSM 9
#define NVME_DSM_DEALLOCATE 4 // CDW11: AD

struct nvme_sqe {  // s.3.3.3.1
	uint64_t head; // opcode 7:0, command identifier 31:16, namespace 63:32
	uint64_t cdw2, metadata;
	uint64_t prp[2];
	uint64_t cdw10; // and CDW11
	uint64_t cdw12; // and CDW13
	uint64_t cdw14; // and CDW15
};
_Static_assert(sizeof(struct nvme_sqe) == 64, "submission queue entry");

struct nvme_cqe { // s.3.3.3.2
	uint32_t result, reserved;
	uint32_t sq;  // SQ head 15:0, SQ identifier 31:16
	uint32_t end; // command identifier 15:0, phase tag, status
};
_Static_assert(sizeof(struct nvme_cqe) == 16, "completion queue entry");
#define NVME_CQE_PHASE (1u << 16)
#define NVME_CQE_STATUS 0x0FFE0000 // status code and its type

#define NVME_RANGE_BYTES 16 // NVM Command Set, 3.2.3: attributes 31:0, blocks 63:32; first block

// Identify (s.5.17): CNS, and offsets into the 4096 bytes that it returns
#define NVME_CNS_NAMESPACE 0
#define NVME_CNS_CONTROLLER 1
#define NVME_CNS_NAMESPACES 2
#define NVME_IDENTIFY_BYTES 4096
#define NVME_ID_TEXT 4 // serial number, model, firmware revision: 70 bytes
#define NVME_ID_MDTS 77
#define NVME_ID_OACS 256
#define NVME_OACS_DOORBELL_BUFFER (1 << 8)
#define NVME_ID_ONCS 520
#define NVME_ONCS_DSM (1 << 2)
#define NVME_ID_VWC 525
#define NVME_VWC_PRESENT 1
#define NVME_NS_NSZE 0 // NVM Command Set, 4.1.5.1
#define NVME_NS_FLBAS 26
#define NVME_NS_ATTRIBUTES 99
#define NVME_NS_WRITE_PROTECTED 1
#define NVME_NS_LBAF 128 // metadata bytes 15:0, log2 of the block's bytes 23:16
