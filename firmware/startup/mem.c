/*
 * The four functions that a compiler may call even in freestanding code. Compiled with
 * -fno-tree-loop-distribute-patterns, else gcc turns each loop into a call of itself.
 */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

/* A word that may alias anything. */
typedef uint32_t __attribute__((may_alias)) word;

static int is_word_aligned(const void *a, const void *b) {
    return (((uintptr_t)a | (uintptr_t)b) & 3u) == 0;
}

static void copy_forward(uint8_t *t, const uint8_t *f, size_t bytes) {
    if (is_word_aligned(t, f)) {
        for (; bytes >= 4; bytes -= 4, t += 4, f += 4) {
            *(word *)(void *)t = *(const word *)(const void *)f;
        }
    }
    while (bytes-- != 0) {
        *t++ = *f++;
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
    copy_forward(to, from, bytes);
    return to;
}

void *memmove(void *to, const void *from, size_t bytes) {
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((uintptr_t)t - (uintptr_t)f >= bytes) {
        copy_forward(t, f, bytes); /* safe: `to` is below, or beyond the end */
        return to;
    }
    while (bytes-- != 0) {
        t[bytes] = f[bytes];
    }
    return to;
}

void *memset(void *to, int value, size_t bytes) {
    uint8_t *t = to;
    const uint8_t byte = (uint8_t)value;
    if (is_word_aligned(t, t)) {
        for (; bytes >= 4; bytes -= 4, t += 4) {
            *(word *)(void *)t = 0x01010101u * byte;
        }
    }
    while (bytes-- != 0) {
        *t++ = byte;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t bytes) {
    const uint8_t *p = a;
    const uint8_t *q = b;
    for (size_t i = 0; i < bytes; i++) {
        if (p[i] != q[i]) {
            return (int)p[i] - (int)q[i];
        }
    }
    return 0;
}
