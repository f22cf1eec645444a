// regions brings the optimiser's state of the pixels of a region Omega between dense planes (pixel_step's) and lists of them.
//
//   regions_put   mask = 1, and c, A, M, V and Sum from the list
//   regions_get   A, M, V and Sum to the list
//
// Planes A, M [N,3,H,W], c, V, Sum [N,H,W] float32, mask [N,H,W] bytes. The list: where its pixels are (n H W + y W + x), each once,
// and a line for each kind of value, c, A (3), M (3), V, Sum: [9,pixels], or without c: [8,pixels].
//
// Geometry: a thread per pixel. Bytes per pixel: 77 and 68. Deterministic.
#include "network.cuh"

KERNEL(256) regions_put(const int32_t* RESTRICT at, int32_t count, int32_t plane, const float* RESTRICT list, uint8_t* RESTRICT mask,
        float* RESTRICT c, float* RESTRICT A, float* RESTRICT M, float* RESTRICT V, float* RESTRICT sum) {
    int32_t i = blockX() * 256 + threadX();
    if (i >= count) return;
    int32_t p = at[i], n = p / plane;
    auto line = [&](int32_t j) { return list[(offset_t)j * count + i]; };
    mask[p] = 1;
    c[p] = line(0), V[p] = line(7), sum[p] = line(8);
    UNROLL for (int32_t ch = 0; ch < 3; ch++) {
        offset_t q = (offset_t)p + ((offset_t)2 * n + ch) * plane;
        A[q] = line(1 + ch), M[q] = line(4 + ch);
    }
}
EMULATE(regions_put)

KERNEL(256) regions_get(const int32_t* RESTRICT at, int32_t count, int32_t plane, float* RESTRICT list, const float* RESTRICT A,
        const float* RESTRICT M, const float* RESTRICT V, const float* RESTRICT sum) {
    int32_t i = blockX() * 256 + threadX();
    if (i >= count) return;
    int32_t p = at[i], n = p / plane;
    auto line = [&](int32_t j) -> float& { return list[(offset_t)j * count + i]; };
    line(6) = V[p], line(7) = sum[p];
    UNROLL for (int32_t ch = 0; ch < 3; ch++) {
        offset_t q = (offset_t)p + ((offset_t)2 * n + ch) * plane;
        line(ch) = A[q], line(3 + ch) = M[q];
    }
}
EMULATE(regions_get)
