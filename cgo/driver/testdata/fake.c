// A library that has just enough of a driver for the shim's tests. FAKE_INIT is what its cuInit answers.
#include <cuda.h>

CUresult cuInit(unsigned int flags) {
    const char *answer = getenv("FAKE_INIT");
    return answer ? (CUresult)atoi(answer) : CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version) {
    *version = 12040;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count) {
    *count = 3;
    return CUDA_SUCCESS;
}

// A code that cuda_errors.h does not know, and another text for one that it does.
CUresult cuGetErrorString(CUresult error, const char **text) {
    if (error != 4242 && error != CUDA_ERROR_UNKNOWN) return CUDA_ERROR_INVALID_VALUE;
    *text = error == 4242 ? "the fake is newer than the header" : "the fake has no idea";
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes) {
    *address = bytes + 1;
    return CUDA_SUCCESS;
}

// The longest list of arguments, by which registers and stack are passed on in order.
CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by,
                        unsigned int bz, unsigned int shared, CUstream stream, void **params, void **extra) {
    if (f != (CUfunction)1 || gx != 2 || gy != 3 || gz != 4 || bx != 5 || by != 6 || bz != 7 || shared != 8) return 9;
    return stream == (CUstream)9 && params && !extra ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
