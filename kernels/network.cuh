// What the kernels of networks and flows share beyond f2pad.cuh, for the same three readers: float16, offsets in large batches, and functions.
#pragma once
#include "f2pad.cuh"

typedef long long offset_t; // in elements; those of one image fit an int32_t

#ifdef F2PAD_EMULATE

DEVICE float fromF16(uint16_t v) { return emu::fromF16(v); }
DEVICE uint16_t toF16(float v) { return __builtin_bit_cast(uint16_t, (_Float16)v); }

DEVICE void mmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMU_LINE) {
    emuMma("mmaF16", d, a, b, line, emu::mmaF16);
}

#else

// toF16 rounds to 11 significant bits, ties to even.
DEVICE uint16_t toF16(float v) {
    uint16_t r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(v));
    return r;
}
DEVICE float fromF16(uint16_t v) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v));
    return r;
}
// mmaF16 is mmaBf16 for float16: m16n8k16, two values in each word of a and b, the lower half first.
DEVICE void mmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

// What follows is the same code for all readers.

// Arrays hold float32 (kind 0), float16 (1) or bits (2), which stand for 0 and 1; what is written is no bits.
DEVICE float loadAs(const void* x, offset_t i, uint32_t kind) {
    if (kind == 2) return (float)(((const uint8_t*)x)[i / 8] >> (i % 8) & 1);
    return kind ? fromF16(((const uint16_t*)x)[i]) : ((const float*)x)[i];
}
DEVICE void storeAs(void* y, offset_t i, bool half, float v) {
    if (half)
        ((uint16_t*)y)[i] = toF16(v);
    else
        ((float*)y)[i] = v;
}

DEVICE float clip(float v, float lo, float hi) { return v < lo ? lo : v > hi ? hi : v; } // NaN stays

// timesPower2 is v 2^n for n from -252 to 254, in two factors where one float32 does not hold it.
DEVICE float timesPower2(float v, int32_t n) {
    int32_t half = n / 2;
    return v * floatOf((uint32_t)(half + 127) << 23) * floatOf((uint32_t)(n - half + 127) << 23);
}

// exponential is e^x to some 2 units in the last place: x = n log 2 + r, e^r = 1 + r + r^2 P(r), P fitted on |r| <= log(2)/2.
DEVICE float exponential(float x) {
    if (x != x) return x;
    if (x > 89.0f) return infinity();
    if (x < -104.0f) return 0;
    int32_t n = (int32_t)(x * 1.44269504f + (x < 0 ? -0.5f : 0.5f));
    float r = x - (float)n * 0.693359375f + (float)n * 2.12194440e-4f;
    float p = 0.5f + r * (0.16666577f + r * (0.0416663752f + r * (0.00836317981f + r * 0.00139411206f)));
    return timesPower2(1.0f + (r + r * r * p), n);
}

// logarithm is log x to some 2 units in the last place: x = 2^e m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m-1)/(m+1)).
DEVICE float logarithm(float x) {
    if (!(x > 0)) return x == 0 ? -infinity() : floatOf(0x7fc00000u);
    if (x == infinity()) return x;
    int32_t e = 0;
    if (x < 1.17549435e-38f) x *= 8388608.0f, e = -23;
    int32_t bits = (int32_t)bitsOf(x) - 0x3f3504f3;
    e += bits >> 23;
    float f = floatOf((uint32_t)((bits & 0x7fffff) + 0x3f3504f3)) - 1.0f, t = f / (2.0f + f), t2 = t * t;
    float series = t2 * (1.0f / 3 + t2 * (1.0f / 5 + t2 * (1.0f / 7 + t2 * (1.0f / 9 + t2 * (1.0f / 11)))));
    return (float)e * 0.693359375f + (2.0f * t + (2.0f * t * series - (float)e * 2.12194440e-4f));
}

// hyperbolicTangent is tanh x: x + x^3 P(x^2) near 0, fitted, else 1 - 2/(e^2|x| + 1).
DEVICE float hyperbolicTangent(float x) {
    float a = absolute(x), z = x * x;
    if (a < 0.625f)
        return x + x * z * (-0.333333288f + z * (0.133327471f + z * (-0.053846752f + z * (0.0209752039f + z * -0.00606244406f))));
    float t = 1.0f - 2.0f / (exponential(2.0f * a) + 1.0f); // 1 for what is large; NaN stays
    return x < 0 ? -t : t;
}
