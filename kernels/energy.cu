// energy is the optimisation's data term of a detector's scores s, for windows of them, and its slope:
//
//   z = (s - q50) / (q995 - q50),  e = sum of weight log(1 + [z + margin]_+) over a window,  ds = de/ds
//
// Window k's scores are those from bound k to bound k+1. z is float64, as are sums, the logarithm float32.
//
// Geometry: 128 threads, a block per window, 1 KiB of shared memory. A thread adds up every 128th score, ascending; then threads
// 64, 32, ..., 1 apart are added: an order that depends on the window alone. Bytes per score: 8. Deterministic.
#include "f2pad.cuh"

enum { threads = 128 };

DEVICE double doubleOf(uint64_t bits) { return __builtin_bit_cast(double, bits); }

KERNEL(threads) energy(const int32_t* RESTRICT bounds, const float* RESTRICT s, uint64_t q50, uint64_t range, uint64_t weight,
                       uint64_t margin, double* RESTRICT e, float* RESTRICT ds) {
    int32_t k = blockX(), thread = threadX();
    double* sums = shared<double>();
    double sum = 0, w = doubleOf(weight), m = doubleOf(margin), r = doubleOf(range);
    for (int32_t i = bounds[k] + thread; i < bounds[k + 1]; i += threads) {
        double over = ((double)s[i] - doubleOf(q50)) / r + m;
        double slope = 0;
        if (!(over <= 0)) { // NaN stays
            sum += w * (double)logOnePlus((float)over);
            slope = w / (1 + over) / r;
        }
        ds[i] = (float)slope;
    }
    sums[thread] = sum;
    for (int32_t apart = threads / 2; apart > 0; apart /= 2) {
        sync();
        if (thread < apart) sums[thread] += sums[thread + apart];
    }
    if (thread == 0) e[k] = sums[0];
}
EMULATE(energy)
