"""Writes a network with seeded random weights as an ONNX file, for the benchmarks: layers 1 to 3 of a torchvision ResNet, or
EfficientNet-Lite0 of the package efficientnet-lite-pytorch as far as block 10.

    python3 export.py --arch resnet18 --out resnet18.onnx

The weights say nothing about any image; they are for measuring how fast a network runs, and whether two programs compute
the same. Batch normalisation has random statistics, too, so that folding it away changes every weight.
"""

import argparse
import os
import warnings

LAYERS = ["layer1", "layer2", "layer3"]
LITE, LITE_BLOCKS = "efficientnet-lite0", (2, 4, 10)
SEED = 20261124


def layers(arch):
    """The names of the layers that are read."""
    return [f"_blocks.{b}" for b in LITE_BLOCKS] if arch == LITE else LAYERS


def build(arch, seed=SEED, size=256):
    """The network as a module: an image [N,3,H,W] to its layers' features. In evaluation mode, without gradients of weights."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    if arch == LITE:
        from efficientnet_lite_pytorch import EfficientNet

        net = EfficientNet.from_name(LITE, image_size=size)  # of images of that size: its "same" padding is fixed
    else:
        import torchvision

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

    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(net._conv_stem, net._bn0, net._swish)
            self._blocks = net._blocks[: LITE_BLOCKS[-1] + 1]

        def forward(self, image):
            x, out = self.stem(image), []
            for i, block in enumerate(self._blocks):
                x = block(x)
                if i in LITE_BLOCKS:
                    out.append(x)
            return tuple(out)

    module = Blocks() if arch == LITE else Layers()
    return module.eval().requires_grad_(False), net


def export(arch, path, seed=SEED, size=256):
    import torch

    module, _ = build(arch, seed, size)
    image = torch.zeros(2, 3, size, size)
    beside = path + ".tmp.onnx"
    axes = {0: "batch", 2: "height", 3: "width"}
    if arch == LITE:  # the newer exporter does not write this opset
        how = {"dynamo": False, "opset_version": 13, "dynamic_axes": {"image": axes}}
    else:
        how = {"dynamo": True, "external_data": False, "dynamic_shapes": {"image": axes}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (image,), beside, input_names=["image"], output_names=outputs(arch), verbose=False, **how)
    os.replace(beside, path)


def outputs(arch):
    return [name.strip("_").replace(".", "") for name in layers(arch)]


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--arch", default="resnet18", help=f"a ResNet of torchvision (resnet18, wide_resnet50_2), or {LITE}")
    p.add_argument("--out", required=True, help="the file to write")
    p.add_argument("--seed", type=int, default=SEED)
    a = p.parse_args()
    export(a.arch, a.out, a.seed)
