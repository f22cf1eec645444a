// Every function of the header that no other file defines.
#include "fake.h"

extern "C" {
#define X(name, parameters, arguments)                                        \
    __attribute__((weak)) CUresult name parameters {                          \
        FAKE_ENTER(fake::needInit);                                           \
        return fake::refuse(CUDA_ERROR_NOT_SUPPORTED, "the fake lacks this"); \
    }
#include "cuda_calls.h"
#undef X
}
