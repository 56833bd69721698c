/*
 * What surrounds a network in the programs that benchmarks/bare counts: buffers in a section of
 * their own, so that no size includes them, and the address that the counter returns to.
 *
 * The network is `infer`, in an adapter.
 */
#include <stdint.h>

void infer(const void *input, void *output);
void reset_handler(void);

#define BUFFER(name) __attribute__((section(".bench." name), aligned(16), used))

BUFFER("input") uint8_t bench_input[BENCH_INPUT_BYTES];
BUFFER("output") uint8_t bench_output_bytes[BENCH_OUTPUT_BYTES];

/* Keeps the network in a program that nothing here calls. */
void (*const bench_infer)(const void *, void *) __attribute__((used)) = infer;

void reset_handler(void) {
    for (;;) {
    }
}
