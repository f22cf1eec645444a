"""Records operators.json: small models in the ways in which ONNX has let operators be written, with ONNX Runtime's results.

onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6
"""

import base64
import json

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from gen_golden import draw

SHAPE = (2, 3, 6, 8)
X = draw("operators", int(np.prod(SHAPE)), 0, 1).reshape(SHAPE)
cases = []


def w(key, *shape, scale=1.0, base=0.0):
    return draw(key, int(np.prod(shape)), base, scale).reshape(shape)


def i64(*v):
    return np.array(v, np.int64)


def model(nodes, consts, opset, batch):
    tensors = []
    for name, v in consts.items():
        tensors.append(v if isinstance(v, TensorProto) else numpy_helper.from_array(np.asarray(v), name))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *SHAPE[1:]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    g = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(g, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def add(name, nodes, opset=17, batch="N", **consts):
    """The last node's output is y, the image x; nodes are lists (operator, inputs, outputs, attributes)."""
    nodes = [helper.make_node(op, i.split(",") if i else [], o.split(","), **a) for op, i, o, a in nodes]
    free = model(nodes, consts, opset, "N" if batch == "N" else None)
    m = model(nodes, consts, opset, batch)
    run = free if batch == "N" else m
    session = ort.InferenceSession(run.SerializeToString(), providers=["CPUExecutionProvider"])
    if batch == "N":
        y = session.run(["y"], {"x": X})[0]
    else:  # exported for one image: the results of each
        y = np.concatenate([session.run(["y"], {"x": X[i : i + 1]})[0] for i in range(len(X))])
    values = [float(f"{v:.8g}") for v in y.ravel()]
    data = base64.b64encode(m.SerializeToString()).decode()
    cases.append({"name": name, "model": data, "shape": list(y.shape), "values": values})


def one(name, op, opset=17, inputs="x", batch="N", consts=None, **attrs):
    add(f"{op} {name}", [(op, inputs, "y", attrs)], opset, batch, **(consts or {}))


def const(name, value):
    return ("Constant", "", name, {"value": numpy_helper.from_array(np.asarray(value), name)})


# convolutions and pools
k = {"k": w("k", 4, 3, 3, 3), "b": w("b", 4)}
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    one(auto, "Conv", inputs="x,k,b", consts=k, auto_pad=auto, strides=[2, 2])
    one(auto, "MaxPool", kernel_shape=[3, 2], auto_pad=auto, strides=[2, 3])

one("plain", "ConvTranspose", inputs="x,k", consts={"k": w("k", 3, 4, 3, 3)}, strides=[2, 2], output_padding=[1, 0])
one("ceil", "MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
one("ceil", "AveragePool", 19, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
one("padding", "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
one("", "GlobalMaxPool")
one("", "GlobalAveragePool")
norm = {"s": w("s", 3), "b": w("b", 3), "m": w("m", 3), "v": w("v", 3, base=2)}
one("", "BatchNormalization", inputs="x,s,b,m,v", consts=norm, epsilon=1e-3)
one("opset 11", "BatchNormalization", 11, inputs="x,s,b,m,v", consts=norm)
one("", "InstanceNormalization", inputs="x,s,b", consts={"s": norm["s"], "b": norm["b"]}, epsilon=1e-3)
one("last", "LayerNormalization", inputs="x,s,b", consts={"s": w("s", 8), "b": w("b", 8)})
one("two axes, no bias", "LayerNormalization", inputs="x,s", consts={"s": w("s", 6, 8)}, axis=2, epsilon=1e-2)

# element by element
for op in ("Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Exp", "Abs", "Neg", "Erf", "Identity", "Sign"):
    one("", op)
one("", "LeakyRelu", alpha=0.2)
one("", "Gelu", 20)
one("tanh", "Gelu", 20, approximate="tanh")
positive = [("Abs", "x", "a", {}), ("Add", "a,h", "p", {})]
for op in ("Log", "Sqrt", "Reciprocal"):
    add(op, positive + [(op, "p", "y", {})], h=np.float32(0.5))
for p in (-1.0, -0.5, 0.5, 1.0, 2.0, 3.0):
    add(f"Pow {p}", positive + [("Pow", "p,e", "y", {})], h=np.float32(0.5), e=np.float32(p))
add("Pow int", [("Pow", "x,e", "y", {})], e=np.int64(2))
one("both", "Clip", inputs="x,l,h", consts={"l": np.float32(-0.2), "h": np.float32(0.3)})
one("max", "Clip", 11, inputs="x,,h", consts={"h": np.float32(0.3)})
one("", "Max", inputs="x,h", consts={"h": np.float32(0.3)})
one("", "Min", inputs="h,x", consts={"h": np.float32([0.3])})
one("of three", "Sum", inputs="x,c,x", consts={"c": w("c", 3, 1, 1)})
for op in ("Add", "Sub", "Mul", "Div"):
    one("channels", op, inputs="x,c", consts={"c": w("c", 3, 1, 1, base=3)})
    one("from the left", op, inputs="c,x", consts={"c": w("c", 1, 6, 8, base=3)})
    add(f"{op} double", [(op, "x,c", "y", {})], c=w("c", 8, base=3).astype(np.float32))
one("", "Dropout", 11)
one("ratio", "Dropout", inputs="x,r", consts={"r": np.float32(0.3)})
add("Cast half and back", [("Cast", "x", "h", {"to": TensorProto.DOUBLE}), ("Cast", "h", "y", {"to": TensorProto.FLOAT})])
add("half constants", [("Cast", "c", "d", {"to": TensorProto.FLOAT}), ("Mul", "x,d", "y", {})], c=w("c", 8).astype(np.float16))
add("double constants", [("Cast", "c", "d", {"to": TensorProto.FLOAT}), ("Mul", "x,d", "y", {})], c=w("c", 8).astype(np.float64))
bf = helper.make_tensor("c", TensorProto.BFLOAT16, [3, 1, 1], [1.5, -2.25, 0.1])
add("bfloat16 constants", [("Cast", "c", "d", {"to": TensorProto.FLOAT}), ("Mul", "x,d", "y", {})], c=bf)
add("typed data", [("Mul", "x,c", "y", {})], c=helper.make_tensor("c", TensorProto.FLOAT, [3, 1, 1], [1.5, -2.25, 0.1]))
add("small integers", [("Cast", "c", "d", {"to": TensorProto.FLOAT}), ("Mul", "x,d", "y", {})], c=np.array([3, -2, 1, 0, 9, 8, 7, 6], np.int8))

# products
one("tokens", "MatMul", inputs="x,c", consts={"c": w("c", 8, 5)})
one("from the left", "MatMul", inputs="c,x", consts={"c": w("c", 4, 6)})
one("stacked", "MatMul", inputs="x,c", consts={"c": w("c", 3, 8, 5)})
nhwc = ("Transpose", "x", "t", {"perm": [0, 2, 3, 1]})
nchw = ("Transpose", "u", "y", {"perm": [0, 3, 1, 2]})
add("MatMul channels last", [nhwc, ("MatMul", "t,c", "m", {}), ("Add", "b,m", "u", {}), nchw], c=w("c", 3, 5), b=w("b", 5))
add("LayerNormalization channels last", [nhwc, ("LayerNormalization", "t,s,b", "u", {}), nchw], s=w("s", 3), b=w("b", 3))
add("channels last with rows and columns", [nhwc, ("Mul", "t,c", "u", {}), nchw], c=w("c", 6, 1, 3))
add("channels last and first", [nhwc, ("Transpose", "x", "v", {"perm": [0, 2, 3, 1]}), ("Sigmoid", "t", "s", {}),
                               ("Mul", "s,v", "y", {})])
add("Softmax channels last", [nhwc, ("Softmax", "t", "u", {}), nchw])
one("axis 1", "Softmax", axis=1)
one("opset 11", "Softmax", 11, axis=3)
flat = ("Flatten", "x", "f", {})
add("Gemm", [flat, ("Gemm", "f,c,b", "y", {"alpha": 0.5, "beta": 2.0})], c=w("c", 144, 5, scale=0.1), b=w("b", 5))
add("Gemm transB", [flat, ("Gemm", "f,c", "y", {"transB": 1})], c=w("c", 5, 144, scale=0.1))

# reductions
one("opset 11", "ReduceMean", 11, axes=[2, 3])
one("opset 18", "ReduceMean", 18, inputs="x,a", consts={"a": i64(-1, 1)}, keepdims=0)
one("opset 11", "ReduceSum", 11, axes=[1], keepdims=0)
one("opset 13", "ReduceSum", 13, inputs="x,a", consts={"a": i64(3)})
one("", "ReduceL2", axes=[1])
add("ReduceMean channels last", [nhwc, ("ReduceMean", "t", "y", {"axes": [1, 2], "keepdims": 0})])

# moving
add("Split opset 11", [("Split", "x", "a,b,c", {"axis": 3, "split": [3, 1, 4]}), ("Concat", "c,a,b", "y", {"axis": 3})], 11)
add("Split sizes", [("Split", "x,s", "a,b", {"axis": -1}), ("Concat", "b,a", "y", {"axis": -1})], 13, s=i64(2, 6))
add("Split equal", [("Split", "x", "a,b", {"axis": 2}), ("Sub", "a,b", "y", {})], 13)
add("Split uneven", [("Split", "x", "a,b", {"axis": 1, "num_outputs": 2}), ("Concat", "b,a", "y", {"axis": 1})], 18)
one("", "Slice", inputs="x,s,e,a,t", consts={"s": i64(-1, 1), "e": i64(-100, 100), "a": i64(3, 2), "t": i64(-2, 2)})
one("all axes", "Slice", inputs="x,s,e", consts={"s": i64(0, 1), "e": i64(2**62, 3)})
one("one", "Gather", inputs="x,i", consts={"i": np.int64(-2)}, axis=2)
one("some", "Gather", inputs="x,i", consts={"i": i64(5, 1, 3, 5, 0)}, axis=2)
one("constant", "Pad", inputs="x,p,v", consts={"p": i64(0, 0, 1, 2, 0, 0, 0, 1), "v": np.float32(0.5)})
one("reflect", "Pad", inputs="x,p", consts={"p": i64(0, 0, 1, 2, 0, 0, 0, 1)}, mode="reflect")
one("axes", "Pad", 18, inputs="x,p,,a", consts={"p": i64(1, 2, 0, 1), "a": i64(3, 1)}, mode="edge")
one("default", "Transpose", perm=[0, 3, 2, 1])
one("2", "Flatten", axis=1)
add("Squeeze opset 11", [("Unsqueeze", "x", "u", {"axes": [0, 3]}), ("Squeeze", "u", "y", {"axes": [0, 3]})], 11)
add("Squeeze opset 13", [("Unsqueeze", "x,a", "u", {}), ("Squeeze", "u,b", "y", {})], 13, a=i64(2, -1), b=i64(2))
add("Expand a value", [("ReduceMean", "x", "m", {"axes": [1]}), ("Expand", "m,s", "y", {})], s=i64(1, 4, 1, 1))
for mode in ("DCR", "CRD"):
    add(f"DepthToSpace {mode}", [("Conv", "x,k", "c", {}), ("DepthToSpace", "c", "y", {"blocksize": 2, "mode": mode})], k=w("k", 8, 3, 1, 1))
one("scales", "Resize", 11, inputs="x,r,s", consts={"r": np.zeros(0, np.float32), "s": np.float32([1, 1, 2, 1.5])}, mode="linear")
one("sizes", "Resize", 13, inputs="x,,,s", batch=1, consts={"s": i64(1, 3, 9, 4)}, mode="linear", coordinate_transformation_mode="align_corners")
one("pytorch", "Resize", 13, inputs="x,,s", consts={"s": np.float32([1, 1, 2, 2])}, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
one("upsample", "Resize", 13, inputs="x,,s", consts={"s": np.float32([1, 1, 2, 3])}, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
one("axes", "Resize", 18, inputs="x,,,s", consts={"s": i64(4, 12)}, axes=[3, 2], mode="linear")

# shapes
add("Reshape tokens and back", [("Reshape", "x,a", "t", {}), ("Transpose", "t", "u", {"perm": [0, 2, 1]}), ("Softmax", "u", "v", {}),
                                ("Transpose", "v", "z", {"perm": [0, 2, 1]}), ("Reshape", "z,b", "y", {})], a=i64(0, 3, -1), b=i64(-1, 3, 6, 8))
add("Reshape to no common factors", [("Reshape", "x,a", "y", {})], a=i64(0, 9, 16))
add("Reshape with one image baked in", [("Reshape", "x,a", "t", {}), ("Exp", "t", "y", {})], batch=1, a=i64(1, 144))
add("Reshape heads with one image baked in", [
    ("Reshape", "x,a", "t", {}), ("Transpose", "t", "u", {"perm": [0, 2, 1]}), ("MatMul", "t,u", "m", {}),
    ("Softmax", "m", "s", {}), ("MatMul", "s,t", "v", {}), ("Reshape", "v,b", "y", {})], batch=1, a=i64(3, 6, 8), b=i64(1, 3, 6, 8))
add("Reshape heads", [
    ("Reshape", "x,a", "t", {}), ("Transpose", "t", "u", {"perm": [0, 2, 1]}), ("MatMul", "t,u", "m", {}),
    ("Softmax", "m", "s", {}), ("MatMul", "s,t", "v", {}), ("Reshape", "v,b", "y", {})], a=i64(-1, 6, 8), b=i64(-1, 3, 6, 8))
add("batch second", [
    ("Reshape", "x,a", "t", {}), ("Transpose", "t", "u", {"perm": [1, 0, 2]}), ("MatMul", "u,c", "m", {}),
    ("Reshape", "m,b", "n", {}), ("Transpose", "n", "o", {"perm": [1, 0, 2]}), ("Reshape", "o,d", "p", {}),
    ("Transpose", "p", "y", {"perm": [0, 2, 1, 3]})], a=i64(0, 3, 48), c=w("c", 48, 10, scale=0.2), b=i64(3, -1, 5), d=i64(-1, 2, 3, 5))
add("Shape and friends", [
    ("Shape", "x", "s", {}), ("Gather", "s,zero", "n", {"axis": 0}), ("Gather", "s,two", "h", {"axis": 0}), ("Gather", "s,three", "q", {"axis": 0}),
    ("Mul", "h,q", "hq", {}), ("Unsqueeze", "n,ax", "n1", {}), ("Unsqueeze", "hq,ax", "hq1", {}), ("Concat", "n1,minus,hq1", "t", {"axis": 0}),
    ("Reshape", "x,t", "r", {}), ("Cast", "q", "qf", {"to": TensorProto.FLOAT}), ("Sqrt", "qf", "root", {}), ("Div", "r,root", "y", {})],
    zero=np.int64(0), two=np.int64(2), three=np.int64(3), ax=i64(0), minus=i64(-1))
add("class token", [
    ("Reshape", "x,a", "t", {}), ("Shape", "x", "s", {}), ("Slice", "s,i,j", "n", {}), ("Concat", "n,m,m", "e", {"axis": 0}),
    ("Shape", "e", "l", {}), ("ConstantOfShape", "l", "ones", {"value": numpy_helper.from_array(i64(1))}), ("Mul", "ones,m", "minus", {}),
    ("Equal", "e,minus", "same", {}), ("Where", "same,ones,e", "shape", {}), ("Expand", "cls,shape", "c", {}),
    ("Concat", "c,t", "all", {"axis": 1}), ("Add", "all,pos", "y", {})],
    a=i64(0, 3, 48), i=i64(0), j=i64(1), m=i64(-1), cls=w("cls", 1, 1, 48), pos=w("pos", 1, 4, 48))
add("constants at the end", [("Concat", "x,c", "y", {"axis": 1})], batch=1, c=w("c", 1, 2, 6, 8))
add("Range", [("Range", "i,j,k", "r", {}), ("Gather", "x,r", "y", {"axis": 3})], i=np.int64(1), j=np.int64(8), k=np.int64(3))
add("Tile", [("Tile", "c,t", "d", {}), ("Add", "x,d", "y", {})], c=w("c", 3, 1, 4), t=i64(1, 6, 2))
add("Constant", [const("c", w("c", 3, 1, 1)), ("Mul", "x,c", "y", {})])
add("unsorted", [("Exp", "x", "a", {}), ("Tanh", "a", "y", {})])

# opsets 9 and 10
for auto in ("SAME_UPPER", "SAME_LOWER", "VALID"):
    one(f"{auto} opset 9", "Conv", 9, inputs="x,k,b", consts=k, auto_pad=auto, strides=[2, 2])
    one(f"{auto} opset 9", "AveragePool", 9, kernel_shape=[3, 2], auto_pad=auto, strides=[2, 3])
one("opset 9", "ConvTranspose", 9, inputs="x,k", consts={"k": w("k", 3, 4, 3, 3)}, strides=[2, 2], output_padding=[1, 0])
one("opset 9", "MaxPool", 9, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
one("opset 9", "AveragePool", 9, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
one("opset 10", "MaxPool", 10, kernel_shape=[2, 2], strides=[2, 2], dilations=[2, 2], ceil_mode=1)
one("opset 10", "AveragePool", 10, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
one("opset 9", "BatchNormalization", 9, inputs="x,s,b,m,v", consts=norm)
one("opset 9", "InstanceNormalization", 9, inputs="x,s,b", consts={"s": norm["s"], "b": norm["b"]}, epsilon=1e-3)
for opset in (9, 10):
    one(f"both opset {opset}", "Clip", opset, min=-0.2, max=0.3)
    one(f"opset {opset}", "Dropout", opset, ratio=0.3)
    one(f"constant opset {opset}", "Pad", opset, pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5)
one("none opset 9", "Clip", 9)
one("max opset 9", "Clip", 9, max=0.3)
add("Clip constant opset 9", [("Clip", "c", "d", {"min": -0.2, "max": 0.3}), ("Mul", "x,d", "y", {})], 9, c=w("c", 3, 1, 1))
one("reflect opset 9", "Pad", 9, pads=[0, 0, 1, 2, 0, 0, 0, 1], mode="reflect")
one("edge opset 9", "Pad", 9, pads=[0, 1, 0, 1, 0, 2, 0, 0], mode="edge")
one("opset 9", "Slice", 9, starts=[-3, 1], ends=[-1, 100], axes=[3, 2])
one("all axes opset 9", "Slice", 9, starts=[0, 1], ends=[2**62, 3])
one("opset 10", "Slice", 10, inputs="x,s,e,a,t", consts={"s": i64(1, 1), "e": i64(7, 100), "a": i64(3, 2), "t": i64(3, 2)})
for op, opset in (("Upsample", 9), ("Resize", 10)):
    for mode in ("nearest", "linear"):
        one(mode, op, opset, inputs="x,s", consts={"s": np.float32([1, 1, 2, 3])}, mode=mode)
        one(f"{mode} in part", op, opset, inputs="x,s", consts={"s": np.float32([1, 1, 1.5, 2.25])}, mode=mode)
one("to half", "Resize", 10, inputs="x,s", consts={"s": np.float32([1, 1, 0.5, 0.25])}, mode="nearest")
one("linear to less", "Resize", 10, inputs="x,s", consts={"s": np.float32([1, 1, 0.7, 0.5])}, mode="linear")
add("Upsample computed scales", [("Constant", "", "two", {"value": numpy_helper.from_array(np.float32([2]))}), ("Concat", "o,o,two,two", "s", {"axis": 0}),
                                 ("Upsample", "x,s", "y", {"mode": "nearest"})], 9, o=np.float32([1]))
add("Gemm opset 9", [flat, ("Gemm", "f,c,b", "y", {"alpha": 0.5, "transB": 1})], 9, c=w("c", 5, 144, scale=0.1), b=w("b", 5))
one("opset 9", "Softmax", 9, axis=3)
add("Softmax of a matrix opset 9", [flat, ("Softmax", "f", "y", {})], 9)
one("opset 9", "ReduceMean", 9, axes=[2, 3], keepdims=0)
one("opset 9", "ReduceSum", 9, axes=[1])
add("MatMul opset 9", [nhwc, ("MatMul", "t,c", "m", {}), ("Add", "m,b", "u", {}), nchw], 9, c=w("c", 3, 5), b=w("b", 5))
add("Split opset 9", [("Split", "x", "a,b", {"axis": 2}), ("Concat", "b,a", "y", {"axis": 2})], 9)
add("Squeeze opset 9", [("Unsqueeze", "x", "u", {"axes": [0, 3]}), ("Squeeze", "u", "y", {"axes": [0, 3]})], 9)
add("DepthToSpace opset 9", [("Conv", "x,k", "c", {}), ("DepthToSpace", "c", "y", {"blocksize": 2})], 9, k=w("k", 8, 3, 1, 1))
one("opset 9", "Gather", 9, inputs="x,i", consts={"i": i64(5, 1, 3)}, axis=2)
add("Shape and friends opset 9", [
    ("Shape", "x", "s", {}), ("Slice", "s", "hw", {"axes": [0], "starts": [2], "ends": [4]}), ("Cast", "hw", "f", {"to": TensorProto.FLOAT}),
    ("Mul", "f,two", "g", {}), ("Floor", "g", "r", {}), ("Div", "r,f", "q", {}), ("Concat", "o,q", "v", {"axis": 0}), ("Upsample", "x,v", "y", {})],
    9, two=np.float32(2), o=np.float32([1, 1]))
add("Reshape tokens opset 9", [("Shape", "x", "s", {}), ("Gather", "s,zero", "n", {"axis": 0}), ("Unsqueeze", "n", "n1", {"axes": [0]}),
                               ("Concat", "n1,rest", "t", {"axis": 0}), ("Reshape", "x,t", "y", {})], 9, zero=np.int64(0), rest=i64(3, -1))
add("Where opset 9", [("Equal", "i,j", "e", {}), ("Where", "e,c,d", "k", {}), ("ConstantOfShape", "l", "z", {}), ("Add", "k,z", "m", {}),
                      ("Expand", "m,l", "n", {}), ("Tile", "n,r", "o", {}), ("Mul", "x,o", "y", {})], 9,
    i=i64(1, 2, 3).reshape(3, 1, 1), j=np.int64(2), c=w("c", 3, 1, 1), d=w("d", 3, 1, 1), l=i64(3, 1, 1), r=i64(1, 6, 8))

with open("operators.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
print(len(cases))
