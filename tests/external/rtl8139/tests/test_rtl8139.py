"""QEMU's 8139C+."""
import socket
from pathlib import Path

import pytest

from test_devices import passed, user_net

FOLDER = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("machine, config", [("q35", "qemu_q35"), ("pc", "qemu_pc")])
def test_traffic(boot, echo, images, machine, config):
	"""DHCP, ARP, ping and UDP of every size with the host."""
	kernel = images.outside(FOLDER, config=config) / "kernel.elf"
	output = passed(boot(config, "netcheck", firmware="pvh", kernel=kernel, machine=machine, cores=2,
		nets=[user_net(echo, device="rtl8139")]), "netcheck")
	assert " 10ec:8139 020000 rtl8139: net0 525400123456 1 queues" in output


def test_two(boot, echo, images):
	"""And one of the tree's: no state is shared."""
	nets = [user_net(echo, device=device) for device in ("rtl8139", "virtio-net-pci", "rtl8139")]
	kernel = images.outside(FOLDER) / "kernel.elf"
	output = passed(boot(program="netcheck", firmware="pvh", kernel=kernel, cores=2, nets=nets), "netcheck", 480)
	assert "interfaces=3" in output


def test_link(boot, images):
	machine = boot(program=images.own("link"), firmware="pvh", kernel=images.outside(FOLDER) / "kernel.elf",
		nets=[{"device": "rtl8139"}])
	machine.expect("link: up")
	for up in (False, True, False):
		machine.link(0, up)
		machine.expect("link: up" if up else "link: down")
	machine.expect("link: done")
	machine.finish()


def test_interrupts(boot, images):
	"""on_receive, by INTx: the program sleeps between frames."""
	near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
	far.set_inheritable(True)
	machine = boot(program=images.own("wake"), firmware="pvh", machine="pc", pass_fds=(far.fileno(),),
		kernel=images.outside(FOLDER, config="qemu_pc") / "kernel.elf",
		nets=[{"device": "rtl8139", "netdev": f"dgram,local.type=fd,local.str={far.fileno()}"}])
	machine.expect("wake: ready")
	for number in range(20):
		near.send(b"\xff" * 6 + b"\x52\x54\0\0\0\1" + bytes([8, number]) + bytes(60))
		machine.expect(f"wake: {number + 1} ")
	machine.finish()
