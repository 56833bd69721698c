/* 168 MHz (5 wait states, prefetch, both caches of the flash interface); USART1 on PB6 and PB7.
 * Wait states: RM0090 3.5.1 table 10; alternate function 7: STM32F405 data sheet, table 9. */
#include "board.h"
#include "stm32_gpio.h"
#include "stm32f4_clock.h"

#define GPIOB 0x40020400u

#define FLASH_ACR_5_WAITS_AND_CACHES (5u | 1u << 8 | 1u << 9 | 1u << 10)

void board_init(void) {
    stm32f4_clock(168, FLASH_ACR_5_WAITS_AND_CACHES, false);
    *reg(RCC_AHB1ENR) |= 1u << 1; /* GPIOB */
    *reg(RCC_APB2ENR) |= 1u << 4; /* USART1 */
    stm32_pin_function(GPIOB, 6, 7);
    stm32_pin_function(GPIOB, 7, 7);
}
