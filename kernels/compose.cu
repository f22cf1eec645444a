// compose makes the images that the backbone sees from the images Y and their anomalies (pixel.Compose):
//
//   out = gain (Y - c A) + shift on the region Omega, gain Y + shift elsewhere
//
// Y, A [N,3,H,W], c (scale) [N,H,W] float32, A in units of c; mask [N,H,W] bytes (not 0: Omega); gain, shift [N,3], or null: 1
// and 0. out is [N,3,H,W], or, with pixels of `packed` = 3 or 4 values, [N,H,W,packed], the fourth 0. With a list of tiles (as
// pixel_step's) only pixels of Omega are written, and only those tiles looked at; without one, all.
//
// Geometry: 256 threads, a tile of 64 x 32 pixels per block, grid of any size; a warp has 4 rows, a lane a pixel: whatever the
// width, a warp reads and writes 128 bytes in a row. Three values per pixel go through the warp's shared memory for that.
// Bytes per pixel: 12 Y + 4 x 3 (or 4) out + 1 mask, and on Omega 12 A + 4 c. 4 operations per value. Deterministic.
//
// compose_start sets the A that the optimisation starts from, for some pixels of a window of one image: A = (Y - N*)/c, where
// N* is fill best[p] of fills [K,3,h,w]; best [h,w]; pixels are indices into the window, each once; c may be null: 1. A
// thread per pixel. Bytes per pixel: 8 indices, 12 Y, 12 fill, 4 c, 12 A. The rest of A is left alone.
#include "f2pad.cuh"

enum { tileW = 64, tileH = 32, threads = 256 };

KERNEL(threads) compose(const int32_t* RESTRICT tiles, int32_t N, int32_t H, int32_t W, const float* RESTRICT Y,
        const float* RESTRICT A, const float* RESTRICT scale, const uint8_t* RESTRICT mask, const float* RESTRICT gain,
        const float* RESTRICT shift, int32_t packed, float* RESTRICT out) {
    int32_t columns = (W + tileW - 1) / tileW, rows = (H + tileH - 1) / tileH, count = tiles ? tiles[N] : N * rows * columns;
    int32_t plane = H * W, lane = laneOf(threadX());
    float* turn = shared<float>() + warpOf(threadX()) * 96;
    for (int32_t i = blockX(); i < count; i += gridX()) {
        int32_t number = tiles ? tiles[N + 1 + i] : i, n = number / columns / rows;
        int32_t top = number / columns % rows * tileH + warpOf(threadX()) * 4, left = number % columns * tileW;
        uint64_t image = (uint64_t)n * plane;
        float k[3], b[3];
        UNROLL for (int32_t ch = 0; ch < 3; ch++) k[ch] = gain ? gain[3 * n + ch] : 1, b[ch] = shift ? shift[3 * n + ch] : 0;
        UNROLL for (int32_t part = 0; part < 8; part++) {
            int32_t y = top + part / 2, x0 = left + part % 2 * 32, at = y * W + x0;
            bool inside = y < H && x0 + lane < W, omega = inside && mask[image + at + lane];
            bool write = tiles ? omega : inside;
            float c = omega ? scale[image + at + lane] : 0, v[3];
            UNROLL for (int32_t ch = 0; ch < 3; ch++) {
                uint64_t p = 3 * image + ch * plane + at + lane;
                float x = 0;
                if (write) x = omega ? Y[p] - c * A[p] : Y[p];
                v[ch] = k[ch] * x + b[ch];
                if (write && !packed) out[p] = v[ch];
            }
            if (packed == 4 && write) ((vec4*)(void*)out)[image + at + lane] = {v[0], v[1], v[2], 0};
            if (packed != 3) continue;
            uint32_t written = ballotOf(write);
            UNROLL for (int32_t ch = 0; ch < 3; ch++) turn[3 * lane + ch] = v[ch];
            syncWarp();
            UNROLL for (int32_t j = 0; j < 3; j++) {
                int32_t f = 32 * j + lane;
                if (written >> (f / 3) & 1) out[3 * (image + at) + f] = turn[f];
            }
            syncWarp(); // turn is free
        }
    }
}
EMULATE(compose)

KERNEL(256) compose_start(const int32_t* RESTRICT pixels, int32_t count, const int32_t* RESTRICT best,
        const float* RESTRICT fills, int32_t h, int32_t w, const float* RESTRICT Y, const float* RESTRICT scale, int32_t n,
        int32_t top, int32_t left, int32_t H, int32_t W, float* RESTRICT A) {
    int32_t i = blockX() * threadsX() + threadX();
    if (i >= count) return;
    int32_t p = pixels[i], plane = H * W;
    int32_t inImage = (top + p / w) * W + left + p % w;
    uint64_t at = (uint64_t)n * 3 * plane + inImage;
    const float* fill = fills + (uint64_t)best[p] * 3 * h * w + p;
    float c = scale ? scale[(uint64_t)n * plane + inImage] : 1;
    UNROLL for (int32_t ch = 0; ch < 3; ch++) A[at + ch * plane] = (Y[at + ch * plane] - fill[ch * h * w]) / c;
}
EMULATE(compose_start)
