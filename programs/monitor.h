// What the files of the monitor share.
#pragma once
#include "lib.h"

// ---- monitor_line.c: the line that is typed ----------------------------------------------------------------------

#define LINE 76 // with the prompt it stays on one row of the narrowest screen
#define WORDS (LINE / 2 + 1)

// A line, edited until Enter; good until the next call.
const char *read_line(void);

// monitor.c: the `n`th text that may stand where the word at line[start] begins; NULL: there are no more.
const char *line_choice(const char *line, uint32_t start, uint32_t n);

// 1 if Escape has been pressed; other keys stay for the next line.
int escape_pressed(void);

void put(char c);
void put_many(char c, uint32_t count);

// ---- monitor_volume.c: BMFS volumes and the programs on them -------------------------------------------------------

#define VOLUME_FILES 64 // a directory has room for

struct file {
	uint32_t blk; // drive
	char name[32];
	uint64_t sector; // first one, of B_SECTOR bytes
	uint64_t bytes;
	int damaged; // it isn't where it is said to be
};

// How many files the volume on a drive has, and which.  INGOT_ENODEV: no such drive; INGOT_EINVAL: no volume on it;
// INGOT_EIO.
int volume_files(uint32_t blk, struct file files[VOLUME_FILES]);

// Places a program of the volume into program memory, which is all zero.  NULL, or why it can't be run.
const char *program_load(const struct file *file, const struct ingot_memory *memory, uintptr_t *entry, int *is_elf);

// ---- monitor_run.c: programs, one at a time ------------------------------------------------------------------------

void program_run(const struct file *file, const char *arguments);

struct drive_counts { // monitor_start.S knows where they are
	uint64_t reads, read_bytes, writes, written_bytes, others, errors;
	int64_t under_way;
	uint64_t block_bytes;
};
// What programs have done with a drive; NULL: it is not counted.
const struct drive_counts *drive_counts(uint32_t blk);

// ---- monitor.c -----------------------------------------------------------------------------------------------------

void prompt(void) __attribute__((noreturn)); // a command, and the next one

// ---- monitor_memory.c, monitor_pci.c, monitor_log.c: commands; 0, or -1 if they don't understand their words ------

struct request {
	char *words[WORDS]; // the command, its arguments
	int count;          // of arguments
	const char *rest;   // the line from the second argument on
};

int number(const char *word, uint64_t *value); // 1 if the word is one

int command_peek(struct request *request);
int command_poke(struct request *request);
int command_hexdump(struct request *request);
int command_pci(struct request *request);
int command_log(struct request *request);
const char *log_level(uint32_t n); // the names of the levels; NULL: there are no more
