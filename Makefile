# A thin front over scripts/, kconfiglib, Meson and Ninja.  It holds no build rules; `make help` lists what it does.
ROOT := $(patsubst %/,%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))
# Names of files and folders are relative to where the caller stands, with make -C too.
HERE := $(if $(findstring w,$(firstword -$(MAKEFLAGS))),$(PWD),$(CURDIR))
O ?= $(ROOT)/build
DIR := $(abspath $(if $(filter /%,$(O)),$(O),$(HERE)/$(O)))
S := @$(ROOT)/scripts
export HERE PROGRAM PAYLOAD UEFI MACHINE CORES QEMU_ARGS
export PYTHONDONTWRITEBYTECODE := 1
unexport CFLAGS CXXFLAGS CPPFLAGS LDFLAGS MAKEFLAGS
ifneq ($(origin EXTERNAL),undefined)
export EXTERNAL
endif
ifneq ($(origin CC),default)
export CC
endif

.PHONY: build run image size test test-long bench check where debug menuconfig oldconfig savedefconfig clean help
.DEFAULT_GOAL := image

TOOLS := build
run bench: TOOLS := build run
debug: TOOLS := build run debug

run: build
	$S/qemu.py run $(DIR)

debug: build
	$S/qemu.py debug $(DIR)

image: build
	$S/size.py $(DIR)

build:
	$S/setup $(TOOLS)
	$S/kconfig.py $(DIR) sync $(CONFIG)
	$S/build.py $(DIR)

size: build
	$S/size.py $(DIR) --symbols

test:
	$S/setup build run test
	$S/test $(DIR)

test-long: export INGOT_LONG := 1
test-long: test

bench:
	$S/setup $(TOOLS)
	$S/bench.py $(DIR)

check:
	$S/setup build run test
	$S/lint.py

where:
	$S/where.py $(DIR) $(AT)

%_defconfig:
	$S/setup build
	$S/kconfig.py $(DIR) defconfig $*

menuconfig oldconfig savedefconfig:
	$S/setup build
	$S/kconfig.py $(DIR) $@ $(CONFIG)

clean:
	$S/build.py $(DIR) --clean

help:
	@sed -n 's/^#: \{0,1\}//p' $(ROOT)/Makefile

#: make [TARGET] [VARIABLE=VALUE...]
#:
#:   image (default)  build the kernel and DIR/ingot.img (BIOS and UEFI), DIR/BOOTX64.EFI, DIR/kernel.bin, DIR/kernel.elf
#:   run              boot the image in QEMU on this terminal; Ctrl-A X leaves
#:   debug            the same, stopped, with gdb attached
#:   where AT=ADDRESS  the function and line of an address; without AT, of those in a panic report on standard input
#:   size             bytes of each driver, folder and function
#:   test             all tests
#:   test-long        and those that take minutes
#:   bench            instructions and device accesses of calls, frames and blocks
#:   check            style rules
#:
#:   NAME_defconfig   take the configuration configs/NAME_defconfig
#:   menuconfig       change it in menus
#:   oldconfig        ask for what is new in Kconfig
#:   savedefconfig    write it to DIR/defconfig, or with CONFIG=NAME to configs/NAME_defconfig
#:   clean            remove what was built; the configuration stays
#:
#:   O=DIR            build folder, default build/
#:   CONFIG=NAME      build what configs/NAME_defconfig says, default qemu_q35
#:   PROGRAM=FILE     the program in the image: flat or static ELF64; default the monitor
#:   PAYLOAD=FILE     instead of a program: a flat payload for 0x1E0000
#:   UEFI=1           run and debug: boot through UEFI firmware
#:   CORES=N          run and debug: cores
#:   MACHINE=NAME     run and debug: q35 (default), pc, or microvm (which boots without firmware)
#:   QEMU_ARGS=...    run and debug: more arguments for QEMU
#:   EXTERNAL=DIR:... folders with drivers from outside the tree; the build folder remembers them, EXTERNAL= forgets
#:   CC=clang         another compiler, default gcc
