// mahalanobis measures vectors x_l [L,K] against Gaussians: distances s [L] and, if wanted, their gradients u [L,K].
//
//   z_l = M (x_l - mean),   s_l = |z_l|,   u_l = ds_l/dx_l = M' z_l / s_l (0 where s_l = 0)
//
// M, a Gaussian's inverse Cholesky factor, is lower triangular. It is what there is to read: 1.9 GB for 3136 locations of
// K = 550. So vectors that share a Gaussian come in groups of up to 16, {Gaussian, first vector, count}, and a block reads M
// once for a group, and once for both distance and gradient.
//
// s_l may go to place order[l] instead: vectors come by Gaussian, and whoever wants their distances has an order of his own.
//
// Layout of M: tiles of 16x16, C = ceil(K/16) rows of them, tile (p,t) with t <= p as number p(p+1)/2 + t; zeros above the
// diagonal and beyond K.
//   float32   value (r,c) at 128 (c/2%2) + 16 (r/2) + 4 (c/4) + 2 (c%2) + r%2: fragments for M are 16 bytes of a lane, and
//             those for M' are read from 32 banks of shared memory
//   bfloat16  value (r,c) at 128 (c/2%2) + 64 (r%2) + 8 (r/2) + 2 (c/4) + c%2: four 8x8 matrices, 16 bytes a row, for ldMatrix
//
// Geometry: a block per group, or two of 8 vectors each if K > 640. The W warps of a block deal with the columns of tiles
// t = w mod W. Each streams its tiles through a ring of its own in shared memory, by cp.async, R tiles ahead, and nobody waits
// for other warps' copies. Per row of tiles p: each warp multiplies its tiles by x - mean; the block adds up the W products
// to z; each warp multiplies the same tiles, transposed, by z into its columns of u, which stay in registers, and refills the
// ring. Where a row of tiles does not fit the ring (K > 640), it is read a second time, from L2.
//
//   K        W  T (tiles of a warp in a row of tiles)  R   vectors  shared memory for the gradient, float32
//   to 128   4   2                                      4  16       32 KiB at K = 128
//   to 640   8   5                                      6  16       92 KiB at K = 550, 97 at 640: two blocks on a processor
//   to 2048  8  16                                      3   8       93 KiB at K = 2048
//
// Arithmetic: tensor cores, at float32's precision. M in float32 is M1 + M2 in TF32, off by some 2^-23 M, and x (or z) is
// x1 + x2, off by 2^-24; M2 x2, some 2^-24, is left out of the product M1 x1 + M1 x2 + M2 x1. M in bfloat16 is exact, and x the
// sum of three bfloat16. Tensor cores cut sums off instead of rounding them: z goes through at most 10 such sums in a warp
// (K to 640), and each tile's share of u starts from 0 and is added by float32 additions. Sums of squares are float64.
//
// Operations: 3 K^2 on tensor cores per vector, as many for the gradient, and, on sm_90, 70 instructions of a warp per tile for
// z, 75 for u and 30 for its copy. Bytes: M once per group (2 K^2 or K^2), 4 L K of x, and as many of u.
// On paper, 3136 x 550, 16 vectors, gradient, on an H200 (mma.sync at 300 TFLOP/s in TF32): reading 1.9 GB takes 0.44 ms; the
// tensor cores' 91 TFLOP 0.3 ms; instructions 0.37 ms; shared memory (a value of M is written once and read twice, x once)
// 0.27 ms. With M in bfloat16: 0.22, 0.15, 0.35 and 0.2 ms. Without gradient nothing takes longer than reading M. In
// float32 instructions the 30 GFLOP would take 0.5 ms at the very best.
//
// Deterministic, and a vector's result depends on nothing but the vector and its Gaussian: neither on its group, nor on its
// place, nor on whether the gradient is wanted. A vector that is not finite has a NaN or infinite distance.
#include "f2pad.cuh"

// What follows works on fragments of mma.sync. A lane is (q,c) = (lane/4, lane%4).

// In a product with M, row q + 8 half of the fragment is row 2q + half of the tile. In one with M' it is this column. In both a
// lane multiplies four neighbouring values of each vector.
DEVICE int32_t rowOf(int32_t q, int32_t half) { return 2 * q + half; }
DEVICE int32_t columnOf(int32_t q, int32_t half) { return q / 2 * 4 + half * 2 + q % 2; }

// fourAt are the lane's values of 8 vectors [8][16].
DEVICE vec4 fourAt(const float* vectors, int32_t lane) { return *(const vec4*)(vectors + 4 * lane); }

// Single is M in float32.
struct Single {
    static constexpr int32_t tileBytes = 1024;
    struct Left { uint32_t hi[2][4], lo[2][4]; };  // 16x16 of M or M'
    struct Right { uint32_t hi[2][2], lo[2][2]; }; // 16 values of 8 vectors

    // cut and round split v into TF32's upper 11 bits and the rest, of which TF32 keeps 11 bits. Rounding (ties away from 0)
    // leaves a rest of either sign, half as large. NaN and infinity leave NaN.
    DEVICE void cut(float v, uint32_t& hi, uint32_t& lo) {
        hi = bitsOf(v) & 0xffffe000u;
        lo = bitsOf(v - floatOf(hi));
    }
    DEVICE void round(float v, uint32_t& hi, uint32_t& lo) {
        hi = (bitsOf(v) + 0x1000u) & 0xffffe000u;
        lo = bitsOf(v - floatOf(hi));
    }
    // rows is M. Two fragments of 8 columns lie in memory as the tensor cores want them.
    DEVICE Left rows(const uint8_t* tile, int32_t lane) {
        Left m;
        UNROLL for (int s = 0; s < 2; s++) {
            vec4 v = ((const vec4*)tile)[32 * s + lane];
            cut(v.x, m.hi[s][0], m.lo[s][0]);
            cut(v.y, m.hi[s][1], m.lo[s][1]);
            cut(v.z, m.hi[s][2], m.lo[s][2]);
            cut(v.w, m.hi[s][3], m.lo[s][3]);
        }
        return m;
    }
    // columns is M'. The lane's rows of M are c, c+4, c+8, c+12.
    DEVICE Left columns(const uint8_t* tile, int32_t lane) {
        int32_t q = lane / 4, c = lane % 4;
        const float* at = (const float*)tile + 16 * (c / 2) + 2 * q + c % 2;
        Left m;
        UNROLL for (int e = 0; e < 8; e++) cut(at[128 * (e % 2) + 32 * (e / 2)], m.hi[e / 4][e % 4], m.lo[e / 4][e % 4]);
        return m;
    }
    // place is where row i's z is among a vector's 16, so that a lane's four are neighbours.
    DEVICE int32_t place(int32_t i) { return i % 4 * 4 + i / 4; }

    DEVICE Right right(vec4 v) {
        Right r;
        round(v.x, r.hi[0][0], r.lo[0][0]);
        round(v.y, r.hi[0][1], r.lo[0][1]);
        round(v.z, r.hi[1][0], r.lo[1][0]);
        round(v.w, r.hi[1][1], r.lo[1][1]);
        return r;
    }
    // A product is added up in three parts, the small ones by themselves.
    DEVICE void add(float (&sum)[3][4], const Left& m, const Right& r) {
        UNROLL for (int s = 0; s < 2; s++) {
            mmaTf32(sum[0], m.lo[s], r.hi[s]);
            mmaTf32(sum[1], m.hi[s], r.lo[s]);
            mmaTf32(sum[2], m.hi[s], r.hi[s]);
        }
    }
    // copyRow is the first row of M that 16 bytes at 16 lane of a tile belong to, and those at 512 + 16 lane.
    DEVICE int32_t copyRow(int32_t lane) { return lane / 4 * 2; }
};

// Half is M in bfloat16.
struct Half {
    static constexpr int32_t tileBytes = 512;
    struct Left { uint32_t m[4]; };
    struct Right { uint32_t part[3][2]; };

    DEVICE Left rows(const uint8_t* tile, int32_t lane) {
        Left m;
        ldMatrix(m.m, tile + 16 * lane);
        return m;
    }
    DEVICE Left columns(const uint8_t* tile, int32_t lane) {
        uint32_t t[4];
        ldMatrixT(t, tile + 16 * lane);
        return {{t[0], t[2], t[1], t[3]}};
    }
    DEVICE int32_t place(int32_t i) { return i / 4 * 4 + i % 2 * 2 + i / 2 % 2; }

    DEVICE uint32_t upper(float v) { return bitsOf(v) & 0xffff0000u; }
    DEVICE Right right(vec4 v) {
        Right r;
        UNROLL for (int i = 0; i < 3; i++) {
            r.part[i][0] = bitsOf(v.x) >> 16 | upper(v.y);
            r.part[i][1] = bitsOf(v.z) >> 16 | upper(v.w);
            v = {v.x - floatOf(upper(v.x)), v.y - floatOf(upper(v.y)), v.z - floatOf(upper(v.z)), v.w - floatOf(upper(v.w))};
        }
        return r;
    }
    DEVICE void add(float (&sum)[3][4], const Left& m, const Right& r) {
        UNROLL for (int i = 0; i < 3; i++) mmaBf16(sum[i], m.m, r.part[2 - i]);
    }
    DEVICE int32_t copyRow(int32_t lane) { return lane % 8 * 2 + lane / 8 % 2; }
};

// total is the sum of a product's parts, the smallest first.
DEVICE float total(const float (&sum)[3][4], int e) { return sum[0][e] + sum[1][e] + sum[2][e]; }

// arrived waits until, of R copies on their way, the first `tiles` (at most n) are there for this thread.
template <int32_t R, int32_t n> DEVICE void arrived(int32_t tiles) {
    if (tiles >= n)
        cpWait<R - n>();
    else if constexpr (n > 1)
        arrived<R, n - 1>(tiles);
}

// root is sqrt(v) where v may be beyond float's range.
DEVICE float root(double v) {
    float scale = v > 0x1p100 ? 0x1p-70f : v < 0x1p-100 ? 0x1p80f : 1.0f;
    return squareRoot((float)(v * scale * scale)) / scale;
}

template <class M, int32_t W, int32_t T, int32_t N, int32_t R, bool gradient>
DEVICE void mahalanobis(const int32_t* RESTRICT groups, int32_t parts, int32_t K, const float* RESTRICT x, const float* RESTRICT mean,
                        const uint8_t* RESTRICT factor, const int32_t* RESTRICT order, float* RESTRICT s, float* RESTRICT unit) {
    constexpr int32_t threads = 32 * W, outputs = 128 * N, per = (outputs + threads - 1) / threads;
    constexpr bool keep = gradient && R >= T, twice = gradient && !keep; // tiles stay for the second product, or come twice
    const int32_t thread = threadX(), lane = laneOf(thread), warp = warpOf(thread), C = (K + 15) / 16;
    const int32_t group = blockX() / parts, skip = blockX() % parts * 8 * N;
    const int32_t gaussian = groups[3 * group], count = least(groups[3 * group + 2] - skip, 8 * N);
    const uint64_t first = groups[3 * group + 1] + skip;
    factor += (uint64_t)gaussian * (C * (C + 1) / 2) * M::tileBytes;
    mean += (uint64_t)gaussian * K;

    uint8_t* ring = shared<uint8_t>();
    float* delta = (float*)(ring + W * R * M::tileBytes); // [C][8N][16]
    float* sums = delta + C * outputs;                    // of each warp; two of them if the gradient's barriers are missing
    float* zs = sums + (gradient ? 1 : 2) * W * outputs;  // [8N][16]
    ring += warp * R * M::tileBytes;

    // copyNext starts the copy of the warp's next tile, if any. Rows beyond K are zeros, and not read.
    int32_t row = warp, tile = warp, slot = 0, use = 0, rows = K - 16 * row - M::copyRow(lane);
    bool again = false;
    const uint8_t* from = factor + (uint32_t)(row * (row + 1) / 2 + tile) * M::tileBytes + 16 * lane;
    auto copyNext = [&] {
        if (row < C) {
            cpAsync16(ring + slot + 16 * lane, from, rows > 0);
            if (M::tileBytes > 512) cpAsync16(ring + slot + 16 * lane + 512, from + 512, rows > 0);
            slot = slot + M::tileBytes < R * M::tileBytes ? slot + M::tileBytes : 0;
            int32_t step = W;
            tile += W;
            if (tile > row) {
                step += warp - tile;
                tile = warp;
                if (twice) again = !again;
                if (!again) {
                    row++;
                    rows -= 16;
                    step += row;
                }
            }
            from += step * M::tileBytes;
        }
        cpCommit();
    };
    auto useNext = [&] {
        const uint8_t* at = ring + use;
        use = use + M::tileBytes < R * M::tileBytes ? use + M::tileBytes : 0;
        return at;
    };
    // refill gives the slot of a tile back, which every lane has read.
    auto refill = [&] {
        syncWarp();
        copyNext();
    };
    auto await = [&] {
        cpWait<R - 1>();
        syncWarp();
    };

    if (count > 0) {
        for (int32_t i = 0; i < R; i++) copyNext();
        for (int32_t j = thread; j < 16 * C; j += threads) {
            float* at = delta + j / 16 * outputs + j % 16;
            float center = j < K ? mean[j] : 0.0f;
            UNROLL for (int32_t n = 0; n < 8 * N; n++)
                at[16 * n] = n < count && j < K ? x[(first + n) * K + j] - center : 0.0f;
        }
        sync();
    }
    float u[T][N][4];
    if (gradient) {
        UNROLL for (int32_t t = 0; t < T; t++)
            UNROLL for (int32_t n = 0; n < N; n++)
                UNROLL for (int32_t e = 0; e < 4; e++) u[t][n][e] = 0;
    }
    double squares[per];
    UNROLL for (int32_t o = 0; o < per; o++) squares[o] = 0;

    for (int32_t p = 0; p < C && count > 0; p++) {
        int32_t begin = use;
        if constexpr (keep) {
            arrived<R, T>((p - warp + W) / W);
            syncWarp();
        }
        float z[N][3][4] = {};
        for (int32_t t = warp; t <= p; t += W) {
            if (!keep) await();
            typename M::Left m = M::rows(useNext(), lane);
            if (!keep) refill();
            UNROLL for (int32_t n = 0; n < N; n++) M::add(z[n], m, M::right(fourAt(delta + t * outputs + 128 * n, lane)));
        }
        float* mine = sums + (gradient ? 0 : p % 2 * W * outputs);
        UNROLL for (int32_t n = 0; n < N; n++)
            *(vec4*)(mine + warp * outputs + 128 * n + 4 * lane) = {total(z[n], 0), total(z[n], 1), total(z[n], 2), total(z[n], 3)};
        sync();
        UNROLL for (int32_t o = 0; o < per; o++) {
            // Value e of lane l is that of row rowOf(l/4, e/2) and vector l%4 2 + e%2.
            int32_t i = thread + o * threads, l = i / 4 % 32, e = i % 4;
            if (i >= outputs) continue;
            float v = 0;
            UNROLL for (int32_t w = 0; w < W; w++) v += mine[w * outputs + i];
            squares[o] += (double)v * v;
            if (gradient) zs[i / 128 * 128 + (l % 4 * 2 + e % 2) * 16 + M::place(rowOf(l / 4, e / 2))] = v;
        }
        if (!gradient) continue;
        sync();
        typename M::Right right[N];
        UNROLL for (int32_t n = 0; n < N; n++) right[n] = M::right(fourAt(zs + 128 * n, lane));
        if (keep) use = begin;
        UNROLL for (int32_t t = 0; t < T; t++) {
            if (warp + t * W > p) continue;
            if (!keep) await();
            typename M::Left m = M::columns(useNext(), lane);
            refill();
            UNROLL for (int32_t n = 0; n < N; n++) {
                float product[3][4] = {};
                M::add(product, m, right[n]);
                UNROLL for (int32_t e = 0; e < 4; e++) u[t][n][e] += total(product, e);
            }
        }
    }

    sync();
    double* all = (double*)sums; // [8N][16]
    UNROLL for (int32_t o = 0; o < per; o++) {
        int32_t i = thread + o * threads, l = i / 4 % 32, e = i % 4;
        if (i < outputs) all[(i / 128 * 8 + l % 4 * 2 + e % 2) * 16 + rowOf(l / 4, e / 2)] = squares[o];
    }
    sync();
    if (thread < count) {
        double sum = 0;
        for (int32_t i = 0; i < 16; i++) sum += all[thread * 16 + i];
        float d = root(sum);
        s[order ? order[first + thread] : first + thread] = d;
        if (gradient) zs[thread] = d == 0 ? 0.0f : 1.0f / d;
    }
    if (!gradient) return;
    sync();
    UNROLL for (int32_t t = 0; t < T; t++)
        UNROLL for (int32_t n = 0; n < N; n++)
            UNROLL for (int32_t e = 0; e < 4; e++) {
                int32_t item = 8 * n + lane % 4 * 2 + e % 2, j = 16 * (warp + t * W) + columnOf(lane / 4, e / 2);
                if (item < count && j < K) unit[(first + item) * K + j] = u[t][n][e] * zs[item];
            }
}

#define MAHALANOBIS(name, threads, blocks, ...)                                                                          \
    KERNEL(threads, blocks) name(const int32_t* groups, int32_t parts, int32_t K, const float* x, const float* mean,      \
                                 const uint8_t* factor, const int32_t* order, float* s, float* unit) {                     \
        mahalanobis<__VA_ARGS__>(groups, parts, K, x, mean, factor, order, s, unit);                                      \
    }                                                                                                                    \
    EMULATE(name)

MAHALANOBIS(mahalanobis_score_128, 128, 6, Single, 4, 2, 2, 4, false)
MAHALANOBIS(mahalanobis_score_640, 256, 2, Single, 8, 5, 2, 5, false)
MAHALANOBIS(mahalanobis_score_2048, 256, 1, Single, 8, 16, 1, 3, false)
MAHALANOBIS(mahalanobis_unit_128, 128, 5, Single, 4, 2, 2, 4, true)
MAHALANOBIS(mahalanobis_unit_640, 256, 2, Single, 8, 5, 2, 6, true)
MAHALANOBIS(mahalanobis_unit_2048, 256, 1, Single, 8, 16, 1, 3, true)
MAHALANOBIS(mahalanobis_score_128_bf16, 128, 6, Half, 4, 2, 2, 4, false)
MAHALANOBIS(mahalanobis_score_640_bf16, 256, 2, Half, 8, 5, 2, 8, false)
MAHALANOBIS(mahalanobis_score_2048_bf16, 256, 1, Half, 8, 16, 1, 6, false)
MAHALANOBIS(mahalanobis_unit_128_bf16, 128, 5, Half, 4, 2, 2, 4, true)
MAHALANOBIS(mahalanobis_unit_640_bf16, 256, 2, Half, 8, 5, 2, 8, true)
MAHALANOBIS(mahalanobis_unit_2048_bf16, 256, 1, Half, 8, 16, 1, 6, true)
