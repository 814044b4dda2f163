// Small things that every file may use.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <err.h>

#ifdef INGOT_KERNEL
#include <autoconf.h>
#endif

// CONFIG_ON(NET_E1000E) is 1 if the symbol is set and 0 if not, usable in C expressions: both branches are compiled.
#define CONFIG_PROBE_1 0,
#define CONFIG_SECOND(ignored, value, ...) value
#define CONFIG_PICK(...) CONFIG_SECOND(__VA_ARGS__ 1, 0, 0)
#define CONFIG_PASTE(value) CONFIG_PICK(CONFIG_PROBE_##value)
#define CONFIG_EXPAND(value) CONFIG_PASTE(value)
#define CONFIG_ON(symbol) CONFIG_EXPAND(CONFIG_##symbol)

// clang-format off
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(member_ptr, type, member) ((type *)((char *)(member_ptr) - offsetof(type, member)))
#define ALIGN_UP(value, to) (((value) + (to) - 1) & ~((__typeof__(value))(to) - 1))
#define ALIGN_DOWN(value, to) ((value) & ~((__typeof__(value))(to) - 1))
// clang-format on

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

// Data paths are compiled for speed, the rest for its size when packed (meson.build).  ALWAYS_INLINE: what they call.
#define ALWAYS_INLINE inline __attribute__((always_inline))
// What core/entry.S calls with a program's registers: keeps all but that of the result.  It calls only its like, and
// has target options of its own (an instruction that nobody uses): for all functions that share them gcc takes the
// registers that calls keep from the first of them.
#ifdef INGOT_TEST
#define KEEPS_REGISTERS_TYPE
#define KEEPS_REGISTERS
#else
#define KEEPS_REGISTERS_TYPE __attribute__((no_caller_saved_registers))
#define KEEPS_REGISTERS __attribute__((no_caller_saved_registers, target("rdrnd")))
#endif
#if defined(__clang__) || defined(INGOT_TEST)
#define HOT
#else
#define HOT \
	__attribute__((optimize("O2", "forward-propagate", "tree-forwprop", "if-conversion", "move-loop-invariants", \
		"tree-loop-im", "tree-dominator-opts", "tree-coalesce-vars", "optimize-sibling-calls", "shrink-wrap", \
		"expensive-optimizations", "tree-pre", "peephole2", "thread-jumps", "guess-branch-probability", \
		"tree-reassoc", "no-align-functions", "no-align-loops", "no-align-jumps", "no-tree-vectorize", "no-ipa-cp")))
#endif

// Functions, not macros: their arguments are evaluated once.
static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

// See min_u64.
static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

// `least` <= `most`.
static inline uint32_t clamp_u32(uint32_t value, uint32_t least, uint32_t most)
{
	return value < least ? least : value > most ? most : value;
}

// As in C, and no others of its library: compilers call them, too.
void *memcpy(void *to, const void *from, size_t len);
void *memmove(void *to, const void *from, size_t len); // to an address that is lower by 8 or more
void *memset(void *to, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *text);
