/* The pins of the serial port: TXD is P0.24, RXD is P0.25. Registers: nRF51 Series Reference Manual
 * 14.2 "GPIO" and 29.10 "UART"; pins: micro:bit schematic, target MCU. */
#include "board.h"
#include "registers.h"

#define UART_PSELTXD 0x4000250Cu
#define UART_PSELRXD 0x40002514u
#define GPIO_OUTSET 0x50000508u
#define GPIO_DIRSET 0x50000518u

enum { TXD = 24, RXD = 25 };

void board_init(void) {
    *reg(GPIO_OUTSET) = 1u << TXD;
    *reg(GPIO_DIRSET) = 1u << TXD;
    *reg(UART_PSELTXD) = TXD;
    *reg(UART_PSELRXD) = RXD;
}
