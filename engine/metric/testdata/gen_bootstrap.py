"""Writes bootstrap.json: average precision of resampled images and percentile intervals of its differences.

    python gen_bootstrap.py        (numpy, scikit-learn)

The maps are made by integer arithmetic that bootstrap_test.go repeats, since they would be large in a file. AP is
scikit-learn's on the pixels of the resampled images, intervals are numpy.quantile's.
"""
import json
import pathlib

import numpy as np
from sklearn.metrics import average_precision_score

IMAGES, SIDE, RESAMPLES = 14, 64, 120


def noise(stream, image):
    """Uniform integers in [0, 2^16) for each pixel of an image."""
    x = np.arange(SIDE * SIDE, dtype=np.uint32) + np.uint32((stream * IMAGES + image) * SIDE * SIDE + 1)
    for shift, factor in [(16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)]:
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return (x & np.uint32(0xFFFF)).astype(np.int64)


def truth(image):
    """A disc in two images of three; its radius and place depend on the image."""
    y, x = np.mgrid[:SIDE, :SIDE]
    r = 0 if image % 3 == 0 else 3 + image
    return ((y - 20 - image) ** 2 + (x - 24 - image) ** 2 < r * r).astype(np.int64).ravel()


def maps(image):
    """A blur, a sharper map that is 0 in most places, and one of few levels."""
    y, x = np.mgrid[:SIDE, :SIDE]
    d = ((y - 20 - image) ** 2 + (x - 26 - image) ** 2).ravel()
    gain = 0 if image % 3 == 0 else 150 + 31 * (image % 5)
    n = sum(noise(s, image) for s in range(3))
    blur = n + (gain << 17) // (64 + d)
    sharp = np.where((d < 500) | (noise(3, image) < 3000), n + gain * 500 * truth(image), 0)
    levels = (n + (gain << 17) // (128 + d)) // 20000
    return [m.astype(np.float32) for m in (blur, sharp, levels)]


def main():
    rng = np.random.default_rng(11)
    truths = [truth(i) for i in range(IMAGES)]
    scores = [maps(i) for i in range(IMAGES)]
    draws = rng.integers(0, IMAGES, (RESAMPLES, IMAGES))
    ap = [[average_precision_score(np.concatenate([truths[i] for i in d]), np.concatenate([scores[i][k] for i in d]))
           for d in draws] for k in range(3)]
    out = {
        "draws": draws.tolist(), "ap": ap,
        "intervals": [np.quantile(np.array(ap[a]) - np.array(ap[b]), [0.025, 0.975]).tolist() for a, b in [(1, 0), (2, 0), (2, 1)]],
        "sums": [[float(m.astype(np.float64).sum()) for m in s] for s in scores],
    }
    pathlib.Path(__file__).with_name("bootstrap.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
    print(np.mean(ap, axis=1), np.std(ap, axis=1), out["intervals"], [len(np.unique(np.concatenate([s[k] for s in scores]))) for k in range(3)])


if __name__ == "__main__":
    main()
