"""Maps for golden_test.go: steps 1 and 3 to 7 of engine/refine with given fills, from their formulas, in float64 with NumPy
and SciPy. Images are integer formulas that golden_test.go repeats, so that only results are stored.

    python gen_refine.py > refine.json
"""
import json

import numpy as np
from scipy import ndimage, optimize, sparse
from scipy.sparse.linalg import spsolve

H, W, S = 56, 72, 4
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


def score(X):
    return np.array([GAIN * ((X[b] - normal[b]) ** 2).mean() - 1 for b in boxes])


def gradient(X, dz):
    g = np.zeros_like(X)
    for b, d in zip(boxes, dz):
        g[b] += d * GAIN * 2 * (X[b] - normal[b]) / X[b].size
    return g


# 1. Suspicious region.
z = score(Y)
y = np.clip((np.arange(H) + 0.5) / S - 0.5, 0, H // S - 1)
x = np.clip((np.arange(W) + 0.5) / S - 0.5, 0, W // S - 1)
u = blur(ndimage.map_coordinates(z.reshape(H // S, W // S), np.meshgrid(y, x, indexing="ij"), order=1), 1)
label, count = ndimage.label(u > 0.5, np.ones((3, 3)))
keep = np.isin(label, np.unique(label[u > 1])) & (label > 0)
keep &= ndimage.distance_transform_edt(~(u > 1)) <= 12
omega = ndimage.distance_transform_edt(~keep) <= 8
away = ndimage.distance_transform_edt(~omega)

# 3. Residual.
N = np.stack([np.where(omega, f, Y) for f in fills])
sq = ((Y - N) ** 2).sum(1)
a = blur(np.sqrt(sq.min(0)), 1)
P_res = a / (np.quantile(a[omega], 0.95) + 0.001)

# 4. Optimisation.
EPS, LAM = 0.1, 3.0
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
A = Y - np.take_along_axis(N, start[None, None], 0)[0]
size = lambda A: np.sqrt((A**2).sum(0))
c = np.quantile(size(A)[omega], 0.9) + 0.001
A /= c
near = ndimage.distance_transform_edt(~omega) <= 8
where = near.reshape(H // S, S, W // S, S).any((1, 3)).ravel()
m, v, mean = np.zeros_like(A), np.zeros((H, W)), np.zeros((H, W))
data, penalty, support, step = [], [], [], []
for t in range(1, 13):
    zs = score(Y - c * A)
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
    if t > 6:
        mean += size(A) / 6
P_opt = blur(mean, 1)
P_opt /= np.quantile(P_opt[omega], 0.95)


# 6. Contrast.
def walk(P):
    e = P * np.minimum(np.sqrt(np.maximum(u, 0)), 1.5)
    domain = away <= 4
    bg = domain & ((away > 2) | (e <= 0.3))
    fg = domain & ~bg & (e >= 0.9)
    free = domain & ~bg & ~fg
    rw = fg.astype(float)
    at = -np.ones((H, W), int)
    at[free] = np.arange(free.sum())
    L, rhs = sparse.lil_matrix((free.sum(), free.sum())), np.zeros(free.sum())
    for p, q in np.argwhere(free):
        for r, s in ((p - 1, q), (p + 1, q), (p, q - 1), (p, q + 1)):
            if 0 <= r < H and 0 <= s < W and domain[r, s]:
                k = np.exp(-1000 * ((Y[:, p, q] - Y[:, r, s]) ** 2).sum()) + 1e-6
                L[at[p, q], at[p, q]] += k
                if free[r, s]:
                    L[at[p, q], at[r, s]] -= k
                elif fg[r, s]:
                    rhs[at[p, q]] += k
    rw[free] = spsolve(L.tocsc(), rhs)
    margin = np.abs(np.concatenate([e[domain] - 0.3, e[domain] - 0.9])).min()
    return rw, float(margin), int(free.sum())


# 7. Map.
def final(P):
    rw, margin, unknowns = walk(P)
    S = np.sqrt(np.maximum(u, 0)) * (0.05 + P) * (0.1 + 0.9 * rw)
    return [float(f"{s:.6g}") for s in S.ravel()], margin, unknowns


residual, m1, n1 = final(P_res)
f2pad, m2, n2 = final((P_res + P_opt) / 2)
parts, _ = ndimage.label(omega, np.ones((3, 3)))
print(json.dumps({
    "omega": int(omega.sum()), "components": int(parts.max()), "scale": float(c),
    "margin": min(m1, m2),  # of the evidence to its thresholds: no seed hangs on rounding
    "unknowns": [n1, n2], "data": data, "penalty": penalty, "support": support, "step": step,
    "residual": residual, "f2pad": f2pad,
}))
