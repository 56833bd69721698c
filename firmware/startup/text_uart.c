/* Text goes to the serial port. */
#include "board.h"
#include "uart.h"

void board_text_start(void) { uart_init(); }

void board_text(const char *text) {
    for (; *text != '\0'; text++) {
        uart_put((uint8_t)*text);
    }
    uart_drain();
}
