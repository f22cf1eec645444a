// softmax normalises along one axis of arrays that lie as [outer, n, inner]:
//
//   y[o,i,k] = exp(x[o,i,k] - m) / sum over i of exp(x[o,i,k] - m),  m the largest of the line
//
// Geometry: a warp per line (o,k), 4 a block, grid (lines/4). Bytes: x read once, y written once (the caches give x three times).
// A line's sum is that of its lanes', each over every 32nd element: deterministic.
#include "network.cuh"

KERNEL(128) softmax(const float* RESTRICT x, int32_t lines, int32_t n, int32_t inner, float* RESTRICT y) {
    int32_t lane = laneOf(threadX()), line = blockX() * 4 + warpOf(threadX());
    if (line >= lines) return; // all lanes alike
    offset_t first = (offset_t)(line / inner) * n * inner + line % inner;
    const float* from = x + first;
    float top = -infinity(), sum = 0;
    for (int32_t i = lane; i < n; i += 32) {
        float v = from[(offset_t)i * inner];
        if (v > top || v != v) top = v;
    }
    UNROLL for (int m = 16; m > 0; m >>= 1) {
        float other = shflXorF(top, m);
        if (other > top || other != other) top = other;
    }
    for (int32_t i = lane; i < n; i += 32) sum += exponential(from[(offset_t)i * inner] - top);
    sum = warpSum(sum);
    for (int32_t i = lane; i < n; i += 32) y[first + (offset_t)i * inner] = exponential(from[(offset_t)i * inner] - top) / sum;
}
EMULATE(softmax)
