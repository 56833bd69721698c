/* 16 MHz from the crystal, which a serial port needs; its pins: TXD is P0.24, RXD is P0.25.
 * Registers: nRF51 Series Reference Manual 13 "CLOCK", 14.2 "GPIO", 18.2 "TIMER" and 29.10 "UART";
 * pins: micro:bit schematic, target MCU. TIMER0 counts cycles: the core has no SysTick. */
#include "board.h"
#include "registers.h"

#define CLOCK_TASKS_HFCLKSTART 0x40000000u
#define CLOCK_EVENTS_HFCLKSTARTED 0x40000100u
#define UART_PSELTXD 0x4000250Cu
#define UART_PSELRXD 0x40002514u
#define TIMER_TASKS_START 0x40008000u
#define TIMER_TASKS_CAPTURE 0x40008040u
#define TIMER_BITMODE 0x40008508u
#define TIMER_BITMODE_32 3u
#define TIMER_PRESCALER 0x40008510u
#define TIMER_CC 0x40008540u
#define GPIO_OUTSET 0x50000508u
#define GPIO_DIRSET 0x50000518u
#define GPIO_PIN_CNF 0x50000700u

#define PIN_CNF_INPUT_PULL_UP (3u << 2) /* and its buffer connected, unlike after a reset */

enum { TXD = 24, RXD = 25 };

void board_init(void) {
    *reg(CLOCK_TASKS_HFCLKSTART) = 1;
    (void)reg_becomes(CLOCK_EVENTS_HFCLKSTARTED, 1, 1);
    *reg(GPIO_OUTSET) = 1u << TXD;
    *reg(GPIO_DIRSET) = 1u << TXD;
    *reg(GPIO_PIN_CNF + 4u * RXD) = PIN_CNF_INPUT_PULL_UP;
    *reg(UART_PSELTXD) = TXD;
    *reg(UART_PSELRXD) = RXD;
    *reg(TIMER_BITMODE) = TIMER_BITMODE_32;
    *reg(TIMER_PRESCALER) = 0; /* 16 MHz, as the core */
    *reg(TIMER_TASKS_START) = 1;
}

uint32_t board_cycles(void) {
    *reg(TIMER_TASKS_CAPTURE) = 1;
    return *reg(TIMER_CC);
}
