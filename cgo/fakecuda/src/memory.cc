// Memory, copies and fills.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "fake.h"

using namespace fake;

namespace fake {

const Block* blockAt(uint64_t address, uint64_t bytes, uint64_t* start) {
    auto it = state.blocks.upper_bound(address);
    if (it == state.blocks.begin()) return nullptr;
    --it;
    uint64_t at = address - it->first;
    if (at > it->second.bytes || bytes > it->second.bytes - at) return nullptr;
    if (start) *start = it->first;
    return &it->second;
}

int64_t countBlocks(Kind kind) {
    return std::count_if(state.blocks.begin(), state.blocks.end(), [kind](auto& b) { return b.second.kind == kind; });
}

// Addresses of a dry driver's device memory, which nobody can touch.
static void* reserve(uint64_t bytes) {
    void* p = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? nullptr : p;
}

// forget gives memory back; it returns what was found written beside it.
static std::string forget(std::map<uint64_t, Block>::iterator it) {
    std::string wrong;
    void* p = (void*)(uintptr_t)it->first;
    if (it->second.kind == Kind::device) it->second.context->device->used -= it->second.bytes;
    if (state.dry && it->second.kind == Kind::device)
        munmap(p, it->second.bytes);
    else if (it->second.kind != Kind::registered)
        wrong = emu::release(p);
    state.blocks.erase(it);
    return wrong;
}

void releaseAll(Context* c) {
    for (auto it = state.blocks.begin(); it != state.blocks.end();) {
        auto next = std::next(it);
        if (it->second.context == c) forget(it);
        it = next;
    }
}

} // namespace fake

static CUresult allocate(uint64_t* address, uint64_t bytes, Kind kind) {
    Context* c = here();
    note("%llu", (unsigned long long)bytes);
    if (!bytes) return refuse(CUDA_ERROR_INVALID_VALUE, "0 bytes");
    Device* d = c->device;
    if (kind == Kind::device && (bytes > d->memory || d->used > d->memory - bytes))
        return refuse(CUDA_ERROR_OUT_OF_MEMORY,
                      std::to_string(d->used) + " of " + std::to_string(d->memory) + " bytes are in use");
    void* p = state.dry && kind == Kind::device ? reserve(bytes) : emu::allocate(bytes, 256);
    if (!p) return refuse(CUDA_ERROR_OUT_OF_MEMORY, "this machine has no more memory");
    if (kind == Kind::device) d->used += bytes;
    *address = (uint64_t)(uintptr_t)p;
    state.blocks[*address] = {bytes, kind, c};
    return CUDA_SUCCESS;
}

static CUresult release(uint64_t address, Kind kind) {
    if (!address) return CUDA_SUCCESS;
    auto it = state.blocks.find(address);
    if (it == state.blocks.end() || it->second.kind != kind)
        return refuse(CUDA_ERROR_INVALID_VALUE, "not the start of such memory");
    // As real drivers do: nothing that is under way loses its memory.
    finishAll(it->second.context);
    if (CUresult r = here()->sticky) return r;
    it = state.blocks.find(address);
    if (it == state.blocks.end()) return refuse(CUDA_ERROR_INVALID_VALUE, "freed already (cuMemFreeAsync)");
    std::string wrong = forget(it);
    if (wrong.empty()) return CUDA_SUCCESS;
    here()->fail(CUDA_ERROR_ILLEGAL_ADDRESS, wrong);
    return here()->sticky;
}

// A copy's ends. Host memory that is not pinned cannot be checked.
static CUresult mustBeDevice(uint64_t address, uint64_t bytes) {
    const Block* b = blockAt(address, bytes);
    return b ? CUDA_SUCCESS : refuse(CUDA_ERROR_INVALID_VALUE, "an address range that is not the device's");
}
static CUresult mustBeHost(const void* p, uint64_t bytes) {
    const Block* b = blockAt((uint64_t)(uintptr_t)p, bytes);
    if (!p || (b && b->kind == Kind::device)) return refuse(CUDA_ERROR_INVALID_VALUE, "an address that is not the host's");
    return CUDA_SUCCESS;
}
static bool pinned(const void* p, uint64_t bytes) {
    const Block* b = blockAt((uint64_t)(uintptr_t)p, bytes);
    return b && b->kind != Kind::device;
}

// An End of a copy or fill that runs later, when the device's memory may be gone (cuMemFreeAsync).
struct End {
    void* p;
    bool known;
    End(const void* p, uint64_t bytes) : p((void*)p), known(blockAt((uint64_t)(uintptr_t)p, bytes)) {}
    bool gone(Context& c, uint64_t bytes) const {
        if (!known || blockAt((uint64_t)(uintptr_t)p, bytes)) return false;
        c.fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a copy of, or to, memory that was freed");
        return true;
    }
};

static CUresult copy(Stream* s, const char* what, const void* to, const void* from, uint64_t bytes) {
    End t(to, bytes), f(from, bytes);
    return submit(s, what, [=](Context& c) {
        if (t.gone(c, bytes) || f.gone(c, bytes)) return;
        const Block* b = state.dry ? blockAt((uint64_t)(uintptr_t)t.p, bytes) : nullptr;
        if (!state.dry)
            memmove(t.p, f.p, bytes);
        else if (!b || b->kind != Kind::device)
            memset(t.p, 0, bytes);
    });
}

// The four directions, on a stream. A copy from pageable memory takes its bytes at once, from pinned memory when it runs; a
// captured one always when it runs.
static CUresult hostToDevice(Stream* s, CUdeviceptr to, const void* from, size_t bytes) {
    note("%zu", bytes);
    if (!bytes) return CUDA_SUCCESS;
    if (CUresult r = mustBeDevice(to, bytes)) return r;
    if (CUresult r = mustBeHost(from, bytes)) return r;
    if (pinned(from, bytes) || s->capture) return copy(s, "copy to the device", (void*)to, from, bytes);
    auto staged = std::make_shared<std::vector<uint8_t>>((const uint8_t*)from, (const uint8_t*)from + bytes);
    End t((void*)to, bytes);
    return submit(s, "copy to the device", [=](Context& c) {
        if (!t.gone(c, bytes) && !state.dry) memcpy(t.p, staged->data(), bytes);
    });
}
static CUresult deviceToHost(Stream* s, void* to, CUdeviceptr from, size_t bytes) {
    note("%zu", bytes);
    if (!bytes) return CUDA_SUCCESS;
    if (CUresult r = mustBeDevice(from, bytes)) return r;
    if (CUresult r = mustBeHost(to, bytes)) return r;
    return copy(s, "copy to the host", to, (const void*)from, bytes);
}
static CUresult deviceToDevice(Stream* s, CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    note("%zu", bytes);
    if (!bytes) return CUDA_SUCCESS;
    if (CUresult r = mustBeDevice(to, bytes)) return r;
    if (CUresult r = mustBeDevice(from, bytes)) return r;
    return copy(s, "copy on the device", (void*)to, (const void*)from, bytes);
}
static CUresult any(Stream* s, CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    bool there = blockAt(to, bytes), here = blockAt(from, bytes);
    if (there && here) return deviceToDevice(s, to, from, bytes);
    if (there) return hostToDevice(s, to, (const void*)from, bytes);
    return deviceToHost(s, (void*)to, from, bytes);
}

template <class T> static CUresult fill(Stream* s, CUdeviceptr to, T value, size_t n) {
    note("%zu", n * sizeof(T));
    if (!n) return CUDA_SUCCESS;
    if (to % sizeof(T)) return refuse(CUDA_ERROR_INVALID_VALUE, "misaligned");
    if (CUresult r = mustBeDevice(to, n * sizeof(T))) return r;
    End t((void*)to, n * sizeof(T));
    return submit(s, "fill", [=](Context& c) {
        if (!t.gone(c, n * sizeof(T)) && !state.dry) std::fill_n((T*)t.p, n, value);
    });
}

#define STREAM_OR_REFUSE(s, handle)      \
    Stream* s = streamOf(handle);        \
    if (!s) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a stream of the current context")

// legacy is the default stream, for the calls that name none: they may not come during a capture.
#define LEGACY(s)                                    \
    if (CUresult r = notCaptured()) return r;        \
    Stream* s = &here()->legacy

extern "C" {

CUresult cuMemGetInfo(size_t* available, size_t* total) {
    CURRENT;
    const Device* d = here()->device;
    *total = d->memory;
    *available = d->memory - std::min(d->memory, d->used);
    return CUDA_SUCCESS;
}
CUresult cuMemAlloc(CUdeviceptr* address, size_t bytes) {
    CURRENT;
    if (CUresult r = notCaptured()) return r;
    uint64_t p;
    if (CUresult r = allocate(&p, bytes, Kind::device)) return r;
    *address = p;
    return CUDA_SUCCESS;
}
CUresult cuMemFree(CUdeviceptr address) {
    CURRENT;
    if (CUresult r = notCaptured()) return r;
    return release(address, Kind::device);
}
CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    if (s->capture) return refuse(CUDA_ERROR_NOT_SUPPORTED, "the fake's graphs do not allocate");
    uint64_t p;
    if (CUresult r = allocate(&p, bytes, Kind::device)) return r;
    *address = p;
    return CUDA_SUCCESS;
}
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    if (s->capture) return refuse(CUDA_ERROR_NOT_SUPPORTED, "the fake's graphs do not free");
    auto it = state.blocks.find(address);
    if (it == state.blocks.end() || it->second.kind != Kind::device)
        return refuse(CUDA_ERROR_INVALID_VALUE, "not the start of memory");
    return submit(s, "free", [address](Context& c) {
        auto it = state.blocks.find(address);
        std::string wrong = it == state.blocks.end() ? "memory was freed twice" : forget(it);
        if (!wrong.empty()) c.fail(CUDA_ERROR_ILLEGAL_ADDRESS, wrong);
    });
}
CUresult cuMemHostAlloc(void** host, size_t bytes, unsigned int flags) {
    CURRENT;
    if (CUresult r = notCaptured()) return r;
    if (flags & ~7u) return refuse(CUDA_ERROR_INVALID_VALUE, "flags");
    uint64_t p;
    if (CUresult r = allocate(&p, bytes, Kind::pinned)) return r;
    *host = (void*)(uintptr_t)p;
    return CUDA_SUCCESS;
}
CUresult cuMemAllocHost(void** host, size_t bytes) {
    CURRENT;
    if (CUresult r = notCaptured()) return r;
    uint64_t p;
    if (CUresult r = allocate(&p, bytes, Kind::pinned)) return r;
    *host = (void*)(uintptr_t)p;
    return CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void* host) {
    CURRENT;
    if (CUresult r = notCaptured()) return r;
    return release((uint64_t)(uintptr_t)host, Kind::pinned);
}
CUresult cuMemHostRegister(void* host, size_t bytes, unsigned int) {
    CURRENT;
    uint64_t p = (uint64_t)(uintptr_t)host;
    if (!p || !bytes) return refuse(CUDA_ERROR_INVALID_VALUE, "nothing to register");
    if (blockAt(p, 1)) return refuse(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "");
    state.blocks[p] = {bytes, Kind::registered, here()};
    return CUDA_SUCCESS;
}
CUresult cuMemHostUnregister(void* host) {
    CURRENT;
    uint64_t p = (uint64_t)(uintptr_t)host;
    auto it = state.blocks.find(p);
    if (it == state.blocks.end() || it->second.kind != Kind::registered)
        return refuse(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "");
    return release(p, Kind::registered);
}
CUresult cuMemHostGetDevicePointer(CUdeviceptr* address, void* host, unsigned int) {
    CURRENT;
    if (!pinned(host, 1)) return refuse(CUDA_ERROR_INVALID_VALUE, "not pinned");
    *address = (CUdeviceptr)(uintptr_t)host;
    return CUDA_SUCCESS;
}
CUresult cuMemGetAddressRange(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
    CURRENT;
    uint64_t start = 0;
    const Block* b = blockAt(address, 1, &start);
    if (!b) return refuse(CUDA_ERROR_NOT_FOUND, "not the device's");
    if (base) *base = start;
    if (bytes) *bytes = b->bytes;
    return CUDA_SUCCESS;
}
CUresult cuPointerGetAttribute(void* value, CUpointer_attribute attribute, CUdeviceptr address) {
    CURRENT;
    const Block* b = blockAt(address, 1);
    if (!b) return refuse(CUDA_ERROR_INVALID_VALUE, "an address that the driver does not know");
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext*)value = (CUcontext)b->context; break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned*)value = b->kind == Kind::device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr*)value = address; break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (b->kind == Kind::device) return refuse(CUDA_ERROR_INVALID_VALUE, "memory of the device");
        *(void**)value = (void*)(uintptr_t)address;
        break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(unsigned*)value = 0; break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int*)value = b->context->device->ordinal; break;
    default: return refuse(CUDA_ERROR_NOT_SUPPORTED, "the fake lacks this");
    }
    return CUDA_SUCCESS;
}

// Without "Async": a copy to the host has been made when the call returns. One to the device has left the host's memory but
// may not have arrived, and copies and fills on the device have perhaps not begun: other work on the default stream, and on
// the streams that it blocks, comes after it; work on a non-blocking stream may not.
CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
    CURRENT;
    LEGACY(s);
    if (CUresult r = synchronise(s)) return r;
    if (CUresult r = hostToDevice(s, to, from, bytes)) return r;
    return pinned(from, bytes) ? synchronise(s) : CUDA_SUCCESS;
}
CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
    CURRENT;
    LEGACY(s);
    if (CUresult r = deviceToHost(s, to, from, bytes)) return r;
    return synchronise(s);
}
CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    CURRENT;
    LEGACY(s);
    return deviceToDevice(s, to, from, bytes);
}
CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    CURRENT;
    LEGACY(s);
    if (CUresult r = any(s, to, from, bytes)) return r;
    return blockAt(to, bytes) ? CUDA_SUCCESS : synchronise(s);
}
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    return hostToDevice(s, to, from, bytes);
}
CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    return deviceToHost(s, to, from, bytes);
}
CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    return deviceToDevice(s, to, from, bytes);
}
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    CURRENT;
    STREAM_OR_REFUSE(s, stream);
    return any(s, to, from, bytes);
}

#define FILL(name, type)                                                         \
    CUresult name(CUdeviceptr to, type value, size_t n) {                        \
        CURRENT;                                                                 \
        LEGACY(s);                                                               \
        return fill<type>(s, to, value, n);                                      \
    }
#define FILL_ASYNC(name, type)                                                   \
    CUresult name(CUdeviceptr to, type value, size_t n, CUstream stream) {       \
        CURRENT;                                                                 \
        STREAM_OR_REFUSE(s, stream);                                             \
        return fill<type>(s, to, value, n);                                      \
    }
FILL(cuMemsetD8, unsigned char)
FILL(cuMemsetD16, unsigned short)
FILL(cuMemsetD32, unsigned int)
FILL_ASYNC(cuMemsetD8Async, unsigned char)
FILL_ASYNC(cuMemsetD16Async, unsigned short)
FILL_ASYNC(cuMemsetD32Async, unsigned int)
}
