/*
 * What the runner needs from where it runs. port_host.c: a desktop, by stdio.
 * port_semihosting.c: a Cortex-M with a debug host, or QEMU.
 */
#ifndef THUMBNET_PORT_H
#define THUMBNET_PORT_H

#include <stdbool.h>
#include <stdint.h>

#define PORT_NO_FILE (-1)

/* Handles are small numbers >= 0; opening gives PORT_NO_FILE when the file cannot be opened. */
int32_t port_open_read(const char *path);
int32_t port_open_write(const char *path);
bool port_close(int32_t file);
/* Bytes in the file, or -1. */
int32_t port_length(int32_t file);
/* True when all the bytes were transferred. */
bool port_read(int32_t file, void *data, uint32_t bytes);
bool port_write(int32_t file, const void *data, uint32_t bytes);
void port_text(const char *text);

/* Whether this run is asked to count instructions. */
bool port_counts(void);
void port_count_start(void);
/* Instructions since port_count_start, without those of the counter's interrupt but with those of
 * these two calls: subtract what an empty stretch gives. 0 when unknown. */
uint64_t port_count_stop(void);

#endif
