// What a warp does as one: mma.sync and ldmatrix, on the words of all its lanes (emu.h).
#include <cfloat>

#include "emu.h"

namespace emu {

// Vectors of eight values, a row of a tile. Most processors take them in parts.
typedef double Doubles __attribute__((vector_size(64)));
typedef int64_t Longs __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(32)));

// What is compiled here may run on another processor: each takes what it has. Bits are the same.
#if defined __x86_64__ && defined __GLIBC__
#define CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CLONES
#endif

#define UNROLL _Pragma("GCC unroll 8")

// tensorSums adds to d [16,8] the product of a [16,k] and b [k,8], values of so few bits that their products are exact, as
// NVIDIA's tensor cores were measured to (Fasi, Higham, Mikaitis and Pranesh, PeerJ CS 2021), the worst of them: four products
// at a time and the sum so far, all shifted to the greatest exponent and cut off below 24 bits, the new sum as well. Later ones
// keep a few bits more, or add more at a time: tests must allow for what no GPU promises.
CLONES static void tensorSums(int k, const double* a, const Doubles* b, Floats* d) {
    for (int i = 0; i < k; i += 4)
        for (int row = 0; row < 16; row++) {
            Doubles v[5] = {__builtin_convertvector(d[row], Doubles)}, sum = {}, most = {};
            UNROLL for (int j = 0; j < 4; j++) v[1 + j] = a[row * k + i + j] * b[i + j];
            UNROLL for (Doubles& x : v) {
                sum += x;
                Doubles size = (Doubles)((Longs)x & INT64_MAX);
                most = size > most ? size : most;
            }
            // most is below 2^e, and at least half of it; up is 2^(24-e), down its inverse.
            Longs exponent = (Longs)most >> 52;
            Doubles up = (Doubles)((2069 - exponent) << 52), down = (Doubles)((exponent - 23) << 52);
            Ints units = {}; // of 2^(e-24)
            UNROLL for (Doubles& x : v) units += __builtin_convertvector(x * up, Ints);
            Doubles cut = (Doubles)((Longs)(__builtin_convertvector(units, Doubles) * down) & -(1ll << 29));
            // Of nothing but zeros cut may be -0.
            d[row] = __builtin_convertvector((Doubles)((Longs)sum & INT64_MAX) <= DBL_MAX ? cut + 0.0 : sum, Floats);
        }
}

// multiply does what mma.sync does with fragments that hold `per` values a word; value(w, i) is number i of them.
template <int k, int per, class Value> static void multiply(uint32_t* all, Value value) {
    alignas(64) double a[16][k], b[k][8];
    alignas(64) float d[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const uint32_t* words = all + lane * mmaWords;
        int at = lane / 4, in = lane % 4;
        UNROLL for (int half = 0; half < 2; half++)
            UNROLL for (int i = 0; i < per; i++) {
                int kk = half * k / 2 + in * per + i;
                a[at][kk] = value(words[2 * half], i), a[at + 8][kk] = value(words[2 * half + 1], i);
                b[kk][at] = value(words[4 + half], i);
            }
        UNROLL for (int i = 0; i < 4; i++) d[at + i / 2 * 8][in * 2 + i % 2] = __builtin_bit_cast(float, words[6 + i]);
    }
    tensorSums(k, a[0], (const Doubles*)b, (Floats*)d);
    for (int lane = 0; lane < 32; lane++)
        UNROLL for (int i = 0; i < 4; i++)
            all[lane * mmaWords + 6 + i] = __builtin_bit_cast(uint32_t, d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
}
void mmaBf16(uint32_t* all) {
    multiply<16, 2>(all, [](uint32_t w, int i) { return (double)__builtin_bit_cast(float, i ? w & 0xffff0000u : w << 16); });
}
void mmaF16(uint32_t* all) {
    multiply<16, 2>(all, [](uint32_t w, int i) { return (double)fromF16((uint16_t)(i ? w >> 16 : w)); });
}
void mmaTf32(uint32_t* all) { // low bits are ignored
    multiply<8, 1>(all, [](uint32_t w, int) { return (double)__builtin_bit_cast(float, w & 0xffffe000u); });
}

static void gather(uint32_t* all, bool transposed) {
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            const uint16_t* from[2] = {ldMatrixSource(all, lane, i, 0, transposed), ldMatrixSource(all, lane, i, 1, transposed)};
            all[lane * ldMatrixWords + 2 + i] = (uint32_t)*from[0] | (uint32_t)*from[1] << 16;
        }
}
void ldMatrix(uint32_t* all) { gather(all, false); }
void ldMatrixT(uint32_t* all) { gather(all, true); }

} // namespace emu
