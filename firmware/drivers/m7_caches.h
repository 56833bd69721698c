/* The caches of Cortex-M7. Registers: ARMv7-M Architecture Reference Manual (DDI 0403) B3.2.8
 * "CCR", B4.8.3 "CCSIDR", B4.8.4 "CSSELR", B2.2.7 "Cache and branch predictor maintenance". */
#ifndef THUMBNET_M7_CACHES_H
#define THUMBNET_M7_CACHES_H

#include "registers.h"

#define SCB_CCR 0xE000ED14u
#define SCB_CCSIDR 0xE000ED80u
#define SCB_CSSELR 0xE000ED84u
#define SCB_ICIALLU 0xE000EF50u
#define SCB_DCISW 0xE000EF60u

#define CCR_DC (1u << 16)
#define CCR_IC (1u << 17)

static inline void m7_enable_caches(void) {
    *reg(SCB_CSSELR) = 0; /* level 1, data */
    __asm volatile("dsb" ::: "memory");
    const uint32_t sizes = *reg(SCB_CCSIDR);
    const uint32_t sets = (sizes >> 13 & 0x7FFFu) + 1u;
    const uint32_t ways = (sizes >> 3 & 0x3FFu) + 1u;
    for (uint32_t set = 0; set < sets; set++) {
        for (uint32_t way = 0; way < ways; way++) {
            *reg(SCB_DCISW) = way << 30 | set << 5; /* four ways, lines of 32 bytes */
        }
    }
    *reg(SCB_ICIALLU) = 0;
    __asm volatile("dsb\nisb" ::: "memory");
    *reg(SCB_CCR) |= CCR_DC | CCR_IC;
    __asm volatile("dsb\nisb" ::: "memory");
}

#endif
