// Says every character that comes in, in hexadecimal; c shows what all the control characters do, s scrolls, q ends.
#include <ingot.h>

INGOT_NEEDS(shutdown);

static void say(const char *text)
{
	ingot_print(text);
}

static void control_characters(void)
{
	say("garbage\n\x01"
		"newline\npair\r\nreturn\rRETURN\nreturn, then newline\r");
	say("\n\ttab\tb\nerase!!\x0E\x0E\nleft\x03\x03\x03\x03L\nright:\x02:\n");
	say("not printable: \x7F\x80\xFF.\n");
}

static void scroll(void)
{
	char line[] = "line 000\n";
	for (int number = 0; number < 200; number++) {
		line[5] = '0' + number / 100;
		line[6] = '0' + number / 10 % 10;
		line[7] = '0' + number % 10;
		say(line);
	}
	for (int i = 0; i < 300; i++)
		say("w");
	say("\n");
}

int main(void)
{
	static const char digits[] = "0123456789ABCDEF";
	int character;
	say("ready\n");
	do {
		while (!(character = ingot->read()))
			__asm__ volatile("hlt");
		char text[] = { '<', digits[character >> 4], digits[character & 15], '>', 0 };
		say(text);
		if (character == 'c')
			control_characters();
		if (character == 's')
			scroll();
	} while (character != 'q');
	ingot->shutdown();
	return 0;
}
