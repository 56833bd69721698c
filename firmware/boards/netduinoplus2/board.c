/*
 * Text on USART1 (pins PB6/PB7): 115200 baud from the 16 MHz internal oscillator that the chip
 * starts with. Registers: RM0090 sections 7.3 "RCC registers", 8.4 "GPIO registers" and 30.6
 * "USART registers"; alternate function 7: STM32F405 data sheet, table 9.
 */
#include <stdint.h>

#include "board.h"

#define RCC_AHB1ENR (*(volatile uint32_t *)0x40023830u)
#define RCC_APB2ENR (*(volatile uint32_t *)0x40023844u)
#define GPIOB_MODER (*(volatile uint32_t *)0x40020400u)
#define GPIOB_AFRL (*(volatile uint32_t *)0x40020420u)
#define USART1_SR (*(volatile uint32_t *)0x40011000u)
#define USART1_DR (*(volatile uint32_t *)0x40011004u)
#define USART1_BRR (*(volatile uint32_t *)0x40011008u)
#define USART1_CR1 (*(volatile uint32_t *)0x4001100Cu)

#define RCC_AHB1ENR_GPIOBEN (1u << 1)
#define RCC_APB2ENR_USART1EN (1u << 4)
#define USART_SR_TC (1u << 6)
#define USART_SR_TXE (1u << 7)
#define USART_CR1_UE_TE ((1u << 13) | (1u << 3))
#define USART_BRR_115200_AT_16MHZ 139u

void board_init(void) {
    RCC_AHB1ENR |= RCC_AHB1ENR_GPIOBEN;
    RCC_APB2ENR |= RCC_APB2ENR_USART1EN;
    GPIOB_MODER = (GPIOB_MODER & ~(0xFu << 12)) | (0xAu << 12); /* PB6, PB7: alternate function */
    GPIOB_AFRL = (GPIOB_AFRL & ~(0xFFu << 24)) | (0x77u << 24); /* ... which is USART1 */
    USART1_BRR = USART_BRR_115200_AT_16MHZ;
    USART1_CR1 = USART_CR1_UE_TE;
}

void board_text(const char *text) {
    for (; *text != '\0'; text++) {
        while ((USART1_SR & USART_SR_TXE) == 0) {
        }
        USART1_DR = (uint8_t)*text;
    }
    while ((USART1_SR & USART_SR_TC) == 0) {
    }
}
