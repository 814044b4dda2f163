// What the classes of devices share: numbers, and names for programs.
#include <driver.h>
#include <log.h>

// Returns the end of what is at `to` then.
static char *append(char *to, const char *from)
{
	while ((*to = *from++))
		to++;
	return to;
}

int class_add(struct device *dev, const char *class, void **table, void *owner, struct class_names *names)
{
	uint32_t index = 0;
	while (table[index])
		if (++index == CLASS_MAX)
			return E_NOMEM;
	table[index] = owner;
	char *to = append(dev->unit, class);
	uint32_t tens = index / 10;
	if (tens)
		*to++ = '0' + tens;
	*to = '0' + index - 10 * tens;
	append(names->unit, dev->unit);
	append(names->driver, dev->driver->name);
	append(names->address, dev->name);
	log(" %s", dev->unit);
	return index;
}

__attribute__((noinline)) uint32_t class_count(void *const *table)
{
	uint32_t count = CLASS_MAX;
	while (count && !table[count - 1])
		count--;
	return count;
}
