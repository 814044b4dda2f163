"""Intel's gigabit controllers: all of QEMU's. (What every interface is asked for is in test_traffic.py.)"""
import re

import pytest

from test_devices import IDE_LINE, passed, user_net

ALL = ["e1000", "e1000-82544gc", "e1000-82545em", "e1000e"]


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
