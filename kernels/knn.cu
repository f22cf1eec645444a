// knn finds, for queries q [n,D], the nearest rows of a bank b [M,D]: least |q-b|^2 in float64, the lowest index of equals.
// The tensor cores do the bulk of the search in bfloat16, and yet the answer is exact: they give a lower bound of every
// distance, and whatever the bounds cannot rule out is measured directly.
//
//   x = q-c, y = b-c           c is some vector in the middle of the bank: short vectors round less
//   |q-b|^2 = |x|^2 + |y|^2 - 2 x.y,   x = hi+lo+r, and so y;   P = hi.hi (products 1), or hi.hi + hi.lo + lo.hi (products 3)
//   |x.y - P| <= |x| |r_y| + |r_x| |hi_y| [products 1: r is all that hi leaves] + |lo_x| |lo_y| [products 3] + a |x| |y|
//
// by Cauchy-Schwarz. a = 1.5 2^-23 times the terms summed: NVIDIA's tensor cores add groups of at least 4 exact products to
// an accumulator by shifting all to the greatest exponent and cutting off below 24 bits (measured up to the A100 by Fasi,
// Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ CS 2021; assumed of later ones). The norms
// of what rounding leaves are measured when vectors are prepared: so each query needs one factor `slope`, each row two
// numbers `square` and `length`:
//
//   |q-b|^2 >= base_q + w,   w = square_b - slope_q length_b - 2P
//
//   knn_center    c [D]: the mean of some of the rows
//   knn_prepare   vectors [R,D] to bfloat16 panels, and {square, length} or {base, slope}
//   knn_products* the rows of a bank fall into classes; per query and class the row of least w, and the second least w
//   knn_refine    measures the rows that may win; then, wherever a class's second w may win, the whole class
//   knn_topk      the k nearest rows of few queries, measured; knn_merge joins the lists of its blocks
//   knn_score     s_l = |q-b|, or its square, of the winners
//   knn_gradient  dq_l = scale_l (q_l - b_winner(l)), scale = dS/|q-b|, or 2 dS for squared distances; 0 where dS or |q-b| is;
//                 scale = 1 without dS
//
// Panels: 256 rows (bank) or 128 (queries) of blocks of 64 bytes: [panel][block][row][32]. A block holds 32 values (products
// 1), or 16 values' hi and their lo (products 3). Its four pieces of 16 bytes are stored at piece ^ row/2%4, so that 8 rows
// of a piece, which ldMatrix reads, lie in all 32 banks of shared memory.
//
// knn_products: a block of 8 warps holds 128 queries x 256 rows, a warp 64 x 64 of them: 128 accumulators a thread. It walks
// through a split of the bank, block by block of the panels: four stages of 24 KiB, filled by cp.async, and one barrier a
// stage; fragments are loaded half a stage ahead. A thread sees 8 queries and, per tile, 16 rows, which are a class with
// those that it sees in the other tiles: 16 classes a split. Splits of one query tile run side by side: their queries stay in
// L2 while the bank passes by.
// Operations: 2 n M D a product. Bytes: prepared bank 2 M D (products 3: 4 M D), classes 12 n 16 splits. Reasoned for an H200,
// not measured: mma.sync at its best does some 1050 multiply-adds a clock and processor; a warp's tile then asks 60 % of shared
// memory's rate, and the block 5.6 TB/s of L2. The running minimum takes 8 instructions a value, 6 % of the time at D = 1536
// and 25 % at D = 384, where it is not hidden: there is one block a processor (250 registers a thread).
//
// knn_refine: 1 to 3 rows a query in simple cases, some 10 where vectors cluster (products 1), 4 D bytes each; the whole bank
// where differences are far below what bfloat16 tells.
// knn_topk: 16 queries x 4 rows a warp at a time; the bank is read once per 16 queries, from memory or from L2. 3 n M D
// operations: above some 12 queries they and not memory are the floor on an H200.
// knn_gradient: 12 L D bytes, a warp a location.
// All are deterministic, and no result depends on splits, panels, products or on other queries.
#include "f2pad.cuh"

DEVICE float notANumber() { return floatOf(0x7fc00000u); }
DEVICE double wide(uint32_t low, uint32_t high) { return __builtin_bit_cast(double, (uint64_t)high << 32 | low); }
DEVICE double shflXorD(double v, int mask) {
    uint64_t bits = __builtin_bit_cast(uint64_t, v);
    return wide(shflXor((uint32_t)bits, mask), shflXor((uint32_t)(bits >> 32), mask));
}
DEVICE double shflD(double v, int lane) {
    uint64_t bits = __builtin_bit_cast(uint64_t, v);
    return wide(shfl((uint32_t)bits, lane), shfl((uint32_t)(bits >> 32), lane));
}
DEVICE double warpSumD(double v) {
    UNROLL for (int m = 16; m > 0; m >>= 1) v += shflXorD(v, m);
    return v;
}

// distance is |q-b|^2, by a warp together, always added up in the same order.
DEVICE double distance(const float* q, const float* b, int32_t d, int32_t lane) {
    double sum = 0;
    _Pragma("unroll 8") for (int32_t k = lane; k < d; k += 32) {
        double v = (double)q[k] - (double)b[k];
        sum += v * v;
    }
    return warpSumD(sum);
}

// Near is a row and its distance.
struct Near {
    double d;
    int32_t row;
};
DEVICE Near none() { return {(double)infinity(), 0x7fffffff}; }
// before orders by distance, then by row; NaN counts as infinity.
DEVICE bool before(Near a, Near b) {
    double inf = (double)infinity(), x = a.d == a.d ? a.d : inf, y = b.d == b.d ? b.d : inf;
    return x < y || (x == y && a.row < b.row);
}
DEVICE Near nearer(Near a, Near b) { return before(b, a) ? b : a; }
DEVICE Near nearXor(Near a, int mask) { return {shflXorD(a.d, mask), (int32_t)shflXor((uint32_t)a.row, mask)}; }
DEVICE Near nearOf(Near a, int lane) { return {shflD(a.d, lane), (int32_t)shfl((uint32_t)a.row, lane)}; }

KERNEL(256) knn_center(const float* RESTRICT rows, int32_t count, int32_t step, int32_t d, float* RESTRICT center) {
    double* part = shared<double>();
    int32_t lane = laneOf(threadX()), warp = warpOf(threadX()), k = blockX() * 32 + lane;
    double sum = 0;
    if (k < d) {
        _Pragma("unroll 8") for (int32_t i = warp; i < count; i += 8) sum += (double)rows[(uint64_t)i * step * d + k];
    }
    part[threadX()] = sum;
    sync();
    if (warp == 0 && k < d) {
        for (int32_t w = 1; w < 8; w++) sum += part[w * 32 + lane];
        float mean = (float)(sum / (double)count);
        center[k] = absolute(mean) < infinity() ? mean : 0.0f;
    }
}
EMULATE(knn_center)

// What a row of the bank may lose to rounding, as shares of its length; a row that loses more counts as longer.
// Rounding to bfloat16 leaves 2^-8/sqrt(3) of a mantissa's unit, some 0.0015 of a vector's length.
DEVICE float usualRest(int32_t products) { return products == 1 ? 0.0016f : 0.0016f * 0.0016f; }
DEVICE float usualLow(int32_t products) { return products == 1 ? 0.0f : 0.0016f; }

DEVICE uvec4 packed(const uint32_t (&v)[8]) {
    return {v[0] | v[1] << 16, v[2] | v[3] << 16, v[4] | v[5] << 16, v[6] | v[7] << 16};
}
// rounded is a bfloat16, or 0 for what tensor cores might take for 0.
DEVICE uint32_t rounded(double v) {
    float f = (float)v;
    return absolute(f) < 0x1p-100f ? 0u : (uint32_t)toBf16(f);
}

KERNEL(256) knn_prepare(const float* RESTRICT vectors, int32_t count, int32_t d, const float* RESTRICT center, int32_t products,
                        int32_t panel, int32_t queries, uvec4* RESTRICT panels, vec2* RESTRICT facts) {
    int32_t lane = laneOf(threadX()), row = blockX() * 8 + warpOf(threadX());
    int32_t per = products == 1 ? 4 : 2; // pieces of 8 values in a block
    int32_t blocks = (d + 8 * per - 1) / (8 * per);
    const float* v = vectors + (uint64_t)row * d;
    uvec4* out = panels + ((uint64_t)(row / panel) * blocks * panel + row % panel) * 4;
    int32_t twist = row / 2 % 4;
    double all = 0, rest = 0, low = 0; // squares of |y|, |r|, |lo|
    bool real = row < count;
    for (int32_t c = lane; c < blocks * per; c += 32) {
        uint32_t hi[8], lo[8];
        UNROLL for (int32_t i = 0; i < 8; i++) {
            int32_t k = 8 * c + i;
            double y = real && k < d ? (double)v[k] - (double)center[k] : 0.0;
            hi[i] = rounded(y);
            double left = y - (double)fromBf16((uint16_t)hi[i]);
            lo[i] = products == 1 ? 0u : rounded(left);
            double small = (double)fromBf16((uint16_t)lo[i]);
            all += y * y;
            low += small * small;
            rest += (left - small) * (left - small);
        }
        uvec4* block = out + (uint64_t)(c / per) * panel * 4;
        block[(c % per) ^ twist] = packed(hi);
        if (products != 1) block[(c % per + 2) ^ twist] = packed(lo);
    }
    all = warpSumD(all);
    rest = warpSumD(rest);
    low = warpSumD(low);
    bool usable = all < 1e36; // false for NaN
    syncWarp(); // other lanes wrote what is cleared now
    if (!usable)
        for (int32_t c = lane; c < blocks * 4; c += 32) out[(uint64_t)(c / 4) * panel * 4 + c % 4] = {0, 0, 0, 0};
    if (lane != 0) return;
    float length = squareRoot((float)all), ofRest = squareRoot((float)rest), ofLow = squareRoot((float)low);
    vec2 fact;
    if (!queries) {
        // square and length. 2^-21: w is rounded three times. A row that is not usable may always win, padding never.
        fact = {(float)(all * (1 - 0x1p-21)), most(length, ofRest / usualRest(products))};
        if (products != 1) fact.y = most(fact.y, ofLow / usualLow(products));
        fact.y *= 1.0f + 0x1p-20f;
        if (!usable) fact = {-infinity(), 0};
        if (!real) fact = {infinity(), 0};
    } else {
        // base and slope. 1e-33: products may underflow. NaN: measure all; -infinity: the query is not finite.
        float terms = (float)(blocks * (products == 1 ? 32 : 48)), sum = length + ofRest;
        float slope = usualRest(products) * sum + ofRest + usualLow(products) * ofLow; // what rounding the vectors did,
        slope += 0x1.8p-23f * terms * sum + 0x1p-20f * length;                         // the accumulators, and w
        fact = {(float)(all * (1 - 0x1p-21) - 1e-33), 2.02f * slope};
        if (!usable) fact = {all < (double)infinity() ? notANumber() : -infinity(), 0};
    }
    facts[row] = fact;
}
EMULATE(knn_prepare)

static const int32_t tileQueries = 128, tileRows = 256, stages = 4;
static const int32_t queryBytes = tileQueries * 64, rowBytes = tileRows * 64, stageBytes = queryBytes + rowBytes;

// Fragments: 64 vectors by 16 values. Those of the bank's rows come and go by halves, which saves 16 registers.
typedef uint32_t Fragments[4][4];
DEVICE void load(Fragments& f, const uint8_t* at, int from = 0, int to = 4) {
    UNROLL for (int i = from; i < to; i++) ldMatrix(f[i], at + i * 16 * 64);
}
DEVICE void multiply(float (&acc)[4][8][4], const Fragments& q, const Fragments& rows, int half) {
    UNROLL for (int n = half * 4; n < half * 4 + 4; n++) {
        uint32_t b[2] = {rows[n / 2][n % 2 * 2], rows[n / 2][n % 2 * 2 + 1]};
        UNROLL for (int m = 0; m < 4; m++) mmaBf16(acc[m][n], q[m], b);
    }
}

// A stage's way into shared memory: 384 rows of 64 bytes, 6 pieces a thread.
DEVICE void fetch(uint8_t* stage, const uint8_t* queries, const uint8_t* rows, int32_t thread) {
    UNROLL for (int i = 0; i < 2; i++) cpAsync16(stage + (i * 256 + thread) * 16, queries + (i * 256 + thread) * 16);
    UNROLL for (int i = 0; i < 4; i++) cpAsync16(stage + queryBytes + (i * 256 + thread) * 16, rows + (i * 256 + thread) * 16);
}

template <int products>
DEVICE void search(const uint8_t* queries, const vec2* queryFacts, const uint8_t* bank, const vec2* facts, int32_t n,
                   int32_t blocks, int32_t tiles, int32_t splits, vec2* least2, int32_t* index) {
    uint8_t* memory = shared<uint8_t>();
    int32_t thread = threadX(), lane = laneOf(thread), warp = warpOf(thread);
    int32_t split = blockX() % splits, first = blockX() / splits * tileQueries;
    int32_t tile = (int32_t)((uint64_t)tiles * split / splits), end = (int32_t)((uint64_t)tiles * (split + 1) / splits);
    int32_t steps = (end - tile) * blocks;
    int32_t wq = warp % 2 * 64, wr = warp / 2 * 64; // the warp's place in the tile

    const uint8_t* fromQueries = queries + (uint64_t)(first / tileQueries) * blocks * queryBytes;
    const uint8_t* fromRows = bank + (uint64_t)tile * blocks * rowBytes;
    int32_t fetched = 0, fetchedBlock = 0;
    auto fetchNext = [&]() {
        if (fetched < steps) {
            fetch(memory + fetched % stages * stageBytes, fromQueries + (uint64_t)fetchedBlock * queryBytes, fromRows, thread);
            fromRows += rowBytes;
            fetchedBlock = fetchedBlock + 1 < blocks ? fetchedBlock + 1 : 0;
        }
        fetched++;
        cpCommit();
    };

    // Where this lane's rows of the 8x8 matrices are: the first half of a block; the second is at ^32.
    int32_t twist = lane % 8 / 2;
    int32_t atQueries = (wq + lane % 16) * 64 + (lane / 16 ^ twist) * 16;
    int32_t atRows = queryBytes + (wr + lane % 8 + lane / 16 * 8) * 64 + (lane / 8 % 2 ^ twist) * 16;

    float w1[8], w2[8];
    int32_t i1[8];
    UNROLL for (int i = 0; i < 8; i++) w1[i] = w2[i] = infinity(), i1[i] = -1;

    UNROLL for (int i = 0; i < stages - 1; i++) fetchNext();
    cpWait<stages - 2>();
    sync();
    Fragments q, other, rows;
    load(q, memory + atQueries);
    load(rows, memory + atRows);
    int32_t step = 0;
    for (; tile < end; tile++) {
        float acc[4][8][4];
        UNROLL for (int i = 0; i < 128; i++) acc[i / 32][i / 4 % 8][i % 4] = 0;
        for (int32_t block = 0; block < blocks; block++, step++) {
            const uint8_t* stage = memory + step % stages * stageBytes;
            const uint8_t* next = memory + (step + 1) % stages * stageBytes; // of what lies beyond the end no use is made
            cpWait<stages - 3>();                                            // the next stage is there
            sync();
            load(other, stage + (atQueries ^ 32));
            fetchNext(); // into the stage before this one
            if (products == 1) {
                UNROLL for (int half = 0; half < 2; half++) {
                    multiply(acc, q, rows, half);
                    load(rows, stage + (atRows ^ 32), half * 2, half * 2 + 2);
                }
                load(q, next + atQueries);
                UNROLL for (int half = 0; half < 2; half++) {
                    multiply(acc, other, rows, half);
                    load(rows, next + atRows, half * 2, half * 2 + 2);
                }
            } else {
                UNROLL for (int half = 0; half < 2; half++) multiply(acc, q, rows, half);
                UNROLL for (int half = 0; half < 2; half++) {
                    multiply(acc, other, rows, half);
                    load(rows, stage + (atRows ^ 32), half * 2, half * 2 + 2);
                }
                load(other, next + atQueries);
                UNROLL for (int half = 0; half < 2; half++) {
                    multiply(acc, q, rows, half);
                    load(rows, next + atRows, half * 2, half * 2 + 2);
                }
                UNROLL for (int i = 0; i < 16; i++) q[i / 4][i % 4] = other[i / 4][i % 4];
            }
        }
        int32_t row = tile * tileRows + wr + lane % 4 * 2; // and the one after it, and those 8, 16 ... further on
        float slope[8];
        UNROLL for (int i = 0; i < 8; i++) slope[i] = queryFacts[first + wq + i / 2 * 16 + i % 2 * 8 + lane / 4].y;
        UNROLL for (int c = 0; c < 8; c++) {
            vec4 fact = *(const vec4*)(facts + row + c * 8);
            UNROLL for (int i = 0; i < 8; i++) {
                UNROLL for (int e = 0; e < 2; e++) {
                    float product = acc[i / 2][c][i % 2 * 2 + e];
                    float w = (e ? fact.z : fact.x) - 2.0f * product;
                    w -= slope[i] * (e ? fact.w : fact.y);
                    bool closer = w < w1[i];
                    w2[i] = least(w2[i], closer ? w1[i] : w);
                    w1[i] = closer ? w : w1[i];
                    i1[i] = closer ? row + c * 8 + e : i1[i];
                }
            }
        }
    }
    int32_t classes = splits * 16, mine = split * 16 + warp / 2 * 4 + lane % 4;
    UNROLL for (int i = 0; i < 8; i++) {
        int32_t query = first + wq + i / 2 * 16 + i % 2 * 8 + lane / 4;
        if (query < n) {
            least2[(uint64_t)query * classes + mine] = {w1[i], w2[i]};
            index[(uint64_t)query * classes + mine] = i1[i];
        }
    }
}

#define KNN_PRODUCTS(name, products)                                                                                         \
    KERNEL(256) name(const uint8_t* RESTRICT queries, const vec2* RESTRICT queryFacts, const uint8_t* RESTRICT bank,         \
                     const vec2* RESTRICT facts, int32_t n, int32_t blocks, int32_t tiles, int32_t splits,                   \
                     vec2* RESTRICT least2, int32_t* RESTRICT index) {                                                       \
        search<products>(queries, queryFacts, bank, facts, n, blocks, tiles, splits, least2, index);                         \
    }                                                                                                                        \
    EMULATE(name)
KNN_PRODUCTS(knn_products1, 1)
KNN_PRODUCTS(knn_products3, 3)

// knn_refine: a block of 4 warps a query. dist and winner are those of earlier chunks of the bank if `accumulate`.
KERNEL(128, 8) knn_refine(const float* RESTRICT queries, const float* RESTRICT bank, int32_t m, int32_t d, int32_t first,
                       int32_t accumulate, const vec2* RESTRICT queryFacts, const vec2* RESTRICT least2,
                       const int32_t* RESTRICT index, int32_t tiles, int32_t splits, int32_t* RESTRICT winner,
                       double* RESTRICT dist, int32_t* RESTRICT measured) {
    Near* found = shared<Near>(); // [4], and as many counts behind it
    int32_t* counts = (int32_t*)(found + 4);
    int32_t lane = laneOf(threadX()), warp = warpOf(threadX()), query = blockX(), classes = splits * 16;
    const float* q = queries + (uint64_t)query * d;
    const vec2* pairs = least2 + (uint64_t)query * classes;
    const int32_t* rows = index + (uint64_t)query * classes;
    double base = (double)queryFacts[query].x;
    Near best = none();
    int32_t count = 0;
    auto measure = [&](int32_t row) {
        best = nearer(best, {distance(q, bank + (uint64_t)row * d, d, lane), row});
        count++;
    };
    // together gives all warps the best of all.
    auto together = [&]() {
        if (lane == 0) found[warp] = best;
        sync();
        for (int32_t w = 0; w < 4; w++) best = nearer(best, found[w]);
        sync();
    };

    // The row of the least bound is a good one to begin with. Where the query is not finite no distance is: row 0 will do.
    bool finite = base != -(double)infinity();
    Near guess = none();
    for (int32_t c = lane; c < classes; c += 32)
        if (rows[c] >= 0) guess = nearer(guess, {(double)pairs[c].x, rows[c]});
    UNROLL for (int s = 16; s > 0; s >>= 1) guess = nearer(guess, nearXor(guess, s));
    if (!finite) guess.row = 0, classes = 0;
    if (warp == 0) measure(guess.row);
    together();

    // The classes' first rows, unless their bounds rule them out. A base or a distance that is NaN rules out nothing.
    double limit = best.d;
    for (int32_t c0 = warp * 32; c0 < classes; c0 += 128) {
        int32_t c = c0 + lane, row = c < classes ? rows[c] : -1;
        uint32_t may = ballotOf(row >= 0 && row != guess.row && !((double)pairs[c].x + base > limit));
        for (int32_t l = 0; l < 32 && may >> l > 0; l++)
            if (may >> l & 1) measure((int32_t)shfl((uint32_t)row, l));
    }
    together();

    // Whole classes, unless the bound of all their other rows rules them out.
    limit = best.d;
    for (int32_t c0 = 0; c0 < classes; c0 += 32) {
        int32_t c = c0 + lane;
        uint32_t may = ballotOf(c < classes && pairs[c].y < infinity() && !((double)pairs[c].y + base > limit));
        for (int32_t l = 0; l < 32 && may >> l > 0; l++) {
            int32_t split = (c0 + l) / 16;
            uint32_t tile = (uint32_t)((uint64_t)tiles * split / splits);
            uint32_t end = (uint32_t)((uint64_t)tiles * (split + 1) / splits);
            uint32_t firstRow = tile * tileRows + (c0 + l) % 16 / 4 * 64 + (c0 + l) % 4 * 2;
            uint32_t members = may >> l & 1 ? (end - tile) * 16 : 0;
            for (uint32_t i = warp; i < members; i += 4) {
                uint32_t row = firstRow + i / 16 * tileRows + i % 16 / 2 * 8 + i % 2;
                if (row < (uint32_t)m) measure((int32_t)row);
            }
        }
    }
    together();
    if (lane == 0) counts[warp] = count;
    sync();
    if (threadX() == 0) {
        best.row += first;
        if (accumulate) best = nearer({dist[query], winner[query]}, best);
        dist[query] = best.d;
        winner[query] = best.row;
        if (measured) measured[query] = counts[0] + counts[1] + counts[2] + counts[3];
    }
}
EMULATE(knn_refine)

// A list of up to 32 rows in order is one Near a lane. insert puts one where it belongs and drops the last.
DEVICE void insert(Near& mine, Near e, int32_t lane) {
    uint32_t ahead = ballotOf(before(mine, e)) << 1 | 1; // bit i: what precedes place i comes before e
    Near moved = nearOf(mine, lane > 0 ? lane - 1 : 0);
    if (!(ahead >> 1 >> lane & 1) && !before(mine, e)) mine = ahead >> lane & 1 ? e : moved;
}

static const int32_t groupQueries = 16, groupRows = 4;

KERNEL(256, 2) knn_topk(const float* RESTRICT queries, const float* RESTRICT bank, int32_t n, int32_t m, int32_t d, int32_t k,
                     int32_t splits, double* RESTRICT listD, int32_t* RESTRICT listRow) {
    // Lists [8 warps][16 queries][k], distances and then rows.
    double* dists = shared<double>();
    int32_t* rows = (int32_t*)(dists + 8 * groupQueries * k);
    int32_t lane = laneOf(threadX()), warp = warpOf(threadX());
    int32_t groups = (n + groupQueries - 1) / groupQueries, group = blockX() % groups, split = blockX() / groups;
    int32_t first = (int32_t)((uint64_t)m * split / splits), end = (int32_t)((uint64_t)m * (split + 1) / splits);
    int32_t firstQuery = group * groupQueries, have = least(groupQueries, n - firstQuery);
    for (int32_t i = threadX(); i < 8 * groupQueries * k; i += 256) dists[i] = none().d, rows[i] = none().row;
    sync();
    double* myDists = dists + warp * groupQueries * k;
    int32_t* myRows = rows + warp * groupQueries * k;
    // A float32 sum of squares is wrong by a small share: it rules out nearly all rows.
    double share = 1 - (double)(d / 32 + 16) * 0x1p-23;
    for (int32_t r0 = first + warp * groupRows; r0 < end; r0 += 8 * groupRows) {
        const float* q = queries + (uint64_t)firstQuery * d;
        const float* b = bank + (uint64_t)r0 * d;
        int32_t lastRow = least(groupRows, end - r0) - 1;
        float sum[2][32]; // [row/2][row%2*16 + query]
        UNROLL for (int i = 0; i < 64; i++) sum[i / 32][i % 32] = 0;
        float ahead[groupRows]; // what is on its way from memory
        UNROLL for (int r = 0; r < groupRows; r++) ahead[r] = lane < d ? loadStreaming(b + least(r, lastRow) * d + lane) : 0.0f;
        for (int32_t j = lane; j < d; j += 32) {
            float v[groupRows];
            UNROLL for (int r = 0; r < groupRows; r++) {
                v[r] = ahead[r];
                ahead[r] = j + 32 < d ? loadStreaming(b + least(r, lastRow) * d + j + 32) : 0.0f;
            }
            UNROLL for (int i = 0; i < groupQueries; i++) {
                float x = i < have ? q[i * d + j] : 0.0f;
                UNROLL for (int r = 0; r < groupRows; r++) sum[r / 2][r % 2 * 16 + i] += (x - v[r]) * (x - v[r]);
            }
        }
        UNROLL for (int h = 0; h < 2; h++) {
            // Lane l receives the whole of sum l.
            UNROLL for (int s = 16; s > 0; s >>= 1)
                UNROLL for (int i = 0; i < s; i++) {
                    bool upper = lane & s;
                    float keep = upper ? sum[h][i + s] : sum[h][i], give = upper ? sum[h][i] : sum[h][i + s];
                    sum[h][i] = keep + shflXorF(give, s);
                }
            float d32 = sum[h][0];
            int32_t row = r0 + 2 * h + lane / 16, query = lane % 16;
            bool sure = d32 > 1e-30f && d32 < infinity(); // neither underflow nor overflow nor NaN
            bool out = sure && (double)d32 * share > myDists[query * k + k - 1];
            uint32_t may = ballotOf(row < end && query < have && !out);
            syncWarp(); // all have read the lists that change now
            for (int32_t l = 0; l < 32 && may >> l > 0; l++) {
                if (!(may >> l & 1)) continue;
                int32_t at = l % 16 * k + lane, theirs = r0 + 2 * h + l / 16;
                Near e = {distance(q + (uint64_t)(l % 16) * d, bank + (uint64_t)theirs * d, d, lane), theirs};
                Near mine = none();
                if (lane < k) mine = {myDists[at], myRows[at]};
                insert(mine, e, lane);
                if (lane < k) myDists[at] = mine.d, myRows[at] = mine.row;
                syncWarp();
            }
        }
    }
    sync();
    for (int32_t i = warp; i < have; i += 8) {
        Near mine = none();
        for (int32_t w = 0; w < 8; w++)
            for (int32_t j = 0; j < k; j++) {
                int32_t at = (w * groupQueries + i) * k + j;
                insert(mine, {dists[at], rows[at]}, lane);
            }
        if (lane < k) {
            uint64_t at = ((uint64_t)(firstQuery + i) * splits + split) * k + lane;
            listD[at] = mine.d;
            listRow[at] = mine.row;
        }
    }
}
EMULATE(knn_topk)

// knn_merge: a warp a query; lists [n,splits,k] to [n,k]. Places beyond the bank's size get row -1.
KERNEL(32) knn_merge(const double* RESTRICT listD, const int32_t* RESTRICT listRow, int32_t k, int32_t splits, int32_t first,
                     int32_t accumulate, double* RESTRICT dist, int32_t* RESTRICT row) {
    int32_t lane = threadX(), at = blockX() * k + lane;
    Near mine = none();
    if (accumulate && lane < k && row[at] >= 0) mine = {dist[at], row[at]};
    const double* d = listD + (uint64_t)blockX() * splits * k;
    const int32_t* r = listRow + (uint64_t)blockX() * splits * k;
    for (int32_t s0 = 0; s0 < splits; s0 += 32) {
        int32_t s = s0 + lane;
        Near head = none(), last = nearOf(mine, k - 1);
        if (s < splits && r[s * k] != none().row) head = {d[s * k], r[s * k] + first};
        uint32_t may = ballotOf(before(head, last));
        for (int32_t l = 0; l < 32 && may >> l > 0; l++) {
            if (!(may >> l & 1)) continue;
            int32_t from = (s0 + l) * k + lane;
            Near theirs = none();
            if (lane < k && r[from] != none().row) theirs = {d[from], r[from] + first};
            for (int32_t j = 0; j < k; j++) insert(mine, nearOf(theirs, j), lane);
        }
    }
    if (lane < k) {
        dist[at] = mine.d;
        row[at] = mine.row == none().row ? -1 : mine.row;
    }
}
EMULATE(knn_merge)

// root is the square root, also of what no float32 holds.
DEVICE float root(double v) {
    if (v < 1e-30) return squareRoot((float)(v * 0x1p200)) * 0x1p-100f;
    if (v > 1e30) return squareRoot((float)(v * 0x1p-200)) * 0x1p100f;
    return squareRoot((float)v);
}

KERNEL(256) knn_score(const double* RESTRICT dist, int32_t count, int32_t squared, float* RESTRICT s) {
    int32_t l = blockX() * 256 + threadX();
    if (l < count) s[l] = squared ? (float)dist[l] : root(dist[l]);
}
EMULATE(knn_score)

// knn_gradient: a warp a location. Winners outside of this chunk of the bank are left alone.
KERNEL(256) knn_gradient(const float* RESTRICT queries, const float* RESTRICT bank, int32_t count, int32_t d, int32_t first,
                         int32_t m, const int32_t* RESTRICT winner, const double* RESTRICT dist, const float* RESTRICT dS,
                         int32_t squared, float* RESTRICT dq) {
    int32_t lane = laneOf(threadX()), l = blockX() * 8 + warpOf(threadX());
    if (l >= count || winner[l] < first || winner[l] - first >= m) return;
    const float* q = queries + (uint64_t)l * d;
    const float* b = bank + (uint64_t)(winner[l] - first) * d;
    float* out = dq + (uint64_t)l * d;
    float scale = 1;
    if (dS) scale = squared ? 2.0f * dS[l] : dS[l] / root(dist[l]);
    bool zero = (dS && dS[l] == 0) || dist[l] == 0;
    if (d % 4 == 0) {
        _Pragma("unroll 4") for (int32_t k = lane * 4; k < d; k += 128) {
            vec4 x = *(const vec4*)(q + k), y = *(const vec4*)(b + k);
            vec4 g = {scale * (x.x - y.x), scale * (x.y - y.y), scale * (x.z - y.z), scale * (x.w - y.w)};
            *(vec4*)(out + k) = zero ? vec4{0, 0, 0, 0} : g;
        }
    } else {
        _Pragma("unroll 4") for (int32_t k = lane; k < d; k += 32) out[k] = zero ? 0.0f : scale * (q[k] - b[k]);
    }
}
EMULATE(knn_gradient)
