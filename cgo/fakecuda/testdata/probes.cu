// Kernels for fakecuda_test.go.
#include "f2pad.cuh"

// p[i] = a p[i] + b; with a = 0, b
KERNEL(128) affine(float* p, int32_t n, float a, float b) {
    int32_t i = blockX() * threadsX() + threadX();
    if (i < n) p[i] = a == 0 ? b : a * p[i] + b;
}
EMULATE(affine)

// to[i] = from[i], by way of shared memory
KERNEL(256) relay(const float* from, float* to) {
    float* s = shared<float>();
    s[threadX()] = from[threadX()];
    sync();
    to[threadX()] = s[threadX()];
}
EMULATE(relay)

KERNEL(32) write(float* p, int32_t at) {
    if (threadX() == 0) p[at] = 1;
}
EMULATE(write)

KERNEL(32) writeByte(uint8_t* p, int32_t at) {
    if (threadX() == 0) p[at] = 1;
}
EMULATE(writeByte)

KERNEL(32) misaligned(float* p) { p[0] = (*(const vec4*)(p + 1)).x; }
EMULATE(misaligned)

KERNEL(64) stuck(float* p) {
    if (threadX() == 0) return;
    sync();
    p[0] = 0;
}
EMULATE(stuck)
