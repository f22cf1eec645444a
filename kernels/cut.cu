// cut makes the windows that a network runs on, and cut_gather adds up what their gradients say of the images' pixels.
//
//   cut          out = gain (Y - c A) + shift on the region Omega, gain Y + shift elsewhere, for the pixels of windows of one size
//   cut_gather   dx = sum over the windows of an image, in their order, of gain dw, for its pixels
//
// Y [N,3,H,W], A [M,3,H,W], c (scale) [M,H,W] float32, A in units of c; mask [M,H,W] bytes (not 0: Omega), or null: Omega is empty; gain,
// shift [N,3]. Table of cut: for each window an image, that image's number among those that have A, c and mask, a first row and a first
// column; what of it is beyond its image is that one's nearest pixel. out is any array of the windows by strides, float32 or float16. dw
// are windows [h,w,3] of any sizes: a table of first row, first column, h, w, and where the window begins (64 bits), image i's being
// those from bound i to bound i+1. dx [N,3,H,W]: with a list of tiles (pixel_step's) only pixels of Omega are written; without one, all.
//
// Geometry: cut: a thread per pixel, grid (h w/256, windows). cut_gather: a block per tile, all or those listed. Bytes per pixel: cut 13 + 12 out, on Omega
// 16 more; cut_gather 12 dx + 1 mask, 12 for each window that holds it. Deterministic; an image's values depend on it alone.
#include "network.cuh"

enum { tileW = 64, tileH = 32 };

KERNEL(256) cut(const int32_t* RESTRICT table, int32_t h, int32_t w, int32_t H, int32_t W, const float* RESTRICT Y,
        const float* RESTRICT A, const float* RESTRICT scale, const uint8_t* RESTRICT mask, const float* RESTRICT gain,
        const float* RESTRICT shift, int32_t outImage, int32_t outChannel, int32_t outRow, int32_t outColumn, int32_t half,
        void* RESTRICT out) {
    int32_t p = blockX() * 256 + threadX(), k = blockY();
    if (p >= h * w) return;
    int32_t n = table[4 * k], m = table[4 * k + 1], y = p / w, x = p % w, plane = H * W;
    int32_t row = least(most(table[4 * k + 2] + y, 0), H - 1), column = least(most(table[4 * k + 3] + x, 0), W - 1), at = row * W + column;
    bool omega = mask && mask[(offset_t)m * plane + at];
    float c = omega ? scale[(offset_t)m * plane + at] : 0;
    UNROLL for (int32_t ch = 0; ch < 3; ch++) {
        float v = Y[((offset_t)3 * n + ch) * plane + at];
        if (omega) v -= c * A[((offset_t)3 * m + ch) * plane + at];
        storeAs(out, (offset_t)k * outImage + ch * outChannel + y * outRow + x * outColumn, half, gain[3 * n + ch] * v + shift[3 * n + ch]);
    }
}
EMULATE(cut)

struct Window { int32_t top, left, h, w, low, high; };

KERNEL(256, 6) cut_gather(const int32_t* RESTRICT tiles, int32_t N, int32_t H, int32_t W, const uint8_t* RESTRICT mask,
        const int32_t* RESTRICT bounds, const Window* RESTRICT windows, const float* RESTRICT dw, const float* RESTRICT gain,
        float* RESTRICT dx) {
    int32_t columns = (W + tileW - 1) / tileW, rows = (H + tileH - 1) / tileH, count = tiles ? tiles[N] : N * rows * columns;
    int32_t plane = H * W, lane = laneOf(threadX());
    for (int32_t i = blockX(); i < count; i += gridX()) {
        int32_t number = tiles ? tiles[N + 1 + i] : i, n = number / columns / rows;
        int32_t top = number / columns % rows * tileH + warpOf(threadX()) * 4, left = number % columns * tileW;
        float k[3];
        UNROLL for (int32_t ch = 0; ch < 3; ch++) k[ch] = gain[3 * n + ch];
        for (int32_t part = 0; part < 8; part++) {
            int32_t y = top + part / 2, x = left + part % 2 * 32 + lane;
            if (y >= H || x >= W || (tiles && !mask[(offset_t)n * plane + y * W + x])) continue;
            float v[3] = {0, 0, 0};
            for (int32_t b = bounds[n]; b < bounds[n + 1]; b++) {
                Window in = windows[b];
                int32_t r = y - in.top, c = x - in.left;
                if (r < 0 || r >= in.h || c < 0 || c >= in.w) continue;
                const float* from = dw + ((offset_t)in.high << 32 | (uint32_t)in.low) + (offset_t)3 * (r * in.w + c);
                UNROLL for (int32_t ch = 0; ch < 3; ch++) v[ch] += from[ch] * k[ch];
            }
            UNROLL for (int32_t ch = 0; ch < 3; ch++) dx[((offset_t)3 * n + ch) * plane + y * W + x] = v[ch];
        }
    }
}
EMULATE(cut_gather)
