// Kernels for emu_test.go: right ones, and ones with the mistakes that the emulation must show.
#include "network.cuh"
#include <cstdio>
#include <cstdlib>

// out[i] = n-1-i
KERNEL(1024) reverse(int32_t withSync, int32_t* out) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    s[i] = i;
    if (withSync) sync();
    out[i] = s[threadsX() - 1 - i];
}
EMULATE(reverse)

// out[i] = (i+5) % n, by five rotations in place
KERNEL(1024) rotate(int32_t withSync, int32_t* out) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    s[i] = i;
    sync();
    for (int32_t k = 0; k < 5; k++) {
        int32_t v = s[(i + 1) % threadsX()];
        if (withSync) sync();
        s[i] = v;
        sync();
    }
    out[i] = s[i];
}
EMULATE(rotate)

KERNEL(32) leftover(float* out) {
    float* s = shared<float>();
    out[blockX() * 32 + threadX()] = s[threadX()];
    s[threadX()] = 1;
}
EMULATE(leftover)

// Copies tiles of 32 words through three buffers; without withWait it waits for one copy too few.
KERNEL(32) pipeline(const uint32_t* src, int32_t tiles, int32_t withWait, uint32_t* out) {
    uint32_t* s = shared<uint32_t>();
    int32_t i = threadX();
    auto load = [&](int32_t t) {
        if (t < tiles) cpAsync4(s + t % 3 * 32 + i, src + t * 32 + i);
        cpCommit();
    };
    load(0);
    load(1);
    for (int32_t t = 0; t < tiles; t++) {
        if (withWait)
            cpWait<1>();
        else
            cpWait<2>();
        sync();
        load(t + 2);
        out[t * 32 + i] = s[t % 3 * 32 + (i ^ 1)];
        out[t * 32 + i] = s[t % 3 * 32 + i];
    }
}
EMULATE(pipeline)

// Groups {0}, {1}, {}, {2} and a copy of 3 that is not committed, after as many waits as step says.
KERNEL(32) groups(const uint32_t* src, int32_t step, uint32_t* out) {
    uint32_t* s = shared<uint32_t>();
    if (threadX() == 0) {
        cpAsync4(s, src);
        cpCommit();
        cpAsync4(s + 1, src + 1);
        cpCommit();
        cpCommit();
        cpAsync4(s + 2, src + 2);
        cpCommit();
        cpAsync4(s + 3, src + 3);
        if (step == 0) cpWait<4>();
        if (step == 1) cpWait<3>();
        if (step == 2) cpWait<1>();
        if (step == 3) cpWait<0>();
        for (int32_t k = 0; k < 4; k++) out[k] = s[k];
    }
}
EMULATE(groups)

// Lanes below `from` copy, the others clear; these have an address that cannot be read.
KERNEL(32) clear(const uint32_t* src, int32_t bytes, int32_t from, uint32_t* out) {
    uint32_t* s = shared<uint32_t>();
    int32_t words = bytes / 4, i = threadX();
    bool ok = i < from;
    const uint32_t* p = ok ? src + i * words : src + (1 << 20) + 1;
    if (bytes == 16)
        cpAsync16(s + i * words, p, ok);
    else
        cpAsync4(s + i * words, p, ok);
    cpCommit();
    cpWait<0>();
    for (int32_t k = 0; k < words; k++) out[i * words + k] = s[i * words + k];
}
EMULATE(clear)

KERNEL(1024) touch(int32_t at, int32_t write, float* p) {
    if (threadX() != 0) return;
    if (write)
        p[at] = 1;
    else
        p[0] = p[at] + 1;
}
EMULATE(touch)

KERNEL(32) touchByte(int32_t at, uint8_t* p) {
    if (threadX() == 0) p[at] = 1;
}
EMULATE(touchByte)

KERNEL(32) touchShared(int32_t at, float* out) {
    uint8_t* s = shared<uint8_t>();
    if (threadX() == 0) s[at] = 1;
    out[0] = 0;
}
EMULATE(touchShared)

KERNEL(32) vector(int32_t offset, float* p) {
    if (threadX() == 0) p[0] = (*(const vec4*)(p + offset)).x;
}
EMULATE(vector)

KERNEL(32) copyFrom(int32_t offset, float* p) {
    cpAsync16(shared<vec4>() + threadX(), p + offset, threadX() == 0);
}
EMULATE(copyFrom)

KERNEL(32) copyTo(float* p) {
    cpAsync16(p, p);
}
EMULATE(copyTo)

KERNEL(32) loadFrom(float* p) {
    uint32_t r[4];
    ldMatrix(r, p);
    p[0] = floatOf(r[0]);
}
EMULATE(loadFrom)

KERNEL(32) deep(int32_t n, float* p) {
    volatile uint8_t* room = (volatile uint8_t*)__builtin_alloca(n);
    for (int32_t i = n - 1; i >= 0; i -= 64) room[i] = 1;
    p[0] = room[0];
}
EMULATE(deep)

KERNEL(32) local(int32_t at, float* p) {
    float v[4] = {1, 2, 3, 4};
    v[at] = 5;
    p[0] = v[0] + v[1] + v[2] + v[3];
}
EMULATE(local)

KERNEL(32) square(int32_t n, float* p) { p[0] = (float)(n * n); }
EMULATE(square)

KERNEL(32) divide(int32_t n, float* p) { p[0] = (float)(7 / n); }
EMULATE(divide)

KERNEL(64) skip(int32_t who, float* p) {
    if (threadX() == who) return;
    sync();
    p[0] = 0;
}
EMULATE(skip)

KERNEL(64) twoSyncs(float* p) {
    if (threadX() < 32) {
        sync();
    } else {
        sync();
    }
    p[0] = 0;
}
EMULATE(twoSyncs)

KERNEL(64) skipShuffle(int32_t who, float* p) {
    if (threadX() == who) return;
    if (threadX() < 32) p[0] = shflF(1, 0);
    sync();
}
EMULATE(skipShuffle)

KERNEL(32) twoFunctions(float* p) {
    uint32_t v = threadX() < 16 ? shfl(1, 0) : ballotOf(true);
    p[0] = (float)v;
}
EMULATE(twoFunctions)

KERNEL(32) twoLines(float* p) {
    uint32_t v;
    if (threadX() < 16)
        v = shfl(1, 0);
    else
        v = shfl(2, 1);
    p[0] = (float)v;
}
EMULATE(twoLines)

KERNEL(32) skipAt(float* p) {
    if (blockX() == 1 && threadX() == 7) p[8] = 0;
}
EMULATE(skipAt)

// Only the emulation has a process that can be ended.
KERNEL(32) die() {
    fputs("so it goes", stderr);
    std::_Exit(3);
}
EMULATE(die)

KERNEL(32) count(int32_t* out) {
    int32_t block = (blockZ() * gridY() + blockY()) * gridX() + blockX();
    out[block * 32 + threadX()] += block * 32 + threadX() + 1;
}
EMULATE(count)

// Threads in the order in which they start, go on after a warp-wide function, and after a barrier.
KERNEL(64) orders(int32_t* out) {
    auto note = [&] { out[out[3 * 64]++] = threadX(); };
    note();
    shfl(0, 0);
    note();
    sync();
    note();
}
EMULATE(orders)

KERNEL(64) exchanges(const uint32_t* in, int32_t by, uint32_t* out) {
    int32_t i = threadX();
    uint32_t v = in[i];
    out[4 * i] = shfl(v, by);
    out[4 * i + 1] = shflXor(v, by);
    out[4 * i + 2] = shflDown(v, by);
    out[4 * i + 3] = ballotOf(v % (uint32_t)(by + 1) == 0);
}
EMULATE(exchanges)

DEVICE uint32_t pack(float low, float high, bool half) {
    return half ? (uint32_t)toF16(low) | (uint32_t)toF16(high) << 16 : (uint32_t)toBf16(low) | (uint32_t)toBf16(high) << 16;
}

// d = c + a b with a [16,16], b [16,8], c and d [16,8]
DEVICE void sixteen(const float* a, const float* b, const float* c, float* d, bool half) {
    int32_t g = threadX() / 4, t = threadX() % 4;
    uint32_t fa[4] = {
        pack(a[g * 16 + 2 * t], a[g * 16 + 2 * t + 1], half),
        pack(a[(g + 8) * 16 + 2 * t], a[(g + 8) * 16 + 2 * t + 1], half),
        pack(a[g * 16 + 2 * t + 8], a[g * 16 + 2 * t + 9], half),
        pack(a[(g + 8) * 16 + 2 * t + 8], a[(g + 8) * 16 + 2 * t + 9], half),
    };
    uint32_t fb[2] = {
        pack(b[2 * t * 8 + g], b[(2 * t + 1) * 8 + g], half),
        pack(b[(2 * t + 8) * 8 + g], b[(2 * t + 9) * 8 + g], half),
    };
    float f[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
    if (half)
        mmaF16(f, fa, fb);
    else
        mmaBf16(f, fa, fb);
    d[g * 8 + 2 * t] = f[0], d[g * 8 + 2 * t + 1] = f[1];
    d[(g + 8) * 8 + 2 * t] = f[2], d[(g + 8) * 8 + 2 * t + 1] = f[3];
}
KERNEL(32) bf16(const float* a, const float* b, const float* c, float* d) { sixteen(a, b, c, d, false); }
EMULATE(bf16)
KERNEL(32) f16(const float* a, const float* b, const float* c, float* d) { sixteen(a, b, c, d, true); }
EMULATE(f16)

// below is what tensor cores ignore of a value.
DEVICE uint32_t below(uint32_t v) { return v | 0x1357u; }

// d = c + a b with a [16,8], b [8,8], c and d [16,8]
KERNEL(32) tf32(const float* a, const float* b, const float* c, float* d) {
    int32_t g = threadX() / 4, t = threadX() % 4;
    uint32_t fa[4] = {
        below(toTf32(a[g * 8 + t])),
        below(toTf32(a[(g + 8) * 8 + t])),
        below(toTf32(a[g * 8 + t + 4])),
        below(toTf32(a[(g + 8) * 8 + t + 4])),
    };
    uint32_t fb[2] = {below(toTf32(b[t * 8 + g])), below(toTf32(b[(t + 4) * 8 + g]))};
    float f[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
    mmaTf32(f, fa, fb);
    d[g * 8 + 2 * t] = f[0], d[g * 8 + 2 * t + 1] = f[1];
    d[(g + 8) * 8 + 2 * t] = f[2], d[(g + 8) * 8 + 2 * t + 1] = f[3];
}
EMULATE(tf32)

// Four matrices of 8x8 through shared memory; the lanes that load are not those that stored.
KERNEL(32) matrices(const uint16_t* in, int32_t transposed, uint32_t* out) {
    uint16_t* s = shared<uint16_t>();
    int32_t lane = threadX();
    for (int32_t k = 0; k < 8; k++) s[k * 32 + lane] = in[k * 32 + lane];
    syncWarp();
    uint32_t r[4];
    if (transposed)
        ldMatrixT(r, s + lane * 8);
    else
        ldMatrix(r, s + lane * 8);
    for (int32_t i = 0; i < 4; i++) out[4 * lane + i] = r[i];
}
EMULATE(matrices)

KERNEL(1024) convert(const float* in, uint32_t* out) {
    int32_t i = threadX();
    out[2 * i] = toTf32(in[i]);
    out[2 * i + 1] = toBf16(in[i]);
}
EMULATE(convert)

KERNEL(1024) halves(float* out) {
    int32_t i = blockX() * threadsX() + threadX();
    out[i] = fromF16((uint16_t)i);
}
EMULATE(halves)

KERNEL(1024) logs(const float* in, float* out) {
    int32_t i = blockX() * threadsX() + threadX();
    out[i] = logOnePlus(in[i]);
}
EMULATE(logs)
