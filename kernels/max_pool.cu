// max_pool takes maxima under windows of images [N,H,W,C], channels innermost, and gives the gradient back.
//
//   max_pool:       y[n,i,j,c] = the largest x under window (i,j); NaN counts as the largest
//   max_pool_grad:  dx[n,h,w,c] = sum of dy over the windows whose first largest element, row by row, is (h,w)
//
// Arrays are float32 or float16. Windows are never all padding. Geometry: a thread per element of the result, grid (elements/256, images). max_pool_grad finds
// each window's winner again, in each of the threads that it covers: 4 x 9 reads for 3x3 at stride 2, from the caches. Bytes: x
// and dy read once, the result written once. Deterministic: windows are added row by row.
#include "network.cuh"

struct Pool { int32_t C, H, W, OH, OW, KH, KW, strideH, strideW, dilationH, dilationW, padH, padW; };

// The bits of halves: 1 for x, 2 for dy, 4 for the result.

DEVICE bool beats(float v, float best) { return v > best || (v != v && best == best); }

KERNEL(256) max_pool(const Pool* RESTRICT pool, const void* RESTRICT x, void* RESTRICT y, uint32_t halves) {
    const Pool& p = *pool;
    int32_t i = blockX() * 256 + threadX(), elements = p.OH * p.OW * p.C;
    if (i >= elements) return;
    int32_t c = i % p.C, h0 = i / p.C / p.OW * p.strideH - p.padH, w0 = i / p.C % p.OW * p.strideW - p.padW;
    offset_t from = (offset_t)blockY() * (p.H * p.W * p.C) + c;
    float best = -infinity();
    for (int32_t k = 0; k < p.KH; k++) {
        int32_t h = h0 + k * p.dilationH;
        if (h < 0 || h >= p.H) continue;
        for (int32_t l = 0; l < p.KW; l++) {
            int32_t w = w0 + l * p.dilationW;
            if (w < 0 || w >= p.W) continue;
            float v = loadAs(x, from + (h * p.W + w) * p.C, halves & 1);
            if (beats(v, best)) best = v;
        }
    }
    storeAs(y, (offset_t)blockY() * elements + i, halves >> 2 & 1, best);
}
EMULATE(max_pool)

// winner is the place of the first largest element under a window.
DEVICE int32_t winner(const Pool& p, const void* x, offset_t from, bool half, int32_t h0, int32_t w0) {
    float best = 0;
    int32_t at = -1;
    for (int32_t k = 0; k < p.KH; k++) {
        int32_t h = h0 + k * p.dilationH;
        if (h < 0 || h >= p.H) continue;
        for (int32_t l = 0; l < p.KW; l++) {
            int32_t w = w0 + l * p.dilationW;
            if (w < 0 || w >= p.W) continue;
            float v = loadAs(x, from + (h * p.W + w) * p.C, half);
            if (at < 0 || beats(v, best)) best = v, at = h * p.W + w;
        }
    }
    return at;
}

KERNEL(256, 4) max_pool_grad(const Pool* RESTRICT pool, const void* RESTRICT dy, const void* RESTRICT x, void* RESTRICT dx,
                             uint32_t halves) {
    const Pool& p = *pool;
    int32_t e = blockX() * 256 + threadX(), elements = p.H * p.W * p.C;
    if (e >= elements) return;
    int32_t c = e % p.C, h = e / p.C / p.W, w = e / p.C % p.W;
    offset_t from = (offset_t)blockY() * elements + c, grad = (offset_t)blockY() * (p.OH * p.OW * p.C) + c;
    // Windows i with i stride - pad <= h <= i stride - pad + (K-1) dilation.
    int32_t reachH = (p.KH - 1) * p.dilationH, reachW = (p.KW - 1) * p.dilationW;
    int32_t i0 = most(0, (h + p.padH - reachH + p.strideH - 1) / p.strideH), i1 = least(p.OH - 1, (h + p.padH) / p.strideH);
    int32_t j0 = most(0, (w + p.padW - reachW + p.strideW - 1) / p.strideW), j1 = least(p.OW - 1, (w + p.padW) / p.strideW);
    if (h + p.padH < reachH) i0 = 0;
    if (w + p.padW < reachW) j0 = 0;
    float sum = 0;
    for (int32_t i = i0; i <= i1; i++)
        for (int32_t j = j0; j <= j1; j++)
            if (winner(p, x, from, halves & 1, i * p.strideH - p.padH, j * p.strideW - p.padW) == h * p.W + w)
                sum += loadAs(dy, grad + (i * p.OW + j) * p.C, halves >> 1 & 1);
    storeAs(dx, (offset_t)blockY() * elements + e, halves >> 2 & 1, sum);
}
EMULATE(max_pool_grad)
