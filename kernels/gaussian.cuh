// A separable blur of a tile in shared memory, for the kernels that blur (blur.cu, fill_min.cu).
//
// A tile makes 64 columns of outputs: its rows hold 64+2R values, R to either side, at a pitch of an odd multiple of 4, so that
// 8 lanes in 8 rows reach all 32 banks with 16 bytes each. A thread makes 16 neighbouring outputs from 16+2R values in
// registers, rows first:
//
//   sum_v = t_0 x_v + sum_{k=1..r} t_k (x_{v-k} + x_{v+k}),   k ascending, r <= R
//
// Taps beyond r are not multiplied by 0, which would spread NaN; a kernel compares r with R once (whole: r = R).
#pragma once
#include "f2pad.cuh"

template <int R> constexpr int tilePitch = 64 + 2 * R + 4;

template <int R, bool whole, int k = 0>
DEVICE void weigh(float (&sum)[16], const float (&x)[16 + 2 * R], const float* t, int32_t r) {
    if (k > r && !whole) return;
    UNROLL for (int v = 0; v < 16; v++) {
        if (k == 0)
            sum[v] = t[0] * x[R + v];
        else
            sum[v] += t[k] * (x[R + v - k] + x[R + v + k]);
    }
    if constexpr (k < R) weigh<R, whole, k + 1>(sum, x, t, r);
}

// blurRows blurs 8 rows of a tile in place, one warp together: lane l makes 16 outputs of row l%8, which are left at the
// row's start.
template <int R, bool whole> DEVICE void blurRows(float* rows, const float* t, int32_t r) {
    int32_t lane = laneOf(threadX());
    vec4* row = (vec4*)(rows + lane % 8 * tilePitch<R>) + lane / 8 * 4;
    float x[16 + 2 * R], sum[16];
    UNROLL for (int m = 0; m < 4 + R / 2; m++) {
        vec4 v = row[m];
        x[4 * m] = v.x, x[4 * m + 1] = v.y, x[4 * m + 2] = v.z, x[4 * m + 3] = v.w;
    }
    weigh<R, whole>(sum, x, t, r);
    syncWarp(); // the neighbours have read what is overwritten now
    UNROLL for (int m = 0; m < 4; m++) row[m] = {sum[4 * m], sum[4 * m + 1], sum[4 * m + 2], sum[4 * m + 3]};
}

// blurColumn makes the 16 outputs down from a place in a tile whose rows are blurred.
template <int R, bool whole> DEVICE void blurColumn(float (&sum)[16], const float* top, const float* t, int32_t r) {
    float x[16 + 2 * R];
    UNROLL for (int m = 0; m < 16 + 2 * R; m++) x[m] = top[m * tilePitch<R>];
    weigh<R, whole>(sum, x, t, r);
}

// fold folds index i into [0,n) by reflection, again and again: with the edge repeated (c b a | a b c | c b a), or not
// (c b | a b c | b a) if reflect101.
DEVICE int32_t fold(int32_t i, int32_t n, int32_t reflect101) {
    if ((uint32_t)i < (uint32_t)n) return i;
    int32_t period = reflect101 ? most(2 * n - 2, 1) : 2 * n;
    i %= period;
    if (i < 0) i += period;
    return least(i, 2 * n - (reflect101 ? 2 : 1) - i);
}
