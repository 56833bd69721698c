/* A board that needs no setting up. */
#include "board.h"

void board_init(void) {}
