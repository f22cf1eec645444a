// What all functions begin with, the configuration, and what tests ask for beside the driver API (f2fake_...).
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "fake.h"

namespace fake {

State state;
std::recursive_mutex lock;

std::vector<Context*>& currents() {
    static thread_local std::vector<Context*> stack;
    return stack;
}
Context* here() { return currents().empty() ? nullptr : currents().back(); }

uint64_t below(uint64_t n) { // splitmix64
    uint64_t z = state.random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % n;
}

const size_t longestLog = 100000;

CUresult enter(const char* call, Need need) {
    state.calls[call]++;
    state.log.push_back(call);
    if (state.log.size() > longestLog) state.log.pop_front();
    for (auto f = state.faults.begin(); f != state.faults.end(); ++f) {
        if (f->call != call || --f->after > 0) continue;
        CUresult code = f->code;
        state.faults.erase(f);
        return refuse(code, "injected");
    }
    if (need == needNothing) return CUDA_SUCCESS;
    if (!state.initialised) return refuse(CUDA_ERROR_NOT_INITIALIZED, "cuInit was not called");
    if (need == needInit) return CUDA_SUCCESS;
    Context* c = here();
    if (!c) return refuse(CUDA_ERROR_INVALID_CONTEXT, "no context is current on this thread");
    if (c->dead) return refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "the current context was destroyed");
    return c->sticky; // whose text is the last error already
}

void note(const char* format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!state.log.empty()) state.log.back() += std::string(" ") + text;
}

CUresult refuse(CUresult code, const std::string& why) {
    state.lastError = why;
    if (!state.log.empty()) state.lastError = state.log.back() + ": " + why;
    return code;
}

void Context::fail(CUresult code, const std::string& text) {
    if (sticky != CUDA_SUCCESS) return;
    sticky = code;
    state.lastError = text;
}

static void addFaults(const std::string& spec) {
    std::stringstream all(spec);
    for (std::string one; std::getline(all, one, ',');) {
        char call[128];
        int after, code;
        if (sscanf(one.c_str(), "%127[^:]:%d:%d", call, &after, &code) == 3)
            state.faults.push_back({call, after, (CUresult)code});
    }
}

static std::string variable(const char* name) {
    const char* v = getenv(name);
    return v ? v : "";
}

// each gives every device its part of a list, and those beyond its end the last.
static void each(const std::string& list, const std::function<void(Device&, const std::string&)>& give) {
    if (list.empty()) return;
    std::stringstream all(list);
    std::string one;
    for (auto& d : state.devices) {
        std::getline(all, one, ',');
        give(d, one);
    }
}

void configure() {
    State fresh;
    fresh.initialised = state.initialised;
    fresh.contexts = state.contexts; // stay known, as destroyed ones
    state = fresh;
    std::string v;
    int devices = 1;
    if (!(v = variable("F2PAD_FAKE_DEVICES")).empty()) devices = atoi(v.c_str());
    for (int i = 0; i < devices; i++) {
        Device d;
        d.ordinal = i;
        state.devices.push_back(d);
    }
    each(variable("F2PAD_FAKE_MEMORY"), [](Device& d, const std::string& v) { d.memory = strtoull(v.c_str(), nullptr, 10); });
    if (!(v = variable("F2PAD_FAKE_SEED")).empty()) state.random = state.seed = strtoull(v.c_str(), nullptr, 10);
    state.dry = variable("F2PAD_FAKE_DRY") == "1";
    if (!(v = variable("F2PAD_FAKE_DRIVER")).empty()) state.driver = atoi(v.c_str());
    each(variable("F2PAD_FAKE_CAPABILITY"), [](Device& d, const std::string& v) { sscanf(v.c_str(), "%d.%d", &d.major, &d.minor); });
    each(variable("F2PAD_FAKE_LOST"), [](Device& d, const std::string& v) {
        long long after;
        int code;
        if (sscanf(v.c_str(), "%lld:%d", &after, &code) != 2) return;
        d.lostAfter = after;
        d.lostCode = (CUresult)code;
    });
    addFaults(variable("F2PAD_FAKE_FAIL"));
}

} // namespace fake

using namespace fake;

extern "C" {

CUresult cuInit(unsigned int flags) {
    ANYWHERE;
    if (flags) return refuse(CUDA_ERROR_INVALID_VALUE, "flags");
    if (state.initialised) return CUDA_SUCCESS;
    configure();
    if (state.devices.empty()) return refuse(CUDA_ERROR_NO_DEVICE, "F2PAD_FAKE_DEVICES is 0");
    for (auto f = state.faults.begin(); f != state.faults.end(); ++f)
        if (f->call == "cuInit") return f->code;
    state.initialised = true;
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* version) {
    ANYWHERE;
    if (!state.initialised) configure();
    *version = state.driver;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** name) {
    switch (error) {
#define X(code, value, text) \
    case code: *name = #code; return CUDA_SUCCESS;
#include "cuda_errors.h"
#undef X
    }
    *name = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char** text) {
    switch (error) {
#define X(code, value, words) \
    case code: *text = words; return CUDA_SUCCESS;
#include "cuda_errors.h"
#undef X
    }
    *text = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

// For tests in this process: ../control_cuda.go says what they do.

void f2fake_reset(void) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    for (Context* c : std::set<Context*>(state.contexts.live))
        if (!c->dead) destroy(c);
    configure();
}
void f2fake_fail(const char* spec) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    addFaults(spec);
}
void f2fake_lose(int64_t after, int code) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    for (auto& d : state.devices) {
        d.lostAfter = after < 0 ? -1 : (int64_t)d.launches + after;
        d.lostCode = (CUresult)code;
    }
}
void f2fake_memory(uint64_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    for (auto& d : state.devices) d.memory = bytes;
}
void f2fake_seed(uint64_t seed) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    state.random = state.seed = seed;
}
int64_t f2fake_live(const char* what) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    std::string w = what;
    if (w == "memory") return countBlocks(Kind::device);
    if (w == "pinned") return countBlocks(Kind::pinned) + countBlocks(Kind::registered);
    if (w == "module") return state.modules.live.size();
    if (w == "stream") return state.streams.live.size();
    if (w == "event") return state.events.live.size();
    if (w == "graph") return state.graphs.live.size();
    if (w == "exec") return state.execs.live.size();
    if (w == "link") return state.links.live.size();
    int64_t n = 0;
    if (w == "context")
        for (Context* c : state.contexts.live) n += !c->dead;
    else if (w == "bytes")
        for (auto& d : state.devices) n += d.used;
    else if (w == "pending")
        for (Context* c : state.contexts.live)
            for (Stream* s : c->streams) n += s->queue.size();
    else
        n = -1;
    return n;
}
int64_t f2fake_calls(const char* name) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto it = state.calls.find(name);
    return it == state.calls.end() ? 0 : it->second;
}
// The log, or the last error: as much as fits, and how long it is.
static size_t give(const std::string& text, char* to, size_t room) {
    size_t n = text.size() < room ? text.size() : room;
    memcpy(to, text.data(), n);
    return text.size();
}
size_t f2fake_log(char* to, size_t room) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    std::string all;
    for (auto& line : state.log) all += line + "\n";
    return give(all, to, room);
}
size_t f2fake_last_error(char* to, size_t room) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    return give(state.lastError, to, room);
}
}
