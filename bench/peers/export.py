"""Writes a network with seeded random weights as an ONNX file, for the benchmarks: layers 1 to 3 of a torchvision ResNet.

    python3 export.py --arch resnet18 --out resnet18.onnx

The weights say nothing about any image; they are for measuring how fast a network runs, and whether two programs compute
the same. Batch normalisation has random statistics, too, so that folding it away changes every weight.
"""

import argparse
import os
import warnings

LAYERS = ["layer1", "layer2", "layer3"]
SEED = 20261124


def build(arch, seed=SEED):
    """The network as a module: an image [N,3,H,W] to its layers' features. In evaluation mode, without gradients of weights."""
    import torch
    import torchvision
    from torch import nn

    torch.manual_seed(seed)
    net = getattr(torchvision.models, arch)(weights=None)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            with torch.no_grad():
                m.weight.uniform_(0.8, 1.2)
                m.bias.uniform_(-0.1, 0.1)
                m.running_mean.uniform_(-0.1, 0.1)
                m.running_var.uniform_(0.8, 1.2)

    class Layers(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
            for name in LAYERS:
                setattr(self, name, getattr(net, name))

        def forward(self, image):
            x, out = self.stem(image), []
            for name in LAYERS:
                x = getattr(self, name)(x)
                out.append(x)
            return tuple(out)

    return Layers().eval().requires_grad_(False), net


def export(arch, path, seed=SEED, size=256):
    import torch

    layers, _ = build(arch, seed)
    image = torch.zeros(2, 3, size, size)
    beside = path + ".tmp.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            layers, (image,), beside, input_names=["image"], output_names=LAYERS, dynamo=True, external_data=False,
            dynamic_shapes={"image": {0: "batch", 2: "height", 3: "width"}}, verbose=False,
        )
    os.replace(beside, path)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--arch", default="resnet18", help="a ResNet of torchvision: resnet18, wide_resnet50_2")
    p.add_argument("--out", required=True, help="the file to write")
    p.add_argument("--seed", type=int, default=SEED)
    a = p.parse_args()
    export(a.arch, a.out, a.seed)
