// The same as hello.c in C++: a class, an object that is constructed before main, a template, a lambda.
#include <ingot.h>

INGOT_NEEDS(shutdown);

namespace {

class Console {
  public:
	Console() { print("Hello from Ingot: C++ on "); }

	Console &print(const char *text)
	{
		ingot_print(text);
		return *this;
	}

	template <typename Number> Console &number(Number value)
	{
		if (value >= 10)
			number(value / 10);
		char digit = static_cast<char>('0' + value % 10);
		ingot->write(&digit, 1);
		return *this;
	}
};

Console console; // its constructor has run when main begins

} // namespace

int main()
{
	auto count = [](uint64_t value, const char *what) {
		console.print(", ").number(value).print(what).print(value == 1 ? "" : "s");
	};
	ingot_memory memory = {};
	memory.size = sizeof(memory);
	ingot->memory(&memory);
	console.print(ingot->kernel);
	count(ingot->core_count(), " core");
	console.print(", ").number(memory.bytes >> 20).print(" MiB");
	count(ingot->net_count(), " interface");
	count(ingot->blk_count(), " drive");
	console.print("\n");
	ingot->shutdown();
	return 0;
}
