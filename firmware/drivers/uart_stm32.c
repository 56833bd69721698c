/* The USART of STM32F4. Registers: RM0090 (STM32F405) 30.6 "USART registers". */
#include "uart.h"

#define SR UART_REGISTER(0x00u)
#define DR UART_REGISTER(0x04u)
#define BRR UART_REGISTER(0x08u)
#define CR1 UART_REGISTER(0x0Cu)

#define SR_RXNE (1u << 5)
#define SR_TC (1u << 6)
#define SR_TXE (1u << 7)
#define CR1_UE_TE_RE ((1u << 13) | (1u << 3) | (1u << 2))

void uart_init(void) {
    BRR = (THUMBNET_UART_HZ + THUMBNET_UART_BAUD / 2u) / THUMBNET_UART_BAUD;
    CR1 = CR1_UE_TE_RE;
}

bool uart_get(uint8_t *byte) {
    if ((SR & SR_RXNE) == 0) {
        return false;
    }
    *byte = (uint8_t)DR; /* reading SR and then DR also clears an overrun */
    return true;
}

void uart_put(uint8_t byte) {
    while ((SR & SR_TXE) == 0) {
    }
    DR = byte;
}

void uart_drain(void) {
    while ((SR & SR_TC) == 0) {
    }
}
