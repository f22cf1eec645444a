// ceiling measures what a GPU's units can give, for other kernels to be measured against. The work has no use, but a result
// that can be checked.
//
//   ceiling_copy: out = in [n], 16 bytes a thread and access, n a multiple of 4096.   8 n bytes
//   ceiling_read: out[i] = sum of the i-th 16384 values of in [n], n a multiple of 16384.   4 n bytes
//   ceiling_fma:  x <- a x + b, `rounds` times, from x0 = in[t] + k, k < 8, for each thread t; out[t] = sum over k of x.
//                 16 float32 operations a thread and round, in registers
//   ceiling_bf16, ceiling_f16, ceiling_tf32: out [warps,64,32] = rounds A B by repeated accumulation, with A [64,8 words] and
//                 B [32,8 words] (by columns), a word being two bfloat16, two float16 or one tf32: each warp keeps both in
//                 registers, as a matrix product would for a step of its tile. 64 32 32 operations a warp and round, of tf32
//                 64 32 16
//
// Geometry: 256 threads a block; a block copies 4096 values or reads 16384; the others take any number of blocks. Shared
// memory: 32 bytes for read, otherwise none. Deterministic.
#include "network.cuh"

// move copies 16 bytes; of a plain assignment clang makes two moves of 8.
DEVICE void move(vec4* to, const vec4* from) { to->x = from->x, to->y = from->y, to->z = from->z, to->w = from->w; }

KERNEL(256) ceiling_copy(const vec4* RESTRICT in, vec4* RESTRICT out) {
    uint64_t first = (uint64_t)blockX() * 1024 + threadX();
    UNROLL for (int32_t k = 0; k < 4; k++) move(out + first + k * 256, in + first + k * 256);
}
EMULATE(ceiling_copy)

KERNEL(256) ceiling_read(const vec4* RESTRICT in, float* RESTRICT out) {
    const vec4* from = in + (uint64_t)blockX() * 4096 + threadX();
    float sum = 0;
    UNROLL for (int32_t k = 0; k < 16; k++) sum += (from[k * 256].x + from[k * 256].y) + (from[k * 256].z + from[k * 256].w);
    float* warps = shared<float>();
    sum = warpSum(sum);
    if (laneOf(threadX()) == 0) warps[warpOf(threadX())] = sum;
    sync();
    if (threadX() > 0) return;
    UNROLL for (int32_t w = 1; w < 8; w++) sum += warps[w];
    out[blockX()] = sum;
}
EMULATE(ceiling_read)

KERNEL(256) ceiling_fma(const float* RESTRICT in, float a, float b, int32_t rounds, float* RESTRICT out) {
    int32_t t = blockX() * 256 + threadX();
    float x[8];
    UNROLL for (int32_t k = 0; k < 8; k++) x[k] = in[t] + (float)k;
    _Pragma("unroll 16") for (int32_t r = 0; r < rounds; r++) {
        UNROLL for (int32_t k = 0; k < 8; k++) x[k] = x[k] * a + b;
    }
    float sum = 0;
    UNROLL for (int32_t k = 0; k < 8; k++) sum += x[k];
    out[t] = sum;
}
EMULATE(ceiling_fma)

struct Bf16 {};
struct F16 {};
struct Tf32 {};
DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Bf16) { mmaBf16(d, a, b); }
DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], F16) { mmaF16(d, a, b); }
DEVICE void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Tf32) { mmaTf32(d, a, b); }

// products is the body of all: in words of 32 bits, the fragments of 16 bits and of tf32 are the same.
template <class Operand> DEVICE void products(const uint32_t* A, const uint32_t* B, int32_t rounds, float* out) {
    int32_t row = laneOf(threadX()) / 4, word = laneOf(threadX()) % 4;
    uint32_t a[4][4], b[4][2];
    float d[4][4][4] = {};
    UNROLL for (int32_t m = 0; m < 4; m++)
        UNROLL for (int32_t i = 0; i < 4; i++) a[m][i] = A[(16 * m + row + i % 2 * 8) * 8 + word + i / 2 * 4];
    UNROLL for (int32_t n = 0; n < 4; n++)
        UNROLL for (int32_t i = 0; i < 2; i++) b[n][i] = B[(8 * n + row) * 8 + word + i * 4];
    for (int32_t r = 0; r < rounds; r++)
        UNROLL for (int32_t m = 0; m < 4; m++)
            UNROLL for (int32_t n = 0; n < 4; n++) multiply(d[m][n], a[m], b[n], Operand{});
    out += (uint64_t)(blockX() * 8 + warpOf(threadX())) * 64 * 32;
    UNROLL for (int32_t m = 0; m < 4; m++)
        UNROLL for (int32_t n = 0; n < 4; n++)
            UNROLL for (int32_t i = 0; i < 4; i++) out[(16 * m + row + i / 2 * 8) * 32 + 8 * n + word * 2 + i % 2] = d[m][n][i];
}

KERNEL(256) ceiling_bf16(const uint32_t* RESTRICT A, const uint32_t* RESTRICT B, int32_t rounds, float* RESTRICT out) {
    products<Bf16>(A, B, rounds, out);
}
EMULATE(ceiling_bf16)

KERNEL(256) ceiling_f16(const uint32_t* RESTRICT A, const uint32_t* RESTRICT B, int32_t rounds, float* RESTRICT out) {
    products<F16>(A, B, rounds, out);
}
EMULATE(ceiling_f16)

KERNEL(256) ceiling_tf32(const uint32_t* RESTRICT A, const uint32_t* RESTRICT B, int32_t rounds, float* RESTRICT out) {
    products<Tf32>(A, B, rounds, out);
}
EMULATE(ceiling_tf32)
