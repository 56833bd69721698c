/* The pins of the serial port: TXD is P0.24, RXD is P0.25. Registers: nRF51 Series Reference Manual
 * 14.2 "GPIO" and 29.10 "UART"; pins: micro:bit schematic, target MCU. */
#include <stdint.h>

#include "board.h"

#define GPIO_OUTSET (*(volatile uint32_t *)0x50000508u)
#define GPIO_DIRSET (*(volatile uint32_t *)0x50000518u)
#define UART_PSELTXD (*(volatile uint32_t *)0x4000250Cu)
#define UART_PSELRXD (*(volatile uint32_t *)0x40002514u)

enum { TXD = 24, RXD = 25 };

void board_init(void) {
    GPIO_OUTSET = 1u << TXD;
    GPIO_DIRSET = 1u << TXD;
    UART_PSELTXD = TXD;
    UART_PSELRXD = RXD;
}
