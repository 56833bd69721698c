/* 216 MHz with over-drive (7 wait states, prefetch, ART, the core's caches); USART1 on PA9 and PB7,
 * the ST-LINK's serial port (UM1907 6.3). Wait states: RM0385 3.3.2 table 5; alternate function 7:
 * STM32F746 data sheet, table 12. */
#include "board.h"
#include "m7_caches.h"
#include "stm32_gpio.h"
#include "stm32f4_clock.h"

#define GPIOA 0x40020000u
#define GPIOB 0x40020400u

#define FLASH_ACR_7_WAITS_PREFETCH_ART (7u | 1u << 8 | 1u << 9)

void board_init(void) {
    stm32f4_clock(216, FLASH_ACR_7_WAITS_PREFETCH_ART, true);
    m7_enable_caches();
    *reg(RCC_AHB1ENR) |= 3u << 0; /* GPIOA, GPIOB */
    *reg(RCC_APB2ENR) |= 1u << 4; /* USART1 */
    stm32_pin_function(GPIOA, 9, 7);
    stm32_pin_function(GPIOB, 7, 7);
}
