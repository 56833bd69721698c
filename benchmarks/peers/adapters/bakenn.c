/* bakenn: the caller holds the whole image and the arena. */
#include "bknn_net.h"

static _Alignas(BKNN_NET_ARENA_ALIGNMENT) uint8_t arena[BKNN_NET_ARENA_SIZE];

void infer(const void *input, void *output) { bknn_net_infer(arena, input, output); }
