"""Writes golden.json: small score maps with ground truth and their metrics by independent means.

    python gen_golden.py        (numpy, scipy, scikit-learn)

AUROC and AP are scikit-learn's. AUPRO is the definition written out: for every distinct score, the mean over all
8-connected components of their covered share against the false-positive rate, integrated to 0.3. Dice is the best F1 over
every distinct score. The boundary F-score uses SciPy's exact distance transform. Quantiles are numpy.quantile's.
"""
import json
import pathlib

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score

CROSS = ndimage.generate_binary_structure(2, 1)
EIGHT = np.ones((3, 3))


def aupro(scores, masks, limit=0.3):
    components = []  # (image, pixels)
    for i, mask in enumerate(masks):
        labels, n = ndimage.label(mask, EIGHT)
        components += [(i, labels == k) for k in range(1, n + 1)]
    normal = np.concatenate([s[m == 0] for s, m in zip(scores, masks)])
    if not components or len(normal) == 0:
        return None
    x, y = [0.0], [0.0]
    for t in np.unique(np.concatenate([s.ravel() for s in scores]))[::-1]:
        x.append(np.mean(normal >= t))
        y.append(np.mean([np.mean(scores[i][c] >= t) for i, c in components]))
    x, y = np.array(x), np.array(y)
    k = np.searchsorted(x, limit, side="right")  # x[k-1] <= limit < x[k]
    if k < len(x):
        y_limit = y[k - 1] + (y[k] - y[k - 1]) * (limit - x[k - 1]) / (x[k] - x[k - 1])
        x, y = np.append(x[:k], limit), np.append(y[:k], y_limit)
    return float(np.trapezoid(y, x) / limit)


def contour(mask):
    """Pixels of the mask with a 4-neighbour outside it; what lies beyond the frame is not outside."""
    return mask & ~ndimage.binary_erosion(mask, CROSS, border_value=1)


def boundary_f(scores, masks, threshold):
    predicted = precise = truth = recalled = 0
    for s, m in zip(scores, masks):
        p, t = contour(s > threshold), contour(m == 1)
        predicted += p.sum()
        truth += t.sum()
        if p.any() and t.any():
            precise += (ndimage.distance_transform_edt(~t)[p] <= 2).sum()
            recalled += (ndimage.distance_transform_edt(~p)[t] <= 2).sum()
    if truth == 0:
        return None
    if precise == 0 or recalled == 0:
        return 0.0
    a, b = precise / predicted, recalled / truth
    return float(2 * a * b / (a + b))


def measure(name, scores, masks, label_free):
    wide = [x.astype(np.float64) for x in scores]  # thresholds are compared in float64
    s = np.concatenate([x.ravel() for x in wide])
    m = np.concatenate([x.ravel() for x in masks])
    both = 0 < m.sum() < len(m)
    any_pos = m.sum() > 0
    case = {
        "name": name,
        "images": [
            {"h": x.shape[0], "w": x.shape[1], "scores": [float(str(v)) for v in x.ravel()],  # shortest decimals
             "mask": "".join(map(str, y.ravel())) if y.any() else ""}
            for x, y in zip(scores, masks)
        ],
        "threshold": float(label_free),
        "auroc": float(roc_auc_score(m, s)) if both else None,
        "ap": float(average_precision_score(m, s)) if any_pos else None,
        "aupro": aupro(scores, masks),
        "dice_oracle": None, "iou_oracle": None, "dice_labelfree": None, "iou_labelfree": None,
        "boundary_oracle": None, "boundary_labelfree": None,
    }
    if any_pos:
        levels = np.unique(s)[::-1]
        f1 = [f1_score(m, s >= t) for t in levels]
        best = levels[int(np.argmax(f1))]
        case["dice_oracle"] = float(max(f1))
        case["iou_oracle"] = float(max(jaccard_score(m, s >= t) for t in levels))
        case["dice_labelfree"] = float(f1_score(m, s > label_free, zero_division=0))
        case["iou_labelfree"] = float(jaccard_score(m, s > label_free, zero_division=0))
        case["boundary_oracle"] = boundary_f(wide, masks, np.nextafter(best, -np.inf))
        case["boundary_labelfree"] = boundary_f(wide, masks, label_free)
    return case


def blobs(rng, h, w, n):
    m = np.zeros((h, w), int)
    for _ in range(n):
        y, x, r = rng.integers(0, h), rng.integers(0, w), rng.integers(1, 4)
        yy, xx = np.mgrid[:h, :w]
        m |= ((yy - y) ** 2 + (xx - x) ** 2 <= r * r).astype(int)
    return m


def noisy(rng, mask, digits, gain=1.2):
    s = ndimage.gaussian_filter(mask * gain + rng.normal(size=mask.shape), 1)
    return np.round(s, digits).astype(np.float32)


def main():
    rng = np.random.default_rng(7)
    none = lambda h, w: np.zeros((h, w), int)
    cases = []

    masks = [blobs(rng, 17, 23, 2), none(17, 23), blobs(rng, 13, 13, 1), none(8, 31)]
    cases.append(measure("odd sizes", [noisy(rng, m, 4) for m in masks], masks, 0.5))
    masks = [blobs(rng, 16, 16, 2), none(16, 16), blobs(rng, 16, 16, 3)]
    cases.append(measure("ties", [noisy(rng, m, 1) for m in masks], masks, 0.3))

    # A residual map: zero outside a suspicious region, most of the defect found, some of it outside the region.
    mask = none(20, 20)
    mask[4:9, 5:12] = 1
    mask[15:17, 2:6] = 1
    s = np.where(ndimage.binary_dilation(mask * (np.arange(20) < 10), iterations=2), noisy(rng, mask, 3), 0)
    cases.append(measure("mostly zero", [s.astype(np.float32), np.zeros((20, 20), np.float32)], [mask, none(20, 20)], 0))

    cases.append(measure("constant map", [np.full((9, 7), 0.25, np.float32)] * 2, [blobs(rng, 9, 7, 1), none(9, 7)], 0.25))
    cases.append(measure("all zero map", [np.zeros((9, 7), np.float32)], [blobs(rng, 9, 7, 1)], -1))

    mask = none(15, 14)
    mask[[0, 3, 7, 14], [0, 9, 2, 13]] = 1
    cases.append(measure("one-pixel components", [noisy(rng, mask, 3, 6)], [mask], 0.6))

    # Joined by a corner only: one component; parted by one pixel: two.
    mask = none(16, 18)
    mask[2:5, 2:5] = 1
    mask[5:8, 5:8] = 1
    mask[10:13, 3:6] = 1
    mask[10:13, 7:10] = 1
    mask[2:6, 12] = 1
    mask[6, 11] = 1
    mask[7, 10] = 1
    cases.append(measure("touching components", [noisy(rng, mask, 3)], [mask], 0.4))

    # A large component found with ease and a small one missed: AUPRO weighs them the same, AP does not.
    mask = none(24, 24)
    mask[1:11, 1:11] = 1
    mask[18:20, 18:20] = 1
    s = noisy(rng, mask, 3, 2)
    s[18:20, 18:20] = -2
    cases.append(measure("unequal components", [s, noisy(rng, none(24, 24), 3)], [mask, none(24, 24)], 0.5))

    cases.append(measure("no positives", [noisy(rng, none(6, 5), 3)], [none(6, 5)], 0.1))
    cases.append(measure("no negatives", [noisy(rng, none(4, 5) + 1, 3)], [none(4, 5) + 1], 0.9))
    cases.append(measure("negative scores and zeros of both signs",
                         [np.array([[-0.0, -1, 2], [0.0, -3, -0.5]], np.float32)], [np.array([[1, 0, 1], [0, 0, 1]])], -0.5))
    cases.append(measure("perfect", [np.array([[1, 2, 8], [0, 3, 9]], np.float32)], [np.array([[0, 0, 1], [0, 0, 1]])], 8))
    cases.append(measure("one pixel", [np.array([[0.5]], np.float32), np.array([[0.7]], np.float32)],
                         [np.array([[1]]), np.array([[0]])], 0.6))

    # The mask runs along the frame; the prediction is it moved by exactly 2 px, and a second one by (2,1): sqrt(5) px.
    mask, s = none(30, 30), np.zeros((30, 30), np.float32)
    mask[0:8, 0:12] = 1
    s[2:10, 0:12] = 1
    mask[14:24, 12:20] = 1
    s[16:26, 13:21] = 1
    cases.append(measure("shifted masks", [s], [mask], 0.5))

    images = []
    for name, scores, labels in [
        ("ties", [0.1, 0.4, 0.4, 0.4, 0.8, 0.9, 0.4], [0, 0, 1, 1, 1, 0, 0]),
        ("random", np.round(rng.normal(size=41), 2).tolist(), rng.integers(0, 2, 41).tolist()),
        ("normal only", [1, 2, 3], [0, 0, 0]),
        ("anomalous only", [1, 2, 3], [1, 1, 1]),
        ("constant", [2, 2, 2, 2], [0, 1, 1, 0]),
    ]:
        both = len(set(labels)) == 2
        images.append({"name": name, "scores": scores, "labels": labels,
                       "auroc": float(roc_auc_score(labels, scores)) if both else None})

    quantiles = []
    shares = [0.5, 0, 1, 0.995, 0.999, 0.25, 0.05, 1 / 3]
    for name, v in [("one", [3.5]), ("two", [-1, 2]), ("ties", [1, 1, 1, 0, 0, 5, 5]),
                    ("random", np.round(rng.normal(size=101), 3).tolist())]:
        v64 = np.array(v, np.float32).astype(np.float64)
        quantiles.append({"name": name, "values": v, "shares": shares, "quantiles": np.quantile(v64, shares).tolist()})

    out = {"pixels": cases, "images": images, "quantiles": quantiles}
    pathlib.Path(__file__).with_name("golden.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
