"""Numbers for step_test.go, with NumPy and SciPy, from the formulas of engine/pixel's documentation.

    python gen_pixel.py > pixel.json
"""
import json

import numpy as np
from scipy import ndimage, optimize

H, W, ITERATIONS, FROM = 16, 20, 4, 3
EPS, LAM, MOMENTUM, DECAY, RATE = 0.1, 3.0, 0.8, 0.95, 0.1
rng = np.random.default_rng(7)


def short(shape, size):
    """Random values that JSON and float32 hold exactly."""
    return np.round(rng.normal(size=shape) * size * 256) / 256


def blur(x, sigma):
    return ndimage.gaussian_filter(x, sigma, mode="reflect", truncate=4.0)


def value(n):
    return np.log(1 + n / EPS) / np.log(1 + 1 / EPS)


def prox(n, t):
    """The minimiser of (x-n)^2/2 + t value(x) over x >= 0, by search: the objective has one minimum above its last
    inflection and another at 0."""
    f = lambda x: (x - n) ** 2 / 2 + t * value(x)
    xs = np.linspace(0, n, 4001)
    k = int(np.argmin(f(xs)))
    if k == 0:
        return 0.0
    lo, hi = xs[k - 1], xs[min(k + 1, 4000)]
    x = optimize.minimize_scalar(f, bounds=(lo, hi), method="bounded", options={"xatol": 1e-10}).x
    return float(x) if f(x) < f(0) else 0.0


def upsample(grid, s):
    h, w = grid.shape
    y = np.clip((np.arange(h * s) + 0.5) / s - 0.5, 0, h - 1)
    x = np.clip((np.arange(w * s) + 0.5) / s - 0.5, 0, w - 1)
    return ndimage.map_coordinates(grid, np.meshgrid(y, x, indexing="ij"), order=1)


plane, grid = short((H, W), 1), short((H // 4, W // 4), 1)
region = np.zeros((H, W), bool)
region[4:11, 0:9] = True
region[6:8, 3:5] = False
unit = np.abs(short((H, W), 0.3)) + 1 / 16
a = np.where(region, short((3, H, W), 0.5), 0)
a0, dx = a.copy(), short((ITERATIONS, 3, H, W), 4)
m, v, total = np.zeros((3, H, W)), np.zeros((H, W)), np.zeros((H, W))
penalty, moved, support = [], [], []
for t in range(1, ITERATIONS + 1):
    g = np.stack([blur(x, 1.5) for x in np.where(region, -unit * dx[t - 1], 0)]) * region
    m = MOMENTUM * m + (1 - MOMENTUM) * g
    v = DECAY * v + (1 - DECAY) * (g**2).sum(0)
    eta = RATE / (np.sqrt(v / (1 - DECAY**t)) + LAM)
    b = (a - eta * m / (1 - MOMENTUM**t)) * region
    n = np.sqrt(blur((b**2).sum(0), 1))
    kept = np.array([prox(x, y) for x, y in zip(n.ravel(), (eta * LAM).ravel())]).reshape(H, W)
    new = np.where(region, b * kept / np.maximum(n, 1e-300), 0)
    was = np.sqrt((a**2).sum(0))
    penalty.append(float(LAM * value(was).sum()))
    support.append(int((was > 0).sum()))
    moved.append(float(np.sqrt(((new - a) ** 2).sum(0)).sum()))
    a = new
    if t >= FROM:
        total += np.sqrt((a**2).sum(0))

y = short((3, H, W), 1)
ns, ts = np.meshgrid([0.02, 0.1, 0.3, 0.5, 1.2], [0.002, 0.03, 0.1, 0.6])
flat = lambda x: [float(f"{y:.8g}") for y in np.ravel(x)]
print(json.dumps({
    "H": H, "W": W, "Plane": flat(plane), "Blur1": flat(blur(plane, 1)), "Blur15": flat(blur(plane, 1.5)),
    "Grid": flat(grid), "Up": flat(upsample(grid, 4)),
    "Quantiles": {str(q): float(np.quantile(plane, q)) for q in (0.9, 0.95)},
    "Region": [int(p) for p in np.flatnonzero(region)],
    "Unit": flat(unit), "Y": flat(y), "X": flat(y - unit * a),
    "A0": flat(a0), "Dx": flat(dx), "A": flat(a), "M": flat(m), "V": flat(v), "Sum": flat(total),
    "Penalty": penalty, "Moved": moved, "Support": support,
    "ProxN": flat(ns), "ProxT": flat(ts), "Prox": flat([prox(n, t) for n, t in zip(ns.ravel(), ts.ravel())]),
    "Value": flat(value(ns)),
}))
