// Streams, events, captures and graphs.
#include <algorithm>
#include <chrono>

#include "fake.h"

using namespace fake;

namespace fake {

Stream* streamOf(CUstream handle) {
    if (handle == nullptr || handle == (CUstream)1) return &here()->legacy; // 1: CU_STREAM_LEGACY
    Stream* s = state.streams.find(handle);
    return s && s->context == here() ? s : nullptr;
}

static void invalidate(Capture* c) { c->invalid = true; }

// submit puts work on a stream, or into the graph that is being captured from it.
CUresult submit(Stream* s, const char* what, Action run, Work* work, std::vector<Work> after) {
    if (Capture* c = s->capture) {
        if (c->invalid) return refuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, what);
        auto node = std::make_shared<Node>(Node{what, run, s->tail});
        c->graph->nodes.push_back(node);
        s->tail = {node.get()};
        return CUDA_SUCCESS;
    }
    Context* context = s->context;
    if (s == &context->legacy)
        for (Capture* c : state.captures.live)
            if (c->origin->context == context && c->origin->blocking()) {
                invalidate(c);
                return refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, what);
            }
    auto w = std::make_shared<Op>(Op{s, run, after});
    // The default stream waits for the blocking streams, and they for it.
    if (s == &context->legacy) {
        for (Stream* other : context->streams)
            if (other != s && other->blocking() && other->last) w->after.push_back(other->last);
    } else if (s->blocking() && context->legacy.last) {
        w->after.push_back(context->legacy.last);
    }
    s->queue.push_back(w);
    s->last = w;
    if (work) *work = w;
    return CUDA_SUCCESS;
}

// The scheduler. With the seed 0 nothing runs before it must, and of streams that must all run the youngest runs first. Other
// seeds let other work run ahead now and then.

static void open(const Work& head, std::vector<Work>& waiting) {
    for (auto& a : head->after)
        if (!a->done) waiting.push_back(a);
}
// next is what w has to wait for, or w: it can run now.
static Work next(Work w) {
    for (;;) {
        w = w->stream->queue.front();
        std::vector<Work> waiting;
        open(w, waiting);
        if (waiting.empty()) return w;
        w = waiting[state.seed ? below(waiting.size()) : waiting.size() - 1];
    }
}
// heads are those that can run now, in the order of their streams.
static std::vector<Work> heads(Context* only) {
    std::vector<Work> all;
    for (Context* c : state.contexts.live) {
        if (only && c != only) continue;
        for (Stream* s : c->streams) {
            std::vector<Work> waiting;
            if (s->queue.empty()) continue;
            open(s->queue.front(), waiting);
            if (waiting.empty()) all.push_back(s->queue.front());
        }
    }
    return all;
}
static void step(Work w) {
    Context* c = w->stream->context;
    w->stream->queue.pop_front();
    if (c->sticky == CUDA_SUCCESS && w->run) w->run(*c);
    w->at = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
    w->done = true;
    w->run = nullptr;
    w->after.clear();
}

void finish(Work w) {
    while (!w->done) {
        auto some = state.seed && below(3) == 0 ? heads(nullptr) : std::vector<Work>{};
        step(some.empty() ? next(w) : some[below(some.size())]);
    }
}
void finishAll(Context* c) {
    for (;;) {
        bool left = false;
        for (auto s = c->streams.rbegin(); s != c->streams.rend() && !left; ++s) left = !(*s)->queue.empty();
        if (!left) break;
        auto some = heads(c);
        if (some.empty()) { // all of it waits for another context
            for (Stream* s : c->streams)
                if (!s->queue.empty()) step(next(s->queue.front()));
            continue;
        }
        step(some[state.seed ? below(some.size()) : some.size() - 1]);
    }
    std::erase_if(c->streams, [c](Stream* s) { return s != &c->legacy && !state.streams.find(s) && s->queue.empty(); });
}

// isDone answers no at first; who keeps asking sees progress.
bool isDone(const Work& w) {
    if (!w->done && ++w->asked > 1) step(next(w));
    return w->done;
}

CUresult synchronise(Stream* s) {
    if (s->capture) {
        invalidate(s->capture);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stream is being captured");
    }
    // The default stream is as old as all work before it on the blocking streams.
    if (s == &s->context->legacy) {
        Work w;
        if (CUresult r = submit(s, "synchronise", nullptr, &w)) return r;
        finish(w);
    } else if (s->last) {
        finish(s->last);
    }
    return s->context->sticky;
}

CUresult mayBlock(Context* c) {
    CUresult r = CUDA_SUCCESS;
    for (Capture* x : state.captures.live)
        if (x->origin->context == c) {
            invalidate(x);
            r = refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a stream of the context is being captured");
        }
    return r;
}

CUresult notCaptured() {
    for (Capture* x : state.captures.live) {
        bool mine = pthread_equal(x->thread, pthread_self());
        if (x->mode == CU_STREAM_CAPTURE_MODE_RELAXED || (x->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && !mine)) continue;
        invalidate(x);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "not permitted during a capture");
    }
    return CUDA_SUCCESS;
}

} // namespace fake

#define STREAM_OR_REFUSE(s, handle)      \
    Stream* s = streamOf(handle);        \
    if (!s) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a stream of the current context")
#define EVENT_OR_REFUSE(e, handle)             \
    Event* e = state.events.find(handle);      \
    if (!e || e->context != here()) return refuse(CUDA_ERROR_INVALID_HANDLE, "not an event of the current context")

// runGraph runs nodes in an order that respects what each comes after.
static void runGraph(Context& c, const std::vector<std::shared_ptr<Node>>& nodes) {
    std::set<Node*> done;
    while (done.size() < nodes.size() && c.sticky == CUDA_SUCCESS) {
        std::vector<Node*> can;
        for (auto& n : nodes)
            if (!done.count(n.get()) && std::all_of(n->after.begin(), n->after.end(), [&](Node* a) { return done.count(a); }))
                can.push_back(n.get());
        Node* n = can[state.seed ? below(can.size()) : can.size() - 1];
        if (n->run) n->run(c);
        done.insert(n);
    }
}

static void leave(Capture* c) {
    for (Stream* s : c->streams) s->capture = nullptr, s->tail.clear();
    for (Event* e : state.events.live)
        if (e->capture == c) e->capture = nullptr, e->tail.clear();
    state.captures.live.erase(c);
}

extern "C" {

CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned int flags, int priority) {
    CURRENT;
    if (flags & ~(unsigned)CU_STREAM_NON_BLOCKING) return refuse(CUDA_ERROR_INVALID_VALUE, "flags");
    Stream* s = state.streams.add({});
    s->context = here();
    s->flags = flags;
    s->priority = std::clamp(priority, -5, 0);
    here()->streams.push_back(s);
    *stream = (CUstream)s;
    return CUDA_SUCCESS;
}
CUresult cuStreamCreate(CUstream* stream, unsigned int flags) {
    CURRENT;
    if (flags & ~(unsigned)CU_STREAM_NON_BLOCKING) return refuse(CUDA_ERROR_INVALID_VALUE, "flags");
    Stream* s = state.streams.add({});
    s->context = here();
    s->flags = flags;
    here()->streams.push_back(s);
    *stream = (CUstream)s;
    return CUDA_SUCCESS;
}
// What is on the stream still runs, some time.
CUresult cuStreamDestroy(CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    if (s == &here()->legacy) return refuse(CUDA_ERROR_INVALID_HANDLE, "the default stream");
    if (s->capture) {
        invalidate(s->capture);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stream is being captured");
    }
    state.streams.live.erase(s);
    if (s->queue.empty()) std::erase(here()->streams, s);
    return CUDA_SUCCESS;
}
CUresult cuStreamGetPriority(CUstream stream, int* priority) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    *priority = s->priority;
    return CUDA_SUCCESS;
}
CUresult cuStreamGetFlags(CUstream stream, unsigned int* flags) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    *flags = s->flags;
    return CUDA_SUCCESS;
}
CUresult cuStreamQuery(CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    if (s->capture) {
        invalidate(s->capture);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stream is being captured");
    }
    if (CUresult r = notCaptured()) return r;
    bool done = !s->last || isDone(s->last);
    if (CUresult r = here()->sticky) return r;
    return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
CUresult cuStreamSynchronize(CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    if (!s->capture)
        if (CUresult r = notCaptured()) return r;
    return synchronise(s);
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    Event* e = state.events.find(event);
    if (!e) return refuse(CUDA_ERROR_INVALID_HANDLE, "not an event");
    if (e->capture) {
        if (s->capture && s->capture != e->capture) {
            invalidate(s->capture), invalidate(e->capture);
            return refuse(CUDA_ERROR_STREAM_CAPTURE_MERGE, "two captures");
        }
        if (!s->capture) { // the stream joins
            s->capture = e->capture;
            s->capture->streams.insert(s);
        }
        s->tail.insert(s->tail.end(), e->tail.begin(), e->tail.end());
        return CUDA_SUCCESS;
    }
    if (s->capture) {
        if (!e->record || e->record->done) return CUDA_SUCCESS;
        invalidate(s->capture);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "the event was recorded outside of the capture");
    }
    if (!e->record || e->record->done) return CUDA_SUCCESS;
    return submit(s, "wait", nullptr, nullptr, {e->record});
}

CUresult cuEventCreate(CUevent* event, unsigned int flags) {
    CURRENT;
    note("%u", flags);
    if (flags & ~3u) return refuse(CUDA_ERROR_INVALID_VALUE, "flags");
    *event = (CUevent)state.events.add({here(), flags});
    return CUDA_SUCCESS;
}
CUresult cuEventDestroy(CUevent event) {
    CURRENT;
    EVENT_OR_REFUSE(e, event);
    state.events.live.erase(e);
    return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
    CURRENT;
    EVENT_OR_REFUSE(e, event);
    STREAM_OR_REFUSE(s, stream);
    e->capture = s->capture;
    e->tail = s->tail;
    if (s->capture) return CUDA_SUCCESS;
    return submit(s, "record", nullptr, &e->record);
}
CUresult cuEventQuery(CUevent event) {
    CURRENT;
    EVENT_OR_REFUSE(e, event);
    if (e->capture) {
        invalidate(e->capture);
        return refuse(CUDA_ERROR_CAPTURED_EVENT, "recorded in a capture");
    }
    if (CUresult r = notCaptured()) return r;
    bool done = !e->record || isDone(e->record);
    if (CUresult r = here()->sticky) return r;
    return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
CUresult cuEventSynchronize(CUevent event) {
    CURRENT;
    EVENT_OR_REFUSE(e, event);
    if (e->capture) {
        invalidate(e->capture);
        return refuse(CUDA_ERROR_CAPTURED_EVENT, "recorded in a capture");
    }
    if (CUresult r = notCaptured()) return r;
    if (e->record) finish(e->record);
    return here()->sticky;
}
CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
    CURRENT;
    EVENT_OR_REFUSE(a, start);
    EVENT_OR_REFUSE(b, end);
    if (!a->record || !b->record || (a->flags | b->flags) & CU_EVENT_DISABLE_TIMING)
        return refuse(CUDA_ERROR_INVALID_HANDLE, "not recorded, or without timing");
    if (!a->record->done || !b->record->done) return CUDA_ERROR_NOT_READY;
    *milliseconds = (float)(b->record->at - a->record->at);
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    if (s == &here()->legacy) return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream");
    if (s->capture) return refuse(CUDA_ERROR_ILLEGAL_STATE, "the stream is being captured");
    Capture* c = state.captures.add({s, new Graph{here(), {}}, mode, pthread_self()});
    c->streams = {s};
    s->capture = c;
    s->tail.clear();
    return CUDA_SUCCESS;
}
CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    *status = !s->capture            ? CU_STREAM_CAPTURE_STATUS_NONE
              : s->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                    : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    CURRENT;
    *graph = nullptr;
    STREAM_OR_REFUSE(s, stream);
    Capture* c = s->capture;
    if (!c) return refuse(CUDA_ERROR_ILLEGAL_STATE, "the stream is not being captured");
    if (c->origin != s) {
        invalidate(c);
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "the capture began on another stream");
    }
    if (c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && !pthread_equal(c->thread, pthread_self()))
        return refuse(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "the capture began on another thread");
    // Whatever another stream did last must come before the end of the origin.
    std::set<Node*> reached;
    std::vector<Node*> open = s->tail;
    while (!open.empty()) {
        Node* n = open.back();
        open.pop_back();
        if (reached.insert(n).second) open.insert(open.end(), n->after.begin(), n->after.end());
    }
    bool joined = true, valid = !c->invalid;
    for (Stream* other : c->streams)
        for (Node* n : other->tail) joined = joined && reached.count(n);
    Graph* g = c->graph;
    leave(c);
    if (!valid) return refuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "something not permitted was called during the capture");
    if (!joined) return refuse(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "work of another stream was not waited for");
    state.graphs.live.insert(g);
    *graph = (CUgraph)g;
    return CUDA_SUCCESS;
}

CUresult cuGraphCreate(CUgraph* graph, unsigned int) {
    CURRENT;
    *graph = (CUgraph)state.graphs.add({here(), {}});
    return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph graph) {
    CURRENT;
    Graph* g = state.graphs.find(graph);
    if (!g) return refuse(CUDA_ERROR_INVALID_VALUE, "not a graph");
    state.graphs.live.erase(g);
    return CUDA_SUCCESS;
}
CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode* nodes, size_t* n) {
    CURRENT;
    Graph* g = state.graphs.find(graph);
    if (!g) return refuse(CUDA_ERROR_INVALID_VALUE, "not a graph");
    if (nodes)
        for (size_t i = 0; i < *n && i < g->nodes.size(); i++) nodes[i] = (CUgraphNode)g->nodes[i].get();
    *n = nodes ? std::min(*n, g->nodes.size()) : g->nodes.size();
    return CUDA_SUCCESS;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long) {
    CURRENT;
    Graph* g = state.graphs.find(graph);
    if (!g) return refuse(CUDA_ERROR_INVALID_VALUE, "not a graph");
    *exec = (CUgraphExec)state.execs.add({here(), g->nodes, nullptr});
    return CUDA_SUCCESS;
}
CUresult cuGraphUpload(CUgraphExec exec, CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    (void)s;
    return state.execs.find(exec) ? CUDA_SUCCESS : refuse(CUDA_ERROR_INVALID_VALUE, "not an executable graph");
}
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    Exec* x = state.execs.find(exec);
    if (!x || x->context != here()) return refuse(CUDA_ERROR_INVALID_VALUE, "not an executable graph of the current context");
    note("%zu nodes", x->nodes.size());
    auto nodes = x->nodes;
    return submit(s, "graph", [nodes](Context& c) { runGraph(c, nodes); }, &x->last,
                  x->last ? std::vector<Work>{x->last} : std::vector<Work>{});
}
// What was launched still runs.
CUresult cuGraphExecDestroy(CUgraphExec exec) {
    CURRENT;
    Exec* x = state.execs.find(exec);
    if (!x) return refuse(CUDA_ERROR_INVALID_VALUE, "not an executable graph");
    state.execs.live.erase(x);
    return CUDA_SUCCESS;
}
}
