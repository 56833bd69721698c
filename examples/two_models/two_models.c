/*
 * Two networks in one firmware, one after the other, in the memory of the larger one: nothing in an
 * arena outlives an inference. The names of a generated model begin with its own (--name), so that
 * any number of them can be linked together:
 *
 *   thumbnet compile --name first  -o build/first
 *   thumbnet compile --name second -o build/second
 *   gcc -O2 -std=c99 -Ibuild/first -Ibuild/second -c build/first/first*.c build/second/second*.c \
 *       examples/two_models/two_models.c
 */
#include "two_models.h"

#define LARGER(a, b) ((a) > (b) ? (a) : (b))

static int32_t arena[LARGER(FIRST_ARENA_BYTES, SECOND_ARENA_BYTES) / 4];

void two_models_run(const int8_t *first_input, int8_t *first_output, const int8_t *second_input,
                    int8_t *second_output) {
    first_run(arena, first_input, first_output);
    second_run(arena, second_input, second_output);
}
