"""Maps for golden_test.go: steps 1 and 3 to 7 of engine/refine with given fills, from their formulas, in float64 with NumPy
and SciPy. Images are integer formulas that golden_test.go repeats, so that only results are stored.

    python gen_refine.py > refine.json
"""
import json

import numpy as np
from scipy import ndimage, optimize

H, W, STRIDE = 56, 104, 4
PEAK = 4  # cells: less than the design's, so that each corner of this small image has its own
TO = 0.995  # share explained up to which a region is optimised: more than the design's, since these fills are so good
SLOPE = 0.25  # of the classifier's trust: less than the design's, which so clear a defect leads to the bound
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
Y[0, blot(44, 90, 4.3, 2.7)] -= 95 / 255

REACH, GAIN = 6, 500
boxes = [
    np.s_[:, max(y * STRIDE - REACH, 0):y * STRIDE + STRIDE + REACH, max(x * STRIDE - REACH, 0):x * STRIDE + STRIDE + REACH]
    for y in range(H // STRIDE) for x in range(W // STRIDE)
]


def score(X, normal):
    return np.array([GAIN * ((X[b] - normal[b]) ** 2).mean() - 1 for b in boxes])


def gradient(X, dz):
    g = np.zeros_like(X)
    for b, d in zip(boxes, dz):
        g[b] += d * GAIN * 2 * (X[b] - normal[b]) / X[b].size
    return g


def upsample(grid):
    y = np.clip((np.arange(H) + 0.5) / STRIDE - 0.5, 0, H // STRIDE - 1)
    x = np.clip((np.arange(W) + 0.5) / STRIDE - 0.5, 0, W // STRIDE - 1)
    return ndimage.map_coordinates(grid.reshape(H // STRIDE, W // STRIDE), np.meshgrid(y, x, indexing="ij"), order=1)


def own(X, normal):
    """The map of the method whose scores these are."""
    return blur(upsample(score(X, normal)), 2) / 2


def moved(x, dy, dx):
    return x[..., np.clip(np.arange(H) + dy, 0, H - 1), :][..., np.clip(np.arange(W) + dx, 0, W - 1)]


# 1. Suspicious region.
z = score(Y, normal)
u = blur(upsample(z), 1)
peak = np.kron(ndimage.maximum_filter(z.reshape(H // STRIDE, W // STRIDE), 2 * PEAK + 1, mode="nearest"), np.ones((STRIDE, STRIDE)))
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

# 5. Questions, the first: what the fills that step 4 starts from explain, by region.
def rank(v):
    below = 0.25**2 * np.exp(2 * (np.maximum(v, 0) / 0.25 - 1)) / (1 - 2 * np.minimum(v, 0) / 0.25)
    return np.where(v >= 0.25, v**2, below)


start = np.argmin([blur(s, 1.2) for s in sq], axis=0)
FILL = np.take_along_axis(N, start[None, None], 0)[0]
plain, filled = own(Y, normal), own(np.where(omega, FILL, Y), normal)
parts, count = ndimage.label(omega, np.ones((3, 3)))
shares = [max(1 - rank(filled)[parts == k].sum() / rank(plain)[parts == k].sum(), 0) for k in range(1, count + 1)]
x = np.select([parts == k for k in range(1, count + 1)], shares)
doubtful = omega & (x >= 0.2) & (x <= TO)

# 4. Optimisation, of the regions in doubt.
EPS, LAM, ITERATIONS, AVERAGED = 0.1, 3.0, 3, 2
value = lambda n: np.log(1 + n / EPS) / np.log(1 + 1 / EPS)


def prox(n, t):
    f = lambda x: (x - n) ** 2 / 2 + t * value(x)
    xs = np.linspace(0, n, 2001)
    k = int(np.argmin(f(xs)))
    if k == 0:
        return 0.0
    best = optimize.minimize_scalar(f, bounds=(xs[k - 1], xs[min(k + 1, 2000)]), method="bounded", options={"xatol": 1e-9}).x
    return float(best) if f(best) < f(0) else 0.0


A = (Y - FILL) / c * doubtful
size = lambda A: np.sqrt((A**2).sum(0))
near = ndimage.distance_transform_edt(~doubtful) <= 8
where = near.reshape(H // STRIDE, STRIDE, W // STRIDE, STRIDE).any((1, 3)).ravel()
m, v, mean = np.zeros_like(A), np.zeros((H, W)), np.zeros((H, W))
data, penalty, support, step = [], [], [], []
for t in range(1, ITERATIONS + 1):
    zs = score(Y - c * A, normal)
    data.append(float((16 * np.log(1 + np.maximum(zs + 1, 0)))[where].sum()))
    penalty.append(float(LAM * value(size(A)).sum()))
    support.append(int((size(A) > 0).sum()))
    dz = np.where(where & (zs > -1), 16 / (2 + np.maximum(zs, -1)), 0)
    g = -c * gradient(Y - c * A, dz) * doubtful
    g = np.stack([blur(p, 1.5) for p in g]) * doubtful
    m = 0.8 * m + 0.2 * g
    v = 0.95 * v + 0.05 * (g**2).sum(0)
    eta = 0.1 / (np.sqrt(v / (1 - 0.95**t)) + LAM)
    b = (A - eta * m / (1 - 0.8**t)) * doubtful
    n = np.sqrt(blur((b**2).sum(0), 1))
    kept = np.zeros((H, W))
    kept[doubtful] = [prox(p, q * LAM) for p, q in zip(n[doubtful], eta[doubtful])]
    new = b * kept / np.maximum(n, 1e-300)
    step.append(float(size(new - A)[doubtful].mean()))
    A = new
    if t > ITERATIONS - AVERAGED:
        mean += size(A) / AVERAGED
e_optimised = np.where(doubtful, grade(blur(mean, 1)), e_residual)

# 5. Questions, the others.
looked = plain.copy()
for dy in (-2, 2):
    for dx in (-2, 2):
        looked += moved(own(moved(Y, dy, dx), moved(normal, dy, dx)), -dy, -dx)
looked = np.where(omega, looked / 5, plain)


# 6. Map.
def favoured(S, g, e, floor, trust, x=1):
    """S moved to the evidence e, and how far that is trusted, which trust tells of the agreement with g."""
    cells = lambda x: blur(x.reshape(H // STRIDE, STRIDE, W // STRIDE, STRIDE).sum((1, 3)), 4)
    near = upsample(cells(e * omega) / cells(omega.astype(float)))
    t = trust((g * e)[omega].sum() / g[omega].sum() / (e[omega].mean() + 0.02))
    return np.where(omega, S * ((floor + e) / (floor + near)) ** (t * x), S), t


def join(v, e, x=1):
    g = rank(v)
    return g, *favoured(g, g, e, 0.1, lambda a: np.clip(0.75 * (a - 0.5), 0.25, 3), x)


# 7. Pixel classifier.
def standard(x):
    return (x - x.mean(0)) / (x.std(0) + 1e-6)


def classify(S):
    of = []
    for y in Y:
        fine = blur(y, 1)
        of += [y, fine, fine - blur(y, 4), fine - blur(y, 8), np.sqrt(blur((y - blur(y, 2)) ** 2, 2))]
    x = np.clip(standard(np.stack([f[omega] for f in of], 1)), -6, 6)
    x = np.hstack([x, standard(x**2), np.ones((len(x), 1))])
    s = S[omega]
    clear, rest = s >= np.quantile(s, 0.95), s < np.quantile(s, 0.5)
    shrink = 0.01 * np.eye(x.shape[1])
    shrink[-1, -1] = 0
    half = lambda m: x[m].T @ x[m] / 2 / m.sum()
    beta = np.linalg.solve(half(clear) + half(rest) + shrink, x[clear].sum(0) / 2 / clear.sum())
    like = np.zeros((H, W))
    like[omega] = np.clip(x @ beta, 0, 1)
    return like


def rounded(S):
    return [float(f"{s:.7g}") for s in S.ravel()]


_, residual, t1 = join(plain, e_residual)
g, joined, t2 = join(looked, (e_residual + e_optimised) / 2, x)
joined *= 1 + 0.5 * x
f2pad, t3 = favoured(joined, g, classify(joined), 0.2, lambda a: np.clip(SLOPE * (a - 1.1), 0, 1), x)
print(json.dumps({
    "omega": int(omega.sum()), "shares": [float(v) for v in shares],
    "margin": float(margin),  # of u to the region's thresholds: no pixel of it hangs on rounding
    "trust": [float(t) for t in (t1, t2, t3)],  # none is at a bound
    "data": data, "penalty": penalty, "support": support, "step": step, "residual": rounded(residual), "f2pad": rounded(f2pad),
}))
