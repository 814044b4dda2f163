// A driver in a program, in C: QEMU's teaching device, `-device edu`, which computes factorials, moves memory, and
// interrupts when it is done.  "e." = section of QEMU's docs/specs/edu.txt.
//
// The device understands addresses of 28 bits: run it with 256 MiB of memory, or with its option dma_mask.
#include <ingot.h>
#include <ingot_pci.h>

INGOT_NEEDS(device_irq);

#define EDU_VENDOR 0x1234
#define EDU_DEVICE 0x11E8

// Registers, e. "MMIO area spec"
#define EDU_ID 0x00
#define EDU_LIVENESS 0x04 // reads as the inverse of what was written
#define EDU_FACTORIAL 0x08
#define EDU_STATUS 0x20
#define EDU_STATUS_BUSY 0x01
#define EDU_STATUS_INTERRUPT 0x80
#define EDU_IRQ_STATUS 0x24
#define EDU_IRQ_RAISE 0x60
#define EDU_IRQ_ACK 0x64
#define EDU_DMA_FROM 0x80
#define EDU_DMA_TO 0x88
#define EDU_DMA_COUNT 0x90
#define EDU_DMA_COMMAND 0x98
#define EDU_DMA_START 1
#define EDU_DMA_FROM_DEVICE 2
#define EDU_DMA_INTERRUPT 4

#define EDU_BUFFER 0x40000 // the device's own memory, as it addresses it
#define EDU_DMA_BYTES 2048 // of 4096: QEMU refuses a transfer that reaches their end
#define EDU_DMA_LIMIT (1ul << 28)

#define IRQ_FACTORIAL 1 // causes: the device's,
#define IRQ_DMA 0x100
#define IRQ_OURS 0x40 // and any that is written to EDU_IRQ_RAISE

struct edu {
	volatile uint8_t *registers;
	uint32_t device;
	uint32_t causes; // that have come and were not waited for
	uint32_t interrupts;
};

static uint8_t there[EDU_DMA_BYTES] __attribute__((aligned(4096)));
static uint8_t back[EDU_DMA_BYTES] __attribute__((aligned(4096)));

static uint32_t edu_read(const struct edu *edu, uint32_t reg)
{
	return *(volatile uint32_t *)(edu->registers + reg);
}

static void edu_write(const struct edu *edu, uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(edu->registers + reg) = value;
}

static void edu_write64(const struct edu *edu, uint32_t reg, uint64_t value)
{
	*(volatile uint64_t *)(edu->registers + reg) = value;
}

// Acknowledges what there is, so that its line falls, and leaves it to edu_wait.
static void edu_interrupt(void *arg)
{
	struct edu *edu = arg;
	uint32_t causes = edu_read(edu, EDU_IRQ_STATUS);
	if (!causes)
		return; // another device's on the same line
	edu_write(edu, EDU_IRQ_ACK, causes);
	__atomic_or_fetch(&edu->causes, causes, __ATOMIC_RELEASE);
	edu->interrupts++;
}

static void edu_wait(struct edu *edu, uint32_t cause)
{
	uint32_t seen;
	while (!((seen = __atomic_load_n(&edu->causes, __ATOMIC_ACQUIRE)) & cause))
		ingot_sleep_while(&edu->causes, seen);
	__atomic_and_fetch(&edu->causes, ~cause, __ATOMIC_RELAXED);
}

static uint32_t edu_factorial(struct edu *edu, uint32_t n)
{
	edu_write(edu, EDU_STATUS, EDU_STATUS_INTERRUPT);
	edu_write(edu, EDU_FACTORIAL, n);
	edu_wait(edu, IRQ_FACTORIAL);
	return edu_read(edu, EDU_FACTORIAL);
}

static void edu_move(struct edu *edu, uint64_t from, uint64_t to, uint32_t direction)
{
	ingot_order();
	edu_write64(edu, EDU_DMA_FROM, from);
	edu_write64(edu, EDU_DMA_TO, to);
	edu_write64(edu, EDU_DMA_COUNT, EDU_DMA_BYTES);
	edu_write64(edu, EDU_DMA_COMMAND, EDU_DMA_START | EDU_DMA_INTERRUPT | direction);
	edu_wait(edu, IRQ_DMA);
}

// Where the device finds all of a buffer; 0 if it can't.
static uint64_t edu_address(const void *buffer)
{
	size_t run;
	uint64_t phys = ingot->phys(buffer, EDU_DMA_BYTES, &run);
	return run == EDU_DMA_BYTES && phys + run <= EDU_DMA_LIMIT ? phys : 0;
}

static const char *edu_open(struct edu *edu)
{
	edu->device = ingot_pci_find(EDU_VENDOR, EDU_DEVICE, 0);
	if (edu->device == INGOT_PCI_NONE)
		return "there is no such device";
	int rc = ingot->device_claim(edu->device, 0);
	if (rc == INGOT_ENOTSUP)
		return "this kernel was configured without CORE_NATIVE_DEVICES";
	if (rc < 0)
		return "somebody else has the device";
	edu->registers = (volatile uint8_t *)ingot_pci_map(edu->device, 0, NULL);
	if (!edu->registers)
		return "its registers have no address";
	ingot_pci_enable(edu->device);
	if ((edu_read(edu, EDU_ID) & 0xFFFF) != 0x00ED)
		return "it is another device";
	edu_write(edu, EDU_LIVENESS, 0x12345678);
	if (edu_read(edu, EDU_LIVENESS) != ~0x12345678u)
		return "it does not live";
	return ingot->device_irq(edu->device, 0, edu_interrupt, edu) < 0 ? "it has no interrupt" : NULL;
}

static const char *edu_try(struct edu *edu)
{
	uint64_t from = edu_address(there), to = edu_address(back);
	uint32_t expected = 1;
	for (uint32_t n = 1; n <= 12; n++) {
		expected *= n;
		if (edu_factorial(edu, n) != expected)
			return "a factorial is wrong";
	}
	ingot_print("edu: 12 factorials\n");
	if (!from || !to)
		return "it does not reach the program's memory: -m 256 or less, or -device edu,dma_mask=...";
	for (uint32_t i = 0; i < EDU_DMA_BYTES; i++)
		there[i] = (uint8_t)(i * 7 + (i >> 8));
	edu_move(edu, from, EDU_BUFFER, 0);
	edu_move(edu, EDU_BUFFER, to, EDU_DMA_FROM_DEVICE);
	for (uint32_t i = 0; i < EDU_DMA_BYTES; i++)
		if (back[i] != there[i])
			return "memory came back otherwise";
	ingot_print("edu: 2048 bytes there and back\n");
	edu_write(edu, EDU_IRQ_RAISE, IRQ_OURS);
	edu_wait(edu, IRQ_OURS);
	return edu->interrupts == 15 ? NULL : "not 15 interrupts";
}

int main(void)
{
	static struct edu edu;
	const char *wrong = edu_open(&edu);
	if (!wrong)
		wrong = edu_try(&edu);
	ingot->device_release(edu.device);
	ingot_print(wrong ? "edu: FAIL: " : "edu: PASS");
	ingot_print(wrong ? wrong : "");
	ingot_print("\n");
	ingot->shutdown();
	return 0;
}
