/* 400 MHz, which every revision of the chip reaches (480 MHz only revision V): the PLL on the 64
 * MHz oscillator of the chip, buses at 200 MHz and 100 MHz; the core's caches; USART3 on PD8 and
 * PD9, the ST-LINK's serial port (UM1974 6.9). Registers: RM0433 4.9.1 "FLASH_ACR", 6.8 "PWR
 * registers", 8.7 "RCC registers"; wait states: 4.3.8 table 17; alternate function 7: STM32H743
 * data sheet, table 11; AXI SRAM: errata sheet ES0392 2.2.9. */
#include "board.h"
#include "m7_caches.h"
#include "stm32_gpio.h"

#define AXI_TARG7_FN_MOD 0x51008108u
#define FLASH_ACR 0x52002000u
#define GPIOD 0x58020C00u
#define RCC_CR 0x58024400u
#define RCC_CFGR 0x58024410u
#define RCC_D1CFGR 0x58024418u
#define RCC_D2CFGR 0x5802441Cu
#define RCC_D3CFGR 0x58024420u
#define RCC_PLLCKSELR 0x58024428u
#define RCC_PLLCFGR 0x5802442Cu
#define RCC_PLL1DIVR 0x58024430u
#define RCC_AHB4ENR 0x580244E0u
#define RCC_APB1LENR 0x580244E8u
#define PWR_CSR1 0x58024804u
#define PWR_CR3 0x5802480Cu
#define PWR_D3CR 0x58024818u
#define DBGMCU_IDC 0x5C001000u

#define READ_ISS_OVERRIDE 1u
#define REVISION_V 0x2000u
#define CR_PLL1ON (1u << 24)
#define CR_PLL1RDY (1u << 25)
#define CSR1_ACTVOSRDY (1u << 13)
#define CR3_LDOEN (1u << 1)
#define D3CR_VOSRDY (1u << 13)
#define D3CR_VOS_SCALE1 (3u << 14)
#define FLASH_ACR_2_WAITS (2u | 2u << 4)  /* and the programming delay for 200 MHz */
#define PLLCFGR_PLL1 (1u << 16 | 3u << 2) /* output P, input of 8 to 16 MHz */
#define PLL1_50_BY_2 (49u | 1u << 9)
#define CFGR_SW_PLL1 3u
#define CFGR_SWS_PLL1 (3u << 3)

static void start_clock(void) {
    *reg(PWR_CR3) = CR3_LDOEN; /* once after power-on, before the voltage may change */
    (void)reg_becomes(PWR_CSR1, CSR1_ACTVOSRDY, CSR1_ACTVOSRDY);
    *reg(PWR_D3CR) = D3CR_VOS_SCALE1;
    (void)reg_becomes(PWR_D3CR, D3CR_VOSRDY, D3CR_VOSRDY);
    *reg(FLASH_ACR) = FLASH_ACR_2_WAITS;
    *reg(RCC_PLLCKSELR) = 4u << 4; /* 64 MHz / 4 */
    *reg(RCC_PLLCFGR) = PLLCFGR_PLL1;
    *reg(RCC_PLL1DIVR) = PLL1_50_BY_2; /* 16 MHz * 50 / 2 */
    *reg(RCC_CR) |= CR_PLL1ON;
    *reg(RCC_D1CFGR) = 8u | 4u << 4;      /* AXI and AHB / 2, APB3 / 2 */
    *reg(RCC_D2CFGR) = 4u << 4 | 4u << 8; /* APB1 / 2, APB2 / 2 */
    *reg(RCC_D3CFGR) = 4u << 4;           /* APB4 / 2 */
    if (reg_becomes(RCC_CR, CR_PLL1RDY, CR_PLL1RDY)) {
        reg_change(RCC_CFGR, 7u, CFGR_SW_PLL1);
        (void)reg_becomes(RCC_CFGR, 7u << 3, CFGR_SWS_PLL1);
    }
}

/* Before revision V, overlapping reads of AXI SRAM may give wrong data: one at a time. */
static void correct_axi_sram(void) {
    if (*reg(DBGMCU_IDC) >> 16 < REVISION_V) {
        *reg(AXI_TARG7_FN_MOD) = READ_ISS_OVERRIDE;
    }
}

void board_init(void) {
    correct_axi_sram();
    start_clock();
    m7_enable_caches();
    *reg(RCC_AHB4ENR) |= 1u << 3;   /* GPIOD */
    *reg(RCC_APB1LENR) |= 1u << 18; /* USART3 */
    stm32_pin_function(GPIOD, 8, 7);
    stm32_pin_function(GPIOD, 9, 7);
}
