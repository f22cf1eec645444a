// A driver without a device: libcuda.so.1 for tests. Kernels run in the emulation (kernels/emu), under the names that PTX
// gives them. Where the driver API leaves a choice, the least convenient is taken: see ../fakecuda.go for what that means and
// for the environment variables.
#pragma once
#include <cuda.h>
#include <pthread.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "emu/src/emu.h"

namespace fake {

struct Context;
struct Stream;
struct Capture;

// What a stream or a graph does. It runs at some time after it was submitted; errors are the context's.
using Action = std::function<void(Context&)>;

struct Op {
    Stream* stream;
    Action run;
    std::vector<std::shared_ptr<Op>> after; // in other streams
    bool done = false;
    double at = 0; // when it ran, in milliseconds
    int asked = 0; // how often its end was asked for
};
using Work = std::shared_ptr<Op>;

struct Node {
    std::string what;
    Action run;
    std::vector<Node*> after;
};

struct Graph {
    Context* context;
    std::vector<std::shared_ptr<Node>> nodes;
};

struct Exec {
    Context* context;
    std::vector<std::shared_ptr<Node>> nodes;
    Work last; // launches of one executable graph are in order
};

struct Capture {
    Stream* origin;
    Graph* graph;
    CUstreamCaptureMode mode;
    pthread_t thread;
    bool invalid = false;
    std::set<Stream*> streams;
};

struct Stream {
    Context* context;
    unsigned flags = 0; // the default stream is blocking, too
    int priority = 0;
    std::deque<Work> queue;
    Work last;
    Capture* capture = nullptr;
    std::vector<Node*> tail; // of the capture
    bool blocking() const { return !(flags & CU_STREAM_NON_BLOCKING); }
};

struct Event {
    Context* context;
    unsigned flags;
    Work record; // null: never recorded
    Capture* capture = nullptr;
    std::vector<Node*> tail;
};

struct Entry { // of a module
    std::string name;
    const emu::Kernel* kernel; // null: the emulation has none
    std::string why;           // it has none
    int maxThreads;
};

struct Module;
struct Function {
    Module* module;
    Entry entry;
    int maxShared = 48 << 10;
};

struct Module {
    Context* context;
    std::map<std::string, Entry> entries;
    std::map<std::string, Function*> functions;
};

struct Link {
    Context* context;
    std::string ptx, cubin;
    char* log = nullptr;
    size_t logSize = 0;
    // The caller's options, which must stay as they are.
    CUjit_option* options = nullptr;
    void** values = nullptr;
    std::vector<CUjit_option> optionsThen;
    std::vector<void*> valuesThen;
};

enum class Kind { device, pinned, registered };
struct Block {
    uint64_t bytes;
    Kind kind;
    Context* context;
};

struct Device {
    int ordinal;
    int major = 9, minor = 0;
    uint64_t memory = 1ull << 30, used = 0;
    uint64_t launches = 0;
    int64_t lostAfter = -1; // launches; -1: never
    CUresult lostCode = CUDA_ERROR_ILLEGAL_ADDRESS;
    Context* primary = nullptr;
    int retained = 0;
    unsigned flags = 0;
};

struct Context {
    Device* device;
    unsigned flags = 0;
    bool dead = false;
    CUresult sticky = CUDA_SUCCESS;
    Stream legacy;
    std::vector<Stream*> streams; // all with work, also the destroyed
    std::map<CUlimit, size_t> limits;
    void fail(CUresult code, const std::string& text);
};

// Objects are never freed, so that no handle is given out twice: a stale one is always noticed.
template <class T> struct Table {
    std::set<T*> live;
    T* add(const T& t) { return *live.insert(new T(t)).first; }
    template <class H> T* find(H handle) const {
        T* t = (T*)handle;
        return live.count(t) ? t : nullptr;
    }
};

struct Fault {
    std::string call;
    int after; // so many calls from now it fails: 1 is the next
    CUresult code;
};

// The driver.
struct State {
    bool initialised = false;
    // Configuration.
    int driver = 12040;
    uint64_t seed = 0;
    bool dry = false; // nothing is computed or copied: device memory is addresses, and what comes from it is 0
    std::vector<Fault> faults;

    std::deque<Device> devices;
    Table<Context> contexts;
    Table<Stream> streams;
    Table<Event> events;
    Table<Graph> graphs;
    Table<Exec> execs;
    Table<Module> modules;
    Table<Function> functions;
    Table<Link> links;
    Table<Capture> captures;
    std::map<uint64_t, Block> blocks;

    std::map<std::string, int64_t> calls;
    std::deque<std::string> log;
    std::string lastError;
    uint64_t random = 0;
};
extern State state;
extern std::recursive_mutex lock; // of state

// Every function of the driver begins with one of these. ANYWHERE: before cuInit, too. INITIALISED: needs no context.
// CURRENT: needs one that is current on this thread and in order.
enum Need { needNothing, needInit, needContext };
CUresult enter(const char* call, Need need);
#define FAKE_ENTER(need)                                  \
    std::lock_guard<std::recursive_mutex> guard(fake::lock); \
    if (CUresult r = fake::enter(__func__, need)) return r
#define ANYWHERE FAKE_ENTER(fake::needNothing)
#define INITIALISED FAKE_ENTER(fake::needInit)
#define CURRENT FAKE_ENTER(fake::needContext)

void note(const char* format, ...) __attribute__((format(printf, 1, 2))); // adds to the call's line in the log
CUresult refuse(CUresult code, const std::string& why);                  // remembers why
Context* here();                                                         // the current context
std::vector<Context*>& currents();                                      // of this thread, the current one last
void configure();                                                        // from the environment

uint64_t below(uint64_t n); // a random number

// Streams.
Stream* streamOf(CUstream handle); // null: it is none of the current context
CUresult submit(Stream* s, const char* what, Action run, Work* work = nullptr, std::vector<Work> after = {});
void finish(Work w);
void finishAll(Context* c);
bool isDone(const Work& w);                // and brings it nearer each time
CUresult synchronise(Stream* s);
CUresult mayBlock(Context* c);             // calls that a capture forbids everywhere
CUresult notCaptured();                    // calls that a capture of this thread, or a global one, forbids
void destroy(Context* c);

// Memory.
const Block* blockAt(uint64_t address, uint64_t bytes, uint64_t* start = nullptr);
void releaseAll(Context* c);
int64_t countBlocks(Kind kind);

CUresult load(Context* c, const std::string& image, std::string* log, CUmodule* module);

} // namespace fake
