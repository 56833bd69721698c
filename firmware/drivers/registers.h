/* Registers by address. */
#ifndef THUMBNET_REGISTERS_H
#define THUMBNET_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>

static inline volatile uint32_t *reg(uint32_t address) { return (volatile uint32_t *)address; }

/* Waits until the bits `mask` of a register are `value`. False when that does not come, as in an
 * emulator that has no such peripheral. */
static inline bool reg_becomes(uint32_t address, uint32_t mask, uint32_t value) {
    for (uint32_t i = 0; i < 1000000u; i++) {
        if ((*reg(address) & mask) == value) {
            return true;
        }
    }
    return false;
}

/* Replaces the bits `mask` by `value`. */
static inline void reg_change(uint32_t address, uint32_t mask, uint32_t value) {
    *reg(address) = (*reg(address) & ~mask) | value;
}

#endif
