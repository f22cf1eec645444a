// runs brings pixels between planes [N,C,H,W] and lists of them [C,pixels], which are shorter:
//
//   runs_put   planes = list, at the pixels; the rest of the planes is left alone
//   runs_get   list = planes, at the pixels
//
// The pixels are given as runs, that is pixels of an image that follow each other, in a row and from its end to the next: a table of
// two int32 per run, its first pixel n H W + y W + x, and how many pixels of the list come before it; behind the last run, 0 and how
// many there are. Each pixel is in one run.
//
// Geometry: a warp per run, 8 a block; whoever makes the table cuts long runs. Bytes: 8 C per pixel and 8 per run. Deterministic.
#include "network.cuh"

// Run is what a warp works on: count pixels from number at on, the first of which is number from of the list.
struct Run { int32_t at, from, count; };

DEVICE Run runAt(const int32_t* table, int32_t i) { return {table[2 * i], table[2 * i + 1], table[2 * i + 3] - table[2 * i + 1]}; }

KERNEL(256) runs_put(const int32_t* RESTRICT table, int32_t runs, int32_t plane, int32_t channels, const float* RESTRICT list,
        float* RESTRICT planes) {
    int32_t i = blockX() * 8 + warpOf(threadX());
    if (i >= runs) return;
    Run r = runAt(table, i);
    int32_t pixels = table[2 * runs + 1], n = r.at / plane;
    for (int32_t k = laneOf(threadX()); k < r.count; k += 32)
        for (int32_t ch = 0; ch < channels; ch++)
            planes[(offset_t)r.at + k + ((offset_t)(channels - 1) * n + ch) * plane] = list[(offset_t)ch * pixels + r.from + k];
}
EMULATE(runs_put)

KERNEL(256) runs_get(const int32_t* RESTRICT table, int32_t runs, int32_t plane, int32_t channels, float* RESTRICT list,
        const float* RESTRICT planes) {
    int32_t i = blockX() * 8 + warpOf(threadX());
    if (i >= runs) return;
    Run r = runAt(table, i);
    int32_t pixels = table[2 * runs + 1], n = r.at / plane;
    for (int32_t k = laneOf(threadX()); k < r.count; k += 32)
        for (int32_t ch = 0; ch < channels; ch++)
            list[(offset_t)ch * pixels + r.from + k] = planes[(offset_t)r.at + k + ((offset_t)(channels - 1) * n + ch) * plane];
}
EMULATE(runs_get)
