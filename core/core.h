// What the files of core/ share among themselves.
#pragma once
#include <acpi.h>
#include <boot_info.h>
#include <cpu.h>
#include <irq.h>
#include <lock.h>
#include <log.h>
#include <mem.h>
#include <program.h>
#include <pvh.h>
#include <smp.h>
#include <time.h>
#include <util.h>

#define PAGE 4096ul
#define PROGRAM_BASE 0xFFFF800000000000ul // program memory
#define PAYLOAD_BASE 0x1E0000ul
#define PAYLOAD_BYTES 0x10000ul
#define EARLY_STACK 0x1F4000ul // entry.S
#define STACK_BYTES 0x10000ul  // of a program and of work on another core

extern struct boot_info boot; // main.c: the kernel's copy
extern uint64_t boot_tsc;     // time-stamp counter at kernel_main

// ---- Memory: page.c, heap.c ----
struct range {
	uint64_t base, end;
};
struct memory_state {
	struct range free[BOOT_MAP_MAX]; // RAM that nobody uses, sorted, page-aligned; empty once the program has it
	struct range *free_end;
	struct extent { // program memory, virtual order
		uint64_t virt, end;
		uint64_t offset; // from virtual to physical addresses
	} extents[64];
	uint32_t extent_count; // from here on as struct ingot_memory behind its size
	uint32_t kernel_kib, driver_kib, ram_mib;
	uint64_t program_base, program_bytes;
	uint64_t program_free; // first byte behind the program
};
extern struct memory_state memory;
_Static_assert(offsetof(struct memory_state, program_free) - offsetof(struct memory_state, extent_count) ==
		offsetof(struct ingot_memory, free),
	"get_memory");

#define MAP_READ 1u // present
#define MAP_WRITE 3u
#define MAP_WC 8u       // PWT, which the PAT makes write-combining
#define MAP_UC 0x18u    // PCD, PWT
#define MAP_EXEC 0x200u // beside one of these; a bit that the CPU ignores

int memory_init(void);                           // reads boot.map; E_NOMEM with a sentence
void memory_remove(uint64_t base, uint64_t end); // no longer free, whole pages
void page_init(void);                            // the kernel's own page tables
bool page_map(uint64_t virt, uint64_t phys, uint64_t bytes, uint32_t flags);
void page_unmap(uint64_t virt, uint64_t bytes);
extern uint64_t page_limit;                           // of physical addresses: an entry with one beyond it is a fault
uint64_t page_lookup(uint64_t virt, uint64_t *bytes); // and bytes to the end of its page; 0: none
void page_program(uint32_t flags);                    // gives all that is free to program memory
extern uint64_t page_root[];

void *must_alloc(size_t bytes, size_t align); // or panic
void heap_add(uint64_t base, uint64_t end);
extern uint32_t heap_used; // bytes

// ---- Interrupts: irq.c, apic.c ----
struct trap { // what entry.S pushes
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t stub, error, rip, cs, rflags, rsp, ss;
};
void irq_init(void);
void ioapic_init(void);
#define LAPIC_PHYS 0xFEE00000u // nobody moves it: messages of devices go there, too
void apic_enable(void);        // on each core
uint32_t apic_self(void);      // id of the calling core
#define APIC_ID_MOST 254u      // of an xAPIC, and for what devices send unless interrupts are remapped; 255: everyone
bool apic_reaches(uint32_t apic_id);
void apic_eoi(void);
void apic_ipi(uint32_t apic_id, uint32_t command);
#define IPI_FIXED 0x4000u
#define IPI_NMI 0x4400u
#define IPI_INIT 0x4500u
#define IPI_START 0x4600u
void apic_timer_arm(uint64_t ns); // one shot on this core
void apic_timer_start(void);      // from the top down: until apic_timer_calibrate
uint32_t apic_timer_left(void);
void apic_timer_calibrate(uint32_t ticks, uint64_t ns); // so many in that time
uint32_t irq_target(int vector);                        // APIC id of the core that a vector was given to

struct madt_ioapic { // a.5.2.12.3
	uint8_t type, length, id, reserved;
	uint32_t address, first_gsi;
};
struct madt_override { // a.5.2.12.5
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
} __attribute__((packed));
enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_X2APIC = 9 };
const void *madt_entry(uint8_t type, uint32_t index);

#define VECTOR_TIMER 0xF0
#define VECTOR_WAKE 0xF1 // does nothing else
#define VECTOR_KEY 0xF2
#define VECTOR_SPURIOUS 0xFF

// ---- Cores: smp.c ----
struct tss { // Intel SDM vol. 3, 8.7
	uint32_t reserved0;
	uint64_t rsp[3], reserved1, ist[7], reserved2;
	uint16_t reserved3, io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "TSS");

struct timer_user {
	ingot_callback fn;
	void *arg;
	uint64_t period, next; // ns; next is 0 if there is none
};

struct cpu {
	uint32_t apic_id;
	uint32_t index;
	uint32_t state;          // CPU_*
	uint32_t drop;           // DROP_*
	void (*work)(void *arg); // entered when not NULL
	void *arg;
	uint64_t stack; // top, and behind it what XSAVE writes
	struct timer_user timer;
	struct tss tss;
	uint64_t pad[10];
};
_Static_assert(sizeof(struct cpu) == 256, "cheap to index");
enum { CPU_ABSENT, CPU_IDLE, CPU_BUSY = 2 };  // SMP_GET shows that bit
enum { DROP_NOT, DROP_ASKED, DROP_ANSWERED }; // RESET: leave what you do; the interrupt that says so has come
#define CPU_MAX (CONFIG_ON(CORE_SMP) ? 256 : 1)
extern struct cpu cpus[CPU_MAX];
extern uint32_t smp_listed;                      // cores that the firmware names
extern uint32_t smp_cores;                       // that run
extern uint32_t smp_busy;                        // that have work
extern uint32_t cpu_xsave;                       // XSAVE is on
struct cpu *smp_cpu(void);                       // of the calling core
void cpu_paging(const uint64_t *root);           // control registers
void cpu_setup(struct cpu *cpu, uint32_t stack); // descriptor tables
void cpu_prepare(void);                          // memory for all cores
void smp_list(void);
void smp_init(void);
int smp_start(uint32_t core, void (*fn)(void *arg), void *arg);
int smp_wake(uint32_t core); // an interrupt that does nothing else
#define CORE_STACKS 0x18000u // bytes for all stacks of one core; trampoline.S
extern uint32_t smp_stacks;  // top of the first core's
extern uint64_t gdt[], irq_table[];
bool smp_set(uint64_t code, uint64_t apic_id); // b_system SMP_SET
void smp_reset(void);
void smp_idle(void) __attribute__((noreturn)); // done with what it had, or just come
void smp_stop(void);                           // panic: the other cores halt
void smp_nmi(struct trap *trap);               // RESET and panic reach the others by NMI
int cpu_hypervisor(void);

// ---- Others ----
void acpi_find(void);
struct acpi_gas { // a.5.2.3.2
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));
struct acpi_fadt { // a.5.2.9
	struct acpi_header header;
	uint32_t facs, dsdt;
	uint32_t reserved0;
	uint32_t smi_cmd;
	uint8_t acpi_enable, reserved1[11];
	uint32_t pm1a_cnt, pm1b_cnt, pm2_cnt, pm_timer;
	uint8_t reserved2[29];
	uint16_t boot_flags;
	uint8_t reserved3;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value, reserved4[11];
	uint64_t x_dsdt;
	uint8_t reserved5[96];
	struct acpi_gas sleep_control;
} __attribute__((packed));
_Static_assert(offsetof(struct acpi_fadt, boot_flags) == 109 && sizeof(struct acpi_fadt) == 256, "FADT");
extern struct acpi_fadt fadt; // zeroes where the table is shorter, or isn't there
void acpi_init(void);
void time_init(void);
uint32_t time_khz(void);                      // of the time-stamp counter
uint64_t time_hpet(volatile uint32_t **hpet); // its registers, frequency in Hz; 0: there is none
void timer_wake(bool on);                     // boot core: a tick every 10 ms while input waits
void timer_tick(void *arg);
int timer_set(uint64_t period_us, ingot_callback fn, void *arg);
void panic(const char *why) __attribute__((noreturn));
void panic_trap(const struct trap *trap) __attribute__((noreturn));
void halt(void) __attribute__((noreturn));
void syscall_init(void);
void baremetal_init(void);
void program_init(void);
void program_run(void) __attribute__((noreturn));

int give_info(void *out, const void *all, uint32_t bytes); // structures with a size, to programs
void copy_name(char *to, const char *from, uint32_t room);
void power_off(void);
void power_reboot(void);
void console_unlock(void); // panic: the holder of the lock will not come back
uint32_t trap_vector(const struct trap *trap);
int callback_key(ingot_callback fn, void *arg);
void sys_delay(uint64_t us);
void key_call(void *arg);
uint8_t program_input(void);
size_t log_read(uint64_t from, char *to, size_t bytes, uint64_t *next);

void irq_common(void);
void callback_call(ingot_callback fn, void *arg, void *area, uint32_t xsave);
void run_on_stack(void (*fn)(void *arg), void *arg, const void *second, void *stack);
