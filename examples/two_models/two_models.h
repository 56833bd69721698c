/* Two networks, one working memory. */
#ifndef TWO_MODELS_H
#define TWO_MODELS_H

#include "first.h"
#include "second.h"

/* Runs one network after the other. */
void two_models_run(const int8_t *first_input, int8_t *first_output, const int8_t *second_input,
                    int8_t *second_output);

#endif
