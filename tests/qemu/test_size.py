"""The kernel's size, by configuration: bytes that it must not exceed."""
import pytest

LIMITS = {"qemu_q35": 20480, "virtio_cloud": 13312, "tiny": 12288}


@pytest.mark.parametrize("config", LIMITS)
def test_kernel_bytes(images, config):
	size = (images.folder(config) / "kernel.bin").stat().st_size
	print(f"{config}: {size} bytes")
	assert size <= LIMITS[config], f"{config}: kernel.bin has {size} bytes, {size - LIMITS[config]} too many"


@pytest.mark.parametrize("config", ["qemu_pc", "all"])
def test_other_configurations_build(images, config):
	assert (images.folder(config) / "kernel.bin").stat().st_size
