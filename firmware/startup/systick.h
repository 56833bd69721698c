/*
 * SysTick as a counter of the processor's clock: 24 bits, whose wraps its interrupt counts.
 * Registers: ARMv7-M Architecture Reference Manual (DDI 0403) B3.3 "SysTick".
 */
#ifndef THUMBNET_SYSTICK_H
#define THUMBNET_SYSTICK_H

#include <stdint.h>

#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define SYST_ON (4u | 2u | 1u) /* processor clock, interrupt, enable */
#define SYST_PERIOD 0x01000000u

static inline void systick_start(void) {
    SYST_RVR = SYST_PERIOD - 1u;
    SYST_CVR = 0;
    SYST_CSR = SYST_ON;
}

/* Ticks since the start, right also when a wrap comes in between. */
static inline uint64_t systick_ticks(const volatile uint32_t *wraps) {
    uint32_t before;
    uint32_t value;
    do {
        before = *wraps;
        value = SYST_CVR;
    } while (before != *wraps);
    return (uint64_t)before * SYST_PERIOD + (SYST_PERIOD - value) % SYST_PERIOD;
}

#endif
