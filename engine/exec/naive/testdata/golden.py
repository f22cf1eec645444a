"""Records what PyTorch computes in float64 for the operators with tricky semantics: python golden.py > golden.json

Inputs are multiples of 1/16, so that float32 holds them and the file stays small."""
import json

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(0)
cases = []


def rand(*shape):
    return torch.randint(-40, 40, shape).double() / 16


def distinct(*shape):
    n = torch.Size(shape).numel()
    return ((torch.randperm(n) - n // 2).double() / 16).reshape(shape)


def typed(v):
    if isinstance(v, str):
        return {"string": v}
    if isinstance(v, list):
        return {"floats" if isinstance(v[0], float) else "ints": v}
    return {"float" if isinstance(v, float) else "int": v}


def array(t):
    return {"shape": list(t.shape), "data": [float(f"{v:.12g}") for v in t.flatten().tolist()]}


def record(name, op, y, values, consts=(), **attrs):
    cases.append({
        "name": name, "op": op, "attrs": {k: typed(v) for k, v in attrs.items()},
        "values": [array(v) for v in values], "consts": [array(c) for c in consts], "want": array(y),
    })


def linear(name, op, f, x, grad=None, **attrs):
    """One operator of x, and its adjoint if grad names the backward operator."""
    x = x.clone().requires_grad_()
    y = f(x)
    record(name, op, y, [x.detach()], **attrs)
    if grad:
        dy = rand(*y.shape)
        y.backward(dy)
        record(name, grad, x.grad, [dy], shape_in=[-1, *x.shape[1:]], **attrs)


# Convolutions
x = rand(2, 4, 6, 5)
w, b = rand(6, 2, 3, 2), rand(6)
record("stride, pads, dilation, groups", "Conv", F.conv2d(x, w, b, (2, 1), (2, 1), (2, 3), 2), [x], [w, b],
       strides=[2, 1], pads=[2, 1, 2, 1], dilations=[2, 3], group=2)
w = rand(3, 4, 2, 3)
record("one-sided pads, no bias", "Conv", F.conv2d(F.pad(x, (0, 2, 1, 0)), w), [x], [w], pads=[1, 0, 0, 2])
w, b = rand(4, 1, 3, 3), rand(4)
record("depthwise", "Conv", F.conv2d(x, w, b, 2, 1, 1, 4), [x], [w, b], strides=[2, 2], pads=[1, 1, 1, 1], group=4)
x = rand(2, 4, 3, 4)
w, b = rand(4, 3, 3, 2), rand(6)
record("stride, output_padding, groups", "ConvTranspose",
       F.conv_transpose2d(x, w, b, (2, 3), (1, 0), (1, 2), 2, (1, 2)), [x], [w, b],
       strides=[2, 3], pads=[1, 0, 1, 0], dilations=[1, 2], output_padding=[1, 2], group=2)
w = rand(4, 2, 3, 3)
record("one-sided pads", "ConvTranspose", F.conv_transpose2d(x, w)[:, :, 1:, :-2], [x], [w], pads=[1, 0, 0, 2])
scale, shift, mean, var = rand(4), rand(4), rand(4), rand(4).abs() + 0.5
record("eval", "BatchNormalization", F.batch_norm(x, mean, var, scale, shift, False, 0, 0.25), [x],
       [scale, shift, mean, var], epsilon=0.25)

# Pooling
x = distinct(2, 1, 6, 7)
for ceil in (0, 1):
    y, at = F.max_pool2d(x, (3, 2), (2, 3), (1, 1), ceil_mode=bool(ceil), return_indices=True)
    how = dict(kernel_shape=[3, 2], strides=[2, 3], pads=[1, 1, 1, 1], ceil_mode=ceil)
    record(f"ceil {ceil}", "MaxPool", y, [x], **how)
    dy = rand(*y.shape)
    dx = torch.zeros(2, 1, 42, dtype=torch.float64).scatter_add_(2, at.flatten(2), dy.flatten(2)).reshape(x.shape)
    record(f"ceil {ceil}", "MaxPoolGrad", dx, [dy, x], **how)
    for include in (0, 1):
        linear(f"ceil {ceil}, include pad {include}", "AveragePool",
               lambda x: F.avg_pool2d(x, (3, 2), (2, 3), (1, 1), bool(ceil), bool(include)), x, "AveragePoolGrad",
               count_include_pad=include, **how)
record("negative, padded, dilated", "MaxPool", F.max_pool2d(x - 9, 2, 1, 1, 3), [x - 9],
       kernel_shape=[2, 2], pads=[1, 1, 1, 1], dilations=[3, 3])
x5 = distinct(1, 1, 5, 5)
record("window that would start in the padding", "MaxPool", F.max_pool2d(x5, 2, 3, 1, ceil_mode=True), [x5],
       kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1)
tied = torch.tensor([[1, 3, 3, 3, 2], [3, 0, 3, 1, 3]]).double().reshape(1, 1, 2, 5).requires_grad_()
y = F.max_pool2d(tied, 2, 1)
dy = rand(*y.shape)
y.backward(dy)
record("ties", "MaxPoolGrad", tied.grad, [dy, tied.detach()], kernel_shape=[2, 2])
linear("", "GlobalAveragePool", lambda x: F.adaptive_avg_pool2d(x, 1), x)

# Padding and resizing
x = rand(2, 1, 4, 5)
for mode, torch_mode in (("reflect", "reflect"), ("edge", "replicate"), ("constant", "constant")):
    value = {"value": 1.5} if mode == "constant" else {}
    linear(mode, "Pad", lambda x: F.pad(x, (1, 4, 3, 2), torch_mode, **value), x, "PadGrad",
           pads=[0, 0, 3, 1, 0, 0, 2, 4], mode=mode, **value)
for size in ([7, 3], [2, 11], [1, 1]):
    how = dict(sizes=[-1, 1, *size], mode="linear")
    for corners, coordinates in ((False, "half_pixel"), (True, "align_corners")):
        linear(f"linear {coordinates} {size}", "Resize",
               lambda x: F.interpolate(x, size, mode="bilinear", align_corners=corners), x, "ResizeGrad",
               coordinate_transformation_mode=coordinates, **how)
    linear(f"nearest asymmetric floor {size}", "Resize", lambda x: F.interpolate(x, size, mode="nearest"), x, "ResizeGrad",
           sizes=[-1, 1, *size], coordinate_transformation_mode="asymmetric", nearest_mode="floor")
how = dict(mode="linear", scales=[1.0, 1.0, 1.75, 0.75])
linear("linear scales", "Resize", lambda x: F.interpolate(x, scale_factor=(1.75, 0.75), mode="bilinear"), x, "ResizeGrad", **how)
x = rand(2, 1, 5, 5)  # odd extents: nowhere lies a source halfway, where nearest-exact rounds the other way
linear("nearest half_pixel", "Resize", lambda x: F.interpolate(x, (7, 3), mode="nearest-exact"), x, "ResizeGrad",
       sizes=[-1, 1, 7, 3])

# Pointwise
x = torch.linspace(-4, 4, 17).double().reshape(1, 17)
for op, f, attrs in (
    ("Relu", F.relu, {}),
    ("LeakyRelu", lambda x: F.leaky_relu(x, 0.25), {"alpha": 0.25}),
    ("LeakyRelu", lambda x: F.leaky_relu(x, torch.tensor(0.01).item()), {}),
    ("Clip", lambda x: x.clamp(-1.5, 2), {"min": -1.5, "max": 2.0}),
    ("Clip", lambda x: x.clamp(min=-1.5), {"min": -1.5}),
    ("Sigmoid", torch.sigmoid, {}),
    ("HardSigmoid", lambda x: (0.25 * x + 0.375).clamp(0, 1), {"alpha": 0.25, "beta": 0.375}),
    ("HardSigmoid", lambda x: (torch.tensor(0.2).item() * x + 0.5).clamp(0, 1), {}),
    ("HardSwish", F.hardswish, {}),
    ("Tanh", torch.tanh, {}),
    ("Exp", torch.exp, {}),
    ("Abs", torch.abs, {}),
    ("Erf", torch.erf, {}),
    ("Sign", torch.sign, {}),
    ("Step", lambda x: ((x > -1.5) & (x < 2)).double(), {"min": -1.5, "max": 2.0}),
    ("Step", lambda x: (x > 0).double(), {"min": 0.0}),
):
    record(f"{attrs}", op, f(x), [x], **attrs)
positive = x[:, 9:]
record("", "Log", positive.log(), [positive])
record("", "Sqrt", positive.sqrt(), [positive])
a, c = rand(2, 3, 1, 4), rand(5, 1) + 0.03125
for op, f in (("Add", torch.add), ("Sub", torch.sub), ("Mul", torch.mul), ("Div", torch.div)):
    record("broadcast", op, f(a, c), [a], [c])
a, dy = rand(2, 3, 1, 4), rand(2, 3, 5, 4)
record("", "SumTo", dy.sum_to_size(2, 3, 1, 4), [dy], shape_in=[-1, 3, 1, 4])

# Linear algebra and layout
a, c = rand(2, 3, 4, 5), rand(3, 5, 2)
record("batch", "MatMul", a @ c, [a], [c])
a, c, d = rand(3, 4), rand(2, 4), rand(2)
record("transB", "Gemm", torch.addmm(d, a, c.T, beta=0.5, alpha=2), [a], [c, d], transB=1, alpha=2.0, beta=0.5)
record("", "Gemm", a @ c.T, [a], [c.T.contiguous()])
x = rand(2, 3, 4, 5)
for axis in (1, -1):
    record(f"axis {axis}", "Softmax", x.softmax(axis), [x], axis=axis)
record("keepdims", "ReduceMean", x.mean((1, 3), keepdim=True), [x], axes=[-1, 1])
record("axes dropped", "ReduceMean", x.mean((1, 3)), [x], axes=[1, 3], keepdims=0)
record("", "Transpose", x.permute(0, 3, 1, 2), [x], perm=[0, 3, 1, 2])
record("", "Reshape", x.reshape(2, 4, 3, 5), [x], shape=[0, -1, 3, 5])
record("", "Concat", torch.cat([x, x[:, :, :2] + 1], 2), [x, x[:, :, :2] + 1], axis=-2)
linear("", "Slice", lambda x: x[:, 1:, -3:4:2], x, "SliceGrad", starts=[1, -3], ends=[99, 4], axes=[1, -2], steps=[1, 2])

print(json.dumps(cases, separators=(",", ":")).replace('{"name"', '\n{"name"'))
