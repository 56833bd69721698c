/* The runner's port to a Cortex-M: files by semihosting, text by the board, the process stack of
 * startup.c. Counting is in count.c. */
#include "board.h"
#include "port.h"
#include "semihosting.h"

int32_t port_open_read(const char *path) { return semihosting_open(path, SEMIHOSTING_READ); }

int32_t port_open_write(const char *path) { return semihosting_open(path, SEMIHOSTING_WRITE); }

bool port_close(int32_t file) { return semihosting_close(file) == 0; }

int32_t port_length(int32_t file) { return semihosting_length(file); }

bool port_read(int32_t file, void *data, uint32_t bytes) {
    return semihosting_read(file, data, bytes) == 0;
}

bool port_write(int32_t file, const void *data, uint32_t bytes) {
    return semihosting_write(file, data, bytes) == 0;
}

void port_text(const char *text) { board_text(text); }

/* Both in assembly: a compiler may save registers below the SP it was asked for. r0 goes up from
 * the lowest word, r1 is the paint, r2 the caller's SP. */
#define WALK_STACK                                                                                 \
    ".syntax unified\n"                                                                            \
    "ldr r0, =ld_process_stack_start\n"                                                            \
    "ldr r1, =0xC5C5C5C5\n"                                                                        \
    "mov r2, sp\n"

__attribute__((naked)) void port_stack_paint(void) {
    __asm volatile(WALK_STACK "1: cmp r0, r2\n"
                              "bhs 2f\n"
                              "stm r0!, {r1}\n"
                              "b 1b\n"
                              "2: bx lr\n");
}

__attribute__((naked)) uint32_t port_stack_used(void) {
    __asm volatile(WALK_STACK "1: cmp r0, r2\n"
                              "bhs 2f\n"
                              "ldr r3, [r0]\n"
                              "cmp r3, r1\n"
                              "bne 2f\n"
                              "adds r0, #4\n"
                              "b 1b\n"
                              "2: subs r0, r2, r0\n"
                              "bx lr\n");
}
