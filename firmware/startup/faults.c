/*
 * The exception vectors, and the report of an exception that nobody expects: its number, the
 * stacked registers and the fault status, in the form that thumbnet's qemu.py reads, then the end
 * of the run with status 1. Decoding bits into words is left to the host.
 *
 * Exception numbers, frame and EXC_RETURN: ARMv7-M Architecture Reference Manual (DDI 0403)
 * B1.5; fault status registers: B3.2.15 to B3.2.18; CFSR.STKOF: ARMv8-M (DDI 0553) D1.2.
 */
#include <stdint.h>

#include "board.h"
#include "semihosting.h"
#include "startup.h"

#define SCB_CFSR (*(volatile uint32_t *)0xE000ED28u)
#define SCB_HFSR (*(volatile uint32_t *)0xE000ED2Cu)
#define SCB_MMFAR (*(volatile uint32_t *)0xE000ED34u)
#define SCB_BFAR (*(volatile uint32_t *)0xE000ED38u)

/* CFSR: MSTKERR, STKERR, STKOF: the exception frame could not be written. */
#define CFSR_FRAME_LOST ((1u << 4) | (1u << 12) | (1u << 20))
#define EXC_RETURN_PROCESS_STACK (1u << 2)

enum { FRAME_LR = 5, FRAME_PC = 6, FRAME_XPSR = 7, FRAME_BYTES = 32 };

extern uint32_t ld_main_stack_start[], ld_main_stack_end[];
extern const uint32_t ld_text_start[], ld_text_end[];

void fault_report(const uint32_t *frame, uint32_t exc_return) __attribute__((noreturn, used));

typedef void (*vector)(void);

struct vector_table {
    // cppcheck-suppress unusedStructMember ; read by the core
    uint32_t *main_stack;
    // cppcheck-suppress unusedStructMember ; read by the core
    vector handlers[15];
};

__attribute__((section(".vectors"), used)) static const struct vector_table vectors = {
    ld_main_stack_end,
    {
        reset_handler,
        fault_handler, /* 2 NMI */
        fault_handler, /* 3 HardFault */
        fault_handler, /* 4 MemManage */
        fault_handler, /* 5 BusFault */
        fault_handler, /* 6 UsageFault */
        fault_handler, /* 7 SecureFault */
        fault_handler,
        fault_handler,
        fault_handler,
        fault_handler, /* 11 SVCall */
        fault_handler, /* 12 DebugMonitor */
        fault_handler,
        fault_handler, /* 14 PendSV */
        systick_handler,
    }};

/* Runs on the main stack, whatever state the process stack is in. */
__attribute__((naked)) void fault_handler(void) {
    __asm volatile(
        ".syntax unified\n"
        "mrs r0, msp\n"
        "mov r1, lr\n"
        "lsrs r2, r1, #3\n" /* EXC_RETURN bit 2 to carry: frame is on the process stack */
        "bcc 1f\n"
        "mrs r0, psp\n"
        "1: ldr r2, =fault_report\n"
        "bx r2\n");
}

static void put_field(const char *name, uint32_t value) {
    char text[12] = "0x";
    for (unsigned i = 0; i < 8; i++) {
        text[2 + i] = "0123456789abcdef"[(value >> (28 - 4 * i)) & 15u];
    }
    text[10] = '\0';
    board_text(name);
    board_text(text);
}

/* A frame that lies wholly inside its stack was written, one that does not was not. */
static int frame_is_readable(const uint32_t *frame, uint32_t exc_return) {
    uint32_t start = (uint32_t)ld_main_stack_start;
    uint32_t end = (uint32_t)ld_main_stack_end;
    if ((exc_return & EXC_RETURN_PROCESS_STACK) != 0) {
        start = (uint32_t)ld_process_stack_start;
        end = (uint32_t)ld_process_stack_end;
    }
    if (startup_is_mainline() && (SCB_CFSR & CFSR_FRAME_LOST) != 0) {
        return 0;
    }
    return (uint32_t)frame >= start && (uint32_t)frame <= end - FRAME_BYTES;
}

/* The innermost return addresses that lie on an overflown process stack: the nearest there is to
 * PC and LR when the core could not save them. */
static void put_stack_return_addresses(void) {
    const char *name = " stacked=";
    unsigned found = 0;
    const uint32_t *const stack = ld_process_stack_start;
    const uint32_t words = ((uint32_t)ld_process_stack_end - (uint32_t)stack) / 4u;
    for (uint32_t i = 0; i < words && found < 2; i++) {
        const uint32_t word = stack[i];
        if ((word & 1u) != 0 && word > (uint32_t)ld_text_start && word < (uint32_t)ld_text_end) {
            put_field(name, word);
            name = ",";
            found++;
        }
    }
}

void fault_report(const uint32_t *frame, uint32_t exc_return) {
    uint32_t number;
    __asm volatile("mrs %0, ipsr" : "=r"(number));
    put_field("\nthumbnet fault exception=", number);
    if (frame_is_readable(frame, exc_return)) {
        put_field(" pc=", frame[FRAME_PC]);
        put_field(" lr=", frame[FRAME_LR]);
        put_field(" xpsr=", frame[FRAME_XPSR]);
    } else {
        put_stack_return_addresses();
    }
    put_field(" sp=", (uint32_t)frame);
    if (startup_is_mainline()) {
        put_field(" cfsr=", SCB_CFSR);
        put_field(" hfsr=", SCB_HFSR);
        put_field(" mmfar=", SCB_MMFAR);
        put_field(" bfar=", SCB_BFAR);
    }
    board_text("\n");
#ifdef THUMBNET_STANDALONE
    for (;;) { /* nobody is there whom to tell; what was said must reach the desktop */
    }
#else
    semihosting_exit(1);
#endif
}
