// The watch on memory that finds races: what emu.cc tells it. Without F2PAD_RACES there is none.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu::races {

#ifdef F2PAD_RACES
const bool watched = true;
void watch(const void* p, uint64_t bytes); // global memory
void forget(const void* p);
void beginLaunch(int threads, const void* shared, int64_t bytes);
void beginBlock();
void passedSync(); // the running thread, as all of these
void passedSyncWarp();
// A copy begins and is waited for; began is what beginCopy returned.
uint64_t beginCopy(const void* dst, const void* src, int bytes, bool ok, const void* code);
void endCopy(const void* dst, const void* src, int bytes, bool ok, const void* code, uint64_t began);
#else
const bool watched = false;
inline void watch(const void*, uint64_t) {}
inline void forget(const void*) {}
inline void beginLaunch(int, const void*, int64_t) {}
inline void beginBlock() {}
inline void passedSync() {}
inline void passedSyncWarp() {}
inline uint64_t beginCopy(const void*, const void*, int, bool, const void*) { return 0; }
inline void endCopy(const void*, const void*, int, bool, const void*, uint64_t) {}
#endif

} // namespace emu::races
