/* What a program needs from its board. */
#ifndef THUMBNET_BOARD_H
#define THUMBNET_BOARD_H

#include <stdint.h>

/* boards/<board>/board.c, or board_plain.c when there is none: the clock at the speed that
 * board.toml says, and the serial port's clock and pins. Called before main, with .data and .bss
 * ready. */
void board_init(void);

/* Cycles of the core modulo 2^32; only boards whose core has neither DWT nor SysTick define it. */
__attribute__((weak)) uint32_t board_cycles(void);

/* text_semihosting.c or text_uart.c. Called after board_init. */
void board_text_start(void);
/* Writes a zero-terminated text where a person sees it; also called from fault handlers. */
void board_text(const char *text);

#endif
