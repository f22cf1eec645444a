// matmul multiplies batches of matrices that may lie in any way:
//
//   y[z,i,j] = bias[j] + sum over k of a[z; i am + k ak] b[z; k bk + j bn]
//
// For an image and each of a batch's matrices there is a place in a and in b, so that either may be shared. y is row-major.
//
// Geometry: tiles of 64 x 64, 256 threads with 4 x 4 results each, 16 k a step through shared memory, grid (images x batch x
// tiles). float32 multiply-adds in the order of k: deterministic. Operations: 2 M N K a matrix.
#include "network.cuh"

KERNEL(256) matmul(const float* RESTRICT a, const float* RESTRICT b, const int32_t* RESTRICT places, int32_t batch, int32_t aImage,
                   int32_t bImage, int32_t M, int32_t N, int32_t K, int32_t am, int32_t ak, int32_t bk, int32_t bn,
                   const float* RESTRICT bias, float* RESTRICT y) {
    const int32_t tile = 64, depth = 16, pitch = tile + 4;
    float* left = shared<float>();
    float* right = left + depth * pitch;
    int32_t down = (M + tile - 1) / tile, across = (N + tile - 1) / tile, t = blockX();
    int32_t j0 = t % across * tile, i0 = t / across % down * tile, z = t / across / down, image = z / batch, matrix = z % batch;
    a += (offset_t)image * aImage + places[2 * matrix];
    b += (offset_t)image * bImage + places[2 * matrix + 1];
    int32_t thread = threadX(), tx = thread % 16, ty = thread / 16;
    float acc[4][4];
    UNROLL for (int e = 0; e < 16; e++) acc[e / 4][e % 4] = 0;
    for (int32_t k0 = 0; k0 < K; k0 += depth) {
        for (int32_t e = thread; e < tile * depth; e += 256) {
            // Neighbouring threads read neighbouring values, whichever axis has them.
            int32_t i = ak == 1 ? e / depth : e % tile, k = ak == 1 ? e % depth : e / tile;
            left[k * pitch + i] = i0 + i < M && k0 + k < K ? a[(offset_t)(i0 + i) * am + (offset_t)(k0 + k) * ak] : 0.0f;
            int32_t j = bn == 1 ? e % tile : e / depth, l = bn == 1 ? e / tile : e % depth;
            right[l * pitch + j] = j0 + j < N && k0 + l < K ? b[(offset_t)(k0 + l) * bk + (offset_t)(j0 + j) * bn] : 0.0f;
        }
        sync();
        for (int32_t k = 0; k < least(depth, K - k0); k++) {
            vec4 u = *(const vec4*)(left + k * pitch + ty * 4), v = *(const vec4*)(right + k * pitch + tx * 4);
            float p[4] = {u.x, u.y, u.z, u.w}, q[4] = {v.x, v.y, v.z, v.w};
            UNROLL for (int e = 0; e < 16; e++) acc[e / 4][e % 4] += p[e / 4] * q[e % 4];
        }
        sync();
    }
    UNROLL for (int e = 0; e < 16; e++) {
        int32_t i = i0 + ty * 4 + e / 4, j = j0 + tx * 4 + e % 4;
        if (i < M && j < N) y[(offset_t)z * M * N + (offset_t)i * N + j] = acc[e / 4][e % 4] + (bias ? bias[j] : 0.0f);
    }
}
EMULATE(matmul)
