"""The program guide's examples: compiled with the guide's own commands, and run."""
import os
import re
import socket
import struct
import subprocess

import pytest

from conftest import ROOT
from machine import DEADLINE

GUIDE = (ROOT / "docs" / "program-guide.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.M | re.S)
COMPILE_C = next(code for kind, code in BLOCKS if kind == "sh" and "first.c " in code)


def write_examples(folder):
	"""Each block whose first line names a file, and the commands."""
	commands, names = [], []
	for kind, code in BLOCKS:
		name = re.match(r"(?://|;) ([\w.]+)", code)
		if kind == "sh":
			commands.append(code)
		elif name:
			(folder / name[1]).write_text(code)
			names.append(name[1])
	return commands, names


def compile_all(folder):
	commands, names = write_examples(folder)
	assert {"first.c", "first.cpp", "first.S", "first.asm", "cores.c", "reflect.c", "read.c", "listen.c", "ping.c",
		"before.c", "after.c"} <= set(names)
	for name in names:
		if name.endswith(".c") and name != "first.c":
			commands.append(COMPILE_C.replace("first", name[:-2]))
	for command in commands:
		done = subprocess.run(command.replace(" -O2", " -O2 -Wall -Wextra -Werror"), shell=True, cwd=folder, text=True,
			env={**os.environ, "INGOT": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
		assert done.returncode == 0, f"{command}\n{done.stdout}"


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
	folder = tmp_path_factory.mktemp("guide")
	compile_all(folder)
	return folder


@pytest.mark.parametrize("name, says", [("first.elf", "Hello from C"), ("first_cpp.elf", "Hello from C++"),
	("first_gas.app", "Hello from GNU as"), ("first_nasm.app", "Hello from NASM"),
	("native.app", "Hello from the native interface"), ("cores.elf", "the sum is right"),
	("workers.elf", "all jobs are done"), ("read.elf", "all read")])
def test_example(boot, disk, examples, name, says):
	output = boot(program=examples / name, firmware="pvh", cores=4, disks=[{"file": disk(8)}]).finish()
	assert says in output and "has failed" not in output


def test_device_of_its_own(boot, examples):
	output = boot("qemu_pc", program=examples / "alive.elf", firmware="pvh", args=["-device", "edu"]).finish()
	assert "it lives" in output and "it has interrupted" in output


def test_flat_from_elf(boot, examples):
	"""objcopy makes the flat program, as the guide says."""
	subprocess.run(["objcopy", "-O", "binary", "first.elf", "first.app"], cwd=examples, check=True)
	assert "Hello from C" in boot(program=examples / "first.app", firmware="pvh").finish()


def summed(data):
	"""RFC 1071, over an even number of bytes."""
	total = sum(struct.unpack(f">{len(data) // 2}H", data))
	while total >> 16:
		total = (total & 0xFFFF) + (total >> 16)
	return total ^ 0xFFFF


OURS, PEER = bytes([192, 168, 7, 2]), bytes([192, 168, 7, 1])
MACS = [bytes.fromhex("525400123456"), bytes.fromhex("525400123457")]
PEER_MAC = bytes.fromhex("020102030405")


def arp(target):
	frame = b"\xff" * 6 + PEER_MAC + bytes.fromhex("08060001080006040001") + PEER_MAC + PEER + bytes(6) + target
	return frame + bytes(60 - len(frame))


def ping(to, mac, data, fragment=0):
	icmp = struct.pack(">BBHHH", 8, 0, 0, 0x1234, 7) + data
	icmp = icmp[:2] + struct.pack(">H", summed(icmp)) + icmp[4:]
	ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(icmp), 1, fragment, 64, 1, 0) + PEER + to
	ip = ip[:10] + struct.pack(">H", summed(ip)) + ip[12:]
	return mac + PEER_MAC + b"\x08\0" + ip + icmp


def test_listen(boot, examples):
	ours, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
	machine = boot(program=examples / "listen.elf", firmware="pvh", pass_fds=(far.fileno(),),
		nets=[{"netdev": f"dgram,local.type=fd,local.str={far.fileno()}"}])
	machine.expect("^net0, virtio-net: 525400123456$")
	ours.send(arp(OURS))
	machine.expect("^from 020102030405, type 0806$")
	machine.send("q")
	machine.finish()


def test_ping(boot, examples):
	"""Both cards answer for the address, and for no other; an answer is right to its last bit."""
	pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in MACS]
	machine = boot("all", program=examples / "ping.elf", firmware="pvh",
		pass_fds=tuple(far.fileno() for _, far in pairs),
		nets=[{"netdev": f"dgram,local.type=fd,local.str={far.fileno()}", "device": device}
			for (_, far), device in zip(pairs, ("virtio-net-pci", "e1000e"))])
	machine.expect("^192.168.7.2 answers$")
	for (ours, _), mac in zip(pairs, MACS):
		ours.settimeout(DEADLINE)
		for ignored in (arp(PEER), ping(PEER, mac, bytes(56)), ping(OURS, mac, bytes(56), fragment=0x2000), bytes(60)):
			ours.send(ignored)
		ours.send(arp(OURS))
		head = PEER_MAC + mac + bytes.fromhex("08060001080006040002")
		assert ours.recv(2048)[:42] == head + mac + OURS + PEER_MAC + PEER
		for size in (18, 56, 1472):
			sent = ping(OURS, mac, bytes(i & 255 for i in range(size)))
			ours.send(sent)
			got = ours.recv(2048)
			assert got[:14] == PEER_MAC + mac + b"\x08\0" and got[26:34] == OURS + PEER
			assert got[34] == 0 and got[38:len(sent)] == sent[38:]
			assert summed(got[14:34]) == 0 and summed(got[34:len(sent)]) == 0
	machine.send("q")
	machine.finish()


@pytest.mark.parametrize("name", ["before.elf", "after.elf"])
def test_moved(boot, disk, examples, name):
	image = disk(1)
	with open(image, "r+b") as file:
		file.write(b"what the drive begins with\n")
	machine = boot(program=examples / name, firmware="pvh", disks=[{"file": image}])
	assert "what the drive begins with" in machine.finish()


def test_reflect(boot, examples):
	"""Frames come back as they were, with their addresses exchanged."""
	ours, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
	ours.settimeout(DEADLINE)
	machine = boot(program=examples / "reflect.elf", firmware="pvh", pass_fds=(far.fileno(),),
		nets=[{"netdev": f"dgram,local.type=fd,local.str={far.fileno()}"}])
	machine.expect("^kernel .* program")
	sent = ping(OURS, MACS[0], bytes(range(200)))
	ours.send(sent)
	assert ours.recv(2048) == sent[6:12] + sent[:6] + sent[12:]
