/*
 * The device's side of MLPerf Tiny: the benchmark's runner sends commands over the serial port,
 * words separated by blanks, each command ended by a percent sign. Every answer ends with m-ready.
 * Protocol: github.com/mlcommons/tiny, benchmark/api/internally_implemented.cpp.
 *
 * The input is loaded as raw pixels, uint8, row by row; the model's own preprocessing makes its
 * input of them. -DTHUMBNET_MLPERF_MODEL=ic01 says which benchmark the model is.
 */
#include <stdbool.h>
#include <stdint.h>

#include "board.h"
#include "clock.h"
#include "decimal.h"
#include "thumbnet_model.h"
#include "uart.h"

#ifndef THUMBNET_MLPERF_MODEL
#define THUMBNET_MLPERF_MODEL vww01
#endif
#define TEXT_OF(word) #word
#define AS_TEXT(macro) TEXT_OF(macro)

enum {
    COMMAND_BYTES = 80, /* the longest is "db " and 62 digits */
    BYTES_A_LINE = 8,
    WARM_UPS = 10,
    NO_NUMBER = -1
};

static uint8_t arena[MODEL_ARENA_BYTES]
    __attribute__((section(".bss.thumbnet_arena"), aligned(16)));
static uint8_t pixels[MODEL_INPUT_BYTES];
static int8_t input_row[MODEL_ROW_BYTES];
static int8_t output[MODEL_OUTPUT_BYTES];
static uint32_t expected; /* bytes of the input that is being loaded */
static uint32_t loaded;   /* of which so many are there */

static void put_number(uint64_t value) {
    char text[DECIMAL_BYTES];
    board_text(decimal(text, value));
}

static void put_line(const char *text) {
    board_text(text);
    board_text("\r\n");
}

static void put_numbered_line(const char *text, uint64_t number) {
    board_text(text);
    put_number(number);
    board_text("\r\n");
}

static void put_error(const char *what, const char *word) {
    board_text("e-[");
    board_text(what);
    board_text(word);
    put_line("]");
}

static void put_timestamp(void) { put_numbered_line("m-lap-us-", clock_microseconds()); }

static bool is_same(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

/* The next word, ended by a zero; moves on behind it. Empty when there is none. */
static char *next_word(char **rest) {
    char *word = *rest;
    while (*word == ' ') {
        word++;
    }
    char *end = word;
    while (*end != ' ' && *end != '\0') {
        end++;
    }
    *rest = *end == '\0' ? end : end + 1;
    *end = '\0';
    return word;
}

/* A whole number of at most nine digits, or NO_NUMBER. */
static int32_t number_of(const char *word) {
    int32_t number = 0;
    uint32_t digits = 0;
    for (; *word >= '0' && *word <= '9' && digits < 9; word++, digits++) {
        number = number * 10 + (*word - '0');
    }
    return digits == 0 || *word != '\0' ? NO_NUMBER : number;
}

static int32_t digit_of(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : NO_NUMBER;
}

/* A value of the output with three digits behind the point. */
static void put_value(int8_t value) {
    const float real = MODEL_OUTPUT_SCALE * (float)(value - MODEL_OUTPUT_ZERO_POINT);
    const bool negative = real < 0.0f;
    const uint32_t thousandths = (uint32_t)((negative ? -real : real) * 1000.0f + 0.5f);
    const uint32_t fraction = thousandths % 1000u;
    board_text(negative ? "-" : "");
    put_number(thousandths / 1000u);
    board_text(fraction < 10u ? ".00" : fraction < 100u ? ".0" : ".");
    put_number(fraction);
}

static void put_results(void) {
    board_text("m-results-[");
    for (uint32_t i = 0; i < MODEL_OUTPUT_BYTES; i++) {
        board_text(i == 0 ? "" : ",");
        put_value(output[i]);
    }
    put_line("]");
}

static void run_model(int32_t times) {
    for (; times > 0; times--) {
        model_begin(arena);
        for (uint32_t row = 0; row < MODEL_INPUT_ROWS; row++) {
            model_from_pixels(pixels + row * MODEL_ROW_BYTES, input_row);
            model_push_row(arena, input_row);
        }
        model_finish(arena, output);
    }
}

static void infer(char *rest) {
    const int32_t times = number_of(next_word(&rest));
    const char *const word = next_word(&rest);
    const int32_t warm_ups = *word == '\0' ? WARM_UPS : number_of(word);
    if (times <= 0) {
        put_error("Inference iterations must be >0", "");
        return;
    }
    if (warm_ups < 0) {
        put_error("Inference warmups must be >=0", "");
        return;
    }
    if (expected != MODEL_INPUT_BYTES || loaded != expected) {
        put_error("The input is not loaded", "");
        return;
    }
    put_numbered_line("m-warmup-start-", (uint64_t)warm_ups);
    run_model(warm_ups);
    put_line("m-warmup-done");
    put_numbered_line("m-infer-start-", (uint64_t)times);
    put_timestamp();
    run_model(times);
    put_timestamp();
    put_line("m-infer-done");
    put_results();
}

static void begin_load(char *rest) {
    const int32_t bytes = number_of(next_word(&rest));
    if (bytes <= 0) {
        put_error("The buffer size must be >0", "");
    } else if (bytes > MODEL_INPUT_BYTES) {
        board_text("e-[The buffer size must be <=");
        put_number(MODEL_INPUT_BYTES);
        put_line("]");
    } else {
        expected = (uint32_t)bytes;
        loaded = 0;
        board_text("m-[Expecting ");
        put_number(expected);
        put_line(" bytes]");
    }
}

static void print_buffer(void) {
    for (uint32_t i = 0; i < loaded; i++) {
        const char text[3] = {"0123456789abcdef"[pixels[i] >> 4],
                              "0123456789abcdef"[pixels[i] & 15u], '\0'};
        board_text(i % BYTES_A_LINE == 0 ? "m-buffer-" : "-");
        board_text(text);
        if (i % BYTES_A_LINE == BYTES_A_LINE - 1 || i + 1 == loaded) {
            board_text("\r\n");
        }
    }
}

/* All or nothing: the digits are looked at before a byte is stored. */
static void load_bytes(const char *digits) {
    uint32_t count = 0;
    for (; digits[count] != '\0'; count++) {
        if (digit_of(digits[count]) == NO_NUMBER) {
            put_error("Invalid hex digit: ", digits + count);
            return;
        }
    }
    if (count % 2 != 0) {
        put_error("Insufficent number of hex digits", "");
    } else if (count / 2 > expected - loaded) {
        put_error("More bytes than expected", "");
    } else {
        for (; *digits != '\0'; digits += 2) {
            pixels[loaded++] = (uint8_t)(digit_of(digits[0]) << 4 | digit_of(digits[1]));
        }
        if (loaded == expected) {
            put_line("m-load-done");
        }
    }
}

static void buffer_command(char *rest) {
    char *const word = next_word(&rest);
    if (is_same(word, "load")) {
        begin_load(rest);
    } else if (is_same(word, "print")) {
        print_buffer();
    } else if (*word == '\0') {
        put_error("Command 'db' requires an argument", "");
    } else {
        load_bytes(word);
    }
}

static void put_help(void) {
    put_line("m-[name: identify the device]");
    put_line("m-[timestamp: microseconds since the reset]");
    put_line("m-[profile: firmware and model]");
    put_line("m-[db load N: expect N bytes of input]");
    put_line("m-[db HEX: up to 31 bytes of it]");
    put_line("m-[db print: the bytes loaded]");
    put_line("m-[infer N W: W warm-ups (default 10), then N inferences]");
    put_line("m-[results: of the last inference]");
}

static void obey(char *rest) {
    const char *const word = next_word(&rest);
    if (is_same(word, "name")) {
        put_line("m-name-dut-[thumbnet]");
    } else if (is_same(word, "timestamp")) {
        put_timestamp();
    } else if (is_same(word, "profile")) {
        put_line("m-profile-[ULPMark for tinyML Firmware V0.0.1]");
        put_line("m-model-[" AS_TEXT(THUMBNET_MLPERF_MODEL) "]");
    } else if (is_same(word, "help")) {
        put_help();
    } else if (is_same(word, "db")) {
        buffer_command(rest);
    } else if (is_same(word, "infer")) {
        infer(rest);
    } else if (is_same(word, "results")) {
        put_results();
    } else {
        put_error("Unknown command: ", word);
    }
}

int main(void) {
    char command[COMMAND_BYTES + 1];
    uint32_t length = 0;
    clock_start();
    put_line("m-init-done");
    put_line("m-ready");
    for (;;) {
        uint8_t byte;
        if (!uart_get(&byte)) {
            (void)clock_cycles(); /* so that no wrap of its counter is missed */
        } else if (byte == '%') {
            command[length < COMMAND_BYTES ? length : COMMAND_BYTES] = '\0';
            if (length > COMMAND_BYTES) {
                put_error("Command too long", "");
            } else {
                obey(command);
            }
            put_line("m-ready");
            length = 0;
        } else if (byte != '\r' && byte != '\n' && length <= COMMAND_BYTES) {
            if (length < COMMAND_BYTES) {
                command[length] = (char)byte;
            }
            length++;
        }
    }
}
