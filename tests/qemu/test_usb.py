"""USB: xHCI controllers of two kinds, keyboards at them and behind hubs, plugged in and out while the machine runs."""
import time

import pytest

CONTROLLERS = ["qemu-xhci", "nec-usb-xhci"]
KEYBOARD = r"usb {} 0627:0001 030101 usb-kbd:$"


@pytest.fixture
def started(boot, images):
	"""A machine whose program says what is typed, with these devices; it has no other keyboard than theirs."""
	def start(*devices, machine="q35", **options):
		args = [word for device in devices for word in ("-device", device)]
		options.setdefault("firmware", "pvh")
		options.setdefault("boot_device", "virtio-blk-pci")
		return boot("all", program=images.own("console", flat=options["firmware"] != "pvh"), machine=machine, args=args,
			**options)

	return start


def typed(machine, keys, characters):
	machine.type(keys)
	machine.expect("[^<]*".join(f"<{character:02X}>" for character in characters))	# log lines may come between


def finish(machine):
	machine.type(["q"])
	machine.expect("<71>")
	return machine.finish()


@pytest.mark.parametrize("machine, firmware", [("q35,i8042=off", "pvh"), ("pc,i8042=off", "bios"), ("q35", "uefi")])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_keyboard(started, controller, machine, firmware):
	"""After whatever the firmware has done with the controller; on q35 the mouse and the tablet are named, no more."""
	guest = started(controller, "usb-kbd,port=1", "usb-tablet,port=2", "usb-mouse,port=3", machine=machine,
		firmware=firmware)
	guest.expect(KEYBOARD.format("0-[1-8]"))
	guest.expect("usb 0-[1-8] 0627:0001 030000 no driver")
	guest.expect("usb 0-[1-8] 0627:0001 030102 no driver")
	typed(guest, ["h", "shift-i", "1", "shift-1", "up", "down", "left", "right", "ret", "backspace", "kp_5", "tab"],
		b"hI1!\x04\x05\x03\x02\x1C\x0E5\t")
	finish(guest)


@pytest.mark.parametrize("options", ["", ",msix=off", ",msix=off,msi=off"])
def test_interrupts(started, options):
	"""MSI-X, MSI and the line."""
	guest = started("nec-usb-xhci" + options, "usb-kbd", firmware="bios", cores=2)
	guest.expect(KEYBOARD.format("0-5"))
	typed(guest, "abc", b"abc")
	finish(guest)


def test_all_keys(started):
	"""Every key with a character, alone and with shift."""
	guest = started("qemu-xhci", "usb-kbd")
	guest.expect(KEYBOARD.format("0-5"))
	keys = ["minus", "equal", "bracket_left", "bracket_right", "backslash", "semicolon", "apostrophe", "grave_accent",
		"comma", "dot", "slash"]
	plain, shifted = "-=[]\\;'`,./", "_+{}|:\"~<>?"
	digits, signs, letters = "1234567890", "!@#$%^&*()", "abdefghijklmnoprtuvwxyz"	# c and s are commands
	typed(guest, [*digits, *letters, *keys, "spc", "esc"], (digits + letters + plain + " \x1B").encode())
	typed(guest, [f"shift-{key}" for key in [*digits, *letters, *keys]], (signs + letters.upper() + shifted).encode())
	typed(guest, ["caps_lock", "a", "shift-a", "1", "caps_lock", "a", "ctrl-a"], b"Aa1a\x01")
	finish(guest)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_hub(started, controller):
	"""One behind the other, three deep; what is plugged into the last one."""
	guest = started(f"{controller},id=x", "usb-hub,port=1", "usb-hub,port=1.3", "usb-hub,port=1.3.8",
		"usb-kbd,port=1.3.8.2", "usb-tablet,port=1.4")
	guest.expect(KEYBOARD.format(r"0-5\.3\.8\.2"))
	typed(guest, "abc", b"abc")
	guest.hmp("device_add usb-kbd,id=k,port=1.2")
	guest.expect(KEYBOARD.format(r"0-5\.2"))
	typed(guest, "def", b"def")
	guest.hmp("device_del k")
	guest.expect(r"usb 0-5\.2: gone")
	typed(guest, "ghi", b"ghi")
	finish(guest)


def test_storage_beside(started, disk):
	"""A USB 3 device without a driver."""
	guest = started("qemu-xhci", "usb-kbd", disks=[{"file": disk(4), "device": "usb-storage"}])
	guest.expect("usb 0-[1-4] 46f4:0001 080650 no driver")
	guest.expect(KEYBOARD.format("0-5"))
	typed(guest, "ab", b"ab")
	finish(guest)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_hot_plug(started, controller):
	"""Ten times, at the controller and in its place behind a hub; the keys reach the one that came last."""
	guest = started(f"{controller},id=x", "usb-hub,port=2")
	guest.expect("usb-hub:$")
	for number in range(10):
		place, name = (("", "0-5"), (",port=2.1", r"0-6\.1"))[number & 1]
		guest.hmp(f"device_add usb-kbd,id=k{place}{',port=1' if not place else ''}")
		guest.expect(KEYBOARD.format(name))
		typed(guest, "ab", b"ab")
		guest.hmp("device_del k")
		guest.expect(f"usb {name}: gone")
	guest.hmp("device_add usb-kbd,id=k")
	guest.expect("usb-kbd:$")
	finish(guest)


def test_bouncing(started):
	"""In and out faster than it can be asked what it is."""
	guest = started("qemu-xhci,id=x", "usb-kbd,port=1")
	guest.expect(KEYBOARD.format("0-5"))
	for number in range(60):
		guest.hmp("device_add usb-kbd,id=k,port=2")
		time.sleep(0.012 * (number % 20))
		guest.hmp("device_del k")
	typed(guest, "ab", b"ab")
	guest.hmp("device_add usb-kbd,id=k,port=2")
	guest.expect(KEYBOARD.format("0-6"))
	time.sleep(0.5)
	typed(guest, "bd", b"bd")
	finish(guest)


def test_yanked_while_typing(started):
	"""The key that is down, and the report on its way, go with the keyboard."""
	guest = started("qemu-xhci,id=x", "usb-kbd,port=1")
	guest.expect(KEYBOARD.format("0-5"))
	for _ in range(5):
		guest.hmp("device_add usb-kbd,id=k,port=2")
		guest.expect(KEYBOARD.format("0-6"))
		guest.hmp("sendkey shift-a 300")
		guest.hmp("device_del k")
		guest.expect("0-6: gone")
	guest.hmp("device_add usb-kbd,id=k,port=2")
	guest.expect(KEYBOARD.format("0-6"))
	time.sleep(2)	# QEMU lets go of those keys, too
	finish(guest)


def test_two_controllers(started):
	guest = started("qemu-xhci,id=x", "nec-usb-xhci,id=y", "usb-kbd,bus=y.0,port=1", "usb-tablet,bus=x.0,port=2")
	guest.expect(KEYBOARD.format("1-5"))
	typed(guest, "ab", b"ab")
	guest.hmp("device_add usb-kbd,bus=x.0,port=1,id=k")
	guest.expect(KEYBOARD.format("0-5"))
	typed(guest, "de", b"de")
	guest.hmp("device_del k")
	guest.expect("usb 0-5: gone")
	typed(guest, "fg", b"fg")
	finish(guest)


@pytest.mark.parametrize("controller",
	[*CONTROLLERS, "nec-usb-xhci,slots=1", "qemu-xhci,p2=1,p3=1", "qemu-xhci,p2=15,p3=15"])
def test_empty(started, controller):
	"""Nothing is plugged in: nothing is said of it, and the program runs."""
	guest = started(controller)
	guest.expect("^ready$")
	time.sleep(0.5)
	guest.send("q")
	assert "usb" not in guest.finish()
