// f2pad.cuh's dialect for g++: what each word means on the emulated machine.
#pragma once
#include "emu.h"

#define DEVICE static inline
#define KERNEL(...) static void
#define EMULATE(name) static emu::Enroll emu_##name(#name, emu::Caller<name>::kinds(), emu::Caller<name>::call);
#define RESTRICT __restrict__
#define UNROLL

DEVICE int32_t threadX() { return emu::self->thread; }
DEVICE int32_t blockX() { return emu::self->block[0]; }
DEVICE int32_t blockY() { return emu::self->block[1]; }
DEVICE int32_t blockZ() { return emu::self->block[2]; }
DEVICE int32_t threadsX() { return emu::self->threads; }
DEVICE int32_t gridX() { return emu::self->grid[0]; }
DEVICE int32_t gridY() { return emu::self->grid[1]; }

struct alignas(8) vec2 { float x, y; };
struct alignas(16) vec4 { float x, y, z, w; };
struct alignas(16) uvec4 { uint32_t x, y, z, w; };

template <class T> T* shared() { return (T*)(void*)emu::self->shared; }
// The line of the call tells one sync() from another.
#define EMU_LINE int line = __builtin_LINE()

DEVICE void sync(EMU_LINE) { emu::barrier(line); }
DEVICE void emuMeet(const char* what, int line) {
    uint32_t none = 0;
    emu::exchange(what, line, &none, 1);
}
DEVICE void syncWarp(EMU_LINE) {
    emuMeet("syncWarp", line);
    emu::passedSyncWarp();
}

DEVICE uint32_t shfl(uint32_t v, int lane, EMU_LINE) { return emu::exchange("shfl", line, &v, 1)[lane & 31]; }
DEVICE uint32_t shflXor(uint32_t v, int mask, EMU_LINE) {
    return emu::exchange("shflXor", line, &v, 1)[(threadX() ^ mask) & 31];
}
DEVICE uint32_t shflDown(uint32_t v, int by, EMU_LINE) {
    int own = threadX() & 31, lane = own + (by & 31);
    return emu::exchange("shflDown", line, &v, 1)[lane < 32 ? lane : own];
}
DEVICE uint32_t ballotOf(bool p, EMU_LINE) {
    uint32_t v = p, r = 0;
    const uint32_t* all = emu::exchange("ballotOf", line, &v, 1);
    for (int i = 0; i < 32; i++) r |= all[i] << i;
    return r;
}

DEVICE uint32_t bitsOf(float v) { return __builtin_bit_cast(uint32_t, v); }
DEVICE float floatOf(uint32_t v) { return __builtin_bit_cast(float, v); }

struct Spot { uint8_t* at; };
DEVICE Spot spot(const void* p) { return {(uint8_t*)p}; }
DEVICE Spot operator+(Spot s, int32_t bytes) { return {s.at + bytes}; }

DEVICE void cpAsync16(void* dst, const void* src, bool ok = true) { emu::copyLater(dst, src, 16, ok); }
DEVICE void cpAsync16(Spot dst, const void* src, bool ok = true) { emu::copyLater(dst.at, src, 16, ok); }
DEVICE void cpAsync4(void* dst, const void* src, bool ok = true) { emu::copyLater(dst, src, 4, ok); }
DEVICE void cpCommit() { emu::commitCopies(); }
template <int pending> DEVICE void cpWait() { emu::waitCopies(pending); }

DEVICE uint32_t toTf32(float v) {
    uint32_t b = bitsOf(v);
    if ((b & 0x7fffffffu) > 0x7f800000u) return 0x7fffffff;
    if ((b & 0x7f800000u) == 0x7f800000u) return b;
    return (b + 0x1000u) & 0xffffe000u;
}
DEVICE uint16_t toBf16(float v) {
    uint32_t b = bitsOf(v);
    if ((b & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (uint16_t)((b + 0x7fffu + ((b >> 16) & 1)) >> 16);
}

// tensorSum adds n exact products to an accumulator as NVIDIA's tensor cores were measured to (Fasi, Higham, Mikaitis and
// Pranesh, PeerJ CS 2021), the worst of them: four at a time, all shifted to the greatest exponent and cut off below 24 bits,
// the sum as well. Later ones keep a few bits more, or add more at a time: tests must allow for what no GPU promises.
DEVICE float tensorSum(float d, const double* products, int n) {
    for (int i = 0; i < n; i += 4) {
        double p[5] = {d, products[i], products[i + 1], products[i + 2], products[i + 3]}, most = 0, sum = 0;
        for (double v : p) {
            most = std::fmax(most, std::fabs(v));
            sum += v;
        }
        if (!std::isfinite(sum) || most == 0) {
            d = (float)sum;
            continue;
        }
        int e = (int)(__builtin_bit_cast(uint64_t, most) >> 52) - 1022; // most is below 2^e, and at least half of it
        auto power = [](int n) { return __builtin_bit_cast(double, (uint64_t)(n + 1023) << 52); };
        int64_t units = 0; // of 2^(e-24)
        for (double v : p) units += (int64_t)(v * power(24 - e));
        while (units > 0xffffff || units < -0xffffff) units /= 2, e++;
        d = (float)((double)units * power(e - 24));
    }
    return d;
}

// emuMma multiplies a 16xk by a kx8 tile whose fragments hold `per` values a word; value(w, i) is number i of them.
template <int k, int per, class Value>
void emuMma(const char* what, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line, Value value) {
    uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const uint32_t* all = emu::exchange(what, line, words, 6);
    int lane = threadX() & 31;
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + (i >= 2 ? 8 : 0), col = lane % 4 * 2 + i % 2;
        double products[k];
        for (int kk = 0; kk < k; kk++) {
            int half = kk >= k / 2, in = kk % (k / 2), l = in / per, e = in % per;
            products[kk] = value(all[(row % 8 * 4 + l) * 6 + half * 2 + (row >= 8)], e) * value(all[(col * 4 + l) * 6 + 4 + half], e);
        }
        d[i] = tensorSum(d[i], products, k);
    }
}
DEVICE void mmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_LINE) {
    emuMma<16, 2>("mmaBf16", d, a, b, line, [](uint32_t w, int i) { return (double)floatOf(i ? w & 0xffff0000u : w << 16); });
}
DEVICE void mmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_LINE) {
    emuMma<8, 1>("mmaTf32", d, a, b, line, [](uint32_t w, int) { return (double)floatOf(w & 0xffffe000u); }); // low bits are ignored
}

DEVICE void emuLdMatrix(uint32_t (&r)[4], const void* row, bool transposed, int line) {
    emu::mustBeShared("ldMatrix", row, 16);
    // Every lane reads the rows that the others point at.
    uint64_t at = (uint64_t)(uintptr_t)row;
    uint32_t words[2] = {(uint32_t)at, (uint32_t)(at >> 32)};
    const uint32_t* all = emu::exchange(transposed ? "ldMatrixT" : "ldMatrix", line, words, 2);
    int lane = threadX() & 31;
    for (int i = 0; i < 4; i++) {
        auto value = [&](int rr, int cc) {
            int l = 8 * i + rr;
            const uint16_t* p = (const uint16_t*)(uintptr_t)((uint64_t)all[2 * l] | (uint64_t)all[2 * l + 1] << 32);
            return (uint32_t)p[cc];
        };
        int rr = lane / 4, cc = lane % 4 * 2;
        r[i] = transposed ? value(cc, rr) | value(cc + 1, rr) << 16 : value(rr, cc) | value(rr, cc + 1) << 16;
    }
    emuMeet("ldMatrix", line); // nobody overwrites the rows before all have read them
}
DEVICE void ldMatrix(uint32_t (&r)[4], const void* row, EMU_LINE) { emuLdMatrix(r, row, false, line); }
DEVICE void ldMatrix(uint32_t (&r)[4], Spot row, EMU_LINE) { emuLdMatrix(r, row.at, false, line); }
DEVICE void ldMatrixT(uint32_t (&r)[4], const void* row, EMU_LINE) { emuLdMatrix(r, row, true, line); }

DEVICE float squareRoot(float v) { return std::sqrt(v); }
DEVICE float loadStreaming(const float* p) { return *p; }
