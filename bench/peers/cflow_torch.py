"""CFLOW-AD in PyTorch, for the benchmarks: the flows of f2pad's engine/method/cflow, block by block as FrEIA's AllInOneBlock,
trained on the features and with the options of f2pad, by Adam of PyTorch.
"""

import math
import time

import torch
from torch import nn
from torch.nn import functional as F

STREAMS, PARAMETERS, STEPS = 4, 2, 3  # of Go's seeds: engine/method/cflow/fit.go
LEARNED = ("w1", "b1", "w2", "b2", "scale", "offset")  # of a block, in Go's order


def encoding(h, w, c):
    """[h,w,c]: cflow-ad's positionalencoding2d."""
    def axis(n):
        k = torch.arange(0, c // 2, 2, dtype=torch.float64)
        at = torch.arange(n, dtype=torch.float64)[:, None] * torch.exp(-k * math.log(1e4) / (c // 2))
        return torch.stack([at.sin(), at.cos()], 2).reshape(n, c // 2)

    rows, cols = axis(h)[:, None].expand(h, w, -1), axis(w)[None].expand(h, w, -1)
    return torch.cat([cols, rows], 2).float()


class Block(nn.Module):
    def __init__(self, d, c, clamp, mix):
        super().__init__()
        self.clamp, self.left, self.right = clamp, d - d // 2, d // 2
        wide, hidden = self.left + c, 2 * (self.left + c)
        u, v = 1 / math.sqrt(wide), 1 / math.sqrt(hidden)
        new = lambda spread, *shape: nn.Parameter(torch.empty(shape).uniform_(-spread, spread))
        self.w1, self.b1 = new(u, wide, hidden), new(u, hidden)
        self.w2, self.b2 = new(v, hidden, 2 * self.right), new(v, 2 * self.right)
        self.scale = nn.Parameter(torch.full((d,), 2 * math.log(math.expm1(5))))
        self.offset = nn.Parameter(torch.zeros(d))
        self.register_buffer("mix", mix)  # multiplied from the right
        self.joined = None

    def join(self):
        """Scale, offset and rotation in one product, once they do not change any more."""
        g = 0.1 * F.softplus(self.scale, beta=0.5)
        self.joined = self.offset @ self.mix, g[:, None] * self.mix, g.log().sum()

    def forward(self, y, c):
        left, right = y[:, : self.left], y[:, self.left :]
        h = torch.addmm(self.b1, torch.cat([left, c], 1) if c is not None else left, self.w1).relu_()
        a = torch.addmm(self.b2, h, self.w2) * 0.1
        s = self.clamp * torch.tanh(a[:, : self.right])
        y = torch.cat([left, right * s.exp() + a[:, self.right :]], 1)
        if self.joined:
            offset, mix, log = self.joined
            return torch.addmm(offset, y, mix), s.sum(1) + log
        g = 0.1 * F.softplus(self.scale, beta=0.5)
        return (y * g + self.offset) @ self.mix, s.sum(1) + g.log().sum()


class Flow(nn.Module):
    """log p / D of whitened vectors [n,D] under codes [n,C] of their positions. whiten is (mean [D], M' [D,D]), or None."""

    def __init__(self, d, h, w, options, mixes, whiten=None):
        super().__init__()
        self.d, self.c, self.whiten, self.det = d, options["condition"], whiten, 0.0
        if whiten:
            self.det = whiten[1].diagonal().double().log().sum().item()
        self.codes = encoding(h, w, self.c).reshape(h * w, self.c) if self.c else None
        self.blocks = nn.ModuleList(Block(d, self.c, options["clamp"], m) for m in mixes)

    def prepared(self, x):
        return (x - self.whiten[0]) @ self.whiten[1] if self.whiten else x

    def forward(self, y, c):
        det = self.det
        for b in self.blocks:
            y, log = b(y, c)
            det = det + log
        return (det - 0.5 * (y * y).sum(1)) / self.d - 0.5 * math.log(2 * math.pi)

    def learned(self):
        return [getattr(b, name) for b in self.blocks for name in LEARNED]

    def set(self, theta):
        """Takes parameters in Go's order."""
        at = 0
        with torch.no_grad():
            for p in self.learned():
                p.copy_(theta[at : at + p.numel()].reshape(p.shape))
                at += p.numel()

    def grid(self, f):
        """log p / D of feature maps [N,D,h,w]: [N,h,w]."""
        n, d, h, w = f.shape
        x = self.prepared(f.permute(0, 2, 3, 1).reshape(-1, d))
        return self(x, self.codes.repeat(n, 1) if self.c else None).reshape(n, h, w)


def like_go(flow, seed, layer):
    """The parameters that Go begins with: the same draws of math/rand/v2's PCG."""
    from f2pad_torch import Choice

    rng = Choice(seed, layer * STREAMS + PARAMETERS, True)
    theta = []
    for b in flow.blocks:
        wide, hidden = b.w1.shape
        spreads = {"w1": 1 / math.sqrt(wide), "b1": 1 / math.sqrt(wide), "w2": 1 / math.sqrt(hidden), "b2": 1 / math.sqrt(hidden)}
        for name in LEARNED:
            start, spread = (2 * math.log(math.expm1(5)) if name == "scale" else 0), spreads.get(name, 0)
            theta += [
                start + spread * (2 * (rng.word() & (1 << 53) - 1) / (1 << 53) - 1) for _ in range(getattr(b, name).numel())
            ]
    flow.set(torch.tensor(theta, dtype=torch.float64))


def batches(seed, layer, steps, n, size):
    """The vectors of Go's steps."""
    from f2pad_torch import Choice

    for step in range(steps):
        rng = Choice(seed, step << 16 | layer * STREAMS + STEPS, True)
        yield torch.tensor([rng.below(n) for _ in range(size)])


def rate(o, step, steps):
    rise = o["warm_up"] * steps
    if step < rise:
        return o["rate"] * (0.1 + 0.9 * step / rise)
    last = o["rate"] * o["last_rate"]
    return last + (o["rate"] - last) * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1))) / 2


def loss_of(o, q):
    return -F.logsigmoid(q).mean() if o["loss"] == "logsigmoid" else -q.mean()


def optimiser(flow, o, fused):
    return torch.optim.Adam(flow.learned(), lr=o["rate"], fused=fused)


def steps_of(count, vectors, o):
    steps = math.ceil(o["passes"] * vectors / o["batch"])
    return min(steps, o["max_steps"]) if o["max_steps"] else steps


def train(flow, x, at, o, chosen, steps, fused=True, look=None):
    """Trains on vectors x [n,D], already prepared, at cells at [n]; chosen yields each step's. Returns the losses."""
    opt = optimiser(flow, o, fused)
    losses = []
    for step, k in zip(range(steps), chosen):
        for g in opt.param_groups:
            g["lr"] = rate(o, step, steps)
        opt.zero_grad(set_to_none=True)
        loss = loss_of(o, flow(x[k], flow.codes[at[k]] if flow.c else None))
        loss.backward()
        opt.step()
        losses.append(loss.detach())
        if look and look(step + 1):
            break
    return torch.stack(losses)


def collect(f, o, every):
    """Vectors [n,D] and cells of the images f [N,D,h,w] that are trained on, and of those that are watched."""
    n, d, h, w = f.shape
    x, at = f.permute(0, 2, 3, 1).reshape(n, h * w, d), torch.arange(h * w).repeat(n, 1)
    watched = torch.zeros(n, dtype=torch.bool)
    if every > 1:
        watched[every - 1 :: every] = True

    def some(which, limit):
        v, c = x[which].reshape(-1, d), at[which].reshape(-1)
        if limit and len(v) > limit:
            k = torch.randperm(len(v))[:limit]
            v, c = v[k], c[k]
        return v.contiguous(), c

    return some(~watched, o["max_locations"]), some(watched, 8192)


def whitening(x, o):
    x = x.double()
    mean = x.mean(0)
    sigma = torch.cov(x.T)
    sigma += torch.eye(len(mean)) * (o["ridge"] * sigma.diagonal().mean() + 1e-12)
    return mean.float(), torch.linalg.inv(torch.linalg.cholesky(sigma)).T.float()


def fit(f, o):
    """A flow of a layer's features f [N,D,h,w], with random choices of its own."""
    n, d, h, w = f.shape
    (x, at), (wx, wat) = collect(f, o, o["hold_out"])
    mixes = [torch.linalg.qr(torch.randn(d, d))[0] if o["soft"] else torch.eye(d)[torch.randperm(d)] for _ in range(o["blocks"])]
    flow = Flow(d, h, w, o, mixes, whitening(x, o) if o["whiten"] else None)
    x, wx = flow.prepared(x), flow.prepared(wx)
    steps = steps_of(1, len(x), o)
    every = max(1, steps // o["checks"]) if o["checks"] and len(wx) else steps + 1
    best = {"loss": math.inf, "since": 0, "state": None}

    def look(step):
        if step % every:
            return False
        with torch.no_grad():
            loss = loss_of(o, flow(wx, flow.codes[wat] if flow.c else None)).item()
        if loss < best["loss"]:
            best.update(loss=loss, since=0, state=[p.detach().clone() for p in flow.learned()])
        else:
            best["since"] += 1
        return o["patience"] and best["since"] >= o["patience"]

    def chosen():
        while True:
            yield torch.randint(len(x), (o["batch"],))

    train(flow, x, at, o, chosen(), steps, look=look)
    if best["state"]:
        with torch.no_grad():
            for p, b in zip(flow.learned(), best["state"]):
                p.copy_(b)
    return flow


def log_sum(q, tops, size):
    """log of the sum of the layers' exp(q - top), brought to the finest grid."""
    up = [F.interpolate((v.double() - t).exp()[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] for v, t in zip(q, tops)]
    return sum(up).clamp(min=1e-300).log()


def parts(f, n=8):
    return zip(*(t.split(n) for t in f))


def densities(flows, f):
    with torch.no_grad():
        return [torch.cat(q) for q in zip(*([flow.grid(t) for flow, t in zip(flows, part)] for part in parts(f)))]


def ready(flows):
    with torch.no_grad():
        for flow in flows:
            for b in flow.blocks:
                b.join()
    return flows


def score(flows, tops, total, f):
    """Scores [N,h,w] of feature maps, fused by the root of the sum."""
    q = densities(flows, f)
    return (total - log_sum(q, tops, f[0].shape[2:])).clamp(min=0).sqrt().float()


def fit_and_score(train_maps, test_maps, o, seed):
    """Trains flows, and returns the scores of the test images and the seconds of the training."""
    torch.manual_seed(seed)
    began = time.perf_counter()
    flows = ready([fit(f, o) for f in train_maps])
    seconds = time.perf_counter() - began
    q = densities(flows, train_maps)
    tops = [v.max().item() for v in q]
    total = log_sum(q, tops, train_maps[0].shape[2:]).max().item()
    return score(flows, tops, total, test_maps), seconds
