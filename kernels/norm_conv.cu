// norm_conv interpolates scattered samples by normalised convolution (pixel.NormConv), for jobs of different sizes at once:
//
//   out(p,c) = sum_q G(p-q) v(q,c) / sum_q G(p-q),   G(d) = exp(-(d_y^2 + d_x^2) / (2 sigma^2))
//
// A job's samples v [n,C] lie at n pixels, its results out [m,C] at m others; pixels are indices y W + x. A table has 9 int32 per
// job: where its samples' pixels begin and n, where its results' pixels begin and m (both in one array), where v begins and C, where
// out begins, W, and 1/(2 sigma^2) as bits. G is taken relative to the nearest sample, which leaves the quotient as it is and keeps
// it from underflowing: only where that is more than 38.6 sigma away the result is 0, as the twin's is. Without samples it is 0.
//
// Geometry: a thread per result and 6 channels, 128 threads, grid (ceil(most m/128), jobs, ceil(most C/6)); blocks past a job's end
// do nothing. The samples pass through shared memory twice, 128 at a time: for the nearest, and for the sums, which run in the
// samples' order. Bytes: 4 (n + m + n C + m C) a job; operations: m n (6 + C/6 (20 + 12)). Deterministic; a job does not depend on
// the others.
#include "network.cuh"

enum { results = 128, samples = 128, channels = 6 };

KERNEL(results) norm_conv(const int32_t* RESTRICT table, const int32_t* RESTRICT pixels, const float* RESTRICT v,
                          float* RESTRICT out) {
    const int32_t* job = table + 9 * blockY();
    int32_t n = job[1], m = job[3], C = job[5], W = job[7], i = blockX() * results + threadX(), c0 = blockZ() * channels;
    if (blockX() * results >= m || c0 >= C) return;
    float scale = floatOf((uint32_t)job[8]);
    const int32_t *at = pixels + job[0], *to = pixels + job[2];
    v += (uint32_t)job[4];
    float *ys = shared<float>(), *xs = ys + samples, *vs = xs + samples;
    int32_t p = i < m ? to[i] : 0;
    float y = (float)(p / W), x = (float)(p % W), nearest = infinity(), total = 0, sum[channels];
    UNROLL for (int32_t c = 0; c < channels; c++) sum[c] = 0;
    for (int32_t pass = 0; pass < 2; pass++)
        for (int32_t first = 0; first < n; first += samples) {
            int32_t some = least((int32_t)samples, n - first);
            sync(); // all have read what was there
            if (threadX() < some) {
                int32_t q = at[first + threadX()];
                ys[threadX()] = (float)(q / W), xs[threadX()] = (float)(q % W);
                UNROLL for (int32_t c = 0; c < channels; c++)
                    vs[c * samples + threadX()] = c0 + c < C ? v[(uint64_t)(first + threadX()) * C + c0 + c] : 0;
            }
            sync();
            for (int32_t j = 0; j < some; j++) {
                float dy = y - ys[j], dx = x - xs[j], d2 = dy * dy + dx * dx;
                if (pass == 0) {
                    nearest = least(nearest, d2);
                    continue;
                }
                float g = exponential((nearest - d2) * scale);
                total += g;
                UNROLL for (int32_t c = 0; c < channels; c++) sum[c] += g * vs[c * samples + j];
            }
        }
    if (i >= m) return;
    bool none = n == 0 || nearest * scale > 745;
    UNROLL for (int32_t c = 0; c < channels; c++)
        if (c0 + c < C) out[(uint32_t)job[6] + (uint64_t)i * C + c0 + c] = none ? 0 : sum[c] / total;
}
EMULATE(norm_conv)
