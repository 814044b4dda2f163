// What the classes of devices share: numbers, and names for programs.
#include <driver.h>
#include <log.h>

int class_add(struct device *dev, const char *class, void **table, void *owner, struct class_names *names)
{
	uint32_t index = 0;
	while (table[index])
		if (++index == CLASS_MAX)
			return E_NOMEM;
	table[index] = owner;
	char *to = dev->unit;
	while (*class)
		*to++ = *class++;
	if (index > 9)
		*to++ = '0' + index / 10;
	*to = '0' + index % 10;
	memcpy(names->unit, dev->unit, sizeof(names->unit));
	memcpy(names->driver, dev->driver->name, strlen(dev->driver->name));
	memcpy(names->address, dev->name, sizeof(names->address));
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
