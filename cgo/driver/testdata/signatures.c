// Compiles if a toolkit's cuda.h, which also tells of older names when asked, declares every function of cuda_calls.h alike.
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

const void *const known[] = {
#define X(name, parameters, arguments) (const void *)name,
#include "cuda_calls.h"
#undef X
};

#define CUDA_KERNEL_NODE_PARAMS CUDA_KERNEL_NODE_PARAMS_v1 // what the unversioned cuGraphAddKernelNode takes
#define X(name, parameters, arguments) CUresult name parameters;
#include "cuda_calls.h"
