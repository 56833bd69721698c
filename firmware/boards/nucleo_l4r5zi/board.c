/* 120 MHz in boost mode (5 wait states, prefetch, both caches of the flash interface): the PLL on
 * the 16 MHz oscillator of the chip; LPUART1 on PG7 and PG8, the ST-LINK's serial port (UM2179
 * 6.11), whose pins have a supply of their own. Registers: RM0432 3.7.1 "FLASH_ACR", 5.4 "PWR
 * registers", 6.4 "RCC registers"; wait states: 3.3.3; alternate function 8: STM32L4R5 data sheet,
 * table 18. */
#include "board.h"
#include "stm32_gpio.h"

#define PWR_CR2 0x40007004u
#define PWR_CR5 0x40007080u
#define RCC_CR 0x40021000u
#define RCC_CFGR 0x40021008u
#define RCC_PLLCFGR 0x4002100Cu
#define RCC_AHB2ENR 0x4002104Cu
#define RCC_APB1ENR1 0x40021058u
#define RCC_APB1ENR2 0x4002105Cu
#define FLASH_ACR 0x40022000u
#define GPIOG 0x48001800u

#define CR_HSION (1u << 8)
#define CR_HSIRDY (1u << 10)
#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define CR2_IOSV (1u << 9)
#define CR5_R1MODE (1u << 8) /* 0: boost */
#define FLASH_ACR_5_WAITS_AND_CACHES (5u | 1u << 8 | 1u << 9 | 1u << 10)
#define PLL_HSI_BY_2_TIMES_30_BY_2 (2u | 1u << 4 | 30u << 8 | 1u << 24)
#define CFGR_SW_PLL 3u
#define CFGR_SWS_PLL (3u << 2)
#define CFGR_HPRE (15u << 4)
#define CFGR_HPRE_BY_2 (8u << 4)

static void start_clock(void) {
    *reg(RCC_CR) |= CR_HSION;
    (void)reg_becomes(RCC_CR, CR_HSIRDY, CR_HSIRDY);
    reg_change(PWR_CR5, CR5_R1MODE, 0);
    *reg(FLASH_ACR) = FLASH_ACR_5_WAITS_AND_CACHES;
    *reg(RCC_PLLCFGR) = PLL_HSI_BY_2_TIMES_30_BY_2;
    *reg(RCC_CR) |= CR_PLLON;
    if (reg_becomes(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        /* above 80 MHz by way of half the speed, for a microsecond at least */
        reg_change(RCC_CFGR, CFGR_HPRE | 3u, CFGR_HPRE_BY_2 | CFGR_SW_PLL);
        (void)reg_becomes(RCC_CFGR, 3u << 2, CFGR_SWS_PLL);
        for (volatile uint32_t i = 0; i < 100u; i++) {
        }
        reg_change(RCC_CFGR, CFGR_HPRE, 0);
    }
}

void board_init(void) {
    *reg(RCC_APB1ENR1) |= 1u << 28; /* PWR */
    start_clock();
    *reg(PWR_CR2) |= CR2_IOSV;
    *reg(RCC_AHB2ENR) |= 1u << 6;  /* GPIOG */
    *reg(RCC_APB1ENR2) |= 1u << 0; /* LPUART1 */
    stm32_pin_function(GPIOG, 7, 8);
    stm32_pin_function(GPIOG, 8, 8);
}
