// Finds races: two accesses to the same byte by different threads, one of them a write, that nothing orders. In which order they
// happened to run does not matter. Kernels compiled with -fsanitize=thread call __tsan_read4 and the like before each access:
// these are here, the library of ThreadSanitizer is not linked.
//
// What orders two accesses of one launch: that a thread makes both; a sync() between them, in a block; a syncWarp() between
// them, in a warp. Nothing orders blocks. shfl and the like do not order memory. A copy writes, and reads its source, at some
// time between its cpAsync and the cpWait that waits for it: until then its bytes are nobody's, not even the copying thread's,
// and its source may not change.
#include "races.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <vector>

#include "emu.h"

namespace emu::races {

enum class Kind : uint8_t { none, read, write, copy };

// An access: who made it, when and where.
struct Access {
    Kind kind;
    int16_t thread;
    uint32_t block;          // counted as they run
    uint32_t sync, syncWarp; // how many of them the thread had passed
    uint32_t code;           // in the program
    int warp() const { return thread / 32; }
    explicit operator bool() const { return kind != Kind::none; }
};

// What is known of a word, or, once a part of it was touched, of each of its bytes. The first 64 bytes are what most accesses need.
struct alignas(64) Cell {
    uint32_t era;  // that it is about: a launch, or, in shared memory, a block
    uint32_t part; // where in its Parts the bytes' own cells are, from 1; 0: nowhere
    uint64_t wrote;
    Access write; // the latest; a copy until it is waited for
    // Reads since then: the latest of some warp since its last sync(), with the lanes that read since its last syncWarp(); one
    // of another warp since that sync(); one of another block.
    Access read;
    uint32_t lanes;
    bool byOtherWarp, byOtherBlock;
    Access otherWarp, otherBlock; // if so
    void begin(uint32_t e) {
        era = e, part = 0, wrote = 0, lanes = 0;
        write = read = {};
        byOtherWarp = byOtherBlock = false;
    }
};

struct Area {
    uint64_t bytes;
    Cell* cells;
    size_t room() const { return std::max<size_t>((bytes + 3) / 4, 1) * sizeof(Cell); }
};

struct Passed {
    uint32_t sync, syncWarp;
};

static std::map<const uint8_t*, Area> areas;                 // of global memory
static std::vector<std::pair<const uint8_t*, Area>> recents; // the last used first
static const uint8_t *lowest, *highest;                      // within which all areas lie
static const uint8_t* shared;
static uint64_t sharedBytes;
static std::vector<Cell> sharedCells;
typedef std::deque<std::array<Cell, 4>> Parts;
static Parts parts, sharedParts;
static uint32_t launches, blocks;
static uint64_t writes;            // so far: the time
static std::vector<Passed> passed; // by each thread of the block
static uintptr_t program;

void watch(const void* p, uint64_t bytes) {
    Area a{bytes, nullptr};
    // Zero, and memory only where it is touched.
    void* got = mmap(nullptr, a.room(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) {
        fprintf(stderr, "no memory to watch %llu bytes for races\n", (unsigned long long)bytes);
        abort();
    }
    a.cells = (Cell*)got;
    areas[(const uint8_t*)p] = a;
}

void forget(const void* p) {
    auto it = areas.find((const uint8_t*)p);
    if (it == areas.end()) return;
    munmap(it->second.cells, it->second.room());
    areas.erase(it);
}

void beginLaunch(int threads, const void* memory, int64_t bytes) {
    launches++;
    passed.resize(threads);
    parts.clear();
    recents.clear();
    lowest = highest = nullptr;
    if (!areas.empty()) lowest = areas.begin()->first, highest = areas.rbegin()->first + areas.rbegin()->second.bytes;
    shared = (const uint8_t*)memory;
    sharedBytes = bytes;
    sharedCells.resize(std::max<size_t>(sharedCells.size(), (bytes + 3) / 4));
    Dl_info info;
    if (dladdr((void*)beginLaunch, &info)) program = (uintptr_t)info.dli_fbase;
}

void beginBlock() {
    blocks++;
    sharedParts.clear();
    std::fill(passed.begin(), passed.end(), Passed{});
}

void passedSync() { passed[self->thread].sync++; }
void passedSyncWarp() { passed[self->thread].syncWarp++; }

// Place is a byte of shared or global memory.
struct Place {
    const char* memory;
    uint64_t at;
};

[[noreturn]] static void race(const Place& p, const Access& a, const Access& b, const char* why = nullptr) {
    if (!why && a.block != b.block) why = "blocks are in no order";
    if (!why && a.kind == Kind::copy) why = "no cpWait() is between";
    if (!why) why = a.warp() == b.warp() ? "no syncWarp() or sync() is between" : "no sync() is between";
    const char* verbs[] = {"", "reads", "writes", "copies to"};
    char text[400];
    snprintf(text, sizeof text, "race in %s memory, byte %llu: thread %d %s it in code +0x%x, thread %d%s %s it in code +0x%x, and %s",
             p.memory, (unsigned long long)p.at, a.thread, verbs[(int)a.kind], a.code, b.thread,
             a.block == b.block ? "" : " of another block", verbs[(int)b.kind], b.code, why);
    fail(text);
}

#define INLINE static inline __attribute__((always_inline))

INLINE bool ordered(const Access& a, const Access& b) {
    if (a.block != b.block || a.kind == Kind::copy) return false;
    return a.thread == b.thread || a.sync != b.sync || (a.warp() == b.warp() && a.syncWarp != b.syncWarp);
}

INLINE void read(Cell& c, const Access& now, const Place& p) {
    if (c.write && !ordered(c.write, now)) race(p, c.write, now);
    Access& r = c.read;
    if (r && r.block != now.block) {
        c.otherBlock = r;
        c.byOtherBlock = true;
        r = {};
    }
    if (!r || r.sync != now.sync) {
        c.byOtherWarp = false;
        c.lanes = 0;
    } else if (r.warp() != now.warp()) {
        c.otherWarp = now;
        c.byOtherWarp = true;
        return;
    } else if (r.syncWarp != now.syncWarp) {
        c.lanes = 0;
    }
    r = now;
    c.lanes |= 1u << now.thread % 32;
}

INLINE void write(Cell& c, const Access& now, const Place& p) {
    if (c.write && !ordered(c.write, now)) race(p, c.write, now);
    if (c.byOtherBlock) race(p, c.otherBlock, now);
    Access r = c.read;
    if (r && (r.block != now.block || r.sync == now.sync)) {
        if (r.block != now.block || r.warp() != now.warp()) race(p, r, now);
        if (c.byOtherWarp) race(p, c.otherWarp, now);
        if (uint32_t others = c.lanes & ~(1u << now.thread % 32); others && r.syncWarp == now.syncWarp) {
            r.thread = (int16_t)(r.warp() * 32 + __builtin_ctz(others));
            race(p, r, now);
        }
    }
    c.write = now;
    c.wrote = ++writes;
    c.read = {};
    c.byOtherWarp = false;
}

// each calls f for the cell of each word, or of each byte, from p on; what is not in memory that is watched is left out.
template <class F> INLINE void each(const void* pointer, size_t n, F f) {
    const uint8_t* p = (const uint8_t*)pointer;
    Place place{"shared", (uint64_t)(p - shared)};
    Cell* cells = sharedCells.data();
    uint64_t room = sharedBytes;
    uint32_t era = blocks;
    Parts* pool = &sharedParts;
    if (p < shared || place.at >= sharedBytes) {
        if (p < lowest || p >= highest) return;
        auto recent = std::find_if(recents.begin(), recents.end(), [&](auto& r) { return (uint64_t)(p - r.first) < r.second.bytes; });
        if (recent == recents.end()) {
            auto it = areas.upper_bound(p);
            if (it == areas.begin()) return;
            --it;
            if ((uint64_t)(p - it->first) >= it->second.bytes) return;
            recent = recents.insert(recents.begin(), *it);
        } else if (recent != recents.begin()) {
            std::swap(*recent, *std::prev(recent));
            --recent;
        }
        place = {"global", (uint64_t)(p - recent->first)};
        cells = recent->second.cells;
        room = recent->second.bytes;
        era = launches;
        pool = &parts;
    }
    for (uint64_t end = std::min(place.at + n, room); place.at < end;) {
        Cell& c = cells[place.at / 4];
        if (c.era != era) c.begin(era);
        if (!c.part && place.at % 4 == 0 && end - place.at >= 4) {
            f(c, place);
            place.at += 4;
            continue;
        }
        if (!c.part) {
            pool->push_back({c, c, c, c});
            c.part = (uint32_t)pool->size();
        }
        f((*pool)[c.part - 1][place.at % 4], place);
        place.at++;
    }
}

static Access access(Kind kind, const void* code) {
    const Passed& t = passed[self->thread];
    return {kind, (int16_t)self->thread, blocks, t.sync, t.syncWarp, (uint32_t)((uintptr_t)code - 1 - program)};
}

// beginCopy notes what a copy will read and write, as of now; endCopy, as of the wait.
uint64_t beginCopy(const void* dst, const void* src, int bytes, bool ok, const void* code) {
    Access now = access(Kind::copy, code);
    each(dst, bytes, [&](Cell& c, const Place& p) { write(c, now, p); });
    now.kind = Kind::read;
    if (ok) each(src, bytes, [&](Cell& c, const Place& p) { read(c, now, p); });
    return writes;
}

void endCopy(const void* dst, const void* src, int bytes, bool ok, const void* code, uint64_t began) {
    Access now = access(Kind::write, code);
    each(dst, bytes, [&](Cell& c, const Place&) { c.write = now; });
    now.kind = Kind::read;
    if (!ok) return;
    each(src, bytes, [&](Cell& c, const Place& p) {
        if (c.write && c.wrote > began) race(p, c.write, now, "no cpWait() is between the copy and that");
        read(c, now, p);
    });
}

static void touched(Kind kind, const void* p, size_t n, const void* code) {
    // A fibre's own stack, which lies between wide guards, is nobody else's.
    auto here = (const uint8_t*)__builtin_frame_address(0);
    if (!self || (uint64_t)((const uint8_t*)p - here + (1 << 18)) < 1 << 19) return;
    Access now = access(kind, code);
    each(p, n, [&](Cell& c, const Place& at) { kind == Kind::write ? write(c, now, at) : read(c, now, at); });
}

} // namespace emu::races

// What g++ puts into the kernels.

#define HOOK(name, ...) extern "C" __attribute__((visibility("hidden"))) void __tsan_##name(__VA_ARGS__)
#define TOUCHED(kind, p, n) emu::races::touched(emu::races::Kind::kind, p, n, __builtin_return_address(0))
#define HOOKS(n)                                                   \
    HOOK(read##n, void* p) { TOUCHED(read, p, n); }                \
    HOOK(write##n, void* p) { TOUCHED(write, p, n); }              \
    HOOK(unaligned_read##n, void* p) { TOUCHED(read, p, n); }      \
    HOOK(unaligned_write##n, void* p) { TOUCHED(write, p, n); }    \
    HOOK(volatile_read##n, void* p) { TOUCHED(read, p, n); }       \
    HOOK(volatile_write##n, void* p) { TOUCHED(write, p, n); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
HOOK(read_range, void* p, size_t n) { TOUCHED(read, p, n); }
HOOK(write_range, void* p, size_t n) { TOUCHED(write, p, n); }
HOOK(vptr_update, void**, void*) {}
HOOK(init) {}
HOOK(func_entry, void*) {}
HOOK(func_exit) {}
