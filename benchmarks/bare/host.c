/* Runs the network of an adapter on this computer: inputs from stdin, outputs to stdout. */
#include <stdint.h>
#include <stdio.h>

void infer(const void *input, void *output);

static _Alignas(16) uint8_t input[BENCH_INPUT_BYTES], output[BENCH_OUTPUT_BYTES];

int main(void) {
    while (fread(input, sizeof input, 1, stdin) == 1) {
        infer(input, output);
        if (fwrite(output, sizeof output, 1, stdout) != 1) {
            return 1;
        }
    }
    return 0;
}
