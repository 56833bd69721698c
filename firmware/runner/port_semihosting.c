/* The runner's port to a Cortex-M: files by semihosting, text by the board. The stack is in
 * stack.c, counting in count.c. */
#include "board.h"
#include "port.h"
#include "semihosting.h"

int32_t port_open_read(const char *path) { return semihosting_open(path, SEMIHOSTING_READ); }

int32_t port_open_write(const char *path) { return semihosting_open(path, SEMIHOSTING_WRITE); }

bool port_close(int32_t file) { return semihosting_close(file) == 0; }

int32_t port_length(int32_t file) { return semihosting_length(file); }

bool port_read(int32_t file, void *data, uint32_t bytes) {
    return semihosting_read(file, data, bytes) == 0;
}

bool port_write(int32_t file, const void *data, uint32_t bytes) {
    return semihosting_write(file, data, bytes) == 0;
}

void port_text(const char *text) { board_text(text); }
