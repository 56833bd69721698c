/* Feeds standard input to the frame receiver of the firmware and prints the frames it finds, one a
 * line: sequence, code, payload in hex. A damaged frame is cleared, as the firmware does. */
#include <stdio.h>

#include "frame.h"

int main(void) {
    struct frame frame;
    frame_clear(&frame);
    for (int c = getchar(); c != EOF; c = getchar()) {
        if (frame_accept(&frame, (uint8_t)c)) {
            printf("%u %u ", frame_sequence(&frame), frame_code(&frame));
            for (uint32_t i = 0; i < frame_length(&frame); i++) {
                printf("%02x", frame_payload(&frame)[i]);
            }
            printf("\n");
            frame_clear(&frame);
        } else if (frame.damaged) {
            frame_clear(&frame);
        }
    }
    return 0;
}
