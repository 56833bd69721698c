/*
 * Counts instructions on an emulated Cortex-M. Under QEMU's -icount every instruction takes the
 * same time, 2^shift ns of the emulated clock, so SysTick's count divided by its ticks an
 * instruction is exact. The run's command line says count=SHIFT; without it, or on real
 * hardware, where SysTick counts cycles, nothing is counted.
 *
 * The interrupt that counts SysTick's wraps has a few instructions of its own, which are
 * subtracted.
 */
#include "port.h"
#include "semihosting.h"
#include "startup.h"
#include "systick.h"

/* Instructions of systick_handler. */
#define HANDLER_INSTRUCTIONS 5u

volatile uint32_t count_wraps;

__attribute__((naked)) void systick_handler(void) {
    __asm volatile(".syntax unified\n"
                   "ldr r0, =count_wraps\n"
                   "ldr r1, [r0]\n"
                   "adds r1, #1\n"
                   "str r1, [r0]\n"
                   "bx lr\n");
}

/* The number after "count=", or -1. */
static int32_t requested_shift(void) {
    char line[80];
    const char *const key = "count=";
    if (semihosting_command_line(line, sizeof line) != 0) {
        return -1;
    }
    for (const char *p = line; *p != '\0'; p++) {
        uint32_t n = 0;
        while (key[n] != '\0' && p[n] == key[n]) {
            n++;
        }
        if (key[n] == '\0') {
            int32_t shift = 0;
            for (p += n; *p >= '0' && *p <= '9'; p++) {
                shift = shift * 10 + (*p - '0');
            }
            return shift;
        }
    }
    return -1;
}

bool port_counts(void) { return requested_shift() >= 0; }

void port_count_start(void) {
    count_wraps = 0;
    systick_start();
}

uint64_t port_count_stop(void) {
    const uint64_t ticks = systick_ticks(&count_wraps);
    SYST_CSR = 0;
    const uint64_t ns = ticks / THUMBNET_SYSTICK_HZ * 1000000000u +
                        ticks % THUMBNET_SYSTICK_HZ * 1000000000u / THUMBNET_SYSTICK_HZ;
    const uint32_t shift = (uint32_t)requested_shift();
    return ((ns + ((uint64_t)1 << shift) / 2) >> shift) -
           ticks / SYST_PERIOD * HANDLER_INSTRUCTIONS;
}
