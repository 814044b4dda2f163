// Xen's "x86/HVM direct boot ABI" (PVH): what a hypervisor hands over.  boot-pvh/pvh.c translates it.
#pragma once
#include <boot_info.h>

#define PVH_MAGIC 0x336EC578

// Copies all that lies where the kernel will write: page 0 and up to 0x7FFF.
void pvh_convert(const void *start_info, struct boot_info *boot);
