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
// conv_f32_*    float32 throughout: multiply-adds in the order of the pieces. Tiles of 128 x 64 and 128 x 16, pieces of 4
//               channels (1 where their number is not a multiple of 4), 16 values of the kernel a step, 3 stages in shared
//               memory; 128 threads, each 8x8 or 4x4 results. Grid (tiles of rows x of columns, groups).
// conv_f16_*    float16 in memory and on the tensor cores, float32 sums. Tiles of 128 x 128, 128 x 64 and 64 x 32, pieces of
//               8 channels, 32 values a step, 4 stages; 128 threads as 2 x 2 warps. One group. open, a gate of bits, and what
//               signs receives have bit n%8 of byte (m N + n)/8 for a result; a sign is 1 where it is above 0.
// conv_direct   float32, for groups of few channels: a thread for each result, 8 rows a block of 128.
//
// Bytes: x, weights, add and gate read once, y written once. Operations: 2 M N K. Deterministic: a result's sum is taken in
// one order by one thread or warp, whatever else is in the launch.
#include "network.cuh"

struct __attribute__((aligned(16))) Row { int32_t first, pitch; uint32_t valid; int32_t out; };
struct __attribute__((aligned(16))) Piece { int32_t dy, at; uint32_t tap, real; };

// A tap's bytes are ky, KH-1-ky, kx, KW-1-kx, each plus 128; a row's valid is the least of each. What is not real is the
// filling of the last step.
DEVICE bool exists(const Piece& p, uint32_t valid) { return ((p.tap - valid) & 0x80808080u) == p.real; }

struct Images { int32_t P, M, inPixels, outPixels; };

DEVICE Row rowOf(const Row* RESTRICT rows, const Images& s, int32_t m) {
    if (m >= s.M) return {0, 0, 0x7f7f7f7fu, 0};
    int32_t image = m / s.P;
    Row r = rows[m - image * s.P];
    r.first += image * s.inPixels;
    r.out += image * s.outPixels;
    return r;
}

struct Finish {
    const float* bias;
    const float* add;
    float lo, hi;
    const float* gate;
    float gateLo, gateHi;
};



// finish is what becomes of a sum for channel n, at is its place in y.
DEVICE float finish(const Finish& f, float v, int32_t n, offset_t at) {
    if (f.bias) v += f.bias[n];
    if (f.add) v += f.add[at];
    v = clip(v, f.lo, f.hi);
    if (f.gate) {
        float g = f.gate[at];
        v *= f.gateLo < g && g < f.gateHi ? 1.0f : 0.0f;
    }
    return v;
}

// A tile's left side lies in rows of pieces of 16 bytes, 4 a step; which of its places a piece takes is twisted, so that neither
// who writes nor who reads meets the same banks.
DEVICE int32_t placeOf(int32_t row, int32_t piece) { return (row * 4 + (piece ^ (row / 2 % 4))) * 16; }

// The tile is tileM x tileN, a thread's part RM x RN.
template <int32_t tileM, int32_t tileN, int32_t RM, int32_t RN>
DEVICE void convF32(const float* RESTRICT x, const Row* RESTRICT rows, const Images& s, int32_t C, int32_t inGroup,
                    const Piece* RESTRICT pieces, int32_t steps, int32_t wide, const float* RESTRICT weights, int32_t N,
                    int32_t ldY, const Finish& f, float* RESTRICT y) {
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
                    const float* src = from[i] + ((offset_t)p.dy * pitch[i] + p.at); // not read where there is no tap
                    cpAsync16(stage + placeOf(thread / 4 + 32 * i, q), src, exists(p, valid[i]));
                }
            } else {
                UNROLL for (int e = 0; e < 4; e++) {
                    Piece p = pieces[fetched * 16 + q * 4 + e];
                    UNROLL for (int i = 0; i < fetches; i++) {
                        const float* src = from[i] + ((offset_t)p.dy * pitch[i] + p.at);
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
            UNROLL for (int e = 0; e < 4; e++)
                if (n + e < N) acc[i][4 * j + e] = finish(f, acc[i][4 * j + e], group * N + n + e, line + n + e);
            if (ldY % 4 == 0 && N % 4 == 0) {
                if (n < N) *(vec4*)(y + line + n) = {acc[i][4 * j], acc[i][4 * j + 1], acc[i][4 * j + 2], acc[i][4 * j + 3]};
                continue;
            }
            UNROLL for (int e = 0; e < 4; e++)
                if (n + e < N) y[line + n + e] = acc[i][4 * j + e];
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
                                      {bias, add, lo, hi, gate, gateLo, gateHi}, y);                                              \
    }                                                                                                                             \
    EMULATE(name)

CONV_F32(conv_f32_128x64, 3, 128, 64, 8, 8)
CONV_F32(conv_f32_128x16, 6, 128, 16, 4, 4)

// inGroup and outGroup are the channels of a group of x and of y, N all of y's; weights are [K,N].
KERNEL(128) conv_direct(const float* RESTRICT x, const Row* RESTRICT rows, int32_t P, int32_t M, int32_t inPixels,
                        int32_t outPixels, int32_t C, int32_t inGroup, int32_t outGroup, const Piece* RESTRICT pieces, int32_t K,
                        const float* RESTRICT weights, int32_t N, const float* RESTRICT bias, const float* RESTRICT add,
                        float lo, float hi, const float* RESTRICT gate, float gateLo, float gateHi, float* RESTRICT y) {
    Images s = {P, M, inPixels, outPixels};
    Finish f = {bias, add, lo, hi, gate, gateLo, gateHi};
    for (int32_t i = threadX(); i < 8 * N; i += 128) {
        int32_t m = blockX() * 8 + i / N, n = i % N;
        if (m >= M) return;
        Row r = rowOf(rows, s, m);
        const float* from = x + (offset_t)r.first * C + n / outGroup * inGroup;
        int32_t pitch = r.pitch * C;
        float sum = 0;
        for (int32_t k = 0; k < K; k++) {
            Piece p = pieces[k];
            if (exists(p, r.valid)) sum += from[(offset_t)p.dy * pitch + p.at] * weights[k * N + n];
        }
        offset_t at = (offset_t)r.out * N + n;
        y[at] = finish(f, sum, n, at);
    }
}
EMULATE(conv_direct)

// A warp's part is WM x WN, the tile 2 x 2 of them.
template <int32_t WM, int32_t WN>
DEVICE void convF16(const uint16_t* RESTRICT x, const Row* RESTRICT rows, const Images& s, int32_t C,
                    const Piece* RESTRICT pieces, int32_t steps, const uint16_t* RESTRICT weights, int32_t N,
                    const float* RESTRICT bias, const uint16_t* RESTRICT add, float lo, float hi, const uint16_t* RESTRICT gate,
                    float gateLo, float gateHi, const uint8_t* RESTRICT open, uint16_t* RESTRICT y, uint8_t* RESTRICT signs) {
    const int32_t tileM = 2 * WM, tileN = 2 * WN, stages = 4, half = tileM * 64, stageBytes = half + tileN * 64;
    const int32_t fetches = tileM / 32;
    uint8_t* memory = shared<uint8_t>();
    int32_t thread = threadX(), lane = laneOf(thread), warp = warpOf(thread), columns = (N + tileN - 1) / tileN;
    int32_t tileC = blockX() % columns, m0 = blockX() / columns * tileM, q = thread % 4;
    const uint16_t* from[fetches];
    int32_t pitch[fetches];
    uint32_t valid[fetches];
    UNROLL for (int i = 0; i < fetches; i++) {
        Row r = rowOf(rows, s, m0 + thread / 4 + 32 * i);
        from[i] = x + (offset_t)r.first * C;
        pitch[i] = r.pitch * C, valid[i] = r.valid;
    }
    const uint8_t* w = (const uint8_t*)(weights + (offset_t)tileC * steps * (tileN * 32)) + thread * 16;
    int32_t to = placeOf(thread / 4, q), fetched = 0;
    auto fetchNext = [&] {
        if (fetched < steps) {
            uint8_t* stage = memory + fetched % stages * stageBytes;
            Piece p = pieces[fetched * 4 + q];
            UNROLL for (int i = 0; i < fetches; i++) {
                const uint16_t* src = from[i] + ((offset_t)p.dy * pitch[i] + p.at); // not read where there is no tap
                cpAsync16(stage + to + i * 32 * 64, src, exists(p, valid[i]));
            }
            UNROLL for (int i = 0; i < tileN / 32; i++) cpAsync16(stage + half + (i * 128 + thread) * 16, w + i * 2048);
            w += tileN * 64;
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
        const uint8_t* stage = memory + step % stages * stageBytes;
        UNROLL for (int32_t k = 0; k < 2; k++) {
            uint32_t a[WM / 16][4], b[WN / 16][4];
            UNROLL for (int i = 0; i < WM / 16; i++) ldMatrix(a[i], stage + (atA ^ k * 32) + i * 16 * 64);
            UNROLL for (int i = 0; i < WN / 16; i++) ldMatrix(b[i], stage + (atB ^ k * 32) + i * 16 * 64);
            if (k == 0) fetchNext();
            UNROLL for (int n = 0; n < WN / 8; n++) {
                uint32_t v[2] = {b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]};
                UNROLL for (int m = 0; m < WM / 16; m++) mmaF16(acc[m][n], a[m], v);
            }
        }
    }
    cpWait<0>();
    sync();
    // The tile of sums goes through shared memory as float32, in two halves of rows, and out in pieces of 8 results.
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
        for (int32_t i = thread; i < WM * tileN / 8; i += 128) {
            int32_t row = i / (tileN / 8), column = i % (tileN / 8) * 8, m = m0 + part * WM + row, n = tileC * tileN + column;
            if (m >= s.M || n >= N) continue;
            offset_t at = (offset_t)rowOf(rows, s, m).out * N + n;
            uvec4 more = {0, 0, 0, 0}, by = {0, 0, 0, 0};
            if (add) more = *(const uvec4*)(add + at);
            if (gate) by = *(const uvec4*)(gate + at);
            uint32_t words[4] = {more.x, more.y, more.z, more.w}, gates[4] = {by.x, by.y, by.z, by.w}, on = 0;
            uint32_t passes = open ? open[at / 8] : 0xffu;
            UNROLL for (int e = 0; e < 8; e++) {
                float v = sums[row * line + column + e];
                if (bias) v += bias[n + e];
                v = clip(v + fromF16((uint16_t)(words[e / 2] >> (e % 2 * 16))), lo, hi);
                float g = fromF16((uint16_t)(gates[e / 2] >> (e % 2 * 16)));
                if (!(passes >> e & 1) || (gate && !(gateLo < g && g < gateHi))) v *= 0.0f; // as the product with a step
                on |= (uint32_t)(v > 0) << e;
                uint32_t bits = toF16(v);
                words[e / 2] = e % 2 ? (words[e / 2] & 0xffffu) | bits << 16 : (words[e / 2] & 0xffff0000u) | bits;
            }
            *(uvec4*)(y + at) = {words[0], words[1], words[2], words[3]};
            if (signs) signs[at / 8] = (uint8_t)on;
        }
    }
}

#define CONV_F16(name, blocks, WM, WN)                                                                                           \
    KERNEL(128, blocks) name(const uint16_t* RESTRICT x, const Row* RESTRICT rows, int32_t P, int32_t M, int32_t inPixels,       \
                             int32_t outPixels, int32_t C, const Piece* RESTRICT pieces, int32_t steps,                          \
                             const uint16_t* RESTRICT weights, int32_t N, const float* RESTRICT bias,                            \
                             const uint16_t* RESTRICT add, float lo, float hi, const uint16_t* RESTRICT gate, float gateLo,      \
                             float gateHi, const uint8_t* RESTRICT open, uint16_t* RESTRICT y, uint8_t* RESTRICT signs) {        \
        convF16<WM, WN>(x, rows, {P, M, inPixels, outPixels}, C, pieces, steps, weights, N, bias, add, lo, hi, gate, gateLo,     \
                        gateHi, open, y, signs);                                                                                 \
    }                                                                                                                            \
    EMULATE(name)

CONV_F16(conv_f16_128x128, 2, 64, 64)
CONV_F16(conv_f16_128x64, 3, 64, 32)
CONV_F16(conv_f16_64x32, 6, 32, 16)
