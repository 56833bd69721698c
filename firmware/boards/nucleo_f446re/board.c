/* 180 MHz with over-drive (5 wait states, prefetch, both caches of the flash interface); USART2 on
 * PA2 and PA3, the ST-LINK's serial port (UM1724 6.8). Wait states: RM0390 3.4.1 table 5;
 * alternate function 7: STM32F446 data sheet, table 11. */
#include "board.h"
#include "stm32_gpio.h"
#include "stm32f4_clock.h"

#define GPIOA 0x40020000u

#define FLASH_ACR_5_WAITS_AND_CACHES (5u | 1u << 8 | 1u << 9 | 1u << 10)

void board_init(void) {
    stm32f4_clock(180, FLASH_ACR_5_WAITS_AND_CACHES, true);
    *reg(RCC_AHB1ENR) |= 1u << 0;  /* GPIOA */
    *reg(RCC_APB1ENR) |= 1u << 17; /* USART2 */
    stm32_pin_function(GPIOA, 2, 7);
    stm32_pin_function(GPIOA, 3, 7);
}
