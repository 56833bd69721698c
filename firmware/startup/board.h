/* What a board provides: boards/<board>/board.c, or board_default.c when there is none. */
#ifndef THUMBNET_BOARD_H
#define THUMBNET_BOARD_H

/* Called before main, with .data and .bss ready. */
void board_init(void);
/* Writes a zero-terminated text where a person sees it; also called from fault handlers. */
void board_text(const char *text);

#endif
