// pointwise computes y = f(x0, x1, ...) element by element with numpy's broadcasting, f being a short program: it starts with
// x0, and each of its steps replaces what there is, v, by a function of v, of v and one of the inputs, or of two constants.
// Chains of a network's element-wise operators so read and write their values once, whatever they are: this is an interpreter.
//
// The form says where things are: words for the extents of y, outermost first as y lies in memory, how each input is read
// (its own elements one for one, or by strides), what is float16 or bits, and the program, which computes in float32.
//
// Geometry: a thread per element of an image, grid (elements/256, images). Bytes: each input read once (from the caches where it
// is repeated), y written once. Deterministic.
#include "network.cuh"

struct Step { uint32_t op; int32_t operand; float p, q; };

struct Form {
    int32_t rank, inputs, steps;
    uint32_t kinds; // two bits for each input, bit 8 for y
    int32_t extent[8];
    int32_t flat[4];      // 1: element i of y goes with element i
    int32_t stride[4][8]; // else
    Step program[16];
};

// errorFunction is erf x: x P(x^2) up to 1, then 1 - e^-Q(|x|), both fitted.
DEVICE float errorFunction(float x) {
    float a = absolute(x), z = x * x;
    if (a < 1.0f)
        return x * (1.12837917f + z * (-0.376126271f + z * (0.112836002f + z * (-0.0268544446f + z * (0.00518953543f +
                    z * (-0.000802084209f + z * 7.88912225e-05f))))));
    float t = 1.0f;
    if (!(a > 4.0f)) {
        float q = -0.000291022988f + a * (1.13011971f + a * (0.632013459f + a * (0.109909714f + a * (-0.0263275148f +
                  a * (0.00472768559f + a * (-0.000590202689f + a * (4.52980362e-05f + a * -1.59981644e-06f)))))));
        t = 1.0f - exponential(-q);
    }
    return x < 0 ? -t : t;
}

// The numbers of the operations are those of PointOp in pointwise.go.
DEVICE float apply(const Step& s, float v, float r) {
    switch (s.op) {
    case 0: return clip(v, s.p, s.q);
    case 1: return v < 0 ? s.p * v : v;
    case 2: return 1.0f / (1.0f + exponential(-v));
    case 3: return clip(s.p * v + s.q, 0.0f, 1.0f);
    case 4: return v * clip(v / 6.0f + 0.5f, 0.0f, 1.0f);
    case 5: return hyperbolicTangent(v);
    case 6: return exponential(v);
    case 7: return logarithm(v);
    case 8: return squareRoot(v);
    case 9: return absolute(v);
    case 10: return errorFunction(v);
    case 11: return v > 0 ? 1.0f : v < 0 ? -1.0f : v;
    case 12: return s.p < v && v < s.q ? 1.0f : 0.0f;
    case 13: return v + r;
    case 14: return v - r;
    case 15: return r - v;
    case 16: return v * r;
    case 17: return v / r;
    case 18: return r / v;
    case 19: return s.p < r && r < s.q ? v : v * 0.0f; // as the product of v and the step
    }
    return v;
}

KERNEL(256) pointwise(const Form* RESTRICT form, int32_t elements, const void* x0, const void* x1, const void* x2, const void* x3,
                      int32_t s0, int32_t s1, int32_t s2, int32_t s3, void* y) {
    int32_t i = blockX() * 256 + threadX(), image = blockY();
    if (i >= elements) return;
    const void* in[4] = {x0, x1, x2, x3};
    int32_t images[4] = {s0, s1, s2, s3};
    float v[4];
    UNROLL for (int j = 0; j < 4; j++) {
        v[j] = 0;
        if (j >= form->inputs) continue;
        int32_t at = i;
        if (!form->flat[j]) {
            at = 0;
            for (int32_t a = form->rank - 1, rest = i; a >= 0; a--) {
                int32_t d = form->extent[a];
                at += rest % d * form->stride[j][a];
                rest /= d;
            }
        }
        v[j] = loadAs(in[j], (offset_t)image * images[j] + at, form->kinds >> 2 * j & 3);
    }
    float acc = v[0];
    for (int32_t s = 0; s < form->steps; s++) {
        const Step& step = form->program[s];
        int32_t o = step.operand;
        acc = apply(step, acc, o == 0 ? v[0] : o == 1 ? v[1] : o == 2 ? v[2] : v[3]);
    }
    storeAs(y, (offset_t)image * elements + i, form->kinds >> 8 & 1, acc);
}
EMULATE(pointwise)
