// The 16550 (data sheet of the PC16550D, s.8), by offset.
#pragma once

#define SERIAL_DATA 0 // read: received; written: to send; with LCR_DLAB: divisor low
#define SERIAL_IER 1  // with LCR_DLAB: divisor high
#define SERIAL_IER_RECEIVED 0x01
#define SERIAL_IIR 2 // read
#define SERIAL_IIR_FIFO 0xC0
#define SERIAL_FCR 2 // written
#define SERIAL_FCR_ENABLE 0x01
#define SERIAL_FCR_TRIGGER_8 0x80 // characters, or that there come no more (s.8.4.1)
#define SERIAL_LCR 3
#define SERIAL_LCR_8N1 0x03
#define SERIAL_LCR_DLAB 0x80
#define SERIAL_MCR 4
#define SERIAL_MCR_DTR_RTS 0x03
#define SERIAL_MCR_OUT2 0x08 // PCs gate the interrupt line with it
#define SERIAL_LSR 5
#define SERIAL_LSR_RECEIVED 0x01
#define SERIAL_LSR_EMPTY 0x20 // transmitter's FIFO
#define SERIAL_SCR 7          // scratch

#define SERIAL_FIFO 16   // characters
#define SERIAL_DIVISOR 1 // 1.8432 MHz / 16 / 115200
