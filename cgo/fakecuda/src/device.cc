// Devices and contexts.
#include <algorithm>
#include <cstdio>

#include "fake.h"

using namespace fake;

static Device* deviceAt(CUdevice ordinal) {
    return ordinal >= 0 && ordinal < (int)state.devices.size() ? &state.devices[ordinal] : nullptr;
}
#define DEVICE_OR_REFUSE(d, ordinal)     \
    Device* d = deviceAt(ordinal);       \
    if (!d) return refuse(CUDA_ERROR_INVALID_DEVICE, "no device " + std::to_string(ordinal))

static Context* create(Device* d, unsigned flags) {
    Context* c = state.contexts.add({});
    c->device = d;
    c->flags = flags;
    c->legacy.context = c;
    c->streams = {&c->legacy};
    return c;
}

namespace fake {
void destroy(Context* c) {
    c->dead = true;
    for (Stream* s : c->streams) {
        for (auto& w : s->queue) w->done = true;
        s->queue.clear();
    }
    c->streams.clear();
    auto sweep = [c](auto& table) { std::erase_if(table.live, [c](auto* x) { return x->context == c; }); };
    sweep(state.streams), sweep(state.events), sweep(state.graphs), sweep(state.execs), sweep(state.links);
    std::erase_if(state.functions.live, [c](Function* f) { return f->module->context == c; });
    std::erase_if(state.captures.live, [c](Capture* x) { return x->origin->context == c; });
    sweep(state.modules);
    releaseAll(c);
    for (auto& d : state.devices)
        if (d.primary == c) d.primary = nullptr, d.retained = 0;
}
} // namespace fake

extern "C" {

CUresult cuDeviceGetCount(int* count) {
    INITIALISED;
    *count = state.devices.size();
    return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, ordinal);
    *device = d->ordinal;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    (void)d;
    snprintf(name, length, "Fake H200 (no GPU)");
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    for (int i = 0; i < 16; i++) uuid->bytes[i] = (char)(0xf0 + i);
    uuid->bytes[15] = (char)d->ordinal;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    snprintf(id, length, "0000:%02X:00.0", d->ordinal + 1);
    return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem(size_t* bytes, CUdevice device) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    *bytes = d->memory;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
#define A(name) CU_DEVICE_ATTRIBUTE_##name
    const std::map<int, int> h200 = {
        {A(MAX_THREADS_PER_BLOCK), 1024}, {A(MAX_BLOCK_DIM_X), 1024}, {A(MAX_BLOCK_DIM_Y), 1024}, {A(MAX_BLOCK_DIM_Z), 64},
        {A(MAX_GRID_DIM_X), INT32_MAX}, {A(MAX_GRID_DIM_Y), 65535}, {A(MAX_GRID_DIM_Z), 65535},
        {A(MAX_SHARED_MEMORY_PER_BLOCK), 48 << 10}, {A(MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), 227 << 10},
        {A(MAX_SHARED_MEMORY_PER_MULTIPROCESSOR), 228 << 10}, {A(RESERVED_SHARED_MEMORY_PER_BLOCK), 1 << 10},
        {A(TOTAL_CONSTANT_MEMORY), 64 << 10}, {A(WARP_SIZE), 32}, {A(MAX_PITCH), INT32_MAX},
        {A(MAX_REGISTERS_PER_BLOCK), 65536}, {A(MAX_REGISTERS_PER_MULTIPROCESSOR), 65536},
        {A(CLOCK_RATE), 1980000}, {A(MEMORY_CLOCK_RATE), 3201000}, {A(GLOBAL_MEMORY_BUS_WIDTH), 6144}, // kHz, kHz, bits
        {A(MULTIPROCESSOR_COUNT), 132}, {A(MAX_THREADS_PER_MULTIPROCESSOR), 2048}, {A(MAX_BLOCKS_PER_MULTIPROCESSOR), 32},
        {A(L2_CACHE_SIZE), 50 << 20}, {A(MAX_PERSISTING_L2_CACHE_SIZE), 32 << 20},
        {A(MAX_ACCESS_POLICY_WINDOW_SIZE), 128 << 20},
        {A(TEXTURE_ALIGNMENT), 512}, {A(ASYNC_ENGINE_COUNT), 3}, {A(GPU_OVERLAP), 1}, {A(CONCURRENT_KERNELS), 1},
        {A(CAN_MAP_HOST_MEMORY), 1}, {A(UNIFIED_ADDRESSING), 1}, {A(ECC_ENABLED), 1}, {A(STREAM_PRIORITIES_SUPPORTED), 1},
        {A(MEMORY_POOLS_SUPPORTED), 1},
        {A(COMPUTE_CAPABILITY_MAJOR), d->major}, {A(COMPUTE_CAPABILITY_MINOR), d->minor},
        {A(PCI_BUS_ID), d->ordinal + 1},
    };
#undef A
    auto it = h200.find(attribute);
    *value = it == h200.end() ? 0 : it->second;
    return CUDA_SUCCESS;
}
CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    DEVICE_OR_REFUSE(p, peer);
    *can = 0;
    (void)d, (void)p;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    if (!d->primary) d->primary = create(d, d->flags);
    d->retained++;
    *context = (CUcontext)d->primary;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    if (!d->retained) return refuse(CUDA_ERROR_INVALID_CONTEXT, "the primary context was not retained");
    if (--d->retained == 0) destroy(d->primary);
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    if (flags & ~(unsigned)CU_CTX_FLAGS_MASK) return refuse(CUDA_ERROR_INVALID_VALUE, "flags");
    d->flags = flags;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    *flags = d->flags;
    *active = d->primary != nullptr;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxReset(CUdevice device) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    if (d->primary) destroy(d->primary);
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate(CUcontext* context, unsigned int flags, CUdevice device) {
    INITIALISED;
    DEVICE_OR_REFUSE(d, device);
    Context* c = create(d, flags);
    currents().push_back(c);
    *context = (CUcontext)c;
    return CUDA_SUCCESS;
}
CUresult cuCtxDestroy(CUcontext context) {
    INITIALISED;
    Context* c = state.contexts.find(context);
    if (!c || c->dead || c->device->primary == c) return refuse(CUDA_ERROR_INVALID_CONTEXT, "no context to destroy");
    destroy(c);
    if (here() == c) currents().pop_back();
    return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent(CUcontext context) {
    INITIALISED;
    Context* c = state.contexts.find(context);
    if (!c) return refuse(CUDA_ERROR_INVALID_CONTEXT, "not a context");
    if (c->dead) return refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "destroyed");
    currents().push_back(c);
    return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent(CUcontext* context) {
    INITIALISED;
    if (!here()) return refuse(CUDA_ERROR_INVALID_CONTEXT, "none is current");
    if (context) *context = (CUcontext)here();
    currents().pop_back();
    return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext context) {
    INITIALISED;
    Context* c = state.contexts.find(context);
    if (context && !c) return refuse(CUDA_ERROR_INVALID_CONTEXT, "not a context");
    if (c && c->dead) return refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "destroyed");
    if (here()) currents().pop_back();
    if (c) currents().push_back(c);
    return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext* context) {
    INITIALISED;
    *context = (CUcontext)here();
    return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* device) {
    CURRENT;
    *device = here()->device->ordinal;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetFlags(unsigned int* flags) {
    CURRENT;
    *flags = here()->flags;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetApiVersion(CUcontext, unsigned int* version) {
    INITIALISED;
    *version = 3020;
    return CUDA_SUCCESS;
}
CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
    CURRENT;
    here()->limits[limit] = value;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetLimit(size_t* value, CUlimit limit) {
    CURRENT;
    *value = here()->limits[limit];
    return CUDA_SUCCESS;
}
CUresult cuCtxSetCacheConfig(CUfunc_cache) {
    CURRENT;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetCacheConfig(CUfunc_cache* config) {
    CURRENT;
    *config = CU_FUNC_CACHE_PREFER_NONE;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    CURRENT;
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
}
CUresult cuCtxResetPersistingL2Cache(void) {
    CURRENT;
    return CUDA_SUCCESS;
}
CUresult cuCtxSynchronize(void) {
    CURRENT;
    if (CUresult r = mayBlock(here())) return r;
    finishAll(here());
    return here()->sticky;
}
}
