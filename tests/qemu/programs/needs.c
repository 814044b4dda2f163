// A program of the future: it needs a function that is not yet there.
#include <ingot.h>

__attribute__((used, aligned(4), section(".note.ingot"))) static const struct ingot_note needs = { sizeof("Ingot"), 4,
	1, "Ingot", sizeof(struct ingot_api) + sizeof(void *) };

int main(void)
{
	ingot_print("needs: entered\n");
	ingot->shutdown();
	return 0;
}
