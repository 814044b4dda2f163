#!/usr/bin/python3
"""netboot.py BUILD: the folder BUILD/netboot, to be served to machines that start from the network, and how to.

With NETBOOT in the environment (make run NETBOOT=1) it says nothing: QEMU serves the folder.
"""
import os
import shutil
import sys
from pathlib import Path

BIOS, UEFI = "ingot.pxe", "BOOTX64.EFI"

# Client architectures: RFC 4578, section 2.1; 9 is what early drafts of UEFI said.
CONFIGURATION = """\
# dnsmasq: hands Ingot to machines that start from the network.  Interface and addresses come from the command line.
port=0
bind-interfaces
enable-tftp
tftp-root={folder}
dhcp-match=set:bios,option:client-arch,0
dhcp-match=set:uefi,option:client-arch,7
dhcp-match=set:uefi,option:client-arch,9
dhcp-boot=tag:bios,{bios}
dhcp-boot=tag:uefi,{uefi}
# Beside another DHCP server (-F NETWORK,proxy) this is what machines ask for.
pxe-prompt="Ingot",0
pxe-service=x86PC,"Ingot",{bios}
pxe-service=X86-64_EFI,"Ingot",{uefi}
pxe-service=BC_EFI,"Ingot",{uefi}
"""


def main(args):
	if len(args) != 1:
		sys.exit(__doc__)
	build = Path(args[0]).resolve()
	folder = build / "netboot"
	try:
		folder.mkdir(exist_ok=True)
		for name in (BIOS, UEFI):
			shutil.copyfile(build / name, folder / name)
		configuration = folder / "dnsmasq.conf"
		configuration.write_text(CONFIGURATION.format(folder=folder, bios=BIOS, uefi=UEFI))
	except OSError as error:
		sys.exit(f"error: {error}")
	if os.environ.get("NETBOOT", "0") not in ("", "0"):
		return
	print(f"""{folder}: {BIOS} for BIOS, {UEFI} for UEFI, {configuration.name}
Try it:    make run NETBOOT=1; with UEFI=1, too
Serve it:  sudo dnsmasq -d -C {configuration} -i INTERFACE -F FIRST,LAST
           (addresses to give; where another DHCP server gives them: -F NETWORK,proxy)""")


if __name__ == "__main__":
	main(sys.argv[1:])
