/* A board that needs no setting up and whose text goes to the debug host. */
#include "board.h"
#include "semihosting.h"

void board_init(void) {}

void board_text(const char *text) { semihosting_text(text); }
