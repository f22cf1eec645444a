// The emulation as a process: it is asked on standard input and answers on standard output (emu.go is the other end).
// Requests begin with a letter: a(llocate), f(ree), w(rite), r(ead), l(aunch). Answers begin with a status byte: 0 and what
// was asked for, or 1 and a message (uint32 length, bytes). Numbers are little-endian uint64.
#include "emu.h"

#include <signal.h>
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
static void answer(const std::string& wrong) {
    uint8_t status = !wrong.empty();
    put(&status, 1);
    if (!status) return;
    uint32_t n = wrong.size();
    put(&n, sizeof n);
    put(wrong.data(), n);
}

static std::string inKernel;

static void segv(int, siginfo_t* info, void*) {
    char at[32];
    snprintf(at, sizeof at, "%p", info->si_addr);
    answer(inKernel + ": access outside of every allocation at " + at + " (block " + std::to_string(emu::self->block[0]) + "," +
           std::to_string(emu::self->block[1]) + "," + std::to_string(emu::self->block[2]) + ", thread " +
           std::to_string(emu::self->thread) + ")");
    _exit(1);
}

int main() {
    static uint8_t alternate[1 << 16];
    stack_t ss{};
    ss.ss_sp = alternate;
    ss.ss_size = sizeof alternate;
    sigaltstack(&ss, nullptr);
    struct sigaction act{};
    act.sa_sigaction = segv;
    act.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &act, nullptr);
    sigaction(SIGBUS, &act, nullptr);
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
            int grid[3];
            for (int& g : grid) g = (int)number();
            int threads = (int)number(), shared = (int)number();
            uint64_t seed = number();
            std::vector<uint64_t> cells(number());
            for (auto& c : cells) c = number();
            const emu::Kernel* k = emu::find(name);
            if (!k) {
                answer("no kernel " + name);
            } else if (k->args != (int)cells.size()) {
                answer(name + ": " + std::to_string(cells.size()) + " parameters, want " + std::to_string(k->args));
            } else {
                inKernel = name;
                answer(emu::launch(*k, grid, threads, shared, cells.data(), seed));
            }
            break;
        }
        default:
            answer("unknown request");
            return 1;
        }
    }
}
