/*
 * The clock of STM32F4 and F7: the PLL on the 16 MHz oscillator of the chip, so that it does not
 * matter which crystal a board has. Registers: RM0090 (F405) 3.9.1 "FLASH_ACR", 5.4 "PWR
 * registers", 7.3 "RCC registers"; RM0390 (F446) and RM0385 (F746) the same, with over-drive
 * (RM0390 5.4.1, RM0385 4.4.1).
 */
#ifndef THUMBNET_STM32F4_CLOCK_H
#define THUMBNET_STM32F4_CLOCK_H

#include "registers.h"

#define PWR_CR 0x40007000u
#define PWR_CSR 0x40007004u
#define RCC_CR 0x40023800u
#define RCC_PLLCFGR 0x40023804u
#define RCC_CFGR 0x40023808u
#define RCC_AHB1ENR 0x40023830u
#define RCC_APB1ENR 0x40023840u
#define RCC_APB2ENR 0x40023844u
#define FLASH_ACR 0x40023C00u

#define PWR_CR_ODEN (1u << 16)
#define PWR_CR_ODSWEN (1u << 17)
#define RCC_CR_PLLON (1u << 24)
#define RCC_CR_PLLRDY (1u << 25)
#define RCC_PLLCFGR_RESERVED 0x20000000u /* reset value of what is above PLLQ; PLLR on F446 */
#define RCC_APB1ENR_PWREN (1u << 28)
#define RCC_CFGR_SW_PLL 2u
#define RCC_CFGR_SWS_PLL (2u << 2)
#define RCC_CFGR_APB1_BY_4 (5u << 10)
#define RCC_CFGR_APB2_BY_2 (4u << 13)

/* The core at `mhz` MHz, APB1 at a quarter, APB2 at half of that; `acr`: wait states and what the
 * flash interface has of caches. Where the PLL does not start, all stays at 16 MHz. */
static inline void stm32f4_clock(uint32_t mhz, uint32_t acr, bool overdrive) {
    *reg(RCC_APB1ENR) |= RCC_APB1ENR_PWREN;
    /* 16 MHz / 8 * mhz / 2; 48 MHz or less for Q */
    *reg(RCC_PLLCFGR) = RCC_PLLCFGR_RESERVED | 9u << 24 | mhz << 6 | 8u;
    *reg(RCC_CR) |= RCC_CR_PLLON;
    if (overdrive) {
        *reg(PWR_CR) |= PWR_CR_ODEN;
        (void)reg_becomes(PWR_CSR, PWR_CR_ODEN, PWR_CR_ODEN);
        *reg(PWR_CR) |= PWR_CR_ODSWEN;
        (void)reg_becomes(PWR_CSR, PWR_CR_ODSWEN, PWR_CR_ODSWEN);
    }
    *reg(FLASH_ACR) = acr;
    if (reg_becomes(RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY)) {
        *reg(RCC_CFGR) = RCC_CFGR_APB1_BY_4 | RCC_CFGR_APB2_BY_2;
        *reg(RCC_CFGR) |= RCC_CFGR_SW_PLL;
        (void)reg_becomes(RCC_CFGR, 3u << 2, RCC_CFGR_SWS_PLL);
    }
}

#endif
