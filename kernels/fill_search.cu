// fill_search compares candidates for fills with images on rings of pixels (refine.Search), for rings of different sizes at once:
//
//   cost = mean over channels of ( mean over the ring of e^2 - s (2-s) (mean over the ring of e)^2 ),   e = candidate - image
//
// The image is blurred already: planes [C,H,W]. A candidate is the image moved by so many pixels, or a normal image in 8 bits, of
// which the value is what a Gaussian makes of it at the place: rows first, edges reflected with the edge pixel repeated. A table has
// 12 int32 per ring: where its pixels begin and n, where its candidates begin, how many are shifts and how many there are, where its
// image begins, C, H W, W, and s (2-s), 1/n and 1/C as bits. A candidate is the shift, or the number of a normal, of which normalTable has 5
// int32: its address, the lower half first, c, h, w; it covers the ring, and one of c = 1 has the same in all channels.
//
// Geometry: a warp per candidate, 4 in a block of 128 threads, grid (ceil(most candidates/4), rings); the lanes take the ring's pixels
// in turn, and sums run over these and then over the warp. Nothing shared. Bytes: about 4 C n (1 + shifts) + (2r+1)^2 C n normals, nearly
// all from the caches. Operations: 4 C n a shift, 3 (2r+1)^2 C n a normal. Deterministic; a candidate's cost depends on no other.
//
// fill_spread is how much the K fills of a region differ (refine.Spread), for regions of different sizes at once: per pixel the root
// of a quantile over the fills of the squared distance to the nearest other one, which counts as 1 at most; 1 where K < 2. A table has
// 6 int32 per region: where its fills [K,3,n] begin, n, K, where out [n] begins, and the quantile: between which two of the K sorted
// values it lies (the first of them), and how far (bits). A thread per pixel, 64 in a block, grid (ceil(most n/64), regions); K values
// a thread in shared memory. Bytes: 12 K n + 4 n; operations: 9 K (K-1) n + 2 K^2 n.
#include "network.cuh"

// blurredAt is what a Gaussian of radius r makes of the 8-bit plane [h,w] at a pixel, in [0,1].
DEVICE float blurredAt(const uint8_t* RESTRICT plane, int32_t h, int32_t w, int32_t y, int32_t x, const float* RESTRICT taps, int32_t r) {
    float sum = 0;
    for (int32_t i = -r; i <= r; i++) {
        const uint8_t* row = plane + mirror(y + i, h) * w;
        float line = taps[0] * (float)row[x];
        for (int32_t k = 1; k <= r; k++) line += taps[k] * ((float)row[mirror(x - k, w)] + (float)row[mirror(x + k, w)]);
        sum += taps[i < 0 ? -i : i] * line;
    }
    return sum * (1.0f / 255);
}

KERNEL(128) fill_search(const int32_t* RESTRICT table, const int32_t* RESTRICT pixels, const int32_t* RESTRICT candidates,
                        const float* RESTRICT images, const int32_t* RESTRICT normalTable, const float* RESTRICT taps,
                        int32_t r, float* RESTRICT costs) {
    const int32_t* ring = table + 12 * blockY();
    int32_t n = ring[1], k = blockX() * 4 + warpOf(threadX()), lane = laneOf(threadX());
    if (k >= ring[4]) return;
    const int32_t* at = pixels + ring[0];
    int32_t by = candidates[ring[2] + k], C = ring[6], plane = ring[7], W = ring[8];
    const float* image = images + (uint32_t)ring[5];
    float share = floatOf((uint32_t)ring[9]), each = floatOf((uint32_t)ring[10]), cost = 0;
    const int32_t* normal = k < ring[3] ? 0 : normalTable + 5 * by;
    for (int32_t c = 0; c < C; c++, image += plane) {
        float sum = 0, sq = 0;
        for (int32_t i = lane; i < n; i += 32) {
            int32_t q = at[i];
            float value;
            if (normal) {
                const uint8_t* bytes = (const uint8_t*)((uint32_t)normal[0] | (uint64_t)(uint32_t)normal[1] << 32);
                int32_t h = normal[3], w = normal[4];
                value = blurredAt(bytes + (uint64_t)least(c, normal[2] - 1) * h * w, h, w, q / W, q % W, taps, r);
            } else {
                value = image[q + by];
            }
            float e = value - image[q];
            sum += e;
            sq += e * e;
        }
        float mean = warpSum(sum) * each;
        cost += warpSum(sq) * each - mean * mean * share;
    }
    if (lane == 0) costs[ring[2] + k] = cost * floatOf((uint32_t)ring[11]);
}
EMULATE(fill_search)

KERNEL(64) fill_spread(const int32_t* RESTRICT table, const float* RESTRICT fills, float* RESTRICT out) {
    const int32_t* job = table + 6 * blockY();
    int32_t n = job[1], K = job[2], p = blockX() * 64 + threadX();
    if (p >= n) return;
    const float* f = fills + (uint32_t)job[0] + p;
    float* nearest = shared<float>() + threadX(); // [K,64]
    out += (uint32_t)job[3] + p;
    if (K < 2) {
        *out = 1;
        return;
    }
    for (int32_t a = 0; a < K; a++) {
        const float* own = f + (uint64_t)a * 3 * n;
        float x[3] = {own[0], own[n], own[2 * (uint64_t)n]}, low = 1;
        for (int32_t b = 0; b < K; b++) {
            if (b == a) continue;
            const float* other = f + (uint64_t)b * 3 * n;
            float d2 = 0;
            UNROLL for (int c = 0; c < 3; c++) {
                float d = x[c] - other[c * (uint64_t)n];
                d2 += d * d;
            }
            low = least(low, d2);
        }
        nearest[64 * a] = low;
    }
    int32_t lo = job[4], hi = least(lo + 1, K - 1);
    float low = 0, high = 0;
    for (int32_t a = 0; a < K; a++) {
        float v = nearest[64 * a];
        int32_t rank = 0; // among equals, the first comes first
        for (int32_t b = 0; b < K; b++) rank += nearest[64 * b] < v || (nearest[64 * b] == v && b < a);
        if (rank == lo) low = v;
        if (rank == hi) high = v;
    }
    *out = squareRoot(low + (high - low) * floatOf((uint32_t)job[5]));
}
EMULATE(fill_spread)
