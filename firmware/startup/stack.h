/* How deep the process stack has been. */
#ifndef THUMBNET_STACK_H
#define THUMBNET_STACK_H

#include <stdint.h>

/* Fills the unused part of the stack with a pattern. */
void stack_paint(void);
/* Bytes of the stack written since then, from the frame of the caller down; 0 when unknown. */
uint32_t stack_used(void);
/* Bytes of the stack written since then in all, those of main and of interrupts too. */
uint32_t stack_high_water(void);

#endif
