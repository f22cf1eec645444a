// fill_min compares pictures with K fills each (refine's step 3; pixel.FillMin and pixel.Least), for windows of different
// sizes at once:
//
//   fill_min      sq(k,p) = ||y_p - f_k,p||^2 (optional), r(p) = min_k sqrt(sq(k,p)); NaN where any of them is
//   fill_least    best(p) = the k of the least of the costs c(k,p), the first of equals
//   fill_compare  r blurred by one Gaussian, and best of the sq blurred by another, at once
//
// Layout: a table of int32 (offset, h, w) per window, n = h w, offsets in pixels, multiples of 4: at 3 offset lies y [3,h,w],
// at 3 K offset f [K,3,h,w], at K offset sq and c [K,h,w], at offset r and best [h,w].
//
// Geometry: fill_min and fill_least: a thread per 4 pixels of a window, grid (ceil(most n/4/256), windows), nothing shared.
// fill_compare: 4 warps per tile of 64 x 32 pixels (gaussian.cuh, radius <= 8, the edge pixel repeated), grid (most tiles,
// windows); two tiles in shared memory, 32 KiB: the squared distances to the fill at hand, which are blurred and compared
// with the least so far, and their least, which becomes r. Blocks past a window's end do nothing.
//
// Bytes: 12 + 12 K + 4 (+ 4 K with sq) a pixel; fill_compare 12 + 12 K + 8 from memory, and the halo (1.9 times the pixels)
// from the caches. Operations: 9 K, and fill_compare 2 (2r+1) (K+1) more or so. Deterministic; a window does not depend on
// the others.
#include "gaussian.cuh"

struct Window {
    uint64_t offset;
    int32_t h, w;
};
DEVICE Window windowAt(const int32_t* table, int32_t i) { return {(uint64_t)table[3 * i], table[3 * i + 1], table[3 * i + 2]}; }

// four reads 4 pixels of a plane, n of them there; quick: at once.
DEVICE vec4 four(const float* p, int32_t n, bool quick) {
    if (quick) return *(const vec4*)p;
    return {p[0], n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0};
}
DEVICE void putFour(float* p, vec4 v, int32_t n, bool quick) {
    if (quick) {
        *(vec4*)p = v;
        return;
    }
    p[0] = v.x;
    if (n > 1) p[1] = v.y;
    if (n > 2) p[2] = v.z;
    if (n > 3) p[3] = v.w;
}
DEVICE void addSquare(float& sum, float a, float b) {
    float d = a - b;
    sum += d * d;
}
// lesser is the smaller of two, and NaN if one is.
DEVICE float lesser(float a, float b) { return b < a || b != b ? b : a; }

KERNEL(256) fill_min(const float* RESTRICT y, const float* RESTRICT fills, const int32_t* RESTRICT table, int32_t K, float* sq,
                     float* r) {
    Window win = windowAt(table, blockY());
    int32_t n = win.h * win.w, p = (blockX() * threadsX() + threadX()) * 4;
    if (p >= n) return;
    bool quick = n % 4 == 0;
    vec4 a[3], least = {infinity(), infinity(), infinity(), infinity()};
    UNROLL for (int c = 0; c < 3; c++) a[c] = four(y + 3 * win.offset + c * n + p, n - p, quick);
    const float* f = fills + 3 * K * win.offset + p;
    for (int32_t k = 0; k < K; k++, f += 3 * n) {
        vec4 sum = {0, 0, 0, 0};
        UNROLL for (int c = 0; c < 3; c++) {
            vec4 b = four(f + c * n, n - p, quick);
            addSquare(sum.x, a[c].x, b.x), addSquare(sum.y, a[c].y, b.y);
            addSquare(sum.z, a[c].z, b.z), addSquare(sum.w, a[c].w, b.w);
        }
        if (sq) putFour(sq + K * win.offset + (uint64_t)k * n + p, sum, n - p, quick);
        least = {lesser(least.x, sum.x), lesser(least.y, sum.y), lesser(least.z, sum.z), lesser(least.w, sum.w)};
    }
    least = {squareRoot(least.x), squareRoot(least.y), squareRoot(least.z), squareRoot(least.w)};
    putFour(r + win.offset + p, least, n - p, quick);
}
EMULATE(fill_min)

KERNEL(256) fill_least(const float* RESTRICT cost, const int32_t* RESTRICT table, int32_t K, int32_t* best) {
    Window win = windowAt(table, blockY());
    int32_t n = win.h * win.w, p = (blockX() * threadsX() + threadX()) * 4;
    if (p >= n) return;
    bool quick = n % 4 == 0;
    const float* c = cost + K * win.offset + p;
    vec4 low = four(c, n - p, quick);
    int32_t at[4] = {0, 0, 0, 0};
    for (int32_t k = 1; k < K; k++) {
        vec4 v = four(c + (uint64_t)k * n, n - p, quick);
        if (v.x < low.x) low.x = v.x, at[0] = k;
        if (v.y < low.y) low.y = v.y, at[1] = k;
        if (v.z < low.z) low.z = v.z, at[2] = k;
        if (v.w < low.w) low.w = v.w, at[3] = k;
    }
    UNROLL for (int e = 0; e < 4; e++)
        if (e < n - p) best[win.offset + p + e] = at[e];
}
EMULATE(fill_least)

// blurTile blurs the first rows of a tile and gives this thread's column its 16 outputs; the block comes together before,
// between, and not after.
DEVICE void blurTile(float (&sum)[16], float* tile, int32_t rows, const float* t, int32_t r) {
    sync();
    for (int32_t first = warpOf(threadX()) * 8; first < rows; first += 32)
        blurRows<8, false>(tile + first * tilePitch<8>, t, r);
    sync();
    blurColumn<8, false>(sum, tile + threadX() / 64 * 16 * tilePitch<8> + threadX() % 64, t, r);
}

KERNEL(128) fill_compare(const float* RESTRICT y, const float* RESTRICT fills, const int32_t* RESTRICT table, int32_t K,
                         int32_t smooth, float s0, float s1, float s2, float s3, float s4, float s5, float s6, float s7,
                         float s8, int32_t start, float t0, float t1, float t2, float t3, float t4, float t5, float t6,
                         float t7, float t8, float* r, int32_t* best) {
    const float s[9] = {s0, s1, s2, s3, s4, s5, s6, s7, s8}, t[9] = {t0, t1, t2, t3, t4, t5, t6, t7, t8};
    const int32_t rows = 48, columns = 80, pitch = tilePitch<8>;
    Window win = windowAt(table, blockY());
    int32_t n = win.h * win.w, across = (win.w + 63) / 64;
    if (blockX() >= across * ((win.h + 31) / 32)) return;
    int32_t x0 = blockX() % across * 64, y0 = blockX() / across * 32;
    float *sq = shared<float>(), *nearest = sq + rows * pitch;
    y += 3 * win.offset;
    fills += 3 * K * win.offset;

    float sum[16], low[16];
    int32_t at[16];
    for (int32_t k = 0; k < K; k++, fills += 3 * n) {
        sync(); // all have read sq
        for (int32_t i = threadX(); i < rows * columns; i += 128) {
            int32_t row = i / columns, column = i % columns, place = row * pitch + column;
            int32_t p = fold(y0 - 8 + row, win.h, 0) * win.w + fold(x0 - 8 + column, win.w, 0);
            float d = 0;
            UNROLL for (int c = 0; c < 3; c++) addSquare(d, y[c * n + p], fills[c * n + p]);
            sq[place] = d;
            nearest[place] = lesser(k ? nearest[place] : infinity(), d);
            if (k == K - 1) nearest[place] = squareRoot(nearest[place]);
        }
        blurTile(sum, sq, rows, t, start);
        UNROLL for (int v = 0; v < 16; v++)
            if (k == 0 || sum[v] < low[v]) low[v] = sum[v], at[v] = k;
    }
    blurTile(sum, nearest, rows, s, smooth);
    int32_t i = y0 + threadX() / 64 * 16, j = x0 + threadX() % 64;
    UNROLL for (int v = 0; v < 16; v++)
        if (i + v < win.h && j < win.w) {
            uint64_t p = win.offset + (i + v) * win.w + j;
            r[p] = sum[v];
            best[p] = at[v];
        }
}
EMULATE(fill_compare)
