// virtio SCSI controller: what is in memory and on the wire, named as in the specifications.  "v." = section of the
// VIRTIO specification 1.2; SAM-5, SPC-4 and SBC-3 are SCSI's, whose numbers are big-endian.
#pragma once
#include <stdint.h>

#define TYPE_SCSI_HOST 8 // v.5
#define QUEUE_REQUEST 2  // v.5.6.2: the first one; control and event queue before it

// Configuration (v.5.6.4)
#define CONFIG_NUM_QUEUES VIRTIO_FIELD(VIRTIO_F_VERSION_1, 0, 4)
#define CONFIG_SEG_MAX VIRTIO_FIELD(VIRTIO_F_VERSION_1, 4, 4)
#define CONFIG_MAX_SECTORS VIRTIO_FIELD(VIRTIO_F_VERSION_1, 8, 4)
#define CONFIG_MAX_TARGET VIRTIO_FIELD(VIRTIO_F_VERSION_1, 30, 2)

// v.5.6.6.1, with the default sizes of CDB and sense data
struct scsi_request {
	uint8_t lun[8];
	uint8_t id[8];
	uint8_t attribute, priority, crn;
	uint8_t cdb[32];
};
struct scsi_response {
	uint32_t sense_bytes, residual;
	uint16_t qualifier;
	uint8_t status, response;
	uint8_t sense[96];
};
_Static_assert(sizeof(struct scsi_request) == 51 && sizeof(struct scsi_response) == 108, "virtio_scsi_req_cmd");

#define LUN_FIRST 1 // byte 0; then the target, and a logical unit number in flat space addressing (SAM-5 4.7.7.3)
#define LUN_FLAT 0x40
#define LUN_METHOD 0xC0
#define LUN_BYTES 8

#define RESPONSE_OK 0
#define RESPONSE_BAD_TARGET 3
#define RESPONSE_NONE 0xFF // ours: the device has written nothing

#define STATUS_GOOD 0 // SAM-5 5.3.1
#define STATUS_CHECK_CONDITION 2
#define STATUS_BUSY 8
#define STATUS_TASK_SET_FULL 0x28

#define SENSE_DESCRIPTOR 0x72 // SPC-4 4.5.2: response code, from which on the key is in byte 1, else in byte 2
#define KEY_ILLEGAL_REQUEST 5 // SPC-4 4.5.6
#define KEY_UNIT_ATTENTION 6
#define KEY_DATA_PROTECT 7

#define INQUIRY 0x12
#define MODE_SENSE 0x1A
#define SYNCHRONIZE_CACHE 0x35
#define UNMAP 0x42
#define READ 0x88
#define WRITE 0x8A
#define READ_CAPACITY 0x9E
#define READ_CAPACITY_ACTION 0x10
#define REPORT_LUNS 0xA0

#define INQUIRY_BYTES 36 // SPC-4 6.6.2
#define INQUIRY_DISK 0   // byte 0: there, and with direct access
#define INQUIRY_QUALIFIER 0xE0
#define MODE_BYTES 4 // SPC-4 7.5.5
#define MODE_ALL_PAGES 0x3F
#define MODE_WRITE_PROTECT 0x80 // byte 2 (SBC-3 6.4.1)
#define CAPACITY_BYTES 32       // SBC-3 5.16.2: last block, bytes of a block
#define CAPACITY_LBPME 0x80     // byte 14: UNMAP does something
#define UNMAP_BYTES 24          // SBC-3 5.28.2: header, one descriptor
