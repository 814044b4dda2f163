# A thin front over scripts/, kconfiglib, Meson and Ninja: `make help` lists what it does.  It holds no build rules.
ROOT := $(patsubst %/,%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))
# File names are relative to where the caller stands, with `make -C` too.
HERE := $(if $(findstring w,$(firstword -$(MAKEFLAGS))),$(PWD),$(CURDIR))
O ?= $(ROOT)/build
DIR := $(abspath $(if $(filter /%,$(O)),$(O),$(HERE)/$(O)))
export HERE PROGRAM PAYLOAD UEFI EXTERNAL
ifneq ($(origin CC),default)
export CC
endif
export PYTHONDONTWRITEBYTECODE := 1
unexport CFLAGS CXXFLAGS CPPFLAGS LDFLAGS MAKEFLAGS
S := @$(ROOT)/scripts
.PHONY: all image
all: image

image:
	$S/setup $(DIR) build
	$S/kconfig.py $(DIR) sync $(CONFIG)
	$S/build.py $(DIR)

%_defconfig:
	$S/setup $(DIR) build
	$S/kconfig.py $(DIR) defconfig $*
