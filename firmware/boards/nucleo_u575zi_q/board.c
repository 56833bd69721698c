/* 160 MHz (voltage range 1 with the booster, 4 wait states, prefetch, instruction cache): the PLL
 * on the 4 MHz oscillator that the chip starts with; USART1 on PA9 and PA10, the ST-LINK's serial
 * port (UM2861 7.8). Registers: RM0456 7.9.1 "FLASH_ACR", 8.4.1 "ICACHE_CR", 10.10 "PWR registers",
 * 11.8 "RCC registers"; wait states: 7.3.3; alternate function 7: STM32U575 data sheet, table 28.
 * TrustZone is off, as the chip is delivered. */
#include "board.h"
#include "stm32_gpio.h"

#define FLASH_ACR 0x40022000u
#define ICACHE_CR 0x40030400u
#define GPIOA 0x42020000u
#define PWR_VOSR 0x4602080Cu
#define RCC_CR 0x46020C00u
#define RCC_CFGR1 0x46020C1Cu
#define RCC_PLL1CFGR 0x46020C28u
#define RCC_PLL1DIVR 0x46020C34u
#define RCC_AHB2ENR1 0x46020C8Cu
#define RCC_AHB3ENR 0x46020C94u
#define RCC_APB2ENR 0x46020CA4u

#define VOSR_BOOSTRDY (1u << 14)
#define VOSR_VOSRDY (1u << 15)
#define VOSR_VOS_RANGE1 (3u << 16)
#define VOSR_BOOSTEN (1u << 18)
#define FLASH_ACR_4_WAITS_PREFETCH (4u | 1u << 8)
#define PLL1CFGR_MSI_TO_R (1u | 1u << 18)                      /* source MSI, output R */
#define PLL1DIVR_80_BY_2 (79u | 1u << 9 | 1u << 16 | 1u << 24) /* 4 MHz * 80 / 2 */
#define CR_PLL1ON (1u << 24)
#define CR_PLL1RDY (1u << 25)
#define CFGR1_SW_PLL 3u
#define CFGR1_SWS_PLL (3u << 2)

static void start_clock(void) {
    *reg(RCC_AHB3ENR) |= 1u << 2; /* PWR */
    (void)*reg(RCC_AHB3ENR);      /* the clock is there two cycles later */
    *reg(PWR_VOSR) |= VOSR_VOS_RANGE1;
    (void)reg_becomes(PWR_VOSR, VOSR_VOSRDY, VOSR_VOSRDY);
    *reg(RCC_PLL1CFGR) = PLL1CFGR_MSI_TO_R; /* the booster has its clock from here */
    *reg(PWR_VOSR) |= VOSR_BOOSTEN;
    (void)reg_becomes(PWR_VOSR, VOSR_BOOSTRDY, VOSR_BOOSTRDY);
    *reg(FLASH_ACR) = FLASH_ACR_4_WAITS_PREFETCH;
    *reg(RCC_PLL1DIVR) = PLL1DIVR_80_BY_2;
    *reg(RCC_CR) |= CR_PLL1ON;
    if (reg_becomes(RCC_CR, CR_PLL1RDY, CR_PLL1RDY)) {
        reg_change(RCC_CFGR1, 3u, CFGR1_SW_PLL);
        (void)reg_becomes(RCC_CFGR1, 3u << 2, CFGR1_SWS_PLL);
    }
}

void board_init(void) {
    start_clock();
    *reg(ICACHE_CR) |= 1u;
    *reg(RCC_AHB2ENR1) |= 1u << 0; /* GPIOA */
    *reg(RCC_APB2ENR) |= 1u << 14; /* USART1 */
    stm32_pin_function(GPIOA, 9, 7);
    stm32_pin_function(GPIOA, 10, 7);
}
