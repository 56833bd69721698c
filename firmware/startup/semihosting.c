/*
 * Arm semihosting: operation in r0, address of the arguments in r1, BKPT 0xAB, result in r0.
 * Operation numbers and arguments: "Semihosting for AArch32 and AArch64", ARM-software/abi-aa.
 */
#include "semihosting.h"

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_FLEN = 0x0C,
    SYS_GET_CMDLINE = 0x15,
    SYS_EXIT_EXTENDED = 0x20
};

#define ADP_STOPPED_APPLICATION_EXIT 0x20026u

static uint32_t call(uint32_t operation, uint32_t argument) {
    register uint32_t r0 __asm("r0") = operation;
    register uint32_t r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t call_with(uint32_t operation, uint32_t a, uint32_t b, uint32_t c) {
    uint32_t arguments[3] = {a, b, c};
    return call(operation, (uint32_t)arguments);
}

static uint32_t length_of(const char *text) {
    uint32_t n = 0;
    while (text[n] != '\0') {
        n++;
    }
    return n;
}

int32_t semihosting_open(const char *path, enum semihosting_mode mode) {
    return (int32_t)call_with(SYS_OPEN, (uint32_t)path, mode, length_of(path));
}

int32_t semihosting_close(int32_t handle) {
    return (int32_t)call_with(SYS_CLOSE, (uint32_t)handle, 0, 0);
}

uint32_t semihosting_read(int32_t handle, void *data, uint32_t bytes) {
    return call_with(SYS_READ, (uint32_t)handle, (uint32_t)data, bytes);
}

uint32_t semihosting_write(int32_t handle, const void *data, uint32_t bytes) {
    return call_with(SYS_WRITE, (uint32_t)handle, (uint32_t)data, bytes);
}

int32_t semihosting_length(int32_t handle) {
    return (int32_t)call_with(SYS_FLEN, (uint32_t)handle, 0, 0);
}

void semihosting_text(const char *text) { (void)call(SYS_WRITE0, (uint32_t)text); }

int32_t semihosting_command_line(char *line, uint32_t bytes) {
    return (int32_t)call_with(SYS_GET_CMDLINE, (uint32_t)line, bytes - 1, 0);
}

void semihosting_exit(int status) {
    for (;;) {
        (void)call_with(SYS_EXIT_EXTENDED, ADP_STOPPED_APPLICATION_EXIT, (uint32_t)status, 0);
    }
}
