// conv convolves images whose pixels lie one after the other, channels innermost, as a product of matrices whose left one is
// never written down (implicit GEMM), and finishes each result while it is at hand:
//
//   v       = bias[n] + sum over pieces p of the kernel, channels c of a piece
//               x[first_m + dy_p pitch_m + at_p + c] w[n,p,c]        (a piece that row m's tap lacks reads 0)
//   y[m,n]  = gate(clip(v + add[m,n]))       clip: to [lo,hi]; gate: 0 unless gateLo < gate[m,n] < gateHi
//
// The geometry is data. A Row for each output pixel says where its window begins, how far the next row of pixels is and
// which taps exist; a Piece for each piece of the kernel says what to add to that. So strides, dilations, paddings, the
// phases of a transposed convolution and windows of different sizes in one launch are all the same to the kernels. With P
// rows for each of the images, row m is row m%P moved by m/P images.
//
// conv_f32_*    float32 by multiply-adds, in the order of the pieces. Tiles of 128 x 64 and 128 x 16, pieces of 4 channels (1
//               where their number is not a multiple of 4), 16 values of the kernel a step, 3 stages in shared memory; 128
//               threads, each 8x8 or 4x4 results. Grid (tiles of rows x of columns, groups), as for tensor cores.
// conv_tf32_*   float32 on the tensor cores. Operands are split, x = hi + lo of 11 bits each (2^-23 |x| is left), and of the
//               four products lo.lo, below 2^-22, is left out. Tensor cores cut summands off where float32 rounds, and always
//               towards 0: so they add up 8 values of the kernel at a time, lo.hi and hi.lo before hi.hi, from 0 on, and
//               float32 additions do the rest. That leaves a third to two thirds of the error of conv_f32_*; tensor cores
//               alone would leave 3 to 100 times as much as that. What is not finite, or rounds to infinity at 11 bits,
//               becomes NaN.
// conv_f16_*    float16 in memory and on the tensor cores, float32 sums. open, a gate of bits, and what signs receives have bit
//               n%8 of byte (m N + n)/8 for a result; a sign is 1 where it is above 0. So do conv_direct_f16 and
//               conv_depthwise_f16 if N%8 is 0.
//               Tiles of both are 128 x 128, 128 x 64 and 64 x 32, a piece 16 bytes of channels, a step 64 bytes of the kernel,
//               4 stages; 128 threads as 2 x 2 warps.
// conv_direct_*, conv_depthwise_*   for groups of few channels, or of one, sums in float32 in the order of the pieces: a thread
//               has 16 bytes of results of each of 4 rows, and depthwise it reads as much of x at once. 128 threads.
//
// What ptxas 13.5 makes of a tile for sm_80 / sm_90, nothing spilled: registers, and a loop's instructions to its products.
//   f16    128 x 128   204 / 208, 149 / 153 to 64      128 x 64   125 / 127, 112 / 113 to 32      64 x 32   64 / 64, 63 / 63 to 8
//   tf32   128 x 128   254 / 255, 464 / 404 to 96      128 x 64   167 / 166, 285 / 258 to 48      64 x 32   73 / 73, 114 / 113 to 12
//
// Bytes: x, weights, add and gate read once, y written once. Operations: 2 M N K, conv_tf32_* three times that. Deterministic: a
// result's sum is taken in one order by one thread or warp, whatever else is in the launch.
#include "network.cuh"

struct __attribute__((aligned(16))) Row { int32_t first, pitch; uint32_t valid; int32_t out; };
struct __attribute__((aligned(16))) Piece { int32_t dy, at; uint32_t tap, real; };

// A tap's bytes are ky, KH-1-ky, kx, KW-1-kx, each plus 128; a row's valid is the least of each. What is not real is the
// filling of the last step.
DEVICE bool exists(const Piece& p, uint32_t valid) { return ((p.tap - valid) & 0x80808080u) == p.real; }

// offsetOf is where a piece lies from a row's first value, pitch in values: within an image, where there is such a tap.
DEVICE int32_t offsetOf(const Piece& p, int32_t pitch) { return (int32_t)((uint32_t)p.dy * (uint32_t)pitch + (uint32_t)p.at); }

struct Images { int32_t P, M, inPixels, outPixels; };

DEVICE Row rowOf(const Row* RESTRICT rows, const Images& s, int32_t m) {
    if (m >= s.M) return {0, 0, 0x7f7f7f7fu, 0};
    int32_t image = m / s.P;
    Row r = rows[m - image * s.P];
    r.first += image * s.inPixels;
    r.out += image * s.outPixels;
    return r;
}

// finish is what becomes of the sums for channels n, n+1, ... at their place in y: as many as 16 bytes hold, or one.
template <class T> struct Finish {
    const float* bias;
    const T* add;
    float lo, hi;
    const T* gate;
    float gateLo, gateHi;
    const uint8_t* open;
    T* y;
    uint8_t* signs;
};

DEVICE void load(const float* p, float (&v)[1]) { v[0] = *p; }
DEVICE void load(const uint16_t* p, float (&v)[1]) { v[0] = fromF16(*p); }
DEVICE void load(const float* p, float (&v)[4]) {
    vec4 four = *(const vec4*)p;
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
}
DEVICE void load(const uint16_t* p, float (&v)[8]) {
    uvec4 four = *(const uvec4*)p;
    uint32_t words[4] = {four.x, four.y, four.z, four.w};
    UNROLL for (int e = 0; e < 8; e++) v[e] = fromF16((uint16_t)(words[e / 2] >> (e % 2 * 16)));
}
DEVICE void store(float* p, const float (&v)[1]) { *p = v[0]; }
DEVICE void store(uint16_t* p, const float (&v)[1]) { *p = toF16(v[0]); }
DEVICE void store(float* p, const float (&v)[4]) { *(vec4*)p = {v[0], v[1], v[2], v[3]}; }
DEVICE void store(uint16_t* p, const float (&v)[8]) {
    uint32_t words[4];
    UNROLL for (int w = 0; w < 4; w++) words[w] = toF16(v[2 * w]) | (uint32_t)toF16(v[2 * w + 1]) << 16;
    *(uvec4*)p = {words[0], words[1], words[2], words[3]};
}

template <class T, int V> DEVICE void finish(const Finish<T>& f, float (&v)[V], int32_t n, offset_t at) {
    float add[V], gate[V];
    UNROLL for (int e = 0; e < V; e++) add[e] = gate[e] = 0;
    if (f.add) load(f.add + at, add);
    if (f.gate) load(f.gate + at, gate);
    uint32_t on = 0, passes = V == 8 && f.open ? f.open[at / 8] : 0xffu;
    UNROLL for (int e = 0; e < V; e++) {
        if (f.bias) v[e] += f.bias[n + e];
        v[e] = clip(v[e] + add[e], f.lo, f.hi);
        if (!(passes >> e & 1) || (f.gate && !(f.gateLo < gate[e] && gate[e] < f.gateHi))) v[e] *= 0.0f; // as the product with a step
        on |= (uint32_t)(v[e] > 0) << e;
    }
    store(f.y + at, v);
    if (V == 8 && f.signs) f.signs[at / 8] = (uint8_t)on;
}

// A tile's left side lies in rows of pieces of 16 bytes, 4 a step; which of its places a piece takes is twisted, so that neither
// who writes nor who reads meets the same banks.
DEVICE int32_t placeOf(int32_t row, int32_t piece) { return (row * 4 + (piece ^ (row / 2 % 4))) * 16; }

// The tile is tileM x tileN, a thread's part RM x RN.
template <int32_t tileM, int32_t tileN, int32_t RM, int32_t RN>
DEVICE void convF32(const float* RESTRICT x, const Row* RESTRICT rows, const Images& s, int32_t C, int32_t inGroup,
                    const Piece* RESTRICT pieces, int32_t steps, int32_t wide, const float* RESTRICT weights, int32_t N,
                    int32_t ldY, const Finish<float>& f) {
    const int32_t stages = 3, half = tileM * 64, stageBytes = half + 16 * tileN * 4, fetches = tileM / 32;
    uint8_t* memory = shared<uint8_t>();
    int32_t thread = threadX(), columns = (N + tileN - 1) / tileN, group = blockY();
    int32_t tileC = blockX() % columns, m0 = blockX() / columns * tileM, q = thread % 4;
    const float* from[fetches];
    int32_t pitch[fetches];
    uint32_t valid[fetches];
    UNROLL for (int i = 0; i < fetches; i++) {
        Row r = rowOf(rows, s, m0 + thread / 4 + 32 * i);
        from[i] = x + (offset_t)r.first * C + group * inGroup;
        pitch[i] = r.pitch * C, valid[i] = r.valid;
    }
    const float* w = weights + ((offset_t)group * columns + tileC) * steps * (16 * tileN);
    int32_t fetched = 0;
    auto fetchNext = [&] {
        if (fetched < steps) {
            uint8_t* stage = memory + fetched % stages * stageBytes;
            if (wide) {
                Piece p = pieces[fetched * 4 + q];
                UNROLL for (int i = 0; i < fetches; i++) {
                    const float* src = from[i] + offsetOf(p, pitch[i]); // not read where there is no tap
                    cpAsync16(stage + placeOf(thread / 4 + 32 * i, q), src, exists(p, valid[i]));
                }
            } else {
                UNROLL for (int e = 0; e < 4; e++) {
                    Piece p = pieces[fetched * 16 + q * 4 + e];
                    UNROLL for (int i = 0; i < fetches; i++) {
                        const float* src = from[i] + offsetOf(p, pitch[i]);
                        cpAsync4(stage + placeOf(thread / 4 + 32 * i, q) + e * 4, src, exists(p, valid[i]));
                    }
                }
            }
            for (int32_t i = thread; i < 4 * tileN; i += 128)
                cpAsync16(stage + half + i * 16, (const uint8_t*)(w + (offset_t)fetched * (16 * tileN)) + i * 16);
        }
        fetched++;
        cpCommit();
    };
    const int32_t across = tileN / RN, down = tileM / RM; // threads
    int32_t tx = thread % across, ty = thread / across;
    float acc[RM][RN];
    UNROLL for (int i = 0; i < RM; i++)
        UNROLL for (int j = 0; j < RN; j++) acc[i][j] = 0;
    UNROLL for (int i = 0; i < stages - 1; i++) fetchNext();
    for (int32_t step = 0; step < steps; step++) {
        cpWait<stages - 2>();
        sync();
        const uint8_t* stage = memory + step % stages * stageBytes;
        fetchNext(); // into the stage that was read before this sync
        UNROLL for (int32_t k = 0; k < 4; k++) {
            float a[RM][4];
            UNROLL for (int i = 0; i < RM; i++) {
                vec4 v = *(const vec4*)(stage + placeOf(ty + i * down, k));
                a[i][0] = v.x, a[i][1] = v.y, a[i][2] = v.z, a[i][3] = v.w;
            }
            UNROLL for (int e = 0; e < 4; e++) {
                float b[RN];
                UNROLL for (int j = 0; j < RN / 4; j++) {
                    vec4 v = *(const vec4*)(stage + half + ((k * 4 + e) * tileN + j * (tileN / (RN / 4)) + tx * 4) * 4);
                    b[4 * j] = v.x, b[4 * j + 1] = v.y, b[4 * j + 2] = v.z, b[4 * j + 3] = v.w;
                }
                UNROLL for (int i = 0; i < RM; i++)
                    UNROLL for (int j = 0; j < RN; j++) acc[i][j] += a[i][e] * b[j];
            }
        }
    }
    cpWait<0>();
    UNROLL for (int i = 0; i < RM; i++) {
        int32_t m = m0 + ty + i * down;
        if (m >= s.M) continue;
        offset_t line = (offset_t)rowOf(rows, s, m).out * ldY + group * N;
        UNROLL for (int j = 0; j < RN / 4; j++) {
            int32_t n = tileC * tileN + j * (tileN / (RN / 4)) + tx * 4;
            if (ldY % 4 == 0 && N % 4 == 0) {
                float v[4] = {acc[i][4 * j], acc[i][4 * j + 1], acc[i][4 * j + 2], acc[i][4 * j + 3]};
                if (n < N) finish(f, v, group * N + n, line + n);
                continue;
            }
            UNROLL for (int e = 0; e < 4; e++) {
                float v[1] = {acc[i][4 * j + e]};
                if (n + e < N) finish(f, v, group * N + n + e, line + n + e);
            }
        }
    }
}

#define CONV_F32(name, blocks, tileM, tileN, RM, RN)                                                                            \
    KERNEL(128, blocks) name(const float* RESTRICT x, const Row* RESTRICT rows, int32_t P, int32_t M, int32_t inPixels,          \
                             int32_t outPixels, int32_t C, int32_t inGroup, const Piece* RESTRICT pieces, int32_t steps,          \
                             int32_t wide, const float* RESTRICT weights, int32_t N, int32_t ldY, const float* RESTRICT bias,     \
                             const float* RESTRICT add, float lo, float hi, const float* RESTRICT gate, float gateLo,             \
                             float gateHi, float* RESTRICT y) {                                                                   \
        convF32<tileM, tileN, RM, RN>(x, rows, {P, M, inPixels, outPixels}, C, inGroup, pieces, steps, wide, weights, N, ldY,     \
                                      {bias, add, lo, hi, gate, gateLo, gateHi, nullptr, y, nullptr});                            \
    }                                                                                                                             \
    EMULATE(name)

CONV_F32(conv_f32_128x64, 3, 128, 64, 8, 8)
CONV_F32(conv_f32_128x16, 6, 128, 16, 4, 4)

// multiply adds a product of the tensor cores' fragments to sums: of float16, and of float32 in three products of its halves.
// columns(i, b) loads those of 16 columns.
template <int M, int N, class F>
DEVICE void multiply(float (&acc)[M][N][4], const uint32_t (&a)[M][4], const F& columns, const uint16_t*) {
    uint32_t b[N / 2][4];
    UNROLL for (int i = 0; i < N / 2; i++) columns(i, b[i]);
    UNROLL for (int n = 0; n < N; n++) {
        uint32_t v[2] = {b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]};
        UNROLL for (int m = 0; m < M; m++) mmaF16(acc[m][n], a[m], v);
    }
}

// hi is rounded as toTf32 does it, which takes five instructions; of lo the tensor cores ignore what is beyond 11 bits.
DEVICE void split(uint32_t v, uint32_t& hi, uint32_t& lo) {
    hi = (v + 0x1000u) & 0xffffe000u;
    lo = bitsOf(floatOf(v) - floatOf(hi));
}

// 32 rows at a time: more would take more registers than there are.
template <int M, int N, class F>
DEVICE void multiply(float (&acc)[M][N][4], const uint32_t (&a)[M][4], const F& columns, const float*) {
    UNROLL for (int m0 = 0; m0 < M; m0 += 2) {
        uint32_t hi[2][4], lo[2][4];
        UNROLL for (int m = 0; m < 2; m++)
            UNROLL for (int e = 0; e < 4; e++) split(a[m0 + m][e], hi[m][e], lo[m][e]);
        UNROLL for (int i = 0; i < N / 2; i++) {
            uint32_t b[4], vHi[2][2], vLo[2][2];
            columns(i, b);
            float sum[2][2][4];
            UNROLL for (int n = 0; n < 2; n++) {
                UNROLL for (int e = 0; e < 2; e++) split(b[n * 2 + e], vHi[n][e], vLo[n][e]);
                UNROLL for (int m = 0; m < 2; m++)
                    UNROLL for (int e = 0; e < 4; e++) sum[m][n][e] = 0;
            }
            UNROLL for (int t = 0; t < 4; t++) mmaTf32(sum[t / 2][t % 2], lo[t / 2], vHi[t % 2]);
            UNROLL for (int t = 0; t < 4; t++) mmaTf32(sum[t / 2][t % 2], hi[t / 2], vLo[t % 2]);
            UNROLL for (int t = 0; t < 4; t++) mmaTf32(sum[t / 2][t % 2], hi[t / 2], vHi[t % 2]);
            UNROLL for (int t = 0; t < 4; t++)
                UNROLL for (int e = 0; e < 4; e++) acc[m0 + t / 2][i * 2 + t % 2][e] += sum[t / 2][t % 2][e];
        }
    }
}

// What is read of x for a row of a tile waits in shared memory, as registers are few: where it begins (two words), its pitch in
// values, and its taps.
DEVICE uvec4 lineOf(const void* from, int32_t pitch, uint32_t valid) {
    uint64_t at = (uint64_t)from;
    return {(uint32_t)at, (uint32_t)(at >> 32), (uint32_t)pitch, valid};
}
template <class T> DEVICE const T* startOf(const uvec4& line) { return (const T*)((uint64_t)line.y << 32 | line.x); }

// A warp's part is WM x WN, the tile 2 x 2 of them. A step is two halves of 32 bytes: 16 values of the kernel in float16, 8 in
// float32.
template <class T, int32_t WM, int32_t WN>
DEVICE void convTensor(const T* RESTRICT x, const Row* RESTRICT rows, const Images& s, int32_t C, int32_t inGroup,
                       const Piece* RESTRICT pieces, int32_t steps, const T* RESTRICT weights, int32_t N, int32_t ldY,
                       const Finish<T>& f) {
    const int32_t tileM = 2 * WM, tileN = 2 * WN, stages = 4, half = tileM * 64, stageBytes = half + tileN * 64;
    const int32_t fetches = tileM / 32, V = 16 / sizeof(T), unrolled = sizeof(T) == 2 ? 2 : 1;
    Spot memory = spot(shared<uint8_t>());
    uvec4* lines = (uvec4*)(shared<uint8_t>() + stages * stageBytes);
    int32_t* outs = (int32_t*)(lines + tileM);
    int32_t thread = threadX(), lane = laneOf(thread), warp = warpOf(thread), columns = (N + tileN - 1) / tileN, group = blockY();
    int32_t tileC = blockX() % columns, m0 = blockX() / columns * tileM;
    if (thread < tileM) {
        Row r = rowOf(rows, s, m0 + thread);
        lines[thread] = lineOf(x + (offset_t)r.first * C + group * inGroup, r.pitch * C, r.valid);
        outs[thread] = r.out;
    }
    sync();
    const uint8_t* w = (const uint8_t*)weights + ((offset_t)group * columns + tileC) * steps * (tileN * 64) + thread * 16;
    pieces += thread % 4;
    lines += thread / 4;
    int32_t to = placeOf(thread / 4, thread % 4), fetched = 0;
    auto fetchNext = [&] {
        if (fetched < steps) {
            Spot stage = memory + fetched % stages * stageBytes;
            Piece p = *pieces;
            uvec4 l[fetches];
            UNROLL for (int i = 0; i < fetches; i++) l[i] = lines[32 * i];
            UNROLL for (int i = 0; i < fetches; i++) {
                const T* src = startOf<T>(l[i]) + offsetOf(p, (int32_t)l[i].z); // not read where there is no tap
                cpAsync16(stage + to + i * 32 * 64, src, exists(p, l[i].w));
            }
            UNROLL for (int i = 0; i < tileN / 32; i++) cpAsync16(stage + half + thread * 16 + i * 2048, w + i * 2048);
            w += tileN * 64;
            pieces += 4;
        }
        fetched++;
        cpCommit();
    };
    int32_t wm = warp % 2 * WM, wn = warp / 2 * WN, twist = lane % 8 / 2;
    int32_t atA = (wm + lane % 16) * 64 + (lane / 16 ^ twist) * 16;
    int32_t atB = half + (wn + lane % 8 + lane / 16 * 8) * 64 + (lane / 8 % 2 ^ twist) * 16;
    float acc[WM / 16][WN / 8][4];
    UNROLL for (int m = 0; m < WM / 16; m++)
        UNROLL for (int n = 0; n < WN / 8; n++)
            UNROLL for (int e = 0; e < 4; e++) acc[m][n][e] = 0;
    UNROLL for (int i = 0; i < stages - 1; i++) fetchNext();
    for (int32_t step = 0; step < steps; step++) {
        cpWait<stages - 2>();
        sync();
        Spot stage = memory + step % stages * stageBytes;
        // The assembler would mix both halves' products in float32, for which there are no registers.
        _Pragma("unroll unrolled") for (int32_t k = 0; k < 2; k++) {
            Spot left = stage + (atA ^ k * 32), right = stage + (atB ^ k * 32);
            uint32_t a[WM / 16][4];
            UNROLL for (int i = 0; i < WM / 16; i++) ldMatrix(a[i], left + i * 16 * 64);
            if (k == 0) fetchNext(); // into the stage that was read before this sync
            multiply(acc, a, [&](int i, uint32_t (&b)[4]) { ldMatrix(b, right + i * 16 * 64); }, x);
        }
    }
    cpWait<0>();
    sync();
    // The tile of sums goes through shared memory as float32, in two halves of rows, and out in pieces of 16 bytes.
    const int32_t line = tileN + 4;
    float* sums = shared<float>();
    UNROLL for (int32_t part = 0; part < 2; part++) {
        if (part) sync();
        if (warp % 2 == part)
            UNROLL for (int m = 0; m < WM / 16; m++)
                UNROLL for (int n = 0; n < WN / 8; n++)
                    UNROLL for (int e = 0; e < 2; e++)
                        *(vec2*)(sums + (m * 16 + e * 8 + lane / 4) * line + wn + n * 8 + lane % 4 * 2) =
                            {acc[m][n][2 * e], acc[m][n][2 * e + 1]};
        sync();
        for (int32_t i = thread; i < WM * tileN / V; i += 128) {
            int32_t row = i / (tileN / V), column = i % (tileN / V) * V, m = m0 + part * WM + row, n = tileC * tileN + column;
            if (m >= s.M || n >= N) continue;
            float v[V];
            UNROLL for (int e = 0; e < V; e++) v[e] = sums[row * line + column + e];
            n += group * N;
            finish(f, v, n, (offset_t)outs[part * WM + row] * ldY + n);
        }
    }
}

#define CONV_TENSOR(name, blocks, T, WM, WN)                                                                                     \
    KERNEL(128, blocks) name(const T* RESTRICT x, const Row* RESTRICT rows, int32_t P, int32_t M, int32_t inPixels,              \
                             int32_t outPixels, int32_t C, int32_t inGroup, const Piece* RESTRICT pieces, int32_t steps,          \
                             const T* RESTRICT weights, int32_t N, int32_t ldY, const float* RESTRICT bias,                      \
                             const T* RESTRICT add, float lo, float hi, const T* RESTRICT gate, float gateLo, float gateHi,      \
                             const uint8_t* RESTRICT open, T* RESTRICT y, uint8_t* RESTRICT signs) {                             \
        convTensor<T, WM, WN>(x, rows, {P, M, inPixels, outPixels}, C, inGroup, pieces, steps, weights, N, ldY,                  \
                              {bias, add, lo, hi, gate, gateLo, gateHi, open, y, signs});                                        \
    }                                                                                                                            \
    EMULATE(name)

CONV_TENSOR(conv_f16_128x128, 2, uint16_t, 64, 64)
CONV_TENSOR(conv_f16_128x64, 4, uint16_t, 64, 32)
CONV_TENSOR(conv_f16_64x32, 6, uint16_t, 32, 16)
CONV_TENSOR(conv_tf32_128x128, 2, float, 64, 64)
CONV_TENSOR(conv_tf32_128x64, 3, float, 64, 32)
CONV_TENSOR(conv_tf32_64x32, 6, float, 32, 16)

// A line of weights is V values, or a multiple of it. inGroup and outGroup are the channels of a group of x and of y, N all of
// y's; depthwise, both are 1 and N is a multiple of V.
template <class T, bool depthwise>
DEVICE void convDirect(const T* RESTRICT x, const Row* RESTRICT rows, const Images& s, int32_t C, int32_t inGroup,
                       int32_t outGroup, const Piece* RESTRICT pieces, int32_t K, const T* RESTRICT weights, int32_t N,
                       const Finish<T>& f) {
    const int32_t V = 16 / sizeof(T), R = 4;
    uint32_t across = (N + V - 1) / V, i = (uint32_t)blockX() * 128 + threadX(), m = i / across * R;
    if (m >= (uint32_t)s.M) return;
    int32_t n = i % across * V;
    int32_t channel[V]; // that a result's group begins at
    if (!depthwise)
        UNROLL for (int e = 0; e < V; e++) channel[e] = least(n + e, N - 1) / outGroup * inGroup;
    const T* from[R];
    int32_t pitch[R];
    uint32_t valid[R];
    float sum[R][V];
    UNROLL for (int j = 0; j < R; j++) {
        Row r = rowOf(rows, s, (int32_t)(m + j));
        from[j] = x + (offset_t)r.first * C + (depthwise ? n : 0);
        pitch[j] = r.pitch * C, valid[j] = r.valid;
        UNROLL for (int e = 0; e < V; e++) sum[j][e] = 0;
    }
    weights += n;
    for (int32_t k = 0; k < K; k++) {
        Piece p = pieces[k];
        float w[V];
        load(weights, w);
        weights += across * V;
        UNROLL for (int j = 0; j < R; j++) {
            if (!exists(p, valid[j])) continue;
            const T* at = from[j] + offsetOf(p, pitch[j]);
            float v[V];
            if (depthwise) {
                load(at, v);
            } else {
                UNROLL for (int e = 0; e < V; e++) {
                    float one[1];
                    load(at + channel[e], one);
                    v[e] = one[0];
                }
            }
            UNROLL for (int e = 0; e < V; e++) sum[j][e] += v[e] * w[e];
        }
    }
    UNROLL for (int j = 0; j < R; j++) {
        if (m + j >= (uint32_t)s.M) return;
        offset_t at = (offset_t)rowOf(rows, s, (int32_t)(m + j)).out * N + n;
        if (depthwise || N % V == 0) {
            finish(f, sum[j], n, at);
            continue;
        }
        UNROLL for (int e = 0; e < V; e++) {
            float one[1] = {sum[j][e]};
            if (n + e < N) finish(f, one, n + e, at + e);
        }
    }
}

#define CONV_DIRECT(name, T, depthwise)                                                                                          \
    KERNEL(128) name(const T* RESTRICT x, const Row* RESTRICT rows, int32_t P, int32_t M, int32_t inPixels, int32_t outPixels,   \
                     int32_t C, int32_t inGroup, int32_t outGroup, const Piece* RESTRICT pieces, int32_t K,                      \
                     const T* RESTRICT weights, int32_t N, const float* RESTRICT bias, const T* RESTRICT add, float lo,          \
                     float hi, const T* RESTRICT gate, float gateLo, float gateHi, const uint8_t* RESTRICT open, T* RESTRICT y,  \
                     uint8_t* RESTRICT signs) {                                                                                  \
        convDirect<T, depthwise>(x, rows, {P, M, inPixels, outPixels}, C, inGroup, outGroup, pieces, K, weights, N,              \
                                 {bias, add, lo, hi, gate, gateLo, gateHi, open, y, signs});                                     \
    }                                                                                                                            \
    EMULATE(name)

CONV_DIRECT(conv_direct_f32, float, false)
CONV_DIRECT(conv_direct_f16, uint16_t, false)
CONV_DIRECT(conv_depthwise_f32, float, true)
CONV_DIRECT(conv_depthwise_f16, uint16_t, true)
