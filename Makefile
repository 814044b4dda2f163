# A thin front over scripts/, kconfiglib, Meson and Ninja.  It holds no build rules; `make help` lists what it does.
ROOT := $(patsubst %/,%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))
# Names of files and folders are relative to where the caller stands, with make -C too.
HERE := $(if $(findstring w,$(firstword -$(MAKEFLAGS))),$(PWD),$(CURDIR))
OUT := $(or $(O),$(ROOT)/build)
DIR := $(abspath $(if $(filter /%,$(OUT)),$(OUT),$(HERE)/$(OUT)))
ifneq ($(words $(ROOT)) $(words $(DIR)),1 1)
$(error the names of the tree's folder and of the build folder must not have blanks)
endif
S := @$(ROOT)/scripts
export HERE PROGRAM PAYLOAD FORMAT UEFI NETBOOT MACHINE CORES DISK QEMU_ARGS GDB_ARGS LSPCI LOG
export PYTHONDONTWRITEBYTECODE := 1
unexport CFLAGS CXXFLAGS CPPFLAGS LDFLAGS MAKEFLAGS
ifneq ($(origin EXTERNAL),undefined)
export EXTERNAL
endif
ifneq ($(origin CC),default)
export CC
endif

.PHONY: build run image netboot dist size test test-long bench check docs format where debug menuconfig oldconfig \
	savedefconfig clean help guessconfig diffconfig size-plot costs test-configs bench-compare
.DEFAULT_GOAL := image

TOOLS := build
run bench bench-compare size: TOOLS := build run
image: TOOLS := build $(if $(filter-out raw,$(FORMAT)),image)
debug: TOOLS := build run debug

run: $(if $(filter-out 0,$(NETBOOT)),netboot,build)
	$S/qemu.py run $(DIR)

debug: build
	$S/qemu.py debug $(DIR)

image: build
	$S/size.py $(DIR)

dist: build
	@meson dist -C $(DIR) --no-tests --formats xztar

netboot: export FORMAT := pxe
netboot: build
	$S/netboot.py $(DIR)

build:
	$S/setup $(TOOLS)
	$S/kconfig.py $(DIR) sync "$(CONFIG)"
	$S/build.py $(DIR)

size: build
	$S/size.py $(DIR) --all "$(BASE)"

size-plot: build
	$S/sizeplot.py $(DIR)

costs:
	$S/setup build
	$S/costs.py $(DIR) $(if $(WRITE),--write) $(OPTIONS)

test:
	$S/setup build image run test check debug
	$S/test $(DIR)

test-long: export INGOT_LONG := 1
test-long: test

test-configs: export INGOT_CONFIGS := $(or $(N),20)
test-configs: export INGOT_TEST_DIR := $(DIR)/test
test-configs:
	$S/setup build image run test
	@cd $(ROOT) && /usr/bin/python3 -m pytest -q -n 2 -p no:cacheprovider tests/qemu/test_random.py

bench:
	$S/setup $(TOOLS)
	$S/bench.py $(DIR) $(ONLY)

bench-compare:
	$S/setup $(TOOLS)
	$S/bench.py $(DIR) --base "$(BASE)" $(ONLY)

check:
	$S/setup build check
	$S/check.py $(DIR)

docs:
	$S/setup check
	$S/docs.py $(DIR)

format:
	$S/setup check
	$S/check.py $(DIR) --format

where:
	$S/where.py $(DIR) $(AT)

%_defconfig:
	$S/setup build
	$S/kconfig.py $(DIR) defconfig $*

menuconfig oldconfig savedefconfig:
	$S/setup build
	$S/kconfig.py $(DIR) $@ "$(CONFIG)"

guessconfig:
	$S/setup build
	$S/guessconfig.py $(DIR)

diffconfig:
	$S/setup build
	$S/kconfig.py $(DIR) diffconfig "$(A)" "$(B)"

clean:
	$S/build.py $(DIR) --clean

help:
	@sed -n 's/^#: \{0,1\}//p' $(ROOT)/Makefile

#: make [TARGET] [VARIABLE=VALUE...]
#:
#:   image (default)  build the kernel and DIR/ingot.img (BIOS and UEFI), DIR/BOOTX64.EFI, DIR/kernel.bin, DIR/kernel.elf
#:   netboot          the same for machines that start from the network, in DIR/netboot, and how to serve it
#:   dist             the tarball of a release, of what is committed: DIR/meson-dist/ingot-VERSION.tar.xz
#:   run              boot the image in QEMU on this terminal; Ctrl-A X leaves
#:   debug            the same, stopped, with gdb attached
#:   where AT=ADDRESS  the function and line of an address; without AT, of those in a panic report on standard input
#:   size             bytes of each folder, file, option and function, memory of drivers, and what has changed since
#:                    the build before, or since BASE=DIR, another build folder
#:   size-plot        draw it: DIR/size.svg
#:   costs            what each option adds to kernel.bin, measured; OPTIONS="A B" only these, WRITE=1 into the helps
#:   test             all tests
#:   test-long        and those that take minutes
#:   test-configs     N=20 random configurations, built with gcc and clang and booted
#:   bench            instructions and device accesses of booting, calls, frames and blocks; ONLY="calls e1000" chooses
#:   bench-compare BASE=FILE  the same against an earlier bench.json; an error if something has risen by more than 2 %
#:   check            static analysis of the sources, style rules
#:   docs             the guides and the reference of the headers, in DIR/docs/html
#:   format           lay the sources out as clang-format does
#:
#:   NAME_defconfig   take the configuration configs/NAME_defconfig
#:   menuconfig       change it in menus
#:   oldconfig        ask for what is new in Kconfig
#:   savedefconfig    write it to DIR/defconfig, or with CONFIG=NAME to configs/NAME_defconfig
#:   guessconfig      write one for this machine, or for the one in LSPCI=FILE (lspci -nn) or LOG=FILE (Ingot's boot log)
#:   diffconfig       what differs between A=NAME and B=NAME, which may also be files or build folders
#:   clean            remove what was built; the configuration stays
#:
#:   O=DIR            build folder, default build/
#:   CONFIG=NAME      build what configs/NAME_defconfig says, default qemu_q35
#:   PROGRAM=FILE     the program in the image: flat or static ELF64; default the monitor
#:   PAYLOAD=FILE     instead of a program: a flat payload for 0x1E0000
#:   FORMAT=NAME      image: DIR/ingot.NAME, too: qcow2, vdi, vmdk, vhdx or iso
#:   UEFI=1           run and debug: boot through UEFI firmware
#:   NETBOOT=1        run: boot from the network, which QEMU serves DIR/netboot on
#:   CORES=N          run and debug: cores
#:   MACHINE=NAME     run and debug: q35 (default), pc, or microvm (which boots without firmware)
#:   DISK=FILE        run and debug: one more drive
#:   QEMU_ARGS=...    run and debug: more arguments for QEMU
#:   GDB_ARGS=...     debug: more arguments for gdb
#:   EXTERNAL=DIR:... folders with drivers from outside the tree; the build folder remembers them, EXTERNAL= forgets
#:   CC=clang         another compiler, default gcc
