#!/usr/bin/python3
"""check_with_linux.py FOLDER: is the model of the 82599 right?  Debian's kernel and its ixgbe driver, which know
nothing of us, move frames through it: DHCP, pings of many sizes, 16 MiB by TCP each way, compared.

FOLDER gets the packages (apt-get download: linux-image, busybox-static; 70 MB) and what is made of them. The last lines
are the summary: complaints of the model, counts of frames and interrupts; check_with_linux.txt has one.
"""
import hashlib
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import ixgbe

SECONDS = 300
MEMORY = "512M"
BYTES = 16 << 20
MODULES = ["dca", "mdio", "mdio-bus", "libphy", "mdio_devres", "fixed_phy", "fwnode_mdio", "pps_core", "ptp",
	"xfrm_algo", "ixgbe"]

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
ip link set lo up; ip link set eth0 up
plain eth0
udhcpc -i eth0 -n -q -t 20 -s /lease && echo "check: lease"
ping -c 300 -i 0.01 -s 1400 -q 10.0.2.2 | grep received
for size in 0 1 17 18 19 46 100 1000 1472; do ping -c 3 -i 0.05 -s $size -q 10.0.2.2 | grep received; done
wget -q -O /data http://10.0.2.2:$(cat /port) && echo "check: down $(md5sum < /data)"
nc 10.0.2.2 $(cat /port2) < /data && echo "check: up"
ip link set eth0 down; ip link set eth0 up; sleep 2
ping -c 50 -i 0.01 -s 1000 -q 10.0.2.2 | grep received
cat /proc/interrupts | grep eth0
cat /proc/net/dev
dmesg | grep -i ixgbe
sleep 1
poweroff -f
"""
LEASE = """#!/bin/busybox sh
[ "$1" = bound ] && ip addr add $ip/24 dev eth0 && ip route add default via $router
exit 0
"""
# Switches segmentation off, which the model doesn't do.
PLAIN = r"""
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
int main(int argc, char **argv)
{
	static const unsigned commands[] = { ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	for (int i = 0; i < 3 && argc > 1; i++) {
		struct ethtool_value value = { commands[i], 0 };
		struct ifreq request = { .ifr_data = (void *)&value };
		strcpy(request.ifr_name, argv[1]);
		if (ioctl(fd, SIOCETHTOOL, &request))
			perror("ethtool");
	}
	return 0;
}
"""


def run(*command, **more):
	return subprocess.run([str(word) for word in command], check=True, **more)


def packages(folder):
	"""The newest kernel that Debian's linux-image-amd64 depends on, unpacked."""
	root = folder / "root"
	if (root / "boot").exists():
		return root
	text = run("apt-cache", "depends", "linux-image-amd64", capture_output=True, text=True).stdout
	kernel = next(line.split()[1] for line in text.splitlines() if "Depends:" in line)
	run("apt-get", "download", kernel, "busybox-static", cwd=folder)
	for package in folder.glob("*.deb"):
		run("dpkg-deb", "-x", package, root)
	return root


class Cpio:
	"""The format of an initramfs."""

	def __init__(self):
		self.data = b""

	def add(self, name, mode, content=b""):
		name = name.encode() + b"\0"
		fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
		head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
		self.data += head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)

	def folder(self, name):
		self.add(name, stat.S_IFDIR | 0o755)

	def file(self, name, content):
		self.add(name, stat.S_IFREG | 0o755, content)


def initramfs(folder, root, ports):
	(folder / "plain.c").write_text(PLAIN)
	run("gcc", "-O1", "-static", "-o", folder / "plain", folder / "plain.c")
	archive = Cpio()
	for name in ("bin", "proc", "sys", "dev", "modules", "tmp"):
		archive.folder(name)
	archive.add("dev/console", stat.S_IFCHR | 0o600)
	archive.file("bin/busybox", next(root.glob("**/bin/busybox")).read_bytes())
	archive.file("bin/plain", (folder / "plain").read_bytes())
	order = []
	for name in MODULES:
		for module in root.glob(f"**/kernel/**/{name}.ko"):
			archive.file(f"modules/{name}.ko", module.read_bytes())
			order.append(f"{name}.ko")
	archive.file("modules/order", "\n".join(order).encode())
	archive.file("init", INIT.encode())
	archive.file("lease", LEASE.encode())
	archive.file("port", str(ports[0]).encode())
	archive.file("port2", str(ports[1]).encode())
	archive.add("TRAILER!!!", 0)
	path = folder / "initramfs"
	path.write_bytes(archive.data)
	return path


class Server:
	"""Gives `data` to whoever asks by HTTP, and keeps what comes on the other port."""

	def __init__(self, data):
		self.data, self.taken = data, b""
		self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
		self.ports = [listener.getsockname()[1] for listener in self.listeners]
		for target in (self._give, self._take):
			threading.Thread(target=target, daemon=True).start()

	def _give(self):
		peer = self.listeners[0].accept()[0]
		peer.recv(65536)
		peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.data) + self.data)
		peer.close()

	def _take(self):
		peer = self.listeners[1].accept()[0]
		while len(self.taken) < len(self.data):
			more = peer.recv(1 << 20)
			if not more:
				break
			self.taken += more
		peer.close()


def main(args):
	if len(args) != 1:
		sys.exit(__doc__)
	folder = Path(args[0]).resolve()
	folder.mkdir(parents=True, exist_ok=True)
	root = packages(folder)
	server = Server(os.urandom(BYTES))
	archive = initramfs(folder, root, server.ports)
	for name in ("card", "qemu", "qtest"):
		(folder / name).unlink(missing_ok=True)
	# A backplane card: an SFP+ one would be asked for its module over I2C.
	card = ixgbe.Card(ixgbe.build(folder / "ixgbe_82599"), folder / "card.log", "id=10f7", "autolink",
		f"qtest={folder}/qtest", via=folder)
	command = ["timeout", SECONDS, "qemu-system-x86_64", "-accel", ixgbe.SINGLE, "-M", ixgbe.backed("q35"),
		*ixgbe.memory_args(MEMORY), "-m", MEMORY, "-smp", "2", "-cpu", "qemu64", "-nodefaults", "-display", "none",
		"-serial", "stdio", "-no-reboot", "-qtest", f"unix:{folder}/qtest,server=on,wait=off", "-qtest-log", "none",
		"-kernel", next((root / "boot").glob("vmlinuz*")), "-initrd", archive,
		"-append", "console=ttyS0 quiet rdinit=/init net.ifnames=0 panic=-1", *card.hub_args(0, "user"), *card.device]
	machine = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
		text=True, errors="replace", pass_fds=[card.qemu.fileno()])
	card.qemu.close()
	output = ""
	for line in machine.stdout:
		output += line
		print(line, end="", flush=True)
	machine.wait()
	count = card.count()
	said = card.close()
	md5 = hashlib.md5(server.data).hexdigest()
	good = f"check: down {md5}" in output and server.taken == server.data and "check: lease" in output
	print(f"\nmodel: {len([line for line in said.splitlines() if line.startswith('forbidden')])} forbidden, "
		f"{len([line for line in said.splitlines() if line.startswith('advice')])} advice")
	print(said + "\n".join(f"{name} {value}" for name, value in count.items() if value))
	print(f"down {'same' if f'check: down {md5}' in output else 'WRONG'}, "
		f"up {'same' if server.taken == server.data else 'WRONG'}")
	sys.exit(not good or "forbidden" in said)


if __name__ == "__main__":
	main(sys.argv[1:])
