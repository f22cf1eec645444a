// coreset chooses points of x [P,d] greedily so that the farthest point from them is near (k-centre; patchcore's kCentre).
// Per centre c, two launches:
//
//   coreset_measure   dist_p = min(dist_p, |x_p - x_c|^2), and per block the largest dist and the lowest p that has it
//   coreset_choose    appends c to the centres; the farthest of all points (the lowest of equals) becomes the next c
//
// The state is on the device, int32 [5]: the next centre, how many centres there are, whether the search has ended, the bits
// of the next centre's squared distance, and whether dist is defined. The search ends when the wanted centres are there or
// every point coincides with one; what is launched then does nothing. So launches need no host between them, and a graph of a
// pair may be replayed.
//
// coreset_begin chooses the first centre; or several starts, which are no centres, are measured first (Roth et al.'s
// approximate variant): dist_p = (mean_s |x_p - x_s|)^2, whose farthest point is the first centre.
//
// A distance that is NaN stays NaN, and no such point is ever chosen.
//
// Summation order, in float32: L lanes share a point, L the least power of two that 4L values (d a multiple of 4) or L values
// suffice for, at most 32. Lane l adds up the squares of, ascending, the values e with e/4 mod L = l, or with e mod L = l; then
// lane pairs L/2, ..., 2, 1 apart are added. The mean over starts adds in their order.
//
// Geometry: measure: 256 threads, 64 bytes of shared memory and d floats for the centre, any grid: a warp takes 4 (32/L) points
// at a time and so has 4 loads of 16 bytes a lane under way, 48 KiB for the 24 warps that a multiprocessor holds: to hide some
// 800 ns, an H200's need 26. choose: one block. Bytes: 4 P d + 8 P per centre; 3 P d operations.
// Deterministic: comparisons alone decide between blocks, so the grid's size does not matter.
#include "f2pad.cuh"

// keyOf orders by distance, then by lower index; 0 is nothing.
DEVICE uint64_t keyOf(float dist, uint32_t p) {
    return dist >= 0 ? (uint64_t)bitsOf(dist) << 32 | (0xffffffffu - p) : 0;
}
// blockMost is the largest of a block of 256 threads, by way of the first 64 bytes of shared memory.
DEVICE uint64_t blockMost(uint64_t key) {
    uint64_t* tops = shared<uint64_t>();
    UNROLL for (int m = 16; m > 0; m >>= 1)
        key = most(key, (uint64_t)shflXor((uint32_t)(key >> 32), m) << 32 | shflXor((uint32_t)key, m));
    if (laneOf(threadX()) == 0) tops[warpOf(threadX())] = key;
    sync();
    UNROLL for (int w = 0; w < 8; w++) key = most(key, tops[w]);
    return key;
}

const int32_t stateNext = 0, stateCount = 1, stateEnded = 2, stateFar = 3, stateMeasured = 4, stateWords = 5;

// take gives a lane's values of a row: 4 neighbours, or 4 at a distance of `lanes` with 0 beyond the end.
template <bool quads> DEVICE vec4 take(const float* row, int32_t e, int32_t lanes, int32_t d) {
    if (quads) return *(const vec4*)(row + e);
    vec4 v = {row[e], 0, 0, 0};
    if (e + lanes < d) v.y = row[e + lanes];
    if (e + 2 * lanes < d) v.z = row[e + 2 * lanes];
    if (e + 3 * lanes < d) v.w = row[e + 3 * lanes];
    return v;
}

// measure measures to the point c and sets dist to update(sum, old), old being 0 where dist is fresh.
template <bool quads, class F>
DEVICE void measure(const float* x, int32_t P, int32_t d, int32_t lanes, int32_t point, bool fresh, F update, float* dist,
                    uint64_t* tops) {
    float* centre = shared<float>() + 16;
    const float* c = x + (uint64_t)point * d;
    for (int32_t e = threadX(); e < d; e += threadsX()) centre[e] = c[e];
    sync();

    int32_t lane = laneOf(threadX()) & (lanes - 1), groups = 32 / lanes, group = laneOf(threadX()) / lanes;
    int32_t taken = 4 * groups; // points at a time, by a warp
    uint32_t stride = gridX() * 8 * taken;
    uint64_t best = 0;
    for (uint64_t first = (blockX() * 8 + warpOf(threadX())) * taken; first < (uint64_t)P; first += stride) {
        uint32_t p0 = (uint32_t)first + group; // and 3 more, `groups` apart
        const float* row[4];
        float old[4], sum[4] = {0, 0, 0, 0};
        UNROLL for (int u = 0; u < 4; u++) {
            uint32_t p = p0 + u * groups;
            row[u] = x + (uint64_t)least(p, (uint32_t)P - 1) * d;
            old[u] = 0;
            if (!fresh && (u & (lanes - 1)) == lane && p < (uint32_t)P) old[u] = dist[p];
        }
        for (int32_t e = quads ? 4 * lane : lane; e < d; e += 4 * lanes) {
            vec4 z = take<quads>(centre, e, lanes, d), v[4];
            UNROLL for (int u = 0; u < 4; u++) v[u] = take<quads>(row[u], e, lanes, d);
            UNROLL for (int u = 0; u < 4; u++) {
                vec4 a = {v[u].x - z.x, v[u].y - z.y, v[u].z - z.z, v[u].w - z.w};
                sum[u] += a.x * a.x;
                sum[u] += a.y * a.y;
                sum[u] += a.z * a.z;
                sum[u] += a.w * a.w;
            }
        }
        for (int32_t m = lanes / 2; m > 0; m /= 2) {
            UNROLL for (int u = 0; u < 4; u++) sum[u] += shflXorF(sum[u], m);
        }
        UNROLL for (int u = 0; u < 4; u++) {
            uint32_t p = p0 + u * groups;
            if ((u & (lanes - 1)) != lane || p >= (uint32_t)P) continue;
            float v = update(sum[u], old[u]);
            dist[p] = v;
            best = most(best, keyOf(v, p));
        }
    }
    best = blockMost(best);
    if (threadX() == 0) tops[blockX()] = best;
}

KERNEL(256, 3) coreset_measure(const float* RESTRICT x, int32_t P, int32_t d, int32_t lanes, const int32_t* state, float* dist,
                               uint64_t* tops) {
    if (state[stateEnded]) return;
    bool fresh = !state[stateMeasured];
    auto nearer = [=](float v, float old) { return !fresh && (v >= old || old != old) ? old : v; };
    if (d % 4 == 0)
        measure<true>(x, P, d, lanes, state[stateNext], fresh, nearer, dist, tops);
    else
        measure<false>(x, P, d, lanes, state[stateNext], fresh, nearer, dist, tops);
}
EMULATE(coreset_measure)

// coreset_start measures to the point `start`, number nth of the starts.
KERNEL(256, 3) coreset_start(const float* RESTRICT x, int32_t P, int32_t d, int32_t lanes, int32_t start, int32_t nth,
                             int32_t starts, float* dist, uint64_t* tops) {
    auto mean = [=](float v, float old) {
        v = old + squareRoot(v);
        if (nth < starts - 1) return v;
        v /= (float)starts;
        return v * v;
    };
    if (d % 4 == 0)
        measure<true>(x, P, d, lanes, start, nth == 0, mean, dist, tops);
    else
        measure<false>(x, P, d, lanes, start, nth == 0, mean, dist, tops);
}
EMULATE(coreset_start)

// coreset_choose takes the farthest point from the tops of n blocks. With `first` it becomes the first centre; otherwise the
// centre that was measured joins the others, unless the search has ended.
KERNEL(256) coreset_choose(const uint64_t* RESTRICT tops, int32_t n, int32_t first, int32_t want, int32_t* state,
                           int32_t* centres) {
    uint64_t best = 0;
    for (int32_t b = threadX(); b < n; b += threadsX()) best = most(best, tops[b]);
    best = blockMost(best);
    if (threadX() != 0 || state[stateEnded]) return;
    int32_t count = state[stateCount];
    if (!first) centres[count++] = state[stateNext];
    state[stateNext] = best ? (int32_t)(0xffffffffu - (uint32_t)best) : 0;
    state[stateCount] = count;
    state[stateEnded] = !first && (count >= want || best >> 32 == 0);
    state[stateFar] = (int32_t)(best >> 32);
    state[stateMeasured] = 1;
}
EMULATE(coreset_choose)

// coreset_begin empties the state; `next` is the first centre, unless starts are measured.
KERNEL(32) coreset_begin(int32_t next, int32_t* state) {
    if (threadX() < stateWords) state[threadX()] = threadX() == stateNext ? next : 0;
}
EMULATE(coreset_begin)
