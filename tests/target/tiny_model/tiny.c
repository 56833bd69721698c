/*
 * output[j] = sum over i of weights[j][i] * input[i], mod 256. A macro makes it do something bad
 * instead: TINY_BAD_ADDRESS=a, TINY_UNDEFINED, TINY_OVERFLOW, TINY_UNALIGNED, TINY_ENDLESS,
 * TINY_LOOP=n (a loop of a known number of instructions).
 */
#include "tiny.h"

#ifndef TINY_WEIGHT_PADDING
#define TINY_WEIGHT_PADDING 0
#endif

__attribute__((section(".rodata.thumbnet_weights.000001.weights"))) static const int8_t
    weights[TINY_OUTPUT_BYTES * TINY_INPUT_BYTES + TINY_WEIGHT_PADDING] = {
        1, -2, 3, -4, 5, 60, 70, -80, 90, -100, -128, 127, 0, 1, -1};

static int32_t scale = 1; /* a variable with an initial value: .data must have been copied */
static int32_t runs;      /* and one without: .bss must have been cleared */

#ifdef THUMBNET_CHECK
void thumbnet_trace(uint32_t layer, uint32_t row, const int8_t *data, uint32_t bytes);
#endif

#ifdef TINY_OVERFLOW
static volatile int32_t depth = 1000000;

__attribute__((noinline)) static int32_t dive(int32_t n) {
    volatile int32_t frame[8];
    frame[n & 7] = depth--;
    return depth == 0 ? n : dive(n + 1) + frame[n & 7];
}
#endif

#ifdef TINY_DEEP
__attribute__((noinline)) static void use_stack(void) {
    volatile uint8_t frame[TINY_DEEP];
    frame[0] = 1;
}
#endif

static void misbehave(const int8_t *input, int8_t *output) {
    (void)input;
    (void)output;
#ifdef TINY_BAD_ADDRESS
    *(volatile uint32_t *)TINY_BAD_ADDRESS = 1;
#endif
#ifdef TINY_UNDEFINED
    __asm volatile(".inst.n 0xde00");
#endif
#ifdef TINY_OVERFLOW
    output[0] = (int8_t)dive((int32_t)input[0] & 3);
#endif
#ifdef TINY_UNALIGNED
    *(volatile uint32_t *)(void *)((uintptr_t)output | 1u) = 1;
#endif
#ifdef TINY_ENDLESS
    for (volatile int forever = 1; forever != 0;) {
    }
#endif
#ifdef TINY_DEEP
    use_stack();
#endif
#ifdef TINY_LOOP
    uint32_t n = TINY_LOOP;
    __asm volatile(".syntax unified\n 1: subs %0, #1\n bne 1b" : "+l"(n) : : "cc");
#endif
}

void tiny_push(void *arena, const int8_t *row) {
    for (int32_t i = 0; i < TINY_INPUT_BYTES; i++) {
        ((int8_t *)arena)[i] = row[i];
    }
}

void tiny_finish(void *arena, int8_t *output) {
    const int8_t *const input = arena;
    int32_t *const sums = (int32_t *)arena + 4;
    misbehave(input, output);
    runs++;
    for (int32_t j = 0; j < TINY_OUTPUT_BYTES; j++) {
        sums[j] = 0;
        for (int32_t i = 0; i < TINY_INPUT_BYTES; i++) {
            sums[j] += scale * weights[j * TINY_INPUT_BYTES + i] * input[i];
        }
        output[j] = (int8_t)(uint8_t)((uint32_t)sums[j] & 255u);
    }
#ifdef THUMBNET_CHECK
    thumbnet_trace(0, (uint32_t)runs, input, TINY_INPUT_BYTES);
    thumbnet_trace(1, (uint32_t)runs, output, TINY_OUTPUT_BYTES);
#endif
}
