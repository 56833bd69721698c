/* 216 MHz with over-drive (7 wait states, prefetch, ART, the core's caches); USART1 on PA9 and PB7,
 * the ST-LINK's serial port (UM1907 6.3); the quad-SPI flash N25Q128A as memory (UM1907 6.10). Wait
 * states: RM0385 3.3.2 table 5; registers: 14.5 "QUADSPI registers"; alternate functions: STM32F746
 * data sheet, table 12; commands 06h, 6Bh and 81h: N25Q128A data sheet, "Command set". */
#include "board.h"
#include "m7_caches.h"
#include "stm32_gpio.h"
#include "stm32f4_clock.h"

#define GPIOA 0x40020000u
#define GPIOB 0x40020400u
#define GPIOD 0x40020C00u
#define GPIOE 0x40021000u
#define RCC_AHB3ENR 0x40023838u
#define QUADSPI_CR 0xA0001000u
#define QUADSPI_DCR 0xA0001004u
#define QUADSPI_SR 0xA0001008u
#define QUADSPI_FCR 0xA000100Cu
#define QUADSPI_CCR 0xA0001014u
#define QUADSPI_DR 0xA0001020u

#define FLASH_ACR_7_WAITS_PREFETCH_ART (7u | 1u << 8 | 1u << 9)
#define CR_54_MHZ_ENABLED (3u << 24 | 1u << 4 | 1u) /* 216 MHz / 4, sampled half a cycle later */
#define DCR_16_MIB (23u << 16 | 2u << 8)            /* 2^(23+1) bytes; 50 ns between commands */
#define SR_TCF (1u << 1)
#define SR_BUSY (1u << 5)
#define CCR_WRITE_ENABLE (1u << 8 | 0x06u)
#define CCR_WRITE_VOLATILE_CONFIGURATION (1u << 24 | 1u << 8 | 0x81u)
#define VOLATILE_CONFIGURATION_8_CYCLES (8u << 4 | 1u << 3 | 3u) /* no XIP, no wrapping */
/* Memory-mapped: command 6Bh and 24 bits of address on one line, 8 cycles, data on four lines. */
#define CCR_QUAD_READ (3u << 26 | 3u << 24 | 8u << 18 | 2u << 12 | 1u << 10 | 1u << 8 | 0x6Bu)

static void finish_command(void) {
    (void)reg_becomes(QUADSPI_SR, SR_TCF, SR_TCF);
    *reg(QUADSPI_FCR) = SR_TCF;
    (void)reg_becomes(QUADSPI_SR, SR_BUSY, 0);
}

/* The flash may wait for another number of cycles: one that a program has set, as ST's does, stays
 * until power is off. */
static void set_wait_cycles(void) {
    *reg(QUADSPI_CCR) = CCR_WRITE_ENABLE;
    finish_command();
    *reg(QUADSPI_CCR) = CCR_WRITE_VOLATILE_CONFIGURATION;
    *(volatile uint8_t *)QUADSPI_DR = VOLATILE_CONFIGURATION_8_CYCLES;
    finish_command();
}

static void start_quad_spi(void) {
    static const struct {
        uint32_t port, pin, function;
    } pins[] = {{GPIOB, 2, 9},  {GPIOB, 6, 10}, {GPIOD, 11, 9},
                {GPIOD, 12, 9}, {GPIOE, 2, 9},  {GPIOD, 13, 9}}; /* clock, select, data 0 to 3 */
    for (uint32_t i = 0; i < sizeof pins / sizeof pins[0]; i++) {
        stm32_pin_fast(pins[i].port, pins[i].pin);
        stm32_pin_function(pins[i].port, pins[i].pin, pins[i].function);
    }
    *reg(RCC_AHB3ENR) |= 1u << 1;
    (void)*reg(RCC_AHB3ENR); /* the clock is there two cycles later */
    *reg(QUADSPI_DCR) = DCR_16_MIB;
    *reg(QUADSPI_CR) = CR_54_MHZ_ENABLED;
    set_wait_cycles();
    *reg(QUADSPI_CCR) = CCR_QUAD_READ;
}

void board_init(void) {
    stm32f4_clock(216, FLASH_ACR_7_WAITS_PREFETCH_ART, true);
    *reg(RCC_AHB1ENR) |= 1u << 0 | 1u << 1 | 1u << 3 | 1u << 4; /* GPIOA, B, D, E */
    *reg(RCC_APB2ENR) |= 1u << 4;                               /* USART1 */
    stm32_pin_function(GPIOA, 9, 7);
    stm32_pin_function(GPIOB, 7, 7);
    start_quad_spi();
    m7_enable_caches();
}
