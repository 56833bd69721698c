/* Cycles of the core: by the board's own counter, else DWT's where there is one that counts, else
 * by SysTick. */
#ifndef THUMBNET_CLOCK_H
#define THUMBNET_CLOCK_H

#include <stdint.h>

void clock_start(void);
/* Cycles since clock_start, of which THUMBNET_SYSTICK_HZ are a second. To be called at least every
 * 2^32 cycles. */
uint64_t clock_cycles(void);
uint64_t clock_microseconds(void);

#endif
