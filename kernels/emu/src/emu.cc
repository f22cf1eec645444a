#include "emu.h"

#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emu {

Thread* self;

static std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}
void enroll(const Kernel& k) { kernels()[k.name] = k; }
const Kernel* find(const std::string& name) {
    auto it = kernels().find(name);
    return it == kernels().end() ? nullptr : &it->second;
}

// Fibres.

#ifdef __x86_64__
// f2padSwitch saves the callee-saved registers on the stack, stores the stack pointer and continues on another stack.
extern "C" void f2padSwitch(void** from, void* to);
asm(R"(
.text
.globl f2padSwitch
.hidden f2padSwitch
.type f2padSwitch,@function
f2padSwitch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size f2padSwitch,.-f2padSwitch
)");
struct Context {
    void* sp = nullptr;
    void make(uint8_t* stack, size_t bytes, void (*entry)()) {
        void** top = (void**)(stack + bytes);
        *--top = nullptr; // keeps the stack aligned as after a call
        *--top = (void*)entry;
        for (int i = 0; i < 6; i++) *--top = nullptr;
        sp = top;
    }
    void to(Context& other) { f2padSwitch(&sp, other.sp); }
};
#else
struct Context {
    ucontext_t c;
    void make(uint8_t* stack, size_t bytes, void (*entry)()) {
        getcontext(&c);
        c.uc_stack.ss_sp = stack;
        c.uc_stack.ss_size = bytes;
        c.uc_link = nullptr;
        makecontext(&c, entry, 0);
    }
    void to(Context& other) { swapcontext(&c, &other.c); }
};
#endif

const size_t stackBytes = 256 << 10;

enum State { ready, atBarrier, atExchange, done };

struct Copy {
    void* dst;
    const void* src;
    int bytes;
    bool ok;
};

struct Fibre : Thread {
    Context context;
    uint8_t* stack = nullptr;
    State state;
    std::vector<std::vector<Copy>> groups; // of asynchronous copies; the last is open
};

const int maxWords = 6;

struct Warp {
    int arrived = 0, generation = 0, words = 0;
    uint32_t slots[2][32 * maxWords];
};

static std::mutex running;
static Context scheduler;
static std::vector<Fibre> fibres;
static std::vector<Warp> warps;
static const Kernel* kernel;
static const uint64_t* arguments;
static std::string failure;

static Fibre& current() { return *static_cast<Fibre*>(self); }
static void yield(State s) {
    Fibre& f = current();
    f.state = s;
    f.context.to(scheduler);
}

void fail(const std::string& why) {
    if (failure.empty())
        failure = why + " (block " + std::to_string(self->block[0]) + "," + std::to_string(self->block[1]) + "," +
                  std::to_string(self->block[2]) + ", thread " + std::to_string(self->thread) + ")";
    for (;;) yield(done); // the scheduler abandons the launch
}

void barrier() { yield(atBarrier); }

const uint32_t* exchange(const uint32_t* words, int n) {
    Fibre& f = current();
    Warp& w = warps[f.thread / 32];
    uint32_t* slots = w.slots[w.generation & 1];
    if (w.arrived == 0) w.words = n;
    if (w.words != n) fail("lanes of one warp meet in different warp-wide functions");
    std::memcpy(slots + f.thread % 32 * n, words, 4 * n);
    if (++w.arrived < 32) {
        yield(atExchange);
    } else {
        w.arrived = 0;
        w.generation++;
        for (int i = 0; i < 32; i++) {
            Fibre& lane = fibres[f.thread / 32 * 32 + i];
            if (&lane != &f) lane.state = ready;
        }
    }
    return slots;
}

void copyLater(void* dst, const void* src, int bytes, bool ok) {
    if ((uintptr_t)dst % bytes || (ok && (uintptr_t)src % bytes)) fail("cpAsync: address not aligned to " + std::to_string(bytes));
    current().groups.back().push_back({dst, src, bytes, ok});
}
void commitCopies() { current().groups.emplace_back(); }
void waitCopies(int pending) {
    // The last group is open: it was not committed, and is not waited for.
    auto& groups = current().groups;
    while ((int)groups.size() - 1 > pending) {
        for (const Copy& c : groups.front()) {
            if (c.ok)
                std::memcpy(c.dst, c.src, c.bytes);
            else
                std::memset(c.dst, 0, c.bytes);
        }
        groups.erase(groups.begin());
    }
}

static void enter() {
    kernel->call(arguments);
    for (;;) yield(done);
}

static void runBlock(std::mt19937_64& random, bool shuffled) {
    int n = (int)fibres.size();
    std::vector<int> order(n);
    for (int i = 0; i < n; i++) order[i] = i;
    for (auto& w : warps) w = Warp{};
    for (auto& f : fibres) {
        if (!f.stack) {
            void* p = mmap(nullptr, stackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (p == MAP_FAILED) throw std::runtime_error("no memory for stacks");
            f.stack = (uint8_t*)p;
        }
        f.context.make(f.stack, stackBytes, enter);
        f.state = ready;
        f.groups.assign(1, {});
    }
    for (;;) {
        if (shuffled)
            for (int i = n - 1; i > 0; i--) std::swap(order[i], order[random() % (i + 1)]);
        bool ran = false;
        for (int i : order) {
            if (fibres[i].state != ready) continue;
            ran = true;
            self = &fibres[i];
            scheduler.to(fibres[i].context);
            if (!failure.empty()) return;
        }
        int finished = 0, waiting = 0;
        for (auto& f : fibres) finished += f.state == done, waiting += f.state == atBarrier;
        if (finished == n) return;
        if (waiting == n) {
            for (auto& f : fibres) f.state = ready;
        } else if (!ran) {
            failure = "deadlock: " + std::to_string(waiting) + " threads at a barrier, " +
                      std::to_string(n - waiting - finished) + " in a warp-wide function, " + std::to_string(finished) + " returned";
            return;
        }
    }
}

std::string launch(const Kernel& k, const int grid[3], int threads, int sharedBytes, const uint64_t* cells, uint64_t seed) {
    if (threads < 32 || threads > 1024 || threads % 32) return "blocks of " + std::to_string(threads) + " threads";
    for (int d = 0; d < 3; d++)
        if (grid[d] < 1 || (d > 0 && grid[d] > 65535)) return "grid of " + std::to_string(grid[d]) + " blocks in dimension " + std::to_string(d);
    if (sharedBytes < 0 || sharedBytes > 227 << 10) return std::to_string(sharedBytes) + " bytes of shared memory";
    std::lock_guard<std::mutex> lock(running);
    // Shared memory ends at a guard page, too.
    size_t page = sysconf(_SC_PAGESIZE), room = (sharedBytes + page - 1) / page * page;
    uint8_t* area = (uint8_t*)mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return "no memory";
    mprotect(area + room, page, PROT_NONE);
    uint8_t* shared = area + room - (sharedBytes + 127) / 128 * 128;

    kernel = &k;
    arguments = cells;
    failure.clear();
    std::mt19937_64 random(seed);
    for (size_t i = threads; i < fibres.size(); i++)
        if (fibres[i].stack) munmap(fibres[i].stack, stackBytes);
    fibres.resize(threads);
    warps.resize(threads / 32);
    uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    // Blocks come in any order; a stride prime to their number visits each once.
    uint64_t start = seed ? random() % blocks : 0, stride = 1;
    if (seed && blocks > 2) {
        do stride = 1 + random() % (blocks - 1);
        while (std::gcd(stride, blocks) != 1);
    }
    for (uint64_t i = 0; i < blocks && failure.empty(); i++) {
        uint64_t b = (start + i * stride) % blocks;
        std::memset(shared, 0xff, sharedBytes);
        for (int t = 0; t < threads; t++) {
            Thread& th = fibres[t];
            th = Thread{t, {(int)(b % grid[0]), (int)(b / grid[0] % grid[1]), (int)(b / grid[0] / grid[1])}, threads,
                        {grid[0], grid[1], grid[2]}, shared};
        }
        try {
            runBlock(random, seed != 0);
        } catch (const std::exception& e) {
            failure = e.what();
        }
    }
    munmap(area, room + page);
    return failure.empty() ? "" : std::string(k.name) + ": " + failure;
}

// Memory.

struct Allocation {
    uint64_t bytes;
    uint8_t* area;
    size_t mapped;
};
static std::map<uint8_t*, Allocation> allocations;
static std::mutex memory;

void* allocate(uint64_t bytes) {
    size_t page = sysconf(_SC_PAGESIZE), padded = (bytes + 15) / 16 * 16, room = (padded + page - 1) / page * page;
    uint8_t* area = (uint8_t*)mmap(nullptr, room + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return nullptr;
    mprotect(area, page, PROT_NONE);
    mprotect(area + page + room, page, PROT_NONE);
    uint8_t* p = area + page + room - padded;
    std::memset(area + page, 0xff, room);
    std::lock_guard<std::mutex> lock(memory);
    allocations[p] = {bytes, area, room + 2 * page};
    return p;
}

std::string release(void* p) {
    std::lock_guard<std::mutex> lock(memory);
    auto it = allocations.find((uint8_t*)p);
    if (it == allocations.end()) return "an address that was not allocated";
    Allocation a = it->second;
    allocations.erase(it);
    std::string wrong;
    size_t page = sysconf(_SC_PAGESIZE);
    for (uint8_t* q = a.area + page; q < (uint8_t*)p; q++)
        if (*q != 0xff) wrong = "written before the start of an allocation of " + std::to_string(a.bytes) + " bytes";
    for (uint8_t* q = (uint8_t*)p + a.bytes; q < a.area + a.mapped - page; q++)
        if (*q != 0xff) wrong = "written past the end of an allocation of " + std::to_string(a.bytes) + " bytes";
    munmap(a.area, a.mapped);
    return wrong;
}

bool within(const void* p, uint64_t bytes) {
    std::lock_guard<std::mutex> lock(memory);
    auto it = allocations.upper_bound((uint8_t*)p);
    if (it == allocations.begin()) return false;
    --it;
    uint64_t at = (uint8_t*)p - it->first;
    return at <= it->second.bytes && bytes <= it->second.bytes - at;
}

} // namespace emu
