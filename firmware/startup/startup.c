/*
 * Reset for every Cortex-M from ARMv6-M to ARMv8.1-M. The exception vectors and faults are in
 * faults.c, the memory map is in the linker script.
 *
 * The reset sequence:
 *   1. the core loads the main stack pointer from vector 0 and enters reset_handler;
 *   2. FPU and vector unit are switched on where the build uses them, since from here on the
 *      compiler may use their registers even in plain C;
 *   3. thread mode moves to the process stack; the main stack stays with the handlers, so that a
 *      fault can still be told when the process stack is what broke;
 *   4. the end of the process stack, which is the start of RAM, is guarded: by PSPLIM on ARMv8-M,
 *      by an MPU region below RAM on ARMv7-M, by the lack of memory there on ARMv6-M;
 *   5. memory, bus and usage faults get handlers of their own instead of all being HardFaults;
 *   6. .data (and weights that belong in RAM) are copied from flash and .bss is cleared;
 *   7. board_init, board_text_start, main, and the end of the run with main's status.
 *
 * Register addresses and bits: ARMv7-M Architecture Reference Manual (DDI 0403) B3.2 "System
 * Control Space" and B3.5 "PMSAv7"; ARMv8-M (DDI 0553) D1.2; the CPUID Architecture field also
 * in ARMv6-M (DDI 0419) B3.2.3.
 */
#include <stdint.h>

#include "board.h"
#include "semihosting.h"
#include "startup.h"

#define SCB_CPUID (*(volatile uint32_t *)0xE000ED00u)
#define SCB_VTOR (*(volatile uint32_t *)0xE000ED08u)
#define SCB_CCR (*(volatile uint32_t *)0xE000ED14u)
#define SCB_SHCSR (*(volatile uint32_t *)0xE000ED24u)
#define MPU_TYPE (*(volatile uint32_t *)0xE000ED90u)
#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94u)
#define MPU_RNR (*(volatile uint32_t *)0xE000ED98u)
#define MPU_RBAR (*(volatile uint32_t *)0xE000ED9Cu)
#define MPU_RASR (*(volatile uint32_t *)0xE000EDA0u)

#define CPUID_ARCHITECTURE_MASK 0x000F0000u
#define CPUID_ARCHITECTURE_MAINLINE 0x000F0000u
#define CCR_UNALIGN_TRP (1u << 3)
#define SHCSR_FAULTS_ENABLED (7u << 16) /* MEMFAULTENA, BUSFAULTENA, USGFAULTENA */
#define MPU_CTRL_ENABLE_PRIVDEFENA 5u
#define GUARD_BYTES 4096u /* more than a stack frame, so that none leaps over it */
#define MPU_RASR_GUARD ((1u << 28) | (11u << 1) | 1u) /* XN, no access, 2^(11+1) bytes */

#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
/* CPACR: full access to coprocessors 10 and 11. */
#define ENABLE_FPU_AND_MVE                                                                         \
    "ldr r0, =0xE000ED88\n"                                                                        \
    "ldr r1, [r0]\n"                                                                               \
    "ldr r2, =0x00F00000\n"                                                                        \
    "orrs r1, r2\n"                                                                                \
    "str r1, [r0]\n"                                                                               \
    "dsb\n"                                                                                        \
    "isb\n"
#else
#define ENABLE_FPU_AND_MVE
#endif

/* What has to be copied: from, to, and the end of that. */
struct copy {
    const uint32_t *from;
    uint32_t *to, *end;
};

extern uint32_t ld_bss_start[], ld_bss_end[];
extern const uint32_t ld_vectors[];
extern const struct copy ld_copies_start[], ld_copies_end[];

int main(void);
void thumbnet_start(void) __attribute__((noreturn, used));

__attribute__((naked, noreturn)) void reset_handler(void) {
    __asm volatile(".syntax unified\n" ENABLE_FPU_AND_MVE "ldr r0, =ld_process_stack_end\n"
                   "msr psp, r0\n"
                   "movs r0, #2\n" /* CONTROL.SPSEL */
                   "msr control, r0\n"
                   "isb\n"
                   "ldr r0, =thumbnet_start\n"
                   "bx r0\n");
}

/* Whether the core has ARMv7-M's fault system. Asked at run time and not by the compiler's target
 * because code for an M0+ may run on an M3. */
int startup_is_mainline(void) {
    return (SCB_CPUID & CPUID_ARCHITECTURE_MASK) == CPUID_ARCHITECTURE_MAINLINE;
}

static void guard_process_stack(void) {
#if __ARM_ARCH >= 8
    __asm volatile("msr psplim, %0" : : "r"(ld_process_stack_start));
#else
    if (MPU_TYPE != 0) {
        MPU_RNR = 0;
        MPU_RBAR = (uint32_t)ld_process_stack_start - GUARD_BYTES;
        MPU_RASR = MPU_RASR_GUARD;
        MPU_CTRL = MPU_CTRL_ENABLE_PRIVDEFENA;
        __asm volatile("dsb\nisb" ::: "memory");
    }
#endif
}

static void enable_faults(void) {
    if (startup_is_mainline()) {
        SCB_VTOR = (uint32_t)ld_vectors;
        SCB_SHCSR |= SHCSR_FAULTS_ENABLED;
#ifdef THUMBNET_TRAP_UNALIGNED
        SCB_CCR |= CCR_UNALIGN_TRP;
#endif
    }
}

void thumbnet_start(void) {
    guard_process_stack();
    enable_faults();
    for (const struct copy *copy = ld_copies_start; copy != ld_copies_end; copy++) {
        const uint32_t *from = copy->from;
        for (uint32_t *p = copy->to; p != copy->end; p++) {
            *p = *from++;
        }
    }
    for (uint32_t *p = ld_bss_start; p != ld_bss_end; p++) {
        *p = 0;
    }
    board_init();
    board_text_start();
    semihosting_exit(main());
}
