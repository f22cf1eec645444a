// blur convolves planes [N,H,W] with the Gaussian taps t_0 ... t_r (index = distance, r <= 32) along rows, then columns:
//
//   out = sum_{|k|,|l| <= r} t_|k| t_|l| in(i+k, j+l)
//
// Beyond an edge the plane is reflected, as often as need be: with the edge pixel repeated (pixel.Gaussian, scipy's
// "reflect"), or not (reflect101: method.MapOptions, PyTorch's "reflect"). in and out must not overlap: a block reads its
// neighbours' pixels.
//
// Geometry: a block of 8 warps per tile of 64 x 128 outputs, grid (ceil(W/64), ceil(H/128), N). A warp copies groups of 8 rows
// of the tile and its halo to shared memory, all at once, and blurs each along the rows as soon as it has come, in place;
// after the block's only barrier, threads blur along the columns and write. Kernels for r <= 4, 8, 16, 32 differ in the halo R
// (shared memory: (128+2R)(68+2R) floats, 42 to 99 KiB) and in registers (16+2R values of a row or column).
//
// Bytes: 8 per pixel; the halo, (1+R/32)(1+R/64) times the tile, is read again from L2. Arithmetic: 2r+1 additions or
// multiply-adds per pixel and direction, those along rows for 1+R/64 times the pixels. At r = 16 that is 74 a pixel, to 56
// that the fp32 units could issue while the memory moves 8 bytes (H200: 30 T/s, 4.3 TB/s): there the tile is tall because a
// tall tile repeats little of the row pass, and each thread makes 16 outputs because that leaves 3 reads of shared memory
// to 33 operations. Deterministic; a plane's result does not depend on the batch.
#include "gaussian.cuh"

#define TAPS                                                                                                          \
    float t0, float t1, float t2, float t3, float t4, float t5, float t6, float t7, float t8,                         \
    float t9, float t10, float t11, float t12, float t13, float t14, float t15, float t16, float t17,                 \
    float t18, float t19, float t20, float t21, float t22, float t23, float t24, float t25, float t26,                \
    float t27, float t28, float t29, float t30, float t31, float t32
#define TAP_VALUES                                                                                                    \
    t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16, t17, t18, t19, t20, t21,               \
    t22, t23, t24, t25, t26, t27, t28, t29, t30, t31, t32

template <int R, bool whole>
DEVICE void blurTile(const float* in, int32_t H, int32_t W, int32_t reflect101, int32_t r, const float* t, float* out) {
    const int32_t height = 128;
    float* tile = shared<float>();
    int32_t warp = warpOf(threadX()), lane = laneOf(threadX());
    int32_t x0 = blockX() * 64, y0 = blockY() * height, rows = least(height, H - y0);
    uint64_t plane = (uint64_t)blockZ() * H * W;
    in += plane;
    out += plane;

    // A lane copies the same 4 columns of every row: one by one where they reach beyond the plane or rows are not aligned.
    int32_t x = x0 - R + lane * 4, at[4];
    bool together = W % 4 == 0 && x >= 0 && x < W;
    UNROLL for (int32_t e = 0; e < 4; e++) at[e] = fold(x + e, W, reflect101);
    for (int32_t g = 0; g < 3; g++) {
        int32_t first = (g * 8 + warp) * 8;
        if (first < rows + 2 * R && lane < 16 + R / 2)
            for (int32_t row = first; row < first + 8; row++) {
                const float* src = in + fold(y0 - R + row, H, reflect101) * W;
                float* dst = tile + row * tilePitch<R> + lane * 4;
                if (together) {
                    cpAsync16(dst, src + x);
                } else {
                    UNROLL for (int32_t e = 0; e < 4; e++) cpAsync4(dst + e, src + at[e]);
                }
            }
        cpCommit();
    }
    for (int32_t g = 0; g < 3; g++) {
        int32_t first = (g * 8 + warp) * 8;
        if (g == 0) cpWait<2>();
        if (g == 1) cpWait<1>();
        if (g == 2) cpWait<0>();
        syncWarp();
        if (first < rows + 2 * R) blurRows<R, whole>(tile + first * tilePitch<R>, t, r);
    }
    sync();
    int32_t j = threadX() % 64;
    for (int32_t i = threadX() / 64 * 16; i < rows; i += 64) {
        float sum[16];
        blurColumn<R, whole>(sum, tile + i * tilePitch<R> + j, t, r);
        if (x0 + j < W) {
            int32_t to = (y0 + i) * W + x0 + j;
            UNROLL for (int32_t v = 0; v < 16; v++)
                if (i + v < rows) out[to + v * W] = sum[v];
        }
    }
}

#define BLUR(R, blocks)                                                                                            \
    KERNEL(256, blocks) blur##R(const float* RESTRICT in, int32_t H, int32_t W, int32_t reflect101, int32_t r,      \
                                float* RESTRICT out, TAPS) {                                                        \
        const float t[33] = {TAP_VALUES};                                                                           \
        if (r == R)                                                                                                 \
            blurTile<R, true>(in, H, W, reflect101, r, t, out);                                                     \
        else                                                                                                        \
            blurTile<R, false>(in, H, W, reflect101, r, t, out);                                                    \
    }                                                                                                               \
    EMULATE(blur##R)

BLUR(4, 4)
BLUR(8, 3)
BLUR(16, 3)
BLUR(32, 2)
