// video/vga.c - the 80x25 text mode of a VGA card, as a BIOS leaves it.
// QEMU: -vga std and others, with a loader that keeps text mode, or with -kernel.
#include "vga_regs.h"
#include <boot_info.h>
#include <display.h>
#include <driver.h>
#include <mem.h>
#include <mmio.h>
#include <pio.h>

#define COLUMNS 80
#define CELLS (COLUMNS * 25)
#define BLANKS 0x0720072007200720 // grey on black

struct vga {
	struct text_screen scr;
	uint8_t *memory;
	uint8_t cells[TEXT_BYTES(COLUMNS, CELLS)];
};

static void vga_draw(struct text_screen *scr, uint32_t at)
{
	struct vga *vga = container_of(scr, struct vga, scr);
	uint64_t group = 0;
	for (uint32_t i = TEXT_GROUP; i--;) {
		uint8_t cell = scr->cells[at + i];
		group = group << 16 | ((cell & 0x80 ? 0x7020 : 0x0720) + (cell & 0x7F));
	}
	mmio_write64(vga->memory + at * 2, group);
}

// A card is there, and in text mode; what a driver or a firmware has put elsewhere is left alone.
static bool vga_text_mode(void)
{
	if (pio_read8(VGA_MISC) == 0xFF)
		return false;
	pio_write8(VGA_GRAPHICS, VGA_GRAPHICS_MISC);
	return (pio_read8(VGA_GRAPHICS + 1) & 0x0F) == VGA_TEXT_B8000;
}

static int vga_probe(void)
{
	struct vga *vga;
	if (boot.framebuffer || !vga_text_mode())
		return E_NODEV;
	vga = kzalloc(sizeof(*vga));
	if (!vga)
		return E_NOMEM;
	vga->memory = mem_map_device(VGA_TEXT, CELLS * 2);
	if (!vga->memory) {
		kfree(vga, sizeof(*vga));
		return E_NOMEM;
	}
	vga->scr.draw = vga_draw;
	vga->scr.cells = vga->cells;
	vga->scr.columns = COLUMNS;
	vga->scr.count = CELLS;
	for (uint32_t at = 0; at < CELLS * 2; at += 8)
		mmio_write64(vga->memory + at, BLANKS);
	pio_write16(VGA_CRTC, VGA_CURSOR_OFF << 8 | VGA_CRTC_CURSOR_START); // text.c shows one
	text_register(&vga->scr);
	return E_OK;
}

static const struct platform_driver vga = { "vga", vga_probe };
SCREEN_DRIVER(vga);
