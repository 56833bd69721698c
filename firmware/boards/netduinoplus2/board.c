/* The serial port USART1 on pins PB6 and PB7. Registers: RM0090 sections 7.3 "RCC registers" and
 * 8.4 "GPIO registers"; alternate function 7: STM32F405 data sheet, table 9. */
#include <stdint.h>

#include "board.h"

#define RCC_AHB1ENR (*(volatile uint32_t *)0x40023830u)
#define RCC_APB2ENR (*(volatile uint32_t *)0x40023844u)
#define GPIOB_MODER (*(volatile uint32_t *)0x40020400u)
#define GPIOB_AFRL (*(volatile uint32_t *)0x40020420u)

#define RCC_AHB1ENR_GPIOBEN (1u << 1)
#define RCC_APB2ENR_USART1EN (1u << 4)

void board_init(void) {
    RCC_AHB1ENR |= RCC_AHB1ENR_GPIOBEN;
    RCC_APB2ENR |= RCC_APB2ENR_USART1EN;
    GPIOB_MODER = (GPIOB_MODER & ~(0xFu << 12)) | (0xAu << 12); /* PB6, PB7: alternate function */
    GPIOB_AFRL = (GPIOB_AFRL & ~(0xFFu << 24)) | (0x77u << 24); /* ... which is USART1 */
}
