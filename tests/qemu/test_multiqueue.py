"""virtio-net with several queue pairs: each frame comes back on the queue pair that it was sent on
(tests/models/vhost_user_net.c, which complains of what the specification forbids a driver)."""
import re
import sys

import pytest

from conftest import BASE, LONG, ROOT, locked
from test_devices import passed

sys.path.insert(0, str(ROOT / "tests" / "models"))
import ixgbe  # noqa: E402 pylint: disable=wrong-import-position
import vhost_user_net  # noqa: E402 pylint: disable=wrong-import-position

MEMORY = "512M"
BUFFERS = 255	# of a reception queue: the driver keeps one of its ring


@pytest.fixture(scope="session")
def model():
	binary = BASE / "models" / "vhost_user_net"
	with locked(binary.with_suffix(".lock")):
		ixgbe.build(binary, vhost_user_net.SOURCE)
	return binary


@pytest.fixture
def mirror(boot, images, model, work):
	"""mirror(pairs, arguments of programs/frames.c, ...): what the program says, and what each queue of the far side
	has seen."""
	plugged = []

	def run(pairs, arguments, *options, cores, device=""):
		far = vhost_user_net.Mirror(model, work / "mirror.log", pairs, *options)
		plugged.append(far)
		machine = boot("all", images.own("frames"), firmware="pvh", machine=ixgbe.backed("q35"), memory=MEMORY,
			cores=cores, args=[*ixgbe.memory_args(MEMORY), *far.args(device)], append=f"mirror=1 {arguments}")
		output = passed(machine, "frames", 900)
		seen, said = far.close()
		assert not said, said
		return output, seen

	yield run
	for far in plugged:
		if far.process.poll() is None:
			print(far.close()[1])


def check(output, seen, count, rounds, filled=0, suppressed=True):
	"""Both sides counted the same: `count` frames on each queue in each round, of so many queues; and, when rings were
	filled between rounds, at most so many more each time."""
	found = re.findall(r"queue (\d+): sent (\d+), received (\d+)$", output, re.M)
	assert found == [(str(queue), str(count), str(count)) for opened in rounds for queue in range(opened)]
	for pair in range(len(seen) // 2):
		sent = count * sum(opened > pair for opened in rounds)
		more = filled * sum(opened > pair for opened in rounds[:-1])
		assert sent <= seen[f"tx{pair}"]["frames"] == seen[f"rx{pair}"]["frames"] <= sent + more, pair
		for kind in ("rx", "tx"):
			queue = seen[f"{kind}{pair}"]
			# The kernel starts with one queue, and keeps it for itself when a program has closed the interface.
			assert bool(queue["starts"]) == (pair < max(rounds)), (kind, pair, queue)
			# The driver rings at the start and when it is asked to, QEMU at each start; nobody is interrupted. (Both
			# are by an index of 16 bits: what is never asked for comes every 65,536 frames.)
			rounds_of_index = queue["frames"] >> 16
			most = queue["asked"] + 2 * queue["starts"] + rounds_of_index
			assert not suppressed or queue["kicks"] <= most, (kind, pair, queue)
			assert queue["calls"] <= rounds_of_index, (kind, pair, queue)


@pytest.mark.parametrize("options", [[], ["reverse"]], ids=["in order", "in another order"])
def test_each_queue(mirror, options):
	"""Four pairs, all lengths, each byte checked, none out of order or on another queue; whatever the order in which
	the device finishes buffers."""
	count = 200000 if LONG else 8000
	output, seen = mirror(4, f"count={count} queues=4", *options, cores=5)
	assert ": net0 525400123456 4 queues" in output
	check(output, seen, count, [4])


@pytest.mark.parametrize("pairs, cores, has, ask, opened", [
	(4, 5, 4, 2, 2),	# a program that wants fewer
	(2, 5, 2, 4, 2),	# a device that has fewer
	(8, 3, 3, 2, 2),	# more than cores
])
def test_as_many_as_there_are(mirror, pairs, cores, has, ask, opened):
	"""As many queues as device, cores and program make; the others are never touched."""
	output, seen = mirror(pairs, f"count=3000 queues={ask}", cores=cores)
	assert f": net0 525400123456 {has} queues" in output
	check(output, seen, 3000, [opened])


def test_again(mirror):
	"""Closed with full rings and opened with another number of queues, each time from nothing: no frame of before."""
	count, rounds = 3000, [4, 1, 3, 2, 4]
	output, seen = mirror(4, f"count={count} fill=1 queues={','.join(map(str, rounds))}", cores=5)
	check(output, seen, count, rounds, filled=BUFFERS)
	assert seen["tx0"]["starts"] > 2 * len(rounds)


@pytest.mark.parametrize("device, most", [
	("host_mtu=9000", 9000), ("event_idx=off", 1514), ("rx_queue_size=1024,tx_queue_size=1024", 1514),
])
def test_variants(mirror, device, most):
	"""Jumbo frames; without what saves doorbells; queues that could be longer."""
	output, seen = mirror(3, f"count=4000 queues=3 most={most}", cores=4, device=device)
	check(output, seen, 4000, [3], suppressed="event" not in device)


RX, TX = 0, 1
IN, OUT = 0x40000, 0x50000	# where a buffer and a frame with its header lie
FRAME = bytes(range(60))


def faults():
	"""What the far side says, and what a driver does: with how it sets up, and the descriptors and heads that differ
	from one good frame's."""
	def case(said, *more, rx=(0,), tx=(0,), **start):
		return pytest.param(said, start, more, rx, tx, id=said)

	write = vhost_user_net.Driver.WRITE
	yield case("tx0: descriptor 256 of 256", tx=[256])
	yield case("rx0: descriptor 0 is given a second time", rx=[0, 0])
	yield case("tx0: descriptor 0 is given a second time", (TX, 0, OUT, 72, 1, 0))
	yield case("tx0: descriptor 0 has flags 4", (TX, 0, OUT, 72, 4))
	yield case("tx0: descriptor 0 is for the other direction", (TX, 0, OUT, 72, write))
	yield case("rx0: descriptor 0 is for the other direction", (RX, 0, IN, 2048))
	yield case("rx0: 2048 bytes at ff801 are no memory", (RX, 0, 0xFF801, 2048, write))
	yield case("tx0: 0 bytes at 50000 are no memory", (TX, 0, OUT, 0))
	yield case("rx0: 2048 bytes at 407ff are in use", (RX, 1, IN + 2047, 2048, write), rx=[0, 1])
	yield case("tx0: 72 bytes at 40000 are in use", (TX, 0, IN, 72))
	yield case("rx0: 2048 bytes at 6000 are in use", (RX, 0, 0x6000, 2048, write))
	yield case("rx0: a buffer of 1525 bytes", (RX, 0, IN, 1525, write))
	yield case("tx0: a buffer of 25 bytes", (TX, 0, OUT, 25))
	yield case("tx0: a buffer of 1531 bytes", (TX, 0, OUT, 1531))
	yield case("rx0: no room for a frame of 1518 bytes", (RX, 0, IN, 1526, write), (TX, 0, OUT, 1530))
	yield case("tx0: index 257 with 0 finished, of 256", tx=[0] * 257)
	yield case("tx0: a header that isn't empty", (TX, 0, OUT + 2, 70))
	yield case("tx0: sends, but is off", enabled=0)
	yield case("rx0: 100 entries", size=100)
	yield case("rx0: a part of the ring is not aligned", shift=8)
	yield case("rx0: finished are 5 buffers, but the ring says 0", base=5)
	yield case("rx0: without VIRTIO_F_VERSION_1", features=0)


@pytest.fixture
def driver(model, work):
	"""driver(): the far side, and a driver that this test is itself."""
	far = vhost_user_net.Mirror(model, work / "mirror.log", 1)
	near = vhost_user_net.Driver(far.path)
	near.describe(RX, 0, IN, 2048, near.WRITE)
	near.describe(TX, 0, OUT, 72)
	near.bytes[OUT + 12:OUT + 72] = FRAME
	yield near, far
	near.close()
	if far.process.poll() is None:
		far.close()


def end(near, far):
	near.socket.close()
	return far.close()[1].splitlines()


@pytest.mark.parametrize("said, start, descriptors, rx, tx", faults())
def test_the_far_side_sees_it(driver, said, start, descriptors, rx, tx):
	"""Each thing that the specification forbids, done on purpose."""
	near, far = driver
	near.start(**start)
	for descriptor in descriptors:
		near.describe(*descriptor)
	near.give(RX, *rx)
	near.wait()
	near.give(TX, *tx)
	near.wait()
	assert end(near, far)[:1] == [f"forbidden: {said}"]


def test_the_far_side_sees_changes(driver):
	"""A descriptor is written while it is the device's."""
	near, far = driver
	near.start()
	near.give(RX, 0)
	near.wait()
	near.describe(RX, 0, IN, 2047, near.WRITE)
	near.give(TX, 0)
	near.wait()
	assert end(near, far) == ["forbidden: rx0: descriptor 0 was changed while it was the device's"]


def test_the_far_side(driver):
	"""What it does with one good frame, in three pieces."""
	near, far = driver
	near.start()
	near.describe(TX, 7, OUT, 12, near.NEXT, 200)
	near.describe(TX, 200, OUT + 12, 1, near.NEXT, 3)
	near.describe(TX, 3, OUT + 13, 59)
	near.give(RX, 0)
	near.give(TX, 7)
	near.wait()
	assert near.finished(TX) == (1, 7, 0) and near.finished(RX) == (1, 0, 72)
	assert near.bytes[IN:IN + 72] == bytes(10) + b"\1\0" + FRAME[6:12] + FRAME[:5] + b"\0" + FRAME[12:]
	assert not end(near, far)
