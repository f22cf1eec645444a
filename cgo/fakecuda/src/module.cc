// Modules, the linker, and launches.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <regex>
#include <sstream>

#include "fake.h"

using namespace fake;

// A "cubin" is a header and the PTX.
static const char magic[] = "\x7f" "F2FAKECUBIN";
struct CubinHeader {
    char magic[16];
    uint64_t bytes, sum;
};
static uint64_t sumOf(const char* p, size_t n) { // FNV-1a
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)p[i]) * 0x100000001b3;
    return h;
}
static std::string toCubin(const std::string& ptx) {
    CubinHeader h{};
    memcpy(h.magic, magic, sizeof magic);
    h.bytes = ptx.size(), h.sum = sumOf(ptx.data(), ptx.size());
    return std::string((const char*)&h, sizeof h) + ptx;
}

static std::string withoutComments(const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size();) {
        if (text.compare(i, 2, "//") == 0) {
            i = std::min(text.find('\n', i), text.size());
        } else if (text.compare(i, 2, "/*") == 0) {
            i = std::min(text.find("*/", i), text.size() - 2) + 2;
        } else {
            out += text[i++];
        }
    }
    return out;
}

// understand reads what PTX declares. It returns what is wrong with it in *why.
static CUresult understand(const std::string& text, std::map<std::string, Entry>& entries, std::string* why) {
    auto wrong = [&](CUresult code, const std::string& what) {
        *why = what;
        return code;
    };
    for (unsigned char c : text)
        if (c >= 0x7f || (c < ' ' && !strchr("\n\r\t", c)))
            return wrong(CUDA_ERROR_INVALID_PTX, "not text: is it ended by a 0?");
    std::string ptx = withoutComments(text);
    std::smatch m;
    if (!std::regex_search(ptx, m, std::regex(R"(^\s*\.version\s+(\d+)\.(\d+))")))
        return wrong(CUDA_ERROR_INVALID_PTX, "no .version");
    // CUDA 11.8 takes PTX up to 7.8, CUDA 12.4 up to 8.4.
    int version = std::stoi(m[1]) * 10 + std::stoi(m[2]), newest = (state.driver / 1000 - 4) * 10 + state.driver % 1000 / 10;
    if (version > newest) return wrong(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, ".version " + m[1].str() + "." + m[2].str());
    if (!std::regex_search(ptx, m, std::regex(R"(\.target\s+sm_(\d+)(a?))")))
        return wrong(CUDA_ERROR_INVALID_PTX, "no .target");
    int target = std::stoi(m[1]), own = here()->device->major * 10 + here()->device->minor;
    if (target > own || (m[2].length() && target != own))
        return wrong(CUDA_ERROR_NO_BINARY_FOR_GPU, ".target sm_" + m[1].str());
    if (!std::regex_search(ptx, std::regex(R"(\.address_size\s+64)")))
        return wrong(CUDA_ERROR_INVALID_PTX, "no .address_size 64");
    int depth = 0;
    for (char c : ptx) {
        depth += (c == '{') - (c == '}');
        if (depth < 0) break;
    }
    size_t last = ptx.find_last_not_of(" \t\r\n");
    if (depth || last == std::string::npos || !strchr("};", ptx[last]))
        return wrong(CUDA_ERROR_INVALID_PTX, "it ends too early");

    static const std::regex entry(R"(\.entry\s+([A-Za-z_$%][\w$]*)\s*(\(([^)]*)\))?([^{;]*)\{)");
    // Looked for by find, which is quicker by far.
    for (size_t at = ptx.find(".entry"); at != std::string::npos; at = ptx.find(".entry", at + 1)) {
        std::smatch is;
        if (!std::regex_search(ptx.cbegin() + at, ptx.cend(), is, entry, std::regex_constants::match_continuous)) continue;
        Entry e{is[1], emu::find(is[1]), "the emulation has no such kernel", 1024};
        std::string kinds;
        std::stringstream parameters(is[3].str());
        for (std::string p; std::getline(parameters, p, ',');)
            kinds += std::regex_search(p, m, std::regex(R"(\.[usbf](64|32)\b)")) ? (m[1] == "64" ? '8' : '4') : '?';
        if (e.kernel) {
            std::string own = e.kernel->kinds;
            std::replace(own.begin(), own.end(), 'p', '8');
            if (own != kinds) {
                e.why = "its parameters have " + kinds + " bytes, in the emulation " + own;
                e.kernel = nullptr;
            }
        }
        std::string directives = is[4];
        if (std::regex_search(directives, m, std::regex(R"(\.(max|req)ntid\s+(\d+)(\s*,\s*(\d+))?(\s*,\s*(\d+))?)"))) {
            e.maxThreads = std::stoi(m[2]);
            for (int i : {4, 6})
                if (m[i].length()) e.maxThreads *= std::stoi(m[i]);
        }
        entries[e.name] = e;
    }
    if (entries.empty()) return wrong(CUDA_ERROR_INVALID_PTX, "no .entry");
    return CUDA_SUCCESS;
}

// imageOf returns the PTX of an image in memory, which says itself where it ends.
static CUresult imageOf(const void* image, std::string* ptx) {
    if (!image) return refuse(CUDA_ERROR_INVALID_VALUE, "null");
    if (strncmp((const char*)image, magic, sizeof magic)) {
        if (*(const unsigned char*)image == 0x7f) return refuse(CUDA_ERROR_INVALID_IMAGE, "not a cubin of this driver");
        *ptx = (const char*)image;
        return CUDA_SUCCESS;
    }
    CubinHeader h;
    memcpy(&h, image, sizeof h);
    if (h.bytes > 1 << 28 || sumOf((const char*)image + sizeof h, h.bytes) != h.sum)
        return refuse(CUDA_ERROR_INVALID_IMAGE, "a damaged cubin");
    ptx->assign((const char*)image + sizeof h, h.bytes);
    return CUDA_SUCCESS;
}

static void writeLog(char* to, size_t room, const std::string& text) {
    if (to && room) {
        size_t n = std::min(room - 1, text.size());
        memcpy(to, text.data(), n);
        to[n] = 0;
    }
}
// errorLog finds where the caller wants to have errors written.
static void errorLog(unsigned n, const CUjit_option* options, void** values, char** log, size_t* room) {
    for (unsigned i = 0; i < n; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER) *log = (char*)values[i];
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) *room = (unsigned)(uintptr_t)values[i];
    }
}

static CUresult load(CUmodule* module, const void* image, unsigned n, CUjit_option* options, void** values) {
    if (CUresult r = notCaptured()) return r;
    std::string ptx, why;
    if (CUresult r = imageOf(image, &ptx)) return r;
    Module m{here(), {}, {}};
    if (CUresult r = understand(ptx, m.entries, &why)) {
        char* log = nullptr;
        size_t room = 0;
        errorLog(n, options, values, &log, &room);
        writeLog(log, room, why);
        return refuse(r, why);
    }
    *module = (CUmodule)state.modules.add(m);
    return CUDA_SUCCESS;
}

// run is a launch that was checked, when its time comes.
static void run(Context& c, const emu::Kernel* k, const int64_t (&grid)[3], int64_t threads, int64_t shared,
                const std::vector<uint64_t>& cells) {
    Device& d = *c.device;
    if (d.lostAfter >= 0 && (int64_t)d.launches >= d.lostAfter) return c.fail(d.lostCode, "the device is lost");
    d.launches++;
    for (size_t i = 0; i < cells.size(); i++) {
        if (k->kinds[i] != 'p' || !cells[i]) continue;
        const Block* b = blockAt(cells[i], 0);
        if (!b || (b->kind == Kind::device && b->context->device != c.device))
            return c.fail(CUDA_ERROR_ILLEGAL_ADDRESS, std::string(k->name) + ": parameter " + std::to_string(i) +
                                                          " is not an address of the device's memory");
    }
    if (state.dry) return;
    emu::Outcome o = emu::launch(*k, grid, threads, shared, cells.data(), state.seed ? 1 + below(1u << 31) : 0);
    switch (o.trouble) {
    case emu::Trouble::none: return;
    case emu::Trouble::address: return c.fail(CUDA_ERROR_ILLEGAL_ADDRESS, o.text);
    case emu::Trouble::misaligned: return c.fail(CUDA_ERROR_MISALIGNED_ADDRESS, o.text);
    default: return c.fail(CUDA_ERROR_LAUNCH_FAILED, o.text);
    }
}

static CUresult launch(CUfunction function, const unsigned (&g)[3], const unsigned (&b)[3], unsigned shared, CUstream stream,
                       void** params, void** extra) {
    Function* f = state.functions.find(function);
    if (!f || f->module->context != here()) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a function of the current context");
    Stream* s = streamOf(stream);
    if (!s) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a stream of the current context");
    note("%s grid %u,%u,%u block %u,%u,%u shared %u", f->entry.name.c_str(), g[0], g[1], g[2], b[0], b[1], b[2], shared);
    const emu::Kernel* k = f->entry.kernel;
    int64_t grid[3] = {g[0], g[1], g[2]}, threads = (int64_t)b[0] * b[1] * b[2];
    if (b[1] != 1 || b[2] != 1) return refuse(CUDA_ERROR_INVALID_VALUE, "the emulation's blocks are one-dimensional");
    if (threads > f->entry.maxThreads)
        return refuse(CUDA_ERROR_INVALID_VALUE, "made for blocks of at most " + std::to_string(f->entry.maxThreads) + " threads");
    if ((int64_t)shared > f->maxShared)
        return refuse(CUDA_ERROR_INVALID_VALUE, "blocks may have " + std::to_string(f->maxShared) + " bytes of shared memory");
    emu::Outcome o = emu::check(*k, grid, threads, shared);
    if (o.trouble != emu::Trouble::none) return refuse(CUDA_ERROR_INVALID_VALUE, o.text);
    if (extra || (!params && !k->kinds.empty())) return refuse(CUDA_ERROR_INVALID_VALUE, "no parameters");
    std::vector<uint64_t> cells(k->kinds.size());
    for (size_t i = 0; i < cells.size(); i++) memcpy(&cells[i], params[i], k->kinds[i] == '4' ? 4 : 8);
    std::array<int64_t, 3> copied = {grid[0], grid[1], grid[2]};
    return submit(s, k->name, [=](Context& c) {
        const int64_t grid[3] = {copied[0], copied[1], copied[2]};
        run(c, k, grid, threads, shared, cells);
    });
}

extern "C" {

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    CURRENT;
    return load(module, image, 0, nullptr, nullptr);
}
CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int n, CUjit_option* options, void** values) {
    CURRENT;
    return load(module, image, n, options, values);
}
CUresult cuModuleLoad(CUmodule* module, const char* path) {
    CURRENT;
    std::ifstream file(path, std::ios::binary);
    if (!file) return refuse(CUDA_ERROR_FILE_NOT_FOUND, path);
    std::string image((std::istreambuf_iterator<char>(file)), {});
    return load(module, image.c_str(), 0, nullptr, nullptr);
}
CUresult cuModuleUnload(CUmodule module) {
    CURRENT;
    Module* m = state.modules.find(module);
    if (!m || m->context != here()) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a module of the current context");
    for (auto& f : m->functions) state.functions.live.erase(f.second);
    state.modules.live.erase(m);
    return CUDA_SUCCESS;
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    CURRENT;
    note("%s", name);
    Module* m = state.modules.find(module);
    if (!m || m->context != here()) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a module of the current context");
    auto e = m->entries.find(name);
    if (e == m->entries.end()) return refuse(CUDA_ERROR_NOT_FOUND, "the module has no such entry");
    if (!e->second.kernel) return refuse(CUDA_ERROR_NOT_FOUND, e->second.why);
    Function*& f = m->functions[name];
    if (!f) f = state.functions.add({m, e->second});
    *function = (CUfunction)f;
    return CUDA_SUCCESS;
}
CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
    CURRENT;
    Function* f = state.functions.find(function);
    if (!f) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a function");
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = f->entry.maxThreads; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = std::min(255, 65536 / f->entry.maxThreads); break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION: *value = 80; break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = here()->device->major * 10 + here()->device->minor; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = f->maxShared; break;
    default: *value = 0;
    }
    return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    CURRENT;
    note("%d = %d", attribute, value);
    Function* f = state.functions.find(function);
    if (!f) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a function");
    if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 || value > 227 << 10)
        return refuse(CUDA_ERROR_INVALID_VALUE, "an attribute that cannot be set, or too much");
    f->maxShared = value;
    return CUDA_SUCCESS;
}
CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) {
    CURRENT;
    return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int threads, size_t shared) {
    CURRENT;
    Function* f = state.functions.find(function);
    if (!f) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a function");
    if (threads < 1 || threads > f->entry.maxThreads) return refuse(CUDA_ERROR_INVALID_VALUE, "block size");
    *blocks = (int)std::min<size_t>({32, (size_t)2048 / ((threads + 31) / 32 * 32), (228 << 10) / (shared + 1024)});
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned int gridX, unsigned int gridY, unsigned int gridZ, unsigned int blockX,
                        unsigned int blockY, unsigned int blockZ, unsigned int shared, CUstream stream, void** params,
                        void** extra) {
    CURRENT;
    return launch(function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, shared, stream, params, extra);
}
CUresult cuLaunchKernelEx(const CUlaunchConfig* c, CUfunction function, void** params, void** extra) {
    CURRENT;
    for (unsigned i = 0; i < c->numAttrs; i++)
        if (c->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
            return refuse(CUDA_ERROR_NOT_SUPPORTED, "the emulation has no clusters");
    return launch(function, {c->gridDimX, c->gridDimY, c->gridDimZ}, {c->blockDimX, c->blockDimY, c->blockDimZ},
                  c->sharedMemBytes, c->hStream, params, extra);
}

CUresult cuLinkCreate(unsigned int n, CUjit_option* options, void** values, CUlinkState* link) {
    CURRENT;
    Link* l = state.links.add({here()});
    errorLog(n, options, values, &l->log, &l->logSize);
    l->options = options, l->values = values;
    l->optionsThen.assign(options, options + n), l->valuesThen.assign(values, values + n);
    *link = (CUlinkState)l;
    return CUDA_SUCCESS;
}
CUresult cuLinkAddData(CUlinkState link, CUjitInputType type, void* data, size_t bytes, const char*, unsigned int,
                       CUjit_option*, void**) {
    CURRENT;
    Link* l = state.links.find(link);
    if (!l) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a linker");
    if (type != CU_JIT_INPUT_PTX || !l->ptx.empty()) return refuse(CUDA_ERROR_NOT_SUPPORTED, "the fake links one file of PTX");
    std::string why = "PTX must end in a 0";
    CUresult r = CUDA_ERROR_INVALID_PTX;
    if (bytes && !((const char*)data)[bytes - 1]) {
        std::map<std::string, Entry> entries;
        l->ptx.assign((const char*)data, bytes - 1);
        r = understand(l->ptx, entries, &why);
    }
    if (r == CUDA_SUCCESS) return r;
    writeLog(l->log, l->logSize, why);
    return refuse(r, why);
}
CUresult cuLinkComplete(CUlinkState link, void** cubin, size_t* bytes) {
    CURRENT;
    Link* l = state.links.find(link);
    if (!l) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a linker");
    if (l->ptx.empty()) return refuse(CUDA_ERROR_INVALID_VALUE, "nothing to link");
    l->cubin = toCubin(l->ptx);
    *cubin = l->cubin.data();
    *bytes = l->cubin.size();
    return CUDA_SUCCESS;
}
CUresult cuLinkDestroy(CUlinkState link) {
    CURRENT;
    Link* l = state.links.find(link);
    if (!l) return refuse(CUDA_ERROR_INVALID_HANDLE, "not a linker");
    std::fill(l->cubin.begin(), l->cubin.end(), 0); // the caller should have copied it
    state.links.live.erase(l);
    if (!std::equal(l->optionsThen.begin(), l->optionsThen.end(), l->options) ||
        !std::equal(l->valuesThen.begin(), l->valuesThen.end(), l->values))
        return refuse(CUDA_ERROR_INVALID_VALUE, "the options that cuLinkCreate was given are not there any more");
    return CUDA_SUCCESS;
}
}
