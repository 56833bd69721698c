/*
 * The second stage of booting: RP2040's ROM copies these 256 bytes from the start of the flash to
 * the end of RAM, checks the CRC in the last four, and calls them. They let the flash be read in
 * place, by the serial read command 03h that every flash chip knows, and enter the program, whose
 * vectors follow. RP2040 data sheet 2.8.1.3 "Flash second stage", 4.10.13 "SSI registers".
 *
 * The CRC, of the 252 bytes before it, has the polynomial 04C11DB7h, begins with FFFFFFFFh, and
 * nothing in it is reflected. A test tells the right value after a change.
 */
    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .equ SSI, 0x18000000
    .equ CTRLR0, 0x00
    .equ CTRLR1, 0x04
    .equ SSIENR, 0x08
    .equ BAUDR, 0x14
    .equ SPI_CTRLR0, 0xF4
    .equ SCB_VTOR, 0xE000ED08
    .equ VECTORS, 0x10000100

    .section .boot2, "ax", %progbits
    ldr r3, =SSI
    movs r0, #0
    str r0, [r3, #SSIENR]       /* off while it is set up */
    movs r0, #4
    str r0, [r3, #BAUDR]        /* a quarter of the core's clock: 31 MHz at 125 MHz */
    ldr r0, =0x001F0300         /* frames of 32 bits; send, then receive */
    str r0, [r3, #CTRLR0]
    movs r0, #0
    str r0, [r3, #CTRLR1]       /* one frame a read */
    ldr r0, =0x03000218         /* command 03h of 8 bits, address of 24 bits */
    ldr r1, =SSI + SPI_CTRLR0
    str r0, [r1]
    movs r0, #1
    str r0, [r3, #SSIENR]

    ldr r0, =VECTORS
    ldr r1, =SCB_VTOR
    str r0, [r1]
    ldr r1, [r0]
    msr msp, r1
    ldr r1, [r0, #4]
    bx r1

    .ltorg
    .org 252
    .word 0xCA1A5616            /* CRC */
