/* 64 MHz from the crystal, the flash's instruction cache; UART0 on P0.06 and P0.08, the debugger's
 * serial port (nRF52840 DK User Guide, "Virtual COM port"). Registers: nRF52840 Product
 * Specification 4.3.6.7 "NVMC ICACHECNF", 5.4.3 "CLOCK", 6.9.2 "GPIO", 6.33.10 "UART". */
#include "board.h"
#include "registers.h"

#define CLOCK_TASKS_HFCLKSTART 0x40000000u
#define CLOCK_EVENTS_HFCLKSTARTED 0x40000100u
#define UART_PSELTXD 0x4000250Cu
#define UART_PSELRXD 0x40002514u
#define NVMC_ICACHECNF 0x4001E540u
#define P0_OUTSET 0x50000508u
#define P0_DIRSET 0x50000518u
#define P0_PIN_CNF 0x50000700u

#define PIN_CNF_INPUT_PULL_UP (3u << 2) /* and its buffer connected, unlike after a reset */

enum { TXD = 6, RXD = 8 };

void board_init(void) {
    *reg(NVMC_ICACHECNF) = 1;
    *reg(CLOCK_TASKS_HFCLKSTART) = 1;
    (void)reg_becomes(CLOCK_EVENTS_HFCLKSTARTED, 1, 1);
    *reg(P0_OUTSET) = 1u << TXD;
    *reg(P0_DIRSET) = 1u << TXD;
    *reg(P0_PIN_CNF + 4u * RXD) = PIN_CNF_INPUT_PULL_UP;
    *reg(UART_PSELTXD) = TXD;
    *reg(UART_PSELRXD) = RXD;
}
