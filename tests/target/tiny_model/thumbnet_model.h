#include "tiny.h"

#define MODEL_NAME "tiny"
#define MODEL_ARENA_BYTES TINY_ARENA_BYTES
#define MODEL_INPUT_BYTES TINY_INPUT_BYTES
#define MODEL_INPUT_OFFSET TINY_INPUT_OFFSET
#define MODEL_OUTPUT_BYTES TINY_OUTPUT_BYTES

static inline void model_run(void *arena, const int8_t *input, int8_t *output) {
    tiny_run(arena, input, output);
}
