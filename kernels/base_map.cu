// base_map enlarges grids [N,h,w] to maps [N,H,W] and blurs them, in one pass and with no map in between: both are linear and
// separable, so a map is a product with one banded matrix per axis (method.BaseMap; with sigma 0 it is the enlargement alone):
//
//   out(i,j) = sum_k A(i,k) sum_l B(j,l) grid(a_i + k, b_j + l)
//
// A table per axis, made by the host in float64, has a record per pixel: its first cell and how many (n <= K; as int32 bits),
// two words unused, then n weights, zeros up to the record's end: 4 + K rounded up to 4 words in all. Both a_i and a_i + n_i
// never decrease. Weights past n are not multiplied, which would spread NaN.
//
// Geometry: a block of 256 threads per 128 x 64 pixels, grid (ceil(W/128), ceil(H/64), N). First the rows of cells that the
// tile needs are multiplied by B, a column and its weights per thread, into shared memory (rows x 128 floats; how many rows
// there may be is an argument, for the check); then a thread walks down 16 pixels of two columns with the K cells that the
// current pixel needs in registers, which change every H/h pixels. Kernels for K <= 4, 6, 10, 18, 34.
//
// Bytes: 4 N H W written, 4 N h w read (some 1.5 times, the rest from L1). Arithmetic: K (1 + (64 h/H + K)/64) multiply-adds
// a pixel: 14 for the methods' own maps (4 times larger, radius 16: K = 10), to 66 for a blur of the enlarged map.
// Deterministic; a map does not depend on the batch.
#include "f2pad.cuh"

// Span is a record of a table: what one pixel is made of.
template <int K> struct Span {
    int32_t first, n;
    float weight[(K + 3) / 4 * 4];
};

template <int K> DEVICE Span<K> spanAt(const vec4* table, int32_t pixel) {
    const vec4* r = table + pixel * (1 + (K + 3) / 4);
    vec4 head = r[0];
    Span<K> s;
    s.first = (int32_t)bitsOf(head.x), s.n = (int32_t)bitsOf(head.y);
    UNROLL for (int q = 0; q < (K + 3) / 4; q++) {
        vec4 v = r[1 + q];
        s.weight[4 * q] = v.x, s.weight[4 * q + 1] = v.y, s.weight[4 * q + 2] = v.z, s.weight[4 * q + 3] = v.w;
    }
    return s;
}

template <int K>
DEVICE void map(const float* grid, int32_t h, int32_t w, const vec4* rows, const vec4* columns, int32_t H, int32_t W,
                float* out) {
    float* wide = shared<float>();
    int32_t thread = threadX(), x0 = blockX() * 128, y0 = blockY() * 64, height = least(64, H - y0);
    Span<K> s = spanAt<K>(rows, y0 + height - 1);
    int32_t end = s.first + s.n, top = spanAt<K>(rows, y0).first; // the cells' rows that the tile needs

    s = spanAt<K>(columns, least(x0 + thread % 128, W - 1));
    const float* cells = grid + (uint64_t)blockZ() * h * w + s.first;
    for (int32_t y = top + thread / 128; y < end; y += 2) {
        const float* value = cells + y * w;
        float sum = 0;
        if (s.n == K) {
            UNROLL for (int k = 0; k < K; k++) sum += s.weight[k] * value[k];
        } else {
            UNROLL for (int k = 0; k < K; k++)
                if (k < s.n) sum += s.weight[k] * value[k];
        }
        wide[(y - top) * 128 + thread % 128] = sum;
    }
    sync();

    int32_t j = thread % 64 * 2, i = y0 + thread / 64 * 16, last = least(i + 16, H);
    if (i >= H) return;
    const vec2* pairs = (const vec2*)(wide + j); // of a row's columns j and j+1, 64 apart from row to row
    vec2 window[K];
    int32_t at = spanAt<K>(rows, i).first; // the cell that the window begins with
    UNROLL for (int k = 0; k < K; k++) window[k] = pairs[(least(at + k, end - 1) - top) * 64];
    float* to = out + ((uint64_t)blockZ() * H + i) * W + x0 + j;
    for (; i < last; i++, to += W) {
        s = spanAt<K>(rows, i);
        for (; at < s.first; at++) {
            UNROLL for (int k = 0; k + 1 < K; k++) window[k] = window[k + 1];
            window[K - 1] = pairs[(least(at + K, end - 1) - top) * 64];
        }
        vec2 sum = {0, 0};
        if (s.n == K) {
            UNROLL for (int k = 0; k < K; k++) sum.x += s.weight[k] * window[k].x, sum.y += s.weight[k] * window[k].y;
        } else {
            UNROLL for (int k = 0; k < K; k++)
                if (k < s.n) sum.x += s.weight[k] * window[k].x, sum.y += s.weight[k] * window[k].y;
        }
        if (W % 2 == 0 && x0 + j < W) *(vec2*)to = sum;
        if (W % 2 != 0 && x0 + j < W) to[0] = sum.x;
        if (W % 2 != 0 && x0 + j + 1 < W) to[1] = sum.y;
    }
}

#define BASE_MAP(K)                                                                                                          \
    KERNEL(256) base_map##K(const float* RESTRICT grid, int32_t h, int32_t w, const float* RESTRICT rows,                    \
                            const float* RESTRICT columns, int32_t H, int32_t W, float* RESTRICT out) {                      \
        map<K>(grid, h, w, (const vec4*)rows, (const vec4*)columns, H, W, out);                                              \
    }                                                                                                                        \
    EMULATE(base_map##K)

BASE_MAP(4)
BASE_MAP(6)
BASE_MAP(10)
BASE_MAP(18)
BASE_MAP(34)
