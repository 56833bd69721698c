/* The UART of nRF51 and nRF52. Registers: nRF51 Series Reference Manual 29 "UART", nRF52840 Product
 * Specification 6.33 "UART". The pins are board.c's. */
#include "uart.h"

#define TASKS_STARTRX UART_REGISTER(0x000u)
#define TASKS_STARTTX UART_REGISTER(0x008u)
#define EVENTS_RXDRDY UART_REGISTER(0x108u)
#define EVENTS_TXDRDY UART_REGISTER(0x11Cu)
#define ENABLE UART_REGISTER(0x500u)
#define RXD UART_REGISTER(0x518u)
#define TXD UART_REGISTER(0x51Cu)
#define BAUDRATE UART_REGISTER(0x524u)

#define ENABLE_UART 4u

void uart_init(void) {
    /* 2^32 times the baud rate over the clock, of which the lowest 12 bits do not exist. */
    const uint64_t rate = ((uint64_t)THUMBNET_UART_BAUD << 32) / THUMBNET_UART_HZ;
    BAUDRATE = (uint32_t)(rate + 0x800u) & 0xFFFFF000u;
    ENABLE = ENABLE_UART;
    TASKS_STARTTX = 1;
    TASKS_STARTRX = 1;
}

bool uart_get(uint8_t *byte) {
    if (EVENTS_RXDRDY == 0) {
        return false;
    }
    EVENTS_RXDRDY = 0; /* before reading: the next byte of the FIFO raises it again */
    *byte = (uint8_t)RXD;
    return true;
}

void uart_put(uint8_t byte) {
    EVENTS_TXDRDY = 0;
    TXD = byte;
    while (EVENTS_TXDRDY == 0) {
    }
}

void uart_drain(void) {}
