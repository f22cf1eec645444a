// pixel_step is iteration t of the optimiser (pixel.Step) for a batch of images, whose state stays on the device. With
// everything 0 off the region Omega, A in a unit c of its own at each pixel:
//
//   g     = G_share * (-c dx)
//   m, v <- keepM m + (1-keepM) g,  keepV v + (1-keepV) ||g||^2
//   eta   = rate/(sqrt(correctV v) + lambda)
//   b     = A - eta correctM m
//   n     = sqrt(G_norm * ||b||^2)
//   A    <- b prox(n; eta lambda)/n,   Sum += ||A|| if iteration t counts
//
// Planes are dense: dx, A, M [N,3,H,W], c (scale), V, Sum, SQ [N,H,W] float32, mask [N,H,W] bytes (not 0: Omega). Off Omega
// nothing is used and, but for SQ (scratch), nothing changed. Beyond an image's edges the blurs reflect, the edge repeated;
// their taps [radius+1] are pixel.Gaussian's, radius at most 16.
//
// The work is a list of tiles of 64 x 32 pixels, those with a pixel of Omega: N+1 bounds (image n's are those from bound n to
// bound n+1), then the tiles' numbers (n rows + row) columns + column, ascending. Other tiles cost nothing. What changes from
// one iteration to the next lies in device memory too: a schedule with a line per iteration (correctM, correctV, 1 if Sum
// counts, 0) and a counter, which pixel_step_stats moves on, so that a graph captured once replays the whole loop.
//
// Both passes: 128 threads, a grid of any size (a block takes every gridX-th tile); a tile and its halo in shared memory,
// rows blurred in place, then columns in registers; a thread has 4 pixels of a row, 16 bytes of a plane.
//   pixel_step_gradient  g, m, v, and SQ = ||b||^2. A thread has 4 rows and slides over 4 + 2 radius rows of the window.
//   pixel_step_prox      n, A, Sum, and the tile's sums. b and eta are computed again: less to move than b stored and read.
//   pixel_step_stats     adds up each image's tiles in the list's order: one block, a warp per image.
//
// Bytes per pixel of Omega: gradient 12 dx + 4 c + 1 mask + 12 A + 24 M + 8 V + 4 SQ = 65; prox 4 SQ + 1 mask + 24 A + 12 M +
// 4 V + 8 Sum = 53; together 118. (A single pass with a halo for both blurs would move 81, with second copies of A, M and V to
// write to, and compute 1.4 times as much.) Halos come from the caches: with radius 6 a tile asks for 1.7 times its dx and c
// (80 x 44 pixels; 32 x 32 pixels would ask for 2.1 times, 64 x 64 for 1.5, with half the blocks to hide latency behind), with
// radius 4 for 1.4 times its SQ. Shared: 41.3 KiB with radius 6, 11.4 KiB with radius 4 (72 and 24 KiB with 16). Registers: at
// most 128 and 96, so that a multiprocessor runs 4 blocks of the gradient and 5 of prox.
// Operations per pixel: gradient 12 (2 radius + 1) + 40, prox 4 (2 radius + 1) + 110.
//
// Deterministic; nothing depends on the rest of the batch. A gradient that is not finite makes its image's `moved` NaN.
#include "f2pad.cuh"

enum { tileW = 64, tileH = 32, quads = tileW / 4, threads = 128, warps = threads / 32 };

struct Tile { int32_t n, y, x; }; // image and first pixel

DEVICE Tile tileAt(int32_t number, int32_t H, int32_t W) {
    int32_t columns = (W + tileW - 1) / tileW, rows = (H + tileH - 1) / tileH, line = number / columns;
    return {line / rows, line % rows * tileH, number % columns * tileW};
}

// Quad is 4 pixels of a row. If whole (W is a multiple of 4) they move together, else value by value. Which it is the compiler
// must know (byWidth), and nothing may be loaded for one pixel only, or it takes the 16 bytes apart.
struct __attribute__((aligned(16))) Quad { float v[4]; };

template <bool is> struct Whole { static constexpr bool value = is; };
template <class Work> DEVICE void byWidth(int32_t W, Work work) {
    if (W % 4 == 0) {
        work(Whole<true>{});
    } else {
        work(Whole<false>{});
    }
}

// omega has a byte for each pixel of a quad, not 0 on Omega.
DEVICE bool on(uint32_t omega, int32_t e) { return omega >> (8 * e) & 255; }

// `left` of the quad's pixels, or more, or none, lie in the image.
template <bool whole> DEVICE uint32_t loadOmega(const uint8_t* p, int32_t left) {
    if (left <= 0) return 0;
    if (whole) return *(const uint32_t*)(const void*)p;
    uint32_t omega = 0;
    UNROLL for (int32_t e = 0; e < 4; e++)
        if (e < left) omega |= (uint32_t)p[e] << (8 * e);
    return omega;
}
template <bool whole> DEVICE Quad load(const float* p, uint32_t omega) {
    if (whole) return *(const Quad*)(const void*)p;
    Quad q;
    UNROLL for (int32_t e = 0; e < 4; e++) q.v[e] = on(omega, e) ? p[e] : 0;
    return q;
}
template <bool whole> DEVICE void store(float* p, const Quad& q, uint32_t omega) {
    if (whole) {
        *(Quad*)(void*)p = q;
        return;
    }
    UNROLL for (int32_t e = 0; e < 4; e++)
        if (on(omega, e)) p[e] = q.v[e];
}

// Window is a tile and its halo in shared memory: tileH + 2 radius rows of tileW + 2 reach values, where reach is the radius
// in whole quads; then the taps of distances -reach-3 to reach+4, which is where a quad's pixels look.
struct Window {
    int32_t radius, reach, rows, across; // across: quads of a row
    float* values;                       // [planes,rows,4 across]
    float* taps;                         // [2 reach + 8]
};

template <int planes> DEVICE Window windowOf(int32_t radius, const float* taps) {
    int32_t reach = (radius + 3) & ~3, rows = tileH + 2 * radius, across = quads + reach / 2;
    Window w = {radius, reach, rows, across, shared<float>(), shared<float>() + planes * rows * across * 4};
    for (int32_t i = threadX(); i < 2 * reach + 8; i += threads) {
        int32_t d = i < reach + 3 ? reach + 3 - i : i - reach - 3;
        w.taps[i] = d <= radius ? taps[d] : 0;
    }
    return w;
}

// fill brings src, or if scaled -scale src, into the window, 0 off Omega. All are the tile's image's; scale has one plane.
template <int planes, bool scaled>
DEVICE void fill(const Window& w, Tile t, const float* RESTRICT src, const float* RESTRICT scale,
        const uint8_t* RESTRICT mask, int32_t H, int32_t W) {
    int32_t row = threadX() / w.across, q = threadX() % w.across;
    while (row < w.rows) {
        int32_t y = t.y - w.radius + row, x = t.x - w.reach + 4 * q;
        Quad v[planes] = {};
        if (y < H + w.radius) { // else no pixel of the image looks there
            y = mirror(y, H);
            if (W % 4 == 0 && x >= 0 && x < W) {
                uint32_t omega = loadOmega<true>(mask + y * W + x, 4);
                Quad k = {};
                if (scaled) k = load<true>(scale + y * W + x, omega);
                UNROLL for (int32_t c = 0; c < planes; c++) {
                    Quad s = load<true>(src + c * H * W + y * W + x, omega);
                    UNROLL for (int32_t e = 0; e < 4; e++) {
                        float value = scaled ? -k.v[e] * s.v[e] : s.v[e];
                        v[c].v[e] = floatOf(bitsOf(value) & (on(omega, e) ? ~0u : 0));
                    }
                }
            } else {
                UNROLL for (int32_t e = 0; e < 4; e++) {
                    if (x + e < -w.radius || x + e >= W + w.radius) continue;
                    int32_t at = y * W + mirror(x + e, W);
                    if (!mask[at]) continue;
                    float k = scaled ? -scale[at] : 1;
                    UNROLL for (int32_t c = 0; c < planes; c++) v[c].v[e] = k * src[c * H * W + at];
                }
            }
        }
        UNROLL for (int32_t c = 0; c < planes; c++) ((Quad*)w.values)[(c * w.rows + row) * w.across + q] = v[c];
        row += threads / w.across, q += threads % w.across;
        if (q >= w.across) q -= w.across, row++;
    }
}

// blurRows convolves the first `rows` rows of the window, in place: a row's results, tileW of them, lie at its start. Half a
// warp has a row, a lane the quad of its number.
DEVICE void blurRows(const Window& w, int32_t rows) {
    int32_t lane = laneOf(threadX());
    for (int32_t pair = 2 * warpOf(threadX()); pair < rows; pair += 2 * warps) {
        int32_t row = pair + lane / quads;
        Quad* at = (Quad*)w.values + row * w.across + lane % quads;
        Quad sum = {};
        if (row < rows) {
            float t[8];
            UNROLL for (int32_t i = 0; i < 4; i++) t[4 + i] = w.taps[i];
            for (int32_t q = 0; q <= w.reach / 2; q++) {
                Quad in = at[q], next = ((const Quad*)w.taps)[q + 1];
                UNROLL for (int32_t i = 0; i < 4; i++) t[i] = t[4 + i], t[4 + i] = next.v[i];
                UNROLL for (int32_t e = 0; e < 4; e++)
                    UNROLL for (int32_t i = 0; i < 4; i++) sum.v[i] += in.v[e] * t[e - i + 3];
            }
        }
        syncWarp(); // all of the row is read
        if (row < rows) *at = sum;
    }
}

// blurColumns blurs `count` rows of the tile from `first` on, in the column of the given quad.
template <int planes, int count>
DEVICE void blurColumns(const Window& w, int32_t first, int32_t quad, Quad (&sum)[planes][count]) {
    const Quad* at = (const Quad*)w.values + first * w.across + quad;
    const float* taps = w.taps + w.reach - w.radius + 3;
    float t[count] = {}; // of the next row of the window, as seen from each of the results
    UNROLL for (int32_t c = 0; c < planes; c++)
        UNROLL for (int32_t k = 0; k < count; k++) sum[c][k] = {};
    for (int32_t j = 0; j < 2 * w.radius + count; j++) {
        UNROLL for (int32_t k = count - 1; k > 0; k--) t[k] = t[k - 1];
        t[0] = taps[j];
        UNROLL for (int32_t c = 0; c < planes; c++) {
            Quad in = at[(c * w.rows + j) * w.across];
            UNROLL for (int32_t k = 0; k < count; k++)
                UNROLL for (int32_t e = 0; e < 4; e++) sum[c][k].v[e] += t[k] * in.v[e];
        }
    }
}

// Iteration is what the schedule says of an iteration.
struct __attribute__((aligned(16))) Iteration { float correctM, correctV, counts, none; }; // counts: 0 or 1

// current is the iteration's index, from 0: the counter's value, or where there is no counter what the host says.
DEVICE int32_t current(const int32_t* counter, int32_t index) { return counter ? *counter : index; }

DEVICE float rateOf(float v, float correctV, float rate, float lambda) {
    return rate / (squareRoot(v * correctV) + lambda);
}

KERNEL(threads, 4) pixel_step_gradient(const int32_t* RESTRICT tiles, int32_t N, int32_t H, int32_t W,
        const int32_t* RESTRICT counter, int32_t index, const Iteration* RESTRICT schedule, int32_t iterations,
        const float* RESTRICT taps, int32_t radius, float keepM, float keepV, float rate, float lambda,
        const float* RESTRICT scale, const uint8_t* RESTRICT mask, const float* RESTRICT dx, const float* RESTRICT A,
        float* RESTRICT M, float* RESTRICT V, float* RESTRICT SQ) {
    index = current(counter, index);
    if (index >= iterations) return; // all blocks alike
    Iteration it = schedule[index];
    Window w = windowOf<3>(radius, taps);
    int32_t plane = H * W, quad = threadX() % quads, first = threadX() / quads * 4;
    for (int32_t i = blockX(); i < tiles[N]; i += gridX()) {
        Tile t = tileAt(tiles[N + 1 + i], H, W);
        uint64_t image = (uint64_t)t.n * plane;
        sync(); // the window is free
        fill<3, true>(w, t, dx + 3 * image, scale + image, mask + image, H, W);
        sync();
        blurRows(w, 3 * w.rows);
        sync();
        Quad g[3][4];
        blurColumns<3, 4>(w, first, quad, g);

        byWidth(W, [&](auto width) {
            constexpr bool whole = decltype(width)::value;
            int32_t x = t.x + 4 * quad;
            UNROLL for (int32_t k = 0; k < 4; k++) {
                int32_t y = t.y + first + k, at = y * W + x;
                uint32_t omega = y < H ? loadOmega<whole>(mask + image + at, W - x) : 0;
                if (!omega) continue;
                float *pv = V + image + at, *pm = M + 3 * image + at;
                const float* pa = A + 3 * image + at;
                Quad v = load<whole>(pv, omega), m[3], a[3], sq;
                UNROLL for (int32_t c = 0; c < 3; c++) {
                    m[c] = load<whole>(pm + c * plane, omega);
                    a[c] = load<whole>(pa + c * plane, omega);
                }
                UNROLL for (int32_t e = 0; e < 4; e++) {
                    float g2 = 0, size = 0;
                    UNROLL for (int32_t c = 0; c < 3; c++) g2 += g[c][k].v[e] * g[c][k].v[e];
                    float now = keepV * v.v[e] + (1 - keepV) * g2;
                    float step = rateOf(now, it.correctV, rate, lambda) * it.correctM;
                    v.v[e] = on(omega, e) ? now : v.v[e];
                    UNROLL for (int32_t c = 0; c < 3; c++) {
                        now = keepM * m[c].v[e] + (1 - keepM) * g[c][k].v[e];
                        float b = a[c].v[e] - step * now;
                        size += b * b;
                        m[c].v[e] = on(omega, e) ? now : m[c].v[e];
                    }
                    sq.v[e] = size;
                }
                store<whole>(pv, v, omega);
                store<whole>(SQ + image + at, sq, omega);
                UNROLL for (int32_t c = 0; c < 3; c++) store<whole>(pm + c * plane, m[c], omega);
            }
        });
    }
}
EMULATE(pixel_step_gradient)

// The penalty log(1 + n/eps) unit, with unit = 1/log(1 + 1/eps).
struct Penalty { float eps, perEps, unit; };

DEVICE float valueOf(Penalty p, float n) { return logOnePlus(n * p.perEps) * p.unit; }

// prox is GroupLog.Prox. The discriminant (n-eps)^2 - 4(t unit - n eps) is (n+eps)^2 - 4 t unit, and what x must gain on 0,
// n^2/2 - (x-n)^2/2, is x (n - x/2): the same without differences of near numbers.
DEVICE float prox(Penalty p, float n, float t) {
    float disc = (n + p.eps) * (n + p.eps) - 4 * t * p.unit;
    if (disc < 0) return 0;
    float x = 0.5f * (n - p.eps + squareRoot(disc));
    if (x <= 0 || t * valueOf(p, x) >= x * (n - 0.5f * x)) return 0;
    return x;
}

// Sums over pixels of Omega: the penalty before the step, the pixels with A not 0 then, the lengths of the steps.
struct Sums { float penalty; int32_t support; float moved; };

DEVICE Sums warpSums(Sums s) {
    UNROLL for (int32_t m = 16; m > 0; m >>= 1) {
        s.penalty += shflXorF(s.penalty, m);
        s.support += (int32_t)shflXor((uint32_t)s.support, m);
        s.moved += shflXorF(s.moved, m);
    }
    return s;
}

KERNEL(threads, 5) pixel_step_prox(const int32_t* RESTRICT tiles, int32_t N, int32_t H, int32_t W,
        const int32_t* RESTRICT counter, int32_t index, const Iteration* RESTRICT schedule, int32_t iterations,
        const float* RESTRICT taps, int32_t radius, float rate, float lambda, float eps, float perEps, float unit,
        const uint8_t* RESTRICT mask, const float* RESTRICT SQ, const float* RESTRICT M, const float* RESTRICT V,
        float* RESTRICT A, float* RESTRICT sum, Sums* RESTRICT partial) {
    index = current(counter, index);
    if (index >= iterations) return;
    Iteration it = schedule[index];
    Penalty penalty = {eps, perEps, unit};
    Window w = windowOf<1>(radius, taps);
    Sums* ofWarps = (Sums*)(w.taps + 2 * w.reach + 8);
    int32_t plane = H * W, x = threadX() % quads * 4;
    for (int32_t i = blockX(); i < tiles[N]; i += gridX()) {
        Tile t = tileAt(tiles[N + 1 + i], H, W);
        uint64_t image = (uint64_t)t.n * plane;
        fill<1, false>(w, t, SQ + image, nullptr, mask + image, H, W);
        sync();
        blurRows(w, w.rows);
        sync();
        Sums s = {};
        byWidth(W, [&](auto width) {
            constexpr bool whole = decltype(width)::value;
            for (int32_t row = threadX() / quads; row < least((int32_t)tileH, H - t.y); row += threads / quads) {
                int32_t at = (t.y + row) * W + t.x + x;
                uint32_t omega = loadOmega<whole>(mask + image + at, W - t.x - x);
                if (!omega) continue;
                float *pa = A + 3 * image + at, *ps = sum + image + at;
                const float* pm = M + 3 * image + at;
                Quad v = load<whole>(V + image + at, omega), m[3], a[3], size, sq[1][1];
                UNROLL for (int32_t c = 0; c < 3; c++) {
                    m[c] = load<whole>(pm + c * plane, omega);
                    a[c] = load<whole>(pa + c * plane, omega);
                }
                blurColumns<1, 1>(w, row, x / 4, sq);
                UNROLL for (int32_t e = 0; e < 4; e++) {
                    float eta = rateOf(v.v[e], it.correctV, rate, lambda), n = squareRoot(sq[0][0].v[e]);
                    float shrink = n > 0 ? prox(penalty, n, eta * lambda) / n : 0;
                    float before = 0, after = 0, moved = 0;
                    bool some = false;
                    UNROLL for (int32_t c = 0; c < 3; c++) {
                        float old = a[c].v[e], now = (old - eta * it.correctM * m[c].v[e]) * shrink;
                        a[c].v[e] = on(omega, e) ? now : old;
                        some = some || old != 0;
                        before += old * old, after += now * now, moved += (now - old) * (now - old);
                    }
                    size.v[e] = squareRoot(after);
                    if (!on(omega, e)) continue;
                    s.moved += squareRoot(moved);
                    if (some && before == before) {
                        s.support++;
                        s.penalty += valueOf(penalty, squareRoot(before));
                    }
                }
                UNROLL for (int32_t c = 0; c < 3; c++) store<whole>(pa + c * plane, a[c], omega);
                if (it.counts == 0) continue;
                Quad total = load<whole>(ps, omega);
                UNROLL for (int32_t e = 0; e < 4; e++) total.v[e] = on(omega, e) ? total.v[e] + size.v[e] : total.v[e];
                store<whole>(ps, total, omega);
            }
        });
        s = warpSums(s);
        if (laneOf(threadX()) == 0) ofWarps[warpOf(threadX())] = s;
        sync();
        if (threadX() == 0) {
            for (int32_t k = 1; k < warps; k++) {
                s.penalty += ofWarps[k].penalty, s.support += ofWarps[k].support, s.moved += ofWarps[k].moved;
            }
            s.penalty *= lambda;
            partial[i] = s;
        }
    }
}
EMULATE(pixel_step_prox)

// stats is [iterations,N].
KERNEL(1024) pixel_step_stats(const int32_t* RESTRICT tiles, int32_t N, int32_t* counter, int32_t index, int32_t iterations,
        const Sums* RESTRICT partial, Sums* RESTRICT stats) {
    index = current(counter, index);
    if (index >= iterations) return;
    for (int32_t n = warpOf(threadX()); n < N; n += threadsX() / 32) {
        Sums s = {};
        for (int32_t i = tiles[n] + laneOf(threadX()); i < tiles[n + 1]; i += 32) {
            Sums p = partial[i];
            s.penalty += p.penalty, s.support += p.support, s.moved += p.moved;
        }
        s = warpSums(s);
        if (laneOf(threadX()) == 0) stats[(uint64_t)index * N + n] = s;
    }
    sync(); // all have read the counter
    if (counter && threadX() == 0) *counter = index + 1;
}
EMULATE(pixel_step_stats)

// pixel_step_clear sets a batch's state to what it is before the first iteration, with A = 0. A thread per pixel.
KERNEL(256) pixel_step_clear(uint64_t pixels, float* RESTRICT A, float* RESTRICT M, float* RESTRICT V, float* RESTRICT sum,
        int32_t* RESTRICT counter) {
    uint64_t i = (uint64_t)blockX() * threadsX() + threadX();
    if (counter && i == 0) *counter = 0;
    if (i >= pixels) return;
    UNROLL for (int32_t c = 0; c < 3; c++) A[c * pixels + i] = M[c * pixels + i] = 0;
    V[i] = sum[i] = 0;
}
EMULATE(pixel_step_clear)
