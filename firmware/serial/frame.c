#include "frame.h"

static const uint8_t magic[2] = {'T', 'N'};

/* CRC of four bits, reflected polynomial 0xEDB88320: a table of 64 bytes instead of 1,024. */
static const uint32_t crc_of_nibble[16] = {0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu,
                                           0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
                                           0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
                                           0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};

uint32_t frame_crc32(uint32_t crc, const void *data, uint32_t bytes) {
    const uint8_t *p = data;
    crc = ~crc;
    for (; bytes != 0; bytes--) {
        crc ^= *p++;
        crc = crc >> 4 ^ crc_of_nibble[crc & 15u];
        crc = crc >> 4 ^ crc_of_nibble[crc & 15u];
    }
    return ~crc;
}

void frame_clear(struct frame *frame) {
    frame->count = 0;
    frame->damaged = false;
}

static uint32_t crc_of(const struct frame *frame) {
    return frame_crc32(0, frame->data + 2, FRAME_HEADER - 2u + frame_length(frame));
}

static bool crc_is_right(const struct frame *frame) {
    const uint8_t *const p = frame_payload(frame) + frame_length(frame);
    const uint32_t crc = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return crc == crc_of(frame);
}

bool frame_accept(struct frame *frame, uint8_t byte) {
    if (frame->damaged) {
        return false;
    }
    if (frame->count < sizeof magic && byte != magic[frame->count]) {
        frame->count = 0; /* noise before a frame, whose first byte this may be */
        if (byte != magic[0]) {
            return false;
        }
    }
    frame->data[frame->count++] = byte;
    if (frame->count < FRAME_HEADER) {
        return false;
    }
    const uint32_t length = frame_length(frame);
    if (length > FRAME_PAYLOAD) {
        frame->damaged = true;
        return false;
    }
    if (frame->count < FRAME_HEADER + length + FRAME_CRC) {
        return false;
    }
    frame->damaged = !crc_is_right(frame);
    return !frame->damaged;
}

void frame_begin(struct frame *frame, uint8_t sequence, uint8_t code) {
    frame_clear(frame);
    frame->data[0] = magic[0];
    frame->data[1] = magic[1];
    frame->data[2] = FRAME_VERSION;
    frame->data[3] = sequence;
    frame->data[4] = code;
    frame->count = FRAME_HEADER;
}

void frame_add(struct frame *frame, const void *data, uint32_t bytes) {
    const uint8_t *p = data;
    for (; bytes != 0 && frame->count < FRAME_HEADER + FRAME_PAYLOAD; bytes--) {
        frame->data[frame->count++] = *p++;
    }
}

static void put_number(uint8_t *to, uint32_t number) {
    for (uint32_t i = 0; i < 4; i++) {
        to[i] = (uint8_t)(number >> (8u * i));
    }
}

void frame_add_number(struct frame *frame, uint32_t number) {
    uint8_t bytes[4];
    put_number(bytes, number);
    frame_add(frame, bytes, sizeof bytes);
}

void frame_end(struct frame *frame) {
    const uint32_t length = frame->count - FRAME_HEADER;
    frame->data[5] = (uint8_t)length;
    frame->data[6] = (uint8_t)(length >> 8);
    put_number(frame->data + frame->count, crc_of(frame));
    frame->count += FRAME_CRC;
}
