// fill_min compares regions of windows of different sizes with K fills each (refine's step 3; pixel.FillMin and pixel.Least).
// A region's pixels P have values y and f; off it, every distance is 0:
//
//   fill_where    where(p) = the number of pixel p in the region; the rest is -1 already
//   fill_min      sq(k,p) = ||y_p - f_k,p||^2, r(p) = min_k sqrt(sq(k,p)); NaN where any of them is. Off the region both are 0
//                 already
//   fill_least    of planes that were blurred, at the region's pixels: r, and the k of the least of the costs c(k,p), the first
//                 of equals
//   fill_compare  what becomes of fill_min, a blur of r, another of sq and fill_least, at once
//
// Layout: a table of 8 int32 per window: offset, h, w, first, P, K, fills, squares. y is [3,P] at 3 first, f [K,3,P] at 3 fills,
// the region's pixels y*w+x and what is found of them [P] at first, where and the plane of r [h,w] at offset, those of sq and c
// [K,h,w] at squares.
//
// Geometry: all but fill_compare: a thread per pixel of a region, grid (ceil(most P/256), windows), nothing shared. fill_compare:
// 4 warps per tile of 64 x 32 pixels (gaussian.cuh, radius <= 8, the edge pixel repeated), grid (most tiles, windows); two tiles
// in shared memory, 32 KiB: the squared distances to the fill at hand, which are blurred and compared with the least so far, and
// their least, which becomes r. Blocks past a window's end do nothing.
//
// Bytes: a pixel of the region 12 + 12 K + 4 + 4 (1 + K) for fill_min, 4 + 4 (1 + K) + 8 for fill_least, 12 + 12 K + 8 for
// fill_compare, and 4 a pixel of the window, and the halo (1.9 times the pixels) from the caches. Operations: 9 K, and fill_compare
// 2 (2r+1) (K+1) more or so. Deterministic; a window does not depend on the others.
#include "gaussian.cuh"

struct Window {
    uint64_t offset;
    int32_t h, w;
    uint64_t first;
    int32_t P, K;
    uint64_t fills, squares;
};
DEVICE Window windowAt(const int32_t* table, int32_t i) {
    const int32_t* t = table + 8 * i;
    return {(uint64_t)t[0], t[1], t[2], (uint64_t)t[3], t[4], t[5], (uint64_t)t[6], (uint64_t)t[7]};
}

DEVICE void addSquare(float& sum, float a, float b) {
    float d = a - b;
    sum += d * d;
}
// lesser is the smaller of two, and NaN if one is.
DEVICE float lesser(float a, float b) { return b < a || b != b ? b : a; }

KERNEL(256) fill_where(const int32_t* RESTRICT pixels, const int32_t* RESTRICT table, int32_t* where) {
    Window win = windowAt(table, blockY());
    int32_t i = blockX() * threadsX() + threadX();
    if (i < win.P) where[win.offset + pixels[win.first + i]] = i;
}
EMULATE(fill_where)

KERNEL(256) fill_min(const float* RESTRICT y, const float* RESTRICT fills, const int32_t* RESTRICT pixels,
                     const int32_t* RESTRICT table, float* sq, float* r) {
    Window win = windowAt(table, blockY());
    int32_t n = win.h * win.w, i = blockX() * threadsX() + threadX();
    if (i >= win.P) return;
    int32_t p = pixels[win.first + i];
    float a[3], least = infinity();
    UNROLL for (int c = 0; c < 3; c++) a[c] = y[3 * win.first + (uint64_t)c * win.P + i];
    const float* f = fills + 3 * win.fills + i;
    for (int32_t k = 0; k < win.K; k++) {
        float sum = 0;
        UNROLL for (int c = 0; c < 3; c++, f += win.P) addSquare(sum, a[c], *f);
        sq[win.squares + (uint64_t)k * n + p] = sum;
        least = lesser(least, sum);
    }
    r[win.offset + p] = squareRoot(least);
}
EMULATE(fill_min)

KERNEL(256) fill_least(const float* RESTRICT cost, const float* RESTRICT plane, const int32_t* RESTRICT pixels,
                       const int32_t* RESTRICT table, float* r, int32_t* best) {
    Window win = windowAt(table, blockY());
    int32_t n = win.h * win.w, i = blockX() * threadsX() + threadX();
    if (i >= win.P) return;
    int32_t p = pixels[win.first + i], at = 0;
    const float* c = cost + win.squares + p;
    float low = *c;
    for (int32_t k = 1; k < win.K; k++) {
        float v = c[(uint64_t)k * n];
        if (v < low) low = v, at = k;
    }
    r[win.first + i] = plane[win.offset + p];
    best[win.first + i] = at;
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

KERNEL(128) fill_compare(const float* RESTRICT y, const float* RESTRICT fills, const int32_t* RESTRICT where,
                         const int32_t* RESTRICT table, int32_t smooth, float s0, float s1, float s2, float s3, float s4,
                         float s5, float s6, float s7, float s8, int32_t start, float t0, float t1, float t2, float t3,
                         float t4, float t5, float t6, float t7, float t8, float* r, int32_t* best) {
    const float s[9] = {s0, s1, s2, s3, s4, s5, s6, s7, s8}, t[9] = {t0, t1, t2, t3, t4, t5, t6, t7, t8};
    const int32_t rows = 48, columns = 80, pitch = tilePitch<8>;
    Window win = windowAt(table, blockY());
    int32_t across = (win.w + 63) / 64;
    if (blockX() >= across * ((win.h + 31) / 32)) return;
    int32_t x0 = blockX() % across * 64, y0 = blockX() / across * 32;
    float *sq = shared<float>(), *nearest = sq + rows * pitch;
    where += win.offset;
    y += 3 * win.first;
    fills += 3 * win.fills;

    float sum[16], low[16];
    int32_t at[16];
    for (int32_t k = 0; k < win.K; k++, fills += 3 * (uint64_t)win.P) {
        sync(); // all have read sq
        for (int32_t i = threadX(); i < rows * columns; i += 128) {
            int32_t row = i / columns, column = i % columns, place = row * pitch + column;
            int32_t p = where[(uint64_t)fold(y0 - 8 + row, win.h, 0) * win.w + fold(x0 - 8 + column, win.w, 0)];
            float d = 0;
            if (p >= 0) {
                UNROLL for (int c = 0; c < 3; c++) {
                    uint64_t q = (uint64_t)c * win.P + p;
                    addSquare(d, y[q], fills[q]);
                }
            }
            sq[place] = d;
            nearest[place] = lesser(k ? nearest[place] : infinity(), d);
            if (k == win.K - 1) nearest[place] = squareRoot(nearest[place]);
        }
        blurTile(sum, sq, rows, t, start);
        UNROLL for (int v = 0; v < 16; v++)
            if (k == 0 || sum[v] < low[v]) low[v] = sum[v], at[v] = k;
    }
    blurTile(sum, nearest, rows, s, smooth);
    int32_t i = y0 + threadX() / 64 * 16, j = x0 + threadX() % 64;
    UNROLL for (int v = 0; v < 16; v++)
        if (i + v < win.h && j < win.w) {
            int32_t p = where[(uint64_t)(i + v) * win.w + j];
            if (p >= 0) {
                r[win.first + p] = sum[v];
                best[win.first + p] = at[v];
            }
        }
}
EMULATE(fill_compare)
