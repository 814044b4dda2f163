"""The harness itself: a machine that does something forbidden must be noticed."""
import subprocess

import pytest

KERNEL = r"""
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18
	.asciz "Xen"
	.long start
	.text
	.code32
	jmp start
	.balign 8
	.ascii "Ingot\0\0\0"
	.globl start
start:	mov $text, %esi
	mov $0x3F8, %dx
1:	lodsb
	test %al, %al
	jz 2f
	outb %al, %dx
	jmp 1b
2:	BODY
	mov $0x604, %dx		# q35's PM1 control register: S5
	mov $0x2000, %ax
	outw %ax, %dx
3:	hlt
	jmp 3b
text:	.asciz "stand-in\n"
"""
BODIES = {
	"quiet": "nop",
	"forbidden": "mov 0xD0000000, %eax",	# nothing there
	"panic": "mov $1, %al; out %al, $0xF4",
	"reset": "mov $0xFE, %al; out %al, $0x64; cli; hlt",
}


@pytest.fixture
def stand_in(work):
	def build(body):
		source, kernel = work / "kernel.S", work / "kernel.elf"
		source.write_text(KERNEL.replace("BODY", BODIES[body]))
		subprocess.run(["gcc", "-m32", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,-z,noexecstack",
			"-Wl,-Ttext=0x100000,-e,start", "-o", kernel, source], check=True)
		return kernel

	return build


def start(boot, stand_in, body, **options):
	return boot(firmware="pvh", kernel=stand_in(body), memory="64M", **options)


def test_power_off(boot, stand_in):
	assert start(boot, stand_in, "quiet").finish() == "stand-in\n"


def test_forbidden_access_is_seen(boot, stand_in):
	machine = start(boot, stand_in, "forbidden", allowed=["Invalid read at addr 0xD0000000"])
	machine.finish()
	assert "Invalid read at addr 0xD0000000" in machine.guest_errors()


def test_panic_exit(boot, stand_in):
	assert start(boot, stand_in, "panic").wait() == 3


def test_reset_is_no_power_off(boot, stand_in):
	machine = start(boot, stand_in, "reset")
	with pytest.raises(AssertionError, match="guest-reset"):
		machine.finish()


def test_silence_is_reported(boot, stand_in):
	machine = start(boot, stand_in, "quiet")
	with pytest.raises(AssertionError, match="QEMU ended"):
		machine.expect("never said")
