// upsample enlarges grids [N,h,w] to maps [N,H,W], as pixel.Upsample (bilinear between cell centres, constant beyond the
// outermost) or by the nearest cell (floor(i h/H)) do.
//
//   bilinear: pixel i lies between cells lo = floor(p) and lo+1 with p = (i + 1/2) h/H - 1/2, clamped to [0, h-1]
//
// Geometry: a thread per 4 pixels of a row, grid (ceil(W/4/256), H, N); nothing shared.
// Bytes: 4 N H W written, 4 N h w read (again and again, from the caches). Some 10 operations a pixel. Deterministic.
#include "f2pad.cuh"

// between gives the cells that pixel i of n lies between, and the share of the second; all integers, as the Go twin does,
// so that no rounding moves a pixel to another cell.
DEVICE void between(int32_t i, int32_t cells, int32_t n, int32_t& lo, int32_t& hi, float& share) {
    int32_t twice = (2 * i + 1) * cells - n; // position in units of 1/(2n) cell
    lo = 0, hi = 0, share = 0;
    if (twice <= 0) return;
    lo = twice / (2 * n);
    if (lo >= cells - 1) {
        lo = hi = cells - 1;
        return;
    }
    hi = lo + 1;
    share = (float)(twice % (2 * n)) / (float)(2 * n);
}

KERNEL(256) upsample(const float* RESTRICT grid, int32_t h, int32_t w, int32_t H, int32_t W, int32_t nearest, float* RESTRICT out) {
    int32_t i = blockY(), first = (blockX() * threadsX() + threadX()) * 4;
    const float* g = grid + (uint64_t)blockZ() * h * w;
    float* row = out + ((uint64_t)blockZ() * H + i) * W;
    int32_t y0 = i * h / H, y1 = y0;
    float fy = 0;
    if (!nearest) between(i, h, H, y0, y1, fy);
    UNROLL for (int32_t k = 0; k < 4; k++) {
        int32_t j = first + k;
        if (j >= W) break;
        if (nearest) {
            row[j] = g[y0 * w + j * w / W];
            continue;
        }
        int32_t x0, x1;
        float fx;
        between(j, w, W, x0, x1, fx);
        float a = g[y0 * w + x0] + fx * (g[y0 * w + x1] - g[y0 * w + x0]);
        float b = g[y1 * w + x0] + fx * (g[y1 * w + x1] - g[y1 * w + x0]);
        row[j] = a + fy * (b - a);
    }
}
EMULATE(upsample)
