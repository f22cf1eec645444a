// The emulation of the machine that dialect.h's kernels run on. Blocks run one after the other; the threads of a block are fibres that give
// way at barriers and warp-wide functions, in an order drawn from a seed. What a GPU leaves to chance is made to hurt: shared
// memory starts as NaN, asynchronous copies arrive no sooner than they are waited for, allocations end at a guard page, and
// a barrier that some thread never reaches is an error. Speed is no aim.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

namespace emu {

// What kernels see of the running thread.
struct Thread {
    int thread, block[3], threads, grid[3];
    uint8_t* shared;
};
extern Thread* self;

void barrier();
// exchange gives way until all lanes of the warp have handed in their words; then from(lane) reads what a lane handed in.
const uint32_t* exchange(const uint32_t* words, int n); // of 32 lanes, n words each, lane by lane
void copyLater(void* dst, const void* src, int bytes, bool ok);
void commitCopies();
void waitCopies(int pending);
[[noreturn]] void fail(const std::string& why);

// A kernel takes its parameters from 8-byte cells, the value in the lowest bytes.
struct Kernel {
    const char* name;
    int args;
    void (*call)(const uint64_t* cells);
};
void enroll(const Kernel& k);
const Kernel* find(const std::string& name); // null: none

// launch runs a kernel; seed chooses the order of threads and blocks (0: ascending). It returns what went wrong, or "".
std::string launch(const Kernel& k, const int grid[3], int threads, int sharedBytes, const uint64_t* cells, uint64_t seed);

// Memory whose end lies at a guard page, aligned to 16 bytes and filled with 0xFF (NaN as float32). release says what it
// found written between the last byte and the guard page, or that the address is none of allocate's, or "".
void* allocate(uint64_t bytes);
std::string release(void* p);
bool within(const void* p, uint64_t bytes); // all of it lies in one allocation

template <class T> T cell(uint64_t c) {
    T v;
    std::memcpy(&v, &c, sizeof v);
    return v;
}
template <auto f> struct Caller;
template <class... A, void (*f)(A...)> struct Caller<f> {
    static constexpr int args = sizeof...(A);
    template <std::size_t... I> static void at(const uint64_t* c, std::index_sequence<I...>) { f(cell<A>(c[I])...); }
    static void call(const uint64_t* c) { at(c, std::index_sequence_for<A...>{}); }
};
struct Enroll {
    Enroll(const char* name, int args, void (*call)(const uint64_t*)) { enroll({name, args, call}); }
};

} // namespace emu
