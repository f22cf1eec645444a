// rescale brings each image's values into float16's range by a power of two, and back.
//
//   rescale_most    the largest magnitude of 4096 values
//   rescale_power   of an image's magnitudes: the largest power of two that makes none of its values larger than 2^limit. 1 where all
//                   are 0; 0 where one is no number
//   rescale_times   x times its image's power, or divided by it; as it is where that is 0
//
// x [images,elements] float32. Magnitudes are compared as their bits, among which NaN is largest. Powers are 2^-126 to 2^126.
//
// Geometry: 256 threads; most: grid (elements/4096, images), power: a block per image, times: grid (elements/1024, images). Bytes: x
// read twice and written once there, read and written once on the way back. Deterministic.
#include "network.cuh"

DEVICE uint32_t blockMost(uint32_t v) {
    uint32_t* tops = shared<uint32_t>();
    UNROLL for (int m = 16; m > 0; m >>= 1) v = most(v, shflXor(v, m));
    if (laneOf(threadX()) == 0) tops[warpOf(threadX())] = v;
    sync();
    UNROLL for (int w = 0; w < 8; w++) v = most(v, tops[w]);
    return v;
}

// Block i of an image's magnitudes is number first + i of the `all` that the image has.
KERNEL(256) rescale_most(const float* RESTRICT x, int32_t elements, int32_t first, int32_t all, uint32_t* RESTRICT magnitudes) {
    const float* own = x + (offset_t)blockY() * elements;
    uint32_t v = 0;
    UNROLL for (int32_t j = 0; j < 16; j++) {
        int32_t i = blockX() * 4096 + j * 256 + threadX();
        if (i < elements) v = most(v, bitsOf(own[i]) & 0x7fffffffu);
    }
    v = blockMost(v);
    if (threadX() == 0) magnitudes[(offset_t)blockY() * all + first + blockX()] = v;
}
EMULATE(rescale_most)

KERNEL(256) rescale_power(const uint32_t* RESTRICT magnitudes, int32_t all, int32_t limit, float* RESTRICT powers) {
    uint32_t v = 0;
    for (int32_t i = threadX(); i < all; i += 256) v = most(v, magnitudes[(offset_t)blockX() * all + i]);
    v = blockMost(v);
    if (threadX() != 0) return;
    float power = v == 0 ? 1.0f : 0.0f;
    if (v > 0 && v < 0x7f800000u) {
        int32_t below = 0;
        if (v < 0x00800000u) v = bitsOf(floatOf(v) * 16777216.0f), below = 24; // a subnormal number
        int32_t exponent = (int32_t)(v >> 23) - 127 - below + ((v & 0x7fffff) != 0); // of the least power that is not smaller
        power = floatOf((uint32_t)(most(least(limit - exponent, 126), -126) + 127) << 23);
    }
    powers[blockX()] = power;
}
EMULATE(rescale_power)

KERNEL(256) rescale_times(const float* RESTRICT powers, int32_t elements, int32_t back, float* x) {
    float* own = x + (offset_t)blockY() * elements;
    float k = powers[blockY()];
    if (k == 0) return;
    if (back) k = 1.0f / k;
    UNROLL for (int32_t j = 0; j < 4; j++) {
        int32_t i = blockX() * 1024 + j * 256 + threadX();
        if (i < elements) own[i] *= k;
    }
}
EMULATE(rescale_times)
