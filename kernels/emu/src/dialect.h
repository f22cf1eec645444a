// f2pad.cuh's dialect for g++: what each word means on the emulated machine.
#pragma once
#include "emu.h"
#include "races.h"

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

DEVICE void emuMma(const char* what, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line, void (*multiply)(uint32_t*)) {
    uint32_t words[emu::mmaWords] = {a[0], a[1], a[2], a[3], b[0], b[1], bitsOf(d[0]), bitsOf(d[1]), bitsOf(d[2]), bitsOf(d[3])};
    const uint32_t* own = emu::exchange(what, line, words, emu::mmaWords, multiply) + (threadX() & 31) * emu::mmaWords;
    for (int i = 0; i < 4; i++) d[i] = floatOf(own[6 + i]);
}
DEVICE void mmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_LINE) {
    emuMma("mmaBf16", d, a, b, line, emu::mmaBf16);
}
DEVICE void mmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_LINE) {
    emuMma("mmaTf32", d, a, b, line, emu::mmaTf32);
}

// The warp reads the rows as one, so that nobody overwrites them before all have read them.
DEVICE void emuLdMatrix(uint32_t (&r)[4], const void* row, bool transposed, int line) {
    emu::mustBeShared("ldMatrix", row, 16);
    uint64_t at = (uint64_t)(uintptr_t)row;
    uint32_t words[emu::ldMatrixWords] = {(uint32_t)at, (uint32_t)(at >> 32)};
    const uint32_t* all = emu::exchange(transposed ? "ldMatrixT" : "ldMatrix", line, words, emu::ldMatrixWords,
                                        transposed ? emu::ldMatrixT : emu::ldMatrix);
    int lane = threadX() & 31;
    for (int i = 0; i < 4; i++) {
        r[i] = all[lane * emu::ldMatrixWords + 2 + i];
        if (emu::races::watched) // in a place that it knows
            for (int e = 0; e < 2; e++) (void)*(const volatile uint16_t*)emu::ldMatrixSource(all, lane, i, e, transposed);
    }
}
DEVICE void ldMatrix(uint32_t (&r)[4], const void* row, EMU_LINE) { emuLdMatrix(r, row, false, line); }
DEVICE void ldMatrix(uint32_t (&r)[4], Spot row, EMU_LINE) { emuLdMatrix(r, row.at, false, line); }
DEVICE void ldMatrixT(uint32_t (&r)[4], const void* row, EMU_LINE) { emuLdMatrix(r, row, true, line); }

DEVICE float squareRoot(float v) { return std::sqrt(v); }
DEVICE float loadStreaming(const float* p) { return *p; }
