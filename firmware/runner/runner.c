/*
 * Runs the model over every image of a file, on a desktop or a microcontroller, row by row, so
 * that no image is ever whole in memory:
 *
 *   input.bin   int8 images, MODEL_INPUT_BYTES each           (read)
 *   output.bin  int8 outputs, MODEL_OUTPUT_BYTES each         (written)
 *   trace.bin   every row of every layer, in the checking build (-DTHUMBNET_CHECK) only:
 *               uint32 layer, row, bytes, little endian; then the bytes
 *
 * and says so in one line: thumbnet images=N stack=BYTES instructions=N. Zero means not known.
 *
 * When instructions are counted, it is for the last image, and the stack is measured on the
 * images before it: the counter's interrupt saves its registers on the model's stack.
 */
#include <stddef.h>
#include <stdint.h>

#include "decimal.h"
#include "port.h"
#include "stack.h"
#include "thumbnet_model.h"

/* Named so that the linker script can place it. Not on a desktop, where a section of its own would
 * hide the end of the array from the address sanitizer. */
#ifdef __arm__
#define ARENA __attribute__((section(".bss.thumbnet_arena"), aligned(16)))
#else
#define ARENA __attribute__((aligned(16)))
#endif

/* The checking build has guards around the arena. */
#ifdef THUMBNET_CHECK
enum { GUARD_BYTES = 16, SPOILT = 0xA5 };
#else
enum { GUARD_BYTES = 0 };
#endif

static uint8_t arena[MODEL_ARENA_BYTES + 2 * GUARD_BYTES] ARENA;
static uint8_t *const model_arena = arena + GUARD_BYTES;
static int8_t output[MODEL_OUTPUT_BYTES];
static int8_t input_row[MODEL_ROW_BYTES];

#ifdef THUMBNET_CHECK
static int32_t trace_file = PORT_NO_FILE;
static bool trace_failed;
static bool overrun;

void thumbnet_trace(uint32_t layer, uint32_t row, const int8_t *data, uint32_t bytes);
void thumbnet_overrun(uint32_t stage, uint32_t row, uint32_t offset);

void thumbnet_trace(uint32_t layer, uint32_t row, const int8_t *data, uint32_t bytes) {
    const uint32_t record[3] = {layer, row, bytes};
    if (!port_write(trace_file, record, sizeof record) || !port_write(trace_file, data, bytes)) {
        trace_failed = true;
    }
}
#endif

static int fail(const char *what) {
    port_text("thumbnet error: ");
    port_text(what);
    port_text("\n");
    return 1;
}

static void put_number(const char *name, uint64_t value) {
    char text[DECIMAL_BYTES];
    port_text(name);
    port_text(decimal(text, value));
}

#ifdef THUMBNET_CHECK
/* A stage has written where it must not: said once, the run then fails. */
void thumbnet_overrun(uint32_t stage, uint32_t row, uint32_t offset) {
    if (!overrun) {
        put_number("thumbnet overrun: stage ", stage);
        put_number(" wrote outside its row ", row);
        put_number(" to byte ", offset);
        port_text(" of the arena\n");
    }
    overrun = true;
}
#endif

/* The model may not depend on what is in the arena: give it something else than zeros. */
static void spoil_arena(void) {
#ifdef THUMBNET_CHECK
    for (size_t i = 0; i < sizeof arena; i++) {
        arena[i] = SPOILT;
    }
#endif
}

#ifdef THUMBNET_CHECK
static bool guards_are_whole(void) {
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        if (arena[i] != SPOILT || model_arena[MODEL_ARENA_BYTES + i] != SPOILT) {
            return false;
        }
    }
    return true;
}
#endif

struct figures {
    uint32_t stack;
    uint64_t instructions;
};

/* What is measured are the calls of the model, not the reading of rows between them. */
static void measured(void (*call)(void), bool count, struct figures *figures) {
    if (count) {
        port_count_start();
        call();
        figures->instructions += port_count_stop();
        return;
    }
    stack_paint();
    call();
    const uint32_t used = stack_used();
    if (used > figures->stack) {
        figures->stack = used;
    }
}

static void nothing(void) {}
static void begin(void) { model_begin(model_arena); }
static void push(void) { model_push_row(model_arena, input_row); }
static void finish(void) { model_finish(model_arena, output); }

static bool run_image(int32_t in, bool count, struct figures *figures) {
    struct figures empty = {0, 0};
    measured(begin, count, figures);
    for (uint32_t row = 0; row < MODEL_INPUT_ROWS; row++) {
        if (!port_read(in, input_row, sizeof input_row)) {
            return false;
        }
        measured(push, count, figures);
    }
    measured(finish, count, figures);
    measured(nothing, count, &empty);
    figures->instructions -= empty.instructions * (MODEL_INPUT_ROWS + 2u);
    return true;
}

static int run_images(int32_t in, int32_t out, uint32_t images) {
    struct figures figures = {0, 0};
    for (uint32_t i = 0; i < images; i++) {
        spoil_arena();
        if (!run_image(in, port_counts() && i + 1 == images, &figures)) {
            return fail("input.bin cannot be read");
        }
        if (!port_write(out, output, sizeof output)) {
            return fail("output.bin cannot be written");
        }
#ifdef THUMBNET_CHECK
        if (!guards_are_whole()) {
            return fail("the model has written outside its arena");
        }
#endif
    }
    put_number("thumbnet images=", images);
    put_number(" stack=", figures.stack);
    put_number(" instructions=", figures.instructions);
    port_text("\n");
    return 0;
}

static int run_files(int32_t in, int32_t out) {
    const int32_t length = port_length(in);
    if (length <= 0 || length % MODEL_INPUT_BYTES != 0) {
        return fail("input.bin does not hold a whole number of images of " MODEL_NAME);
    }
    int status = run_images(in, out, (uint32_t)(length / MODEL_INPUT_BYTES));
    if (!port_close(out) && status == 0) {
        status = fail("output.bin cannot be written");
    }
    return status;
}

int main(void) {
    const int32_t in = port_open_read("input.bin");
    if (in == PORT_NO_FILE) {
        return fail("input.bin cannot be opened");
    }
    const int32_t out = port_open_write("output.bin");
    if (out == PORT_NO_FILE) {
        return fail("output.bin cannot be opened");
    }
#ifdef THUMBNET_CHECK
    trace_file = port_open_write("trace.bin");
    if (trace_file == PORT_NO_FILE) {
        return fail("trace.bin cannot be opened");
    }
    int status = run_files(in, out);
    if (overrun && status == 0) {
        status = fail("a stage has written outside its row");
    }
    if ((!port_close(trace_file) || trace_failed) && status == 0) {
        status = fail("trace.bin cannot be written");
    }
    return status;
#else
    return run_files(in, out);
#endif
}
