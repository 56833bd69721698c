/* 64 MHz (2 wait states, prefetch, instruction cache): the PLL on the 16 MHz oscillator of the
 * chip; USART2 on PA2 and PA3, the ST-LINK's serial port (UM2324 6.8). Registers: RM0444 3.7.1
 * "FLASH_ACR", 5.4 "RCC registers"; wait states: 3.3.4; alternate function 1: STM32G0B1 data sheet,
 * table 13. Prefetch fails where code branches between the banks of the flash (errata sheet ES0548
 * 2.2.10); here all code lies at the start of the first, of 256 KB. */
#include "board.h"
#include "stm32_gpio.h"

#define RCC_CR 0x40021000u
#define RCC_CFGR 0x40021008u
#define RCC_PLLCFGR 0x4002100Cu
#define RCC_IOPENR 0x40021034u
#define RCC_APBENR1 0x4002103Cu
#define FLASH_ACR 0x40022000u
#define GPIOA 0x50000000u

#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define FLASH_ACR_2_WAITS_PREFETCH_CACHE (2u | 1u << 8 | 1u << 9)
#define FLASH_ACR_MASK (7u | 1u << 8 | 1u << 9)
#define PLL_HSI_TIMES_8_BY_2 (2u | 8u << 8 | 1u << 28 | 1u << 29)
#define CFGR_SW_PLL 2u
#define CFGR_SWS_PLL (2u << 3)

void board_init(void) {
    reg_change(FLASH_ACR, FLASH_ACR_MASK, FLASH_ACR_2_WAITS_PREFETCH_CACHE);
    *reg(RCC_PLLCFGR) = PLL_HSI_TIMES_8_BY_2;
    *reg(RCC_CR) |= CR_PLLON;
    if (reg_becomes(RCC_CR, CR_PLLRDY, CR_PLLRDY)) {
        reg_change(RCC_CFGR, 7u, CFGR_SW_PLL);
        (void)reg_becomes(RCC_CFGR, 7u << 3, CFGR_SWS_PLL);
    }
    *reg(RCC_IOPENR) |= 1u << 0;   /* GPIOA */
    *reg(RCC_APBENR1) |= 1u << 17; /* USART2 */
    stm32_pin_function(GPIOA, 2, 1);
    stm32_pin_function(GPIOA, 3, 1);
}
