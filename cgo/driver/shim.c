//go:build cuda && cgo

// Takes libcuda's place when the program is linked: defines every function of cuda_calls.h, and forwards to the driver, which
// is opened when the first of them is called. So a program that imports gorgonia.org/cu starts where there is no driver.
//
// Without a driver that works there are 0 devices, the driver's version is 0, and all else answers CUDA_ERROR_NO_DEVICE. What
// the driver lacks answers CUDA_ERROR_NOT_FOUND.
#define _GNU_SOURCE // dlinfo
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Hidden: the driver and other libraries of the process must not find these in the place of their own.
#pragma GCC visibility push(hidden)
#include "shim.h"
#include <cuda.h>

enum {
#define X(name, parameters, arguments) at_##name,
#include "cuda_calls.h"
#undef X
    calls
};

static const char *const names[] = {
#define X(name, parameters, arguments) #name,
#include "cuda_calls.h"
#undef X
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static Driver driver;
static void *entry[calls];

static const char *ownText(CUresult error) {
    switch (error) {
#define X(name, value, text) case name: return text;
#include "cuda_errors.h"
#undef X
    }
    return NULL;
}

static const char *ownName(CUresult error) {
    switch (error) {
#define X(name, value, text) case name: return #name;
#include "cuda_errors.h"
#undef X
    }
    return NULL;
}

// nameOf and textOf ask the driver first, if it can be asked: it knows codes that are newer than the header.
static const char *nameOf(CUresult error) {
    CUresult (*ask)(CUresult, const char **) = entry[at_cuGetErrorName];
    const char *name = NULL;
    return ask && ask(error, &name) == CUDA_SUCCESS && name ? name : ownName(error);
}

static const char *textOf(CUresult error) {
    CUresult (*ask)(CUresult, const char **) = entry[at_cuGetErrorString];
    const char *text = NULL;
    return ask && ask(error, &text) == CUDA_SUCCESS && text ? text : ownText(error);
}

#define BECAUSE(...) snprintf(driver.reason, sizeof driver.reason, __VA_ARGS__)

// Where containers and Windows put the driver without the linker knowing.
#ifndef F2PAD_DRIVER_FOLDERS
#define F2PAD_DRIVER_FOLDERS "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib"
#endif
static const char *const folders[] = {F2PAD_DRIVER_FOLDERS};

static void *openDriver(void) {
    const char *path = getenv("F2PAD_LIBCUDA");
    if (path && *path) {
        void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!lib) BECAUSE("the library that F2PAD_LIBCUDA names cannot be opened: %s", dlerror());
        return lib;
    }
    void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (lib) return lib;
    BECAUSE("the NVIDIA driver's library cannot be opened: %s", dlerror());
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char file[1024];
        snprintf(file, sizeof file, "%s/libcuda.so.1", folders[i]);
        if (access(file, F_OK)) continue;
        if ((lib = dlopen(file, RTLD_NOW | RTLD_LOCAL))) return lib;
        BECAUSE("the NVIDIA driver's library cannot be opened: %s", dlerror());
    }
    return dlopen("libcuda.so", RTLD_NOW | RTLD_LOCAL);
}

static void load(void) {
    void *lib = openDriver();
    if (!lib) return;
    for (int i = 0; i < calls; i++) entry[i] = dlsym(lib, names[i]);

    CUresult (*init)(unsigned int) = entry[at_cuInit];
    CUresult (*version)(int *) = entry[at_cuDriverGetVersion];
    struct link_map *map;
    if (!dlinfo(lib, RTLD_DI_LINKMAP, &map)) snprintf(driver.path, sizeof driver.path, "%s", map->l_name);
    if (version) version(&driver.version);

    if (!init) {
        BECAUSE("%s is not a CUDA driver: it has no cuInit", driver.path);
    } else {
        CUresult error = init(0);
        if (error == CUDA_SUCCESS) {
            driver.loaded = 1;
            driver.reason[0] = 0;
            return;
        }
        const char *name = nameOf(error), *text = textOf(error);
        BECAUSE("the NVIDIA driver cannot be used: %s (%s, %d)", text ? text : "no explanation", name ? name : "unnamed",
                error);
    }
    memset(entry, 0, sizeof entry);
}

const Driver *f2pad_driver(void) {
    pthread_once(&once, load);
    return &driver;
}

static CUresult missing(void) { return f2pad_driver()->loaded ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_NO_DEVICE; }

// Five functions do more than forward: their forwarders go by other names.
#define cuInit forward_cuInit
#define cuDriverGetVersion forward_cuDriverGetVersion
#define cuDeviceGetCount forward_cuDeviceGetCount
#define cuGetErrorName forward_cuGetErrorName
#define cuGetErrorString forward_cuGetErrorString

#define X(name, parameters, arguments)                           \
    CUresult name parameters {                                   \
        f2pad_driver();                                          \
        CUresult(*forward) parameters = entry[at_##name];        \
        return forward ? forward arguments : missing();          \
    }
#include "cuda_calls.h"
#undef X

#undef cuInit
#undef cuDriverGetVersion
#undef cuDeviceGetCount
#undef cuGetErrorName
#undef cuGetErrorString

// cu calls cuInit before main and ends the program if it fails: the driver's own is called by load.
CUresult cuInit(unsigned int flags) { return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; }

CUresult cuDriverGetVersion(int *version) {
    *version = 0;
    return f2pad_driver()->loaded ? forward_cuDriverGetVersion(version) : CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
    *count = 0;
    return f2pad_driver()->loaded ? forward_cuDeviceGetCount(count) : CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name) {
    f2pad_driver();
    *name = nameOf(error);
    return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
    f2pad_driver();
    *text = textOf(error);
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
