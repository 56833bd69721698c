/* thumbnet: rows as they come, as from a camera. */
#include "net.h"

static int32_t arena[NET_ARENA_BYTES / 4];

void infer(const void *input, void *output) {
    const int8_t *rows = input;
    net_begin(arena);
    for (int i = 0; i < NET_INPUT_HEIGHT; i++) {
        net_push_rows(arena, rows, 1);
        rows += NET_INPUT_BYTES / NET_INPUT_HEIGHT;
    }
    net_finish(arena, output);
}
