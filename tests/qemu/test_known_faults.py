"""Faults that a kernel of this kind is known to have had, each with the tests that would show it here.

A list to look things up in; what is checked is that each test named is there.
"""
import re
from pathlib import Path

FAULTS = {
	# Drives
	"virtio-blk: writes never reach the disk": ["devices::test_disk", "drives::test_extents"],
	"requests of many sectors repeat the first one, or sector 0": ["devices::test_disk", "nvme::test_disk"],
	"a second drive returns the first one's data":
		["devices::test_two_nets_three_disks", "several::test_several_of_everything"],
	"NVMe stops at its 64th command": ["drives::test_random_reads", "nvme::test_variants"],
	"data at an address that is no page's is lost": ["devices::test_disk", "nvme::test_disk", "ahci::test_disk"],
	"sectors past the end, a drive that isn't there: success":
		["devices::test_disk", "nvme::test_disk", "ahci::test_disk"],
	"no drive at all: success, or no return": ["programs::test_calls"],
	"a count of 0 never returns": ["devices::test_disk", "ahci::test_disk"],
	"an error of the disk is none of the caller's": ["drives::test_errors"],
	"a drive that never answers stops everything": ["drives::test_deadline"],
	# Interfaces
	"virtio with the legacy interface alone hangs": ["devices::test_legacy_only_is_named"],
	"reception ends for good once 255 frames wait": ["traffic::test_full_rate"],
	"frames are reordered with a queue of 1024": ["traffic::test_frames"],
	"waiting frames all lie in one buffer": ["traffic::test_only_whole_frames", "traffic::test_frames"],
	"frames above 1522 bytes vanish without being counted":
		["traffic::test_only_whole_frames", "ixgbe::test_frames_that_are_none"],
	"the third interface is not seen": ["several::test_several_of_everything", "ixgbe::test_three_cards"],
	# The machine
	"a BAR at 32 GiB is not mapped": ["devices::test_bars_above_4_gib", "nvme::test_disk"],
	"devices behind a root port are not found":
		["devices::test_behind_ports_and_a_switch", "several::test_several_of_everything"],
	"no start without HPET, or without a display": ["matrix::test_boot"],
	# Programs
	"SMP_SET refuses without a word; SMP_BUSY is always 1": ["programs::test_smp"],
	"stacks of many cores run into other memory":
		["programs::test_smp_without_native_interface_on_64_cores", "matrix::test_boot"],
	"TIMECOUNTER, callbacks and RESET do nothing": ["programs::test_calls", "programs::test_smp"],
	"b_output of no characters prints 64 KiB": ["programs::test_calls"],
	"serial input doesn't reach b_input": ["console::test_serial_keys"],
	"a program that faults is started again for ever": ["programs::test_fault"],
}


def test_each_has_its_tests():
	for places in FAULTS.values():
		for place in places:
			file, _, name = place.partition("::")
			source = Path(__file__).with_name(f"test_{file}.py").read_text()
			assert re.search(rf"^def {name}\(", source, re.M), f"{place} is gone"
