"""Records golden.json: conditional flows in PyTorch (float64), block by block as FrEIA's AllInOneBlock defines them, with the
position encoding and the anomaly map of cflow-ad. Needs numpy and torch 2. Usage: python gen_golden.py"""

import json
import math
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "methodtest/testdata"))
from values import batch, rounded, values  # noqa: E402

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)

LAYERS = [(6, 8, 12), (5, 4, 6)]
CONDITION, BLOCKS, CLAMP = 8, 3, 1.9
IMAGES = 2


def positionalencoding2d(d, h, w):
    """cflow-ad, utils.py."""
    p = torch.zeros(d, h, w)
    d = d // 2
    div = torch.exp(torch.arange(0.0, d, 2) * -(math.log(1e4) / d))
    pos_w, pos_h = torch.arange(0.0, w).unsqueeze(1), torch.arange(0.0, h).unsqueeze(1)
    p[0:d:2] = torch.sin(pos_w * div).transpose(0, 1).unsqueeze(1).repeat(1, h, 1)
    p[1:d:2] = torch.cos(pos_w * div).transpose(0, 1).unsqueeze(1).repeat(1, h, 1)
    p[d::2] = torch.sin(pos_h * div).transpose(0, 1).unsqueeze(2).repeat(1, 1, w)
    p[d + 1 :: 2] = torch.cos(pos_h * div).transpose(0, 1).unsqueeze(2).repeat(1, 1, w)
    return p


class Block(torch.nn.Module):
    """AllInOneBlock of FrEIA with its default clamp by tanh, softplus scales and a fixed linear map at the end."""

    def __init__(self, d, cond, weight):
        super().__init__()
        self.split = (d - d // 2, d // 2)
        width = self.split[0] + cond
        self.subnet = torch.nn.Sequential(
            torch.nn.Linear(width, 2 * width), torch.nn.ReLU(), torch.nn.Linear(2 * width, 2 * self.split[1])
        )
        self.subnet[0].weight.data = weight(width, 2 * width).T
        self.subnet[0].bias.data = weight(2 * width)
        self.subnet[2].weight.data = weight(2 * width, 2 * self.split[1]).T
        self.subnet[2].bias.data = weight(2 * self.split[1])
        self.global_scale = torch.nn.Parameter(2 * math.log(math.exp(5) - 1) + weight(d))
        self.global_offset = torch.nn.Parameter(weight(d))
        perm = torch.arange(d).roll(1)
        self.register_buffer("w_perm", torch.eye(d)[perm])  # y_i = x_perm[i]

    def forward(self, x, c):
        x1, x2 = torch.split(x, self.split, dim=1)
        a = self.subnet(torch.cat([x1, c], 1)) * 0.1
        n = self.split[1]
        s = CLAMP * torch.tanh(a[:, :n])
        x2 = x2 * torch.exp(s) + a[:, n:]
        scale = 0.1 * F.softplus(self.global_scale, beta=0.5)
        y = F.linear(torch.cat([x1, x2], 1) * scale + self.global_offset, self.w_perm)
        return y, s.sum(1) + torch.log(scale).sum()


def flow(layer, d):
    count = 0

    def weight(*shape):
        nonlocal count
        count += 1
        return torch.from_numpy(values(math.prod(shape), 1000 * (layer + 1) + count).reshape(shape))

    return torch.nn.ModuleList(Block(d, CONDITION, weight) for _ in range(BLOCKS))


def log_density(blocks, x, c):
    """log p / D of vectors x [n,D]: get_logp of cflow-ad, divided by D."""
    logdet = 0
    for b in blocks:
        x, j = b(x, c)
        logdet = logdet + j
    d = x.shape[1]
    return (d * -0.9189385332046727 - 0.5 * (x**2).sum(1) + logdet) / d


def record():
    f = [x.requires_grad_() for x in batch(LAYERS, 0, IMAGES)]
    flows = [flow(l, d) for l, (d, _, _) in enumerate(LAYERS)]
    maps = []
    for x, (d, h, w), blocks in zip(f, LAYERS, flows):
        c = positionalencoding2d(CONDITION, h, w).permute(1, 2, 0).reshape(h * w, CONDITION).repeat(IMAGES, 1)
        q = log_density(blocks, x.permute(0, 2, 3, 1).reshape(-1, d), c)
        maps.append(q.reshape(IMAGES, 1, h, w))
    tops = [m.max() for m in maps]
    means = [m.mean() for m in maps]
    size = LAYERS[0][1:]

    def up(m):
        return F.interpolate(m, size=size, mode="bilinear", align_corners=False)

    total = sum(up(torch.exp(m - t.detach())) for m, t in zip(maps, tops))
    most = total.max().detach()
    distance = sum(
        up(torch.sqrt(((t - m) / (t - a)).clamp(min=0)))
        for m, t, a in zip(maps, [t.detach() for t in tops], [a.detach() for a in means])
    ) / len(maps)
    golden = {"tops": rounded([t.item() for t in tops]), "means": rounded([a.item() for a in means]), "most": most.item()}
    golden["q"] = [rounded(m.detach()) for m in maps]
    golden["published"] = rounded((most - total).detach())
    for name, s in {"sum": torch.log(most) - torch.log(total), "mean": distance}.items():
        dS = torch.from_numpy(values(s.numel(), 77).reshape(s.shape))
        if name == "mean":  # the root has no slope at the very top
            dS[s.detach() < 1e-3] = 0
        else:
            dS[s.detach() < 1e-6] = 0
        grads = torch.autograd.grad((s * dS).sum(), f, retain_graph=True)
        golden[name] = {"scores": rounded(s.detach()), "grads": [rounded(g) for g in grads]}
    # The training loss of all vectors of the first layer, and its gradient w.r.t. each block's parameters, as the Go order has them.
    loss = -F.logsigmoid(maps[0]).mean()
    grads = []
    for b in flows[0]:
        w1, b1, w2, b2 = (b.subnet[i] for i in (0, 0, 2, 2))
        g = torch.autograd.grad(
            loss, [w1.weight, b1.bias, w2.weight, b2.bias, b.global_scale, b.global_offset], retain_graph=True
        )
        for k, v in enumerate(g):
            grads.append(rounded(v.T if k in (0, 2) else v))
    golden["loss"], golden["parameters"] = loss.item(), grads
    return golden


Path(__file__).with_name("golden.json").write_text(json.dumps(record()) + "\n")
