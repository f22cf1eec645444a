// upsample enlarges grids [N,h,w] to maps [N,H,W], as pixel.Upsample (bilinear between cell centres, constant beyond the
// outermost) or by the nearest cell (floor(i h/H)) do.
//
//   bilinear: pixel i lies between cells lo = floor(p) and lo+1 with p = (i + 1/2) h/H - 1/2, clamped to [0, h-1]
//
// Geometry: a thread per 4 columns of 8 rows, so that a column's cells are found once, grid (ceil(W/512), ceil(H/8), N) of
// 128 threads; nothing shared. Bytes: 4 N H W written, 4 N h w read (again and again, from the caches). Some 10 operations a
// pixel, and as many on integers. Deterministic.
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

KERNEL(128) upsample(const float* RESTRICT grid, int32_t h, int32_t w, int32_t H, int32_t W, int32_t nearest,
                     float* RESTRICT out) {
    int32_t j = (blockX() * threadsX() + threadX()) * 4, top = blockY() * 8;
    if (j >= W) return;
    int32_t x0[4], x1[4];
    float fx[4], v[4];
    UNROLL for (int32_t k = 0; k < 4; k++) {
        int32_t x = least(j + k, W - 1);
        if (nearest)
            x0[k] = x * w / W;
        else
            between(x, w, W, x0[k], x1[k], fx[k]);
    }
    const float* g = grid + (uint64_t)blockZ() * h * w;
    for (int32_t i = top; i < least(top + 8, H); i++) {
        int32_t y0 = i * h / H, y1;
        float fy;
        if (!nearest) between(i, h, H, y0, y1, fy);
        UNROLL for (int32_t k = 0; k < 4; k++) {
            v[k] = g[y0 * w + x0[k]];
            if (nearest) continue;
            float a = v[k] + fx[k] * (g[y0 * w + x1[k]] - v[k]), b = g[y1 * w + x0[k]];
            b += fx[k] * (g[y1 * w + x1[k]] - b);
            v[k] = a + fy * (b - a);
        }
        float* to = out + ((uint64_t)blockZ() * H + i) * W + j;
        if (W % 4 == 0) {
            *(vec4*)to = {v[0], v[1], v[2], v[3]};
            continue;
        }
        UNROLL for (int32_t k = 0; k < 4; k++)
            if (j + k < W) to[k] = v[k];
    }
}
EMULATE(upsample)
