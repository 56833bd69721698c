/*
 * Registers: ARMv7-M Architecture Reference Manual (DDI 0403) C1.6.5 "DEMCR", C1.8 "DWT"; the lock
 * of DWT: CoreSight's LAR, Cortex-M7 TRM (DDI 0489).
 */
#include <stdbool.h>

#include "board.h"
#include "clock.h"
#include "startup.h"
#include "systick.h"

#define DEMCR (*(volatile uint32_t *)0xE000EDFCu)
#define DEMCR_TRCENA (1u << 24)
#define DWT_CTRL (*(volatile uint32_t *)0xE0001000u)
#define DWT_CYCCNT (*(volatile uint32_t *)0xE0001004u)
#define DWT_LAR (*(volatile uint32_t *)0xE0001FB0u)
#define DWT_UNLOCK 0xC5ACCE55u
#define DWT_CTRL_CYCCNTENA 1u

static uint32_t (*counter)(void); /* of 32 bits; none: SysTick */
static uint32_t last_count;
static uint32_t wraps;
static volatile uint32_t tick_wraps;

void systick_handler(void) { tick_wraps++; }

static uint32_t dwt_cycles(void) { return DWT_CYCCNT; }

/* Asked by trying: emulators, and cores without trace, have the addresses but no counter. */
static bool start_dwt(void) {
    if (!startup_is_mainline()) {
        return false;
    }
    DEMCR |= DEMCR_TRCENA;
    DWT_LAR = DWT_UNLOCK;
    DWT_CYCCNT = 0;
    DWT_CTRL |= DWT_CTRL_CYCCNTENA;
    const uint32_t before = DWT_CYCCNT;
    __asm volatile("nop\nnop\nnop\nnop");
    return DWT_CYCCNT != before;
}

void clock_start(void) {
    if (board_cycles) {
        counter = board_cycles;
    } else if (start_dwt()) {
        counter = dwt_cycles;
    } else {
        systick_start();
    }
}

uint64_t clock_cycles(void) {
    if (!counter) {
        return systick_ticks(&tick_wraps);
    }
    const uint32_t count = counter();
    if (count < last_count) {
        wraps++;
    }
    last_count = count;
    return ((uint64_t)wraps << 32) | count;
}

uint64_t clock_microseconds(void) {
    const uint64_t cycles = clock_cycles();
    return cycles / THUMBNET_SYSTICK_HZ * 1000000u +
           cycles % THUMBNET_SYSTICK_HZ * 1000000u / THUMBNET_SYSTICK_HZ;
}
