/* A stand-in for a generated model: small enough to know every byte of its result. */
#ifndef TINY_H
#define TINY_H

#include <stdint.h>

#define TINY_INPUT_BYTES 5
#define TINY_OUTPUT_BYTES 3
#ifndef TINY_ARENA_BYTES
#define TINY_ARENA_BYTES 64
#endif

void tiny_push(void *arena, const int8_t *row);
void tiny_finish(void *arena, int8_t *output);

#endif
