/* The runner's port to a desktop. */
#include <stdio.h>

#include "port.h"
#include "stack.h"

enum { MAX_FILES = 4 };

static FILE *files[MAX_FILES];

static int32_t open_file(const char *path, const char *mode) {
    for (int32_t i = 0; i < MAX_FILES; i++) {
        if (files[i] == NULL) {
            files[i] = fopen(path, mode);
            return files[i] == NULL ? PORT_NO_FILE : i;
        }
    }
    return PORT_NO_FILE;
}

int32_t port_open_read(const char *path) { return open_file(path, "rb"); }

int32_t port_open_write(const char *path) { return open_file(path, "wb"); }

bool port_close(int32_t file) {
    FILE *f = files[file];
    files[file] = NULL;
    return fclose(f) == 0;
}

int32_t port_length(int32_t file) {
    FILE *f = files[file];
    if (fseek(f, 0, SEEK_END) != 0) {
        return -1;
    }
    const long length = ftell(f);
    if (length > INT32_MAX || fseek(f, 0, SEEK_SET) != 0) {
        return -1;
    }
    return (int32_t)length;
}

bool port_read(int32_t file, void *data, uint32_t bytes) {
    return fread(data, 1, bytes, files[file]) == bytes;
}

bool port_write(int32_t file, const void *data, uint32_t bytes) {
    return fwrite(data, 1, bytes, files[file]) == bytes;
}

void port_text(const char *text) { (void)fputs(text, stdout); }

void stack_paint(void) {}

uint32_t stack_used(void) { return 0; }

bool port_counts(void) { return false; }

void port_count_start(void) {}

uint64_t port_count_stop(void) { return 0; }
