/* Numbers as text. */
#ifndef THUMBNET_DECIMAL_H
#define THUMBNET_DECIMAL_H

#include <stdint.h>

enum { DECIMAL_BYTES = 21 };

/* Writes a number to the end of `text`, zero-terminated; gives its first digit. */
static inline const char *decimal(char text[DECIMAL_BYTES], uint64_t value) {
    char *digit = text + DECIMAL_BYTES - 1;
    *digit = '\0';
    do {
        *--digit = (char)('0' + (int)(value % 10u));
        value /= 10u;
    } while (value != 0);
    return digit;
}

#endif
