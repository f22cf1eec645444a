// The emulation of the machine that dialect.h's kernels run on. Blocks run one after the other; the threads of a block are
// fibres that give way at barriers and warp-wide functions, in an order drawn from a seed. What a GPU leaves to chance is
// made to hurt: shared memory starts as NaN, what an asynchronous copy will overwrite is NaN until it is waited for,
// allocations end at a guard page, and a barrier that some thread never reaches is an error.
//
// It is kinder than a GPU in one thing: the lanes of a warp see each other's writes after every warp-wide function, not
// only after syncWarp. With the watch of races.cc, which is slow, that is an error, too, and so is whatever else nothing orders.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

namespace emu {

// What kernels see of the running thread.
struct Thread {
    int thread, block[3], threads, grid[3];
    uint8_t* shared;
};
extern Thread* self;

void barrier(int line);
void passedSyncWarp();
// exchange gives way until all lanes of the warp have handed in their n words, and returns those of the 32 lanes, lane by
// lane. All lanes must be in the same function (what) called from the same line. What the warp does as one is for together,
// which runs once, before any lane goes on, and may put results in the words' place.
const uint32_t* exchange(const char* what, int line, const uint32_t* words, int n, void (*together)(uint32_t* all) = nullptr);
// What tensor.cc does together. Of each lane's words, mma.sync has 4 of a, 2 of b, 4 of d, to which it adds their product;
// ldmatrix an address in 2, and makes 4 values of them.
const int mmaWords = 10, ldMatrixWords = 6;
void mmaBf16(uint32_t* all);
void mmaF16(uint32_t* all);
void mmaTf32(uint32_t* all);
void ldMatrix(uint32_t* all);
void ldMatrixT(uint32_t* all);
// ldMatrixSource is where a lane's value e of matrix i comes from: each lane's address is of a row.
inline const uint16_t* ldMatrixSource(const uint32_t* all, int lane, int i, int e, bool transposed) {
    int across = lane % 4 * 2 + e, down = lane / 4;
    const uint32_t* row = all + (8 * i + (transposed ? across : down)) * ldMatrixWords;
    return (const uint16_t*)(uintptr_t)((uint64_t)row[0] | (uint64_t)row[1] << 32) + (transposed ? down : across);
}
void copyLater(void* dst, const void* src, int bytes, bool ok);
void commitCopies();
void waitCopies(int pending);
void mustBeShared(const char* what, const void* p, int bytes); // and aligned to bytes
[[noreturn]] void fail(const std::string& why);

// A kernel takes its parameters from 8-byte cells, the value in the lowest bytes. kinds has a letter for each: p(ointer), or
// the number of bytes, 4 or 8.
struct Kernel {
    const char* name;
    std::string kinds;
    void (*call)(const uint64_t* cells);
};
void enroll(const Kernel& k);
const Kernel* find(const std::string& name); // null: none

// What went wrong with a launch.
enum class Trouble {
    none,
    refused,    // it was not started
    wrong,      // the kernel breaks a rule of the dialect: a deadlock, a misused warp-wide function, an overflow
    address,    // it touched what is not its own
    misaligned, // or what is its own, at an odd place
};
struct Outcome {
    Trouble trouble = Trouble::none;
    std::string text;
};

Outcome check(const Kernel& k, const int64_t grid[3], int64_t threads, int64_t sharedBytes);
// launch runs a kernel; seed chooses the order of threads and blocks (0: ascending). One runs at a time; others wait.
Outcome launch(const Kernel& k, const int64_t grid[3], int64_t threads, int64_t sharedBytes, const uint64_t* cells,
               uint64_t seed);

// Memory whose end lies at pages that cannot be touched (as near as align, a power of two up to 4096, lets it), filled with
// 0xFF (NaN as float32). release says what it found written between the last byte and those pages, or that the address is
// none of allocate's, or "". Released addresses are not given out again for long, and cannot be touched.
void* allocate(uint64_t bytes, uint64_t align = 16);
std::string release(void* p);
bool within(const void* p, uint64_t bytes); // all of it lies in one allocation

// fromF16 is exact: 2^112 puts right what the exponent lacks, of what is below float16's normal numbers, too.
inline float fromF16(uint16_t v) {
    uint32_t bits = (v & 0x7fffu) << 13;
    float f = __builtin_bit_cast(float, bits) * 0x1p112f;
    if (bits >= 0x7c00u << 13) f = __builtin_bit_cast(float, bits | 0x7f800000u | (bits > 0x7c00u << 13) << 22);
    return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, f) | (v & 0x8000u) << 16);
}

template <class T> T cell(uint64_t c) {
    T v;
    std::memcpy(&v, &c, sizeof v);
    return v;
}
template <class T> constexpr char kind = std::is_pointer_v<T> ? 'p' : '0' + sizeof(T);
template <auto f> struct Caller;
template <class... A, void (*f)(A...)> struct Caller<f> {
    static_assert(((kind<A> == 'p' || kind<A> == '4' || kind<A> == '8') && ...), "parameters: pointers, or of 4 or 8 bytes");
    static std::string kinds() { return {kind<A>...}; }
    template <std::size_t... I> static void at(const uint64_t* c, std::index_sequence<I...>) { f(cell<A>(c[I])...); }
    static void call(const uint64_t* c) { at(c, std::index_sequence_for<A...>{}); }
};
struct Enroll {
    Enroll(const char* name, const std::string& kinds, void (*call)(const uint64_t*)) { enroll({name, kinds, call}); }
};

} // namespace emu
