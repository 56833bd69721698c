/* Files, text and exit of the debug host, by Arm semihosting. */
#ifndef THUMBNET_SEMIHOSTING_H
#define THUMBNET_SEMIHOSTING_H

#include <stdint.h>

enum semihosting_mode { SEMIHOSTING_READ = 1, SEMIHOSTING_WRITE = 5 }; /* "rb", "wb" */

/* A handle, or -1. */
int32_t semihosting_open(const char *path, enum semihosting_mode mode);
int32_t semihosting_close(int32_t handle);
/* Both give the number of bytes NOT transferred. */
uint32_t semihosting_read(int32_t handle, void *data, uint32_t bytes);
uint32_t semihosting_write(int32_t handle, const void *data, uint32_t bytes);
/* Bytes in the file, or -1. */
int32_t semihosting_length(int32_t handle);
void semihosting_text(const char *text);
/* 0 when the command line of the run was written to `line`, else -1. */
int32_t semihosting_command_line(char *line, uint32_t bytes);
void semihosting_exit(int status) __attribute__((noreturn));

#endif
