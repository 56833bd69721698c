/* Text goes to the debug host. */
#include "board.h"
#include "semihosting.h"

void board_text_start(void) {}

void board_text(const char *text) { semihosting_text(text); }
