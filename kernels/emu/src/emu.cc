#include "emu.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <vector>

#include "races.h"

namespace emu {

Thread* self;

static std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}
void enroll(const Kernel& k) {
    if (kernels().emplace(k.name, k).second) return;
    fprintf(stderr, "two kernels are called %s\n", k.name);
    abort();
}
const Kernel* find(const std::string& name) {
    auto it = kernels().find(name);
    return it == kernels().end() ? nullptr : &it->second;
}

// Pages.

static size_t wholePages(size_t bytes) {
    static const size_t page = sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

// map returns bytes, whole pages, between two guards; null: no memory. Guards are wide, so that large strides do not leap over
// them: they cost addresses only.
const size_t guardBytes = 1 << 20;
static uint8_t* map(size_t bytes) {
    void* got = mmap(nullptr, bytes + 2 * guardBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) return nullptr;
    uint8_t* area = (uint8_t*)got;
    if (bytes && mprotect(area + guardBytes, bytes, PROT_READ | PROT_WRITE)) {
        munmap(area, bytes + 2 * guardBytes);
        return nullptr;
    }
    return area + guardBytes;
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

enum State { running, atBarrier, atExchange, done };

struct Copy { // asynchronous
    void* dst;
    const void* src;
    int bytes;
    bool ok;
    uint64_t began; // for races.h
};

struct Fibre : Thread {
    Context context;
    uint8_t* stack = nullptr; // kept from launch to launch
    State state;
    int line;                   // of the barrier
    std::vector<Copy> copies;   // in order, until they are waited for
    std::vector<size_t> groups; // that were committed: where in copies each ends
};

const int maxThreads = 1024; // of a block
const int maxWords = std::max(mmaWords, ldMatrixWords);

struct Warp {
    int arrived = 0, generation = 0, words = 0, line = 0;
    const char* what = nullptr;
    uint32_t slots[2][32 * maxWords];
};

struct Random { // splitmix64
    uint64_t state;
    uint64_t below(uint64_t n) {
        uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return (unsigned __int128)(z ^ z >> 31) * n >> 64;
    }
};

// Ring holds threads, each once at most.
struct Ring {
    int16_t threads[maxThreads];
    unsigned first = 0, count = 0;
    int16_t& at(unsigned i) { return threads[(first + i) % maxThreads]; }
    void add(int thread) { at(count++) = (int16_t)thread; }
    int take(unsigned i) {
        std::swap(at(0), at(i));
        int thread = at(0);
        first++, count--;
        return thread;
    }
};

static std::mutex launching;
static Context scheduler;
static std::vector<Fibre> fibres; // as many as any launch had threads; they stay where they are
static int threadsOfBlock;
static Ring readies; // threads that can go on
static Random order;
static bool ascending; // instead
static std::vector<Warp> warps;
static const Kernel* kernel;
static const uint64_t* arguments;
static uint8_t* sharedMemory;
static int64_t sharedSize;
static Outcome failure;

static Fibre& current() { return *static_cast<Fibre*>(self); }
// proceed goes on with a thread that can, if there is one, and until then with the scheduler.
static void proceed(Context& from) {
    if (!readies.count || failure.trouble != Trouble::none) return from.to(scheduler);
    Fibre& f = fibres[readies.take(ascending ? 0 : order.below(readies.count))];
    f.state = running;
    self = &f;
    from.to(f.context);
}
// Inlined nowhere: processors foresee where the next thread returns to if the last one came from the same place.
[[gnu::noinline]] static void yield(State s) {
    Fibre& f = current();
    f.state = s;
    proceed(f.context);
}

static void record(Trouble trouble, const std::string& why) {
    if (failure.trouble == Trouble::none) failure = {trouble, why};
}
[[noreturn]] static void fail(Trouble trouble, const std::string& why) {
    char where[96];
    snprintf(where, sizeof where, " (block %d,%d,%d, thread %d)", self->block[0], self->block[1], self->block[2], self->thread);
    record(trouble, why + where);
    for (;;) yield(done); // the scheduler abandons the launch
}
void fail(const std::string& why) { fail(Trouble::wrong, why); }

void barrier(int line) {
    current().line = line;
    yield(atBarrier);
    races::passedSync();
}
void passedSyncWarp() { races::passedSyncWarp(); }

[[noreturn]] static void different(const Warp& w, const char* what, int line) {
    fail("lanes of one warp are in different warp-wide functions: " + std::string(w.what) + " of line " + std::to_string(w.line) +
         ", " + what + " of line " + std::to_string(line));
}

const uint32_t* exchange(const char* what, int line, const uint32_t* words, int n, void (*together)(uint32_t*)) {
    Fibre& f = current();
    Warp& w = warps[f.thread / 32];
    uint32_t* slots = w.slots[w.generation & 1];
    if (w.arrived == 0) w.words = n, w.what = what, w.line = line;
    if (w.line != line || (w.what != what && strcmp(w.what, what))) different(w, what, line);
    uint32_t* own = slots + f.thread % 32 * n;
    for (int i = 0; i < n; i++) own[i] = words[i];
    if (++w.arrived < 32) {
        yield(atExchange);
    } else {
        if (together) together(slots);
        w.arrived = 0;
        w.generation++;
        for (int i = f.thread & ~31; i <= (f.thread | 31); i++)
            if (i != f.thread) readies.add(i);
    }
    return slots;
}

void mustBeShared(const char* what, const void* p, int bytes) {
    auto at = (const uint8_t*)p;
    if (at < sharedMemory || at + bytes > sharedMemory + sharedSize)
        fail(Trouble::address, std::string(what) + ": not in shared memory");
    if ((uintptr_t)p % bytes)
        fail(Trouble::misaligned, std::string(what) + ": address not aligned to " + std::to_string(bytes));
}

void copyLater(void* dst, const void* src, int bytes, bool ok) {
    mustBeShared("cpAsync", dst, bytes);
    if (ok) {
        if ((uintptr_t)src % bytes) fail(Trouble::misaligned, "cpAsync: source not aligned to " + std::to_string(bytes));
        (void)*(const volatile uint8_t*)src; // if it cannot be read, that shows here and not at the wait
    }
    std::memset(dst, 0xff, bytes);
    current().copies.push_back({dst, src, bytes, ok, races::beginCopy(dst, src, bytes, ok, __builtin_return_address(0))});
}
void commitCopies() { current().groups.push_back(current().copies.size()); }
void waitCopies(int pending) {
    auto& copies = current().copies;
    auto& groups = current().groups;
    int over = (int)groups.size() - pending;
    if (over <= 0) return;
    size_t end = groups[over - 1];
    for (size_t i = 0; i < end; i++) {
        const Copy& c = copies[i];
        races::endCopy(c.dst, c.src, c.bytes, c.ok, __builtin_return_address(0), c.began);
        if (c.ok)
            std::memcpy(c.dst, c.src, c.bytes);
        else
            std::memset(c.dst, 0, c.bytes);
    }
    copies.erase(copies.begin(), copies.begin() + end);
    groups.erase(groups.begin(), groups.begin() + over);
    for (size_t& g : groups) g -= end;
}

// Faults. While a kernel runs, a signal that its thread causes becomes a failure of the launch; every other one goes to the
// handler that was there before (in a Go program, Go's own).

static std::atomic<bool> inKernel;
static pthread_t runner;
static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE};
static struct sigaction before[3];
static int faultSignal;
static uintptr_t faultAddress, faultCode;

static void faulted() {
    std::string where;
    Dl_info info;
    char text[64];
    if (dladdr((void*)faultCode, &info)) {
        snprintf(text, sizeof text, ", code +0x%zx", (size_t)(faultCode - (uintptr_t)info.dli_fbase));
        where = text;
    }
    Fibre& f = current();
    if (faultSignal == SIGFPE) fail(Trouble::wrong, "division by zero" + where);
    if (faultAddress - (uintptr_t)(f.stack - guardBytes) < guardBytes) fail(Trouble::wrong, "too much on the stack" + where);
    snprintf(text, sizeof text, "access outside of all memory at 0x%zx", (size_t)faultAddress);
    fail(Trouble::address, text + where);
}

static void onFault(int signal, siginfo_t* info, void* context) {
    if (inKernel && pthread_equal(runner, pthread_self())) {
        // The fibre goes on in faulted, on its stack's upper end, which nobody needs any more.
        auto& machine = ((ucontext_t*)context)->uc_mcontext;
        uintptr_t top = (uintptr_t)current().stack + stackBytes;
        faultSignal = signal;
        faultAddress = (uintptr_t)info->si_addr;
#if defined __x86_64__
        faultCode = machine.gregs[REG_RIP];
        machine.gregs[REG_RIP] = (greg_t)(uintptr_t)faulted;
        machine.gregs[REG_RSP] = top - 8;
        return;
#elif defined __aarch64__
        faultCode = machine.pc;
        machine.pc = (uintptr_t)faulted;
        machine.sp = top;
        return;
#endif
    }
    for (int i = 0; i < 3; i++) {
        if (faults[i] != signal) continue;
        if (before[i].sa_flags & SA_SIGINFO)
            before[i].sa_sigaction(signal, info, context);
        else if (before[i].sa_handler != SIG_DFL && before[i].sa_handler != SIG_IGN)
            before[i].sa_handler(signal);
        else
            sigaction(signal, &before[i], nullptr); // and it happens again
    }
}

static void catchFaults() {
    struct sigaction act{};
    act.sa_sigaction = onFault;
    act.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&act.sa_mask);
    for (int i = 0; i < 3; i++) sigaction(faults[i], &act, &before[i]);
}

// AlternateStack is what onFault runs on in a thread that has none of its own (Go's threads do): the fibre's may be full.
struct AlternateStack {
    stack_t before;
    AlternateStack() {
        static uint8_t area[1 << 16]; // one launch runs at a time
        stack_t own{};
        own.ss_sp = area;
        own.ss_size = sizeof area;
        sigaltstack(nullptr, &before);
        if (before.ss_flags & SS_DISABLE) sigaltstack(&own, nullptr);
    }
    ~AlternateStack() {
        if (before.ss_flags & SS_DISABLE) sigaltstack(&before, nullptr);
    }
};

// Blocks.

static void enter() {
    kernel->call(arguments);
    for (;;) yield(done);
}

static void runBlock() {
    int n = threadsOfBlock;
    for (auto& w : warps) w.arrived = w.generation = 0;
    readies.count = 0;
    for (int i = 0; i < n; i++) {
        Fibre& f = fibres[i];
        // Not all at the same place in their pages, for which a cache has little room.
        f.context.make(f.stack, stackBytes - i % 32 * 128, enter);
        f.copies.clear();
        f.groups.clear();
        readies.add(i);
    }
    for (;;) {
        inKernel = true;
        proceed(scheduler);
        inKernel = false;
        if (failure.trouble != Trouble::none) return;
        int finished = 0, waiting = 0;
        for (int i = 0; i < n; i++) finished += fibres[i].state == done, waiting += fibres[i].state == atBarrier;
        if (finished == n) return;
        if (waiting < n)
            return record(Trouble::wrong, "deadlock: " + std::to_string(waiting) + " threads in sync(), " +
                                              std::to_string(n - waiting - finished) + " in a warp-wide function, " +
                                              std::to_string(finished) + " returned");
        for (int i = 0; i < n; i++) {
            if (fibres[i].line != fibres[0].line)
                return record(Trouble::wrong, "threads of one block are in different sync(): thread 0 in line " +
                                                  std::to_string(fibres[0].line) + ", thread " + std::to_string(i) +
                                                  " in line " + std::to_string(fibres[i].line));
            readies.add(i);
        }
    }
}

Outcome check(const Kernel&, const int64_t grid[3], int64_t threads, int64_t sharedBytes) {
    if (threads < 32 || threads > maxThreads || threads % 32)
        return {Trouble::refused, "blocks of " + std::to_string(threads) + " threads"};
    for (int d = 0; d < 3; d++)
        if (grid[d] < 1 || grid[d] > (d == 0 ? INT32_MAX : 65535))
            return {Trouble::refused, "grid of " + std::to_string(grid[d]) + " blocks in dimension " + std::to_string(d)};
    if (sharedBytes < 0 || sharedBytes > 227 << 10)
        return {Trouble::refused, std::to_string(sharedBytes) + " bytes of shared memory"};
    return {};
}

static bool untouched(const uint8_t* from, const uint8_t* to) {
    while (from < to && *from == 0xff) from++;
    return from == to;
}

Outcome launch(const Kernel& k, const int64_t grid[3], int64_t threads, int64_t sharedBytes, const uint64_t* cells,
               uint64_t seed) {
    Outcome o = check(k, grid, threads, sharedBytes);
    if (o.trouble != Trouble::none) return {o.trouble, std::string(k.name) + ": " + o.text};
    std::lock_guard<std::mutex> lock(launching);
    static std::once_flag once;
    std::call_once(once, catchFaults);
    AlternateStack alternate;
    fibres.reserve(maxThreads);
    while ((int64_t)fibres.size() < threads) {
        Fibre f;
        if (!(f.stack = map(stackBytes))) return {Trouble::refused, "no memory for stacks"};
        fibres.push_back(f);
    }
    // Shared memory ends at a guard, or less than its alignment before one.
    size_t room = wholePages(sharedBytes), padded = (sharedBytes + 127) / 128 * 128;
    uint8_t* area = map(room);
    if (!area) return {Trouble::refused, "no memory"};
    sharedMemory = area + room - padded;
    sharedSize = sharedBytes;

    kernel = &k;
    arguments = cells;
    failure = {};
    runner = pthread_self();
    threadsOfBlock = threads;
    warps.resize(threads / 32);
    order = Random{seed};
    ascending = !seed;
    // Blocks come in any order; a stride prime to their number visits each once.
    uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2], b = 0, stride = 1;
    if (seed && blocks > 2) {
        b = order.below(blocks);
        do stride = 1 + order.below(blocks - 1);
        while (std::gcd(stride, blocks) != 1);
    }
    races::beginLaunch((int)threads, sharedMemory, sharedBytes);
    for (uint64_t i = 0; i < blocks && failure.trouble == Trouble::none; i++) {
        std::memset(area, 0xff, room);
        races::beginBlock();
        for (int t = 0; t < threads; t++) {
            Thread& th = fibres[t];
            th = Thread{t, {(int)(b % grid[0]), (int)(b / grid[0] % grid[1]), (int)(b / grid[0] / grid[1])}, (int)threads,
                        {(int)grid[0], (int)grid[1], (int)grid[2]}, sharedMemory};
        }
        runBlock();
        if (!untouched(area, sharedMemory) || !untouched(sharedMemory + sharedBytes, area + room))
            record(Trouble::address, "written beside the " + std::to_string(sharedBytes) + " bytes of shared memory");
        b = (b + stride) % blocks;
    }
    munmap(area - guardBytes, room + 2 * guardBytes);
    if (failure.trouble != Trouble::none) failure.text = std::string(k.name) + ": " + failure.text;
    return failure;
}

// Memory.

struct Allocation {
    uint64_t bytes;
    uint8_t* area;
    size_t room;
};
static std::map<uint8_t*, Allocation> allocations;
static std::deque<std::pair<uint8_t*, size_t>> released; // what can no longer be touched
static std::mutex memory;
const uint64_t maxReleased = 1ull << 36; // bytes of addresses
const size_t maxReleasedCount = 4096;
static uint64_t releasedBytes;

void* allocate(uint64_t bytes, uint64_t align) {
    if (bytes > 1ull << 44) return nullptr;
    uint64_t padded = (bytes + align - 1) / align * align;
    size_t room = wholePages(padded);
    uint8_t* area = map(room);
    if (!area) return nullptr;
    std::memset(area, 0xff, room);
    std::lock_guard<std::mutex> lock(memory);
    allocations[area + room - padded] = {bytes, area, room};
    races::watch(area + room - padded, bytes);
    return area + room - padded;
}

std::string release(void* p) {
    std::lock_guard<std::mutex> lock(memory);
    auto it = allocations.find((uint8_t*)p);
    if (it == allocations.end()) return "an address that was not allocated";
    Allocation a = it->second;
    allocations.erase(it);
    races::forget(p);
    std::string wrong;
    if (!untouched(a.area, (uint8_t*)p))
        wrong = "written before the start of an allocation of " + std::to_string(a.bytes) + " bytes";
    if (!untouched((uint8_t*)p + a.bytes, a.area + a.room))
        wrong = "written past the end of an allocation of " + std::to_string(a.bytes) + " bytes";
    // Replaced by addresses without memory, which are unmapped much later.
    uint8_t* all = a.area - guardBytes;
    size_t bytes = a.room + 2 * guardBytes;
    mmap(all, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    released.push_back({all, bytes});
    for (releasedBytes += bytes; releasedBytes > maxReleased || released.size() > maxReleasedCount; released.pop_front()) {
        munmap(released.front().first, released.front().second);
        releasedBytes -= released.front().second;
    }
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

// What g++'s checks in the kernels (-fsanitize=..., see emu.go) call.

struct Place {
    const char* file;
    uint32_t line, column;
};
[[noreturn]] static void broken(const Place* at, Trouble trouble, const char* what) {
    fail(trouble, std::string(what) + " in " + (at->file ? at->file : "?") + ":" + std::to_string(at->line));
}

} // namespace emu

#define CHECKED(name, trouble, what, ...)                                                                        \
    extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_##name(emu::Place* at, ##__VA_ARGS__) { \
        emu::broken(at, emu::Trouble::trouble, what);                                                            \
    }
CHECKED(type_mismatch_v1, misaligned, "misaligned or null address", uintptr_t)
CHECKED(out_of_bounds, wrong, "index out of an array's bounds", uintptr_t)
CHECKED(add_overflow, wrong, "integer overflow", uintptr_t, uintptr_t)
CHECKED(sub_overflow, wrong, "integer overflow", uintptr_t, uintptr_t)
CHECKED(mul_overflow, wrong, "integer overflow", uintptr_t, uintptr_t)
CHECKED(negate_overflow, wrong, "integer overflow", uintptr_t)
CHECKED(divrem_overflow, wrong, "division by zero, or overflow", uintptr_t, uintptr_t)
CHECKED(shift_out_of_bounds, wrong, "shift by too much", uintptr_t, uintptr_t)
