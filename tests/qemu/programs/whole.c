// Receives on net0 and sends every frame back; counts those that are not whole.  A frame of the host's
// (tests/qemu/test_e1000.py) has its length (32 bits) behind the Ethernet header, 4 bytes, and from byte 22 on a byte i
// is (length + i) % 256; what is shorter than 60 bytes may come padded.  Arguments: poll; classic (by b_net_rx);
// callback (frames are taken in on_receive, and it sleeps).  Ends when a frame says a length of 0.
#include <ingot.h>
#include <baremetal.h>

INGOT_NEEDS(shutdown);

#define LEAST 60
#define MOST 1518		// without FCS, with a VLAN tag

static uint32_t good, cut, wrong, calls;
static volatile int ended;

static void print_number(const char *what, uint64_t value)
{
	char text[24];
	int at = 23;
	text[at] = 0;
	do
		text[--at] = (char)('0' + value % 10);
	while (value /= 10);
	ingot_print(what);
	ingot_print(text + at);
}

static void check(const uint8_t *data, uint32_t length)
{
	uint32_t said = *(const uint32_t *)(data + 14), from = 22;
	if (length < LEAST || length > MOST) {
		wrong++;
		return;
	}
	if (data[12] != 0x88 || data[13] != 0xB5)
		return;
	if (!said && data[18] == 'E') {
		ended = 1;
		return;
	}
	if (said < LEAST) {	// padded by whoever passed it on
		cut += length == LEAST;
		wrong += length != LEAST;
		return;
	}
	if (said != length) {
		wrong++;
		return;
	}
	while (from < length && data[from] == (uint8_t)(length + from))
		from++;
	good += from == length;
	wrong += from != length;
}

static void receive(void *arg)
{
	struct ingot_frame *frames[16];
	uint32_t count;
	(void)arg;
	calls++;
	while ((count = ingot->net_rx(0, 0, frames, 16))) {
		for (uint32_t i = 0; i < count; i++)
			check(frames[i]->data, frames[i]->length);
		uint32_t sent = ingot->net_tx(0, 0, frames, count);
		while (sent < count)
			ingot_frame_put(frames[sent++]);
	}
}

static void receive_classic(void)
{
	void *frame;
	uint64_t length = b_net_rx(&frame, 0);
	if (!length)
		return;
	check(frame, (uint32_t)length);
	b_net_tx(frame, length, 0);
}

int main(int argc, char **argv)
{
	struct ingot_net_info info = { .size = sizeof(info) };
	struct ingot_net_stats stats = { 0 };
	char mode = argc ? argv[argc - 1][1] : 'o';	// p-o-ll, c-l-assic, c-a-llback
	if (ingot->net_info(0, &info) < 0 || (mode == 'a' && ingot->on_receive(0, receive, NULL) < 0)) {
		ingot_print("whole: no interface, or no interrupt\n");
		ingot->shutdown();
	}
	ingot_print("whole: ready\n");
	if (mode == 'a')
		receive(NULL);
	while (!ended) {
		if (mode == 'l')
			receive_classic();
		else if (mode == 'o')
			receive(NULL);
		else
			ingot_sleep();
	}
	ingot->on_receive(0, NULL, NULL);
	ingot->net_stats(0, &stats);
	print_number("whole: good ", good);
	print_number(" padded ", cut);
	print_number(" wrong ", wrong);
	print_number(" calls ", calls);
	print_number(" dropped ", stats.rx_dropped);
	print_number(" errors ", stats.rx_errors);
	ingot_print("\n");
	ingot->shutdown();
	return 0;
}
