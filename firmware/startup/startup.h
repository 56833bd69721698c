/* What startup.c and faults.c share with each other and with the runner's port. */
#ifndef THUMBNET_STARTUP_H
#define THUMBNET_STARTUP_H

#include <stdint.h>

/* Bounds of the process stack, by the linker script. */
extern uint32_t ld_process_stack_start[], ld_process_stack_end[];

void reset_handler(void);
void fault_handler(void);
void systick_handler(void);

int startup_is_mainline(void);

#endif
