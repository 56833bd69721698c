#include "tiny.h"

#define MODEL_NAME "tiny"
#define MODEL_ARENA_BYTES TINY_ARENA_BYTES
#define MODEL_INPUT_BYTES TINY_INPUT_BYTES
#define MODEL_INPUT_ROWS 1
#define MODEL_ROW_BYTES TINY_INPUT_BYTES
#define MODEL_OUTPUT_BYTES TINY_OUTPUT_BYTES

static inline void model_begin(void *arena) { (void)arena; }

static inline void model_push_row(void *arena, const int8_t *row) { tiny_push(arena, row); }

static inline void model_finish(void *arena, int8_t *output) { tiny_finish(arena, output); }
