// separable applies a linear map that is one along each axis: to move, cut, pad, turn, resize, pool by averages or sum arrays, and
// the adjoints of all that.
//
//   y[o_1,...,o_r] = sum over taps t_1 of o_1 ... sum over taps t_r of o_r  w_{t_1} ... w_{t_r} x[offset_{t_1} + ... + offset_{t_r}]
//
// Each coordinate of each axis has a list of taps (a place and a weight). Where a list is empty y is a constant. y may be a box
// within a larger array. Sums are float32; x is float32, float16 or bits, y is float32 or float16.
//
// Geometry: a thread per element of y, innermost as y lies in memory, grid (elements/256, images). Bytes: x read once (from the
// caches where lists overlap), y written once. Operations: 2 for each tap of the innermost lists. Sums are nested by axes, in
// the order of the lists: deterministic.
#include "network.cuh"

struct Tap { int32_t offset; float weight; };

// The axes, outermost first: as many as the kernel has, the first ones of extent 1 where there are fewer.
struct Axes {
    int32_t extent[7];
    int32_t stride[7]; // of y
    int32_t lists[7];  // where in starts the axis begins: coordinate c has taps starts[c] to starts[c+1]
};

template <int a, int axes> struct Nest {
    DEVICE float sum(const void* x, offset_t at, uint32_t kind, const Tap* taps, const int32_t (&first)[axes], const int32_t (&end)[axes]) {
        float v = 0;
        for (int32_t t = first[a]; t < end[a]; t++)
            v += taps[t].weight * Nest<a + 1, axes>::sum(x, at + taps[t].offset, kind, taps, first, end);
        return v;
    }
};
template <int axes> struct Nest<axes, axes> {
    DEVICE float sum(const void* x, offset_t at, uint32_t kind, const Tap*, const int32_t (&)[axes], const int32_t (&)[axes]) {
        return loadAs(x, at, kind);
    }
};

template <int axes>
DEVICE void separable(const Axes* form, const int32_t* starts, const Tap* taps, int32_t elements, const void* x,
                      int32_t inImage, float none, void* y, int32_t outImage, uint32_t kinds) {
    int32_t rest = blockX() * 256 + threadX(), at = 0, first[axes], end[axes];
    offset_t image = blockY();
    if (rest >= elements) return;
    bool empty = false;
    UNROLL for (int a = axes - 1; a >= 0; a--) {
        int32_t d = form->extent[a], c = rest % d;
        rest /= d;
        at += c * form->stride[a];
        first[a] = starts[form->lists[a] + c], end[a] = starts[form->lists[a] + c + 1];
        empty = empty || first[a] == end[a];
    }
    float v = empty ? none : Nest<0, axes>::sum(x, image * inImage, kinds & 3, taps, first, end);
    storeAs(y, image * outImage + at, kinds >> 2 & 1, v);
}

#define SEPARABLE(axes)                                                                                                      \
    KERNEL(256) separable##axes(const Axes* RESTRICT form, const int32_t* RESTRICT starts, const Tap* RESTRICT taps,          \
                                int32_t elements, const void* RESTRICT x, int32_t inImage, float none, void* RESTRICT y,      \
                                int32_t outImage, uint32_t kinds) {                                                          \
        separable<axes>(form, starts, taps, elements, x, inImage, none, y, outImage, kinds);                                  \
    }                                                                                                                         \
    EMULATE(separable##axes)

SEPARABLE(3)
SEPARABLE(7)
