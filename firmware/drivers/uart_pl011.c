/* Arm's PL011, the UART of RP2040. Registers: PrimeCell UART TRM (DDI 0183) 3.2, RP2040 data sheet
 * 4.2.8. */
#include "uart.h"

#define DR UART_REGISTER(0x00u)
#define FR UART_REGISTER(0x18u)
#define IBRD UART_REGISTER(0x24u)
#define FBRD UART_REGISTER(0x28u)
#define LCR_H UART_REGISTER(0x2Cu)
#define CR UART_REGISTER(0x30u)

#define FR_BUSY (1u << 3)
#define FR_RX_EMPTY (1u << 4)
#define FR_TX_FULL (1u << 5)
#define LCR_8_BITS_FIFO ((3u << 5) | (1u << 4))
#define CR_RX_TX_ENABLE ((1u << 9) | (1u << 8) | 1u)

/* The divisor has 6 bits behind the point: clock / (16 baud) * 64. */
#define DIVISOR ((THUMBNET_UART_HZ * 4u + THUMBNET_UART_BAUD / 2u) / THUMBNET_UART_BAUD)

void uart_init(void) {
    IBRD = DIVISOR / 64u;
    FBRD = DIVISOR % 64u;
    LCR_H = LCR_8_BITS_FIFO; /* also what makes the divisors count */
    CR = CR_RX_TX_ENABLE;
}

bool uart_get(uint8_t *byte) {
    if ((FR & FR_RX_EMPTY) != 0) {
        return false;
    }
    *byte = (uint8_t)DR;
    return true;
}

void uart_put(uint8_t byte) {
    while ((FR & FR_TX_FULL) != 0) {
    }
    DR = byte;
}

void uart_drain(void) {
    while ((FR & FR_BUSY) != 0) {
    }
}
