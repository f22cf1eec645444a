"""F2PAD in PyTorch, NumPy and SciPy, as one would write it for speed without writing native code: the peer that bench/cpu
compares the engine's refinement with. It follows engine/refine step by step, with the constants that a model records, on a
network of PyTorch and the fitted state of that model, so that its maps can be compared with the engine's.

The images of a batch are optimised together; everything in the loop is a tensor operation. The regions and fills differ
from image to image and run in a pool of threads: SciPy's distance transforms and labels, fills as matrix products.
"""

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage, signal

EIGHT = np.ones((3, 3), bool)


# Planes


def taps(sigma, radius=None):
    r = int(4 * sigma + 0.5) if radius is None else radius
    w = np.exp(-np.arange(-r, r + 1) ** 2 / (2 * sigma * sigma)) if sigma > 0 else np.ones(1)
    return w / w.sum()


def mirrored(n, r, repeat=True):
    """Indices of an axis of n with r more at each end, reflected with the edge repeated or not."""
    period = 2 * n if repeat else 2 * n - 2
    i = np.arange(-r, n + r) % period
    return np.where(i >= n, period - int(repeat) - i, i)


class Blur:
    """A Gaussian on [..., h, w], edges reflected: as a matrix along each axis, which on CPUs beats a convolution of single
    channels at these sizes."""

    def __init__(self, sigma, h, w, radius=None, repeat=True):
        self.taps, self.repeat = taps(sigma, radius), repeat
        self.rows, self.cols = self.matrix(h), self.matrix(w)

    def matrix(self, n):
        m = np.zeros((n, n))
        indices = mirrored(n, len(self.taps) // 2, self.repeat)
        for k, weight in enumerate(self.taps):
            np.add.at(m, (np.arange(n), indices[k : k + n]), weight)
        return torch.from_numpy(m.astype(np.float32))

    def __call__(self, x):
        return self.rows @ (x @ self.cols.T)


def enlarged(grid, size):
    return F.interpolate(grid[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def distance(mask):
    """Distance of every pixel to the mask."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(~mask)


NEAR = 1e-6  # distances are roots of integers


# Methods: features to calibrated scores at some cells of the grid.


class Mahalanobis(torch.autograd.Function):
    """sqrt(x' P x) of x [cells,N,K] with symmetric P [cells,K,K]: its gradient P x / s needs no second pass over P."""

    @staticmethod
    def forward(ctx, x, p):
        v = torch.bmm(x, p)
        s = (x * v).sum(2).clamp_min(0).sqrt()
        ctx.save_for_backward(v, s)
        return s

    @staticmethod
    def backward(ctx, ds):
        v, s = ctx.saved_tensors
        return v * torch.where(s > 0, ds / s, 0)[:, :, None], None


class Padim:
    def __init__(self, state, grid, widths):
        k = len(state["channels"])
        self.grid, self.k = grid, k
        self.mean = torch.from_numpy(state["mean"].reshape(-1, k))
        low = np.zeros((len(self.mean), k, k), np.float32)
        low[:, *np.tril_indices(k)] = state["factor"].reshape(len(self.mean), -1)
        low = torch.from_numpy(low)
        self.precision = torch.bmm(low.transpose(1, 2), low)
        first, self.channels = 0, []
        for c in widths:
            mine = state["channels"][(state["channels"] >= first) & (state["channels"] < first + c)] - first
            self.channels.append(torch.from_numpy(mine.astype(np.int64)))
            first += c

    def at(self, cells=None, wanted=None):
        """The scores [N,cells] of given cells, all of them if None, as a function of the features. wanted [N,cells] says which
        scores matter; here it saves nothing."""
        mean, precision = self.mean, self.precision
        if cells is not None:
            mean, precision = mean[cells], precision[cells]

        def score(features):
            parts = []
            for f, channels in zip(features, self.channels):
                f = f.index_select(1, channels)
                if f.shape[2:] != self.grid:
                    f = F.interpolate(f, size=self.grid, mode="nearest")
                parts.append(f.flatten(2))
            x = torch.cat(parts, 1)
            if cells is not None:
                x = x.index_select(2, cells)
            x = x.permute(2, 0, 1).contiguous() - mean[:, None]  # products of strided batches are far slower
            return Mahalanobis.apply(x, precision).T

        return score


class Patchcore:
    def __init__(self, state, grid, widths):
        self.grid = grid
        self.bank = torch.from_numpy(state["bank"].reshape(-1, sum(widths)))
        self.half = (self.bank * self.bank).sum(1) / 2

    def at(self, cells=None, wanted=None):
        """As Padim.at; scores that do not matter are 0."""
        rows = None if wanted is None else torch.nonzero(wanted.flatten())[:, 0]

        def score(features):
            parts = []
            for f in features:
                f = F.avg_pool2d(f, 3, 1, 1)
                if f.shape[2:] != self.grid:
                    f = F.interpolate(f, size=self.grid, mode="bilinear", align_corners=False)
                parts.append(f.flatten(2))
            q = torch.cat(parts, 1)
            if cells is not None:
                q = q.index_select(2, cells)
            n, d, m = q.shape
            q = q.transpose(1, 2).reshape(n * m, d)
            if rows is not None:
                q = q.index_select(0, rows)
            with torch.no_grad():
                nearest = torch.cat([torch.addmm(-self.half, p, self.bank.T).argmax(1) for p in q.split(2048)])
            s = torch.linalg.vector_norm(q - self.bank[nearest], dim=1)
            if rows is not None:
                s = torch.zeros(n * m).index_copy(0, rows, s)
            return s.view(n, m)

        return score


METHODS = {"padim": Padim, "patchcore": Patchcore}


class Scorer:
    """Network and method: images [N,3,H,W] in [0,1] to scores and maps. scale and shift [3] normalise the pixels; own says how
    the method makes its map."""

    def __init__(self, net, method, scale, shift, q50, q995, stride, own):
        self.net, self.method, self.stride, self.own = net, method, stride, own
        self.scale = torch.tensor(scale).view(1, 3, 1, 1)
        self.shift = torch.tensor(shift).view(1, 3, 1, 1)
        self.q50, self.width = q50, q995 - q50
        self.blur = None

    def raw(self, cells=None, wanted=None):
        score = self.method.at(cells, wanted)
        return lambda x: score(self.net(x * self.scale + self.shift))

    def z(self, raw):
        return (raw - self.q50) / self.width

    def at(self, cells=None, wanted=None):
        score = self.raw(cells, wanted)
        return lambda x: self.z(score(x))

    def maps(self, raw, H, W):
        """The method's own maps [N,H,W] of raw scores [N,h,w], calibrated."""
        o = self.own
        if self.blur is None:
            self.blur = Blur(o["sigma"], H, W, o["radius"], not o["reflect101"])
        how = {"mode": "nearest"} if o["nearest"] else {"mode": "bilinear", "align_corners": False}
        up = F.interpolate(raw[:, None], size=(H, W), **how)[:, 0]
        return (self.blur(up) - o["q50"]) / (o["q995"] - o["q50"])


# Steps 1 to 3


class Scene:
    """One image on its way through the steps."""

    def __init__(self, y, v):
        self.y, self.v = y, v  # [3,H,W], [H,W]
        self.omega = None


def suspicious(u, z, o):
    """Omega, or None."""
    g, stride = o["region"], o["stride"]
    peak = ndimage.maximum_filter(z, 2 * int(g["peak_cells"]) + 1, mode="nearest")
    peak = np.kron(peak, np.ones((stride, stride), np.float32))
    suspect = u > np.maximum(g["suspect"], g["peak_share"] * peak)
    certain = suspect & (u > max(g["certain"], g["top_share"] * z.max()))
    if not certain.any():
        return None
    label, _ = ndimage.label(suspect, EIGHT)
    keep = np.isin(label, np.unique(label[certain])) & (label > 0)
    keep &= distance(certain) <= g["keep_cells"] * stride + NEAR
    return distance(keep) <= g["dilate_cells"] * stride + NEAR


def variation(fills, share):
    """What normal fills [K,3,n] differ by [n]: each is compared with the others."""
    if len(fills) < 2:
        return np.ones(fills.shape[2], np.float32)
    d = np.square(fills[:, None] - fills).sum(2)
    d[np.arange(len(d)), np.arange(len(d))] = np.inf
    return np.sqrt(np.quantile(np.minimum(d.min(1), 1), share, axis=0))


class Choice:
    """Random choices: NumPy's, or those of Go's math/rand/v2 PCG, to choose as the engine does."""

    def __init__(self, seed, region, like_go):
        self.numpy = None if like_go else np.random.default_rng([seed, region])
        self.state = seed << 64 | region

    def word(self):
        mask = (1 << 128) - 1
        self.state = (self.state * (2549297995355413924 << 64 | 4865540595714422341)
                      + (6364136223846793005 << 64 | 1442695040888963407)) & mask
        hi, lo = self.state >> 64, self.state & (1 << 64) - 1
        hi ^= hi >> 32
        hi = hi * 0xDA942042E4DD58B5 & (1 << 64) - 1
        hi ^= hi >> 48
        return hi * (lo | 1) & (1 << 64) - 1

    def below(self, n):
        if n & (n - 1) == 0:
            return self.word() & (n - 1)
        prod = (self.word() >> 32) * n
        low = prod & 0xFFFFFFFF
        if low < n:
            thresh = (1 << 32) % n
            while low < thresh:
                prod = (self.word() >> 32) * n
                low = prod & 0xFFFFFFFF
        return prod >> 32

    def some(self, n, k):
        """k of range(n), in random order."""
        if self.numpy is not None:
            return self.numpy.permutation(n)[:k]
        order = np.arange(n)
        for i in range(k):
            j = i + self.below(n - i)
            order[i], order[j] = order[j], order[i]
        return order[:k]

    def shuffled(self, n, valid, most):
        """Those of range(n) that are valid, in random order, no more than most."""
        if self.numpy is not None:
            order = np.flatnonzero(valid)
            return self.numpy.permutation(order)[:most]
        order, out = np.arange(n), []
        for i in range(n):
            if len(out) == most:
                break
            j = i + self.below(n - i)
            order[i], order[j] = order[j], order[i]
            if valid[order[i]]:
                out.append(order[i])
        return np.array(out, int)


class Fills:
    """Step 2 for one image. memory is a list of normal images [C,h,w] in [0,1] and of the same, blurred."""

    def __init__(self, scene, memory, smooth, o, seed, like_go):
        f = self.f = o["fills"]
        self.stride, self.memory, self.seed, self.like_go = o["stride"], memory, seed, like_go
        y = scene.y
        grey = (y[0] == y[1]).all() and (y[0] == y[2]).all() and all(len(m) == 1 for m, _ in memory)
        self.y = y[:1] if grey else y
        self.smooth = smooth(torch.from_numpy(self.y)).numpy()
        self.omega = scene.omega
        self.blocked = (distance(scene.omega) <= f["clear_px"] + NEAR).astype(np.float32)

    def of(self, mask, region):
        f, (H, W) = self.f, mask.shape
        rng = Choice(self.seed, region, self.like_go)
        reach = f["ring_cells"] * self.stride
        ys, xs = np.nonzero(mask)
        y0, x0 = max(ys.min() - int(reach), 0), max(xs.min() - int(reach), 0)
        y1, x1 = min(ys.max() + 1 + int(reach), H), min(xs.max() + 1 + int(reach), W)
        near = distance(mask[y0:y1, x0:x1]) <= reach + NEAR
        ring = np.argwhere(near & ~self.omega[y0:y1, x0:x1]) + (y0, x0)
        if len(ring) == 0:
            raise ValueError("a region without a ring: the image is all suspicious")
        by0, bx0 = min(ys.min(), ring[:, 0].min()), min(xs.min(), ring[:, 1].min())
        by1, bx1 = max(ys.max(), ring[:, 0].max()) + 1, max(xs.max(), ring[:, 1].max()) + 1
        if len(ring) > f["ring_pixels"]:
            ring = ring[np.sort(rng.some(len(ring), f["ring_pixels"]))]
        ry, rx = ring.T
        want = self.smooth[:, ry, rx]

        # Shifts whose region is clear of Omega: one correlation says which.
        step = max(1, round(f["shift_cells"] * self.stride))
        dy = np.arange(-(by0 // step), (H - by1) // step + 1) * step
        dx = np.arange(-(bx0 // step), (W - bx1) // step + 1) * step
        part = mask[by0:by1, bx0:bx1].astype(np.float32)
        hits = signal.fftconvolve(self.blocked, part[::-1, ::-1], mode="valid")
        valid = (hits[np.ix_(dy + by0, dx + bx0)] < 0.5).ravel()
        chosen = rng.shuffled(len(valid), valid, f["shifts"])
        sy, sx = dy[chosen // len(dx)], dx[chosen % len(dx)]
        cost = self.cost(self.smooth[:, ry + sy[:, None], rx + sx[:, None]], want)
        candidates = [(c, i, None) for i, c in enumerate(cost)]
        for k, (m, blurred) in enumerate(self.memory):
            if by1 <= m.shape[1] and bx1 <= m.shape[2]:
                values = np.broadcast_to(blurred[:, ry, rx], want.shape)[:, None]
                candidates.append((f["memory_cost"] * self.cost(values, want)[0], len(cost) + k, m))
        candidates.sort(key=lambda c: c[:2])
        best = []
        for c, i, m in candidates:
            if len(best) == f["count"]:
                break
            if m is None and any(
                b is None and math.hypot(sy[i] - sy[j], sx[i] - sx[j]) < f["apart_cells"] * self.stride for j, b in best
            ):
                continue
            best.append((i, m))

        at = [(np.r_[ry, ys], np.r_[rx, xs])]
        values = []
        for i, m in best:
            if m is None:
                values.append(self.y[:, at[0][0] + sy[i], at[0][1] + sx[i]])
            else:
                values.append(np.broadcast_to(m[:, at[0][0], at[0][1]], (len(self.y), len(at[0][0]))))
        if not best:
            values.append(np.zeros((len(self.y), len(at[0][0])), np.float32))
        values = np.stack(values)  # [best,C,ring+pixels]
        n = len(ry)
        residual = self.y[:, ry, rx] - values[:, :, :n]
        sigma = max(f["offset_cells"] * self.stride, math.sqrt(len(ys)) / f["offset_divisor"])
        axis = np.exp(-np.arange(max(H, W)) ** 2 / (2 * sigma * sigma))
        weight = axis[np.abs(ys[:, None] - ry)] * axis[np.abs(xs[:, None] - rx)]  # [pixels,ring]
        total = weight.sum(1)
        offset = residual.reshape(-1, n) @ weight.T / np.where(total > 0, total, 1)
        fills = values[:, :, n:] + offset.reshape(*values.shape[:2], -1)
        return np.broadcast_to(fills, (len(fills), 3, len(ys))).astype(np.float32)

    def cost(self, values, want):
        """values [C,candidates,ring]."""
        e = (values - want[:, None]).astype(np.float64)
        share = self.f["mean_share"]
        return ((e * e).mean(2) - e.mean(2) ** 2 * share * (2 - share)).mean(0)


# Steps 5 and 6


def moved(x, dy, dx):
    """x [...,H,W] at pixels dy and dx further, continued beyond its border."""
    rows = (torch.arange(x.shape[-2]) + dy).clamp(0, x.shape[-2] - 1)
    cols = (torch.arange(x.shape[-1]) + dx).clamp(0, x.shape[-1] - 1)
    return x.index_select(-2, rows).index_select(-1, cols)


def rank(v, o):
    """The detector's ranking."""
    power, knee = o["power"], o["knee"]
    v = v.astype(np.float64)
    low = np.minimum(v, 0)
    below = knee**power * np.exp(power * ((np.minimum(v, knee) - low) / knee - 1)) / (1 - power * low / knee)
    return np.where(v >= knee, np.maximum(v, knee) ** power, below)


class Refiner:
    """All steps, for images of one size. memory: normal images uint8 [C,h,w]."""

    def __init__(self, scorer, options, memory, H, W, threads):
        self.scorer, self.o, self.H, self.W = scorer, options, H, W
        self.pool = ThreadPoolExecutor(threads)
        p, stride = options["optimiser"], options["stride"]
        blur = lambda sigma: Blur(sigma, H, W)
        self.coarse = blur(options["region"]["smooth_cells"] * stride)
        self.compare, self.start = blur(options["residual"]["smooth_px"]), blur(p["start_px"])
        self.share, self.norm, self.result = blur(p["share_px"]), blur(p["norm_px"]), blur(p["smooth_px"])
        self.smooth, self.spread = blur(options["fills"]["smooth_px"]), blur(options["residual"]["spread_px"])
        self.reach = max(len(b.taps) // 2 for b in (
            self.compare, self.start, self.share, self.norm, self.result, self.spread))
        self.cells = Blur(options["map"]["mean_cells"], H // stride, W // stride)
        self.memory = []
        for m in memory:
            m = (m / np.float32(255)).astype(np.float32)
            if m.shape[1:] != (H, W):
                raise ValueError(f"a remembered image of {m.shape[1:]}, want {(H, W)}")
            self.memory.append((m, self.smooth(torch.from_numpy(m)).numpy()))

    def prepare(self, y, z, v, seed, like_go):
        """Steps 1 to 3 of one image y [3,H,W] with scores z [h,w] and the map v [H,W]."""
        o, size = self.o, (self.H, self.W)
        s = Scene(y, v.numpy())
        s.omega = suspicious(self.coarse(enlarged(z, size)).numpy(), z.numpy(), o)
        if s.omega is None:
            return s
        source = Fills(s, self.memory, self.smooth, o, seed, like_go)
        s.label, count = ndimage.label(s.omega, EIGHT)
        s.islands = ndimage.label(distance(s.omega) <= self.reach + NEAR, EIGHT)[0] * s.omega
        label = s.label
        per = [source.of(label == i + 1, i) for i in range(count)]
        fills = np.repeat(y[None], max(len(f) for f in per), 0)
        spread = np.zeros(size, np.float32)
        r = o["residual"]
        for i, f in enumerate(per):
            spread[label == i + 1] = variation(f, r["quantile"])
            for k in range(len(fills)):
                fills[k][:, label == i + 1] = f[k % len(f)]
        omega = torch.from_numpy(s.omega)
        cover = self.spread(omega.float()).clamp_min(1e-30)
        s.c = torch.where(omega, r["high"] * (self.spread(torch.from_numpy(spread)) / cover + r["floor"]), 1)
        n = torch.from_numpy(fills)
        sq = (torch.from_numpy(y) - n).square().sum(1)
        s.residual = self.grade(self.compare(sq.amin(0).sqrt()) / s.c).numpy() * s.omega
        best = self.start(sq).argmin(0)
        s.a = (torch.from_numpy(y) - n.gather(0, best.expand(1, 3, -1, -1))[0]) / s.c
        return s

    def grade(self, n):
        """Evidence of what is n units."""
        least = self.o["residual"]["low"] / self.o["residual"]["high"]
        return ((n - least) / (1 - least)).clamp(0, 1)

    def optimise(self, scenes, iterations, diary=None):
        """Step 4 of all images at once. Returns the mean of ||A/c|| [N,H,W] and the seconds of the loop."""
        p = self.o["optimiser"]
        y = torch.from_numpy(np.stack([s.y for s in scenes]))
        a = torch.stack([s.a for s in scenes])
        c = torch.stack([s.c for s in scenes])[:, None]
        omega = torch.from_numpy(np.stack([s.doubtful for s in scenes]))[:, None].float()
        a *= omega
        where = torch.from_numpy(np.stack([s.where for s in scenes]))
        cells = torch.nonzero(where.any(0))[:, 0]
        wanted = where[:, cells]
        weight = wanted.float() * p["data_weight"]
        lam, eps = p["lambda"], p["eps"]
        norm = math.log1p(1 / eps)
        averaged = min(p["averaged"], iterations)
        mean = torch.zeros(len(scenes), self.H, self.W)
        score = self.scorer.at(cells, wanted)
        began = time.perf_counter()
        m, v = torch.zeros_like(a), torch.zeros_like(mean)[:, None]
        for t in range(1, iterations + 1):
            x = (y - c * a).requires_grad_()
            energy = (weight * torch.log1p((score(x) + p["margin"]).clamp_min(0))).sum(1)
            (g,) = torch.autograd.grad(energy.sum(), x)
            with torch.no_grad():
                g = self.share(-c * g * omega) * omega
                m.lerp_(g, 1 - p["momentum"])
                v.lerp_(g.square().sum(1, keepdim=True), 1 - p["decay"])
                eta = p["rate"] / ((v / (1 - p["decay"] ** t)).sqrt() + lam)
                b = (a - eta / (1 - p["momentum"] ** t) * m) * omega
                n = self.norm(b.square().sum(1, keepdim=True)).sqrt()
                tau = eta * lam / norm
                disc = (n - eps).square() - 4 * (tau - n * eps)
                root = ((n - eps) + disc.clamp_min(0).sqrt()) / 2
                keep = (disc >= 0) & (root > 0)
                keep &= (root - n).square() / 2 + tau * torch.log1p(root.clamp_min(0) / eps) < n.square() / 2
                new = b * torch.where(keep, root / n.clamp_min(1e-30), 0)
                if diary is not None:
                    size = torch.linalg.vector_norm(a, dim=1)
                    moved = torch.linalg.vector_norm(new - a, dim=1)
                    diary.append({
                        "data": energy.tolist(), "penalty": (lam * torch.log1p(size / eps) / norm).sum((1, 2)).tolist(),
                        "support": (size > 0).sum((1, 2)).tolist(),
                        "step": (moved.sum((1, 2)) / omega.sum((1, 2, 3))).tolist(),
                    })
                a = new
                if t > iterations - averaged:
                    mean += torch.linalg.vector_norm(a, dim=1) / averaged
        return mean, time.perf_counter() - began

    def looks(self, y, v):
        """Step 5, of which only Omega counts: the mean of v [N,H,W] and of the maps of y [N,3,H,W] moved by less than a cell."""
        stride = self.o["stride"]
        d = round(self.o["looks"]["shift_cells"] * stride)
        if d == 0:
            return v
        total, score = v.clone(), self.scorer.raw()
        for dy in (-d, d):
            for dx in (-d, d):
                raw = score(moved(y, dy, dx)).view(len(y), self.H // stride, self.W // stride)
                total += moved(self.scorer.maps(raw, self.H, self.W), -dy, -dx)
        return total / 5

    def favour(self, s, score, g, e, o, share):
        """The score on Omega moved to the evidence e [H,W], as far as that agrees with the ranking g, and by the share."""
        stride = self.o["stride"]
        sums = [x.reshape(self.H // stride, stride, -1, stride).sum((1, 3)) for x in (e, s.omega.astype(np.float32))]
        total, count = (self.cells(torch.from_numpy(x)) for x in sums)
        near = enlarged(torch.where(count > 0, total / count, 0), (self.H, self.W)).numpy()
        e, near = e[s.omega].astype(np.float64), near[s.omega].astype(np.float64)
        agreement = (g * e).sum() / g.sum() / (e.mean() + 0.02)
        t = o["trust"]
        trust = min(max(t["slope"] * (agreement - t["from"]), t["least"]), t["most"])
        return score * ((o["floor"] + e) / (o["floor"] + near)) ** (trust * share)

    def classify(self, s, score):
        """How much the pixels of Omega look like those with the highest score (step 7): [H,W], or None without examples."""
        o = self.o["classifier"]
        y = torch.from_numpy(s.y[:1] if (s.y == s.y[:1]).all() else s.y)
        blur = lambda x, sigma: Blur(o[sigma], self.H, self.W)(x)
        fine = blur(y, "fine_px")
        grain = blur((y - blur(y, "grain_px")).square(), "grain_px").sqrt()
        of = torch.stack([y, fine, fine - blur(y, "mid_px"), fine - blur(y, "wide_px"), grain], 1).flatten(0, 1)
        standard = lambda x: (x - x.mean(0)) / (x.std(0) + 1e-6)
        x = standard(of.numpy()[:, s.omega].T.astype(np.float64)).clip(-6, 6)
        x = np.hstack([x, standard(x**2), np.ones((len(x), 1))])
        top, rest = np.quantile(score, [1 - o["top"], o["rest"]])
        half = []
        for examples in np.flatnonzero((score >= top) & (score > rest)), np.flatnonzero(score < rest):
            n = len(examples)
            if n == 0:
                return None
            if n > o["pixels"]:
                examples = examples[np.arange(o["pixels"]) * n // o["pixels"]]
            half.append(x[examples] / math.sqrt(2 * len(examples)))
        shrink = np.diag([o["ridge"]] * (x.shape[1] - 1) + [0])
        target = half[0].sum(0) / math.sqrt(2 * len(half[0]))
        beta = np.linalg.solve(half[0].T @ half[0] + half[1].T @ half[1] + shrink, target)
        like = np.zeros((self.H, self.W), np.float32)
        like[s.omega] = (x @ beta).clip(0, 1)
        return like

    def explain(self, scenes, y, v):
        """The shares [N,H,W] of a region's ranking of v [N,H,W] that the fills of step 4's start take away (step 5). Sets what
        step 4 is for: the islands with a region of which a part is explained, and the cells near them."""
        a, c = torch.stack([s.a for s in scenes]), torch.stack([s.c for s in scenes])[:, None]
        omega = torch.from_numpy(np.stack([s.omega for s in scenes]))[:, None]
        raw = self.scorer.raw()(y - c * a * omega).view(len(y), self.H // self.o["stride"], -1)
        left, found = rank(self.scorer.maps(raw, self.H, self.W).numpy(), self.o["map"]), rank(v, self.o["map"])
        p, stride = self.o["optimiser"], self.o["stride"]
        shares = np.zeros(v.shape)
        for i, s in enumerate(scenes):
            every = np.arange(s.label.max() + 1)
            each = 1 - ndimage.sum(left[i], s.label, every) / ndimage.sum(found[i], s.label, every)
            shares[i] = each.clip(0, 1)[s.label] * s.omega
            some = s.omega & (shares[i] >= p["explained_from"]) & (shares[i] <= p["explained_to"])
            s.doubtful = np.isin(s.islands, np.unique(s.islands[some])) & s.omega
            near = distance(s.doubtful) <= p["near_cells"] * stride + NEAR
            s.where = near.reshape(self.H // stride, stride, self.W // stride, stride).any((1, 3)).ravel()
        return shares

    def finish(self, s, v, e, share):
        """Steps 6 and 7 for one image with the map v, the evidence e and the explained share [H,W]."""
        g = rank(v, self.o["map"])
        if s.omega is None:
            return g
        inside, share = g[s.omega], share[s.omega]
        score = self.favour(s, inside, inside, e, self.o["map"], share) * (1 + self.o["map"]["gain"] * share)
        like = self.classify(s, score)
        g[s.omega] = score if like is None else self.favour(s, score, inside, like, self.o["classifier"], share)
        return g

    def run(self, y, seeds, iterations, like_go=False, diary=None):
        """The maps f2pad [N,H,W] of the images y [N,3,H,W], and the seconds of the loop of step 4."""
        stride, images = self.o["stride"], torch.from_numpy(y)
        with torch.no_grad():
            raw = self.scorer.raw()(images).view(len(y), self.H // stride, self.W // stride)
            z, v = self.scorer.z(raw), self.scorer.maps(raw, self.H, self.W)
            scenes = list(self.pool.map(lambda i: self.prepare(y[i], z[i], v[i], seeds[i], like_go), range(len(y))))
        found = [i for i, s in enumerate(scenes) if s.omega is not None]
        v, evidence, shares, seconds = v.numpy(), {}, {}, 0.0
        if found:
            with torch.no_grad():
                shares = dict(zip(found, self.explain([scenes[i] for i in found], images[found], v[found])))
            doubtful = [i for i in found if scenes[i].doubtful.any()]
            mean = torch.zeros(len(y), self.H, self.W)
            if doubtful:
                mean[doubtful], seconds = self.optimise([scenes[i] for i in doubtful], iterations, diary)
            with torch.no_grad():
                looked = self.looks(images[found], torch.from_numpy(v[found])).numpy()
                for i, seen, e in zip(found, looked, self.grade(self.result(mean[found])).numpy()):
                    v[i] = np.where(scenes[i].omega, seen, v[i])
                    e = np.where(scenes[i].doubtful, e, scenes[i].residual)
                    evidence[i] = (scenes[i].residual + e) / 2
        maps = list(self.pool.map(lambda i: self.finish(scenes[i], v[i], evidence.get(i), shares.get(i)), range(len(y))))
        return np.stack(maps).astype(np.float32), seconds
