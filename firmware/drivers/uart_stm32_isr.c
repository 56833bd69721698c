/* A USART divides its clock. */
#define UART_DIVIDED_HZ ((uint64_t)THUMBNET_UART_HZ)
#include "uart_stm32_isr.h"
