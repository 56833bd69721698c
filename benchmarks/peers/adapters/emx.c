/* emx-onnx-cgen: everything is on the stack. */
void net(const float *input, float *output);

void infer(const void *input, void *output) { net(input, output); }
