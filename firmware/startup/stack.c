#include "stack.h"

#include "startup.h"

/* Both in assembly: a compiler may save registers below the SP it was asked for. r0 goes up from
 * the lowest word, r1 is the paint, r2 the caller's SP. */
#define WALK_STACK                                                                                 \
    ".syntax unified\n"                                                                            \
    "ldr r0, =ld_process_stack_start\n"                                                            \
    "ldr r1, =0xC5C5C5C5\n"                                                                        \
    "mov r2, sp\n"

__attribute__((naked)) void stack_paint(void) {
    __asm volatile(WALK_STACK "1: cmp r0, r2\n"
                              "bhs 2f\n"
                              "stm r0!, {r1}\n"
                              "b 1b\n"
                              "2: bx lr\n");
}

__attribute__((naked)) uint32_t stack_used(void) {
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

uint32_t stack_high_water(void) {
    uint32_t sp;
    __asm volatile("mov %0, sp" : "=r"(sp));
    return (uint32_t)ld_process_stack_end - sp + stack_used();
}
