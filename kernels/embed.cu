// embed makes vectors q [L,D] of locations of grids [N,h,w] out of the features f [N,h',w',C] of a layer, which is as fine or
// coarser, and gives gradients back.
//
//   v_rs(i,j,c) = sum_a rows_r[i][a] sum_b cols_s[j][b] f[n, y_i + a, x_j + b, c]
//
//   embed           one stencil an axis (the nearest cell; an average, brought to the finer grid): q[first + k] = v(channels[k])
//   embed_unfolded  three stencils an axis: the 9 C values v, channel by channel, are pooled, q[m] (+)= sum_k pool_m[k] v_k
//   *_grad          df[n,y,x,c] = sum of the same factors times weight_p dq_p over the locations that read the cell, p being
//                   a location's row of dq; 0 where none does
//
// An axis is a table: for each location its first cell, how many (4 at the most), and each stencil's weights. Turned round it
// says which locations read each cell. Pools are tables of the same kind. A grid [N,h,w] has the locations' rows, if any.
//
// Geometry: embed a warp a location, its lanes channels, which are innermost. embed_unfolded a block a location: 128 channels'
// values v at a time meet in shared memory. The gradients a warp a cell: its lanes look 32 locations up at once, of which most
// are often not wanted, and take 128 channels (unfolded: 64) past those that are; a block's cells are neighbours, and share rows
// of dq in L1. Bytes: f, and q or dq, once from memory, df written once; f's values, and those of dq, up to 16 times from the
// caches. Operations: 2 a read of embed; 93 L C of embed_unfolded and 9 L C or more for its pool; of its gradient some 150 L C.
// Deterministic: a vector depends on its own window only, and sums run over the locations in their order, whatever else is in
// the batch. A window that is `continued` goes on where the launch before, with other rows, has stopped: the bits of one launch.
#include "f2pad.cuh"

struct Place { int32_t n, i, j; };
DEVICE Place placeOf(int32_t at, int32_t h, int32_t w) { return {at / (h * w), at % (h * w) / w, at % w}; }

template <int S> struct Cells {
    int32_t first, count;
    float weight[S][4];
};

// Reads says which values a sum is of; weights is where in the table, in words, theirs are.
struct Reads { int32_t first, count, weights; };
DEVICE Reads readsOf(const int32_t* table, int32_t i) { return ((const Reads*)table)[i]; }

// see gives all values v of a channel: f is at its first cell.
template <int S>
DEVICE void see(const float* f, int32_t w, int32_t C, const Cells<S>& rows, const Cells<S>& cols, float (&v)[S][S]) {
    UNROLL for (int r = 0; r < S; r++)
        UNROLL for (int s = 0; s < S; s++) v[r][s] = 0;
    UNROLL for (int32_t a = 0; a < 4; a++) {
        if (a >= rows.count) continue;
        float line[S];
        UNROLL for (int s = 0; s < S; s++) line[s] = 0;
        UNROLL for (int32_t b = 0; b < 4; b++) {
            if (b >= cols.count) continue;
            float x = f[(a * w + b) * C];
            UNROLL for (int s = 0; s < S; s++) line[s] += cols.weight[s][b] * x;
        }
        UNROLL for (int r = 0; r < S; r++)
            UNROLL for (int s = 0; s < S; s++) v[r][s] += rows.weight[r][a] * line[s];
    }
}

KERNEL(256) embed(const int32_t* RESTRICT at, int32_t items, int32_t h, int32_t w, const float* RESTRICT f, int32_t layerH,
                  int32_t layerW, int32_t C, const int32_t* RESTRICT rowTable, const int32_t* RESTRICT colTable,
                  const int32_t* RESTRICT channels, int32_t kept, float* RESTRICT q, int32_t D, int32_t first) {
    int32_t lane = laneOf(threadX()), item = blockX() * 8 + warpOf(threadX());
    if (item >= items) return;
    Place p = placeOf(at[item], h, w);
    Cells<1> rows = ((const Cells<1>*)rowTable)[p.i], cols = ((const Cells<1>*)colTable)[p.j];
    f += (((uint64_t)p.n * layerH + rows.first) * layerW + cols.first) * C;
    q += (uint64_t)item * D + first;
    _Pragma("unroll 2") for (int32_t k = lane; k < kept; k += 32) {
        float v[1][1];
        see<1>(f + (channels ? channels[k] : k), layerW, C, rows, cols, v);
        q[k] = v[0][0];
    }
}
EMULATE(embed)

static const int32_t channelsAtOnce = 128;

KERNEL(128) embed_unfolded(const int32_t* RESTRICT at, int32_t h, int32_t w, const float* RESTRICT f, int32_t layerH, int32_t layerW,
                           int32_t C, const int32_t* RESTRICT rowTable, const int32_t* RESTRICT colTable,
                           const int32_t* RESTRICT pool, int32_t add, float* RESTRICT q, int32_t D) {
    float* seen = shared<float>(); // [channelsAtOnce][9]
    float* sums = seen + 9 * channelsAtOnce;
    int32_t thread = threadX(), item = blockX();
    Place p = placeOf(at[item], h, w);
    Cells<3> rows = ((const Cells<3>*)rowTable)[p.i], cols = ((const Cells<3>*)colTable)[p.j];
    f += (((uint64_t)p.n * layerH + rows.first) * layerW + cols.first) * C;
    q += (uint64_t)item * D;
    for (int32_t m = thread; m < D; m += channelsAtOnce) sums[m] = add ? q[m] : 0.0f;
    for (int32_t base = 0; base < C; base += channelsAtOnce) {
        if (base + thread < C) {
            float v[3][3];
            see<3>(f + base + thread, layerW, C, rows, cols, v);
            UNROLL for (int r = 0; r < 3; r++)
                UNROLL for (int s = 0; s < 3; s++) seen[9 * thread + 3 * r + s] = v[r][s];
        }
        sync();
        for (int32_t m = thread; m < D; m += channelsAtOnce) {
            Reads reads = readsOf(pool, m);
            int32_t lo = most(reads.first, 9 * base);
            int32_t hi = least(reads.first + reads.count, 9 * least(base + channelsAtOnce, C));
            const float* weights = (const float*)pool + reads.weights - reads.first;
            float sum = sums[m];
            for (int32_t k = lo; k < hi; k++) sum += weights[k] * seen[k - 9 * base];
            sums[m] = sum;
        }
        sync();
    }
    for (int32_t m = thread; m < D; m += channelsAtOnce) q[m] = sums[m];
}
EMULATE(embed_unfolded)

// From is where a vector's gradient comes from, and to what: rows first to first + count of it are in dq.
struct From {
    const int32_t* row;  // [N,h,w]: a location's, or less than 0
    const int32_t* item; // [N,h,w]: where in weight its weight is, if there are weights
    const float* weight;
    const float* dq;
    int32_t first, count, D;
};

// pull is the gradients of a warp's cell. share adds factor times what channel c's value (r,s) takes of a vector's gradient g.
template <int S, class Share>
DEVICE void pull(const From& from, int32_t window, int32_t windows, int32_t continued, int32_t h, int32_t w, float* df,
                 int32_t layerH, int32_t layerW, int32_t C, const int32_t* rowTable, const int32_t* colTable, Share share) {
    constexpr int32_t unrolled = S == 1 ? 4 : 2;
    int32_t lane = laneOf(threadX()), plane = layerH * layerW;
    uint32_t cell = (uint32_t)blockX() * 8 + warpOf(threadX());
    if (cell / plane >= (uint32_t)windows) return;
    int32_t n = window + cell / plane, y = cell % plane / layerW, x = cell % plane % layerW;
    Reads down = readsOf(rowTable, y), across = readsOf(colTable, x);
    const float* rowWeights = (const float*)rowTable + down.weights;
    const float* colWeights = (const float*)colTable + across.weights;
    int32_t locations = down.count * across.count;
    df += ((uint64_t)n * plane + cell % plane) * C;
    for (int32_t base = 0; base < C; base += 32 * unrolled) {
        int32_t c0 = base + lane;
        float sum[unrolled];
        UNROLL for (int u = 0; u < unrolled; u++) sum[u] = n == continued && c0 + 32 * u < C ? df[c0 + 32 * u] : 0.0f;
        for (int32_t l0 = 0; l0 < locations; l0 += 32) {
            int32_t l = l0 + lane, row = -1;
            float rows[S], cols[S];
            UNROLL for (int s = 0; s < S; s++) rows[s] = cols[s] = 0;
            if (l < locations) {
                int32_t a = l / across.count, b = l % across.count;
                int32_t at = (n * h + down.first + a) * w + across.first + b;
                UNROLL for (int s = 0; s < S; s++) rows[s] = rowWeights[a * S + s], cols[s] = colWeights[b * S + s];
                row = from.row[at] - from.first;
                if (row >= from.count) row = -1;
                if (row >= 0 && from.weight) {
                    float weight = from.weight[from.item[at]];
                    UNROLL for (int s = 0; s < S; s++) rows[s] *= weight;
                }
            }
            uint32_t wanted = ballotOf(row >= 0);
            for (int32_t o = 0; o < 32 && wanted >> o > 0; o++) {
                if (!(wanted >> o & 1)) continue;
                const float* g = from.dq + (uint64_t)shfl((uint32_t)row, o) * from.D;
                float r[S], s[S];
                UNROLL for (int i = 0; i < S; i++) r[i] = shflF(rows[i], o), s[i] = shflF(cols[i], o);
                UNROLL for (int i = 0; i < S; i++)
                    UNROLL for (int j = 0; j < S; j++) {
                        float factor = r[i] * s[j];
                        if (factor == 0) continue; // 0 times whatever is in dq
                        UNROLL for (int u = 0; u < unrolled; u++)
                            if (c0 + 32 * u < C) share(sum[u], factor, g, c0 + 32 * u, S * i + j);
                    }
            }
        }
        UNROLL for (int u = 0; u < unrolled; u++)
            if (c0 + 32 * u < C) df[c0 + 32 * u] = sum[u];
    }
}

#define EMBED_GRAD(name, S, ...)                                                                                                  \
    KERNEL(256) name(const int32_t* RESTRICT row, const int32_t* RESTRICT item, const float* RESTRICT weight,                      \
                     const float* RESTRICT dq, int32_t firstRow, int32_t rows, int32_t D, int32_t window, int32_t windows,         \
                     int32_t continued, int32_t h, int32_t w, float* RESTRICT df, int32_t layerH, int32_t layerW, int32_t C,       \
                     const int32_t* RESTRICT rowTable, const int32_t* RESTRICT colTable, const int32_t* RESTRICT values,           \
                     int32_t first) {                                                                                             \
        From from = {row, item, weight, dq, firstRow, rows, D};                                                                   \
        pull<S>(from, window, windows, continued, h, w, df, layerH, layerW, C, rowTable, colTable, __VA_ARGS__);                   \
    }                                                                                                                             \
    EMULATE(name)

// values are, for each channel, which of the vector's it is: -1 for one that is not kept.
EMBED_GRAD(embed_grad, 1, [=](float& sum, float factor, const float* g, int32_t c, int32_t) {
    int32_t k = values ? values[c] : first + c;
    if (k >= 0) sum += factor * g[k];
})

// values is the pool turned round, [9][C].
EMBED_GRAD(embed_unfolded_grad, 3, [=](float& sum, float factor, const float* g, int32_t c, int32_t rs) {
    Reads reads = readsOf(values, rs * C + c);
    const float* weights = (const float*)values + reads.weights;
    float v = 0;
    for (int32_t t = 0; t < reads.count; t++) v += weights[t] * g[reads.first + t];
    sum += factor * v;
})
