// Sleeps until on_receive says that frames have come: "wake: N calls" for the N-th frame; ends behind 20.
#include <ingot.h>

INGOT_NEEDS(shutdown);

static volatile uint32_t frames, calls;

static void received(void *arg)
{
	struct ingot_frame *in[16];
	uint32_t count;
	(void)arg;
	calls++;
	while ((count = ingot->net_rx(0, 0, in, 16)))
		while (count--) {
			ingot_frame_put(in[count]);
			frames++;
		}
}

static void print_number(uint32_t value)
{
	char text[12];
	int at = 11;
	text[at] = 0;
	do
		text[--at] = (char)('0' + value % 10);
	while (value /= 10);
	ingot_print(text + at);
}

int main(void)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	uint32_t said = 0;
	while (ingot->net_info(0, &info) == INGOT_OK && !info.link)
		ingot_relax();
	if (ingot->on_receive(0, received, NULL) < 0) {
		ingot_print("wake: refused\n");
		ingot->shutdown();
	}
	received(NULL);
	ingot_print("wake: ready\n");
	while (said < 20) {
		__asm__ volatile("cli" : : : "memory");
		if (frames == said)
			ingot_sleep();
		__asm__ volatile("sti" : : : "memory");
		for (; said < frames; said++) {
			ingot_print("wake: ");
			print_number(said + 1);
			ingot_print(" calls ");
			print_number(calls);
			ingot_print("\n");
		}
	}
	ingot->on_receive(0, NULL, NULL);
	ingot->shutdown();
	return 0;
}
