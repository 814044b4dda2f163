// The kernel's log, by level.  The kernel keeps none, since they would cost it bytes: what a line says tells its level.
#include "monitor.h"

enum level { ERROR, WARNING, INFO };
static const char *const names[] = { "error", "warning", "info" };
#define LINE_BYTES 192 // of the log, without its end

const char *log_level(uint32_t level)
{
	return level <= INFO ? names[level] : NULL;
}

static int contains(const char *text, const char *what)
{
	for (; *text; text++)
		if (text_after(text, what))
			return 1;
	return 0;
}

static enum level level_of(const char *line)
{
	static const char *const errors[] = { "; left alone", "damaged", "hangs", "time-out", "answer", "acpi: none" };
	static const char *const warnings[] = { " no driver", "unassigned", "without a bus", "left alone", "gone" };
	for (uint32_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (contains(line, errors[i]))
			return ERROR;
	for (uint32_t i = 0; i < sizeof(warnings) / sizeof(warnings[0]); i++)
		if (contains(line, warnings[i]))
			return WARNING;
	return INFO;
}

// The next line of the log; 0 if there is none.
static int next_line(uint64_t *at, char line[LINE_BYTES])
{
	uint32_t length = 0;
	char c;
	int any = 0;
	while (ingot->log_read(*at, &c, 1, at)) {
		any = 1;
		if (c == '\n')
			break;
		if (length < LINE_BYTES - 1)
			line[length++] = c;
	}
	line[length] = 0;
	return any;
}

// log [LEVEL]: lines of that level and of those that are worse.
int command_log(struct request *request)
{
	uint64_t at = 0;
	char line[LINE_BYTES];
	uint32_t most = INFO;
	if (request->count)
		for (most = 0; !text_equal(names[most], request->words[1]); most++)
			if (most == INFO)
				return -1;
	while (next_line(&at, line))
		if (level_of(line) <= most)
			print("%s\n", line);
	return 0;
}
