/* Pins of STM32. Registers, the same in all families here: RM0090 8.4 "GPIO registers". */
#ifndef THUMBNET_STM32_GPIO_H
#define THUMBNET_STM32_GPIO_H

#include "registers.h"

/* Gives a pin of the port at address `port` to a peripheral, its alternate function. */
static inline void stm32_pin_function(uint32_t port, uint32_t pin, uint32_t function) {
    const uint32_t moder = port;
    const uint32_t afr = port + 0x20u + pin / 8u * 4u;
    reg_change(afr, 15u << (pin % 8u * 4u), function << (pin % 8u * 4u));
    reg_change(moder, 3u << (pin * 2u), 2u << (pin * 2u));
}

/* The fastest edges, for signals beyond some 50 MHz. */
static inline void stm32_pin_fast(uint32_t port, uint32_t pin) {
    reg_change(port + 0x08u, 3u << (pin * 2u), 3u << (pin * 2u));
}

#endif
