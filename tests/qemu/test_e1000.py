"""Intel's gigabit controllers: all of QEMU's, with traffic, links that go and frames that are none."""
import random
import re
import socket
import struct
import threading

import pytest

from frames import Peer
from test_devices import passed, user_net

E1000 = ["e1000", "e1000-82544gc", "e1000-82545em"]
ALL = E1000 + ["e1000e"]
# QEMU's IDE says so itself where a log is asked for.
IDE_LINE = ["^ahci: IRQ#"]
MAC = b"\x52\x54\0\x12\x34\x56"


def wire():
	"""A pair of sockets with a message a frame: ours, QEMU's."""
	return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def wired(boot, images, far, device, program, **options):
	far.set_inheritable(True)
	return boot("all", images.own(program), firmware="pvh", pass_fds=(far.fileno(),),
		nets=[{"device": device, "netdev": f"dgram,local.type=fd,local.str={far.fileno()}"}], **options)


@pytest.mark.parametrize("device", ALL)
@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_net(boot, echo, machine, device):
	"""DHCP, ARP, ping and UDP of every size with the host."""
	output = passed(boot("all", "netcheck", firmware="pvh", machine=machine, cores=2,
		nets=[user_net(echo, device=device)]), "netcheck")
	assert re.search(rf" {'e1000e' if device == 'e1000e' else 'e1000'}: net0 525400123456 ", output)


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_net_behind_firmware(boot, echo, firmware):
	passed(boot("all", "netcheck", firmware=firmware, cores=2, allowed=IDE_LINE, nets=[user_net(echo, device="e1000"),
		user_net(echo, device="e1000e")]), "netcheck", 480)


def test_eight_mixed(boot, echo):
	"""Eight interfaces of all kinds: numbered as the bus has them, no state is shared."""
	devices = ["e1000", "e1000e", "virtio-net-pci", "e1000-82544gc", "e1000e", "e1000-82545em", "virtio-net-pci",
		"e1000"]
	output = passed(boot("all", "netcheck", firmware="pvh", cores=2, memory="512M",
		nets=[user_net(echo, device=device) for device in devices]), "netcheck", 900)
	assert "interfaces=8" in output
	for number, device in enumerate(devices):
		driver = "virtio-net" if "virtio" in device else "e1000e" if device == "e1000e" else "e1000"
		assert f"net{number} {driver}: register calls" in output


@pytest.mark.parametrize("device", ALL)
def test_link(boot, images, device):
	"""The link goes and comes back, with frames being sent."""
	machine = boot("all", images.own("link"), firmware="pvh", nets=[{"device": device}])
	machine.expect("link: up")
	for up in (False, True, False):
		machine.link(0, up)
		machine.expect("link: up" if up else "link: down")
	machine.expect("link: done")
	machine.finish()


@pytest.mark.parametrize("device, queues, most", [
	("e1000", 1, 1514), ("e1000-82544gc", 1, 1514), ("e1000", 1, 8192),
	("e1000e", 1, 1514), ("e1000e", 2, 1514), ("e1000e", 1, 8192),
])
def test_frames(boot, images, device, queues, most):
	"""Frames of all lengths both ways, every byte checked; with two queues each flow stays on its own."""
	near, far = wire()
	count = 6000 // queues	# QEMU keeps 10,000 frames for a slow peer, then drops
	machine = wired(boot, images, far, device, "frames", cores=queues + 1,
		append=f"count={count} queues={queues} most={most}")
	peer = Peer(near, MAC, count=count, queues=queues, most=most, protocol=6)	# an 82574 spreads TCP by its ports
	machine.expect("frames: ready", 60)
	peer.start()
	verdict = machine.expect(r"^frames: (PASS|FAIL).*$", 300)
	assert verdict[1] == "PASS", verdict[0] + machine._tail()
	peer.finish()
	output = machine.finish()
	for queue in range(queues):
		assert int(re.search(rf"queue {queue}: sent {count}, received (\d+)", output)[1]) > count // 10


def frame(length, end=False, address=MAC):
	"""What programs/whole.c knows; cut to its length."""
	head = address + b"\2\1\2\3\4\5\x88\xb5" + struct.pack("<I", 0 if end else length) + (b"E" if end else b"-") * 4
	return (head + bytes((length + i) & 255 for i in range(22, length)))[:60 if end else length]


def drain(near, got):
	try:
		while True:
			got.append(near.recv(70000))
	except OSError:
		pass


@pytest.mark.parametrize("device, mode", [
	(device, mode) for device in ("e1000", "e1000e") for mode in ("poll", "classic", "callback")
])
def test_only_whole_frames(boot, images, device, mode):
	"""Frames too short, too long and for others, by the thousand; the good ones among them all come, and go back."""
	near, far = wire()
	machine = wired(boot, images, far, device, "whole", append=mode, machine="q35" if mode == "poll" else "pc")
	machine.expect("whole: ready")
	near.settimeout(60)
	got = []
	reader = threading.Thread(target=drain, args=(near, got), daemon=True)
	reader.start()
	chance = random.Random(7)
	sent = {"good": 0, "short": 0, "long": 0}
	for number in range(6000):
		kind = chance.choice(["good", "short", "long", "other"])
		length = {"good": chance.randint(60, 1514), "short": chance.randint(14, 59), "other": chance.randint(60, 1514),
			"long": chance.choice([1523, 1600, 2048, 2049, 4000, 9000, 16383, 16384, 16385, 40000])}[kind]
		address = b"\2\7\7\7\7\7" if kind == "other" else MAC
		near.send(frame(length, address=address))
		if kind in sent:
			sent[kind] += 1
		if number % 100 == 0:
			near.send(bytes(chance.randint(1, 13)))	# not even a header
	near.send(frame(60, end=True))
	output = machine.finish(300)
	found = re.search(r"whole: good (\d+) padded (\d+) wrong (\d+) calls (\d+) dropped (\d+) errors (\d+)", output)
	good, padded, wrong, calls, dropped, errors = map(int, found.groups())
	assert (good, padded, wrong) == (sent["good"], sent["short"], 0), found[0]
	assert errors == (sent["short"] + 60 if device == "e1000e" else 0), found[0]	# counts those that QEMU pads
	assert dropped == sent["long"], found[0]
	assert mode != "callback" or calls > 10
	near.close()
	reader.join(5)
	got = [data for data in got if len(data) > 60]
	assert all(data == frame(len(data)) for data in got)
	assert len(got) > good * 0.9
