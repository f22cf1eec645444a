// flow measures vectors x [L,D] by a conditional normalizing flow, q [L] = log p / D, and if wanted gives dq/dx [L,D]. flow_fuse
// makes scores of the q of several layers, and flow_spread takes gradients of scores back to features.
//
// The flow: y = (x - mean) M' (or y = x), then for each block, y1 being the first ceil(D/2) values of y and y2 the rest,
//
//   h       = relu(W1 y1 + rows[i] + cols[j])     at the position (i,j), whose encoding's share of the product is in two tables
//   (a, b)  = W2 h + b2
//   y2      <- y2 exp(s) + b,   s = clamp tanh(a)
//   y       <- R y + o                            the block's scales are in R
//
//   q       = (-|y|^2/2 + sum of s) / D + constant
//
// Geometry: a block of 8 warps takes V vectors through all of it, in shared memory as y [D][V]. Every matrix is multiplied by
// all V vectors; each warp has its own columns of results, in registers until the block has read what they replace, or until
// their sum is complete: (a, b) is one sum over h, of which only T = 2048/V units are there at a time. So a flow's hidden units
// may be as many as they like.
//
//   D to     64   128   256   512  1024  2048
//   V        64    64    64    32    16     8
//   results 4x4   8x4   8x8   8x8   8x8   8x8    of a thread, vectors x columns
//
// Weights lie as they are used: each warp has a stream of its own, chunks of 1 KiB that hold its columns of some k of a product,
// from the first product to the last, and reads it through a ring of 3 chunks, by cp.async; nobody waits for other warps'
// copies. Columns of a product with W2 are the pairs (a_i, b_i), so that a thread has both.
//
// For the gradient each block of threads keeps tanh a, y2 exp(s) and a bit for each h of the V vectors at hand in its part of a
// scratch (blocks D V values), which does not grow with L: a launch has a fixed number of blocks, which take tiles of vectors
// in turn. Backward, y holds dy, and in the place of dy1, once that has become the sum that is added to, da.
//
// Shared memory: y, 64 KiB, h 8, rings 24, and some: 99 KiB. Bytes: x once, unit once, and the weights once for V vectors, from the L2
// cache where they fit it. Operations: 2 (left hidden + 2 hidden right + D^2) per vector and block, twice that with the gradient.
// Deterministic: a sum is one thread's, in the order of k, or goes over lanes and warps in a fixed order; a vector's result
// depends neither on its place nor on what else is there, nor on whether the gradient is wanted.
#include "network.cuh"

constexpr int32_t chunkValues = 256, chunkBytes = 4 * chunkValues, ringChunks = 3, warps = 8;

// Stream is a warp's weights on their way into its ring.
struct Stream {
    const uint8_t* from; // the next chunk, for this lane
    uint8_t* ring;
    int32_t chunks, next, left; // of a pass over the weights; number of the next; still to be copied
    int32_t slot;
};

// copyNext fills the slot, and goes on to the next one.
DEVICE void copyNext(Stream& s) {
    if (s.left > 0) {
        uint8_t* to = s.ring + s.slot + 16 * laneOf(threadX());
        cpAsync16(to, s.from);
        cpAsync16(to + 512, s.from + 512);
        s.from += chunkBytes, s.left--;
        if (++s.next == s.chunks) s.next = 0, s.from -= s.chunks * chunkBytes;
    }
    cpCommit();
    s.slot = s.slot + chunkBytes < ringChunks * chunkBytes ? s.slot + chunkBytes : 0;
}

// arrived is the chunk in the slot, which is there; refill gives the slot back, which every lane has read.
DEVICE const float* arrived(Stream& s) {
    cpWait<ringChunks - 1>();
    syncWarp();
    return (const float*)(s.ring + s.slot);
}
DEVICE void refill(Stream& s) {
    syncWarp();
    copyNext(s);
}

// Part is a warp's part of a product: V vectors by `columns`, RV x RN of a thread, in quads (or pairs) of neighbours.
template <int32_t V, int32_t RV, int32_t RN> struct Part {
    static constexpr int32_t down = V / RV, across = 32 / down, columns = across * RN, group = RN < 4 ? RN : 4;
    // vector and column are a lane's first ones, its others lie so much further on. Vectors come in quads.
    DEVICE int32_t vector(int32_t lane) { return lane % down * 4; }
    DEVICE int32_t column(int32_t lane) { return lane / down * group; }
    DEVICE int32_t vectors(int32_t r) { return r / 4 * (4 * down) + r % 4; }
    DEVICE int32_t further(int32_t c) { return c / group * (group * across) + c % group; }
};

DEVICE void fourOf(const float* from, float* to) {
    vec4 v = *(const vec4*)from;
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

template <int32_t RV, int32_t RN> DEVICE void clear(float (&sum)[RV][RN]) {
    UNROLL for (int r = 0; r < RV; r++)
        UNROLL for (int c = 0; c < RN; c++) sum[r][c] = 0;
}

// product adds the product of x [K][V] and the next K rows of weights to the warp's part.
template <int32_t V, int32_t RV, int32_t RN> DEVICE void product(float (&sum)[RV][RN], Stream& s, const float* x, int32_t K) {
    using P = Part<V, RV, RN>;
    constexpr int32_t deep = chunkValues / P::columns, step = deep < 2 ? 1 : 2;
    x += P::vector(laneOf(threadX()));
    const int32_t first = P::column(laneOf(threadX()));
    for (int32_t k0 = 0; k0 < K; k0 += deep) {
        const float* w = arrived(s) + first;
        auto add = [&] {
            float a[RV], b[RN];
            UNROLL for (int r = 0; r < RV; r += 4) fourOf(x + P::vectors(r), a + r);
            if constexpr (RN == 2) {
                vec2 v = *(const vec2*)w;
                b[0] = v.x, b[1] = v.y;
            } else {
                UNROLL for (int c = 0; c < RN; c += 4) fourOf(w + P::further(c), b + c);
            }
            UNROLL for (int r = 0; r < RV; r++)
                UNROLL for (int c = 0; c < RN; c++) sum[r][c] += a[r] * b[c];
            x += V, w += P::columns;
        };
        int32_t k = least(deep, K - k0);
        for (; k >= step; k -= step)
            UNROLL for (int i = 0; i < step; i++) add();
        for (; k > 0; k--) add();
        refill(s);
    }
}

// addLogs adds a warp's share of D q up.
template <int32_t V, int32_t RV, int32_t RN> DEVICE void addLogs(float* logs, float (&log)[RV], int32_t lane) {
    using P = Part<V, RV, RN>;
    UNROLL for (int r = 0; r < RV; r++) {
        UNROLL for (int32_t m = 16; m >= P::down; m >>= 1) log[r] += shflXorF(log[r], m);
        if (lane < P::down) logs[P::vectors(r)] += log[r];
    }
}

// Flow is what a launch is given. Parts of tables begin at multiples of 4 values.
struct Flow {
    const float* x;        // [...,D]
    const int32_t* at;     // [L]: the vectors of x, and their places in q
    const int32_t* places; // [L,2]: row and column of the position
    int32_t L, D, hidden, blocks, whitened, H, W;
    float clamp, constant;
    const float* weights;
    const int32_t* streams; // [8,3]: a warp's first chunk, its chunks forward, and those backward as well
    const float* mean;      // [D]
    const float* offsets;   // [1+blocks,D]: 0, then o
    const float* b2;        // [blocks,2 right]: pairs
    const float* rows;      // [blocks,H,hidden to a multiple of T]
    const float* cols;      // [blocks,W,...]
    float* q;               // [...]
    float* unit;            // [L,D]; 0: not wanted
    uint8_t* scratch;
};

template <int32_t V, int32_t RV, int32_t RN> DEVICE void flow(const Flow& f) {
    using P = Part<V, RV, RN>;
    using Thin = Part<V, 4, 2>; // of h and dh
    constexpr int32_t T = 2048 / V;
    const int32_t thread = threadX(), lane = laneOf(thread), warp = warpOf(thread), D = f.D, left = D - D / 2, right = D / 2;
    const int32_t hidden = f.hidden, units = (hidden + T - 1) / T, pitch = units * T;
    // The thread's first columns and vectors of results, and of h.
    const int32_t own = warp * P::columns, ownN = own + P::column(lane), ownV = P::vector(lane);
    const int32_t thinN = warp * Thin::columns + Thin::column(lane), thinV = Thin::vector(lane);
    const float share = 1.0f / (float)D;

    float* y = shared<float>();
    float* h = y + D * V;
    vec4* thin = (vec4*)(h + thinN * V + thinV);
    int32_t* place = (int32_t*)(h + T * V); // [V][2]: rows of the tables
    float* allLogs = (float*)(place + 2 * V); // [warps][V]: shares of D q
    float* logs = allLogs + warp * V + ownV;
    Stream s;
    s.ring = (uint8_t*)(allLogs + warps * V) + warp * (ringChunks * chunkBytes);
    s.from = (const uint8_t*)f.weights + (uint64_t)f.streams[3 * warp] * chunkBytes + 16 * lane;
    s.chunks = f.streams[3 * warp + (f.unit ? 2 : 1)];
    const int32_t tiles = (f.L + V - 1) / V;
    s.left = (tiles - blockX() + gridX() - 1) / gridX() * s.chunks;
    s.next = s.slot = 0;
    for (int i = 0; i < ringChunks; i++) copyNext(s);

    const int32_t traced = right * V, trace = 8 * traced + units * 256; // bytes of a block
    uint8_t* kept = f.scratch + (uint64_t)blockX() * f.blocks * trace;

    for (int32_t tile = blockX(); tile < tiles; tile += gridX()) {
        const int32_t first = tile * V, count = least(f.L - first, V), v0 = thread % V;
        if (thread < V) {
            place[2 * thread] = thread < count ? f.places[2 * (first + thread)] * pitch : 0;
            place[2 * thread + 1] = thread < count ? f.places[2 * (first + thread) + 1] * pitch : 0;
        }
        // What was read last of the tile before, this thread has read itself.
        const float* from = f.x + (offset_t)(v0 < count ? f.at[first + v0] : 0) * D;
        for (int32_t c = thread / V; c < D; c += 256 / V) y[c * V + v0] = v0 < count ? from[c] - (f.whitened ? f.mean[c] : 0.0f) : 0.0f;
        sync();

        if (lane < P::down) UNROLL for (int r = 0; r < RV; r++) logs[P::vectors(r)] = 0;
        for (int32_t k = f.whitened ? -1 : 0; k < f.blocks; k++) {
            if (k >= 0) {
                float a[RV][RN];
                clear(a);
                for (int32_t t = 0; t < units; t++) {
                    float u[4][2];
                    clear(u);
                    product<V, 4, 2>(u, s, y, left);
                    uint32_t signs = 0;
                    UNROLL for (int r = 0; r < 4; r++) {
                        const int32_t* at = place + 2 * (thinV + r);
                        vec2 row = *(const vec2*)(f.rows + (uint32_t)(k * f.H * pitch + at[0] + t * T + thinN));
                        vec2 col = *(const vec2*)(f.cols + (uint32_t)(k * f.W * pitch + at[1] + t * T + thinN));
                        u[r][0] += row.x + col.x, u[r][1] += row.y + col.y;
                        UNROLL for (int c = 0; c < 2; c++) {
                            u[r][c] = u[r][c] < 0 ? 0.0f : u[r][c]; // NaN stays
                            signs |= (uint32_t)(u[r][c] > 0) << (2 * r + c);
                        }
                    }
                    if (f.unit) kept[k * trace + 8 * traced + t * 256 + thread] = (uint8_t)signs;
                    sync();
                    UNROLL for (int c = 0; c < 2; c++) thin[c * (V / 4)] = {u[0][c], u[1][c], u[2][c], u[3][c]};
                    sync();
                    if (own < 2 * right) product<V, RV, RN>(a, s, h, least(T, hidden - t * T));
                }
                float log[RV];
                UNROLL for (int r = 0; r < RV; r++) log[r] = 0;
                const int32_t pair = ownN / 2 * V + ownV;
                vec2* keep = (vec2*)(kept + k * trace) + pair;
                float* y2 = y + left * V + pair;
                const float* b = f.b2 + k * (2 * right) + ownN;
                // One pair after the other: the rest moves up.
                for (int c = 0; c < RN && ownN + P::further(c) < 2 * right; c += 2) {
                    vec2 more = *(const vec2*)(b + P::further(c));
                    const int32_t skip = P::further(c) / 2 * V;
                    UNROLL for (int r = 0; r < RV; r++) {
                        const int32_t e = skip + P::vectors(r);
                        float th = hyperbolicTangent(a[r][0] + more.x), scale = f.clamp * th, moved = y2[e] * exponential(scale);
                        y2[e] = moved + (a[r][1] + more.y);
                        log[r] += scale;
                        if (f.unit) keep[e] = {th, moved};
                        UNROLL for (int i = 0; i + 2 < RN; i++) a[r][i] = a[r][i + 2];
                    }
                }
                addLogs<V, RV, RN>(logs, log, lane);
                sync();
            }
            float z[RV][RN];
            clear(z);
            if (own < D) product<V, RV, RN>(z, s, y, D);
            sync();
            const bool last = k + 1 == f.blocks;
            float log[RV];
            UNROLL for (int r = 0; r < RV; r++) log[r] = 0;
            float* to = y + ownN * V + ownV;
            const float* o = f.offsets + (k + 1) * D + ownN;
            UNROLL for (int c = 0; c < RN; c++) {
                if (ownN + P::further(c) >= D) continue;
                float more = o[P::further(c)];
                UNROLL for (int r = 0; r < RV; r++) {
                    float v = z[r][c] + more;
                    if (last) log[r] -= 0.5f * v * v, v *= -share; // which is dq/dy
                    to[P::further(c) * V + P::vectors(r)] = v;
                }
            }
            if (last) addLogs<V, RV, RN>(logs, log, lane);
            sync();
        }
        if (thread < count) {
            float sum = 0;
            for (int32_t w = 0; w < warps; w++) sum += allLogs[w * V + thread];
            f.q[f.at[first + thread]] = sum * share + f.constant;
        }
        if (!f.unit) continue;

        for (int32_t k = f.blocks - 1; k >= (f.whitened ? -1 : 0); k--) {
            float z[RV][RN];
            clear(z);
            if (own < D) product<V, RV, RN>(z, s, y, D);
            sync();
            float* to = y + ownN * V + ownV;
            UNROLL for (int c = 0; c < RN; c++) {
                if (ownN + P::further(c) >= D) continue;
                UNROLL for (int r = 0; r < RV; r++) to[P::further(c) * V + P::vectors(r)] = z[r][c];
            }
            sync();
            if (k < 0) break;

            using Half = Part<V, RV, RN / 2>; // of dy1
            float dy[RV][RN / 2];
            const int32_t mine = warp * Half::columns, mineN = mine + Half::column(lane);
            float* y1 = y + mineN * V + ownV;
            UNROLL for (int c = 0; c < RN / 2; c++)
                UNROLL for (int r = 0; r < RV; r++)
                    dy[r][c] = mineN + Half::further(c) < left ? y1[Half::further(c) * V + Half::vectors(r)] : 0.0f;
            sync();
            const vec2* keep = (const vec2*)(kept + k * trace);
            float* da = y + (left - right) * V; // of a, and of b in dy2's place
            for (int32_t e = thread; e < right * V; e += 256) {
                vec2 t = keep[e];
                da[e] = (y[left * V + e] * t.y + share) * (f.clamp * (1.0f - t.x * t.x));
            }
            sync();
            for (int32_t t = 0; t < units; t++) {
                float u[4][2];
                clear(u);
                product<V, 4, 2>(u, s, da, 2 * right);
                uint32_t signs = kept[k * trace + 8 * traced + t * 256 + thread];
                UNROLL for (int i = 0; i < 8; i++)
                    if (!(signs >> i & 1)) u[i / 2][i % 2] = 0;
                sync();
                UNROLL for (int c = 0; c < 2; c++) thin[c * (V / 4)] = {u[0][c], u[1][c], u[2][c], u[3][c]};
                sync();
                if (mine < left) product<V, RV, RN / 2>(dy, s, h, least(T, hidden - t * T));
            }
            for (int32_t e = thread; e < right * V; e += 256) y[left * V + e] *= exponential(f.clamp * keep[e].x);
            UNROLL for (int c = 0; c < RN / 2; c++) {
                if (mineN + Half::further(c) >= left) continue;
                UNROLL for (int r = 0; r < RV; r++) y1[Half::further(c) * V + Half::vectors(r)] = dy[r][c];
            }
            sync();
        }
        float* unit = f.unit + (offset_t)(first + v0) * D;
        for (int32_t c = thread / V; c < D; c += 256 / V)
            if (v0 < count) unit[c] = y[c * V + v0];
    }
    cpWait<0>();
}

#define FLOW(name, blocks, ...)                                                                                                \
    KERNEL(256, blocks) name(const float* RESTRICT x, const int32_t* RESTRICT at, const int32_t* RESTRICT places, int32_t L,   \
                             int32_t D, int32_t hidden, int32_t couplings, int32_t whitened, int32_t H, int32_t W, float clamp, \
                             float constant, const float* RESTRICT weights, const int32_t* RESTRICT streams,                    \
                             const float* RESTRICT mean, const float* RESTRICT offsets, const float* RESTRICT b2,               \
                             const float* RESTRICT rows, const float* RESTRICT cols, float* RESTRICT q, float* RESTRICT unit,   \
                             uint8_t* RESTRICT scratch) {                                                                       \
        flow<__VA_ARGS__>({x, at, places, L, D, hidden, couplings, whitened, H, W, clamp, constant, weights, streams, mean,     \
                           offsets, b2, rows, cols, q, unit, scratch});                                                         \
    }                                                                                                                           \
    EMULATE(name)

FLOW(flow_64, 2, 64, 4, 4)
FLOW(flow_128, 2, 64, 8, 4)
FLOW(flow_256, 1, 64, 8, 8)
FLOW(flow_512, 1, 32, 8, 8)
FLOW(flow_1024, 1, 16, 8, 8)
FLOW(flow_2048, 1, 8, 8, 8)

// Layer and Tap are FlowLayer and FlowTap of flow.go: a layer's cells under the finest grid.
struct Tap { int32_t lo; float w0, w1; int32_t none; };
struct Layer {
    double largest, range;      // q in the training images, and largest - mean
    int32_t h, w, q, rows, cols; // cells; where the layer's q begin, and its taps [H] and [W]
    int32_t spans, none[2];
};

enum { bySum, byRoot, byMean }; // FlowFusion of flow.go

// rarity is sqrt((largest - q)/(largest - mean)), 0 where q is larger.
DEVICE float rarity(const Layer& l, float q) {
    double d = (l.largest - (double)q) / l.range;
    return d <= 0 ? 0.0f : squareRoot((float)d);
}

// eachTap visits the cells that location (i,j) of window n reads, with their weights.
template <class F> DEVICE void eachTap(const Layer& l, const Tap* taps, int32_t n, int32_t i, int32_t j, F visit) {
    Tap row = taps[l.rows + i], col = taps[l.cols + j];
    UNROLL for (int a = 0; a < 2; a++)
        UNROLL for (int b = 0; b < 2; b++) {
            float w = (a ? row.w1 : row.w0) * (b ? col.w1 : col.w0);
            if (w != 0) visit(l.q + (n * l.h + row.lo + a) * l.w + col.lo + b, w);
        }
}

// flow_fuse makes the score of each wanted location, with up the bilinear taps of its layer, as
//
//   sum:  max(0, total - log sum_l up(exp(q_l - largest_l)))     root: the square root of that
//   mean: mean over l of up(sqrt((largest_l - q_l)/range_l))
//
// and keeps the logarithm for flow_spread. Differences are float64, what becomes of them float32. A thread per location.
KERNEL(256) flow_fuse(const int32_t* RESTRICT items, int32_t count, int32_t H, int32_t W, const Layer* RESTRICT layers, int32_t L,
                      const Tap* RESTRICT taps, const float* RESTRICT q, int32_t how, uint64_t totalBits, float* RESTRICT score,
                      double* RESTRICT logs) {
    const int32_t item = blockX() * 256 + threadX();
    if (item >= count) return;
    const int32_t p = items[item], n = p / (H * W), i = p / W % H, j = p % W;
    if (how == byMean) {
        float all = 0;
        for (int32_t l = 0; l < L; l++) eachTap(layers[l], taps, n, i, j, [&](int32_t at, float w) { all += w * rarity(layers[l], q[at]); });
        score[item] = all / (float)L;
        return;
    }
    double top = -(double)infinity();
    for (int32_t l = 0; l < L; l++)
        eachTap(layers[l], taps, n, i, j, [&](int32_t at, float) {
            double d = (double)q[at] - layers[l].largest;
            top = d > top || d != d ? d : top;
        });
    float all = 0;
    for (int32_t l = 0; l < L; l++)
        eachTap(layers[l], taps, n, i, j, [&](int32_t at, float w) {
            all += w * exponential((float)((double)q[at] - layers[l].largest - top));
        });
    const double log = top + (double)logarithm(all), rare = __builtin_bit_cast(double, totalBits) - log;
    const float s = rare < 0 ? 0.0f : (float)rare;
    score[item] = how == byRoot ? squareRoot(s) : s;
    if (logs) logs[item] = log;
}
EMULATE(flow_fuse)

// flow_spread fills df [n,h,w,D] of layer `which` from the gradients ds of scores: a warp per cell adds up what the locations
// that read it make of its q, and multiplies unit, where the cell was looked at; elsewhere the gradient is 0. item and index
// are the places of locations [n,H,W] among the scores, and of cells [n,h,w] among the vectors, or -1.
KERNEL(256) flow_spread(const int32_t* RESTRICT item, int32_t cells, int32_t H, int32_t W, const Layer* RESTRICT layers, int32_t L,
                        int32_t which, const Tap* RESTRICT taps, const int32_t* RESTRICT spans, const float* RESTRICT q, int32_t how,
                        uint64_t totalBits, const double* RESTRICT logs, const float* RESTRICT ds, const int32_t* RESTRICT index,
                        const float* RESTRICT unit, int32_t D, float* RESTRICT df) {
    const int32_t lane = laneOf(threadX()), cell = blockX() * warps + warpOf(threadX());
    if (cell >= cells) return; // a whole warp
    const Layer& l = layers[which];
    const int32_t vector = index[cell], n = cell / (l.h * l.w), r = cell / l.w % l.h, c = cell % l.w;
    float d = 0;
    if (vector >= 0) {
        const float here = q[l.q + cell], a = rarity(l, here);
        const double total = __builtin_bit_cast(double, totalBits);
        // The locations that read a row, or column, of cells follow one another.
        const int32_t i0 = spans[l.spans + 2 * r], down = spans[l.spans + 2 * r + 1];
        const int32_t j0 = spans[l.spans + 2 * (l.h + c)], across = spans[l.spans + 2 * (l.h + c) + 1];
        for (int32_t e = lane; e < down * across; e += 32) {
            const int32_t i = i0 + e / across, j = j0 + e % across, at = item[(n * H + i) * W + j];
            if (at < 0) continue;
            const Tap row = taps[l.rows + i], col = taps[l.cols + j];
            const float w = ds[at] * ((r == row.lo ? row.w0 : row.w1) * (c == col.lo ? col.w0 : col.w1));
            if (w == 0) continue;
            if (how == byMean) {
                if (a > 0) d -= w / (2.0f * a * (float)l.range * (float)L);
                continue;
            }
            const double rare = total - logs[at];
            if (!(rare > 0)) continue;
            const float slope = w * exponential((float)((double)here - l.largest - logs[at]));
            d -= how == byRoot ? slope / (2.0f * squareRoot((float)rare)) : slope;
        }
        d = warpSum(d);
    }
    for (int32_t k = lane; k < D; k += 32) df[(offset_t)cell * D + k] = d == 0 ? 0.0f : d * unit[(offset_t)vector * D + k];
}
EMULATE(flow_spread)
