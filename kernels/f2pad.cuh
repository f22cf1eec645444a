// The dialect that every kernel is written in. Three readers share it: clang and nvcc, which make PTX, and g++ with
// -DF2PAD_EMULATE, which makes the emulation that tests run without a GPU (emu/src/dialect.h). Kernels use nothing else: no
// headers, no CUDA runtime, no libdevice.
//
//   KERNEL(256) scale(float* x, int n, float k) {    // at most 256 threads a block
//       int i = blockX() * threadsX() + threadX();
//       if (i < n) x[i] *= k;
//   }
//   EMULATE(scale)                                   // one line per kernel, for the emulation
//
// Rules: blocks are one-dimensional (threadX only), of a multiple of 32 threads; grids may have three dimensions. Shared
// memory is dynamic and starts undefined. Every thread of a block reaches every sync(), every lane of a warp every
// warp-wide function: nobody returns early before one. No float atomics: results are the same in every run. Parameters are
// pointers, int32_t, uint32_t, uint64_t or float.
#pragma once

#ifdef F2PAD_EMULATE

#include "emu/src/dialect.h"

#else // clang or nvcc

#if defined(__NVCC__) && !defined(__CUDACC_RTC__)
#include <stdint.h>
#else // without any headers
typedef int int32_t;
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef unsigned char uint8_t;
typedef unsigned long long uint64_t;
#endif

#if defined(__NVCC__) || defined(__CUDACC_RTC__)
#define F2_SREG(name, reg) static __device__ __forceinline__ uint32_t name() { return reg; }
F2_SREG(f2ThreadX, threadIdx.x)
F2_SREG(f2BlockX, blockIdx.x)
F2_SREG(f2BlockY, blockIdx.y)
F2_SREG(f2BlockZ, blockIdx.z)
F2_SREG(f2ThreadsX, blockDim.x)
F2_SREG(f2GridX, gridDim.x)
F2_SREG(f2GridY, gridDim.y)
#define DEVICE static __device__ __forceinline__
#else
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define DEVICE static __device__ inline __attribute__((always_inline))
DEVICE uint32_t f2ThreadX() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE uint32_t f2BlockX() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE uint32_t f2BlockY() { return __nvvm_read_ptx_sreg_ctaid_y(); }
DEVICE uint32_t f2BlockZ() { return __nvvm_read_ptx_sreg_ctaid_z(); }
DEVICE uint32_t f2ThreadsX() { return __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE uint32_t f2GridX() { return __nvvm_read_ptx_sreg_nctaid_x(); }
DEVICE uint32_t f2GridY() { return __nvvm_read_ptx_sreg_nctaid_y(); }
#endif

#define KERNEL(...) extern "C" __global__ __launch_bounds__(__VA_ARGS__) void
#define EMULATE(name)
#define RESTRICT __restrict__
#define UNROLL _Pragma("unroll")

DEVICE int32_t threadX() { return (int32_t)f2ThreadX(); }
DEVICE int32_t blockX() { return (int32_t)f2BlockX(); }
DEVICE int32_t blockY() { return (int32_t)f2BlockY(); }
DEVICE int32_t blockZ() { return (int32_t)f2BlockZ(); }
DEVICE int32_t threadsX() { return (int32_t)f2ThreadsX(); }
DEVICE int32_t gridX() { return (int32_t)f2GridX(); }
DEVICE int32_t gridY() { return (int32_t)f2GridY(); }

struct __attribute__((aligned(8))) vec2 { float x, y; };
struct __attribute__((aligned(16))) vec4 { float x, y, z, w; };
struct __attribute__((aligned(16))) uvec4 { uint32_t x, y, z, w; };

// shared returns the block's dynamic shared memory, aligned to 128 bytes.
extern "C" __shared__ __attribute__((aligned(128))) uint8_t f2SharedMemory[];
template <class T> DEVICE T* shared() { return (T*)(void*)f2SharedMemory; }

// sync is the block's barrier, syncWarp the warp's; both order shared and global memory among their threads.
DEVICE void sync() { __syncthreads(); }
DEVICE void syncWarp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }

// Warp-wide exchange of 32-bit values: of a lane, of lane^mask, of lane+by (its own past the end).
DEVICE uint32_t shfl(uint32_t v, int lane) {
    uint32_t r;
    asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(r) : "r"(v), "r"(lane));
    return r;
}
DEVICE uint32_t shflXor(uint32_t v, int mask) {
    uint32_t r;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(r) : "r"(v), "r"(mask));
    return r;
}
DEVICE uint32_t shflDown(uint32_t v, int by) {
    uint32_t r;
    asm volatile("shfl.sync.down.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(r) : "r"(v), "r"(by));
    return r;
}
// ballotOf has the bit of each lane whose p is true. (A header that nvcc reads before everything has another ballot.)
DEVICE uint32_t ballotOf(bool p) {
    uint32_t r;
    asm volatile("{ .reg .pred q; setp.ne.u32 q, %1, 0; vote.sync.ballot.b32 %0, q, 0xffffffff; }" : "=r"(r) : "r"((uint32_t)p));
    return r;
}

DEVICE uint32_t bitsOf(float v) { return __builtin_bit_cast(uint32_t, v); }
DEVICE float floatOf(uint32_t v) { return __builtin_bit_cast(float, v); }

DEVICE uint32_t f2SharedAddress(const void* p) {
    uint64_t a;
    asm("cvta.to.shared.u64 %0, %1;" : "=l"(a) : "l"(p));
    return (uint32_t)a;
}

// Spot is a place in shared memory in the 32 bits that instructions take: where a pointer would have to be turned into them again
// and again, in loops.
struct Spot { uint32_t at; };
DEVICE Spot spot(const void* p) { return {f2SharedAddress(p)}; }
DEVICE Spot operator+(Spot s, int32_t bytes) { return {s.at + (uint32_t)bytes}; }

// Asynchronous copies from global to shared memory. Both addresses are aligned to the size. With ok false the bytes become
// 0 and src is not read. What a thread copied is its own to see after cpWait, and the block's after sync.
DEVICE void cpAsync16(Spot dst, const void* src, bool ok = true) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst.at), "l"(src), "r"(ok ? 16 : 0) : "memory");
}
DEVICE void cpAsync16(void* dst, const void* src, bool ok = true) { cpAsync16(spot(dst), src, ok); }
DEVICE void cpAsync4(void* dst, const void* src, bool ok = true) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(f2SharedAddress(dst)), "l"(src), "r"(ok ? 4 : 0) : "memory");
}
// cpCommit closes a group of this thread's copies; cpWait waits until at most `pending` of its latest groups are open.
DEVICE void cpCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending> DEVICE void cpWait() { asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory"); }

// Tensor cores, one warp together; d += a b with float32 accumulators, fragments as PTX's mma.sync defines them.
// mmaBf16: m16n8k16; a and b hold two bfloat16 each, the lower half first. mmaTf32: m16n8k8; a and b as toTf32 gives them.
DEVICE void mmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEVICE void mmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// ldMatrix loads four 8x8 matrices of 16-bit values: lane 8i+j gives the address of row j of matrix i (16 bytes, in shared
// memory), and r[i] receives this lane's two values of matrix i. ldMatrixT transposes each matrix.
DEVICE void ldMatrix(uint32_t (&r)[4], Spot row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(row.at) : "memory");
}
DEVICE void ldMatrix(uint32_t (&r)[4], const void* row) { ldMatrix(r, spot(row)); }
DEVICE void ldMatrixT(uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(f2SharedAddress(row)) : "memory");
}
// toTf32 rounds to 10 mantissa bits, ties away from zero; toBf16 to 7, ties to even.
DEVICE uint32_t toTf32(float v) {
    uint32_t r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
    return r;
}
DEVICE uint16_t toBf16(float v) {
    uint16_t r;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(v));
    return r;
}

DEVICE float squareRoot(float v) {
    float r;
    asm("sqrt.rn.f32 %0, %1;" : "=f"(r) : "f"(v));
    return r;
}

// loadStreaming reads what is used once and should not push other data out of the caches.
DEVICE float loadStreaming(const float* p) {
    float r;
    asm volatile("ld.global.cs.f32 %0, [%1];" : "=f"(r) : "l"(p));
    return r;
}

#endif // F2PAD_EMULATE

// What follows is the same code for all readers.

DEVICE int32_t laneOf(int32_t thread) { return thread & 31; }
DEVICE int32_t warpOf(int32_t thread) { return thread >> 5; }
DEVICE float shflF(float v, int lane) { return floatOf(shfl(bitsOf(v), lane)); }
DEVICE float shflXorF(float v, int mask) { return floatOf(shflXor(bitsOf(v), mask)); }
DEVICE float shflDownF(float v, int by) { return floatOf(shflDown(bitsOf(v), by)); }
DEVICE float fromBf16(uint16_t v) { return floatOf((uint32_t)v << 16); }
DEVICE float infinity() { return floatOf(0x7f800000u); }
DEVICE float absolute(float v) { return floatOf(bitsOf(v) & 0x7fffffffu); }
template <class T> DEVICE T least(T a, T b) { return b < a ? b : a; }
template <class T> DEVICE T most(T a, T b) { return a < b ? b : a; }

// warpSum is the sum over the warp, the same bits in every lane.
DEVICE float warpSum(float v) {
    UNROLL for (int m = 16; m > 0; m >>= 1) v += shflXorF(v, m);
    return v;
}

// mirror folds index i into [0,n) by reflection that repeats the edge (d c b a | a b c d | d c b a).
DEVICE int32_t mirror(int32_t i, int32_t n) {
    while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
    return i;
}

// logOnePlus is log(1+x) for x >= 0, to some 3 units in the last place: u = 1+x = 2^e m with m in [sqrt(1/2), sqrt(2)),
// log m = 2 atanh((m-1)/(m+1)), and (x - (u-1))/u puts back what the addition rounded off.
DEVICE float logOnePlus(float x) {
    float u = 1.0f + x;
    float lost = (x - (u - 1.0f)) / u;
    int32_t bits = (int32_t)bitsOf(u) - 0x3f3504f3;
    int32_t e = bits >> 23;
    float m = floatOf((uint32_t)((bits & 0x7fffff) + 0x3f3504f3));
    float t = (m - 1.0f) / (m + 1.0f), t2 = t * t;
    float series = 1.0f + t2 * (1.0f / 3 + t2 * (1.0f / 5 + t2 * (1.0f / 7 + t2 * (1.0f / 9 + t2 * (1.0f / 11)))));
    return (float)e * 0.693147180f + (2.0f * t * series + lost);
}
