// cells copies rectangles of cells between feature maps with their channels innermost, on the way adding or subtracting others:
//
//   out = a, a + b or a - b
//
// for so many rectangles of one size, cells of d float32 values. A table says in which cell of each array a rectangle begins, pitches
// how many cells further on its next row does. Out overlaps neither a nor b.
//
// Geometry: a thread per 4 values of a cell if d is a multiple of 4, else per value; grid (rows columns d/(4 256), rectangles).
// Bytes per value: 4 for each of a, b and out. Deterministic.
#include "network.cuh"

// Array is in values, 1 or 4 floats each.
template <class V, class F>
DEVICE void cells(const int32_t* table, int32_t rows, int32_t columns, int32_t d, int32_t outPitch, int32_t aPitch, int32_t bPitch,
                  const V* a, const V* b, V* out, F join) {
    int32_t i = blockX() * 256 + threadX(), k = blockY();
    if (i >= rows * columns * d) return;
    int32_t cell = i / d, row = cell / columns, column = cell % columns, e = i % d;
    auto at = [&](int32_t which, int32_t pitch) { return ((offset_t)table[3 * k + which] + row * pitch + column) * d + e; };
    out[at(0, outPitch)] = b ? join(a[at(1, aPitch)], b[at(2, bPitch)]) : a[at(1, aPitch)];
}

#define CELLS(name, V, expression)                                                                                              \
    KERNEL(256) name(const int32_t* RESTRICT table, int32_t rows, int32_t columns, int32_t d, int32_t outPitch, int32_t aPitch,  \
                     int32_t bPitch, float sign, const V* RESTRICT a, const V* RESTRICT b, V* RESTRICT out) {                    \
        cells(table, rows, columns, d, outPitch, aPitch, bPitch, a, b, out, [sign](V x, V y) -> V { return expression; });       \
    }                                                                                                                            \
    EMULATE(name)

CELLS(cells1, float, x + sign * y)
CELLS(cells4, vec4, (vec4{x.x + sign * y.x, x.y + sign * y.y, x.z + sign * y.z, x.w + sign * y.w}))
