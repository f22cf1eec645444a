"""Maps for golden_test.go: steps 1 and 3 to 6 of engine/refine with given fills, from their formulas, in float64 with NumPy
and SciPy. Images are integer formulas that golden_test.go repeats, so that only results are stored.

    python gen_refine.py > refine.json
"""
import json

import numpy as np
from scipy import ndimage, optimize

H, W, S = 56, 72, 4
PEAK = 4  # cells: less than the design's, so that each corner of this small image has its own
SLOPE = 0.5  # of the trust: less than the design's, which so clear a defect leads to the bound
i, j, ch = np.meshgrid(np.arange(H), np.arange(W), np.arange(3), indexing="ij")


def texture(k):
    """[3,H,W] in 1/255; k varies the noise and the brightness."""
    v = 100 + 40 * (i // 4 % 2) + 12 * (j // 5 % 2) + (7 * i * i + 13 * i * j + 5 * j * j + 31 * ch + 3 * k + 5) % 5 + 2 * k
    return np.moveaxis(v, 2, 0) / 255


def blot(cy, cx, ry, rx):
    return ((np.arange(H)[:, None] - cy) / ry) ** 2 + ((np.arange(W) - cx) / rx) ** 2 < 1


def blur(x, sigma):
    return ndimage.gaussian_filter(x, sigma, mode="reflect", truncate=4.0)


normal = texture(0)
fills = [texture(k) for k in (1, 2, -1)]
Y = normal.copy()
Y[:, blot(13, 12, 4.2, 7.1)] -= 45 / 255
Y[:, blot(17, 27, 2.4, 2.4)] += 50 / 255
Y[0, blot(44, 60, 4.3, 2.7)] -= 95 / 255

REACH, GAIN = 6, 500
boxes = [
    np.s_[:, max(y * S - REACH, 0):y * S + S + REACH, max(x * S - REACH, 0):x * S + S + REACH]
    for y in range(H // S) for x in range(W // S)
]


def score(X, normal):
    return np.array([GAIN * ((X[b] - normal[b]) ** 2).mean() - 1 for b in boxes])


def gradient(X, dz):
    g = np.zeros_like(X)
    for b, d in zip(boxes, dz):
        g[b] += d * GAIN * 2 * (X[b] - normal[b]) / X[b].size
    return g


def upsample(grid):
    y = np.clip((np.arange(H) + 0.5) / S - 0.5, 0, H // S - 1)
    x = np.clip((np.arange(W) + 0.5) / S - 0.5, 0, W // S - 1)
    return ndimage.map_coordinates(grid.reshape(H // S, W // S), np.meshgrid(y, x, indexing="ij"), order=1)


def own(X, normal):
    """The map of the method whose scores these are."""
    return blur(upsample(score(X, normal)), 2) / 2


def moved(x, dy, dx):
    return x[..., np.clip(np.arange(H) + dy, 0, H - 1), :][..., np.clip(np.arange(W) + dx, 0, W - 1)]


# 1. Suspicious region.
z = score(Y, normal)
u = blur(upsample(z), 1)
peak = np.kron(ndimage.maximum_filter(z.reshape(H // S, W // S), 2 * PEAK + 1, mode="nearest"), np.ones((S, S)))
least, most = np.maximum(0.5, 0.5 * peak), max(1, 0.4 * z.max())
label, count = ndimage.label(u > least, np.ones((3, 3)))
sure = (u > most) & (label > 0)
keep = np.isin(label, np.unique(label[sure])) & (label > 0)
keep &= ndimage.distance_transform_edt(~sure) <= 12
omega = ndimage.distance_transform_edt(~keep) <= 8
margin = min(np.abs(u - least).min(), np.abs(u - most).min())

# 3. Residual, in units of what the fills differ by.
N = np.stack([np.where(omega, f, Y) for f in fills])
sq = ((Y - N) ** 2).sum(1)
others = [[((f - g) ** 2).sum(0) for g in fills if g is not f] for f in fills]
spread = np.sqrt(np.quantile(np.minimum(np.min(others, 1), 1), 0.9, axis=0))
c = np.where(omega, 3 * (blur(spread * omega, 3) / np.maximum(blur(omega.astype(float), 3), 1e-300) + 0.01), 1)


def grade(n):
    return np.clip((n - 1 / 3) / (2 / 3), 0, 1) * omega


e_residual = grade(blur(np.sqrt(sq.min(0)), 1) / c)

# 4. Optimisation.
EPS, LAM, ITERATIONS, AVERAGED = 0.1, 3.0, 6, 3
value = lambda n: np.log(1 + n / EPS) / np.log(1 + 1 / EPS)


def prox(n, t):
    f = lambda x: (x - n) ** 2 / 2 + t * value(x)
    xs = np.linspace(0, n, 2001)
    k = int(np.argmin(f(xs)))
    if k == 0:
        return 0.0
    best = optimize.minimize_scalar(f, bounds=(xs[k - 1], xs[min(k + 1, 2000)]), method="bounded", options={"xatol": 1e-9}).x
    return float(best) if f(best) < f(0) else 0.0


start = np.argmin([blur(s, 1.2) for s in sq], axis=0)
A = (Y - np.take_along_axis(N, start[None, None], 0)[0]) / c
size = lambda A: np.sqrt((A**2).sum(0))
near = ndimage.distance_transform_edt(~omega) <= 8
where = near.reshape(H // S, S, W // S, S).any((1, 3)).ravel()
m, v, mean = np.zeros_like(A), np.zeros((H, W)), np.zeros((H, W))
data, penalty, support, step = [], [], [], []
for t in range(1, ITERATIONS + 1):
    zs = score(Y - c * A, normal)
    data.append(float((16 * np.log(1 + np.maximum(zs + 1, 0)))[where].sum()))
    penalty.append(float(LAM * value(size(A)).sum()))
    support.append(int((size(A) > 0).sum()))
    dz = np.where(where & (zs > -1), 16 / (2 + np.maximum(zs, -1)), 0)
    g = -c * gradient(Y - c * A, dz) * omega
    g = np.stack([blur(p, 1.5) for p in g]) * omega
    m = 0.8 * m + 0.2 * g
    v = 0.95 * v + 0.05 * (g**2).sum(0)
    eta = 0.1 / (np.sqrt(v / (1 - 0.95**t)) + LAM)
    b = (A - eta * m / (1 - 0.8**t)) * omega
    n = np.sqrt(blur((b**2).sum(0), 1))
    kept = np.zeros((H, W))
    kept[omega] = [prox(p, q * LAM) for p, q in zip(n[omega], eta[omega])]
    new = b * kept / np.maximum(n, 1e-300)
    step.append(float(size(new - A)[omega].mean()))
    A = new
    if t > ITERATIONS - AVERAGED:
        mean += size(A) / AVERAGED
e_optimised = grade(blur(mean, 1))

# 5. Looks.
plain = own(Y, normal)
looked = plain.copy()
for dy in (-2, 2):
    for dx in (-2, 2):
        looked += moved(own(moved(Y, dy, dx), moved(normal, dy, dx)), -dy, -dx)
looked /= 5


# 6. Map.
def rank(v):
    below = 0.25**2 * np.exp(2 * (np.maximum(v, 0) / 0.25 - 1)) / (1 - 2 * np.minimum(v, 0) / 0.25)
    return np.where(v >= 0.25, v**2, below)


def join(v, e):
    g = rank(v)
    cells = lambda x: blur(x.reshape(H // S, S, W // S, S).sum((1, 3)), 4)
    near = upsample(cells(e * omega) / cells(omega.astype(float)))
    agreement = (g * e)[omega].sum() / g[omega].sum() / (e[omega].mean() + 0.02)
    trust = np.clip(SLOPE * (agreement - 1), 0.2, 3)
    joined = np.where(omega, g * ((0.1 + e) / (0.1 + near)) ** trust, g)
    return [float(f"{s:.7g}") for s in joined.ravel()], float(trust)


residual, t1 = join(plain, e_residual)
f2pad, t2 = join(looked, (e_residual + e_optimised) / 2)
parts, _ = ndimage.label(omega, np.ones((3, 3)))
print(json.dumps({
    "omega": int(omega.sum()), "components": int(parts.max()),
    "margin": float(margin),  # of u to the region's thresholds: no pixel of it hangs on rounding
    "trust": [t1, t2],  # neither is at a bound
    "data": data, "penalty": penalty, "support": support, "step": step, "residual": residual, "f2pad": f2pad,
}))
