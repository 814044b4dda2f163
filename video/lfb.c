// video/lfb.c - text on the frame buffer that the loader set up: 32 bits a pixel, blue lowest.
// QEMU: any display device with UEFI; VGA, virtio-vga, ... with the BIOS loader.  Not done: other pixel formats.
#include <boot_info.h>
#include <display.h>
#include <driver.h>
#include <mem.h>
#include "font.h"

#define WIDTH 8         // of a glyph
#define COLUMNS_ALIGN 8 // display.h
#define COLOUR 0xC0C0C0u
#define SIDE_MAX 0xFFFF // pixels

struct lfb {
	struct text_screen scr;
	uint8_t *pixels;
	uint64_t line; // bytes
	struct four {
		uint32_t pixel[4];
	} four[16]; // the pixels of each pattern of four
	uint8_t font[95][FONT_HEIGHT];
	uint8_t cells[]; // 8-byte aligned
};

static void lfb_draw(struct text_screen *scr, uint32_t at)
{
	struct lfb *lfb = container_of(scr, struct lfb, scr);
	uint8_t *line = lfb->pixels + at / scr->columns * FONT_HEIGHT * lfb->line + at % scr->columns * WIDTH * 4;
	for (uint32_t row = 0; row < FONT_HEIGHT; row++, line += lfb->line) {
		struct four *to = (struct four *)line;
		const uint8_t *cell = scr->cells + at;
		do {
			uint32_t bits = lfb->font[*cell & 0x7F][row] ^ (int8_t)*cell >> 7;
			*to++ = lfb->four[bits >> 4 & 15];
			*to++ = lfb->four[bits & 15];
		} while (++cell != scr->cells + at + TEXT_GROUP);
	}
}

// scripts/font.py has packed the font as runs of equal rows.
static void lfb_unpack(struct lfb *lfb)
{
	uint8_t *to = lfb->font[0];
	uint32_t *pixel = lfb->four[0].pixel;
	for (const uint8_t *run = font_runs; run != font_runs + sizeof(font_runs); run++) {
		uint32_t length = FONT_RUN(*run >> 6);
		do
			*to++ = font_rows[*run & 63];
		while (--length);
	}
	for (uint32_t pattern = 0; pattern < 16; pattern++)
		for (uint32_t bit = 8; bit; bit >>= 1)
			*pixel++ = pattern & bit ? COLOUR : 0;
}

static int lfb_probe(void)
{
	const struct boot_info *fb = &boot;
	uint32_t columns = ALIGN_DOWN(fb->width / WIDTH, COLUMNS_ALIGN), count = columns * (fb->height / FONT_HEIGHT);
	uint64_t quads = (uint64_t)fb->pitch * fb->height / 2;
	uint64_t *pixels;
	struct lfb *lfb;
	if (!fb->framebuffer)
		return E_NODEV;
	if (fb->bits != 32 || fb->width > fb->pitch || (fb->pitch | fb->height) > SIDE_MAX || !count)
		return E_INVAL;
	pixels = mem_map_framebuffer(fb->framebuffer, quads * 8);
	if (!pixels || !(lfb = kzalloc(sizeof(*lfb) + TEXT_BYTES(columns, count))))
		return E_NOMEM;
	lfb->pixels = (uint8_t *)pixels;
	lfb->line = fb->pitch * 4;
	lfb->scr.draw = lfb_draw;
	lfb->scr.cells = lfb->cells;
	lfb->scr.columns = columns;
	lfb->scr.count = count;
	lfb_unpack(lfb);
	__asm__ volatile("rep stosq" : "+D"(pixels), "+c"(quads) : "a"(0ul) : "memory");
	text_register(&lfb->scr);
	return E_OK;
}

static const struct platform_driver lfb = { "lfb", lfb_probe };
SCREEN_DRIVER(lfb);
