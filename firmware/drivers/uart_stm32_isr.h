/* The USART and LPUART of later STM32 families (F7, G0, H7, L4+, U5), whose status is in ISR.
 * Registers: RM0432 (STM32L4+) "USART registers" and "LPUART registers"; the offsets are the same
 * in RM0385 (F7), RM0433 (H7), RM0444 (G0) and RM0456 (U5). To be included by the one file that
 * defines UART_DIVIDED_HZ, which BRR divides. */
#ifndef THUMBNET_UART_STM32_ISR_H
#define THUMBNET_UART_STM32_ISR_H

#include "uart.h"

#define CR1 UART_REGISTER(0x00u)
#define BRR UART_REGISTER(0x0Cu)
#define ISR UART_REGISTER(0x1Cu)
#define ICR UART_REGISTER(0x20u)
#define RDR UART_REGISTER(0x24u)
#define TDR UART_REGISTER(0x28u)

#define CR1_UE_TE_RE ((1u << 0) | (1u << 3) | (1u << 2))
#define ISR_ERRORS (2u | 4u | 8u) /* framing, noise, overrun; the same bits clear them in ICR */
#define ISR_RXNE (1u << 5)
#define ISR_TC (1u << 6)
#define ISR_TXE (1u << 7)

void uart_init(void) {
    BRR = (uint32_t)((UART_DIVIDED_HZ + THUMBNET_UART_BAUD / 2u) / THUMBNET_UART_BAUD);
    CR1 = CR1_UE_TE_RE;
}

bool uart_get(uint8_t *byte) {
    ICR = ISR_ERRORS; /* reception stops at an overrun that is not cleared */
    if ((ISR & ISR_RXNE) == 0) {
        return false;
    }
    *byte = (uint8_t)RDR;
    return true;
}

void uart_put(uint8_t byte) {
    while ((ISR & ISR_TXE) == 0) {
    }
    TDR = byte;
}

void uart_drain(void) {
    while ((ISR & ISR_TC) == 0) {
    }
}

#endif
