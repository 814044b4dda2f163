// The line that is typed: cursor, history, completion.
#include "monitor.h"

// What b_input's documentation and docs/user-guide.md call keys and control characters.
enum {
	KEY_RIGHT = 0x02,
	KEY_LEFT = 0x03,
	KEY_UP = 0x04,
	KEY_DOWN = 0x05,
	KEY_TAB = 0x09,
	KEY_BACKSPACE = 0x0E,
	KEY_ESCAPE = 0x1B,
	KEY_ENTER = 0x1C
};
#define CURSOR_RIGHT 0x02
#define CURSOR_LEFT 0x03

#define HISTORY 16
#define SCREEN 80 // columns of the narrowest
#define PROMPT "> "

struct editor {
	char line[LINE + 1];
	uint32_t length, at;
	char history[HISTORY][LINE + 1];
	uint32_t lines; // ever entered
	uint32_t back;  // lines back in the history that are shown; 0: none
};

void put(char c)
{
	ingot->write(&c, 1);
}

void put_many(char c, uint32_t count)
{
	while (count--)
		put(c);
}

// Shows the line from the cursor on, blanks what `gone` characters leave behind it, and goes back to the cursor.
static void redraw(struct editor *ed, uint32_t gone)
{
	ingot->write(ed->line + ed->at, ed->length - ed->at);
	put_many(' ', gone);
	put_many(CURSOR_LEFT, ed->length - ed->at + gone);
}

static void insert(struct editor *ed, char c)
{
	if (ed->length == LINE)
		return;
	for (uint32_t i = ed->length++; i > ed->at; i--)
		ed->line[i] = ed->line[i - 1];
	ed->line[ed->at++] = c;
	put(c);
	if (ed->at < ed->length)
		redraw(ed, 0);
}

static void erase(struct editor *ed)
{
	if (!ed->at)
		return;
	for (uint32_t i = ed->at--; i < ed->length; i++)
		ed->line[i - 1] = ed->line[i];
	ed->length--;
	put(CURSOR_LEFT);
	redraw(ed, 1);
}

static void replace(struct editor *ed, const char *text)
{
	uint32_t old = ed->length;
	put_many(CURSOR_LEFT, ed->at);
	ed->at = ed->length = 0;
	while (text[ed->length] && ed->length < LINE) {
		ed->line[ed->length] = text[ed->length];
		ed->length++;
	}
	redraw(ed, old > ed->length ? old - ed->length : 0);
	put_many(CURSOR_RIGHT, ed->length);
	ed->at = ed->length;
}

static void recall(struct editor *ed, int older)
{
	uint32_t kept = ed->lines < HISTORY ? ed->lines : HISTORY;
	if (older ? ed->back == kept : !ed->back)
		return;
	ed->back += older ? 1 : -1u;
	replace(ed, ed->back ? ed->history[(ed->lines - ed->back) % HISTORY] : "");
}

static void remember(struct editor *ed)
{
	ed->line[ed->length] = 0;
	ed->back = 0;
	if (!ed->length || (ed->lines && text_equal(ed->history[(ed->lines - 1) % HISTORY], ed->line)))
		return;
	for (uint32_t i = 0; i <= ed->length; i++)
		ed->history[ed->lines % HISTORY][i] = ed->line[i];
	ed->lines++;
}

static void move(struct editor *ed, int by)
{
	if (by < 0 ? !ed->at : ed->at == ed->length)
		return;
	ed->at += (uint32_t)by;
	put(by < 0 ? CURSOR_LEFT : CURSOR_RIGHT);
}

// ---- Completion -------------------------------------------------------------------------------------------------

// How many characters two texts have in common at their start, at most `most`.
static uint32_t alike(const char *a, const char *b, uint32_t most)
{
	uint32_t n = 0;
	while (n < most && a[n] && a[n] == b[n])
		n++;
	return n;
}

// The texts that the word may become, in columns, and the line again below them.
static void show_choices(struct editor *ed, uint32_t start)
{
	uint32_t typed = ed->at - start, column = 0, at = ed->at;
	const char *choice;
	put_many(CURSOR_RIGHT, ed->length - ed->at);
	put('\n');
	for (uint32_t n = 0; (choice = line_choice(ed->line, start, n)); n++) {
		uint32_t width = (uint32_t)text_length(choice) + 2;
		if (alike(choice, ed->line + start, typed) < typed)
			continue;
		if (column + width > SCREEN) {
			put('\n');
			column = 0;
		}
		print("%s  ", choice);
		column += width;
	}
	print("\n" PROMPT);
	ed->at = 0;
	redraw(ed, 0);
	put_many(CURSOR_RIGHT, at);
	ed->at = at;
}

// Tab: the word grows as far as all that it may become agree; if it can't grow, they are shown.
static void complete(struct editor *ed)
{
	char common[LINE + 1];
	const char *choice;
	uint32_t start = ed->at, matches = 0, length = 0;
	while (start && ed->line[start - 1] != ' ')
		start--;
	uint32_t typed = ed->at - start;
	ed->line[ed->length] = 0;
	for (uint32_t n = 0; (choice = line_choice(ed->line, start, n)); n++) {
		if (alike(choice, ed->line + start, typed) < typed)
			continue;
		if (matches++) {
			length = alike(common, choice, length);
			continue;
		}
		while (length < LINE && choice[length]) {
			common[length] = choice[length];
			length++;
		}
	}
	for (uint32_t i = typed; i < length; i++)
		insert(ed, common[i]);
	if (matches == 1)
		insert(ed, ' ');
	else if (matches && length == typed)
		show_choices(ed, start);
}

// ---- Keys ---------------------------------------------------------------------------------------------------------

// One key; 1 when the line is complete.
static int edit(struct editor *ed, int key)
{
	if (key == KEY_ENTER) {
		put_many(CURSOR_RIGHT, ed->length - ed->at);
		put('\n');
		remember(ed);
		return 1;
	}
	if (key == KEY_BACKSPACE)
		erase(ed);
	else if (key == KEY_ESCAPE)
		replace(ed, "");
	else if (key == KEY_UP || key == KEY_DOWN)
		recall(ed, key == KEY_UP);
	else if (key == KEY_LEFT)
		move(ed, -1);
	else if (key == KEY_RIGHT)
		move(ed, 1);
	else if (key == KEY_TAB)
		complete(ed);
	else if (key >= ' ' && key < 0x7F)
		insert(ed, (char)key);
	return 0;
}

// Typed while a command ran.
static char ahead[64];
static uint32_t ahead_at, ahead_end;

int escape_pressed(void)
{
	for (int key; (key = ingot->read());) {
		if (key == KEY_ESCAPE)
			return 1;
		if (ahead_end < sizeof(ahead))
			ahead[ahead_end++] = (char)key;
	}
	return 0;
}

static int wait_key(void)
{
	if (ahead_at < ahead_end)
		return ahead[ahead_at++];
	ahead_at = ahead_end = 0;
	return ingot_wait_key();
}

// The next byte, if it comes within 50 ms: a terminal sends the bytes of one key together.
static int next_byte(void)
{
	int key = 0;
	for (uint64_t end = deadline(50000); !key && !passed(end); ingot_relax())
		key = ingot->read();
	return key;
}

// A key; the sequences that a terminal on the serial line sends for arrows (ECMA-48, 8.3: CSI A to D) are turned into
// what a keyboard gives.  The kernel does so, too; on a slow line it says Escape first.
static int read_key(void)
{
	static const char arrows[] = { KEY_UP, KEY_DOWN, KEY_RIGHT, KEY_LEFT };
	int key = wait_key();
	if (key != KEY_ESCAPE)
		return key;
	key = next_byte();
	if (key >= KEY_RIGHT && key <= KEY_DOWN)
		return key;
	if (key != '[' && key != 'O') { // a key of its own behind Escape
		if (key && ahead_end < sizeof(ahead))
			ahead[ahead_end++] = (char)key;
		return KEY_ESCAPE;
	}
	do
		key = next_byte();
	while (key && key < '@'); // parameters, up to the final byte
	return key >= 'A' && key <= 'D' ? arrows[key - 'A'] : 0;
}

const char *read_line(void)
{
	static struct editor editor;
	editor.length = editor.at = 0;
	ingot_print(PROMPT);
	while (!edit(&editor, read_key()))
		;
	return editor.line;
}
