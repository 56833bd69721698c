/* An LPUART divides 256 times its clock (RM0432 "LPUART registers", LPUART_BRR). */
#define UART_DIVIDED_HZ ((uint64_t)THUMBNET_UART_HZ * 256u)
#include "uart_stm32_isr.h"
