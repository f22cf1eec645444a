// The emulation as a process: it is asked on standard input and answers on standard output (emu.go is the other end).
// Requests begin with a letter: a(llocate), f(ree), w(rite), r(ead), l(aunch). Answers begin with a status byte: 0 and what
// was asked for, 1 and a message (uint32 length, bytes), or 2, a message, and the end: a kernel has gone astray, and what this
// process holds cannot be trusted. Numbers are little-endian uint64.
#include "emu.h"

#include <unistd.h>

#include <vector>

static void get(void* p, size_t n) {
    for (uint8_t* q = (uint8_t*)p; n > 0;) {
        ssize_t k = read(0, q, n);
        if (k <= 0) _exit(0);
        q += k;
        n -= k;
    }
}
static void put(const void* p, size_t n) {
    for (const uint8_t* q = (const uint8_t*)p; n > 0;) {
        ssize_t k = write(1, q, n);
        if (k <= 0) _exit(0);
        q += k;
        n -= k;
    }
}
static uint64_t number() {
    uint64_t v;
    get(&v, sizeof v);
    return v;
}
static void answer(const std::string& wrong, uint8_t status = 1) {
    if (wrong.empty()) status = 0;
    put(&status, 1);
    if (!status) return;
    uint32_t n = wrong.size();
    put(&n, sizeof n);
    put(wrong.data(), n);
}

const unsigned longest = 600; // seconds that a launch may take: then SIGALRM ends the process

int main() {
    for (;;) {
        char what;
        get(&what, 1);
        switch (what) {
        case 'a': {
            void* p = emu::allocate(number());
            answer(p ? "" : "out of memory");
            uint64_t at = (uint64_t)(uintptr_t)p;
            if (p) put(&at, sizeof at);
            break;
        }
        case 'f':
            answer(emu::release((void*)(uintptr_t)number()));
            break;
        case 'w': {
            uint64_t p = number(), n = number();
            bool ok = emu::within((void*)(uintptr_t)p, n);
            std::vector<uint8_t> skipped(ok ? 0 : n);
            get(ok ? (void*)(uintptr_t)p : skipped.data(), n);
            answer(ok ? "" : "write outside of an allocation");
            break;
        }
        case 'r': {
            uint64_t p = number(), n = number();
            bool ok = emu::within((void*)(uintptr_t)p, n);
            answer(ok ? "" : "read outside of an allocation");
            if (ok) put((void*)(uintptr_t)p, n);
            break;
        }
        case 'l': {
            std::string name(number(), 0);
            get(name.data(), name.size());
            int64_t grid[3];
            for (int64_t& g : grid) g = (int64_t)number();
            int64_t threads = (int64_t)number(), shared = (int64_t)number();
            uint64_t seed = number();
            std::vector<uint64_t> cells(number());
            for (auto& c : cells) c = number();
            const emu::Kernel* k = emu::find(name);
            if (!k) {
                answer("no kernel " + name);
            } else if (k->kinds.size() != cells.size()) {
                answer(name + ": " + std::to_string(cells.size()) + " parameters, want " + std::to_string(k->kinds.size()));
            } else {
                alarm(longest);
                emu::Outcome o = emu::launch(*k, grid, threads, shared, cells.data(), seed);
                alarm(0);
                bool astray = o.trouble == emu::Trouble::address || o.trouble == emu::Trouble::misaligned;
                answer(o.text, astray ? 2 : 1);
                if (astray) return 1;
            }
            break;
        }
        default:
            answer("unknown request");
            return 1;
        }
    }
}
