"""The driver of the 82599 against a model of the card (tests/models), which complains of what the datasheet forbids."""
import re
import sys

import pytest

from conftest import BASE, LONG, ROOT, locked
from frames import Flood, Peer
from test_devices import IDE_LINE, passed

sys.path.insert(0, str(ROOT / "tests" / "models"))
import ixgbe  # noqa: E402 pylint: disable=wrong-import-position

MAC = bytes.fromhex("525400825990")
MEMORY = "512M"


@pytest.fixture(scope="session")
def model():
	binary = BASE / "models" / "ixgbe_82599"
	with locked(binary.with_suffix(".lock")):
		if not binary.exists() or binary.stat().st_mtime < ixgbe.SOURCE.stat().st_mtime:
			ixgbe.build(binary)
	why = ixgbe.refused(binary, binary.with_suffix(".log"))
	if why:
		pytest.skip(why)
	return binary


@pytest.fixture
def cards(boot, model, work):
	"""cards(n, options, program=...): a machine with n cards, which have nothing to complain of at its end."""
	plugged = []

	class Bench:
		allowed = ()	# complaints that a test provokes

		def card(self, *options, user=None):
			number = len(plugged)
			via = work / f"wire{number}"
			if user:
				via.mkdir()
			card = ixgbe.Card(model, work / f"card{number}.log", *options, via=via if user else None)
			card.args = (card.hub_args(number, user) if user else []) + card.device
			plugged.append(card)
			return card

		def boot(self, program, *, machine="q35", args=(), config="all", firmware="pvh", **more):
			args = [*ixgbe.memory_args(MEMORY), *args]
			for card in plugged:
				args += card.args
			started = boot(config, program, firmware=firmware, machine=ixgbe.backed(machine), memory=MEMORY, args=args,
				accel=ixgbe.SINGLE, pass_fds=[card.qemu.fileno() for card in plugged], allowed=IDE_LINE, **more)
			for card in plugged:
				card.qemu.close()	# so that the card sees QEMU's end
			return started

	bench = Bench()
	yield bench
	for card in plugged:
		said = [line for line in card.close().splitlines() if not any(re.search(rule, line) for rule in bench.allowed)]
		assert not said, "\n".join(said[:20])


def user(echo):
	return f"user,bootfile=udp:{echo.port}"


@pytest.mark.parametrize("machine, firmware, cores", [("q35", "pvh", 1), ("q35", "bios", 4), ("pc", "bios", 2)])
def test_net(cards, echo, machine, firmware, cores):
	"""DHCP, ARP, ping and UDP of every size, through the card and QEMU's user network."""
	card = cards.card(*(["memory32"] if machine == "pc" else []), user=user(echo))
	output = passed(cards.boot("netcheck", machine=machine, firmware=firmware, cores=cores), "netcheck")
	assert "ixgbe" in output and f"net0 525400825990 {cores} queues" in output
	count = card.count()
	assert count["tx0"] and count["rx0"]
	assert cores < 4 or all(count[f"tx{queue}"] for queue in range(4))


def test_three_cards(cards, echo):
	"""No state is shared."""
	for number in range(3):
		cards.card(f"mac=52540000000{number}", user=user(echo))
	output = passed(cards.boot("netcheck", cores=2), "netcheck", 400)
	assert "interfaces=3" in output and "net2 525400000002" in output


def traffic(cards, images, *, count, queues=1, most=1514, options=()):
	card = cards.card(*options)
	card("lossless 1")
	machine = cards.boot(images.own("frames"), cores=queues + 1,
		append=f"count={count} queues={queues} most={most}")
	machine.expect("frames: ready")
	peer = Peer(card.frames, MAC, count=count, queues=queues, most=most)
	peer.start()
	passed(machine, "frames", 900)
	peer.finish()
	assert len(peer.lengths) == min(count, most - 59)
	return card.count()


@pytest.mark.parametrize("queues, most", [(1, 1514), (4, 1514), (2, 9724), (8, 1514)])
def test_traffic(cards, images, queues, most):
	"""All lengths both ways, every byte checked, in order; receive queues by RSS."""
	frames = 200000 if LONG else 20000
	count = traffic(cards, images, count=frames, queues=queues, most=most)
	assert sum(count[f"rx{queue}"] for queue in range(queues)) == frames
	for queue in range(queues):
		assert count[f"tx{queue}"] == frames
		assert count[f"rx{queue}"] > frames // queues // 8
		assert not count[f"rx{queue}_dropped"]
	assert count["doorbells"] < frames * (queues + 1) / 4
	assert count["reads"] < 600 + 10 * queues	# none on the data path


@pytest.mark.parametrize("options, said", [
	("hang=reset", "no reset"), ("hang=eeprom", "no reset"), ("hang=dma", "no reset"), ("hang=rxq", "no queues"),
	("hang=txq", "no queues"), ("hang=path", "no queues"), ("eeprom=bad", "no good EEPROM"),
	("eeprom=none", "no good EEPROM"), ("mac=010203040506", "no address"), ("mac=000000000000", "no address"),
])
def test_broken_cards(cards, options, said):
	"""A card that never gets there is named with the cause and left alone, silent; the machine runs on."""
	card = cards.card(options)
	machine = cards.boot("hello")
	output = machine.finish()
	assert "0 interfaces" in output
	line = re.search(r"^.*8086:10fb.*$", output, re.M | re.I)[0]
	assert re.search(said, line), line
	assert not card.count()["bme"]


def test_bus_that_stays_busy(cards, echo):
	"""PCIe Master Enable Status never clears: the buffers are flushed and the card is reset twice (s.5.2.5.3.2)."""
	cards.card("hang=master", user=user(echo))
	passed(cards.boot("netcheck"), "netcheck")


def test_transmission_that_never_ends(cards, images):
	"""Calls come back at their deadline, count errors, and the machine powers off."""
	card = cards.card("hang=tx")
	machine = cards.boot(images.own("link"))
	machine.expect("link: up")
	for up in (0, 1, 0):
		card(f"link {up}")
		machine.expect("link: up" if up else "link: down")
	machine.finish()


def test_link(cards, images):
	"""Pulled and returned with frames under way."""
	card = cards.card("nolink")
	machine = cards.boot(images.own("link"))
	machine.expect("link: down")
	for up in (1, 0, 1):
		card(f"link {up}")
		machine.expect("link: up" if up else "link: down")
		card.frames.send(b"\xff" * 6 + MAC + bytes([8, 0]) + bytes(46))
		if up:
			machine.expect("frames come")
	machine.expect("link: done")
	machine.finish()
	assert card.count()["tx0"]


def test_frames_that_are_none(cards, images):
	"""Too short, too long, for others, cut: none reaches the program; good ones between them all do."""
	card = cards.card()
	card("lossless 1")
	count = 2000
	machine = cards.boot(images.own("frames"), cores=2, append=f"count={count}")
	machine.expect("frames: ready")
	peer = Peer(card.frames, MAC, count=count)
	send = peer.socket.send
	number = 0

	class Noise:
		"""Rubbish in front of every frame."""
		def __getattr__(self, name):
			return getattr(card.frames, name)

		def send(self, frame):
			nonlocal number
			number += 1
			send((b"\2\7\7\7\7\7" + frame[6:], frame[:59], frame[:14], b"\xff" * 13, MAC + bytes(1509),
				MAC + bytes(9000), frame[:1])[number % 7])
			return send(frame)

	peer.socket = Noise()
	peer.start()
	output = passed(machine, "frames")
	peer.finish()
	stats = dict(re.findall(r"(\w+) (\d+)", re.search("^net0 ixgbe .*$", output, re.M)[0]))
	assert int(stats["rx"]) == count
	assert int(stats["dropped"]) == len([n for n in range(1, count + 1) if n % 7 in (4, 5)])
	assert int(stats["errors"]) == len([n for n in range(1, count + 1) if n % 7 in (1, 2, 3, 6)])


def test_overrun(cards, images):
	"""A peer that never waits, and a program that looks away now and then: what was accepted is whole and in order,
	what the ring can't hold is counted, frame by frame."""
	card = cards.card()
	machine = cards.boot(images.own("flood"), cores=2)
	seconds = 60 if LONG else 3
	peer = Flood(card.frames, MAC, seconds)
	machine.expect("flood: ready")
	peer.start()
	output = passed(machine, "flood", seconds + 120)
	peer.finish()
	found = re.search(r"net0 ixgbe: received (\d+) missing (\d+) wrong 0 dropped (\d+) errors 0", output)
	received, missing, dropped = map(int, found.groups())
	assert received + dropped == peer.sent and received > 100 * seconds
	assert dropped and missing <= dropped	# those behind the last one received leave no gap


def test_interrupts(cards, images, work):
	"""on_receive by MSI-X, which reaches the machine through QEMU's test socket."""
	path = work / "qtest"
	card = cards.card(f"qtest={path}")
	machine = cards.boot(images.own("wake"), args=["-qtest", f"unix:{path},server=on,wait=off", "-qtest-log", "none"])
	machine.expect("wake: ready")
	for number in range(20):
		card.frames.send(b"\xff" * 6 + MAC + bytes([8, number]) + bytes(60))
		machine.expect(f"wake: {number + 1} ")
	machine.finish()
	assert card.count()["interrupts"] >= 20


POKES = {
	"dd": "given with DD set", "rx tail": "before ENABLE was read", "tx tail": "before ENABLE was read",
	"paylen": "PAYLEN 64, but", "crc": "RDRXCTL.CRCStrip 0", "mtqc": "MTQC is changed", "te": "before DMATXCTL.TE",
	"master": "Bus Master Enable off", "changed": "changed while the card owned it", "length": "a ring of 200 bytes",
	"place": "a ring at", "width": "with 2 bytes", "reset": "before the reset has cleared",
	"busy": "a reset while queues are on", "unready": "before EEC.Auto_RD and", "many": "passes the head",
	"outside": "tail 16 in a ring of 16", "memory": "is no memory", "moved": "while the queue is on",
	"same": "have one buffer",
}


def test_the_model_sees_it(cards, images):
	"""Each thing that the datasheet forbids, done on purpose by a program."""
	card = cards.card()
	cards.allowed = [".*"]
	machine = cards.boot(images.own("poke_82599"), config="qemu_q35")
	before = 0
	for name, said in POKES.items():
		machine.expect(f"poke: {name}\n")
		machine.expect("poked")
		complaints = card("complaints").splitlines()
		assert any(said in line for line in complaints[before:]), (name, complaints[before:])
		before = len(complaints)
		machine.send("x")
	machine.finish()
	assert card.count()["forbidden"] >= len(POKES) - 1	# "unready" is only against advice
