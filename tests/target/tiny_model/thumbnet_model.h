#include "tiny.h"

#define MODEL_NAME "tiny"
#define MODEL_ARENA_BYTES TINY_ARENA_BYTES
#define MODEL_INPUT_BYTES TINY_INPUT_BYTES
#define MODEL_INPUT_ROWS 1
#define MODEL_ROW_BYTES TINY_INPUT_BYTES
#define MODEL_ROW_PIXELS TINY_INPUT_BYTES
#define MODEL_OUTPUT_BYTES TINY_OUTPUT_BYTES
#define MODEL_OUTPUT_SCALE 0.00390625f
#define MODEL_OUTPUT_ZERO_POINT (-128)
#define MODEL_LAYERS 2
#define MODEL_STAGES 1

static inline void model_begin(void *arena) { (void)arena; }

static inline void model_push_row(void *arena, const int8_t *row) { tiny_push(arena, row); }

static inline void model_from_pixels(const uint8_t *pixels, int8_t *row) {
    for (int32_t i = 0; i < TINY_INPUT_BYTES; i++) {
        row[i] = (int8_t)(pixels[i] - 128);
    }
}

static inline void model_finish(void *arena, int8_t *output) { tiny_finish(arena, output); }
