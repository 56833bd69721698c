/* 125 MHz: the PLL on the 12 MHz crystal; UART0 on GPIO0 and GPIO1. Registers: RP2040 data sheet
 * 2.14.3 "RESETS", 2.15.7 "CLOCKS", 2.16.7 "XOSC", 2.18.4 "PLL", 2.19.6 "IO_BANK0"; 2.1.2 for the
 * aliases that set and clear bits. boot2.S has made the flash readable. A debugger resets the core
 * alone, so that clocks and peripherals may be as another program left them. */
#include "board.h"
#include "registers.h"

#define SETS_BITS 0x2000u
#define CLEARS_BITS 0x3000u

#define CLK_REF_CTRL 0x40008030u
#define CLK_REF_SELECTED 0x40008038u
#define CLK_SYS_CTRL 0x4000803Cu
#define CLK_SYS_SELECTED 0x40008044u
#define CLK_PERI_CTRL 0x40008048u
#define RESETS_RESET 0x4000C000u
#define RESETS_DONE 0x4000C008u
#define GPIO0_CTRL 0x40014004u
#define GPIO1_CTRL 0x4001400Cu
#define XOSC_CTRL 0x40024000u
#define XOSC_STATUS 0x40024004u
#define XOSC_STARTUP 0x4002400Cu
#define PLL_SYS_CS 0x40028000u
#define PLL_SYS_PWR 0x40028004u
#define PLL_SYS_FBDIV 0x40028008u
#define PLL_SYS_PRIM 0x4002800Cu

#define STABLE_OR_LOCKED (1u << 31)
#define XOSC_ENABLE_1_TO_15_MHZ (0xFABu << 12 | 0xAA0u)
#define XOSC_STARTUP_1_MS 47u
#define PLL_PWR_PD_AND_VCOPD (1u | 1u << 5)
#define PLL_PWR_POSTDIVPD (1u << 3)
#define PLL_BY_6_BY_2 (6u << 16 | 2u << 12)
#define RESET_IO_BANK0 (1u << 5)
#define RESET_PADS_BANK0 (1u << 8)
#define RESET_PLL_SYS (1u << 12)
#define RESET_UART0 (1u << 22)
#define CLK_PERI_ENABLE (1u << 11)
#define FUNCTION_UART 2u

static void restart(uint32_t blocks) {
    *reg(RESETS_RESET + SETS_BITS) = blocks;
    *reg(RESETS_RESET + CLEARS_BITS) = blocks;
    (void)reg_becomes(RESETS_DONE, blocks, blocks);
}

static void start_clock(void) {
    *reg(XOSC_STARTUP) = XOSC_STARTUP_1_MS;
    *reg(XOSC_CTRL) = XOSC_ENABLE_1_TO_15_MHZ;
    (void)reg_becomes(XOSC_STATUS, STABLE_OR_LOCKED, STABLE_OR_LOCKED);
    *reg(CLK_REF_CTRL) = 2; /* the crystal */
    (void)reg_becomes(CLK_REF_SELECTED, 1u << 2, 1u << 2);
    *reg(CLK_SYS_CTRL + CLEARS_BITS) = 1; /* clk_ref, while the PLL is off */
    (void)reg_becomes(CLK_SYS_SELECTED, 1u << 0, 1u << 0);
    restart(RESET_PLL_SYS);
    *reg(PLL_SYS_CS) = 1;
    *reg(PLL_SYS_FBDIV) = 125; /* 12 MHz * 125 / 6 / 2 */
    *reg(PLL_SYS_PWR + CLEARS_BITS) = PLL_PWR_PD_AND_VCOPD;
    (void)reg_becomes(PLL_SYS_CS, STABLE_OR_LOCKED, STABLE_OR_LOCKED);
    *reg(PLL_SYS_PRIM) = PLL_BY_6_BY_2;
    *reg(PLL_SYS_PWR + CLEARS_BITS) = PLL_PWR_POSTDIVPD;
    *reg(CLK_SYS_CTRL) = 1; /* the auxiliary source, which is this PLL */
    (void)reg_becomes(CLK_SYS_SELECTED, 1u << 1, 1u << 1);
    *reg(CLK_PERI_CTRL) = CLK_PERI_ENABLE;
}

void board_init(void) {
    start_clock();
    restart(RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_UART0);
    *reg(GPIO0_CTRL) = FUNCTION_UART;
    *reg(GPIO1_CTRL) = FUNCTION_UART;
}
