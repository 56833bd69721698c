/*
 * The frames of the serial protocol, the same in both directions; numbers are little endian:
 *
 *   0   2  "TN"
 *   2   1  version of the protocol
 *   3   1  sequence number: of the request, in a reply too
 *   4   1  code: the request, or the request and FRAME_REPLY
 *   5   2  bytes of the payload, at most FRAME_PAYLOAD
 *   7   n  payload
 *   7+n 4  CRC-32 (IEEE 802.3) of all from the version to the payload's end
 */
#ifndef THUMBNET_FRAME_H
#define THUMBNET_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define FRAME_VERSION 1u
#define FRAME_REPLY 0x80u

enum { FRAME_PAYLOAD = 256, FRAME_HEADER = 7, FRAME_CRC = 4 };

struct frame {
    uint32_t count; /* bytes of data that are there */
    bool damaged;   /* it was a frame once: clear it to find the next */
    uint8_t data[FRAME_HEADER + FRAME_PAYLOAD + FRAME_CRC];
};

/* CRC-32 goes on from `crc`, which is 0 at the beginning. */
uint32_t frame_crc32(uint32_t crc, const void *data, uint32_t bytes);

/* Makes the frame empty. */
void frame_clear(struct frame *frame);
/* Takes a byte from the line; true when the frame is whole and its CRC is right. */
bool frame_accept(struct frame *frame, uint8_t byte);

/* Begins a frame, adds to it (what does not fit is left out), and closes it. */
void frame_begin(struct frame *frame, uint8_t sequence, uint8_t code);
void frame_add(struct frame *frame, const void *data, uint32_t bytes);
void frame_add_number(struct frame *frame, uint32_t number);
void frame_end(struct frame *frame);

static inline uint8_t frame_version(const struct frame *frame) { return frame->data[2]; }
static inline uint8_t frame_sequence(const struct frame *frame) { return frame->data[3]; }
static inline uint8_t frame_code(const struct frame *frame) { return frame->data[4]; }
static inline uint32_t frame_length(const struct frame *frame) {
    return frame->data[5] | (uint32_t)frame->data[6] << 8;
}
static inline const uint8_t *frame_payload(const struct frame *frame) {
    return frame->data + FRAME_HEADER;
}
/* The 16-bit number at an offset of the payload. */
static inline uint32_t frame_number16(const struct frame *frame, uint32_t offset) {
    const uint8_t *const p = frame->data + FRAME_HEADER + offset;
    return p[0] | (uint32_t)p[1] << 8;
}

#endif
