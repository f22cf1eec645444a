"""What the kernels do, in PyTorch, as its users would write it: the peer that bench/gpu compares with.

It answers lines of JSON on standard input (bench/gpu/peer.go says which) with lines of JSON. Each function under PEERS makes
random inputs of the sizes asked for and returns the ways to do the work: with plain operations, as matrix products, compiled
by torch.compile, with TF32 where PyTorch would allow it. Each way is first compared with float64 at a small size, then timed
like the kernels: between CUDA events, the L2 cache flushed before each run, the median of many runs.

    python3 gpu_torch.py --selftest    compares all of them with float64 at small sizes, on the CPU or the GPU
    python3 gpu_torch.py --time NAME [SIZE=N ...] [--time ...]    times some: lines of JSON on standard output, a way as soon as it
                                                                  is known; --cpu, at the end, tries that out where there is no GPU
"""

import gc
import json
import math
import sys
import time
from dataclasses import dataclass
from typing import Callable

try:
    import torch
    import torch.nn.functional as F
except ImportError as e:
    sys.stdin.readline()
    print(json.dumps({"error": f"this Python ({sys.executable}) has no PyTorch: {e}"}), flush=True)
    sys.exit(0)

# Relative errors |out - ref| / |ref| that a way may have, by the precision of its products.
LIMITS = {"float32": 1e-5, "tf32": 3e-3, "f16": 3e-3, "bf16": 3e-2}
# Those of gradients through rectifiers, where a rounding may decide either way for a whole path.
KINKED = {"float32": 1e-2, "tf32": 0.2, "f16": 0.2}


@dataclass
class Way:
    """One way to do the work: call() returns the outputs that reference() returns in float64."""

    name: str
    call: Callable
    precision: str = "float32"
    compiled_from: "Way" = None  # whose outputs it must give, too
    note: str = ""
    exact: bool = True  # in the work's precision: as accurate as the kernel

    def run(self):
        with precision(self.precision):
            return self.call()


@dataclass
class Work:
    ways: list
    reference: Callable = None
    # Outputs that need not agree everywhere, by position: compared by what share of the values is equal.
    indices: tuple = ()
    slack: float = 1  # times the limits: algorithms that cuDNN may choose give digits away for speed
    kinked: tuple = ()  # outputs that are gradients through rectifiers, by position
    precision: str = "float32"  # of the kernel's products
    # The ways are compared with the reference at the sizes that are timed, too: what runs depends on them.
    at_size: bool = False  # and graphs of a kernel or two save nothing


class precision:
    """Allows TF32 in products inside the block, and nowhere else."""

    def __init__(self, name):
        self.tf32 = name == "tf32"

    def __enter__(self):
        torch.backends.cuda.matmul.allow_tf32 = self.tf32
        torch.backends.cudnn.allow_tf32 = self.tf32

    def __exit__(self, *_):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def with_tf32(name, call, **more):
    """The same way with float32 products and with TF32 allowed."""
    return [Way(name, call, **more), Way(name, call, precision="tf32", **more)]


def and_compiled(name, f, *args, **more):
    """f as it is and compiled as a whole."""
    compiled, plain = torch.compile(f, dynamic=False), Way(name, lambda: f(*args), **more)
    return [plain, Way(name + ", torch.compile", lambda: compiled(*args), compiled_from=plain, **more)]


class Data:
    """Random inputs on a device; budget is how many distances a matrix may hold."""

    def __init__(self, device, budget=1 << 28):
        self.device, self.budget = device, budget
        self.rng = torch.Generator(device=device)
        self.rng.manual_seed(1)

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.rng, device=self.device)

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.rng, device=self.device)


# Gaussians and maps


def taps(sigma, radius, dtype=torch.float32):
    w = torch.exp(-torch.arange(-radius, radius + 1, dtype=torch.float64) ** 2 / (2 * sigma * sigma))
    return (w / w.sum()).to(dtype)


def mirrored(n, r, device):
    """Indices of an axis of n with r more at each end, reflected with the edge repeated, for which F.pad has no mode."""
    i = torch.arange(-r, n + r, device=device) % (2 * n)
    return torch.where(i >= n, 2 * n - 1 - i, i)


def blurrer(h, w, sigma, radius, device, dtype=torch.float32):
    """The Gaussian of [..., h, w], separable, edges repeated."""
    t = taps(sigma, radius, dtype).to(device)
    rows, cols = mirrored(h, radius, device), mirrored(w, radius, device)
    across, down = t.view(1, 1, 1, -1), t.view(1, 1, -1, 1)

    def blur(x):
        shape = x.shape
        x = x.reshape(-1, 1, h, w)
        x = F.conv2d(x.index_select(3, cols), across)
        return F.conv2d(x.index_select(2, rows), down).reshape(shape)

    return blur


def matrix(n, apply):
    """The matrix of a linear map along an axis of n: apply works on the last axis but one of [1, 1, n, n]."""
    return apply(torch.eye(n, dtype=torch.float64).view(1, 1, n, n))[0, 0]


def gauss_matrix(n, sigma, radius, reflect101=False):
    t = taps(sigma, radius, torch.float64)

    def apply(x):
        if reflect101:
            x = F.pad(x, (0, 0, radius, radius), mode="reflect")
        else:
            x = x.index_select(2, mirrored(n, radius, x.device))
        return F.conv2d(x, t.view(1, 1, -1, 1))

    return matrix(n, apply)


def resize_matrix(n, m, nearest):
    def apply(x):
        mode = {"mode": "nearest"} if nearest else {"mode": "bilinear", "align_corners": False}
        return F.interpolate(x, size=(m, n), **mode)

    return matrix(n, apply)


def upsample(data, n, h, w, scale, nearest=0):
    x = data.normal(n, 1, h, w)
    mode = {"mode": "nearest"} if nearest else {"mode": "bilinear", "align_corners": False}
    size = (h * scale, w * scale)
    rows, cols = resize_matrix(h, size[0], nearest), resize_matrix(w, size[1], nearest)
    a, b = rows.float().to(data.device), cols.float().to(data.device).T.contiguous()
    return Work(
        [
            Way("interpolate", lambda: F.interpolate(x, size=size, **mode)),
            *with_tf32("two matrix products", lambda: a @ (x @ b)),
        ],
        lambda: rows.to(data.device) @ x.double() @ cols.to(data.device).T,
    )


def blur(data, n, h, w, sigma, radius):
    x = data.normal(n, 1, h, w)
    f = blurrer(h, w, sigma, radius, data.device)
    rows, cols = gauss_matrix(h, sigma, radius), gauss_matrix(w, sigma, radius)
    a, b = rows.float().to(data.device), cols.float().to(data.device).T.contiguous()
    return Work(
        [*and_compiled("padding, two conv2d", f, x), *with_tf32("two matrix products", lambda: a @ (x @ b))],
        lambda: rows.to(data.device) @ x.double() @ cols.to(data.device).T,
    )


def base_map(data, n, h, w, scale, sigma, radius, nearest=0, reflect101=0):
    x = data.normal(n, 1, h, w)
    H, W = h * scale, w * scale
    mode = {"mode": "nearest"} if nearest else {"mode": "bilinear", "align_corners": False}
    t, r = taps(sigma, radius).to(data.device), radius
    f = blurrer(H, W, sigma, radius, data.device)

    def steps(x):
        x = F.interpolate(x, size=(H, W), **mode)
        if not reflect101:
            return f(x)
        x = F.conv2d(F.pad(x, (r, r, 0, 0), mode="reflect"), t.view(1, 1, 1, -1))
        return F.conv2d(F.pad(x, (0, 0, r, r), mode="reflect"), t.view(1, 1, -1, 1))

    rows = gauss_matrix(H, sigma, radius, reflect101) @ resize_matrix(h, H, nearest)
    cols = gauss_matrix(W, sigma, radius, reflect101) @ resize_matrix(w, W, nearest)
    a, b = rows.float().to(data.device), cols.float().to(data.device).T.contiguous()
    return Work(
        [*and_compiled("interpolate, two conv2d", steps, x), *with_tf32("two matrix products", lambda: a @ (x @ b))],
        lambda: rows.to(data.device) @ x.double() @ cols.to(data.device).T,
    )


# Methods


def mahalanobis(data, l, k, n, gradient=0):
    """Distances |M (x - mean)| of n images at l locations with k features; with gradient, M^T M (x - mean) / distance, too."""
    mean = data.normal(l, k)
    x = data.normal(n, l, k) + mean
    M = torch.tril(data.normal(l, k, k)) / math.sqrt(k) + torch.eye(k, device=data.device)
    inverse = M.transpose(1, 2) @ M  # covariance

    def einsum():
        delta = x - mean
        return torch.einsum("nlj,ljk,nlk->nl", delta, inverse, delta).clamp_min(0).sqrt()

    def full():
        # One product with the symmetric matrix serves distance and gradient.
        delta = (x - mean).transpose(0, 1)
        y = torch.bmm(delta, inverse)
        s = (y * delta).sum(2).clamp_min(0).sqrt()
        if not gradient:
            return s.T
        return s.T, (y / s.unsqueeze(2)).transpose(0, 1)

    def factor():
        delta = (x - mean).transpose(0, 1)
        z = torch.bmm(delta, M.transpose(1, 2))
        s = z.norm(dim=2)
        if not gradient:
            return s.T
        return s.T, (torch.bmm(z, M) / s.unsqueeze(2)).transpose(0, 1)

    def autograd():
        with torch.enable_grad():
            v = x.detach().requires_grad_(True)
            delta = (v - mean).transpose(0, 1)
            s = torch.bmm(delta, M.transpose(1, 2)).norm(dim=2).T
            (g,) = torch.autograd.grad(s.sum(), v)
        return s.detach(), g

    def reference():
        delta = (x.double() - mean.double()).transpose(0, 1)
        z = torch.bmm(delta, M.double().transpose(1, 2))
        s = z.norm(dim=2)
        if not gradient:
            return s.T
        return s.T, (torch.bmm(z, M.double()) / s.unsqueeze(2)).transpose(0, 1)

    half = M.bfloat16()

    def halves():
        delta = (x - mean).transpose(0, 1).bfloat16()
        z = torch.bmm(delta, half.transpose(1, 2))
        s = z.float().norm(dim=2)
        if not gradient:
            return s.T
        return s.T, (torch.bmm(z, half) / s.unsqueeze(2)).transpose(0, 1)

    ways = with_tf32("bmm with the inverse covariance", full) + with_tf32("bmm with the triangular factor", factor)
    ways.append(Way("bmm with the triangular factor, all in bfloat16", halves, precision="bf16"))
    if gradient:
        ways += with_tf32("bmm with the triangular factor, autograd", autograd)
    else:
        ways += [Way("einsum with the inverse covariance", einsum)]
    return Work(ways, reference)


def flow(data, l, d, hidden, blocks, gradient=0):
    """log p / d of l vectors under a flow of coupling blocks and a rotation each, on the condition of their positions, as many values
    as the hidden units say; with gradient, its gradient, too."""
    left, right = d - d // 2, d // 2
    condition = hidden // 2 - left
    x, c = data.normal(l, d), data.normal(l, condition)
    scaled = lambda n, *shape: data.normal(*shape) / math.sqrt(n)
    parameters = [
        (
            *(scaled(hidden // 2, hidden // 2, hidden), data.normal(hidden)),
            *(scaled(hidden, hidden, 2 * right), data.normal(2 * right)),
            *(torch.linalg.qr(data.normal(d, d))[0], data.normal(d)),
        )
        for _ in range(blocks)
    ]

    def density(x, c, parameters):
        log, y = 0, x
        for w1, b1, w2, b2, mix, offset in parameters:
            y1, y2 = y[:, :left], y[:, left:]
            a = torch.addmm(b2, F.relu(torch.addmm(b1, torch.cat((y1, c), 1), w1)), w2)
            s = 1.9 * torch.tanh(a[:, :right])
            y = torch.addmm(offset, torch.cat((y1, y2 * s.exp() + a[:, right:]), 1), mix)
            log = log + s.sum(1)
        return (log - y.square().sum(1) / 2) / d

    def slope(x, c, parameters):
        with torch.enable_grad():
            v = x.detach().requires_grad_(True)
            q = density(v, c, parameters)
            (g,) = torch.autograd.grad(q.sum(), v)
        return q.detach(), g

    f = slope if gradient else density
    ways = with_tf32("products, autograd" if gradient else "products", lambda: f(x, c, parameters))
    if not gradient:
        ways.append(and_compiled("products", f, x, c, parameters)[1])
    return Work(ways, lambda: f(x.double(), c.double(), [tuple(v.double() for v in p) for p in parameters]))


def knn_min(data, n, m, d):
    """The nearest of m rows for each of n queries: squared distance and index."""
    bank, q = data.normal(m, d), data.normal(n, d)
    norms = bank.square().sum(1)
    rows = max(1, min(n, data.budget // m))

    def chunked(f):
        def call():
            parts = [f(part) for part in q.split(rows)]
            return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

        return call

    def cdist(part):
        dist, at = torch.cdist(part, bank).min(1)
        return dist.square(), at

    def product(part):
        # |q-b|^2 = |q|^2 + |b|^2 - 2qb loses digits where q is near b.
        dist, at = torch.addmm(norms, part, bank.T, alpha=-2).min(1)
        return dist + part.square().sum(1), at

    def refined(part):
        at = torch.addmm(norms, part, bank.T, alpha=-2).min(1).indices
        return (part - bank[at]).square().sum(1), at

    half_bank = bank.bfloat16()

    def half(part):
        at = torch.addmm(norms.bfloat16(), part.bfloat16(), half_bank.T, alpha=-2).min(1).indices
        return (part - bank[at]).square().sum(1), at

    def reference():
        plain = {"compute_mode": "donot_use_mm_for_euclid_dist"}
        parts = [torch.cdist(part.double(), bank.double(), **plain).min(1) for part in q.split(rows)]
        return torch.cat([p.values for p in parts]).square(), torch.cat([p.indices for p in parts])

    ways = with_tf32("cdist and min, in chunks", chunked(cdist)) + with_tf32("|b|^2 - 2qb and min", chunked(product))
    ways += with_tf32("|b|^2 - 2qb and min, the winner measured again", chunked(refined))
    ways += [Way("|b|^2 - 2qb in bf16 and min, the winner measured again", chunked(half), precision="bf16")]
    return Work(ways, reference, indices=(1,))


def knn_topk(data, n, m, d, k):
    """The k nearest of m rows for each of n queries: squared distances and indices, nearest first."""
    bank, q = data.normal(m, d), data.normal(n, d)
    norms = bank.square().sum(1)

    def cdist():
        dist, at = torch.cdist(q, bank).topk(k, 1, largest=False)
        return dist.square(), at

    def product():
        dist, at = torch.addmm(norms, q, bank.T, alpha=-2).topk(k, 1, largest=False)
        return dist + q.square().sum(1, keepdim=True), at

    def reference():
        dist, at = torch.cdist(q.double(), bank.double(), compute_mode="donot_use_mm_for_euclid_dist").topk(k, 1, largest=False)
        return dist.square(), at

    return Work(with_tf32("cdist and topk", cdist) + with_tf32("|b|^2 - 2qb and topk", product), reference, indices=(1,))


def knn_gradient(data, l, m, d):
    """dS (q - b) / |q - b| for the nearest row b of each of l queries."""
    bank, q, ds = data.normal(m, d), data.normal(l, d), data.normal(l)
    at = torch.randint(m, (l,), generator=data.rng, device=data.device)
    dist = (q - bank[at]).square().sum(1)

    def f(q, bank, at, ds, dist):
        return (q - bank[at]) * (ds / dist.sqrt()).unsqueeze(1)

    return Work(
        and_compiled("operations", f, q, bank, at, ds, dist),
        lambda: f(q.double(), bank.double(), at, ds.double(), dist.double()),
    )


def coreset(data, p, d, centres):
    """Greedy k-centre: so many steps, each of which measures p vectors against the latest centre and takes the farthest."""
    x = data.normal(p, d)
    norms = x.square().sum(1)

    def loop(x, distance):
        nearest = torch.full((p,), torch.inf, device=x.device, dtype=x.dtype)
        chosen = [torch.zeros(1, dtype=torch.int64, device=x.device)]
        for _ in range(centres):
            nearest = torch.minimum(nearest, distance(x, chosen[-1]))
            chosen.append(nearest.argmax(0, keepdim=True))
        return nearest, torch.cat(chosen)

    def direct(x, at):
        return (x - x.index_select(0, at)).square().sum(1)

    def product(x, at):
        return torch.addmv(norms + norms.index_select(0, at), x, x.index_select(0, at)[0], alpha=-2)

    compiled = torch.compile(direct, dynamic=False)
    differences = Way("differences", lambda: loop(x, direct))
    return Work(
        [
            differences,
            Way("differences, torch.compile", lambda: loop(x, compiled), compiled_from=differences),
            *with_tf32("matrix times vector", lambda: loop(x, product)),
        ],
        lambda: loop(x.double(), direct),
        indices=(1,),
    )


# Refinement


def fill_min(data, n, k, h, w):
    """sq = |y - fill_k|^2 over 3 channels, r = sqrt of the least."""
    y, fills = data.uniform(n, 3, h, w), data.uniform(n, k, 3, h, w)

    def f(y, fills):
        sq = (y.unsqueeze(1) - fills).square().sum(2)
        return sq, sq.amin(1).sqrt()

    return Work(and_compiled("operations", f, y, fills), lambda: f(y.double(), fills.double()))


def prox(n, t, eps):
    """The larger root of x^2 - (n - eps) x + (t - n eps), where it is real, positive and better than 0."""
    scale = 1 / math.log1p(1 / eps)
    t = t * scale
    gap = n - eps
    disc = gap.square() - 4 * (t - n * eps)
    x = (gap + disc.clamp_min(0).sqrt()) / 2
    value = (x - n).square() / 2 + t * torch.log1p(x.clamp_min(0) / eps)
    return torch.where((disc >= 0) & (x > 0) & (value < n.square() / 2), x, torch.zeros_like(x))


def pixel_step(data, n, h, w, t=3):
    """Iteration t of the optimiser on n windows: gradient sharing, Adam, proximal step; sums of the penalty, the support and
    the movement per window. As pixel.Step says."""
    momentum, decay, rate, lam, eps = 0.8, 0.95, 0.1, 3.0, 0.1
    dx, a, m = data.normal(n, 3, h, w) * 0.1, data.normal(n, 3, h, w), data.normal(n, 3, h, w)
    v, total = data.uniform(n, h, w), data.uniform(n, h, w)
    c = data.uniform(n, 1, h, w) + 0.1
    region = data.uniform(n, h, w) < 0.5
    inside = region.unsqueeze(1)
    a, m, v = a * inside, m * inside, v * region

    def step(share, norm, dx, a, m, v, total, c, region, inside):
        g = share(torch.where(inside, -c * dx, torch.zeros_like(dx)))
        v = torch.where(region, decay * v + (1 - decay) * g.square().sum(1), v)
        m = torch.where(inside, momentum * m + (1 - momentum) * g, m)
        eta = rate / ((v / (1 - decay**t)).sqrt() + lam)
        b = torch.where(inside, a - eta.unsqueeze(1) * m / (1 - momentum**t), torch.zeros_like(a))
        size = norm(b.square().sum(1)).clamp_min(0).sqrt()
        shrink = torch.where(size > 0, prox(size, eta * lam, eps) / size, torch.zeros_like(size))
        new = b * shrink.unsqueeze(1)
        before = a.square().sum(1).sqrt()
        penalty = lam / math.log1p(1 / eps) * torch.log1p(before / eps).sum((1, 2))
        support = (before > 0).sum((1, 2))
        moved = (new - a).square().sum(1).sqrt().sum((1, 2))
        total = total + torch.where(region, new.square().sum(1).sqrt(), torch.zeros_like(total))
        return new, m, v, total, penalty, support, moved

    def with_blurs(dtype):
        share, norm = (blurrer(h, w, s, int(4 * s + 0.5), data.device, dtype) for s in (1.5, 1))
        return lambda *args: step(share, norm, *args)

    args = (dx, a, m, v, total, c)
    return Work(
        and_compiled("operations, conv2d", with_blurs(torch.float32), *args, region, inside),
        lambda: with_blurs(torch.float64)(*(x.double() for x in args), region, inside),
    )


# Networks


def conv(data, n, side, channels, outs, kernel, stride=1, groups=1, gradient=0, half=0, alone=0):
    """ReLU of a convolution with bias, padded by half of its kernel, or the gradient of one w.r.t. its input; in float16 if half,
    with alone in float32 and float16. Channels are innermost, and cuDNN tries what is fastest."""
    torch.backends.cudnn.benchmark = True
    pad, out = kernel // 2, (side + 2 * (kernel // 2) - kernel) // stride + 1
    x = data.normal(n, channels, side, side)
    w = data.normal(outs, channels // groups, kernel, kernel) / (kernel * (channels // groups) ** 0.5)
    b, dy = data.normal(outs), data.normal(n, outs, out, out)

    def operation(dtype):
        args = [t.to(dtype) for t in (x, w, b, dy)]
        X, W, B, DY = [t.to(memory_format=torch.channels_last) if t.dim() == 4 else t for t in args]
        if not gradient:
            return lambda: F.relu(F.conv2d(X, W, B, stride, pad, 1, groups))
        how = ([stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, [True, False, False])
        return lambda: torch.ops.aten.convolution_backward(DY, X, W, None, *how)[0]

    name = "convolution_backward" if gradient else "conv2d, relu"
    ways = [] if half else with_tf32(name, operation(torch.float32))
    if half or alone:
        ways.append(Way(name, operation(torch.float16), "f16"))
    if half:
        # Both have the same inputs then.
        x, w, b, dy = (t.half().float() for t in (x, w, b, dy))

    def reference():
        with torch.backends.cudnn.flags(benchmark=False):  # once need not be fast
            return operation(torch.float64)()

    return Work(ways, reference, precision="f16" if half else "float32", at_size=True, slack=10)


class ResNet18(torch.nn.Module):
    """The convolutions, batch normalisations folded into them, of ResNet-18's stem and layers 1 to 3 with random weights: what they
    hold changes no time. Returns the outputs of the three layers."""

    def __init__(self, data, dtype):
        super().__init__()
        self.plan, self.weights, at = [], torch.nn.ParameterList(), 64

        def add(channels, outs, kernel):
            w = data.normal(outs, channels, kernel, kernel) * (2 / (channels * kernel**2)) ** 0.5
            for t in (w.to(memory_format=torch.channels_last), 0.1 * data.normal(outs)):
                self.weights.append(torch.nn.Parameter(t.to(dtype), requires_grad=False))
            return len(self.weights) - 2

        self.stem = add(3, 64, 7)
        for width, stride in (64, 1), (128, 2), (256, 2):
            for block in range(2):
                step = stride if block == 0 else 1
                shortcut = add(at, width, 1) if step > 1 else None
                self.plan.append((add(at, width, 3), add(width, width, 3), shortcut, step))
                at = width

    def conv(self, i, x, stride, pad):
        return F.conv2d(x, self.weights[i], self.weights[i + 1], stride, pad)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(self.stem, x, 2, 3)), 3, 2, 1)
        outputs = []
        for i, (first, second, shortcut, stride) in enumerate(self.plan):
            y = self.conv(second, F.relu(self.conv(first, x, stride, 1)), 1, 1)
            x = F.relu(y + (x if shortcut is None else self.conv(shortcut, x, stride, 0)))
            if i % 2:
                outputs.append(x)
        return outputs


def padim_iteration(data, n, side, k=100, compiled=1):
    """What an iteration of the refinement asks of a detector, whole images: features of ResNet-18's layers 1 to 3, k of their 448
    channels, Mahalanobis distances s at all cells, and the gradient of sum log(1 + s) w.r.t. the pixels. Returns s and the gradient."""
    torch.backends.cudnn.benchmark = True
    cells = (side // 4) ** 2
    chosen = torch.randperm(448, generator=data.rng, device=data.device)[:k]
    mean = data.normal(cells, 1, k)
    M = torch.tril(data.normal(cells, k, k)) / math.sqrt(k) + torch.eye(k, device=data.device)
    image = data.normal(n, 3, side, side)
    state = data.rng.get_state()

    def iteration(dtype, tail, compiled=False):
        data.rng.set_state(state)  # the same weights for all
        net, m, factor = ResNet18(data, dtype), mean.to(tail), M.to(tail).transpose(1, 2)

        def scores(x):
            maps = net(x.to(dtype))
            size = maps[0].shape[2:]
            f = torch.cat([maps[0]] + [F.interpolate(y, size=size, mode="nearest") for y in maps[1:]], 1)
            delta = f.index_select(1, chosen).flatten(2).permute(2, 0, 1).to(tail) - m
            return torch.bmm(delta, factor).norm(dim=2)

        f = torch.compile(scores, dynamic=False) if compiled else scores

        def call():
            with torch.enable_grad():
                x = image.to(tail).contiguous(memory_format=torch.channels_last).requires_grad_(True)
                s = f(x)
                (g,) = torch.autograd.grad(s.log1p().sum(), x)
            return s.detach(), g

        return call

    kinds = [("eager", torch.float32, "float32"), ("eager", torch.float32, "tf32"), ("network in float16", torch.float16, "f16")]
    ways = [Way(name, iteration(dtype, torch.float32), precision) for name, dtype, precision in kinds]
    if compiled:
        for (_, dtype, precision), way in zip(kinds, ways[:]):
            call = iteration(dtype, torch.float32, True)
            ways.append(Way(way.name + ", torch.compile", call, precision, compiled_from=way))
    return Work(ways, iteration(torch.float64, torch.float64), kinked=(1,), slack=10)


# Ceilings


def matmul(data, n, dtype, products):
    a, b = data.normal(n, n).to(dtype), data.normal(n, n).to(dtype)
    return Work([Way("matrix product", lambda: a @ b, precision=products)], lambda: a.double() @ b.double())


def matmul_bf16(data, n):
    return matmul(data, n, torch.bfloat16, "bf16")


def matmul_f16(data, n):
    return matmul(data, n, torch.float16, "f16")


def matmul_tf32(data, n):
    return matmul(data, n, torch.float32, "tf32")


# The functions by the names that cases use, and sizes at which float64 and the CPU are quick.
PEERS = {
    "upsample": (upsample, {"n": 2, "h": 5, "w": 7, "scale": 4}),
    "blur": (blur, {"n": 2, "h": 23, "w": 17, "sigma": 2, "radius": 8}),
    "base_map": (base_map, {"n": 2, "h": 9, "w": 7, "scale": 4, "sigma": 2, "radius": 8}),
    "mahalanobis": (mahalanobis, {"l": 5, "k": 13, "n": 3}),
    "flow": (flow, {"l": 37, "d": 13, "hidden": 30, "blocks": 3}),
    "knn_min": (knn_min, {"n": 37, "m": 101, "d": 29}),
    "knn_topk": (knn_topk, {"n": 7, "m": 101, "d": 29, "k": 5}),
    "knn_gradient": (knn_gradient, {"l": 37, "m": 11, "d": 29}),
    "coreset": (coreset, {"p": 200, "d": 16, "centres": 20}),
    "fill_min": (fill_min, {"n": 2, "k": 3, "h": 9, "w": 11}),
    "pixel_step": (pixel_step, {"n": 2, "h": 19, "w": 21}),
    "conv": (conv, {"n": 2, "side": 9, "channels": 8, "outs": 16, "kernel": 3, "stride": 2, "groups": 2}),
    "matmul_bf16": (matmul_bf16, {"n": 128}),
    "matmul_f16": (matmul_f16, {"n": 128}),
    "matmul_tf32": (matmul_tf32, {"n": 128}),
    "padim_iteration": (padim_iteration, {"n": 2, "side": 32, "k": 20}),
}


# Checks


def tuple_of(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def error_of(got, want, precision="float32", work=Work([])):
    """The largest relative error of outputs; more than the precision explains raises ValueError."""
    got, want, worst = tuple_of(got), tuple_of(want), 0.0
    if len(got) != len(want):
        raise ValueError(f"{len(got)} outputs, want {len(want)}")
    for i, (a, b) in enumerate(zip(got, want)):
        if a.shape != b.shape:
            raise ValueError(f"output {i} is {tuple(a.shape)}, want {tuple(b.shape)}")
        if i in work.indices:
            same = (a == b).double().mean().item()
            if precision == "float32" and same < 0.99:
                raise ValueError(f"only {same:.1%} of the indices agree")
            continue
        error = ((a.double() - b.double()).norm() / b.double().norm()).item()
        limit = KINKED[precision] if i in work.kinked else work.slack * LIMITS[precision]
        if not error <= limit:
            raise ValueError(f"output {i} is off by {error:.1e}, allowed are {limit:.0e}")
        worst = max(worst, error)
    return worst


def check(name, params, device, compiled=False):
    """Compares the ways with float64 at a small size; params are a case's, of which only what is no size counts."""
    function, small = PEERS[name]
    work = function(Data(device, budget=1000), **{**params, **small})
    want, worst = work.reference(), {}
    for way in work.ways:
        if way.compiled_from and not compiled:
            continue
        try:
            error = error_of(way.run(), want, way.precision, work)
        except Exception as e:
            raise ValueError(f"{name}, {way.name} ({way.precision}): {e}") from e
        worst[way.precision] = max(worst.get(way.precision, 0), error)
    return name + " " + ", ".join(f"{p} {e:.0e}" for p, e in worst.items())


# Timing


class Clock:
    """Times single runs on the GPU, each after so many bytes were read that the L2 cache holds nothing of use; or, to try things
    out, on the CPU, as they come."""

    def __init__(self, flush, device="cuda"):
        self.device = device
        self.other = torch.zeros(max(1, flush // 4), device=device)
        if device == "cuda":
            self.start, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def once(self, call):
        if self.device == "cpu":
            began = time.perf_counter()
            call()
            return 1e3 * (time.perf_counter() - began)
        self.other.sum()
        self.start.record()
        call()
        self.end.record()
        self.end.synchronize()
        return self.start.elapsed_time(self.end)

    def measure(self, call, runs, most, seconds):
        for _ in range(3):
            self.once(call)
        times, began = [], time.monotonic()
        while len(times) < runs or (len(times) < most and time.monotonic() - began < seconds):
            times.append(self.once(call))
        p10, p50, p90 = torch.tensor(times).double().quantile(torch.tensor([0.1, 0.5, 0.9]).double()).tolist()
        return {"ms": p50, "p10_ms": p10, "p90_ms": p90, "runs": len(times)}


def recorded(way):
    """A way as a CUDA graph, for which its inputs and outputs stay where they are."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        way.run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = way.run()
    return Way(way.name + ", CUDA graph", lambda: (graph.replay(), outputs), way.precision, note=way.note, exact=way.exact)


def time_way(clock, way, effort, work, want=None):
    answer = {"name": way.name, "precision": way.precision, "exact": way.exact and way.precision == work.precision, "note": way.note}
    try:
        if want is not None:
            error_of(way.run(), want, way.precision, work)
        if way.compiled_from:
            error_of(way.run(), way.compiled_from.run(), way.precision, work)
        return {**answer, **clock.measure(way.run, *effort)}
    except Exception as e:
        return {**answer, "error": brief(e)}


def brief(e):
    if isinstance(e, torch.cuda.OutOfMemoryError):
        return "out of memory"
    return f"{type(e).__name__}: {e}".strip().splitlines()[0][:300]


def time_case(clock, name, params, effort, tell=lambda answer: None):
    function, _ = PEERS[name]
    work = function(Data(clock.device), **params)
    want = work.reference() if work.at_size else None
    answers = []
    for way in work.ways:
        answers.append(time_way(clock, way, effort, work, want))
        tell(answers[-1])
    del want
    if clock.device == "cpu" or work.at_size:
        return {"variants": answers}
    # The best way again without the host's part in it.
    times = [a.get("ms", math.inf) if a["exact"] else math.inf for a in answers]
    if min(times) < math.inf:
        best = work.ways[times.index(min(times))]
        try:
            answers.append(time_way(clock, recorded(best), effort, work))
            tell(answers[-1])
        except Exception as e:
            print(f"gpu_torch: {name}: no CUDA graph: {brief(e)}", file=sys.stderr)
    return {"variants": answers}


def tidy():
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def kind(case):
    """What check tells cases apart by."""
    name, params = case["peer"], case["params"] or {}
    return name, str({k: v for k, v in params.items() if k not in PEERS[name][1]})


def hello(question, wrong):
    """Checks what cases will ask for. What fails goes to wrong, by kind, and is not timed."""
    if not torch.cuda.is_available():
        return {"error": f"PyTorch {torch.__version__} sees no CUDA device"}
    checked, seen = [], set()
    for case in question["hello"]:
        name, params = case["peer"], case["params"] or {}
        if name not in PEERS:
            return {"error": f"no function {name!r}"}
        if kind(case) in seen:
            continue
        seen.add(kind(case))
        try:
            checked.append(check(name, params, "cuda"))
        except Exception as e:
            wrong[kind(case)] = f"wrong, or not run: {brief(e)}"
            checked.append(f"{name} WRONG")
        tidy()
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "device": torch.cuda.get_device_name(),
        "checked": checked,
    }


def serve():
    clock, wrong = None, {}
    for line in sys.stdin:
        question = json.loads(line)
        if "case" not in question:
            answer = hello(question, wrong)
            clock = Clock(question.get("flush", 0)) if "error" not in answer else None
        else:
            case = question["case"]
            try:
                if kind(case) in wrong:
                    raise ValueError(wrong[kind(case)])
                effort = question.get("runs", 1), question.get("most", 0), question.get("seconds", 0)
                answer = time_case(clock, case["peer"], case["params"] or {}, effort)
            except Exception as e:
                answer = {"error": brief(e), "out_of_memory": isinstance(e, torch.cuda.OutOfMemoryError)}
            tidy()
        print(json.dumps(answer), flush=True)


def selftest(compiled):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flags = {
        "base_map": [{"nearest": 1}, {"reflect101": 1}],
        "conv": [{"half": 1}, {"alone": 1}, {"gradient": 1}, {"gradient": 1, "half": 1}],
        "flow": [{"gradient": 1}],
        "mahalanobis": [{"gradient": 1}],
        "upsample": [{"nearest": 1}],
    }
    for name in PEERS:
        for params in [{}] + flags.get(name, []):
            print(f"{device}: {check(name, params, device, compiled)} {params or ''}", flush=True)


def time_one(device, name, *sizes):
    """Times a case by itself; a line each way."""
    if name not in PEERS:
        sys.exit(f"gpu_torch: no {name!r}; there are {', '.join(PEERS)}")
    try:
        params = {key: int(value) for key, value in (s.split("=") for s in sizes)}
    except ValueError:
        sys.exit(f"gpu_torch: sizes are such as n=32, not {' '.join(sizes)}")
    if device == "cuda" and not torch.cuda.is_available():
        print(json.dumps({"error": f"PyTorch {torch.__version__} sees no CUDA device"}), flush=True)
        sys.exit(0)
    where = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    about = {"peer": name, "params": params, "torch": torch.__version__, "cuda": torch.version.cuda or "", "device": where}
    try:
        print(f"gpu_torch: against float64: {check(name, params, device)}", file=sys.stderr, flush=True)
        time_case(Clock(0, device), name, params, (10, 200, 1), lambda answer: print(json.dumps({**about, **answer}), flush=True))
    except Exception as e:
        print(json.dumps({**about, "error": brief(e)}), flush=True)
    tidy()


if __name__ == "__main__":
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_grad_enabled(False)
    if "--selftest" in sys.argv:
        selftest(compiled="--compile" in sys.argv or torch.cuda.is_available())
    elif "--time" in sys.argv:
        device = "cpu" if sys.argv[-1] == "--cpu" else "cuda"
        for words in " ".join(a for a in sys.argv[1:] if a != "--cpu").split("--time ")[1:]:
            time_one(device, *words.split())
    else:
        serve()
