// Kernels for races_test.go: in order if `right`, and otherwise with a race. Blocks of 64 threads; p are 256 words.
#include "f2pad.cuh"

// Shared memory: read after it was written, written after it was read, written twice.
KERNEL(64) race_written(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    s[i] = i;
    if (right) sync();
    p[blockX() * 64 + i] = s[63 - i];
}
EMULATE(race_written)

KERNEL(64) race_read(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    s[i] = i;
    sync();
    int32_t v = s[63 - i];
    if (right) sync();
    s[i] = v;
    p[i] = s[i];
}
EMULATE(race_read)

KERNEL(64) race_twice(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    if (i < 32 || !right) s[i % 32] = 7;
    sync();
    p[i] = s[i % 32];
}
EMULATE(race_twice)

// Many read a word at once, then one of them writes it.
KERNEL(64) race_all(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    if (i == 0) s[0] = 7;
    sync();
    p[i] = s[0];
    if (right) sync();
    if (i == 0) s[0] = 8;
}
EMULATE(race_all)

// One of each warp.
KERNEL(64) race_some(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    if (i == 0) s[0] = 7;
    sync();
    if (i % 32 == 0) p[i] = s[0];
    syncWarp();
    if (right) sync();
    if (i == 0) s[0] += 1;
}
EMULATE(race_some)

// Within a warp: what exchanges values does not order memory.
KERNEL(64) race_shfl(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    s[i] = i;
    uint32_t v = shflXor((uint32_t)i, 1);
    if (right) syncWarp();
    p[i] = s[i ^ 1] + (int32_t)v;
}
EMULATE(race_shfl)

KERNEL(64) race_ballot(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    s[i] = i;
    syncWarp();
    int32_t v = s[i ^ 1];
    uint32_t may = ballotOf(v > 3);
    if (right) syncWarp();
    if (may) s[i] = v;
    p[i] = s[i];
}
EMULATE(race_ballot)

// A syncWarp() orders what is before it, and not what comes later.
KERNEL(64) race_lanes(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    s[i] = i;
    syncWarp();
    int32_t v = s[i ^ 1];
    syncWarp();
    v += s[i ^ 2];
    uint32_t may = ballotOf(v > 3);
    if (right) syncWarp();
    if (may) s[i] = v;
    p[i] = s[i];
}
EMULATE(race_lanes)

// A warp's own barrier does not order warps.
KERNEL(64) race_warps(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    s[i] = i;
    if (right)
        sync();
    else
        syncWarp();
    p[i] = s[63 - i];
}
EMULATE(race_warps)

// Global memory: in a block, and between blocks.
KERNEL(64) race_global(int32_t right, int32_t* p) {
    int32_t i = threadX();
    p[i] = i;
    if (right) sync();
    p[64 + i] = p[63 - i];
}
EMULATE(race_global)

KERNEL(64) race_blocks_write(int32_t right, int32_t* p) { p[(right ? blockX() * 64 : 0) + threadX()] = 7; }
EMULATE(race_blocks_write)

KERNEL(64) race_blocks_read(int32_t right, int32_t* p) {
    int32_t i = threadX(), own = blockX() * 64 + i;
    int32_t v = p[right ? own : i];
    sync();
    p[own] = v + 1;
}
EMULATE(race_blocks_read)

KERNEL(64) race_blocks_all(int32_t right, int32_t* p) {
    int32_t i = threadX();
    int32_t v = p[0];
    sync();
    if (i == 0 && blockX() == 1 && !right) p[0] = v + 1;
}
EMULATE(race_blocks_all)

// Bytes and halves of a word are different memory, and parts of the word.
KERNEL(64) race_bytes(int32_t right, int32_t* p) {
    uint8_t* s = shared<uint8_t>();
    int32_t i = threadX();
    s[right ? i : i / 2] = (uint8_t)i;
    sync();
    p[i] = s[i / 2];
}
EMULATE(race_bytes)

KERNEL(64) race_part(int32_t right, int32_t* p) {
    uint16_t* s = shared<uint16_t>();
    int32_t i = threadX();
    s[i] = (uint16_t)i;
    if (right) sync();
    p[i] = (int32_t)((uint32_t*)s)[i / 2];
}
EMULATE(race_part)

KERNEL(64) race_vector(int32_t right, int32_t* p) {
    float* s = shared<float>();
    int32_t i = threadX();
    s[i] = (float)i;
    if (right) sync();
    p[i] = (int32_t)((vec4*)s)[i / 4].w;
}
EMULATE(race_vector)

// Asynchronous copies: nobody's until they are waited for, and then the thread's own.
KERNEL(64) race_copy_read(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    cpAsync4(s + i, p + i);
    cpCommit();
    if (right) cpWait<0>();
    p[64 + i] = s[i];
}
EMULATE(race_copy_read)

KERNEL(64) race_copy_write(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    cpAsync4(s + i, p + i, false);
    cpCommit();
    if (right) cpWait<0>();
    s[i] = 7;
    cpWait<0>();
    p[64 + i] = s[i];
}
EMULATE(race_copy_write)

KERNEL(64) race_copy_twice(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    cpAsync4(s + i, p + i);
    cpCommit();
    if (right) cpWait<0>();
    cpAsync4(s + i, p + 64 + i);
    cpCommit();
    cpWait<0>();
    p[128 + i] = s[i];
}
EMULATE(race_copy_twice)

KERNEL(64) race_copy_shared(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    cpAsync4(s + i, p + i);
    cpCommit();
    cpWait<0>();
    if (right) sync();
    p[64 + i] = s[63 - i];
}
EMULATE(race_copy_shared)

// A barrier before the wait does not help.
KERNEL(64) race_copy_early(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    cpAsync4(s + i, p + i);
    cpCommit();
    if (right) cpWait<0>();
    sync();
    p[64 + i] = s[63 - i];
    cpWait<0>();
}
EMULATE(race_copy_early)

// A stage of a pipeline is filled again while some still read it.
KERNEL(64) race_copy_refill(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    cpAsync4(s + i, p + i);
    cpCommit();
    cpWait<0>();
    sync();
    p[64 + i] = s[63 - i];
    if (right) sync();
    cpAsync4(s + i, p + 128 + i);
    cpCommit();
    cpWait<0>();
}
EMULATE(race_copy_refill)

// What is copied must not change meanwhile: by the thread itself, and by another one, barrier or not.
KERNEL(64) race_source(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    cpAsync4(s + i, p + i);
    cpCommit();
    if (right) cpWait<0>();
    p[i] = 7;
    cpWait<0>();
}
EMULATE(race_source)

KERNEL(64) race_source_late(int32_t right, int32_t* p) {
    int32_t* s = shared<int32_t>();
    int32_t i = threadX();
    cpAsync4(s + i, p + i);
    cpCommit();
    if (right) cpWait<0>();
    sync();
    p[63 - i] = 7;
    sync();
    cpWait<0>();
}
EMULATE(race_source_late)

// ldMatrix reads the rows that other lanes point at, and is no barrier.
KERNEL(64) race_matrix(int32_t right, int32_t* p) {
    uint16_t* s = shared<uint16_t>() + threadX() / 32 * 256;
    int32_t lane = threadX() % 32;
    for (int32_t k = 0; k < 8; k++) s[k * 32 + lane] = (uint16_t)lane;
    if (right) syncWarp();
    uint32_t r[4];
    ldMatrix(r, s + lane * 8);
    p[threadX()] = (int32_t)r[0];
}
EMULATE(race_matrix)

KERNEL(64) race_matrix_over(int32_t right, int32_t* p) {
    uint16_t* s = shared<uint16_t>() + threadX() / 32 * 256;
    int32_t lane = threadX() % 32;
    for (int32_t k = 0; k < 8; k++) s[k * 32 + lane] = (uint16_t)lane;
    syncWarp();
    uint32_t r[4];
    ldMatrixT(r, s + lane * 8);
    if (right) syncWarp();
    for (int32_t k = 0; k < 8; k++) s[k * 32 + lane] = (uint16_t)r[k % 4];
    p[threadX()] = s[lane];
}
EMULATE(race_matrix_over)
