/*
 * A serial port, 8 data bits, no parity, polled. Which peripheral it is comes from board.toml:
 * THUMBNET_UART_BASE (address), THUMBNET_UART_HZ (its clock), THUMBNET_UART_BAUD.
 */
#ifndef THUMBNET_UART_H
#define THUMBNET_UART_H

#include <stdbool.h>
#include <stdint.h>

#define UART_REGISTER(offset) (*(volatile uint32_t *)(THUMBNET_UART_BASE + (offset)))

/* The peripheral is clocked and its pins are connected: board_init has seen to that. */
void uart_init(void);
/* True when there was a byte. Bytes that came too fast are lost, and nothing else. */
bool uart_get(uint8_t *byte);
/* Waits for room. */
void uart_put(uint8_t byte);
/* Waits until all is sent. */
void uart_drain(void);

#endif
