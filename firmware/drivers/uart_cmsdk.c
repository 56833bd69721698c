/* The serial port of Arm's FPGA images. Registers: Cortex-M System Design Kit TRM (DDI 0479) 4.3.2
 * "APB UART", programmers model. */
#include "uart.h"

#define DATA UART_REGISTER(0x00u)
#define STATE UART_REGISTER(0x04u)
#define CTRL UART_REGISTER(0x08u)
#define BAUDDIV UART_REGISTER(0x10u)

#define STATE_TX_FULL 1u
#define STATE_RX_FULL 2u
#define STATE_OVERRUNS (4u | 8u) /* cleared by writing ones */
#define CTRL_TX_RX 3u

void uart_init(void) {
    BAUDDIV = THUMBNET_UART_HZ / THUMBNET_UART_BAUD;
    CTRL = CTRL_TX_RX;
}

bool uart_get(uint8_t *byte) {
    if ((STATE & STATE_RX_FULL) == 0) {
        return false;
    }
    *byte = (uint8_t)DATA;
    STATE = STATE_OVERRUNS;
    return true;
}

void uart_put(uint8_t byte) {
    uart_drain();
    DATA = byte;
}

void uart_drain(void) {
    while ((STATE & STATE_TX_FULL) != 0) {
    }
}
