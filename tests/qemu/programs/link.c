// Says when the link of net0 comes or goes, sends frames all the time, and ends when it has gone and come back.
#include <ingot.h>

INGOT_NEEDS(shutdown);

static void send(void)
{
	struct ingot_pool *pool = ingot->net_pool(0, 0);
	struct ingot_frame *frame = pool ? ingot_frame_get(pool) : NULL, *got[16];
	uint32_t count;
	if (frame) {
		for (int i = 0; i < 64; i++)
			frame->data[i] = i < 6 ? 0xFF : (uint8_t)i;
		frame->length = 64;
		frame->flags = 0;
		if (!ingot->net_tx(0, 0, &frame, 1))
			ingot_frame_put(frame);
	}
	count = ingot->net_rx(0, 0, got, 16);
	while (count--)
		ingot_frame_put(got[count]);
}

int main(void)
{
	int last = -1, changes = 0;
	for (int i = 0; i < 60000 && changes < 4; i++) {
		struct ingot_net_info info = { .size = sizeof(info) };
		if (ingot->net_info(0, &info) < 0) {
			ingot_print("no interface\n");
			break;
		}
		if (info.link != last) {
			ingot_print(info.link ? "link: up\n" : "link: down\n");
			last = info.link;
			changes++;
		}
		send();
		ingot->delay_us(1000);
	}
	ingot_print("link: done\n");
	ingot->shutdown();
	return 0;
}
