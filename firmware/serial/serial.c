/*
 * Runs the model for a desktop at the other end of a serial port (frame.h). The desktop asks, this
 * answers, and neither speaks otherwise, so that nothing arrives while the model computes. A
 * request that was damaged is answered by NOT_UNDERSTOOD, at the latest when the line is silent.
 * One that comes again, because its reply was lost, gets the same reply again and is not done
 * twice.
 *
 *   request          payload                      payload of the reply
 *   HELLO            -                            numbers of struct hello, name of the model
 *   BEGIN            -                            -
 *   ROW              row u16, offset u16, bytes   -      pieces of a row, rows in order
 *   FINISH           -                            stack u32, cycles u64
 *   OUTPUT           first u16, count u16         bytes of the output
 *   LAYER_CRCS       first u16, count u16         u32 a layer: CRC-32 of all its rows
 *   STAGE_CYCLES     first u16, count u16         u32 a stage
 */
#include <stddef.h>

#include "board.h"
#include "clock.h"
#include "frame.h"
#include "stack.h"
#include "startup.h"
#include "thumbnet_model.h"
#include "uart.h"

enum request { HELLO = 1, BEGIN, ROW, FINISH, OUTPUT, LAYER_CRCS, STAGE_CYCLES };

#define NOT_UNDERSTOOD 0xFEu
#define REFUSED 0xFFu /* the payload says why */

/* After so much silence nothing more comes of a frame that has begun. */
#define SILENCE_US 200000u

#ifdef THUMBNET_CHECK
#define HAS_LAYER_CRCS 1u
static uint32_t layer_crcs[MODEL_LAYERS];
void thumbnet_trace(uint32_t layer, uint32_t row, const int8_t *data, uint32_t bytes);
#else
#define HAS_LAYER_CRCS 0u
#endif

static uint8_t arena[MODEL_ARENA_BYTES]
    __attribute__((section(".bss.thumbnet_arena"), aligned(16)));
static int8_t output[MODEL_OUTPUT_BYTES];
static int8_t input_row[MODEL_ROW_BYTES];
static uint32_t stage_cycles[MODEL_STAGES];
static uint64_t stage_began;

static struct frame request;
static struct frame reply;
static struct {
    bool begun;
    uint32_t rows;
    uint32_t bytes; /* of the next row that are there */
    uint64_t cycles;
} image;

void thumbnet_stage_begins(void);
void thumbnet_stage_ends(uint32_t stage);

void thumbnet_stage_begins(void) { stage_began = clock_cycles(); }

void thumbnet_stage_ends(uint32_t stage) {
    const uint64_t cycles = stage_cycles[stage] + (clock_cycles() - stage_began);
    stage_cycles[stage] = cycles > UINT32_MAX ? UINT32_MAX : (uint32_t)cycles;
}

#ifdef THUMBNET_CHECK
void thumbnet_trace(uint32_t layer, uint32_t row, const int8_t *data, uint32_t bytes) {
    (void)row; /* a layer's rows come from top to bottom */
    layer_crcs[layer] = frame_crc32(layer_crcs[layer], data, bytes);
}
#endif

static void refuse(const char *why) {
    uint32_t length = 0;
    while (why[length] != '\0') {
        length++;
    }
    frame_begin(&reply, frame_sequence(&request), REFUSED);
    frame_add(&reply, why, length);
}

static void say_hello(void) {
    static const char name[] = MODEL_NAME;
    frame_add_number(&reply, HAS_LAYER_CRCS);
    frame_add_number(&reply, THUMBNET_SYSTICK_HZ);
    frame_add_number(&reply, MODEL_ARENA_BYTES);
    frame_add_number(&reply, MODEL_INPUT_ROWS);
    frame_add_number(&reply, MODEL_ROW_BYTES);
    frame_add_number(&reply, MODEL_OUTPUT_BYTES);
    frame_add_number(&reply, MODEL_LAYERS);
    frame_add_number(&reply, MODEL_STAGES);
    frame_add_number(&reply, (uint32_t)ld_process_stack_end - (uint32_t)ld_process_stack_start);
    frame_add(&reply, name, sizeof name - 1);
}

static void begin(void) {
    for (uint32_t i = 0; i < MODEL_STAGES; i++) {
        stage_cycles[i] = 0;
    }
#ifdef THUMBNET_CHECK
    for (uint32_t i = 0; i < MODEL_LAYERS; i++) {
        layer_crcs[i] = 0;
    }
#endif
    image.begun = true;
    image.rows = 0;
    image.bytes = 0;
    const uint64_t start = clock_cycles();
    model_begin(arena);
    image.cycles = clock_cycles() - start;
}

static void take_row(void) {
    const uint32_t length = frame_length(&request);
    if (!image.begun || length < 4 || image.rows == MODEL_INPUT_ROWS ||
        frame_number16(&request, 0) != image.rows || frame_number16(&request, 2) != image.bytes ||
        length - 4 > MODEL_ROW_BYTES - image.bytes) {
        refuse("these are not the next bytes of the image");
        return;
    }
    const uint8_t *const bytes = frame_payload(&request) + 4;
    for (uint32_t i = 0; i < length - 4; i++) {
        input_row[image.bytes++] = (int8_t)bytes[i];
    }
    if (image.bytes == MODEL_ROW_BYTES) {
        const uint64_t start = clock_cycles();
        model_push_row(arena, input_row);
        image.cycles += clock_cycles() - start;
        image.rows++;
        image.bytes = 0;
    }
}

static void finish(void) {
    if (!image.begun || image.rows != MODEL_INPUT_ROWS) {
        refuse("the image is not complete");
        return;
    }
    image.begun = false;
    const uint64_t start = clock_cycles();
    model_finish(arena, output);
    image.cycles += clock_cycles() - start;
    frame_add_number(&reply, stack_high_water());
    frame_add_number(&reply, (uint32_t)image.cycles);
    frame_add_number(&reply, (uint32_t)(image.cycles >> 32));
}

/* Answers with those elements of a list that the request names. */
static void send_list(const void *list, uint32_t count, uint32_t bytes) {
    const uint32_t first = frame_number16(&request, 0);
    const uint32_t wanted = frame_number16(&request, 2);
    if (frame_length(&request) != 4 || first > count || wanted > count - first ||
        wanted * bytes > FRAME_PAYLOAD) {
        refuse("there are no such elements");
        return;
    }
    frame_add(&reply, (const uint8_t *)list + first * bytes, wanted * bytes);
}

static void answer(void) {
    frame_begin(&reply, frame_sequence(&request), frame_code(&request) | FRAME_REPLY);
    if (frame_version(&request) != FRAME_VERSION) {
        refuse("another version of the protocol");
        return;
    }
    switch (frame_code(&request)) {
    case HELLO:
        say_hello();
        break;
    case BEGIN:
        begin();
        break;
    case ROW:
        take_row();
        break;
    case FINISH:
        finish();
        break;
    case OUTPUT:
        send_list(output, sizeof output, 1);
        break;
#ifdef THUMBNET_CHECK
    case LAYER_CRCS:
        send_list(layer_crcs, MODEL_LAYERS, sizeof layer_crcs[0]);
        break;
#endif
    case STAGE_CYCLES:
        send_list(stage_cycles, MODEL_STAGES, sizeof stage_cycles[0]);
        break;
    default:
        refuse("unknown request");
        break;
    }
}

static void send(const struct frame *frame) {
    for (uint32_t i = 0; i < frame->count; i++) {
        uart_put(frame->data[i]);
    }
}

static void send_not_understood(void) {
    /* In the memory of the request, so that the last reply can still be sent again. */
    frame_begin(&request, 0, NOT_UNDERSTOOD);
    frame_end(&request);
    send(&request);
}

static void receive(void) {
    bool heard = false;
    uint64_t last = 0;
    frame_clear(&request);
    for (;;) {
        uint8_t byte;
        if (uart_get(&byte)) {
            heard = true;
            last = clock_microseconds();
            if (frame_accept(&request, byte)) {
                return;
            }
        } else if (heard && clock_microseconds() - last > SILENCE_US) {
            request.damaged = true;
        }
        if (request.damaged) {
            send_not_understood();
            frame_clear(&request);
            heard = false;
        }
    }
}

int main(void) {
    bool answered = false; /* whether reply holds the answer to a request */
    clock_start();
    stack_paint();
    for (;;) {
        receive();
        const bool again = answered && frame_code(&request) != HELLO &&
                           frame_sequence(&request) == frame_sequence(&reply);
        if (!again) {
            answer();
            frame_end(&reply);
            answered = true;
        }
        send(&reply);
    }
}
